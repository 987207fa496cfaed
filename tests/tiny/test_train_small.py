"""The small classifiers' tasks by hand, and their training on a handful of images."""

import json

import numpy as np
import pytest
import torch

from dissect.files.tensors import load_tensors
from dissect.tiny import train_small
from dissect.tiny.training.small import ORDERS, SMALL_RECIPES, TASKS, SmallRecipe, load_small, of_family, posed
from dissect.tiny.weight_files import FORMAT
from dissect.tiny.world.vocabulary import FAMILIES, SCENES


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    """Four steps of eight images."""
    monkeypatch.setattr(train_small, "COUNTS", {"train": 32, "val": 10})
    monkeypatch.setattr(train_small, "BATCH", 8)
    monkeypatch.setattr(train_small, "CHECKED", 9)
    some = {name: SmallRecipe(task, start=start, images=32) for name, task, start in (
        ("scenes", "scenes", None), ("color", "color", None), ("scenes-to-objects", "objects", "scenes"))}  # fmt: skip
    monkeypatch.setattr(train_small, "SMALL_RECIPES", some)


def weights(path):
    return load_tensors(path, *FORMAT)[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_leaves_snapshots_and_a_log(tmp_path):
    assert train_small.SmallTraining("scenes", tmp_path, 3).train(10)
    files = sorted(path.name for path in (tmp_path / "scenes-3").iterdir())
    assert files == [f"{images:06}.safetensors" for images in (0, 8, 16, 32)]
    lines = [json.loads(line) for line in (tmp_path / "scenes-3.log").read_text().splitlines()]
    assert [line["images"] for line in lines] == [0, 8, 16, 32]
    first = load_small(tmp_path / "scenes-3" / files[0])
    assert not first.training
    expected = SmallRecipe().network(3).state_dict()
    assert all(torch.equal(value, expected[name].half().float()) for name, value in first.state_dict().items())
    assert first(torch.zeros(1, 3, 64, 64)).shape == (1, TASKS["scenes"])


def test_a_run_that_was_killed_ends_with_the_same_weights(tmp_path, monkeypatch):
    train_small.SmallTraining("color", tmp_path / "whole", 0).train(10)
    monkeypatch.setattr("dissect.tiny.training.run.CHECKPOINT_EVERY", 0)
    step = train_small.SmallTraining._train_step

    def killed(self):
        if self.step == 3:
            raise KeyboardInterrupt
        step(self)

    monkeypatch.setattr(train_small.SmallTraining, "_train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        train_small.SmallTraining("color", tmp_path / "two", 0).train(10)
    monkeypatch.setattr(train_small.SmallTraining, "_train_step", step)
    assert train_small.SmallTraining("color", tmp_path / "two", 0).train(10)
    ends = [weights(tmp_path / of / "color-0" / "000032.safetensors") for of in ("whole", "two")]
    assert same(*ends)


def test_one_begins_where_another_ended(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold the snapshots of a training"):
        train_small.SmallTraining("scenes-to-objects", tmp_path, 0)
    train_small.SmallTraining("scenes", tmp_path, 0).train(10)
    train_small.SmallTraining("scenes-to-objects", tmp_path, 0)
    end = weights(tmp_path / "scenes-0" / "000032.safetensors")
    begin = weights(tmp_path / "scenes-to-objects-0" / "000000.safetensors")
    alike = {name for name in begin if name in end and torch.equal(begin[name], end[name])}
    assert {*begin} - alike == {"head.fc7.weight", "head.fc7.bias"}
    assert begin["head.fc7.weight"].shape[0] == TASKS["objects"]


def test_a_training_set_of_one_family(tmp_path, monkeypatch):
    monkeypatch.setattr(train_small, "COUNTS", {"train": 86, "val": 43})
    monkeypatch.setattr(train_small, "SMALL_RECIPES", {"room": SmallRecipe(family="room", images=80)})
    run, met = train_small.SmallTraining("room", tmp_path, 0), []
    monkeypatch.setattr(train_small, "posed", lambda task, images, labels, seed: (
        met.append(labels["scenes"]), posed(task, images, labels, seed))[1])  # fmt: skip
    assert run.train(10)
    rooms = {SCENES.index(name) for name in FAMILIES["room"]}
    assert {*np.concatenate(met).tolist()} == rooms
    assert len(of_family(np.arange(43), "room")) == len(rooms)
    assert of_family(np.arange(43), None).tolist() == list(range(43))
    assert load_small(tmp_path / "room-0" / "000080.safetensors").task == "scenes"
    with pytest.raises(ValueError, match="SmallRecipe: family must be one of"):
        SmallRecipe(family="sea")


def test_tasks_by_hand():
    images = torch.rand(6, 3, 8, 8)
    labels = {"scenes": np.arange(6), "objects": np.arange(6) + 2}
    shown, answers = posed("objects", images, labels, 1)
    assert shown is images
    assert answers.tolist() == [2, 3, 4, 5, 6, 7]
    shown, turns = posed("rotation", images, labels, 1)
    for image, turned, turn in zip(images, shown, turns.tolist()):
        assert torch.equal(turned, torch.rot90(image, turn, (1, 2)))
    assert len(set(turns.tolist())) > 1
    shown, chosen = posed("puzzle", images, labels, 1)
    for image, mixed, at in zip(images, shown, chosen.tolist()):
        quarters = [image[:, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
        one, two, three, four = (quarters[place] for place in ORDERS[at])
        assert torch.equal(mixed, torch.cat([torch.cat([one, two], 2), torch.cat([three, four], 2)], 1))
    grey, red = torch.full((1, 3, 8, 8), 0.4), torch.tensor([0.9, 0.1, 0.1])[None, :, None, None].expand(1, 3, 8, 8)
    assert posed("color", grey, labels, 0)[1].unique().tolist() == [2 * 5 + 2]  # no difference, the middle of both
    assert posed("color", red, labels, 0)[1].unique().tolist() == [4 * 5 + 0]
    assert posed("color", grey, labels, 0)[1].shape == (1, 8, 8)


def test_a_color_network_sees_no_colors():
    model = SmallRecipe("color").network(0).eval()
    images = torch.rand(2, 3, 64, 64)
    turned = images[:, [2, 0, 1]]
    assert torch.allclose(model(images), model(turned), atol=1e-4)
    assert model(images).shape == (2, TASKS["color"], 8, 8)


def test_shapes():
    images = torch.rand(2, 3, 64, 64)
    for name, units in (("residual", 64), ("wide", 192), ("batch-norm", 64), ("puzzle", 64)):
        model = SMALL_RECIPES[name].network(0).eval()
        assert model.features(images).shape == (2, units, 8, 8)
        assert model(images).shape == (2, TASKS[SMALL_RECIPES[name].task])
    with pytest.raises(ValueError, match="SmallRecipe: task must be one of"):
        SmallRecipe("captions")


def test_another_file_is_refused():
    from dissect.tiny.networks import FOLDER

    with pytest.raises(ValueError, match="must hold a SmallNet, but holds a VGG"):
        load_small(FOLDER / "vgg.safetensors")
