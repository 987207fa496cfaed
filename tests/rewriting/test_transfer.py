"""Edits carried over as pixels: blending against a plain pyramid, warps against known movements."""

import math

import pytest
import torch
from rewriting import nets
from torch.nn.functional import avg_pool2d, interpolate

from dissect.rewriting import Transfer, laplace_blend
from dissect.rewriting.transfer import moving_least_squares


def features(images):
    return [images.abs(), avg_pool2d(images.abs(), 2)]


def smaller(plane):
    """Half the size by the filter (1, 3, 3, 1) / 8 in each direction, pixel by pixel."""
    weights, (height, width) = (1, 3, 3, 1), plane.shape
    found = torch.zeros(height // 2, width // 2)
    for i in range(height // 2):
        for j in range(width // 2):
            for a, wa in enumerate(weights):
                for b, wb in enumerate(weights):
                    row = min(max(2 * i - 1 + a, 0), height - 1)
                    column = min(max(2 * j - 1 + b, 0), width - 1)
                    found[i, j] += wa * wb / 64 * plane[row, column]
    return found


def larger(plane, size):
    return interpolate(plane[None, None], size=tuple(size), mode="bilinear", align_corners=False)[0, 0]


def test_blending_is_a_pyramid_of_details():
    first, second, mask = nets.randn(3, 16, 20), nets.randn(3, 16, 20, seed=1), torch.zeros(16, 20)
    mask[3:9, 5:14] = 1
    blended = laplace_blend(first, second, mask, levels=2)
    for channel in range(3):
        one, other, alpha, details = first[channel], second[channel], mask, []
        for _ in range(2):
            low = [smaller(each) for each in (one, other, alpha)]
            fine = [each - larger(small, each.shape) for each, small in zip((one, other), low)]
            details.append(alpha * fine[0] + (1 - alpha) * fine[1])
            one, other, alpha = low
        wanted = alpha * one + (1 - alpha) * other
        for detail in reversed(details):
            wanted = larger(wanted, detail.shape) + detail
        torch.testing.assert_close(blended[channel], wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(16, 16), (33, 40), (7, 9)])
def test_all_of_one_image_is_that_image(size):
    first, second = nets.randn(3, *size), nets.randn(3, *size, seed=1)
    torch.testing.assert_close(laplace_blend(first, second, torch.ones(size)), first, atol=1e-6, rtol=0)
    torch.testing.assert_close(laplace_blend(first, second, torch.zeros(size)), second, atol=1e-6, rtol=0)
    half = torch.full(size, 0.5)
    torch.testing.assert_close(laplace_blend(first, second, half), (first + second) / 2, atol=1e-6, rtol=0)


def test_no_levels_are_a_paste():
    first, second, mask = nets.randn(3, 8, 8), nets.randn(3, 8, 8, seed=1), nets.randn(8, 8).sigmoid()
    torch.testing.assert_close(laplace_blend(first, second, mask, levels=0), mask * first + (1 - mask) * second)


def test_warps_are_rigid():
    points = torch.complex(*nets.randn(2, 50).double())
    controls = torch.complex(*nets.randn(2, 6, seed=1).double())
    turned = controls * complex(math.cos(0.7), math.sin(0.7)) + (3 - 2j)
    torch.testing.assert_close(
        moving_least_squares(points, controls, turned), points * complex(math.cos(0.7), math.sin(0.7)) + (3 - 2j)
    )
    one = moving_least_squares(points, controls[:1], turned[:1])
    torch.testing.assert_close(one, points + (turned - controls)[0])
    goals = torch.complex(*nets.randn(2, 6, seed=2).double())
    torch.testing.assert_close(moving_least_squares(controls, controls, goals), goals, atol=1e-3, rtol=0)


@pytest.mark.parametrize("blend", ["direct", "laplace"])
def test_a_change_moves_with_the_image(blend):
    before = nets.randn(3, 32, 32)
    mask = torch.zeros(32, 32)
    mask[12:20, 12:20] = 1
    after = torch.where(mask > 0, torch.tensor(5.0), before)
    moved = before.roll((4, -4), (1, 2))
    carry = Transfer(before, after, mask, features, blend)
    for image, wanted in ((before, after), (moved, after.roll((4, -4), (1, 2)))):
        found = carry(image[None])[0]
        inside = (wanted == 5).all(0)
        assert (found[:, inside] - 5).abs().mean() < (1e-4 if blend == "direct" else 1.0)
        far = interpolate(inside[None, None].float(), scale_factor=1)[0, 0] == 0
        far[10:28, 4:24] = False
        assert (found - image)[:, far].abs().max() < (1e-4 if blend == "direct" else 1.5)


def test_an_image_without_a_correspondence_stays():
    image = nets.randn(2, 3, 8, 8)
    carry = Transfer(image[0], image[1], torch.ones(8, 8), lambda images: [torch.zeros(len(images), 2, 4, 4)])
    assert torch.equal(carry(image), image)
    assert carry(image[:0]).shape == (0, 3, 8, 8)


def test_refused():
    image = torch.zeros(3, 8, 8)
    with pytest.raises(ValueError, match=r"^Transfer: images, before, after and mask must be of one size.*\[4, 4\]"):
        Transfer(image, image, torch.zeros(4, 4), features)(image[None])
    with pytest.raises(ValueError, match=r"^Transfer: blend must be one of \('direct', 'laplace'\), but is 'poisson'"):
        Transfer(image, image, torch.zeros(8, 8), features, "poisson")(image[None])
    with pytest.raises(ValueError, match=r"^laplace_blend: images and mask must be \[3, H, W\] twice and \[H, W\]"):
        laplace_blend(image, image[:, :4], torch.zeros(8, 8))
    with pytest.raises(ValueError, match="levels must leave two rows and columns of 8, but are 3"):
        laplace_blend(image, image, torch.zeros(8, 8), levels=3)
