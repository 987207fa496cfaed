import base64

import numpy as np
import pytest
import torch

from dissect.reference import upsample
from dissect.report import pictures
from dissect.report.pictures import MASK_SIDES, encode_masks, encode_pictures, mask_side, top_masks

from .conftest import judge, make_dissection, make_layer


def decode(text: str, shape: tuple[int, int]) -> torch.Tensor:
    mask, place, fires = np.zeros(shape[0] * shape[1], bool), 0, False
    for length in base64.b64decode(text):
        mask[place : place + length] = fires
        place += length
        if length < 255:
            fires = not fires
    assert place == mask.size
    return torch.from_numpy(mask.reshape(shape))


def test_mask_by_hand():
    masks = torch.tensor([[[0, 0, 1], [1, 0, 0]], [[1, 1, 1], [1, 1, 1]]]).bool()
    assert [list(base64.b64decode(text)) for text in encode_masks(masks)] == [[2, 2, 2], [0, 6]]


@pytest.mark.parametrize("lead", [0, 1, 254, 255, 256, 509, 510, 511, 765, 1000])
def test_long_runs(lead):
    masks = torch.zeros(1, 40, 25, dtype=torch.bool)
    masks.view(-1)[lead : lead + 255] = True
    (text,) = encode_masks(masks)
    assert torch.equal(decode(text, (40, 25)), masks[0])


def test_random_masks():
    masks = torch.rand(5, 13, 37, generator=torch.Generator().manual_seed(0)) > 0.7
    assert all(torch.equal(decode(text, (13, 37)), mask) for text, mask in zip(encode_masks(masks), masks))


def test_masks_are_those_of_the_layer(monkeypatch):
    layer = make_layer("a", 7, 6, 9)
    monkeypatch.setattr(pictures, "PIXELS", 3 * 5 * 40 * 40)
    masks = list(top_masks(layer, 5, 128))
    assert len(masks) == 7
    assert all(torch.equal(mask, layer.masks(unit)) for unit, (mask, _) in enumerate(masks))


def test_masks_of_the_sample_follow():
    result = judge(make_dissection([make_layer("a", 7, 6, 9)]))
    layer = result["a"]
    for unit, (masks, shares) in enumerate(top_masks(layer, 3, 128)):
        upsampled = upsample(layer.sample.maps[unit], layer.grid.rows, layer.grid.columns)
        assert torch.equal(masks, torch.cat([layer.masks(unit)[:3], upsampled > layer.thresholds[unit]]))
        assert torch.equal(shares, masks.double().mean((1, 2)))


def test_large_masks_are_thinned():
    layer = make_layer("a", 3, 6, 9, size=3 * 32)
    for unit, (masks, _) in enumerate(top_masks(layer, 2, 32)):
        assert torch.equal(masks, layer.masks(unit)[:2, 1::3, 1::3])


def test_masks_fit_the_budget(monkeypatch):
    layers = [make_layer("a", 60, 6, 9, size=200), make_layer("b", 1, 6, 9, size=50)]

    def taken(side):
        return sum(
            len(text) for layer in layers for masks, _ in top_masks(layer, 5, side) for text in encode_masks(masks)
        )

    assert mask_side(layers, 5) == MASK_SIDES[0]
    monkeypatch.setattr(pictures, "MASK_BUDGET", taken(MASK_SIDES[0]) // 2)
    side = mask_side(layers, 5)
    assert side in MASK_SIDES[1:]
    assert taken(side) <= pictures.MASK_BUDGET * 1.1
    assert mask_side([], 5) == MASK_SIDES[0]


def test_pictures_fit_the_budget(monkeypatch):
    images = torch.randint(0, 256, (30, 3, 64, 96), generator=torch.Generator().manual_seed(0)).byte()
    wide = sum(map(len, encode_pictures(images)[1]))
    monkeypatch.setattr(pictures, "PICTURE_BUDGET", wide // 3)
    assert sum(map(len, encode_pictures(images)[1])) <= wide // 3


def test_what_was_not_tried_may_be_larger(monkeypatch):
    images = torch.randint(0, 256, (48, 3, 64, 96), generator=torch.Generator().manual_seed(0)).byte()
    monkeypatch.setattr(pictures, "PICTURE_BUDGET", sum(map(len, encode_pictures(images)[1])) // 8)
    images[torch.linspace(0, 47, pictures.PROBES).long()] = 128
    assert sum(map(len, encode_pictures(images)[1])) <= pictures.PICTURE_BUDGET


def test_shares_are_of_the_whole_mask():
    layer = make_layer("a", 40, 6, 9, size=200)
    for unit, (masks, shares) in enumerate(top_masks(layer, 5, 24)):
        assert masks.shape[1] == 24
        assert torch.equal(shares, layer.masks(unit)[:5].double().mean((1, 2)))


def test_no_pictures():
    assert encode_pictures(torch.zeros(0, 3, 8, 8, dtype=torch.uint8))[1] == []
