"""Peaks: the best images, with ties to the lower number."""

import numpy as np
import pytest
import torch

from dissect.stats import Peaks


def maps(*rows):
    """[N, U] peaks as 1x1 maps."""
    return torch.tensor(rows, dtype=torch.float32)[:, :, None, None]


def test_by_hand():
    peaks = Peaks(2)
    peaks.add(maps([1.0, 5.0], [3.0, -1.0]), torch.tensor([0, 1]))
    peaks.add(maps([2.0, 5.0]), torch.tensor([2]))
    assert peaks.values().tolist() == [[3.0, 2.0], [5.0, 5.0]]
    assert peaks.images().tolist() == [[1, 2], [0, 2]]


def test_ties_go_to_the_lower_number_in_any_order():
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        peaks = Peaks(3)
        for number in order:
            peaks.add(maps([7.0]), torch.tensor([number]))
        assert peaks.images().tolist() == [[0, 1, 2]]


def test_fewer_images_than_k():
    peaks = Peaks(5)
    peaks.add(maps([1.0], [2.0]), torch.tensor([0, 1]))
    assert peaks.images().tolist() == [[1, 0]]


def test_splits_and_merges_do_not_matter():
    activations, numbers = torch.randn(30, 7, 3, 3).round(), torch.randperm(100)[:30]
    whole, left, right = Peaks(4), Peaks(4), Peaks(4)
    whole.add(activations, numbers)
    left.add(activations[20:], numbers[20:])
    for part, some in zip(activations[:20].split(7), numbers[:20].split(7)):
        right.add(part, some)
    left.merge(right)
    assert torch.equal(left.images(), whole.images())
    assert torch.equal(left.values(), whole.values())
    left.merge(Peaks(4))  # a shard that had no images
    assert torch.equal(left.values(), whole.values())
    again = Peaks(4)
    again.merge(Peaks(4))
    again.load_state_dict(whole.state_dict())
    assert torch.equal(again.images(), whole.images())


def test_equals_a_sort():
    activations = torch.randn(20, 3, 4, 4)
    peaks = Peaks(20)
    peaks.add(activations, torch.arange(20))
    expected = activations.amax((2, 3)).T.sort(1, descending=True)
    assert torch.equal(peaks.values(), expected.values)
    assert torch.equal(peaks.images(), expected.indices)


def test_errors():
    with pytest.raises(ValueError, match="k must be at least 1, but got 0"):
        Peaks(0)
    with pytest.raises(ValueError, match=r"images must have shape \[N=2\], but got \[3\]"):
        Peaks(1).add(maps([1.0], [2.0]), torch.arange(3))
    with pytest.raises(TypeError, match=r"image numbers, but got numpy\.ndarray; torch\.from_numpy makes one"):
        Peaks(1).add(maps([1.0], [2.0]), np.arange(2))
    with pytest.raises(TypeError, match=r"images must be image numbers, integers, but are torch\.float32"):
        Peaks(1).add(maps([1.0], [2.0]), torch.zeros(2))
    with pytest.raises(ValueError, match="must be added once each, but 7 came twice in a batch"):
        Peaks(1).add(maps([1.0], [2.0]), torch.tensor([7, 7]))
    peaks = Peaks(1)
    peaks.add(maps([1.0], [2.0]), torch.tensor([3, 7]))
    with pytest.raises(ValueError, match="must be added once each, but 7 was added before"):
        peaks.add(maps([1.0]), torch.tensor([7]))
    assert peaks.images().tolist() == [[7]]
    with pytest.raises(ValueError, match="must have the same k, but got 1 and 2"):
        Peaks(1).merge(Peaks(2))
    others = Peaks(1)
    others.add(torch.ones(1, 3, 1, 1), torch.tensor([8]))
    with pytest.raises(ValueError, match="must have as many units, but have 1 and 3"):
        peaks.merge(others)
