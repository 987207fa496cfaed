"""dissect generator ..."""

import json

import pytest

import dissect
from dissect import tiny
from dissect.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")

COMMAND = ("generator", "dissect", "--model", "dissect.tiny:generator", "--layers", "layer4", "--count", "12")
LABELLED = (*COMMAND, "--segmenter", "dissect.tiny:segmenter")


def test_a_generator_is_dissected(tmp_path, capsys):
    assert main([*LABELLED, "--batch-size", "5", "--out", str(tmp_path), "--json"]) == 0
    output = capsys.readouterr()
    assert "given (x + 1) / 2" in output.err
    found = json.loads(output.out)
    model = tiny.generator()
    expected = dissect.dissect(
        model, "layer4", dissect.latents(model, 12), segmenter=tiny.segmenter(signed=True), segment="output",
        batch_size=5, top_images=10, progress=False,
    )  # fmt: skip
    assert [unit["concept"] for unit in found["units"]] == [row.concept for row in expected.best()]
    assert [unit["iou"] for unit in found["units"]] == [row.iou for row in expected.best()]
    assert found["settings"]["z"] == {"count": 12, "seed": 1, "noise": False}
    page = (tmp_path / "report.html").read_text()
    assert "12 generated images" in page
    assert main([*LABELLED, "--batch-size", "5", "--out", str(tmp_path)]) == 0
    assert "goes on from" in capsys.readouterr().err


def test_without_a_segmenter_units_have_no_concepts(tmp_path, capsys):
    assert main([*COMMAND, "--out", str(tmp_path)]) == 0
    assert "no --segmenter: units have no concepts" in capsys.readouterr().out
    assert "generated images" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "--count must be"),
        (["--layers", "layer44"], "lists all"),
        (["--seed", "-1"], "seed must be in"),
        (["--preset", "tpami2018"], "half_pixel"),
        (["--model", "dissect.tiny:vgg", "--layers", "features.conv5_3"], "z"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, capsys, options, message):
    assert main([*COMMAND, *options, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
