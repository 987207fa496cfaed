"""The published rules as presets: what each of them changes, against the rule written out."""

from fractions import Fraction

import pytest
import torch
from small_dissection import Scenes, network, run, same
from torch import nn

import dissect
from dissect.dissection.presets import PRESETS
from dissect.reference import upsample


def test_the_table():
    """DESIGN's table of presets, written out."""
    rules = {name: (p.fraction, p.positions, p.grid, p.border, p.step, p.scope, p.relu) for name, p in PRESETS.items()}
    assert rules == {
        "default": (0.01, "pixel", "half_pixel", "edge", None, "all", False),
        "pnas2020": (0.01, "pixel", "half_pixel", "zeros", 4, "all", True),
        "tpami2018": (0.005, "feature", "netdissect", "edge", 2, "category", True),
        "iclr2019": (0.01, "pixel", "half_pixel", "edge", 2, "category", False),
    }
    assert {(name, p.detector_iou, p.levels, p.match) for name, p in PRESETS.items()} == {
        ("default", 0.04, "fraction", "iou"),
        ("pnas2020", 0.04, "fraction", "iou"),
        ("tpami2018", 0.04, "fraction", "iou"),
        ("iclr2019", 0.05, "label_information", "information"),
    }


def test_pnas2020_is_its_options_one_by_one():
    scenes = Scenes()
    small = [(i, p[:, :, 2::4, 2::4]) for i, p in zip(scenes.images.split(5), scenes.planes.split(5))]
    model = nn.Sequential(*network(), nn.ReLU()).eval()
    options = {"fraction": 0.05, "batch_size": 5, "progress": False}
    found = dissect.dissect(model, "3", scenes, preset="pnas2020", **options)
    by_hand = dissect.dissect(model, "4", small, border="zeros", concepts=scenes.concepts, **options)
    for field in ("thresholds", "intersection", "unit_area", "label_area"):
        assert torch.equal(getattr(found["3"], field), getattr(by_hand["4"], field))
    # Planes that come at the segmentation's size already are taken as they are.
    same(found, dissect.dissect(model, "3", small, concepts=scenes.concepts, preset="pnas2020", **options))


CHAIN = [(3, 1, 1), (2, 2, 0), (3, 1, 1)]


@pytest.mark.parametrize(
    ("options", "grid"),
    [
        # Size 8, offset -3, step 2 of the image, whose every second pixel is asked: cell i at (4 - 3) // 2 + i.
        ({}, dissect.Grid.align_corners((8, 8), (8, 8))),
        # Cell i is centred on pixel 2 i + 0.5; half the size shrinks that by 7/15.
        ({"grid": "receptive_field"}, dissect.Grid.receptive_field(CHAIN, (8, 8), (8, 8), image=(16, 16))),
        ({"grid": "half_pixel", "relu": False}, dissect.Grid.half_pixel((8, 8), (8, 8))),
    ],
)
def test_tpami2018_against_the_rule(options, grid):
    scenes, model = Scenes(), network()
    asked = {"preset": "tpami2018", "fraction": 0.3, "batch_size": 21, "progress": False, **options}
    found = dissect.dissect(model, "3", scenes, **asked)["3"]
    maps = model(scenes.images).detach()
    if "relu" not in options:
        maps = maps.relu()
    ranked = maps.transpose(0, 1).flatten(1).sort(1, descending=True).values
    assert torch.equal(found.thresholds, ranked[:, int(Fraction("0.3") * ranked.shape[1])])
    assert ((found.thresholds > 0).any()) & ((found.thresholds == 0).any() | (found.thresholds < 0).any())
    fires = upsample(maps, grid.rows, grid.columns) > found.thresholds[:, None, None]
    carries = (scenes.planes[:, :, 1::2, 1::2] == 1).any(1)
    shown = (scenes.planes[:, 0, 1::2, 1::2] > 0).flatten(1).any(1)  # images with a label of the category "object"
    both = (fires & carries[:, None]).sum((0, 2, 3))
    union = (fires[shown] | carries[shown][:, None]).sum((0, 2, 3))
    assert torch.equal(found.iou[:, 1], both.double() / union)


@pytest.mark.parametrize("preset", ["pnas2020", "tpami2018"])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_convolution_is_read_after_its_relu(preset, inplace):
    """As the published layers' names are those of convolutions, and their values the ReLU's."""
    model = nn.Sequential(*network(), nn.ReLU(inplace), nn.Conv2d(6, 2, 1)).eval()
    options = {"preset": preset, "fraction": 0.3, "progress": False}
    of_both = dissect.dissect(model, ["3", "4"], Scenes(), **options)
    before = dissect.dissect(model, "3", Scenes(), relu=False, **options)["3"]
    for field in ("thresholds", "intersection", "unit_area", "peak_maps"):
        assert torch.equal(getattr(of_both["3"], field), getattr(of_both["4"], field))
    assert not torch.equal(before.thresholds, of_both["3"].thresholds)
    assert not dissect.dissect(model, "3", Scenes(), fraction=0.3, progress=False).settings["relu"]


class Functional(nn.Module):
    """A ReLU that is no module, or another operation in its place."""

    def __init__(self, follows):
        super().__init__()
        torch.manual_seed(5)
        self.conv, self.last, self.follows = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), follows

    def forward(self, x):
        return self.last(self.follows(self.conv(x)))


@pytest.mark.parametrize("relu", [torch.relu, torch.relu_, nn.functional.relu, torch.Tensor.relu, nn.ReLU(True)])
def test_a_relu_of_any_kind_follows(relu):
    run_one(Functional(relu))


@pytest.mark.parametrize("other", [nn.LeakyReLU(0.2), nn.ReLU6(), nn.BatchNorm2d(4), torch.clone])
def test_no_relu_follows(other):
    with pytest.warns(UserWarning, match="layer 'conv' gives negative activations and no ReLU follows it"):
        warned = run_one(Functional(other))
    same(warned, run_one(Functional(other), relu=True))
    assert not torch.equal(warned["conv"].thresholds, run_one(Functional(other), relu=False)["conv"].thresholds)


def run_one(model, **options):
    options = {"preset": "pnas2020", "fraction": 0.9, "progress": False, **options}
    return dissect.dissect(model.eval(), "conv", Scenes(), **options)


def test_errors():
    with pytest.raises(ValueError, match=r"preset must be one of \('default', .* 'iclr2019'\), but got 'x'"):
        run(preset="x")
    with pytest.raises(ValueError, match="relu must be True or False, but got 'no'"):
        run(relu="no")
    scenes = Scenes()
    with pytest.raises(ValueError, match=r"planes must have the images' size \(16, 16\) or \(4, 4\)"):
        run(preset="pnas2020", images=[(scenes.images, scenes.planes[:, :, :8, :8])], concepts=scenes.concepts)
