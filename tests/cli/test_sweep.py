"""`dissect sweep`: its result is that of the function, its chart and tables are there."""

import json

import pytest
import torch

import dissect
from dissect import tiny
from dissect.cli import main

GENERATOR = ("--model", "dissect.tiny:generator", "--layers", "layer2", "layer4", "--count", "3")
SEEN = ("--segmenter", "dissect.tiny:segmenter", "--shares", "0.01", "0.1", "--levels", "4")


def run(*options):
    return main(["sweep", *options])


def test_a_generator(tmp_path, capsys):
    doubt = ("--decoys", "1", "--resamples", "20")
    assert run(*GENERATOR, *SEEN, *doubt, "--bands", "--out", str(tmp_path), "--json") == 0
    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # JSON has no Infinity
    found = dissect.Sweep.load(tmp_path / "result")
    assert found.settings["z"] == {"count": 3, "seed": 1}
    model = tiny.generator()
    options = {"segmenter": tiny.segmenter(signed=True), "segment": "output", "shares": [0.01, 0.1], "levels": 4}
    options |= {"decoys": 1, "resamples": 20}
    expected = dissect.sweep(model, ["layer2", "layer4"], dissect.latents(model, 3), progress=False, **options)
    for name in ("layer2", "layer4"):
        assert torch.equal(*(each[name].counts.state_dict()["bins"] for each in (found, expected)))
    assert [tuple(row.values()) for row in told["labels"]] == [tuple(row) for row in expected.labels()]
    assert len(told["units"]) == len(expected.units())
    bands = [tuple(None if value == torch.inf else value for value in row) for row in expected.bands()]
    assert [tuple(row.values()) for row in told["bands"]] == bands
    assert any(row["p"] is not None for row in told["bands"])
    assert [path.stat().st_size > 1000 for path in sorted(tmp_path.glob("labels-*.png"))] == [True, True]
    assert run(*GENERATOR, *SEEN, *doubt, "--out", str(tmp_path)) == 0
    output = capsys.readouterr()
    assert "goes on from" in output.err
    assert str(expected.labels()) in output.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--count with --segmenter"),
        ((*SEEN, "--shares", "2"), "sweep: shares must be different numbers between 0 and 1"),
        ((*SEEN, "--levels", "0"), "sweep: levels must be"),
        ((*SEEN, "--preset", "tpami2018"), "sweep: preset must be one that counts over all images"),
        ((*SEEN, "--layers", "layer99"), "dissect layers dissect.tiny:generator"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, capsys, options, message):
    assert run(*GENERATOR, *options, "--out", str(tmp_path)) == 2
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
