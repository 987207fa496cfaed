"""``dissect omissions``: what the commands print and write, and what they refuse."""

import json
import re

import pytest
import torch

import dissect
from dissect.cli import commands
from dissect.models import ProGAN
from dissect.omissions import LayerInverter


def make_model():
    """Without training it would make images far beyond [-1, 1]."""
    model = ProGAN((6, 6, 4), z_channels=8, seed=3)
    for weight in list(model.children())[-1].parameters():
        weight.data *= 0.3
    return model


class Bright(torch.nn.Module):
    """Sun where images are bright, in [0, 1] or [-1, 1]."""

    concepts, signed = dissect.Concepts.of([("sun", "object")]), False

    def forward(self, images):
        bright = images.mean(1, keepdim=True) > (0 if self.signed else 0.5)
        return bright.to(torch.int16)


def make_photos():
    return torch.utils.data.TensorDataset(torch.rand(24, 3, 16, 16, generator=torch.Generator().manual_seed(1)))


def make_features():
    return lambda images: images[:, :, ::2]


HERE = "cli.test_omissions"
MODEL, SEGMENTER, PHOTOS = (f"{HERE}:{name}" for name in ("make_model", "Bright", "make_photos"))
TRAIN = ("train-encoder", "--model", MODEL, "--layers", "layer1")


def run(*arguments):
    return commands.main(["omissions", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Statistics and an inverter, as the commands write them."""
    out = tmp_path_factory.mktemp("omissions")
    common = ("statistics", "--segmenter", SEGMENTER)
    assert run(*common, "--model", MODEL, "--count", 12, "--out", out / "made") == 0
    assert run(*common, "--images", PHOTOS, "--count", 12, "--out", out / "real") == 0
    training = ("--layers", "layer1", "layer2", "--width", 2, "--epochs", 1, "--batches", 2, "--batch-size", 4)
    assert run("train-encoder", "--model", MODEL, *training, "--joint-epochs", 1, "--out", out / "encoder") == 0
    return out


def test_statistics(folder, capsys):
    made = dissect.omissions.SegmentationStatistics.load(folder / "made/result")
    assert torch.equal(made.counts, dissect.omissions.segmentation_statistics(
        make_model().eval(), signed(), count=12, progress=False).counts)  # fmt: skip
    assert run("statistics", "--segmenter", SEGMENTER, "--model", MODEL, "--count", 12, "--out", folder / "made") == 0
    out, err = capsys.readouterr()
    assert re.search(
        r"<SegmentationStatistics of 12 images: 1 of 1 classes>\n(  .*%\n)+result: .*made/result.segstats", out
    )
    assert "goes on from" in err


def signed():
    segmenter = Bright()
    segmenter.signed = True
    return segmenter


def test_distance(folder, capsys):
    made, real = folder / "made/result", folder / "real/result"
    assert run("fsd", made, real, "--chart", folder / "chart.png") == 0
    out = capsys.readouterr().out
    assert re.search(r"^FSD \d+\.\d \(.*\) %\^2 at N = 12; means", out)
    assert "sun" in out
    assert (folder / "chart.png").stat().st_size > 500
    assert run("fsd", made, real, "--page", folder / "page") == 0
    assert "page: " in capsys.readouterr().out
    assert "FSD" in (folder / "page/omissions.html").read_text()
    assert run("fsd", made, real, "--pairs", folder / "x.pairs") == 2
    assert "--page must be given too" in capsys.readouterr().err
    assert run("fsd", made, real, "--chart", folder / "chart.pdf") == 2
    assert "--chart must be a .png file, but is" in capsys.readouterr().err
    assert run("fsd", made, real, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["floor"] is None
    assert found["count"] == 12
    assert [row["concept"] for row in found["classes"]] == ["sun"]


def test_training(folder, capsys):
    model = make_model().eval()
    found, layers = (LayerInverter.load(folder / "encoder" / name, model) for name in ("result", "layers"))
    assert [line["stage"] for line in found.log][-2:] == ["joint", "joint"]
    again = LayerInverter.train(
        model, ["layer1", "layer2"], width=2, epochs=1, batches=2, batch_size=4, progress=False
    )  # fmt: skip
    assert all(torch.equal(*pair) for pair in zip(layers.encoder.parameters(), again.encoder.parameters()))


def test_inversion(folder, capsys):
    features = ("--features", f"{HERE}:make_features")
    inverter = folder / "encoder/result"
    common = ("--model", MODEL, "--images", PHOTOS, "--steps", 1, "--out", folder)
    assert run("invert", inverter, *common, *features, "--count", 2) == 0
    assert len(re.findall(r"  image +\d   loss \d", capsys.readouterr().out)) == 2
    assert (folder / "sheet.png").stat().st_size > 500
    assert repr(dissect.load(folder / "result.inversion")).startswith("<Inversion of 2 images by (f), mean loss ")
    assert run("invert", inverter, *common, "--optimiser", "lbfgs", "--rate", 0.1, "--count", 1) == 0
    concept = ("--segmenter", SEGMENTER, "--concept", "sun", "--count", 1)
    assert run("pairs", inverter, folder / "real/result", *common, *concept) == 0
    assert re.search(r"survives\n +\d+  d .*\n +\d+  f ", capsys.readouterr().out)
    assert (folder / "pairs.png").stat().st_size > 500
    assert repr(dissect.load(folder / "result.pairs")) == "<OmissionPairs of object/sun: 1 images by (d), (f)>"


@pytest.mark.parametrize(("arguments", "text"), [
    (("statistics", "--segmenter", SEGMENTER), "omissions statistics: either --model, for a generator, or --images"),
    (("statistics", "--segmenter", SEGMENTER, "--images", "nowhere"), "there is no folder nowhere either"),
    (("statistics", "--segmenter", SEGMENTER, "--images", PHOTOS, "--count", 99), "count must be at most the number"),
    (("fsd", "a", "b"), "there is no file a.segstats"),
    (("train-encoder", "--model", MODEL, "--layers", "layer9"), "no layer 'layer9'"),
    ((*TRAIN, "--joint-epochs", -1), "--joint-epochs must be at least 0"),
    ((*TRAIN, "--joint-rate", 0), "--joint-rate must be a positive"),
    ((*TRAIN, "--joint-rate", "nan"), "--joint-rate must be a positive"),
])  # fmt: skip
def test_errors(arguments, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert text in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_statistics_and_encoders_may_share_a_folder(tmp_path, capsys):
    assert run("statistics", "--segmenter", SEGMENTER, "--images", PHOTOS, "--count", 4, "--out", tmp_path) == 0
    training = ("--layers", "layer1", "--width", 2, "--epochs", 1, "--batches", 1, "--batch-size", 2)
    assert run("train-encoder", "--model", MODEL, *training, "--joint-epochs", 0, "--fresh", "--out", tmp_path) == 0
    capsys.readouterr()
    assert run("statistics", "--segmenter", SEGMENTER, "--images", PHOTOS, "--count", 4, "--out", tmp_path) == 0
    assert "goes on from" in capsys.readouterr().err


def test_another_generator(folder, capsys):
    arguments = ("--model", f"{HERE}:make_other", "--images", PHOTOS, "--out", folder)
    assert run("invert", folder / "encoder/result", *arguments) == 2
    assert "generator must be the one that" in capsys.readouterr().err


def make_other():
    return ProGAN((6, 6, 4), z_channels=8, seed=4)
