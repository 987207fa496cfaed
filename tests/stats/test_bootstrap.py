"""Intervals of samples that are drawn again."""

import pytest
import torch

from dissect.stats.bootstrap import drawn_again, ends, interval_of


def test_each_sample_is_as_large_as_the_first():
    weights = drawn_again(7, 50, seed=3)
    assert weights.shape == (50, 7)
    assert (weights.sum(1) == 7).all()
    assert len(weights.unique(dim=0)) > 40
    assert torch.equal(weights, drawn_again(7, 50, seed=3))
    assert not torch.equal(weights, drawn_again(7, 50, seed=4))


@pytest.mark.parametrize(("count", "low"), [(1, 0), (40, 0), (41, 1), (1000, 24)])
def test_ends_are_values_that_are_as_far_from_both_sides(count, low):
    values = torch.randperm(count).double()
    assert ends(values).tolist() == [low, count - 1 - low]
    assert torch.equal(ends(torch.stack([values, -values], 1))[1], -ends(values).flip(0))


def test_what_is_unknown_is_left_out_and_too_little_gives_none():
    values = torch.tensor([1.0, torch.nan, 3.0])
    assert interval_of(values, 10).tolist() == [1, 3]
    assert interval_of(values, 9).isnan().all()
    assert interval_of(values[1:2], 10).isnan().all()
