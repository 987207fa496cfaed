"""`dissect run`: a user's own network and images, from the command line."""

import importlib
import json
import re
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import dissect
from dissect.cli.commands import main
from dissect.cli.run import _load_weights, load_model

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

def needy(size):
    return None

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


def test_labels_to_ignore(here):
    assert run("--layers", "2", "--planes", "planes", "--out", "plain") == 0
    for number in range(6):
        planes = np.load(here / f"planes/{number}.npy").astype(np.int16)
        np.save(here / f"planes/{number}.npy", np.where(planes == 0, (-1, 255)[number % 2], planes))
    assert run("--layers", "2", "--planes", "planes", "--ignore", "255", "-1") == 0
    plain, found = (dissect.load(here / folder / "result") for folder in ("plain", "out"))
    assert torch.equal(found["2"].intersection, plain["2"].intersection)
    assert found.settings["ignore"] == [-1, 255]


def test_labels_of_a_segmenter_to_ignore(here):
    (here / "mine.py").write_text(
        CODE
        + """
class Unsure(Segmenter):
    def __call__(self, images):
        return torch.where(super().__call__(images) == 0, 255, 1)
"""
    )
    for name, ignore in (("Segmenter", ()), ("Unsure", ("--ignore", "255"))):
        assert run("--layers", "2", "--segmenter", f"mine:{name}", *ignore, "--out", name) == 0
    plain, found = (dissect.load(here / folder / "result") for folder in ("Segmenter", "Unsure"))
    assert torch.equal(found["2"].intersection, plain["2"].intersection)


def test_layouts_are_given_for_all_layers_or_each(here):
    (here / "mine.py").write_text(
        CODE
        + """
class Last(nn.Module):
    def forward(self, maps):
        return maps.movedim(1, 3)

def last():
    return nn.Sequential(network(), Last(), Last())
"""
    )

    def layouts(name, *given):
        layers = ("--layers", "0", "1") if len(given) > 1 else ("--layers", "1")
        assert run(*layers, "--model", "mine:last", "--planes", "planes", "--layout", *given, "--out", name) == 0
        return dissect.load(here / name / "result")

    one, each = layouts("one", "NHWU"), layouts("each", "0=NUHW", "1=NHWU")
    assert one.settings["layouts"] == {"1": ["NHWU", "given"]}
    assert each.settings["layouts"] == {"0": ["NUHW", "given"], "1": ["NHWU", "given"]}
    assert torch.equal(each["1"].intersection, each["0"].intersection)
    assert torch.equal(each["1"].intersection, one["1"].intersection)


def test_what_was_found_for_programs(here, capsys):
    assert run("--layers", "2", "--planes", "planes", "--json", "--memory", "0", "--disk", "0.1") == 0
    found = json.loads(capsys.readouterr().out)
    best = dissect.load(found["result"]).best()
    assert found["report"] == "out/report.html"
    assert found["settings"]["num_images"] == 6
    unknown = [[None if value != value else value for value in row] for row in best]
    assert [list(unit.values()) for unit in found["units"]] == unknown
    assert list(found["units"][0]) == list(best.columns)


@pytest.mark.filterwarnings("ignore:dissect. a fraction of 0.01 of 96 samples is less than one")
def test_a_segmenter_a_preset_and_weights(here):
    torch.manual_seed(5)
    other = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    save_file(other.state_dict(), here / "other.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in other.state_dict().items()}}, here / "other.pt")
    options = ("--layers", "2", "--segmenter", "mine:Segmenter", "--preset", "pnas2020", "--grid", "receptive_field")
    results = []
    for number, weights in enumerate(("other.safetensors", "other.pt")):
        assert run(*options, "--weights", weights, "--out", f"out{number}") == 0
        results.append(dissect.load(f"out{number}/result"))
    assert (results[0].settings["preset"], results[0].settings["grid"]) == ("pnas2020", "receptive_field")
    assert torch.equal(results[0]["2"].thresholds, results[1]["2"].thresholds)
    assert run(*options) == 0
    assert not torch.equal(results[0]["2"].thresholds, dissect.load("out/result")["2"].thresholds)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "0", "--planes", "planes", "--segmenter", "mine:Segmenter"], "give one of them"),
        (["--layers", "9", "--planes", "planes"], "it has ['0', '1', '2']. `dissect layers mine:network` lists all."),
        (["--layers", "0", "--planes", "nothing"], "there is no folder nothing"),
        (["--layers", "0", "--planes", "planes", "--model", "mine"], "must be MODULE:CALLABLE, but got 'mine'"),
        (["--layers", "0", "--planes", "planes", "--model", "yours:network"], "'yours' cannot be imported"),
        (
            ["--layers", "0", "--planes", "planes", "--model", "mine:needy"],
            "no arguments, but has the signature (size)",
        ),
        (["--layers", "0", "--planes", "planes", "--device", "gpu"], "one that torch has here, but 'gpu' is not: "),
        (
            ["--layers", "0", "--planes", "planes", "--ignore", "1"],
            "but concepts calls label 1 'red'; leave the one or",
        ),
        (["--layers", "0", "--planes", "planes", "--layout", "NUXY"], "must be an order of NUHW"),
        (["--layers", "0", "--planes", "planes", "--layout", "1=NUHW"], "must be of layers ['0'], but names '1'."),
        (
            ["--layers", "0", "--planes", "planes", "--layout", "0=NUHW", "NHWU"],
            "LETTERS, or LAYER=LETTERS once for each",
        ),
        (
            ["--layers", "0", "--planes", "planes", "--layout", "0=NU", "0=NU"],
            "LETTERS, or LAYER=LETTERS once for each",
        ),
        (["--layers", "0", "--planes", "planes", "--seed", "-1"], "run: --seed must be at least 0, but got -1"),
        (["--layers", "0", "--planes", "planes", "--model", "mine:number"], "must have a callable 'number'"),
        (["--layers", "0", "--planes", "planes", "--model", "mine:netwrok"], "the nearest are ['network']."),
        (["--layers", "0", "--planes", "planes", "--model", "mine.network"], "; did you mean mine:network?"),
        (["--layers", "0", "--planes", "planes", "--model", "mine.py:network"], "; did you mean mine:network?"),
        (["--layers", "0", "--planes", "planes", "--model", "w.pt"], "; weights go to --weights, and --model names"),
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
    with pytest.raises(ValueError, match=r"timm cannot build 'nope': Unknown model \(nope\)"):
        load_model("timm:nope")

    def fail(_):
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("dissect.cli.run.importlib.import_module", fail)
    with pytest.raises(ImportError, match=r"torchvision cannot be imported .operator torchvision::nms does not exist"):
        load_model("torchvision:resnet18")


class Vision(types.ModuleType):
    """A library of networks, as torchvision.models and timm are."""

    __spec__ = None

    def list_models(self):
        return ["resnet18", "resnet50", "vgg16_bn", "vit_b_16"]

    def get_model(self, name, weights):
        if name not in self.list_models():
            raise ValueError(f"Unknown model {name}")
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))


@pytest.fixture
def vision(monkeypatch):
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, Vision(name))
    for name in ("timm", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("resnet18", "torchvision:resnet18?"),
        ("ResNet18", "torchvision:resnet18?"),
        ("vgg16-bn", "torchvision:vgg16_bn?"),
        ("torchvision.models.resnet18", "torchvision:resnet18?"),
        ("torchvision/resnet18", "torchvision:resnet18?"),
        ("torchvison:resnet18", "torchvision:resnet18?"),
        ("torchvision:resnet_18", "torchvision:resnet18?"),
        ("torchvision:vgg16_nb", "torchvision:vgg16_bn?"),
        ("torchvision", "torchvision:NAME?"),
        ("resnett18", "timm:resnett18 or transformers:resnett18 (not installed here) or torchvision:resnet18?"),
    ],
)
def test_near_misses_of_names(vision, name, meant):
    with pytest.raises((ValueError, ImportError)) as told:
        load_model(name)
    assert str(told.value).endswith(f"; did you mean {meant}")


def test_libraries_that_are_not_here_are_suggested_as_such(monkeypatch):
    for name in ("torchvision", "torchvision.models", "timm", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"mean torchvision:resnet18 or timm:resnet18 or .* .not installed here.?"):
        load_model("resnet18")


@pytest.mark.parametrize("name", ["", ":", "a b", "no:", "../x", "dissect.nothing.at_all"])
def test_what_is_like_nothing_is_told_without_a_guess(name):
    with pytest.raises(ValueError, match=r"a name must be MODULE:CALLABLE, but got '.*'\.$"):
        load_model(name)


def test_random_weights_are_told_and_the_same_every_time(here, vision, capsys):
    options = ["--model", "torchvision:resnet18", "--layers", "2", "--planes", "planes"]
    torch.manual_seed(99)
    assert run(*options, "--json") == 0
    shown = capsys.readouterr()
    told = "dissect: torchvision:resnet18 has no --weights: they are random (seed 0), as before any training.\n"
    assert told in shown.err
    assert json.loads(shown.out)["settings"]["weights"] == "random (seed 0)"
    first = dissect.load("out/result")
    assert first.settings["weights"] == "random (seed 0)"
    assert "random (seed 0)" in (here / "out/report.html").read_text()
    assert run(*options, "--out", "again") == 0
    again = dissect.load("again/result")
    assert torch.equal(first["2"].thresholds, again["2"].thresholds)
    capsys.readouterr()
    assert run(*options, "--out", "other", "--seed", "7") == 0
    assert "are random (seed 7)" in capsys.readouterr().err
    assert not torch.equal(first["2"].thresholds, dissect.load("other/result")["2"].thresholds)
    before = torch.random.get_rng_state()
    load_model("torchvision:resnet18")
    assert torch.equal(before, torch.random.get_rng_state())


def test_weights_that_are_given_or_a_users_own_are_not_called_random(here, vision, capsys):
    save_file(load_model("torchvision:resnet18").state_dict(), here / "w.safetensors")
    options = ["--layers", "2", "--planes", "planes"]
    assert run("--model", "torchvision:resnet18", "--weights", "w.safetensors", *options) == 0
    assert run(*options, "--out", "own") == 0
    assert "random" not in capsys.readouterr().err
    assert "weights" not in dissect.load("out/result").settings
    assert "weights" not in dissect.load("own/result").settings


def test_layers_for_people_and_programs(here, vision, capsys):
    assert main(["layers", "mine:network", "--size", "8"]) == 0
    shown = capsys.readouterr().out
    assert main(["layers", "torchvision:resnet18", "--size", "8", "6", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert shown.splitlines() == [
        "layer  kind    output  units  note",
        "0      Conv2d  4x8x8       4",
        "1      ReLU    4x8x8       4",
        "2      Conv2d  2x8x8       2",
    ]
    assert rows[2] == {"layer": "2", "kind": "Conv2d", "output": [2, 8, 6], "units": 2, "note": ""}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--channels", "1"], r"layers: the network cannot take images \[1, 1, 224, 224\]: .* 3 channels"),
        (["--size", "0"], "layers: --size must be at least 1, but got 0"),
        (["--size", "1", "2", "3"], r"layers: --size must be one number or two, rows and columns, but got \[1, 2, 3\]"),
    ],
)
def test_layers_of_what_cannot_run(here, capsys, arguments, told):
    assert main(["layers", "mine:network", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.match("dissect: " + told, error)
    assert error.count("\n") == 1


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
