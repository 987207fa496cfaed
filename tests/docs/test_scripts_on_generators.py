"""The same of the scripts whose pages are on generators, and on what segmenters see in them."""

import importlib
import shutil

import torch
from written_pages import written

from dissect.tiny import generator
from dissect.tiny.networks import FOLDER as WEIGHTS


def few_scenes(scenes, most):
    """At most so many scenes of a recipe."""
    return lambda recipe, split, count: scenes(recipe, split, min(count, most))


def test_painting(tmp_path, monkeypatch):
    script = importlib.import_module("painting")
    few = {"FOUND": 10, "FEWEST": 2, "CONCEPTS": ("object/tree", "part/door"), "CONTEXTS": {"sky": ("object/sky",)}}
    plans = {name: [("remove", "object/tree", "object/house")] for name in script.MOVIES}
    for name, value in {**few, "MANY": 5, "MOVIES": plans}.items():
        monkeypatch.setattr(script, name, value)
    script.main(["--images", "3", "--out", str(tmp_path)])
    text = written(tmp_path / "painting_measured.md", "3 images of another seed", "| door | sky | 3 | 0.0 | 0.0 |")
    assert "nan" not in text


def test_experiments_on_generators(tmp_path, monkeypatch):
    script = importlib.import_module("experiments_generators")
    few, most, other = {1: 8, 10: 24, 3: 4, 4: 2, 5: 2}, "object/tree", "object/road"
    fewer = {1: 4, 10: 8, 3: 4, 4: 2, 5: 2}  # of a generator that takes five times as long
    traced = {"tree-3x3": (other, 3, 1), "tree-1x1": (other, 1, 1), "door-3x3": (other, 3, 1)}
    inserted = {name: (other, 6, 1) for name in traced}  # large blocks fit at few places
    for name, value in {
        "SAMPLES": few, "STYLE_SAMPLES": fewer, "EPOCHS": 1, "DRAWS": 1, "TREE": most, "DOOR": other,
        "CLASSES": (most, other), "PLACES": torch.tensor([[0, 0], [1, 1]]), "INSERTED": inserted, "TRACED": traced,
    }.items():  # fmt: skip
        monkeypatch.setattr(script, name, value)
    monkeypatch.setattr("dissect.generators.curves.COUNTS", (1, 5))
    small = "progan-street-small"  # of a quarter of the pixels
    monkeypatch.setattr(script, "generator", lambda name=small: generator(name))
    script.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path)])
    page = tmp_path / "experiments_generators.md"
    written(page, "| effects and curves | 3 | 4 | 4 |", "| progan-street |", "| StyleGAN2 |", "| 5 (3.9%) |")


def test_rewriting(tmp_path, monkeypatch):
    script, marks = (importlib.import_module(f"rewriting_{name}") for name in ("rules", "marks"))
    few = {"SAMPLES": 6, "RANKED": 2, "MEASURES": 3, "PART": 2, "TRANSFERRED": 1, "STEPS": 2, "SHOWN": 1, "CONTEXT": 2}
    for name, value in {**few, "RULES": script.RULES[2:]}.items():
        monkeypatch.setattr(script, name, value)
    for name, value in {"MARKS": 4, "STEPS": 2, "ANNOTATED": 2, "SHOWN": 3, "TRUNCATIONS": (0.5,)}.items():
        monkeypatch.setattr(marks, name, value)
    monkeypatch.setattr(script.judge, "STAMP_CORRELATION", 0.0)
    script.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path)])
    rows = "### Roads become water", "| unmodified |", "| 15 units ablated |", "| all weights |", "| Laplace blending |"
    written(
        tmp_path / "rewriting.md", *rows, "of the first 3 images", "the first 2 where", "Truncation 0.5, 2 annotated"
    )
    assert (tmp_path / "work" / "pairs-roads-become-water.html").exists()


def test_a_rule_turned_round(tmp_path, monkeypatch):
    script = importlib.import_module("rewriting_inverted")
    for name, value in {
        "SAMPLES": 6, "POOL": 4, "PAIRS": 2, "COUNT": 2, "SHOWN": 2, "STEPS": 1, "FINAL": 2, "LEAST": 0, "BRIGHTER": 1,
        "CANDIDATES": ("layer7", "layer8"),
    }.items():  # fmt: skip
        monkeypatch.setattr(script, name, value)
    script.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path)])
    written(tmp_path / "rewriting_inverted.md", "2 unseen images", "| rank one |", "of 2 |", "after 1 steps")


def test_layers_as_memories(tmp_path, monkeypatch):
    script = importlib.import_module("rewriting_layers")
    for name, value in {
        "COUNT": 3, "SHOWN": 1, "MATCHED": 6, "BEST": 2, "LAYERS": ("layer4", "layer8"), "SIZES": (1, 2), "SIDE": 2,
        "CLASSES": ("object/road",),
    }.items():  # fmt: skip
        monkeypatch.setattr(script, name, value)
    script.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path)])
    written(tmp_path / "rewriting_layers.md", "one patch each of 3 images", "| `layer4` | 2 | 16 |")


def test_artifacts(tmp_path, monkeypatch):
    script = importlib.import_module("experiments_artifacts")
    monkeypatch.setattr("dissect.generators.artifact_search.ONE_OF", 2)
    for name, value in {
        "SAMPLES": {7: 4, 5: 4, 6: 4, 1: 8}, "REAL": 4, "FEWER_REAL": 4, "SMALL": 4, "KEPT": 2, "PAIRS": 2,
        "TRAININGS": script.TRAININGS[:1], "STYLED_COUNT": 4, "STYLED_KEPT": 2,
    }.items():  # fmt: skip
        monkeypatch.setattr(script, name, value)
    script.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path)])
    written(tmp_path / "experiments_artifacts.md", "seed 1", "| maximising | flagged | 8 |", "| baseline |",
            "| uniform | worst | 8 |")  # fmt: skip
    assert (tmp_path / "work" / "flagging.html").exists()
    assert (tmp_path / "work" / "pairs.key.json").exists()


def test_a_training_watched(tmp_path, monkeypatch):
    script = importlib.import_module("monitoring")
    monkeypatch.setattr(script, "LAYERS", ["layer1", "layer2"])
    script.main(["--out", str(tmp_path), "--count", "3"])
    written(tmp_path / "monitoring.md", "3 images of z", "| 280000 | layer2 | 96 |")


def test_generators(tmp_path, monkeypatch):
    script = importlib.import_module("tiny_generators")
    monkeypatch.setattr(script, "scenes", few_scenes(script.scenes, 4))
    script.main(["--out", str(tmp_path), "--weights", str(WEIGHTS), "--count", "4"])
    text = written(tmp_path / "generators.md", "## progan-street\n", "| watermark | held-out scenes | generated |")
    assert "Not judged by eye yet" not in text


def test_generators_compared(tmp_path, monkeypatch):
    script = importlib.import_module("tiny_compared")
    few = few_scenes(script.scenes, 4)
    monkeypatch.setattr(script, "scenes", few)
    monkeypatch.setattr(script, "images_of", lambda recipe, _: script.drawn(few(recipe, "train", 4))[0].numpy())
    trained = tmp_path / "trained"
    (trained / "snapshots" / script.GROWING).mkdir(parents=True)
    for name in script.NAMES:
        shutil.copy(WEIGHTS / f"{name}.safetensors", trained)
    shutil.copy(WEIGHTS / f"{script.GROWING}.safetensors", trained / "snapshots" / script.GROWING / "1.safetensors")
    script.main(["--out", str(tmp_path), "--trained", str(trained), "--count", "4"])
    written(tmp_path / "generators_compared.md", "| baseline |", "## rooms", "## Along a training")


def test_segmenters(tmp_path, monkeypatch):
    script = importlib.import_module("tiny_segmenters")
    groups = importlib.import_module("dissect.tiny.train_segmenter")
    monkeypatch.setitem(groups.COUNTS, "val", 3)
    monkeypatch.setattr(script, "JUDGED", 10)
    monkeypatch.setattr(script, "COMPARED", 3)
    generator = WEIGHTS / "progan-street.safetensors"
    folders = ("--weights", str(WEIGHTS), "--scenes", str(tmp_path), "--out", str(tmp_path))
    script.main([*folders, "--generator", str(generator)])
    written(tmp_path / "segmenters.md", "IoU on 3 held-out scenes", "| objects of 50 generated images |")


def test_omissions(tmp_path, monkeypatch):
    measured, inverted = (importlib.import_module(f"omissions_{name}") for name in ("measured", "inverted"))
    few = {name: how for name, how in inverted.METHODS.items() if name in ("a", "d", "f")}
    some = {name: measured.SCENES[name] for name in ("progan-street", "wgangp-street-small")}
    shortest = {"width": 1, "epochs": 1, "image_epochs": 1, "batch_size": 2}
    for module, values in {
        measured: {"COUNT": 4, "LOOKED": 4, "SCENES": some, "PATCHES": 4},
        inverted: {"IMAGES": 2, "STEPS": 1, "EACH": 1, "KIND_EACH": 1, "SHEET_STEPS": 1, "EPOCHS": 1, "IMAGE_EPOCHS": 1,
                   "RECONSTRUCTION_EPOCHS": 1, "METHODS": few, "STYLE_IMAGES": 2, "STYLE_TRAINING": shortest},
    }.items():  # fmt: skip
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    train, tune = inverted.LayerInverter.train.__func__, inverted.LayerInverter.fine_tune
    short = {"batches": 1, "batch_size": 2}
    monkeypatch.setattr(
        inverted.LayerInverter, "train", classmethod(lambda *a, **b: train(*a, **{"width": 1, **b, **short}))
    )
    monkeypatch.setattr(inverted.LayerInverter, "fine_tune", lambda *a, **b: tune(*a, **b, **short))
    script = importlib.import_module("omissions")
    monkeypatch.setattr(script, "SCENES", some)
    monkeypatch.setattr(script, "METHODS", few)
    monkeypatch.setattr(script, "CLASSES", ("object/road",))
    script.main(["--work", str(tmp_path / "work"), "--out", str(tmp_path)])
    written(tmp_path / "omissions.md", "| progan-street |", "| (f) |", "(a) < (d) < (f)", "| road, all 1 |")
