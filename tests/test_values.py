"""Networks, z and images without values, on the meta device: what was called says so, before anything is counted."""

import pytest
import torch
from generators.painter import Colours, Painter
from torch import nn

import dissect
from dissect import generators, omissions, rewriting

META = torch.device("meta")
Z = dissect.latents((5,), 8, seed=3)
MODEL = Painter().eval()
NOTHING = Painter().eval().to(META)
QUIET = {"progress": False}
OUTPUT = {"segment": "output", **QUIET}
IMAGES = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


class Blank(nn.Module):
    """A convolution without values gives planes on the CPU of whatever its memory held."""

    concepts = Colours.concepts

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1, device="meta")

    def forward(self, images):
        return (self.layer(images) > 0).long()

    def scores(self, images, concept):
        return self.layer(images)[:, 0]


def painted():
    return dissect.dissect(MODEL, "features", Z, segmenter=Colours(), decoys=0, resamples=0, **OUTPUT)


#: By name: a call with a generator, z and a segmenter.
CALLS = {
    "dissect": lambda model, z, see: dissect.dissect(model, "features", z, segmenter=see, **OUTPUT),
    "sweep": lambda model, z, see: dissect.sweep(model, "features", z, segmenter=see, **OUTPUT),
    "unit_classifiers": lambda model, z, see: dissect.unit_classifiers(model, "features", z, segmenter=see, **OUTPUT),
    "monitor": lambda model, z, see: dissect.monitor({"a": model, "b": model}, "features", z, segmenter=see, **OUTPUT),
    "formulas": lambda model, z, see: dissect.formulas(model, painted(), z, segmenter=see, **QUIET),
    "unit_sheet": lambda model, z, see: dissect.unit_sheet(
        model, painted(), "features", 0, z, segmenter=see, concept="red", **QUIET
    ),
    "effect": lambda model, z, see: generators.effect(model, "features", [0], z, see, "red", **QUIET),
    "removal_curves": lambda model, z, see: generators.removal_curves(
        model, "features", {"a": [0]}, z, see, "red", **QUIET
    ),
    "causal_units": lambda model, z, see: generators.causal_units(model, "features", "red", z, see, 2, **QUIET),
    "insertion_context": lambda model, z, see: generators.insertion_context(
        model, "features", [0], z, see, "red", **QUIET
    ),
    "trace_effect": lambda model, z, see: generators.trace_effect(
        model, "features", [0], z, value=1.0, segmenter=see, **QUIET
    ),
    "changed_images": lambda model, z, see: rewriting.changed_images(model, z),
    "Memory": lambda model, z, see: rewriting.Memory(model, "features").keys(z),
    "rule_changes": lambda model, z, see: rewriting.rule_changes(
        model, z, {"a": lambda: dissect.ablate(model, "features", [0])}, see, 1, [2], **QUIET
    ),
    "segmentation_statistics": lambda model, z, see: omissions.segmentation_statistics(
        IMAGES.to(z.device) if model is MODEL else model, see, count=8, **QUIET
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_without_values(name):
    call = CALLS[name]
    with pytest.raises(ValueError, match=rf"^{name}: .*(on the meta device, which has none|z must be on cpu.*on meta)"):
        call(MODEL, Z.to(META), Colours())
    with pytest.raises(ValueError, match=rf"^{name}: .*on the meta device"):
        call(NOTHING, Z, Colours())
    if name not in ("changed_images", "Memory"):
        with pytest.raises(ValueError, match=rf"^{name}: segmenter must have weights with values|^{name}: .* of Blank"):
            call(MODEL, Z, Blank())


def test_planes_and_what_a_model_makes():
    planes = torch.zeros(8, 1, 8, 8, dtype=torch.int64, device=META)
    with pytest.raises(ValueError, match=r"^dissect: what comes with batch 0 of images must hold values"):
        dissect.dissect(nn.Sequential(nn.Conv2d(3, 4, 1)), "0", [(IMAGES, planes)], **QUIET)
    see = Colours()
    see.__class__ = type("Off", (Colours,), {"__call__": lambda self, images: planes})
    for name in ("dissect", "effect"):
        with pytest.raises(ValueError, match=rf"^{name}: planes of batch 0 .*must hold values"):
            CALLS[name](MODEL, Z, see)


class Lost(Painter):
    """Its images are nowhere."""

    def forward(self, z, noise=None):
        return super().forward(z, noise).to("meta")


def test_images_without_values():
    for name in ("dissect", "effect"):
        with pytest.raises(ValueError, match=rf"^{name}: what model makes of batch 0 must hold values"):
            CALLS[name](Lost().eval(), Z, Colours())
