"""`dissect labels`: segmented once from the command line, checked, and dissected."""

import json

import torch
from cli.mine import run

import dissect
from dissect.cli.commands import main

WRITE = ["labels", "write", "--images", "images", "--size", "16", "--batch-size", "2"]


def test_labels_are_written_in_parts_checked_and_dissected(here, capsys):
    write = [*WRITE, "--planes", "planes", "--out", "kept"]
    assert main([*write, "--part", "1", "2"]) == 0
    assert main([*write, "--part", "0", "2"]) == 0
    assert capsys.readouterr().out == "labels: kept; parts of other writers are missing\nlabels: kept\n"
    assert main(["labels", "check", "kept", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["images"], told["planes"], told["height"]) == (6, 1, 16)
    assert main(["labels", "check", "kept"]) == 0
    assert "6 images, 1 planes of 16x16, 1 concepts, 1 shards: all as they were written" in capsys.readouterr().out
    assert run("--layers", "2", "--planes", "planes", "--out", "planes-out") == 0
    assert run("--layers", "2", "--labels", "kept", "--out", "kept-out", "--formulas", "1") == 0
    expected, found = (dissect.load(here / name / "result") for name in ("planes-out", "kept-out"))
    assert torch.equal(found["2"].intersection, expected["2"].intersection)
    assert found.concepts == expected.concepts


def test_a_segmenter_sees_images_in_0_to_1(here, capsys):
    write = [*WRITE, "--segmenter", "mine:Segmenter", "--out", "kept"]
    assert main(write) == 0
    assert dissect.segmentation.LabelStore("kept").labels([0]).area.tolist() == [[0, 256]]  # no mean was taken off


def test_what_cannot_be_written_checked_or_used_is_told(here, capsys):
    for arguments, told in (
        (WRITE, "--segmenter or --planes must say what the images show"),
        ([*WRITE, "--planes", "planes", "--segmenter", "mine:Segmenter"], "one of them"),
        ([*WRITE, "--planes", "planes", "--part", "2", "2"], "part must be (k, n)"),
        (["labels", "check", "images"], "there is no file images/labels.json"),
    ):
        assert main(arguments) == 2
        assert told in capsys.readouterr().err
    assert run("--layers", "2", "--labels", "kept", "--planes", "planes") == 2
    assert "--labels must come without --planes" in capsys.readouterr().err
