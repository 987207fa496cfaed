"""The Frechet distance against its closed forms and against scipy's matrix root."""

import numpy as np
import pytest
import scipy.linalg
import torch

from dissect.stats import FrechetReference, frechet_distance


def sample(count, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator) @ torch.randn(width, width, generator=generator)


def test_one_dimension_in_closed_form():
    one, other = torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [2.0], [3.0]])
    assert frechet_distance(one, other) == pytest.approx((np.sqrt(8) - 1) ** 2)


def test_a_shift_is_its_square_and_nothing_else():
    one = sample(50, 5, 0)
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5, 3.0])
    assert frechet_distance(one, one + shift) == pytest.approx(float(shift.square().sum()), rel=1e-4)
    assert frechet_distance(one, one) < 1e-6


@pytest.mark.parametrize("count", [4, 200])
def test_it_is_the_published_formula(count):
    """With four rows the covariances have rank three."""
    one, other = sample(count, 6, 1).double(), sample(300, 6, 2).double()
    a, b = np.cov(one.T.numpy()), np.cov(other.T.numpy())
    shift = (one.mean(0) - other.mean(0)).square().sum().item()
    expected = shift + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-4)


def test_bad_samples_are_refused():
    with pytest.raises(ValueError, match=r"others is \[3, 2\]"):
        frechet_distance(torch.zeros(3, 4), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="at least two rows"):
        frechet_distance(torch.zeros(1, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="others must be finite"):
        frechet_distance(torch.zeros(2, 1), torch.tensor([[0.0], [torch.nan]]))


@pytest.mark.parametrize("rows", [4, 30])  # fewer and more than there are features
def test_a_reference_gives_the_distance_of_each(rows):
    chance = torch.Generator().manual_seed(0)
    real, others = torch.rand(40, 6, generator=chance), torch.rand(3, rows, 6, generator=chance) * 2
    reference = FrechetReference(real)
    for other in others:
        assert reference.distance(other) == pytest.approx(frechet_distance(other, real), rel=1e-6)
    weights = torch.tensor([2, 0, 1, 3] * rows)[:rows]
    again = others[0].repeat_interleave(weights, 0)
    assert reference.distance(others[0], weights) == pytest.approx(frechet_distance(again, real), rel=1e-6)
    with pytest.raises(ValueError, match="D=6"):
        reference.distance(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="at least two rows"):
        FrechetReference(real[:1])
    with pytest.raises(ValueError, match="must be finite"):
        reference.distance(real * torch.nan)
