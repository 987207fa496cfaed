"""The training script of segmentation networks, on a handful of small images."""

import json

import numpy as np
import pytest
import torch

from dissect.files.tensors import load_tensors
from dissect.tiny import TinyScenes, train_segmenter
from dissect.tiny.networks import SEGMENTER_GROUPS, SEGMENTER_PLANES, load_segmenter
from dissect.tiny.weight_files import FORMAT
from dissect.tiny.world.vocabulary import CONCEPTS


@pytest.fixture
def _few(monkeypatch):
    monkeypatch.setattr(train_segmenter, "COUNTS", {"train": 24, "val": 12})
    monkeypatch.setattr(train_segmenter, "BATCH", 8)
    monkeypatch.setattr(train_segmenter, "IMAGES", 40)
    monkeypatch.setattr(train_segmenter, "SEGMENTER_CHANNELS", (4, 6))


@pytest.mark.usefixtures("_few")
def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    assert train_segmenter.SegmenterTraining(tmp_path / "whole", 3).train(10)
    early = train_segmenter.SegmenterTraining(tmp_path / "parts", 3)
    for _ in range(3):
        early._train_step()
    early._save()
    stopped = train_segmenter.SegmenterTraining(tmp_path / "parts", 3)
    assert stopped.step == 3
    assert stopped.train(10)
    (one, about), (other, _) = (
        load_tensors(tmp_path / folder / "segmenter-3.safetensors", *FORMAT) for folder in ("whole", "parts")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert about["channels"] == [4, 6]
    assert about["iou"]["object/sky"] >= 0
    lines = [json.loads(line) for line in (tmp_path / "whole" / "segmenter-3.log").read_text().splitlines()]
    assert [line["images"] for line in lines[:-1]] == [8, 16, 24, 32, 40]

    planes = load_segmenter(tmp_path / "whole" / "segmenter-3.safetensors", signed=True)(torch.zeros(2, 3, 16, 16))
    assert planes.shape == (2, 4, 16, 16)
    monkeypatch.setattr(train_segmenter, "IMAGES", 48)
    with pytest.raises(ValueError, match="must hold a run of"):
        train_segmenter.SegmenterTraining(tmp_path / "parts", 3)


@pytest.mark.usefixtures("_few")
def test_it_learns(tmp_path, monkeypatch):
    monkeypatch.setattr(train_segmenter, "SIZE", 32)
    monkeypatch.setattr(train_segmenter, "IMAGES", 160)
    monkeypatch.setattr(train_segmenter, "SEGMENTER_CHANNELS", (12, 16))
    run = train_segmenter.SegmenterTraining(tmp_path, 3)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    run.train(10)
    assert run.log[-1]["loss"] < 0.9 * run.log[0]["loss"]  # 0.88 measured
    for name, value in run.network.named_parameters():
        assert not torch.equal(value, before[name]), name


@pytest.mark.usefixtures("_few")
def test_what_is_rendered_is_the_scenes(tmp_path):
    images, places = train_segmenter.rendered("val", tmp_path)
    image, planes = TinyScenes("val", 64, 12).raw(5)
    assert np.array_equal(images[5], image)
    for group, plane, place in zip(SEGMENTER_GROUPS, SEGMENTER_PLANES, places[5], strict=True):
        assert np.array_equal(np.array(group)[place], planes[plane])


def test_groups_hold_every_label_that_a_plane_shows():
    scenes = TinyScenes("val", 32, 86)
    for index in range(len(scenes)):
        planes = scenes.raw(index)[1]
        for group, plane in zip(SEGMENTER_GROUPS, SEGMENTER_PLANES, strict=True):
            missing = set(np.unique(planes[plane])) - set(group)
            assert not missing, [CONCEPTS.names[label] for label in missing]


class Always(torch.nn.Module):
    """Says the same place of each group everywhere."""

    def forward(self, images):
        logits = torch.zeros(len(images), sum(len(group) for group in SEGMENTER_GROUPS), *images.shape[2:])
        logits[:, 1] = 1
        return logits


def test_ious_by_hand():
    images = np.zeros((2, 3, 4, 4), np.uint8)
    places = np.zeros((2, 4, 4, 4), np.uint8)
    places[0, 0, :2] = 1
    places[1, 0, 0, 0] = 2
    found = train_segmenter.ious(Always(), images, places)
    first, second = (CONCEPTS.names[label] for label in SEGMENTER_GROUPS[0][1:3])
    assert found == {f"object/{first}": 8 / 32, f"object/{second}": 0.0}


def test_degraded_images_are_some_of_them_and_alike_for_a_seed():
    images = torch.rand(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    one, same = (train_segmenter.degraded(images, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, same)
    changed = (one != images).flatten(1).any(1).sum()
    assert 20 < changed < 55
    assert one.min() >= 0
    assert one.max() <= 1


@pytest.mark.parametrize("which", range(3))
def test_each_degradation_alone(monkeypatch, which):
    """Blurred, noisy, and smaller and larger again, in this order."""
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    real, chosen = torch.rand, torch.ones(3, 2)
    chosen[which, 1] = 0
    monkeypatch.setattr(torch, "rand", lambda *shape, **how: chosen if shape == (3, 2) else real(*shape, **how))
    made = train_segmenter.degraded(images, torch.Generator().manual_seed(5))
    assert torch.equal(made[0], images[0])
    change = made[1] - images[1]
    if which == 1:
        assert train_segmenter.NOISE[0] * 0.5 < change.std() < train_segmenter.NOISE[1]
    else:
        rough, smooth = (torch.diff(image, dim=2).abs().mean() for image in (images[1], made[1]))
        assert smooth < (0.95, 0.7)[which == 2] * rough


def test_a_blur_keeps_flat_images_and_the_sum_of_a_point():
    flat = torch.full((2, 3, 8, 8), 0.3)
    assert torch.allclose(train_segmenter.blur(flat, torch.tensor([0.5, 1.2])), flat)
    point = torch.zeros(2, 3, 9, 9)
    point[:, :, 4, 4] = 1
    narrow, wide = train_segmenter.blur(point, torch.tensor([0.4, 1.2]))
    assert torch.allclose(narrow.sum((1, 2)), torch.ones(3))
    assert narrow[0, 4, 4] > wide[0, 4, 4]
