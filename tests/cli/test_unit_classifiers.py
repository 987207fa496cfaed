"""`dissect unit-classifiers`: folders with planes, folders of classes, generators."""

import json
import sys

import pytest
import torch
from PIL import Image

import dissect
from dissect.cli import main

MODULE = """
import torch
from torch import nn

def network():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval()
    nn.init.constant_(model[0].weight, 0.0)
    nn.init.constant_(model[0].bias, 1.0)
    with torch.no_grad():
        model[0].weight[2, 0] = 1
    return model
"""


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """60 images in two folders: those of "red" are red, of which unit 2 knows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "seen.py").write_text(MODULE)
    for name, color in (("red", (250, 0, 0)), ("other", (0, 40, 90))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(30):
            Image.new("RGB", (8, 8), (color[0], number, color[2])).save(tmp_path / f"photos/{name}/{number}.png")
    yield tmp_path
    sys.modules.pop("seen", None)


def run(*options):
    return main(["unit-classifiers", *options])


NETWORK = ("--model", "seen:network", "--layer", "1")


def test_a_folder_of_classes(photos, capsys):
    assert run(*NETWORK, "--classes", "photos", "--size", "8", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    rows = {row["concept"]: row for row in told["concepts"]}
    assert (rows["red"]["unit"], rows["red"]["auroc"], rows["red"]["accuracy"]) == (2, 1.0, 1.0)
    assert rows["other"]["auroc"] == 0.5
    found = dissect.UnitClassifiers.load(photos / "out/result")
    assert found.settings["whole"]
    assert (photos / "out/chart.png").stat().st_size > 1000
    assert run(*NETWORK, "--classes", "photos", "--size", "8", "--concept", "red", "--unit", "2") == 0
    output = capsys.readouterr()
    assert "goes on from" in output.err
    assert str(found.table()) in output.out


def test_a_generator(tmp_path, capsys):
    options = ("--model", "dissect.tiny:generator", "--layer", "layer4", "--count", "3")
    assert run(*options, "--segmenter", "dissect.tiny:segmenter", "--out", str(tmp_path)) == 0
    output = capsys.readouterr()
    assert "is given (x + 1) / 2" in output.err
    assert "chart" not in output.out  # three images are too few
    found = dissect.UnitClassifiers.load(tmp_path / "result")
    assert found.settings["z"] == {"count": 3, "seed": 1}
    model = dissect.tiny.generator()
    with torch.no_grad(), dissect.Trace(model, "layer4") as trace:
        model(dissect.latents(model, 3))
    assert torch.equal(found.peaks, trace["layer4"].amax((2, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--images", "photos", "--size", "8"), "--images must come with --planes or --segmenter"),
        (("--classes", "photos", "--planes", "photos"), "--planes must come with --images"),
        (("--classes", "photos", "--layer", "7"), "dissect layers seen:network"),
        (("--classes", "photos", "--size", "8", "--concept", "dog"), "no concept is called 'dog'"),
        (("--classes", "photos", "--least-area", "2"), "unit-classifiers: least_area must be a share"),
        (("--count", "5"), "--count with --segmenter"),
        (("--classes", "photos", "--segmenter", "a:b"), "--segmenter must come with"),
    ],
)
def test_what_cannot_be_is_one_line(photos, capsys, options, message):
    assert run(*NETWORK, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
