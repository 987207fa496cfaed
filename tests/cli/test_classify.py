"""dissect classify importance and sets."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

import dissect
from dissect.cli import classify
from dissect.cli import commands as cli


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def images():
    torch.manual_seed(1)
    labels = torch.arange(12) % 3
    return [(torch.eye(3)[labels][..., None, None] + torch.rand(12, 3, 2, 2), labels)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "here", SimpleNamespace(net=network, data=images))
    return tmp_path


def test_importance_then_sets_then_report(here, capsys):
    model = ["--model", "here:net", "--val", "here:data", "--out", str(here)]
    assert cli.main(["classify", "importance", *model, "--train", "here:data", "--layer", "0"]) == 0
    out = capsys.readouterr().out
    assert out.count("balanced accuracy") == 3
    assert f"result: {here / 'result.importance'}" in out
    found = dissect.UnitImportance.load(here / "result")
    expected = dissect.unit_importance(network().eval(), "0", images(), images(), progress=False)
    assert torch.equal(found.drop(), expected.drop())
    # A loss is a negative change, as in the table of sets.
    row = found.top(0, 1)[0]
    whole, without = found.baseline("val")[0], found.balanced_accuracy("val")[row.unit, 0]
    assert f"without unit {row.unit} ({float(without - whole) + 0.0:+.3f})" in out
    assert cli.main(["classify", "sets", str(here / "result"), *model, "--counts", "1", "3", "--classes", "2"]) == 0
    out = capsys.readouterr().out
    assert "average of 1 classes" in out
    assert dissect.UnitSets.load(here / "result").counts == (1, 3)


def test_classes_do_not_reach_the_terminal_as_commands(here, capsys, monkeypatch):
    named = SimpleNamespace(net=network, data=lambda: Named(images()))
    monkeypatch.setitem(sys.modules, "here", named)
    out = str(here / "\x1b[2Jout")
    model = ["--model", "here:net", "--val", "here:data", "--out", out, "--train", "here:data", "--layer", "0"]
    assert cli.main(["classify", "importance", *model]) == 0
    said = capsys.readouterr().out
    assert "\\x1b[31ma: balanced accuracy" in said
    assert f"result: {here}/\\x1b[2Jout/" in said
    assert "\x1b" not in said


class Named(list):
    """Batches of classes with odd names."""

    classes = ("\x1b[31ma", "b\n", "c")


def folder_of_classes(path, names):
    """Small pictures of one color each, red for "a", green for "b", blue for "c"."""
    for name in names:
        (path / name / "more").mkdir(parents=True)
        for number in range(4):
            color = [0, 0, 0]
            color["abc".index(name)] = 200 + number
            Image.new("RGB", (6 + number, 8), tuple(color)).save(
                path / name / ("more" * (number % 2)) / f"{number}.png"
            )


def test_folders_of_classes(here, capsys):
    folder_of_classes(here / "train", "cab")
    folder_of_classes(here / "val", "bc")
    options = ["--model", "here:net", "--val", "val", "--size", "4", "--out", "out"]
    with pytest.warns(UserWarning, match=r"1 classes have no val images \(a\)"):
        assert cli.main(["classify", "importance", "--train", "train", "--layer", "0", *options]) == 0
    found = dissect.UnitImportance.load("out/result")
    assert found.classes == ("a", "b", "c")
    assert found.train.images().tolist() == [4, 4, 4]
    assert found.val.images().tolist() == [0, 4, 4]
    assert cli.main(["classify", "sets", "out", *options]) == 2
    told = (
        "dissect: classify sets: a .importance file is needed, but out is a folder, give the file in it: out/result.imp"
    )
    assert capsys.readouterr().err.split("\r")[-1].split("\n")[-2].startswith(told)
    assert cli.main(["classify", "sets", "out/result", *options, "--counts", "1", "--classes", "b", "c"]) == 0
    sets = dissect.UnitSets.load("out/result")
    assert sets.tally.images().tolist() == [0, 4, 4]
    Image.new("RGB", (4, 4)).save(here / "val/lost.png")
    assert cli.main(["classify", "sets", "out/result", *options, "--counts", "1"]) == 2
    assert "1 lie in val itself, lost.png among them." in capsys.readouterr().err


def test_a_folder_with_other_classes_is_refused(here, capsys):
    folder_of_classes(here / "train", "ab")
    folder_of_classes(here / "val", "bc")
    model = ["--model", "here:net", "--layer", "0", "--out", "out"]
    assert cli.main(["classify", "importance", *model, "--train", "train", "--val", "val", "--size", "4"]) == 2
    assert "every subfolder of val must be one of the 2 classes, but not 'c'." in capsys.readouterr().err
    assert cli.main(["classify", "importance", *model, "--train", "nowhere", "--val", "val"]) == 2
    told = "a name must be MODULE:CALLABLE, but got 'nowhere', and there is no folder nowhere either."
    assert capsys.readouterr().err == f"dissect: classify importance: {told}\n"


def test_after_ctrl_c_it_is_told_where_the_work_is(here, capsys, monkeypatch):
    def interrupted(*arguments, resume, **options):
        resume.mkdir(parents=True, exist_ok=True)
        (resume / "progress.safetensors").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr(dissect, "unit_importance", interrupted)
    data = ["--model", "here:net", "--train", "here:data", "--val", "here:data"]
    assert cli.main(["classify", "importance", *data]) == 130
    saved = "dissect: saved in out/importance-progress/progress.safetensors; the same command goes on from there.\n"
    assert capsys.readouterr().err == f"\n{saved}\ndissect: interrupted.\n"


def test_it_goes_on_over_the_same_images_only_unless_told_to_begin_anew(here, capsys):
    folder_of_classes(here / "train", "abc")
    run = ["classify", "importance", "--model", "here:net", "--train", "train", "--val", "train", "--size", "4"]
    run += ["--layer", "0", "--out", "out"]
    assert cli.main(run) == cli.main(run) == 0
    Image.new("RGB", (4, 4)).save(here / "train/a/new.png")
    assert cli.main(run) == 2
    assert "had the same train, val, but" in capsys.readouterr().err
    assert cli.main([*run, "--fresh"]) == 0
    assert dissect.UnitImportance.load("out/result").val.images().tolist() == [5, 4, 4]


def test_random_weights_are_told(here, capsys, monkeypatch):
    library = SimpleNamespace(get_model=lambda name, weights: nn.Sequential(*network()))
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=library))
    monkeypatch.setitem(sys.modules, "torchvision.models", library)
    data = ["--train", "here:data", "--val", "here:data", "--layer", "0", "--out", "out"]
    assert cli.main(["classify", "importance", "--model", "torchvision:net", *data, "--seed", "3"]) == 0
    assert "torchvision:net has no --weights: they are random (seed 3)" in capsys.readouterr().err
    assert cli.main(["classify", "importance", "--model", "torchvision:net", *data, "--seed", "-3"]) == 2
    assert "dissect: classify importance: --seed must be at least 0, but got -3." in capsys.readouterr().err


def test_sets_of_another_network_are_refused(here, capsys):
    dissect.unit_importance(network().eval(), "0", images(), images(), progress=False).save(here / "trained")
    torch.save({name: value + 1 for name, value in network().state_dict().items()}, "other.pt")
    arguments = ["--model", "here:net", "--weights", "other.pt", "--val", "here:data", "--counts", "1"]
    assert cli.main(["classify", "sets", "trained", *arguments]) == 2
    assert "model must be the network whose units were measured, but this Sequential has" in capsys.readouterr().err


def test_what_was_found_for_programs(here, capsys):
    model = ["--model", "here:net", "--val", "here:data", "--out", str(here), "--json"]
    assert cli.main(["classify", "importance", *model, "--train", "here:data", "--layer", "0"]) == 0
    found, expected = json.loads(capsys.readouterr().out), dissect.UnitImportance.load(here / "result")
    assert found["result"] == str(here / "result.importance")
    assert [part["name"] for part in found["classes"]] == ["0", "1", "2"]
    assert found["classes"][1]["balanced_accuracy"] == expected.baseline()[1]
    assert [row["unit"] for row in found["classes"][1]["units"]] == expected.ranking(1).tolist()
    assert cli.main(["classify", "sets", str(here / "result"), *model, "--counts", "2", "--classes", "2"]) == 0
    found, expected = json.loads(capsys.readouterr().out), dissect.UnitSets.load(here / "result")
    assert found["average"] == found["classes"]["2"] == [row._asdict() for row in expected.table("2")]


def test_numbers_that_are_none_are_null(capsys):
    assert classify._print_json(rows=[{"value": float("nan"), "name": "x"}, {"value": 0.5}]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": [{"value": None, "name": "x"}, {"value": 0.5}]}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["importance", "--weights", "w"], "dissect: classify importance: --weights needs --model."),
        (["importance", "--model", "here:net"], "dissect: classify importance: --model needs --train, a data set of"),
        (
            ["importance", "--model", "here:net", "--train", "here:data", "--images", "12"],
            "dissect: classify importance: --images is how many embedded scenes to take, so it goes with no --train.",
        ),
        (["sets", "nowhere"], "dissect: there is no file nowhere.importance."),
        (
            ["importance", "--layer", "conv9", "--images", "43"],
            "dissect: classify importance: the model has no layer 'conv9'",
        ),
    ],
)
def test_user_errors_are_one_line(here, capsys, arguments, told):
    assert cli.main(["classify", *arguments, "--out", str(here)]) == 2
    error = capsys.readouterr().err.split("\r")[-1]
    assert error.startswith(told)
    assert error.count("\n") == 1
