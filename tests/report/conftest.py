import dataclasses
from pathlib import Path

import pytest
import torch

from dissect import Concepts, Dissection, Grid, write_report
from dissect.dissection.result import LayerDissection
from dissect.stats.sample import PeakSample
from dissect.stats.significance import Evidence

from .browsing import visit
from .chromium import Page, find_chromium

PAIRS = [("sky", "object"), ("tree", "object"), ("wood", "material"), ("striped", "texture"), ("green", "color")]
HOSTILE_PAIRS = [
    ("sky", "object"),
    ("tree", "object"),
    ("<img src=x onerror=alert(1)>", "material"),
    ('=1+"1"', "texture"),
    ("</script><script>alert(2)</script>", "color"),
]


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


def judge(result: Dissection, *, null: float = 0.05) -> Dissection:
    """The dissection with evidence, in which IoUs of up to `null` come by chance, and with a sample of its peaks.

    The second half of the images gives unit 2 another label, and a fixed mask fits label 5 as well as the units do.
    """
    random = torch.Generator().manual_seed(2)
    for layer in result.layers.values():
        units, labels = layer.iou.shape
        best = layer.iou.amax(1)
        layer.evidence = Evidence(
            null=null * torch.rand(4, units, generator=random, dtype=torch.float64),
            interval=torch.stack([best * 0.8, best * 1.2], 1),
            half_labels=torch.stack([layer.best_label, torch.where(torch.arange(units) == 2, 1, layer.best_label)]),
            held_out=torch.stack([best * 0.9, best * 0.7]),
            place_iou=torch.tensor([0.0] * 5 + [0.35] * (labels - 5), dtype=torch.float64)[layer.best_label],
        )
        peaks = torch.rand(units, 20, generator=random).sort(1).values
        values, maps = peaks[:, [17, 9]], torch.rand(units, 2, 6, 6, generator=random)
        chosen = torch.randint(len(result.image_numbers), (units, 2), generator=random)
        maps = maps / maps.amax((2, 3), keepdim=True) * values[..., None, None]
        layer.sample = PeakSample(peaks, (0.9, 0.5), result.image_numbers[chosen], values, maps)
    pairs = [(number, label) for number in result.image_numbers.tolist() for label in range(1, labels)]
    result.image_labels = torch.tensor([pair for pair in pairs if (pair[0] // 3) % 5 > pair[1] - 2])
    return result


def images_only(result: Dissection) -> Dissection:
    """What would be left of a dissection without label planes."""
    judge(result)
    for layer in result.layers.values():
        layer.evidence = None
        layer.intersection, layer.label_area = layer.intersection[:, :1] * 0, layer.label_area[:1]
        del layer.__dict__["iou"], layer.__dict__["best_label"]
    result.settings["images_only"] = True
    return dataclasses.replace(result, concepts=Concepts.of([]))


@pytest.fixture
def dissection() -> Dissection:
    return make_dissection([make_layer("features.a", 12, 6, 9), make_layer("features.b", 7, 6, 9, seed=3)])


@pytest.fixture(scope="session")
def browser(tmp_path_factory, missing):
    program = find_chromium()
    if program is None:
        missing("chromium", "no Chromium was found on the PATH or in DISSECT_CHROMIUM")
    page = Page(program, tmp_path_factory.mktemp("browser") / "profile")
    yield page
    page.close()


@pytest.fixture(scope="session")
def result() -> Dissection:
    """Two layers of 12 and 7 units, with names made to hurt, a dead and a sparse unit."""
    first = make_layer("features.a", 12, 6, 9)
    first.thresholds[1] = 0.0
    for counts in (first.intersection, first.unit_area, first.union_area):
        counts[0] = 0
    second = make_layer('<b>"b"', 7, 6, 9, share=0.3, seed=3)
    return make_dissection([first, second], pairs=HOSTILE_PAIRS)


@pytest.fixture(scope="session")
def report(result, tmp_path_factory) -> Path:
    return write_report(result, tmp_path_factory.mktemp("report"))


@pytest.fixture
def page(browser, report):
    """The page, freshly opened; that it asks for nothing and that nothing goes wrong is checked at the end."""
    browser.requests.clear()
    browser.errors.clear()
    visit(browser, report)
    yield browser
    assert browser.requests == []
    assert browser.errors == []
