"""The networks that commands name by `--model`: a user's own, the libraries', and their weights."""

import importlib
import json
import re
import sys
import types

import pytest
import torch
from cli.mine import run
from safetensors.torch import save_file
from torch import nn

import dissect
from dissect.cli.commands import main
from dissect.cli.networks import _load_weights, load_model


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

    monkeypatch.setattr("dissect.cli.networks.importlib.import_module", fail)
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
