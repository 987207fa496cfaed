"""The training script, on a handful of small images."""

import json
from itertools import count

import numpy as np
import pytest
import torch

from dissect.files.tensors import load_tensors
from dissect.tiny import TinyScenes, train
from dissect.tiny.networks import load_network
from dissect.tiny.weight_files import FORMAT


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    """A network and a data set small enough for a test: two steps to an epoch."""
    monkeypatch.setattr(train, "IMAGES", 100)
    monkeypatch.setattr(train, "DEFAULT_COUNTS", {"val": 40})
    monkeypatch.setattr(train, "BATCH", 64)
    monkeypatch.setattr(train, "CHANNELS", (4, 4, 4, 4, 4))
    monkeypatch.setattr(train, "HIDDEN", 8)


def run(folder, epochs=2, minutes=10, seed=3, size=64):
    """Trains; returns the lines of the log that tell of epochs."""
    train.ClassifierTraining(folder, epochs, minutes, seed=seed, size=size).train()
    return [line for line in log(folder) if "snapshot" not in line]


def log(folder):
    return [json.loads(line) for line in (folder / "vgg.log").read_text().splitlines()]


def weights(folder, name="vgg"):
    return load_tensors(folder / f"{name}.safetensors", *FORMAT)[0]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_leaves_a_log_and_weights(tmp_path):
    lines = run(tmp_path)
    states, about = load_tensors(tmp_path / "vgg.safetensors", *FORMAT)
    assert [line["epoch"] for line in lines] == [1, 2]
    assert {value.dtype for value in states.values()} == {torch.float16}
    assert (about["epochs"], about["seed"], about["size"], about["val_images"]) == (2, 3, 64, 40)
    assert about["scenes"] == train.scenes_version(64)


def test_it_leaves_twelve_snapshots(tmp_path):
    run(tmp_path)
    names = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
    assert names == [f"{number:02}.safetensors" for number in range(12)]
    assert [line["snapshot"] for line in log(tmp_path) if "snapshot" in line] == list(range(12))
    untrained = train.VGG(train.CHANNELS, len(TinyScenes.classes), train.HIDDEN, train.POOLED, seed=3)
    first = {name: value.half() for name, value in untrained.state_dict().items()}
    assert same(weights(tmp_path, "snapshots/00"), first)
    assert same(weights(tmp_path, "snapshots/11"), weights(tmp_path))
    assert not same(weights(tmp_path, "snapshots/10"), weights(tmp_path))


def test_snapshots_load(tmp_path):
    run(tmp_path)
    model = load_network(tmp_path / "snapshots" / "05.safetensors")
    assert not model.training
    assert tuple(model(torch.zeros(1, 3, 32, 32)).shape) == (1, len(TinyScenes.classes))


def test_a_run_killed_within_an_epoch_ends_as_if_it_were_not(tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", epochs=3)
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 0)
    train_step = train.ClassifierTraining._train_step

    def killed(self):
        if self.step == 3:
            raise KeyboardInterrupt
        return train_step(self)

    monkeypatch.setattr(train.ClassifierTraining, "_train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", epochs=3)
    monkeypatch.setattr(train.ClassifierTraining, "_train_step", train_step)
    lines = run(tmp_path / "killed", epochs=3)
    assert [(line["epoch"], line["loss"]) for line in lines] == [(line["epoch"], line["loss"]) for line in whole]
    for name in ("vgg", "snapshots/00", "snapshots/09", "snapshots/11"):
        assert same(weights(tmp_path / "killed", name), weights(tmp_path / "whole", name))


def test_a_finished_run_is_left_as_it_is(tmp_path):
    lines = run(tmp_path)
    assert run(tmp_path) == lines


@pytest.mark.parametrize("other", [{"seed": 4}, {"size": 96}])
def test_a_run_with_other_settings_is_not_continued(tmp_path, other):
    run(tmp_path, epochs=1)
    with pytest.raises(ValueError, match=r"checkpoint.safetensors must hold a run of \{.*\}, but holds one of \{"):
        run(tmp_path, epochs=1, **other)


def test_the_time_limit_holds(tmp_path, monkeypatch):
    looks = count()  # at a clock on which a quarter of a second passes between two of them
    monkeypatch.setattr(train.time, "monotonic", lambda: next(looks) / 4)
    lines = run(tmp_path, epochs=60, minutes=0.1)
    assert lines[-1]["epoch"] < 60
    assert 0.1 <= lines[-1]["minutes"] < 0.2


def test_the_rate_rises_and_falls(tmp_path):
    state = train.ClassifierTraining(tmp_path, 50, 10, seed=3, size=64)
    rates = []
    for state.step in range(state.steps + 1):  # noqa: B020
        rates.append(state.rate())
    peak = int(np.argmax(rates))
    assert max(rates) == pytest.approx(1)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_augmented_images_stay_in_range():
    images = torch.rand(6, 3, 32, 32)
    changed = train.augmented(images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert all(not torch.equal(one, other) for one, other in zip(changed, images))


def test_an_epoch_visits_each_image_once(tmp_path, monkeypatch):
    state = train.ClassifierTraining(tmp_path, 1, 10, seed=3, size=64)
    visited = []
    batch = train.batch

    def watched(images, index, classes):
        visited.extend(index.tolist())
        return batch(images, index, classes)

    monkeypatch.setattr(train, "batch", watched)
    for _ in range(state.steps_per_epoch):
        state._train_step()
    assert sorted(visited) == list(range(100))


def test_batches_hold_the_items_that_they_name():
    scenes = TinyScenes("train", 32, 45)
    images = np.stack([scenes.raw(index)[0] for index in range(45)])
    pixels, numbers = train.batch(images, np.array([3, 44, 7]), len(scenes.classes))
    assert torch.equal(pixels[1], scenes[44][0])
    assert numbers.tolist() == [scenes.scene(index) for index in (3, 44, 7)]
