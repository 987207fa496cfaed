"""`dissect monitor`: checkpoints from files, in the order of the training."""

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from dissect.cli import main
from dissect.files.tensors import save_file

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
MODULE = """
import torch
from torch import nn

from dissect.segmentation import ImageInput

def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval()

def segmenter():
    def red(images):
        return (images[:, :1] > 0.5).long()
    red.concepts = (("red", "color"),)
    red.input = ImageInput(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return red
"""


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Weights of two steps: at the later one unit 2 has learned red."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "seen.py").write_text(MODULE)
    (tmp_path / "photos").mkdir()
    for number in range(4):
        image = Image.new("RGB", (8, 8), (0, 40 * number, 90))
        image.putpixel((number, 0), (250 - 10 * number, 0, 0))
        image.save(tmp_path / f"photos/{number}.png")
    state = {"0.weight": torch.zeros(4, 3, 1, 1), "0.bias": torch.ones(4)}
    save_file(state, tmp_path / "5.safetensors")
    learned = state["0.weight"].clone()
    learned[2, 0] = 1
    save_file({**state, "0.weight": learned}, tmp_path / "20.safetensors")
    yield tmp_path
    sys.modules.pop("seen", None)


NETWORK = ("--model", "seen:network", "--layers", "1", "--images", "photos", "--size", "8")
SEEN = ("--segmenter", "seen:segmenter")


def run(*options):
    return main(["monitor", *NETWORK, *options])


def test_a_training(trained, capsys):
    weights = ("--weights", "5.safetensors", "20.safetensors")
    assert run(*SEEN, *weights, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [(row["network"], row["step"], row["detectors"]) for row in told["summary"]] == [("5", 5, 0), ("20", 20, 1)]
    assert (trained / "out/series.png").stat().st_size > 1000
    assert Path(told["report"]).stat().st_size > 1000
    assert run(*SEEN, *weights, "--steps", "0", "2.5") == 0
    output = capsys.readouterr()
    assert "goes on from out/progress/000/" in output.err
    assert "2.5" in output.out
    assert run(*SEEN, *weights, "--fresh") == 0
    assert "goes on" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((*SEEN, "--weights", "5.safetensors"), "monitor: checkpoints must be at least two"),
        ((*SEEN, "--weights", "20.safetensors", "5.safetensors"), "monitor: steps must rise"),
        ((*SEEN, "--weights", "5.safetensors", "20.safetensors", "--steps", "1"), "steps must be as many as"),
        (("--weights", "5.safetensors", "20.safetensors"), "--images must come with --planes or --segmenter"),
    ],
)
def test_what_cannot_be_is_one_line(trained, capsys, options, message):
    assert run(*options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_it_is_what_compare_makes_of_dissections(trained, capsys):
    assert run(*SEEN, "--weights", "5.safetensors", "20.safetensors", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    for step in (5, 20):
        weights = ("--weights", f"{step}.safetensors")
        assert main(["run", *NETWORK, *SEEN, *weights, "--out", f"{step}"]) == 0
    capsys.readouterr()
    assert main(["compare", "5/result", "20/result", "--steps", "5", "20", "--out", "both", "--json"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert [tuple(row.values())[1:] for row in told["summary"]] == [tuple(row.values())[1:] for row in other["summary"]]
