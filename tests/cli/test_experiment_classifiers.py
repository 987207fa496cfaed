"""The commands about what classifiers say, of folders of classes, and of the embedded scenes."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

import dissect
from dissect.cli.commands import main
from dissect.experiments.explanations import Explained
from dissect.experiments.explanations_fitted import Pooled
from dissect.experiments.retraining import Trainings

CODE = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1))

def classifier(classes=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, classes)
    )

def others():
    return classifier(5)

def broken():
    model = classifier()
    model[0].weight.data[1] = torch.nan
    return model
"""
COLOURS = {"blue": (40, 60, 220), "green": (40, 220, 60), "red": (220, 60, 40)}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a user's module `ours`, and images of three classes in `train` and `val`, as the current one."""
    (tmp_path / "ours.py").write_text(CODE)
    random = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 3)):
        for name, colour in COLOURS.items():
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = (np.array(colour) + random.integers(-30, 30, (12, 12, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("ours", None)


OURS = ("--model", "ours:network", "--train", "train", "--val", "val", "--size", "12")


def explain(*more, own=OURS):
    return main(["experiment", "explanations", *own, "--layer", "2", *map(str, more)])


def test_explanations_of_folders(here, capsys):
    assert explain("--json", "--penalty", 10, "--units", 2, "--examples", 1) == 0
    told = capsys.readouterr()
    assert "units have no names without --dissection" in told.err
    told = json.loads(told.out)
    assert sum(row["images"] for row in told["answers"]) == 9
    assert [row["image"] for row in told["images"]] == [image for image in range(9) for _ in range(2)]
    assert {row["concept"] for row in told["images"]} == {""}
    found = dissect.load(here / "out/result.explanations")
    assert found.classes == tuple(COLOURS)
    assert found.truth.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert told["answers"] == [row._asdict() for row in found.summary()]
    assert (here / "out/chart.png").is_file()


def test_units_have_the_names_of_a_dissection(here, capsys):
    (here / "planes").mkdir()
    for at, path in enumerate(sorted((here / "val").glob("*/*.png"))):
        np.save(here / "planes" / f"{at}.npy", np.asarray(Image.open(path))[..., 0] // 100)
        (here / "all").mkdir(exist_ok=True)
        Image.open(path).save(here / "all" / f"{at}.png")
    (here / "planes/concepts.json").write_text(json.dumps([["bright", "color"], ["brightest", "color"]]))
    assert main(["run", "--model", "ours:network", "--images", "all", "--planes", "planes", "--size", "12", "--layers",
                 "2", "--out", "seen"]) == 0  # fmt: skip
    capsys.readouterr()
    assert explain("--json", "--dissection", "seen/result.dissection") == 0
    told = capsys.readouterr()
    assert "no names" not in told.err
    named = {row.unit: row.concept for row in dissect.load(here / "seen/result.dissection").best("2") if row.iou > 0}
    rows = json.loads(told.out)["images"]
    assert {row["concept"] for row in rows} & {"bright", "brightest"}
    assert all(row["concept"] == named.get(row["unit"], "") for row in rows)
    assert explain("--dissection", "out/result.explanations") == 2
    assert "--dissection must be a result of dissect run" in capsys.readouterr().err
    assert main(["experiment", "explanations", *OURS, "--dissection", "seen/result.dissection", "--layer", "0",
                 "--out", "other"]) == 2  # fmt: skip
    assert "layer '0' was not dissected; these were: ['2']" in capsys.readouterr().err
    assert not list((here / "other").rglob("progress.safetensors"))


@pytest.mark.parametrize(("run", "stop"), [(Pooled, 1), (Explained, 2)])
def test_explanations_go_on(here, capsys, monkeypatch, run, stop):
    assert explain("--batch-size", 4, "--out", "whole") == 0
    add, met = run.add, []

    def stopping(self, found):
        if len(met) == stop:
            raise KeyboardInterrupt
        met.append(0)
        add(self, found)

    monkeypatch.setattr(run, "add", stopping)
    assert explain("--batch-size", 4) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    monkeypatch.setattr(run, "add", lambda self, found: met.append(1) or add(self, found))
    assert explain("--batch-size", 4) == 0
    assert "goes on from" in capsys.readouterr().err
    assert sum(met) == 3 - stop
    one, other = (dissect.load(here / folder / "result.explanations") for folder in ("out", "whole"))
    assert one.table() == other.table()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layer", "conv5"], "no layer 'conv5'"),
        (["--val", "none"], "there is no folder none either"),
        (["--penalty", "0"], "penalty must be a number above 0"),
        (["--share", "1"], "share must lie between 0 and 1"),
        (["--units", "0"], "--units must be at least 1"),
        (["--examples", "0"], "--examples must be at least 1"),
        (["--images", "5"], "--images is how many embedded scenes to take, so it goes with no --val"),
        (["--train-images", "5"], "--train-images is how many embedded scenes to take, so it goes with no --train"),
        (["--dissection", "nothing.dissection"], "nothing.dissection"),
    ],
)
def test_mistakes_in_explanations(here, capsys, more, message):
    assert explain(*more) == 2
    assert message in capsys.readouterr().err
    assert not (here / "out/result.explanations").exists()


def test_folders_that_cannot_be_learned_from(here, capsys):
    (here / "val/red").rename(here / "val/purple")
    assert explain() == 2
    assert "purple" in capsys.readouterr().err
    (here / "one/red").mkdir(parents=True)
    (here / "train/red/0.png").rename(here / "one/red/0.png")
    assert explain("--train", "one", "--val", "one") == 2
    assert "images of two classes at least" in capsys.readouterr().err
    (here / "flat").mkdir()
    Image.new("RGB", (12, 12)).save(here / "flat/0.png")
    assert explain("--train", "flat", "--val", "flat") == 2
    assert "images must lie in a subfolder named for their class" in capsys.readouterr().err
    for own, message in (
        (("--model", "ours:network", "--train", "train"), "--train and --val must come together"),
        (("--model", "ours:network"), "--model needs --train"),
        (("--weights", "x.pt"), "--weights needs --model"),
    ):
        assert explain(own=own) == 2
        assert message in capsys.readouterr().err


def test_explanations_of_embedded_scenes(tmp_path, capsys):
    more = ["--images", "4", "--train-images", "86", "--layer", "features.conv4_3", "--out", str(tmp_path), "--json"]
    assert main(["experiment", "explanations", *more]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["images"]) == 16
    assert all(row["concept"] for row in told["images"])
    assert main(["experiment", "explanations", "--train-images", "5", "--out", str(tmp_path / "few")]) == 2
    assert "train must have images of every class, but has none of 38 of 43" in capsys.readouterr().err


def retrain(*more, model="ours:classifier"):
    own = ("--model", model, *OURS[2:], "--layer", "2", "--top", "4", "--repeats", "2", "--epochs", "3")
    return main(["experiment", "retraining", *own, "--rate", "0.05", *map(str, more)])


def test_retraining_of_folders(here, capsys):
    assert retrain("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["features"] for row in told["tops"]] == ["as they are", "rotated", "difference"]
    (network,) = told["network"]
    assert network["error"] < 1e-5
    assert network["same"] == 1
    assert told["settings"]["num_train"] == 12
    found = dissect.load(here / "out/result.tops")
    assert found.network._asdict() == network
    assert found.accuracy[0].min() > 0.6  # the classes are colours
    assert (here / "out/chart.png").is_file()
    assert retrain() == 0
    told = capsys.readouterr()
    assert "goes on from" in told.err
    assert "RetrainedTops: 2 of each kind" in told.out


def test_retraining_goes_on(here, capsys, monkeypatch):
    assert retrain("--out", "whole") == 0
    add, met = Trainings.add, []

    def stopping(self, found):
        if len(met) == 3:
            raise KeyboardInterrupt
        met.append(0)
        add(self, found)

    monkeypatch.setattr(Trainings, "add", stopping)
    assert retrain() == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    monkeypatch.setattr(Trainings, "add", lambda self, found: met.append(1) or add(self, found))
    assert retrain() == 0
    assert met == [0, 0, 0, 1]
    one, other = (dissect.load(here / folder / "result.tops") for folder in ("out", "whole"))
    assert one.accuracy.tolist() == other.accuracy.tolist()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layer", "pool"], "no layer 'pool'"),
        (["--top", "fc"], "no layer 'fc'"),
        (["--layer", "0"], "top '4' must take what layer '0' gives"),
        (["--top", "2", "--layer", "1"], "top '2' must give the model's logits"),
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--seed", str(2**70)], "--seed must be at most 9223372036854775807"),
        (["--rate", "nan"], "rate must be a number from 0 on, but is nan"),
        (["--rate", "inf"], "rate must be a number from 0 on, but is inf"),
        (["--rate", "0"], "rate must be above 0"),
        (["--decay", "-1"], "decay must be a number from 0 on, but is -1.0"),
        (["--model", "ours:broken"], "activations of layer '2' must be finite"),
        (["--model", "ours:others"], "must name as many classes as '4' gives logits, 5, but name 3"),
        (["--train", "nothing"], "there is no folder nothing either"),
    ],
)
def test_mistakes_in_retraining(here, capsys, more, message):
    assert retrain(*more) == 2
    assert message in capsys.readouterr().err
    assert not (here / "out/result.tops").exists()


def test_retraining_of_the_embedded_network(tmp_path, capsys):
    more = ["--images", "43", "--train-images", "43", "--repeats", "1", "--epochs", "1", "--out", str(tmp_path)]
    assert main(["experiment", "retraining", *more, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["network"][0]["accuracy"] > 0.5
    assert told["settings"]["top"] == "classifier"
    assert main(["experiment", "retraining", "--top", "classifier.fc8", *more, "--fresh"]) == 2
    assert "top 'classifier.fc8' must take what layer 'avgpool' gives" in capsys.readouterr().err
