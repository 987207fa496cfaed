"""A small generator whose layers can be run by hand, and a painter of it."""

import pytest
import torch
from report.chromium import Page, find_chromium

import dissect
from dissect import apps, models


@pytest.fixture(scope="session")
def generator():
    return models.ProGAN((8, 8, 6), z_channels=5).eval()


BRUSHES = (
    apps.Brush("object/tree", "ace", (1, 4, 0), (0.9, 0.5, 0.1), (2.0, 3.0, -1.5), 2),
    apps.Brush("object/tree", "iou", (4, 1), (0.3, 0.2), (3.0, 2.0), 2),
    apps.Brush("object/water", "iou", (2, 5), (0.2, 0.1), (4.0, 1.0), 1),
    apps.Brush("material/water", "iou", (5, 3), (0.2, 0.1), (1.0, 2.5), 1),
)


@pytest.fixture
def painter(generator):
    return apps.Painter(generator, "layer3", brushes=BRUSHES, count=20)


@pytest.fixture(scope="session")
def follows(generator):
    """What follows the layer, run by hand: maps [1, U, h, w] to an image [3, H, W]."""
    parts = list(generator.children())[3:]

    def run(maps):
        with torch.no_grad():
            for part in parts:
                maps = part(maps)
        return maps[0]

    return run


@pytest.fixture(scope="session")
def plain_maps(generator):
    """The layer's maps of an image's number, run by hand."""
    z = dissect.latents(generator, 20)

    def run(number):
        maps = z[number : number + 1].view(1, 5, 1, 1)
        with torch.no_grad():
            for part in list(generator.children())[:3]:
                maps = part(maps)
        return maps

    return run


def some_strokes(painter, count=6, seed=0):
    """Strokes of all kinds at chance places: binary, pooled as shares, with part of their value, and everywhere."""
    chance = torch.Generator().manual_seed(seed)
    strokes = []
    for at in range(count):
        painted = torch.rand(painter.image_size, generator=chance) < (0.02, 0.3)[at % 2]
        painted[at % 8, at % 5] = True
        units = torch.randperm(painter.num_units, generator=chance)[: 1 + at % 3].tolist()
        values = torch.randn(len(units), generator=chance).mul(3).tolist()
        alphas = torch.rand(len(units), generator=chance).tolist() if at % 3 == 2 else [1.0] * len(units)
        mask = None if at == 4 else apps.Mask.of(painted)
        pooling = ("max", "mean")[at % 2]
        strokes.append(apps.Stroke("draw", "", tuple(units), tuple(values), tuple(alphas), mask, pooling))
    return strokes


@pytest.fixture(scope="session")
def street_dissection():
    street, segmenter = dissect.tiny.generator(), dissect.tiny.segmenter(signed=True)
    z = dissect.latents(street, 8, seed=2)
    return dissect.dissect(street, "layer4", z, segmenter=segmenter, segment="output", decoys=0, progress=False)


@pytest.fixture(scope="session")
def browser(tmp_path_factory, missing):
    program = find_chromium()
    if program is None:
        missing("chromium", "no Chromium was found on the PATH or in DISSECT_CHROMIUM")
    page = Page(program, tmp_path_factory.mktemp("browser") / "profile")
    yield page
    page.close()


@pytest.fixture
def anywidget(missing):
    try:
        import anywidget
    except ImportError as error:
        missing("anywidget", str(error))
    return anywidget
