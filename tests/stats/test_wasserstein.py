"""Sliced Wasserstein distances: by hand along a line, and against scipy."""

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from scipy.stats import wasserstein_distance

from dissect.stats import pyramid_patches, sliced_wasserstein


def column(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


@pytest.mark.parametrize(
    ("one", "other", "order", "expected"),
    [
        ((0, 2), (3, 5), 1, 3),
        ((2, 0), (5, 3), 2, 3),
        ((0, 0), (1, 3), 1, 2),
        ((0, 0), (1, 3), 2, np.sqrt(5)),
        ((0,), (1, 2, 6), 1, 3),
        # Over thirds and halves: 0 to 0 over 1/3, 0 to 3 over 1/6, 6 to 3 over 1/6, 6 to 6 over 1/3.
        ((0, 6), (0, 3, 6), 1, 1),
        ((0, 6), (0, 3, 6), 2, np.sqrt(3)),
        ((1, 2, 3), (3, 1, 2), 1, 0),
    ],
)
def test_along_a_line_it_is_exact(one, other, order, expected):
    for a, b in ((one, other), (other, one)):
        found = sliced_wasserstein(column(*a), column(*b), projections=3, order=order)
        assert found == pytest.approx(expected, abs=1e-12)


def test_of_samples_of_different_sizes_as_scipy():
    r = np.random.default_rng(0)
    one, other = r.normal(size=(37, 1)), r.normal(1, 2, size=(50, 1))
    found = sliced_wasserstein(torch.from_numpy(one), torch.from_numpy(other), projections=2)
    assert found == pytest.approx(wasserstein_distance(one[:, 0], other[:, 0]))


def test_a_shift_is_seen_from_all_directions_alike():
    one = torch.rand(40, 2, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([3.0, 4.0])
    # The mean of |cos| over directions of the plane is 2 / pi, of its square 1 / 2.
    found = sliced_wasserstein(one, one + shift, projections=4000)
    assert found == pytest.approx(5 * 2 / np.pi, rel=0.03)
    assert sliced_wasserstein(one, one + shift, projections=4000, order=2) == pytest.approx(5 / 2**0.5, rel=0.03)


def test_the_seed_alone_says_the_directions():
    one, other = torch.rand(2, 9, 3, generator=torch.Generator().manual_seed(2))
    first = sliced_wasserstein(one, other, projections=8, seed=5)
    torch.manual_seed(7)
    assert sliced_wasserstein(one, other, projections=8, seed=5) == first
    assert sliced_wasserstein(one, other, projections=8, seed=6) != first
    assert sliced_wasserstein(other, one, projections=8, seed=5) == pytest.approx(first)


def test_directions_are_taken_in_parts_of_bounded_memory(monkeypatch):
    one, other = torch.rand(2, 9, 3)
    whole = sliced_wasserstein(one, other, projections=8)
    monkeypatch.setattr("dissect.stats.wasserstein.VALUES", 40)
    assert sliced_wasserstein(one, other, projections=8) == pytest.approx(whole)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        ((torch.zeros(3, 4), torch.zeros(3, 2)), {}, ValueError, "others must be"),
        ((torch.zeros(0, 4), torch.zeros(3, 4)), {}, ValueError, "features must be"),
        ((torch.zeros(2, 1), torch.tensor([[torch.nan]])), {}, ValueError, "others must be finite"),
        ((torch.zeros(2, 1), torch.zeros(2, 1)), {"projections": 0}, ValueError, "wasserstein: projections must be"),
        ((torch.zeros(2, 1), torch.zeros(2, 1)), {"order": 0.5}, TypeError, "order must be an integer"),
        ((torch.zeros(2, 1), torch.zeros(2, 1)), {"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_what_is_wrong_is_said(arguments, options, error, text):
    with pytest.raises(error, match=text):
        sliced_wasserstein(*arguments, **options)


def test_levels_hold_what_the_next_one_lacks():
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    blur = np.outer(kernel, kernel)[None, None]
    small = convolve(images.numpy(), blur, mode="mirror")[:, :, ::2, ::2]
    wide = np.zeros((2, 3, 32, 32))
    wide[:, :, ::2, ::2] = small
    band = images.numpy() - convolve(wide, blur * 4, mode="mirror")
    found = pyramid_patches(images[:1, :1], count=1, side=16)
    # A patch as large as its level is the level; of the first level it is some part.
    assert np.allclose(found[16][0].reshape(16, 16), standard(small[0, 0]), atol=1e-5)
    parts = [band[0, 0, y : y + 16, x : x + 16] for y in range(17) for x in range(17)]
    assert sum(np.allclose(found[32][0].reshape(16, 16), standard(part), atol=1e-5) for part in parts) == 1


def standard(values):
    return (values - values.mean()) / values.std()


def test_colours_of_patches_have_mean_0_and_deviation_1():
    images = torch.rand(4, 3, 32, 32) * torch.tensor([1, 5, 0.1]).view(3, 1, 1) + 2
    for patches in pyramid_patches(images, count=9).values():
        deviation, mean = torch.std_mean(patches.view(36, 3, 49), (0, 2), correction=0)
        assert torch.allclose(mean, torch.zeros(3), atol=1e-4)
        assert torch.allclose(deviation, torch.ones(3), atol=1e-4)
    for patches in pyramid_patches(torch.full((2, 1, 16, 16), 0.3), count=2).values():
        assert torch.equal(patches, torch.zeros(4, 49))  # never NaN


@pytest.mark.parametrize(
    ("images", "options", "text"),
    [
        (torch.rand(1, 3, 24, 24), {}, "power of two"),
        (torch.rand(1, 3, 32, 16), {}, "power of two"),
        (torch.rand(3, 32, 32), {}, "power of two"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), {}, "must be floats"),
        (torch.rand(1, 3, 32, 32), {"side": 17}, "side must be at most 16"),
        (torch.rand(1, 3, 32, 32), {"count": 0}, "pyramid_patches: count must be at least 1"),
    ],
)
def test_other_images_are_refused(images, options, text):
    with pytest.raises(ValueError, match=text):
        pyramid_patches(images, **options)
