"""The networks of the embedded world, and the command that compares them."""

import json
from pathlib import Path

import pytest
import torch

import dissect
from dissect.cli import commands
from dissect.experiments import (
    at_hand,
    dissected_at_hand,
    embedded_discrimination,
    networks_at_hand,
    small_dissections,
)
from dissect.tiny import train_small
from dissect.tiny.training.small import SmallRecipe, trained_in

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")


def test_those_that_are_shipped_and_untrained_ones():
    found = networks_at_hand()
    assert [one.task for one in found.values()] == ["scenes", *["segmentation"] * 2, *["none"] * 5]
    weights = {}
    for name, one in found.items():
        model = one.load()
        assert not any(part.training for part in model.modules())
        assert dict(model.named_modules())[one.layer]
        weights[name] = torch.cat([value.flatten() for value in model.parameters()]).sum().item()
    assert len(set(weights.values())) == 8


def test_small_dissections_are_those_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    head = next(line for line in lines if "unique (430 scenes)" in line)
    told = {
        line[0]: tuple(int(line[head.index(name)]) for name in ("units", "unique (430 scenes)", "beyond chance"))
        for line in lines[lines.index(head) + 2 :]
        if len(line) == len(head)
    }
    found = small_dissections()
    both = dissect.compare(found)
    assert {row.network: (row.units, row.concepts, row.concepts_beyond_chance) for row in both.summary()} == told
    assert len(found) == 19
    assert {d.settings["num_images"] for d in found.values()} == {430}


def test_those_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(train_small, "COUNTS", {"train": 16, "val": 8})
    monkeypatch.setattr(train_small, "BATCH", 8)
    monkeypatch.setattr(train_small, "SMALL_RECIPES", {"objects": SmallRecipe("objects", images=16)})
    with pytest.raises(FileNotFoundError, match="has none at its end"):
        networks_at_hand(tmp_path)
    train_small.SmallTraining("objects", tmp_path, 4).train(10)
    assert [path.stem for path in trained_in(tmp_path)["objects-4"]] == ["000000", "000008", "000016"]
    found = networks_at_hand(tmp_path)
    assert {name: one.task for name, one in found.items()} == {
        "objects-4": "objects", **dict.fromkeys([f"untrained-{name}" for name in at_hand.UNTRAINED], "none")
    }  # fmt: skip
    some = {name: found[name] for name in ("objects-4", "untrained-scenes")}
    monkeypatch.setattr(at_hand, "networks_at_hand", lambda folder: some)
    dissected = dissected_at_hand(some, count=6, progress=False, decoys=0, resamples=0)
    whole = dissect.dissect(
        some["objects-4"].load(), "features.relu5", dissect.tiny.TinyScenes("val", 64, 6), relu=True, decoys=0,
        resamples=0, progress=False,
    )  # fmt: skip
    assert torch.equal(dissected["objects-4"]["features.relu5"].iou, whole["features.relu5"].iou)
    measured = embedded_discrimination(tmp_path, task="scenes", train=86, test=43, dissections=dissected, cells=1,
                                       progress=False)  # fmt: skip
    assert [row.trained for row in measured.rows()] == [False, False]
    assert measured.settings["num_train"] == 86
    assert len(measured.truth) == 43
    with pytest.raises(ValueError, match=r"task must be one of \('scenes', 'objects'\), but got 'people'"):
        embedded_discrimination(task="people")


def test_the_command(tmp_path, capsys, monkeypatch):
    some = {name: one for name, one in networks_at_hand().items() if name in ("segmenter-0", "untrained-vgg-0")}
    monkeypatch.setattr(at_hand, "networks_at_hand", lambda folder: some)
    more = [
        "--task",
        "scenes",
        "--count",
        "4",
        "--train",
        "129",
        "--test",
        "43",
        "--cells",
        "1",
        "--out",
        str(tmp_path),
    ]
    assert commands.main(["experiment", "discrimination", *more, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["network"] for row in told["networks"]] == list(some)
    assert (tmp_path / "chart.png").is_file()
    assert dissect.load(tmp_path / "result").settings["cells"] == 1
    assert commands.main(["experiment", "discrimination", *more]) == 0
    output = capsys.readouterr()
    assert "goes on from" in output.err
    assert "Discrimination of 2 networks by 43 images" in output.out
    assert commands.main(["experiment", "discrimination", "--task", "people"]) == 2
    assert "task must be one of" in capsys.readouterr().err


def test_mistakes_are_told_before_networks_are_dissected(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(at_hand, "dissected_at_hand", None)
    for more, message in (
        (["--penalty", "inf"], "penalty must be a number above 0, but is inf"),
        (["--cells", "0"], "cells must be at least 1"),
        (["--test", "0"], "test must be at least 1"),
    ):
        assert commands.main(["experiment", "discrimination", "--out", str(tmp_path), *more]) == 2
        assert message in capsys.readouterr().err


def test_fresh_forgets_what_lies_deeper_too(tmp_path, capsys):
    saved = tmp_path / "discrimination-progress/objects/vgg/progress.safetensors"
    saved.parent.mkdir(parents=True)
    saved.touch()
    assert commands.main(["experiment", "discrimination", "--out", str(tmp_path), "--test", "0", "--fresh"]) == 2
    assert not saved.exists()


def test_a_training_of_no_recipe_is_told(tmp_path, capsys):
    (tmp_path / "mine-0").mkdir()
    (tmp_path / "mine-0.log").touch()
    (tmp_path / "mine-0/1.safetensors").touch()
    assert commands.main(["experiment", "discrimination", "--networks", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "holds one of the name 'mine-0'; move it elsewhere" in capsys.readouterr().err
