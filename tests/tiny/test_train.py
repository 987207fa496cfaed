"""The training script, on a handful of small images."""

import json

import numpy as np
import pytest
import torch

from dissect.cache import load_tensors
from dissect.tiny import train
from dissect.tiny.networks import FORMAT


@pytest.fixture
def few(monkeypatch):
    """A network and a data set small enough for a test."""
    monkeypatch.setattr(train, "DEFAULT_COUNTS", {"train": 100, "val": 40})
    monkeypatch.setattr(train, "CHANNELS", (4, 4, 4, 4, 4))
    monkeypatch.setattr(train, "HIDDEN", 8)


def run(folder, epochs, minutes=10):
    folder.mkdir(exist_ok=True)
    train.Run(folder, epochs, minutes, seed=3, size=32).train()
    return [json.loads(line) for line in (folder / "vgg.log").read_text().splitlines()]


@pytest.mark.usefixtures("few")
def test_it_leaves_a_log_and_weights(tmp_path):
    lines = run(tmp_path, epochs=2)
    states, about = load_tensors(tmp_path / "vgg.safetensors", *FORMAT)
    assert [line["epoch"] for line in lines] == [0, 1]
    assert {value.dtype for value in states.values()} == {torch.float16}
    assert (about["epochs"], about["seed"], about["size"]) == (2, 3, 32)


@pytest.mark.usefixtures("few")
def test_it_goes_on_where_it_stopped(tmp_path):
    run(tmp_path, epochs=1)
    assert [line["epoch"] for line in run(tmp_path, epochs=3)] == [0, 1, 2]


@pytest.mark.usefixtures("few")
def test_the_time_limit_holds(tmp_path):
    lines = run(tmp_path, epochs=1000, minutes=0.001)
    assert len(lines) < 1000
    assert lines[-1]["minutes"] >= 0.001


def test_augmented_images_stay_in_range():
    images = torch.rand(6, 3, 32, 32)
    changed = train.augmented(images.clone(), torch.Generator().manual_seed(0))
    assert changed.shape == images.shape
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert not torch.equal(changed, images)


def test_batches_hold_each_image_once():
    images = np.arange(130, dtype=np.uint8)[:, None, None, None].repeat(3, 1)
    order = np.random.default_rng(0).permutation(130)
    pairs = [(p[:, 0, 0, 0] * 255, n) for p, n in train.batches(images, 20, order)]
    pixels = torch.cat([p for p, _ in pairs]).round().long()
    assert sorted(pixels.tolist()) == list(range(130))
    assert torch.equal(pixels % 20, torch.cat([n for _, n in pairs]))
