"""Each script of docs/scripts/ writes its page, here of as little as makes sense, so that none rots."""

import importlib
import re
from functools import partial

import pages
import pytest
from written_pages import written

from dissect.experiments import CarliniWagner
from dissect.tiny import vgg

SCRIPTS = {path.stem for path in (pages.DOCS / "scripts").glob("*.py") if "\ndef main(" in path.read_text()}
TESTED = {
    "axis_alignment", "bands", "captioning", "compare", "directions_measured", "experiments_artifacts",
    "experiments_attack",
    "experiments_classifier", "experiments_generators", "explanations",
    "formulas", "layouts", "meanings", "measures", "models_page", "monitoring", "omissions", "painting", "planted",
    "rewriting_rules", "texture", "thresholds",
    "tiny_compared", "tiny_detectors", "tiny_generators", "tiny_segmenters", "tiny_world", "trust", "trust_biases",
    "unit_classifiers", "verified",
    "real_networks", "rewriting_inverted", "rewriting_layers", "rosetta", "small_networks",
}  # fmt: skip


def test_every_script_is_tested():
    assert SCRIPTS == TESTED
    for page in pages.DOCS.rglob("*.md"):
        for script in re.findall(r"docs/scripts/(\w+)\.py", page.read_text(encoding="utf-8")):
            assert script in SCRIPTS


def test_a_table():
    assert pages.table(("a", "b"), [(1, "x"), (2, "y")]) == "| a | b |\n| --- | --- |\n| 1 | x |\n| 2 | y |\n"


def test_experiments_on_the_classifier(tmp_path, monkeypatch):
    first, second = (importlib.import_module(f"experiments_{name}") for name in ("classifier", "attack"))
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path)]
    monkeypatch.setattr(first, "COUNTS", (2, 7, 96, 185))
    first.main([*where, "--images", "1"])
    written(tmp_path / "experiments.md", "192 units, 43 classes", "43 training scenes")
    monkeypatch.setattr(second, "SETTINGS", CarliniWagner(1, 6, 0.5, 1000.0))
    second.main([*where, "--images", "4", "--scenes", "4"])
    written(tmp_path / "experiments_attack.md", "## Adversarial attacks", "steps=6")


def test_verified(tmp_path, monkeypatch):
    script = importlib.import_module("verified")
    monkeypatch.setattr(script, "LAYERS", ["features.conv4_3"])
    monkeypatch.setattr(script, "CONCEPTS", [("object", "water"), ("object", "tree")])
    script.main(["--out", str(tmp_path), "--images", "20", "--pairs", "10"])
    written(tmp_path / "verified.md", "20 pairs of validation scenes", "conv4_3, untrained")


def test_planted(tmp_path, monkeypatch):
    script = importlib.import_module("planted")
    monkeypatch.setattr(script, "FRACTIONS", (0.1,))
    script.main(["--out", str(tmp_path), "--images", "8", "--formulas", "1"])
    written(tmp_path / "planted.md", "28 units of 4 formulas on 8 validation scenes", "| at random | AND NOT |")


def test_meanings(tmp_path):
    script = importlib.import_module("meanings")
    script.main(["--out", str(tmp_path), "--images", "8"])
    written(tmp_path / "meanings.md", "8 validation scenes", "4 % to above 0")


def test_captioning(tmp_path):
    pytest.importorskip("transformers")
    script = importlib.import_module("captioning")
    script.main(["--out", str(tmp_path), "--images", "3"])
    text = written(tmp_path / "captioning.md", "3 validation scenes", "| BLIP, untrained | encoder.layers.1 | 48 |")
    assert text.count("| yes |") == 3  # each encoder alone gives what it gives within its captioner


def test_bands(tmp_path):
    script = importlib.import_module("bands")
    script.main(["--out", str(tmp_path), "--images", "43"])
    written(tmp_path / "bands.md", "43 validation scenes", "| whole units |", "| 20 % to above 0 |")


def test_rosetta(tmp_path, monkeypatch):
    script = importlib.import_module("rosetta")
    monkeypatch.setattr(script, "PERMUTATIONS", 10)
    script.main(["--out", str(tmp_path), "--images", "3"])
    text = written(tmp_path / "rosetta.md", "3 validation scenes", "untrained twin", "generated images")
    assert "checkpoints" not in text


def test_rosetta_of_checkpoints(tmp_path, monkeypatch):
    from dissect.tiny.training.small import SMALL_RECIPES

    script = importlib.import_module("rosetta")
    monkeypatch.setattr(script, "PERMUTATIONS", 3)
    monkeypatch.setattr(script, "trained_in", lambda folder: {"scenes-0": [0, 1, 1], "scenes-1": [2]})
    monkeypatch.setattr(script, "load_small", lambda seed: SMALL_RECIPES["scenes"].network(seed).eval())
    found = script.checkpoints(tmp_path, 3)
    assert [len(one.rows()) for one in found.values()] == [64] * 3
    mutual = sum(row.mutual for row in found[script.CHECKPOINTS].rows())
    told = script._trained({"others": None, **found})  # of one network and itself
    assert f"{mutual} of {mutual} (two checkpoints" in told


def test_comparisons(tmp_path, monkeypatch):
    snapshots = tmp_path / "snapshots"
    snapshots.mkdir()
    for number in ("00", "11"):
        (snapshots / f"{number}.safetensors").touch()
    script = importlib.import_module("compare")
    monkeypatch.setattr(script, "load_network", lambda path: vgg(path.stem == "11"))
    script.main(["--out", str(tmp_path), "--images", "4", "--snapshots", str(snapshots)])
    written(tmp_path / "guide" / "compare.md", "the first 4 validation scenes", "| WGAN-GP |", "| 100 % | 192 |")


def test_every_threshold(tmp_path, monkeypatch):
    script = importlib.import_module("thresholds")
    for name, few in {"SCENES": 6, "COUNT": 2, "SHARES": (0.01, 0.04), "SHOWN": 1}.items():
        monkeypatch.setattr(script, name, few)
    both = script.networks()
    monkeypatch.setattr(script, "networks", lambda: both[:1])  # the generator takes longer, and the same way
    script.main(["--out", str(tmp_path), "--work", str(tmp_path / "work")])
    written(tmp_path / "thresholds.md", "over 6 validation scenes", "| above 0 |", "| t(u, c)")


def test_measures(tmp_path):
    script = importlib.import_module("measures")
    script.main(["--out", str(tmp_path), "--work", str(tmp_path / "work"), "--images", "6"])
    written(tmp_path / "measures.md", "on 6 validation scenes", "| average precision |", "At every top fraction pass")


def test_layouts(tmp_path, monkeypatch):
    script = importlib.import_module("layouts")
    some = dict(list(script.of_others().items())[:1])
    monkeypatch.setattr(script, "of_others", lambda: some)
    monkeypatch.setattr(script, "of_transformers", lambda _: {})
    script.main(["--out", str(tmp_path)])
    written(tmp_path / "layouts.md", "1 networks", "| layer | kind |")


def test_models(tmp_path, monkeypatch):
    script = importlib.import_module("models_page")
    for name in ("progans", "stylegan2s"):
        monkeypatch.setattr(script, name, tuple)
    script.main(["--out", str(tmp_path)])
    assert re.search(r"\| WGAN-GP, 64x64 \| \d+ \| .*\| equal \|", (tmp_path / "models.md").read_text())


def test_units_as_classifiers(tmp_path, monkeypatch):
    script = importlib.import_module("unit_classifiers")
    monkeypatch.setattr(script, "SIZE", 32)
    script.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path), "--scenes", "86", "--count", "2"])
    written(tmp_path / "unit_classifiers.md", "192 units, over 86 validation scenes", "| floor (object) |")


def test_detectors(tmp_path):
    importlib.import_module("tiny_detectors").main(["--out", str(tmp_path), "--images", "2"])
    assert written(tmp_path / "detectors.md", "first 2 validation scenes").count("\n| conv") == 13


def test_the_world(tmp_path, monkeypatch):
    script = importlib.import_module("tiny_world")
    monkeypatch.setattr(script, "TESTED", 43)
    script.main(["--out", str(tmp_path), "--count", "129"])
    written(tmp_path / "tiny.md", "on 43 validation scenes", "## The concepts")


def test_trust(tmp_path, monkeypatch):
    script = importlib.import_module("trust")
    monkeypatch.setattr(script, "IMAGES", 18)
    monkeypatch.setattr(script, "FEW", 4)
    monkeypatch.setattr(script, "SIZES", (18, 4))
    script.main(["--out", str(tmp_path)])
    written(tmp_path / "trust.md", "| trained | 18 |", "| untrained | 4 |")


def test_biases(tmp_path, monkeypatch):
    script = importlib.import_module("trust_biases")
    monkeypatch.setattr("dissect.experiments.biases.maps.gc.collect", lambda: 0)  # most of the time, of so few
    fewer = {"LAYERS": script.LAYERS[:1], "REMOVED": 1, "STEPS": (0.0, 1.0), "GROUP": 2, "FRACTIONS": (0.01,)}
    fewer |= {"NETWORKS": {"a": (script.LAYERS[0], True), "b": (script.LAYERS[0], False)}}
    for name, value in fewer.items():
        monkeypatch.setattr(script, name, value)
    script.main(["--out", str(tmp_path), "--images", "8"])
    written(tmp_path / "trust_biases.md", "over the first 8 validation scenes", "one of 43 images")


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
def test_formulas(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("formulas"), "LAYERS", ["features.conv5_3"])
    importlib.import_module("formulas").main(["--images", "6", "--out", str(tmp_path)])
    written(
        tmp_path / "formulas.md",
        "The first 6 validation scenes",
        "| untrained, conv5_3 |",
        "| held out: formula |",
        "other scenes' planes, conv5_3 |",
    )
    assert (tmp_path / "formulas" / "held_out.png").is_file()


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
def test_small_networks(tmp_path, monkeypatch):
    from dissect.experiments import at_hand
    from dissect.tiny import train_small
    from dissect.tiny.training.small import SmallRecipe

    script = importlib.import_module("small_networks")
    monkeypatch.setattr(train_small, "COUNTS", {"train": 16, "val": 8})
    monkeypatch.setattr(train_small, "BATCH", 8)
    monkeypatch.setattr(train_small, "SMALL_RECIPES", {"scenes": SmallRecipe(images=16)})
    monkeypatch.setattr(at_hand, "UNTRAINED", ("scenes",))
    for name, value in {"SAMPLES": 2, "EACH": 4, "WATCHED": 4, "TRAIN": 129, "TEST": 20, "TIMED": 2}.items():
        monkeypatch.setattr(script, name, value)
    train_small.SmallTraining("scenes", tmp_path / "runs", 0).train(10)
    monkeypatch.setattr(script, "RULES", script.RULES[1:])
    script.main(["--out", str(tmp_path), "--trainings", str(tmp_path / "runs"), "--images", "6", "--tasks", "scenes"])
    written(tmp_path / "networks.md", "means over 2 samples", "| untrained-scenes | 64 |", "## By category",
            "nothing tells what a seed makes")  # fmt: skip
    written(
        tmp_path / "training.md", "## scenes-0", "| 16 |", "| scenes-0 | units |", "| alike in | units | permuted |"
    )
    written(tmp_path / "discrimination.md", "Here 2 of them", "not trained for it (1): r is not known")


def test_claims_of_small_networks_against_repeats():
    claims = importlib.import_module("small_networks_claims")

    def counts(value, color=0.5):
        made = [claims.Count(one, one - 0.4, one + 0.4) for one in (value, color)]
        return dict(zip(("all", "color"), (claims.Counts(one, one) for one in made)))

    known = {"scenes-0": counts(30.0), "scenes-1": counts(27.0), "residual-0": counts(32.0), "wide-0": counts(34.0),
             "batch-norm-0": counts(40.0), "objects-0": counts(23.0), "color-0": counts(27.0, 5.0)}  # fmt: skip
    told = claims.said(known)
    assert told.startswith("**A seed alone makes 3.0 unique detectors**: scenes-0 30.0 (29.6 to 30.4), scenes-1 27.0")
    # Further from both repeats than these from each other: 34 and 40 are more and 23 fewer, but 32 is nothing.
    for network, verdict in {"residual": "not told apart", "wide": "agrees", "batch-norm": "differs: more",
                             "objects": "agrees"}.items():  # fmt: skip
        (row,) = re.findall(rf"\| {network}-0 \| all \|.*", told)
        assert row.count(verdict) == 2
    assert re.search(r"\| almost no color detectors .* \| \*\*differs: more\*\* \|", told)
    assert "the opposite of the paper" in told
    assert "agrees 2, differs 2, not told apart 2" in told  # with color-0 of all categories, as many as scenes-1
    alone = {name: one for name, one in known.items() if name != "scenes-1"}
    assert "nothing tells what a seed makes" in claims.said(alone)
    assert claims.of_seed(alone, "all", 0) is None
    assert claims.way(counts(90.0)["all"].unique, [counts(1.0)["all"].unique], None) == "not told apart"


def test_texture(tmp_path, monkeypatch):
    script = importlib.import_module("texture")
    monkeypatch.setattr(script, "LAYERS", ["features.conv4_3", "features.conv5_3"])
    monkeypatch.setattr(script, "FAMILY", "landscape")
    monkeypatch.setattr(script.tiny, "TinyScenes", partial(script.tiny.TinyScenes, size=64))
    script.main(["--images", "30", "--out", str(tmp_path)])
    written(tmp_path / "texture.md", "30 validation scenes and their twins", "| conv5_3 | 192 | 2 |")


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
def test_directions_measured(tmp_path, monkeypatch):
    script = importlib.import_module("directions_measured")
    for name, value in {"SCENES": 43, "STEPS": 3, "FEATURES": 16, "COMPONENTS": 3, "CELLS": 64}.items():
        monkeypatch.setattr(script, name, value)
    script.main(["--images", "12", "--out", str(tmp_path)])
    written(tmp_path / "directions_measured.md", "The first 12 validation scenes", "| NMF | 3 |", "| units | 192 |")


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
def test_axis_alignment(tmp_path, monkeypatch):
    script = importlib.import_module("axis_alignment")
    for name, value in {"ALPHAS": (1.0,), "REPEATS": 1, "TRAIN": 43, "TEST": 4}.items():
        monkeypatch.setattr(script, name, value)
    script.main(["--images", "4", "--out", str(tmp_path)])
    written(
        tmp_path / "axis_alignment.md", "The first 4 validation scenes", "100% of the answers are the same",
        "| segmentation network 0, down5 (labels) | 128 |", "| top trained anew, features rotated | 1 |",
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning", "ignore::sklearn.exceptions.ConvergenceWarning")
def test_explanations(tmp_path):
    importlib.import_module("explanations").main(["--images", "8", "--train", "86", "--out", str(tmp_path)])
    written(tmp_path / "explanations.md", ") validation scenes right. Below", "fitted to 86", "It is in ")
    assert (tmp_path / "explanations" / "units.png").is_file()
