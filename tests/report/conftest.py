from pathlib import Path

import pytest
import torch

from dissect import Concepts, Dissection, Grid, write_report
from dissect.dissection import LayerDissection

PAIRS = [("sky", "object"), ("tree", "object"), ("wood", "material"), ("striped", "texture"), ("green", "color")]


def make_layer(
    name: str, units: int, labels: int, images: int, *, share: float = 0.5, size: int = 24, top: int = 5, seed: int = 0
) -> LayerDissection:
    """A layer in which unit u's intersection with its own concept is `share` of both areas."""
    random = torch.Generator().manual_seed(seed)
    grid = Grid.half_pixel((6, 6), (size, size))
    area = 100
    intersection = torch.zeros(units, labels, dtype=torch.int64)
    own = torch.arange(units) % (labels - 1) + 1
    intersection[torch.arange(units), own] = int(area * share)
    intersection[torch.arange(units), own % (labels - 1) + 1] += int(area * share) // 2
    numbers = torch.stack([torch.randperm(images, generator=random)[:top] for _ in range(units)])
    maps = torch.rand(units, top, 6, 6, generator=random)
    order = maps.amax((2, 3)).argsort(1, descending=True)
    maps = maps.take_along_dim(order[..., None, None], 1)
    return LayerDissection(
        name,
        torch.full((units,), 0.6),
        intersection,
        torch.full((units,), area),
        torch.full((units,), area),
        torch.full((labels,), area).index_fill(0, torch.tensor([0]), 0),
        images * size * size,
        maps.amax((2, 3)),
        numbers,
        maps,
        grid,
    )


def make_dissection(layers: list[LayerDissection], images: int = 9, pairs=PAIRS, side: int = 32) -> Dissection:
    random = torch.Generator().manual_seed(1)
    coarse = torch.rand(images, 3, 4, 4, generator=random)
    pictures = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    settings = {
        "fraction": 0.01,
        "positions": "pixel",
        "border": "edge",
        "scope": "all",
        "detector_iou": 0.04,
        "num_images": images,
    }
    # Numbers in the data set differ from places in `images`.
    numbers = torch.arange(images) * 3
    for layer in layers:
        layer.peak_images *= 3
    return Dissection(
        {layer.name: layer for layer in layers}, Concepts.of(pairs), settings, (pictures * 255).byte(), numbers
    )


@pytest.fixture
def dissection() -> Dissection:
    return make_dissection([make_layer("features.a", 12, 6, 9), make_layer("features.b", 7, 6, 9, seed=3)])


@pytest.fixture(scope="session")
def wide_report(tmp_path_factory) -> Path:
    """The page of 2,000 units with 1,200 different top images."""
    images = 1200
    layer = make_layer("wide", 2000, 6, images, size=112)
    return write_report(make_dissection([layer], images=images, side=128), tmp_path_factory.mktemp("wide"))
