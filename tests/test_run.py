"""`dissect run`: a user's own network and images, from the command line."""

import importlib
import json
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import dissect
from dissect.cli import main
from dissect.run import _load_weights, load_model

CODE = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))

class Segmenter:
    concepts = [("bright", "color")]

    def __call__(self, images):
        return (images.mean(1, keepdim=True) > 0).long()

number = 3

def text():
    return "no network"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a user's module `mine`, images and planes, as the current one."""
    (tmp_path / "mine.py").write_text(CODE)
    random = np.random.default_rng(0)
    for number in range(6):
        for folder in ("images", "planes"):
            (tmp_path / folder).mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{number}.png")
        np.save(tmp_path / f"planes/{number}.npy", (pixels[..., 0] > 127).astype(np.uint8))
    (tmp_path / "planes/concepts.json").write_text(json.dumps([["red", "color"]]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("mine", None)


def run(*arguments):
    return main(["run", "--model", "mine:network", "--images", "images", "--size", "16", *map(str, arguments)])


def test_planes_from_a_folder(here, capsys):
    assert run("--layers", "0", "2", "--planes", "planes", "--batch-size", "4") == 0
    found = dissect.load(here / "out/result")
    assert list(found.layers) == ["0", "2"]
    assert found.concepts.names == ("-", "red")
    assert found.settings["num_images"] == 6
    assert (here / "out/report.html").is_file()
    assert "report: out/report.html" in capsys.readouterr().out


def test_what_was_found_for_programs(here, capsys):
    assert run("--layers", "2", "--planes", "planes", "--json", "--memory", "0", "--disk", "0.1") == 0
    found = json.loads(capsys.readouterr().out)
    best = dissect.load(found["result"]).best()
    assert found["report"] == "out/report.html"
    assert found["settings"]["num_images"] == 6
    assert [list(unit.values()) for unit in found["units"]] == [list(row) for row in best]
    assert list(found["units"][0]) == list(best.columns)


@pytest.mark.filterwarnings("ignore:dissect. a fraction of 0.01 of 96 samples is less than one")
def test_a_segmenter_a_preset_and_weights(here):
    torch.manual_seed(5)
    other = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    save_file(other.state_dict(), here / "other.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in other.state_dict().items()}}, here / "other.pt")
    options = ("--layers", "2", "--segmenter", "mine:Segmenter", "--preset", "pnas2020")
    results = []
    for number, weights in enumerate(("other.safetensors", "other.pt")):
        assert run(*options, "--weights", weights, "--out", f"out{number}") == 0
        results.append(dissect.load(f"out{number}/result"))
    assert results[0].settings["preset"] == "pnas2020"
    assert torch.equal(results[0]["2"].thresholds, results[1]["2"].thresholds)
    assert run(*options) == 0
    assert not torch.equal(results[0]["2"].thresholds, dissect.load("out/result")["2"].thresholds)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "0"], "either --planes or --segmenter"),
        (["--layers", "9", "--planes", "planes"], "no layer '9'; it has ['0', '1', '2']."),
        (["--layers", "0", "--planes", "nothing"], "there is no folder nothing"),
        (["--layers", "0", "--planes", "planes", "--model", "mine"], "must be MODULE:CALLABLE, but got 'mine'"),
        (["--layers", "0", "--planes", "planes", "--model", "yours:network"], "'yours' cannot be imported"),
        (["--layers", "0", "--planes", "planes", "--model", "mine:number"], "must have a callable 'number'"),
        (["--layers", "0", "--planes", "planes", "--model", "mine:text"], "must give a torch.nn.Module"),
        (["--layers", "0", "--planes", "planes", "--weights", "none.pt"], "there is no file none.pt"),
        (["--layers", "0", "--planes", "planes", "--weights", "images/0.png"], "is damaged or no file of weights"),
    ],
)
def test_errors_are_one_line(here, capsys, arguments, message):
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_weights_that_do_not_fit(here):
    sys.path.insert(0, str(here))
    save_file({"0.weight": torch.zeros(1), "x": torch.zeros(1)}, here / "w.safetensors")
    with pytest.raises(
        ValueError, match=r"w.safetensors does not fit Sequential: 3 keys are missing .*, 1 are extra \(x\)"
    ):
        load_model("mine:network", here / "w.safetensors")
    weights = load_model("mine:network").state_dict()
    save_file({**weights, "0.weight": torch.zeros(1)}, here / "w.safetensors")
    with pytest.raises(ValueError, match=r"1 weights have another shape .*: 0\.weight \[1\] for \[4, 3, 3, 3\]"):
        load_model("mine:network", here / "w.safetensors")
    save_file({**weights, "0.bias": torch.full((4,), float("nan"))}, here / "w.safetensors")
    with pytest.raises(ValueError, match=r"1 weights are NaN or infinite somewhere: 0\.bias"):
        load_model("mine:network", here / "w.safetensors")


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_weights_as_wrappers_and_old_versions_saved_them(tmp_path, prefix):
    def network():
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))

    state = network().state_dict()
    old = {prefix + key: value for key, value in state.items() if "num_batches" not in key}
    torch.save({"epoch": 90, "state_dict": old}, tmp_path / "w.pth.tar")
    for model in (network(), torch.nn.DataParallel(network())):
        _load_weights(model, tmp_path / "w.pth.tar")
        assert all(map(torch.equal, model.state_dict().values(), state.values()))


def test_masks_and_counters_are_weights_too(tmp_path):
    def network():
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        model.register_buffer("mask", torch.tensor([True, False]))
        return model

    one, other = network(), network()
    save_file(one.state_dict(), tmp_path / "w.safetensors")
    _load_weights(other, tmp_path / "w.safetensors")
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_libraries_that_are_missing_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"timm cannot be imported .* install it for timm:NAME"):
        load_model("timm:resnet18")


def test_a_library_that_cannot_build_or_load_is_named(monkeypatch):
    class Broken(types.ModuleType):
        def create_model(self, name, pretrained):
            raise RuntimeError(f"Unknown model ({name})")

    monkeypatch.setitem(sys.modules, "timm", Broken("timm"))
    with pytest.raises(ValueError, match=r"run: timm cannot build 'nope': Unknown model \(nope\)"):
        load_model("timm:nope")

    def fail(_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("dissect.run.importlib.import_module", fail)
    with pytest.raises(ImportError, match=r"torchvision cannot be imported .operator torchvision::nms does not exist"):
        load_model("torchvision:resnet18")


def library(name):
    """Skips where the library is not here, or does not load beside this torch."""
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} cannot be imported: {str(error).splitlines()[0]}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "layers", "options"),
    [
        ("torchvision:resnet18", ["layer1", "layer4"], ["--size", "64"]),
        ("timm:resnet18", ["layer1", "layer4"], ["--size", "64"]),
        ("timm:vit_tiny_patch16_224", ["blocks.1"], ["--size", "224", "--tokens", "14", "14"]),
        ("transformers:{here}/vit", ["layers.1", "embeddings.patch_embeddings.projection"], ["--size", "64"]),
    ],
)
def test_networks_of_the_libraries(here, name, layers, options):
    module = library(name.partition(":")[0])
    if module.__name__ == "transformers":
        sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
        module.ViTConfig(image_size=64, patch_size=16, **sizes).save_pretrained(here / "vit")
        options = [*options, "--tokens", "4", "4"]
        assert module.ViTModel is type(load_model("transformers:vit"))
    arguments = ["--model", name.format(here=here), "--layers", *layers, "--planes", "planes", *options]
    assert main(["run", "--images", "images", *arguments]) == 0
    found = dissect.load(here / "out/result")
    assert list(found.layers) == layers
    assert all(found[layer].num_units > 1 for layer in layers)


def test_it_goes_on_from_what_is_there_unless_told_to_begin_anew(here, capsys):
    options = ("--layers", "0", "--planes", "planes")
    assert run(*options) == 0
    assert "goes on" not in capsys.readouterr().err
    assert run(*options) == 0
    assert "dissect: goes on from out/progress/progress.safetensors; --fresh begins anew.\n" in capsys.readouterr().err
    (here / "images/5.png").unlink()
    assert run(*options) == 2
    assert "a folder whose run had the same images, but" in capsys.readouterr().err
    assert run(*options, "--fresh") == 0
    assert dissect.load(here / "out/result").settings["num_images"] == 5
    (here / "mine.py").write_text(CODE.replace("nn.ReLU()", "nn.GELU()"))
    sys.modules.pop("mine")
    assert run(*options) == 2
    assert "a folder whose run had the same model, but" in capsys.readouterr().err


def test_an_interrupted_run_says_what_is_saved(here, capsys, monkeypatch):
    def interrupted(*_, resume, **__):
        (resume / "progress.safetensors").touch()
        raise KeyboardInterrupt

    (here / "out/progress").mkdir(parents=True)
    monkeypatch.setattr(dissect, "dissect", interrupted)
    assert run("--layers", "0", "--planes", "planes") == 130
    assert "saved in out/progress/progress.safetensors; the same command goes on" in capsys.readouterr().err


def test_what_can_be_chosen(here, capsys):
    (here / "names.json").write_text(json.dumps(["rosy"]))
    options = ("--layers", "0", "--planes", "planes", "--out", "chosen")
    chosen = ("--concepts", "names.json", "--fraction", "0.2", "--detector-iou", "0.1", "--top-images", "2")
    assert run(*options, *chosen, *("--mean", 0, 0, 0, "--std", 1, 1, 1)) == 0
    found = dissect.load(here / "chosen/result")
    assert found.concepts.names == ("-", "rosy")
    assert (found.settings["fraction"], found.settings["detector_iou"]) == (0.2, 0.1)
    assert found["0"].peak_images.shape == (4, 2)
    with Image.open(here / f"images/{int(found.image_numbers[0])}.png") as picture:
        square = picture.resize((16, 16), Image.Resampling.BILINEAR, box=(2, 0, 22, 20))
    assert np.array_equal(found.images[0].permute(1, 2, 0).numpy(), np.array(square))
    (here / "names.json").write_text("[")
    assert run(*options, *chosen) == 2
    assert "--concepts must be a JSON list of names, but names.json is not" in capsys.readouterr().err
    assert run(*options, "--memory", "inf") == 2
    assert "--memory must be a number of GiB, but is inf" in capsys.readouterr().err
