"""Neural best buddies against a plain loop over all pairs of places, and what they are on images that are known."""

import pytest
import torch
from rewriting import nets
from torch.nn.functional import avg_pool2d, normalize, pad

from dissect.rewriting import best_buddies
from dissect.rewriting.buddies import ACTIVE


def by_hand(first, second, patch=5):
    """Mutual nearest places of two maps [C, h, w], each compared with each."""
    rows = [pad(features[None], (patch // 2,) * 4, "replicate")[0] for features in (first, second)]
    stats = [(each.mean((1, 2), keepdim=True), each.std((1, 2), keepdim=True)) for each in rows]
    mean, deviation = (sum(parts) / 2 for parts in zip(*stats))
    common = [normalize((e - m) / d * deviation + mean, dim=0) for e, (m, d) in zip(rows, stats)]
    height, width = first.shape[1:]
    alike = torch.empty(height * width, height * width)
    for a in range(height * width):
        for b in range(height * width):
            (i, j), (k, n) = divmod(a, width), divmod(b, width)
            alike[a, b] = (
                common[0][:, i : i + patch, j : j + patch] * common[1][:, k : k + patch, n : n + patch]
            ).sum()
    response = []
    for features in (first, second):
        squares = features.square().sum(0).flatten()
        response.append((squares - squares.min()) / (squares.max() - squares.min()))
    found = set()
    for a in range(height * width):
        b = int(alike[a].argmax())
        if int(alike[:, b].argmax()) == a and response[0][a] >= ACTIVE and response[1][b] >= ACTIVE:
            found.add((*divmod(a, width), *divmod(b, width)))
    return found


def test_one_level_is_a_comparison_of_all_places():
    first, second = nets.randn(3, 6, 5, seed=1), nets.randn(3, 6, 5, seed=2)
    found = best_buddies([first], [second], count=99)
    scale = torch.tensor([6.0, 5.0])
    places = torch.cat([found.first * scale - 0.5, found.second * scale - 0.5], 1).round().long()
    assert {tuple(row) for row in places.tolist()} == by_hand(first, second)
    assert len(found.strength) > 3
    assert found.strength.tolist() == sorted(found.strength.tolist(), reverse=True)


def test_a_moved_image_is_followed_down_to_pixels():
    image = nets.randn(4, 32, 32, seed=3).abs()
    levels = [[each, avg_pool2d(each, 2), avg_pool2d(each, 4)] for each in (image, image.roll((4, -8), (1, 2)))]
    found = best_buddies(*levels, count=6)
    moved = (found.second - found.first) * 32
    inside = ((found.second > 0.2) & (found.second < 0.8)).all(1)
    assert inside.sum() >= 2
    assert torch.equal(moved[inside], torch.tensor([4.0, -8.0]).expand(int(inside.sum()), 2))
    assert len(found.first) == 6


def test_an_image_is_its_own_buddy():
    image = nets.randn(4, 8, 8).abs()
    found = best_buddies([image, avg_pool2d(image, 2)], [image, avg_pool2d(image, 2)])
    assert torch.equal(found.first, found.second)
    assert len(found.first) == 10


def test_none_where_nothing_responds():
    found = best_buddies([torch.zeros(2, 4, 4)], [torch.zeros(2, 4, 4)])
    assert found.first.shape == (0, 2)
    assert found.strength.shape == (0,)


def test_refused():
    image = torch.zeros(2, 8, 8)
    for first, second in (
        ([], []),
        ([image], [image[:1]]),
        ([image, image], [image, image]),
        ([image] * 6, [image] * 6),
    ):
        with pytest.raises(ValueError, match=r"^best_buddies: features must give 1 to 5 maps \[C, h, w\], the finest"):
            best_buddies(first, second)
