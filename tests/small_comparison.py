"""Dissections made by hand, of units whose IoUs are known, for tests of comparisons."""

import torch

import dissect
from dissect.dissection.result import LayerDissection
from dissect.stats.significance import Evidence

PAIRS = (("sky", "object"), ("tree", "object"), ("wood", "material"), ("red", "color"))
SETTINGS = {
    "fraction": 0.01, "positions": "pixel", "grid": "half_pixel", "border": "edge", "step": None, "scope": "all",
    "relu": False, "detector_iou": 0.04, "num_images": 10,
}  # fmt: skip
#: (label, shared pixels) of each unit: IoUs of 1/3, 1/4 (sky), 1/9 (tree), 1/19 and 1/39 (wood).
FIRST = ((1, 500), (1, 400), (2, 200), (3, 100), (3, 50))
#: IoUs of 2/3 (sky), 1/4 and 1/3 (red), and a unit that meets nothing.
OTHER = ((1, 800), (4, 400), (4, 500), (0, 0))


def layer(units, name="x", *, pairs=PAIRS, evidence=None, side=16, area=1000):
    """A layer whose units and concepts all cover 1,000 pixels."""
    count, labels = len(units), len(pairs) + 1
    shared = torch.zeros(count, labels, dtype=torch.int64)
    for unit, (label, pixels) in enumerate(units):
        shared[unit, label] = pixels
    areas = torch.full((count,), 1000)
    carried = torch.full((labels,), area)
    carried[0] = 0
    maps = torch.rand(count, 2, 4, 4, generator=torch.Generator().manual_seed(0)).sort(1, descending=True).values
    peaks = maps.amax((2, 3)).sort(1, descending=True).values
    grid = dissect.Grid.half_pixel((4, 4), (side, side))
    numbers = torch.tensor([[0, 3]]).expand(count, 2).clone()
    thresholds = torch.full((count,), 0.5)
    return LayerDissection(
        name, thresholds, shared, areas, areas, carried, 10 * side * side, peaks, numbers, maps, grid, evidence=evidence
    )


def judged(count, null, lows):
    """Evidence with these IoUs by chance, and these lower ends of intervals."""
    lows = torch.tensor(lows, dtype=torch.float64)
    none = torch.zeros(count, dtype=torch.float64)
    halves = torch.zeros(2, count, dtype=torch.int64)
    return Evidence(null, torch.stack([lows, lows + 0.5], 1), halves, none.expand(2, -1), none)


def made(*layers, pairs=PAIRS, **settings):
    """A dissection of these layers."""
    pictures = torch.randint(0, 255, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    concepts = dissect.Concepts.of(pairs)
    held = {one.name: one for one in layers}
    return dissect.Dissection(held, concepts, {**SETTINGS, **settings}, pictures, torch.tensor([0, 3]))


def first(**settings):
    """The first network: two IoUs of 0.1 by chance in ten draws, so that a cut-off of 0.1 keeps the rate to 5 %."""
    null = torch.zeros(10, 5, dtype=torch.float64)
    null[0, 0] = null[1, 1] = 0.1
    return made(layer(FIRST, evidence=judged(5, null, [0.3, 0.2, 0.03, 0.045, 0.01])), **settings)


def other(**settings):
    """The other network, of which nothing tells what is there by chance."""
    return made(layer(OTHER), **settings)
