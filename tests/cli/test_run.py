"""`dissect run`: a user's own network and images, from the command line."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from cli.mine import CODE, run
from PIL import Image
from safetensors.torch import save_file
from torch import nn

import dissect


def test_planes_from_a_folder(here, capsys):
    assert run("--layers", "0", "2", "--planes", "planes", "--batch-size", "4") == 0
    found = dissect.load(here / "out/result")
    assert list(found.layers) == ["0", "2"]
    assert found.concepts.names == ("-", "red")
    assert found.settings["num_images"] == 6
    assert (here / "out/report.html").is_file()
    assert "report: out/report.html" in capsys.readouterr().out


def test_directions_from_a_file(here, capsys):
    units = dissect.cli.networks.called("mine:network")[2].out_channels
    save_file({"2": torch.randn(7, units)}, here / "along.safetensors")
    more = "--layers", "2", "--planes", "planes", "--formulas", "2"
    assert run(*more, "--directions", "along.safetensors") == 0
    found = dissect.load(here / "out/result")
    assert (found["2"].num_units, found.word("2")) == (7, "direction")
    (here / "along.safetensors").write_bytes(b"nothing")
    capsys.readouterr()
    assert run(*more, "--directions", "along.safetensors") == 2
    assert "dissect: run: --directions must be a .safetensors file" in capsys.readouterr().err


def test_labels_to_ignore(here):
    assert run("--layers", "2", "--planes", "planes", "--out", "plain") == 0
    for number in range(6):
        planes = np.load(here / f"planes/{number}.npy").astype(np.int16)
        np.save(here / f"planes/{number}.npy", np.where(planes == 0, (-1, 255)[number % 2], planes))
    assert run("--layers", "2", "--planes", "planes", "--ignore", "255", "-1") == 0
    plain, found = (dissect.load(here / folder / "result") for folder in ("plain", "out"))
    assert torch.equal(found["2"].intersection, plain["2"].intersection)
    assert found.settings["ignore"] == [-1, 255]


def test_labels_of_a_segmenter_to_ignore(here):
    (here / "mine.py").write_text(
        CODE
        + """
class Unsure(Segmenter):
    def __call__(self, images):
        return torch.where(super().__call__(images) == 0, 255, 1)
"""
    )
    for name, ignore in (("Segmenter", ()), ("Unsure", ("--ignore", "255"))):
        assert run("--layers", "2", "--segmenter", f"mine:{name}", *ignore, "--out", name) == 0
    plain, found = (dissect.load(here / folder / "result") for folder in ("Segmenter", "Unsure"))
    assert torch.equal(found["2"].intersection, plain["2"].intersection)


def test_layouts_are_given_for_all_layers_or_each(here):
    (here / "mine.py").write_text(
        CODE
        + """
class Last(nn.Module):
    def forward(self, maps):
        return maps.movedim(1, 3)

def last():
    return nn.Sequential(network(), Last(), Last())
"""
    )

    def layouts(name, *given):
        layers = ("--layers", "0", "1") if len(given) > 1 else ("--layers", "1")
        assert run(*layers, "--model", "mine:last", "--planes", "planes", "--layout", *given, "--out", name) == 0
        return dissect.load(here / name / "result")

    one, each = layouts("one", "NHWU"), layouts("each", "0=NUHW", "1=NHWU")
    assert one.settings["layouts"] == {"1": ["NHWU", "given"]}
    assert each.settings["layouts"] == {"0": ["NUHW", "given"], "1": ["NHWU", "given"]}
    assert torch.equal(each["1"].intersection, each["0"].intersection)
    assert torch.equal(each["1"].intersection, one["1"].intersection)


def test_what_was_found_for_programs(here, capsys):
    assert run("--layers", "2", "--planes", "planes", "--json", "--memory", "0", "--disk", "0.1") == 0
    found = json.loads(capsys.readouterr().out)
    best = dissect.load(found["result"]).best()
    assert found["report"] == "out/report.html"
    assert found["settings"]["num_images"] == 6
    unknown = [[None if value != value else value for value in row] for row in best]
    assert [list(unit.values()) for unit in found["units"]] == unknown
    assert list(found["units"][0]) == list(best.columns)


@pytest.mark.filterwarnings("ignore:.*a fraction of 0.01 of 96 samples is less than one")
def test_a_segmenter_a_preset_and_weights(here):
    torch.manual_seed(5)
    other = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    save_file(other.state_dict(), here / "other.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in other.state_dict().items()}}, here / "other.pt")
    options = ("--layers", "2", "--segmenter", "mine:Segmenter", "--preset", "pnas2020", "--grid", "receptive_field")
    results = []
    for number, weights in enumerate(("other.safetensors", "other.pt")):
        assert run(*options, "--weights", weights, "--out", f"out{number}") == 0
        results.append(dissect.load(f"out{number}/result"))
    assert (results[0].settings["preset"], results[0].settings["grid"]) == ("pnas2020", "receptive_field")
    assert torch.equal(results[0]["2"].thresholds, results[1]["2"].thresholds)
    assert run(*options) == 0
    assert not torch.equal(results[0]["2"].thresholds, dissect.load("out/result")["2"].thresholds)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layers", "0", "--planes", "planes", "--segmenter", "mine:Segmenter"], "give one of them"),
        (["--layers", "9", "--planes", "planes"], "it has ['0', '1', '2']. `dissect layers mine:network` lists all."),
        (["--layers", "0", "--planes", "nothing"], "there is no folder nothing"),
        (["--layers", "0", "--planes", "planes", "--model", "mine"], "must be MODULE:CALLABLE, but got 'mine'"),
        (["--layers", "0", "--planes", "planes", "--model", "yours:network"], "'yours' cannot be imported"),
        (
            ["--layers", "0", "--planes", "planes", "--model", "mine:needy"],
            "no arguments, but has the signature (size)",
        ),
        (["--layers", "0", "--planes", "planes", "--device", "gpu"], "one that torch has here, but 'gpu' is not: "),
        (
            ["--layers", "0", "--planes", "planes", "--ignore", "1"],
            "but concepts calls label 1 'red'; leave the one or",
        ),
        (["--layers", "0", "--planes", "planes", "--layout", "NUXY"], "must be an order of NUHW"),
        (["--layers", "0", "--planes", "planes", "--layout", "1=NUHW"], "must be of layers ['0'], but names '1'."),
        (
            ["--layers", "0", "--planes", "planes", "--layout", "0=NUHW", "NHWU"],
            "LETTERS, or LAYER=LETTERS once for each",
        ),
        (
            ["--layers", "0", "--planes", "planes", "--layout", "0=NU", "0=NU"],
            "LETTERS, or LAYER=LETTERS once for each",
        ),
        (["--layers", "0", "--planes", "planes", "--seed", "-1"], "run: --seed must be at least 0, but got -1"),
        (["--layers", "0", "--planes", "planes", "--model", "mine:number"], "must have a callable 'number'"),
        (["--layers", "0", "--planes", "planes", "--model", "mine:netwrok"], "the nearest are ['network']."),
        (["--layers", "0", "--planes", "planes", "--model", "mine.network"], "; did you mean mine:network?"),
        (["--layers", "0", "--planes", "planes", "--model", "mine.py:network"], "; did you mean mine:network?"),
        (["--layers", "0", "--planes", "planes", "--model", "w.pt"], "; weights go to --weights, and --model names"),
        (["--layers", "0", "--planes", "planes", "--model", "mine:text"], "must give a torch.nn.Module"),
        (["--layers", "0", "--planes", "planes", "--weights", "none.pt"], "there is no file none.pt"),
        (["--layers", "0", "--planes", "planes", "--weights", "images/0.png"], "is damaged or no file of weights"),
    ],
)
def test_errors_are_one_line(here, capsys, arguments, message):
    assert run(*arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_formulas_are_saved_told_and_on_the_page(here, capsys):
    options = ("--layers", "0", "--planes", "planes", "--fraction", "0.5")
    assert run(*options, "--formulas", "2") == 0
    found = dissect.load(here / "out/result.formulas")
    told = capsys.readouterr().out
    assert repr(found) in told
    assert "formulas: out/result.formulas" in told
    assert (found.settings["length"], list(found.layers)) == (2, ["0"])
    assert run(*options, "--formulas", "0") == 2
    assert run("--layers", "0", "--formulas", "2") == 2
    assert "--formulas are of concepts, so they need --planes" in capsys.readouterr().err


def test_it_goes_on_from_what_is_there_unless_told_to_begin_anew(here, capsys):
    options = ("--layers", "0", "--planes", "planes")
    assert run(*options) == 0
    assert "goes on" not in capsys.readouterr().err
    assert run(*options) == 0
    assert "dissect: goes on from out/progress/progress.safetensors; --fresh begins anew.\n" in capsys.readouterr().err
    (here / "images/5.png").unlink()
    assert run(*options) == 2
    assert "a folder whose run had the same images, but" in capsys.readouterr().err
    assert run(*options, "--fresh") == 0
    assert dissect.load(here / "out/result").settings["num_images"] == 5
    (here / "mine.py").write_text(CODE.replace("nn.ReLU()", "nn.GELU()"))
    sys.modules.pop("mine")
    assert run(*options) == 2
    assert "a folder whose run had the same model, but" in capsys.readouterr().err


def test_an_interrupted_run_says_what_is_saved(here, capsys, monkeypatch):
    def interrupted(*_, resume, **__):
        (resume / "progress.safetensors").touch()
        raise KeyboardInterrupt

    (here / "out/progress").mkdir(parents=True)
    monkeypatch.setattr(dissect, "dissect", interrupted)
    assert run("--layers", "0", "--planes", "planes") == 130
    assert "saved in out/progress/progress.safetensors; the same command goes on" in capsys.readouterr().err


def test_what_can_be_chosen(here, capsys):
    (here / "names.json").write_text(json.dumps(["rosy"]))
    options = ("--layers", "0", "--planes", "planes", "--out", "chosen")
    chosen = ("--concepts", "names.json", "--fraction", "0.2", "--detector-iou", "0.1", "--top-images", "2")
    assert run(*options, *chosen, *("--mean", 0, 0, 0, "--std", 1, 1, 1)) == 0
    found = dissect.load(here / "chosen/result")
    assert found.concepts.names == ("-", "rosy")
    assert (found.settings["fraction"], found.settings["detector_iou"]) == (0.2, 0.1)
    assert found["0"].peak_images.shape == (4, 2)
    with Image.open(here / f"images/{int(found.image_numbers[0])}.png") as picture:
        square = picture.resize((16, 16), Image.Resampling.BILINEAR, box=(2, 0, 22, 20))
    assert np.array_equal(found.images[0].permute(1, 2, 0).numpy(), np.array(square))
    (here / "names.json").write_text("[")
    assert run(*options, *chosen) == 2
    assert "--concepts must be a JSON list of names, but names.json is not" in capsys.readouterr().err
    assert run(*options, "--memory", "inf") == 2
    assert "--memory must be a number of GiB, but is inf" in capsys.readouterr().err


def test_the_most_informative_thresholds_of_other_images(here, capsys):
    for folder in ("images", "planes"):
        (here / f"other-{folder}").mkdir()
        for number in (3, 4, 5):
            for path in (here / folder).glob(f"{number}.*"):
                path.rename(here / f"other-{folder}" / path.name)
    shutil.copy(here / "planes/concepts.json", here / "other-planes")
    options = ("--layers", "0", "--planes", "planes", "--preset", "iclr2019")
    others = ("--threshold-images", "other-images", "--threshold-planes", "other-planes")
    assert run(*options, *others) == 0
    found = dissect.load(here / "out/result")
    assert found.settings["thresholds_from"]["images"] == 3
    assert found["0"].label_thresholds.shape == (4, 2)
    assert run(*options, *others, "--levels", "unit_information", "--match", "iou", "--fresh") == 0
    assert dissect.load(here / "out/result").settings["match"] == "iou"
    capsys.readouterr()
    assert run(*options, "--out", "without") == 2
    assert "thresholds_from must hold other images" in capsys.readouterr().err
    assert run(*options, "--threshold-planes", "other-planes", "--out", "half") == 2
    assert "--threshold-planes are those of --threshold-images" in capsys.readouterr().err
