"""The commands ``dissect experiment ...`` about units: mistakes are told in a line, and none takes another's files."""

import pytest
from cli.mine import CODE

from dissect.cli.commands import main

BROKEN = """
def broken():
    model = network()
    model[2].weight.data[1] = torch.nan
    return model
"""
OURS = {
    "axis-alignment": ("--layer", "2", "--planes", "planes", "--repeats", "1", "--alphas", "1"),
    "texture": ("--layers", "0", "2", "--restyled", "images"),
    "rosetta": ("--layer", "0", "--other-layer", "2", "--other", "mine:network"),
}


def experiment(name, *more):
    own = ("--model", "mine:network", "--images", "images", "--size", "16", *OURS[name])
    return main(["experiment", name, *own, *map(str, more)])


def test_experiments_may_share_a_folder(here, capsys):
    assert experiment("texture") == 0
    assert (here / "out/chart.png").stat().st_size > 1000
    assert experiment("axis-alignment", "--fresh") == 0
    assert "goes on from" not in capsys.readouterr().err
    assert {path.name for path in (here / "out").glob("result.*")} == {"result.texture", "result.alignment"}
    assert experiment("texture") == 0
    assert "goes on from out/texture-progress/progress.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "more", "message"), [
    *[(name, ["--count", 5], "--count is how many embedded scenes to take, so it goes") for name in OURS],
    *[(name, ["--seed", 2**70], "--seed must be at most 9223372036854775807") for name in OURS],
    ("axis-alignment", ["--segmenter", "mine:Segmenter"], "--planes and --segmenter both say what the images show"),
    ("texture", ["--model", "mine:broken"], "layer '2': batch 0 of visit 0: activations must"),
    ("rosetta", ["--other", "mine:broken"], "activations of layer '2' of the second network must be finite"),
    ("rosetta", ["--resamples", 10**9], "--resamples must be at most 100000"),
])  # fmt: skip
def test_mistakes(here, capsys, name, more, message):
    (here / "mine.py").write_text(CODE + BROKEN)
    assert experiment(name, *more) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert not list((here / "out").glob("result.*"))


def test_one_image(here, capsys):
    for path in sorted((here / "images").iterdir())[1:]:
        path.unlink()
    for name in ("texture", "rosetta"):
        assert experiment(name) == 2
        assert f"dissect: experiment {name}: images must be two at least, but are 1." in capsys.readouterr().err


def test_options_of_folders_go_with_no_embedded_scenes(capsys):
    for more in (["--mean", "0", "0", "0"], ["--concepts", "names.json"]):
        assert main(["experiment", "axis-alignment", *more]) == 2
        assert "are of --images" in capsys.readouterr().err


def test_a_second_call_with_another_option_says_which(here, capsys):
    assert experiment("texture") == 0
    assert experiment("texture", "--thresholds", "common", "--seed", 3) == 2
    assert "holds one with another ('own', now 'common'; 0, now 3); choose another folder" in capsys.readouterr().err
