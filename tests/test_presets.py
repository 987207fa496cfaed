"""The published rules as presets: what each of them changes, against the rule written out."""

import pytest
import torch
from small_dissection import Scenes, network, run, same
from torch import nn

import dissect
from dissect.presets import PRESETS
from dissect.reference import upsample
from dissect.trace import layer_chain


def test_the_table():
    """DESIGN's table of presets, written out."""
    rules = {name: (p.fraction, p.positions, p.grid, p.border, p.step, p.scope) for name, p in PRESETS.items()}
    assert rules == {
        "default": (0.01, "pixel", "half_pixel", "edge", None, "all"),
        "pnas2020": (0.01, "pixel", "half_pixel", "zeros", 4, "all"),
        "tpami2018": (0.005, "feature", "receptive_field", "edge", 2, "category"),
    }
    assert {p.detector_iou for p in PRESETS.values()} == {0.04}


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


def test_tpami2018_against_the_rule():
    scenes, model = Scenes(), network()
    found = dissect.dissect(model, "3", scenes, preset="tpami2018", fraction=0.1, batch_size=21, progress=False)["3"]
    maps = model(scenes.images).detach()
    ranked = maps.transpose(0, 1).flatten(1).sort(1, descending=True).values
    assert torch.equal(found.thresholds, ranked[:, int(ranked.shape[1] // 10)])
    # conv 3x3, pool 2, conv 3x3: cell i is centred on pixel 2 i + 0.5; half the size shrinks that by 7/15.
    grid = dissect.Grid.receptive_field([(3, 1, 1), (2, 2, 0), (3, 1, 1)], (8, 8), (8, 8), image=(16, 16))
    fires = upsample(maps, grid.rows, grid.columns) > found.thresholds[:, None, None]
    carries = (scenes.planes[:, :, 1::2, 1::2] == 1).any(1)
    shown = (scenes.planes[:, 0, 1::2, 1::2] > 0).flatten(1).any(1)  # images with a label of the category "object"
    both = (fires & carries[:, None]).sum((0, 2, 3))
    union = (fires[shown] | carries[shown][:, None]).sum((0, 2, 3))
    assert torch.equal(found.iou[:, 1], both.double() / union)


def test_chains():
    model = dissect.tiny.vgg(trained=False)
    chain = layer_chain(model, "features.conv2_2", torch.zeros(1, 3, 32, 32))
    assert chain == [(3, 1, 1, 1), (3, 1, 1, 1), (2, 2, 0, 1), (3, 1, 1, 1), (3, 1, 1, 1)]

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

        def forward(self, x):
            return self.three(x + self.two(self.one(x)))

    with pytest.raises(ValueError, match=r"must form a chain .* 'three' reads something else"):
        layer_chain(Residual(), "three", torch.zeros(1, 3, 8, 8))
    assert len(layer_chain(Residual(), "two", torch.zeros(1, 3, 8, 8))) == 2
    with pytest.raises(ValueError, match="layer '0' is ConvTranspose2d"):
        layer_chain(nn.Sequential(nn.ConvTranspose2d(3, 3, 2, stride=2)), "0", torch.zeros(1, 3, 8, 8))


def test_errors():
    with pytest.raises(ValueError, match=r"preset must be one of \('default', 'pnas2020', 'tpami2018'\), but got 'x'"):
        run(preset="x")
    scenes = Scenes()
    with pytest.raises(ValueError, match=r"planes must have the images' size \(16, 16\) or \(4, 4\)"):
        run(preset="pnas2020", images=[(scenes.images, scenes.planes[:, :, :8, :8])], concepts=scenes.concepts)
