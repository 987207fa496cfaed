"""`dissect run`: a user's own network and images, from the command line."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import dissect
from dissect.cli import main
from dissect.run import load_model

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
    return main(["run", "--model", "mine:network", "--images", "images", "--size", "16", *arguments])


def test_planes_from_a_folder(here, capsys):
    assert run("--layers", "0", "2", "--planes", "planes", "--batch-size", "4") == 0
    found = dissect.load(here / "out/result")
    assert list(found.layers) == ["0", "2"]
    assert found.concepts.names == ("-", "red")
    assert found.settings["num_images"] == 6
    assert (here / "out/report.html").is_file()
    assert "report: out/report.html" in capsys.readouterr().out


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
        (["--layers", "9", "--planes", "planes"], "no layer '9'; the nearest are"),
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
    assert run(*arguments) != 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_weights_that_do_not_fit(here):
    sys.path.insert(0, str(here))
    save_file({"0.weight": torch.zeros(1), "x": torch.zeros(1)}, here / "w.safetensors")
    with pytest.raises(
        ValueError, match=r"3 keys are missing .*, 1 are extra \(x\), 1 have another shape \(0.weight\)"
    ):
        load_model("mine:network", here / "w.safetensors")


def test_libraries_that_are_missing_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"timm cannot be imported .* install it for timm:NAME"):
        load_model("timm:resnet18")
