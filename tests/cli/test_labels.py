"""`dissect labels`: segmented once from the command line, checked, and dissected."""

import json
import sys

import pytest
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


def test_run_and_write_give_a_segmenter_the_same_images(here, capsys):
    assert main([*WRITE, "--segmenter", "mine:Silent", "--out", "plain"]) == 0
    seen = sys.modules["mine"].Silent.seen
    seen.clear()
    folder = dissect.data.ImageFolder("images", size=16, mean=(0, 0, 0), std=(1, 1, 1))
    pixels = torch.stack([folder[number] for number in range(6)])
    for name, more, kept, wanted in (
        ("Segmenter", (), "signed", pixels * 2 - 1),
        ("Silent", ("--segmenter-input", "0", "255"), "bytes", pixels * 255),
    ):
        ends = "[-1, 1]" if kept == "signed" else "[0, 255]"
        of = ("--segmenter", f"mine:{name}", *more)
        assert main([*WRITE, *of, "--out", kept]) == 0
        written = torch.cat(seen)
        seen.clear()
        assert run("--layers", "2", *of, "--batch-size", "2", "--memory", "4", "--out", f"{kept}-out") == 0
        assert f"to {ends}" in capsys.readouterr().err
        for images in (written, torch.cat(seen)[:6]):
            torch.testing.assert_close(images, wanted, atol=2e-5, rtol=1e-5)
        seen.clear()


def test_a_segmenter_that_does_not_say_what_it_takes_is_given_the_networks_images_which_is_told(here, capsys):
    assert run("--layers", "2", "--segmenter", "mine:Silent", "--memory", "4", "--out", "silent-out") == 0
    assert "mine:Silent does not say which images it takes, and is given the network's" in capsys.readouterr().err
    seen = torch.cat(sys.modules["mine"].Silent.seen)
    sys.modules["mine"].Silent.seen.clear()
    assert torch.equal(seen[:6], torch.stack([dissect.data.ImageFolder("images", size=16)[at] for at in range(6)]))
    assert run("--layers", "2", "--segmenter", "mine:Segmenter", "--segmenter-input", "0", "1") == 2
    assert "of segmenters that do not say it" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--segmenter-input", "0", "1")])
@pytest.mark.parametrize(
    ("name", "told"),
    [("Closed", "a Closed takes no attribute"), ("bound", "a method takes no"), ("Module", "thing, of type Identity")],
)
def test_a_segmenter_that_cannot_say_what_it_takes_is_told_what_to_do(here, capsys, name, told, more):
    concepts = here / "names.json"
    concepts.write_text('["bright"]')
    assert run("--layers", "2", "--segmenter", f"mine:{name}", "--concepts", concepts, *more) == 2
    error = capsys.readouterr().err
    assert f"mine:{name} must say which images it takes by an attribute input, but" in error
    assert told in error
    assert "ImageInput(low, high)" in error


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
