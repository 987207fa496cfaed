"""What follows from maps at hand: formulas of units, and a dissection along directions; equality asserted first."""

import time

import pytest
import torch
from baselines import published_formula
from torch import nn
from workload import settle

import dissect
from dissect.network.directions import product
from dissect.reference import upsample

SIZE, LABELS, BATCH = 56, 120, 40

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")


def scenes(images: int, generator: torch.Generator) -> torch.Tensor:
    """Planes [N, 3, 56, 56]: 80 objects in 64 patches, 11 colors in 196, a scene of 28 over all; some pixels without.

    Of 2,000 images some 28,000 combinations of labels, nearly all that there can be.
    """
    planes = []
    for labels, cells, first in ((80, 8, 0), (11, 14, 80), (28, 1, 91)):
        coarse = torch.randint(0, labels + 1, (images, cells, cells), generator=generator)
        coarse = torch.where(coarse > 0, coarse + first, 0)
        planes.append(coarse.repeat_interleave(SIZE // cells, 1).repeat_interleave(SIZE // cells, 2))
    return torch.stack(planes, 1).int()


class Maps:
    """Maps of 14x14 cells in memory, a few batches over and over, with planes that are never the same."""

    def __init__(self, images: int, units: int) -> None:
        generator = torch.Generator().manual_seed(0)
        few = [torch.randn(BATCH, units, 14, 14, generator=generator) for _ in range(2)]
        planes = scenes(images, generator).split(BATCH)
        self.batches = [(few[at % 2][: len(part)], part) for at, part in enumerate(planes)]
        self.model, self.images, self.units = nn.Sequential(nn.Identity()), images, units
        self.options = {"concepts": [str(label) for label in range(1, LABELS)], "decoys": 0, "resamples": 0}

    def dissect(self, **options):
        return dissect.dissect(self.model, "0", self.batches, progress=False, **self.options, **options)


def products(count: int, side: int = 1024):
    """A yardstick of the machine: so many matrix products, of 2.1e9 operations each at 1,024."""
    left = torch.randn(side, side)
    return lambda: [left @ left for _ in range(count)]


def fires(maps: Maps, found, unit: int) -> torch.Tensor:
    """[N, 56, 56] bool."""
    grid = found.grid
    values = [upsample(part[:, [unit]], grid.rows, grid.columns)[:, 0] for part, _ in maps.batches]
    return torch.cat(values) > found.thresholds[unit]


def formulas(maps: Maps, found):
    return dissect.formulas(maps.model, found, maps.batches, decoys=0, progress=False)


def published_seconds(images: int) -> float:
    """Of the published way, per unit and image, on a few images; asserts that formulas are as good as its."""
    maps = Maps(images, 2)
    found = maps.dissect()
    layer, planes = formulas(maps, found).layers["0"], torch.cat([planes for _, planes in maps.batches])
    begin = time.process_time()
    for unit in range(2):
        counts = published_formula(fires(maps, found["0"], unit), planes, LABELS, length=3, beam=5)
        assert counts == (int(layer.intersection[unit]), int(layer.area[unit]))
    return (time.process_time() - begin) / (2 * maps.images)


def test_formulas_of_512_units(compare):
    """120 labels with "none", 2,000 images at 56x56, formulas of 3 by a beam of 5, each half of the images too."""
    published = published_seconds(2 * BATCH if compare.enabled else 4)
    maps = Maps(2000, 512) if compare.enabled else Maps(6, 2)
    found = maps.dissect(memory_budget=1 << 30)
    layer = formulas(maps, found).layers["0"]
    planes = torch.cat([planes for _, planes in maps.batches])
    for unit in (0, maps.units - 1):
        carries = torch.stack([(planes == label).any(1).flatten() for label in layer.labels[unit].tolist()], 1)
        # Its labels, numbered by their places in the formula.
        holds = layer.formula(unit)._replace(labels=tuple(range(carries.shape[1]))).holds(carries)
        both = holds & fires(maps, found["0"], unit).flatten()
        assert (int(both.sum()), int(holds.sum())) == (int(layer.intersection[unit]), int(layer.area[unit]))
    others = {"1e11 operations of matrix products": products(47 if compare.enabled else 1)}
    seconds = []

    def ours():
        begin = time.perf_counter()
        formulas(maps, found)
        seconds.append(time.perf_counter() - begin)

    compare(ours, others, rounds=1, clock=time.process_time, per=maps.images)
    if compare.enabled:
        info = compare.benchmark.extra_info
        info["seconds on the wall"] = seconds
        info["ratio"]["published"] = info["ms_per_image"]["ours"] / (1e3 * published * maps.units)


def test_dissect_along_512_directions(compare):
    """A rotation of 512 units, 14x14 to 56x56: the maps are there, and those along the directions are kept."""
    maps = Maps(400, 512) if compare.enabled else Maps(6, 8)
    generator = torch.Generator().manual_seed(1)
    rotation = torch.linalg.qr(torch.randn(maps.units, maps.units, generator=generator)).Q.contiguous()

    def ours():
        return maps.dissect(directions={"0": rotation}, memory_budget=4 << 30)

    along, found = [product(rotation, part) for part, _ in maps.batches], ours()["0"]
    assert torch.equal(found.thresholds, settle(along, 0.01, size=(SIZE, SIZE)).threshold())
    first = torch.einsum("vu,nuhw->nvhw", rotation[:2], maps.batches[0][0])
    torch.testing.assert_close(along[0][:, :2], first, rtol=1e-4, atol=1e-4)
    others = {
        "a dissection from kept maps": lambda: maps.dissect(memory_budget=4 << 30),
        "the products alone": lambda: [product(rotation, part) for part, _ in maps.batches],
    }
    compare(ours, others, rounds=3, clock=time.process_time, per=maps.images)
