"""Images in [-1, 1] are told from those that are in another range: certainly, and likely."""

import warnings

import pytest
import torch
from generators.painter import Colours, Painter
from torch import nn

import dissect
from dissect import tiny
from dissect.data.signed import SignedRange
from dissect.tiny.networks import GENERATORS


class Changed(nn.Module):
    """A generator whose images are brought to another range."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = tiny.generator("progan-room-small"), change

    def forward(self, z):
        return self.change(self.inner(z))


def dissected(change, count=8, batch_size=3):
    model = Changed(change)
    return dissect.dissect(
        model, "inner.layer1", dissect.latents(model.inner, count, seed=5), segment="output", batch_size=batch_size,
        progress=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", GENERATORS)
def test_no_shipped_generator_is_in_doubt(name):
    model = tiny.generator(name)
    with torch.no_grad():
        images = model(dissect.latents(model, 8, seed=3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SignedRange("images").see(images, "")
        for image in images.split(1):
            SignedRange("images").see(image, "")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x: (x + 1) / 2, r"0\.0% of their values below -0\.25, as \(x \+ 1\) / 2 of such images would be"),
        (lambda x: 3 * x, r"(2\d|3\d)\.\d% of their values beyond 1\.5, which is more than generators overshoot"),
    ],
)
def test_a_likely_range_is_told_once(change, told):
    with pytest.warns(UserWarning, match=r"^dissect: images of model must be in \[-1, 1\], but the 8 first") as found:
        dissected(change)
    assert len(found) == 1
    with pytest.warns(UserWarning, match=rf"but the 9 first are in \[-.*, .*\], {told}\. They are"):
        dissected(change, count=9)


@pytest.mark.parametrize(
    "change", [lambda x: ((x + 1) / 2).clamp(0, 1), lambda x: 100 * x, lambda x: x.sign() * 2, lambda x: x / 0]
)
def test_a_certain_range_is_refused(change):
    with pytest.raises(ValueError, match=r"^dissect: images of model must be in \[-1, 1\], as generators give them"):
        dissected(change, batch_size=8)


def test_a_bright_image_is_no_other_range():
    """Once others were dark, and until there are many."""
    seen = SignedRange("images")
    seen.see(torch.linspace(-1, 1, 192).view(1, 3, 8, 8), "")
    for _ in range(9):
        seen.see(torch.full((1, 3, 8, 8), 0.3), "")
    few = SignedRange("images")
    few.see(torch.full((3, 3, 8, 8), 0.01), "")  # dark, though none is below 0
    with pytest.warns(UserWarning, match="images must be in"):
        few.see(torch.full((1, 3, 8, 8), 0.9), "")
    with pytest.raises(ValueError, match=r"the 8 first are in \[0\.01, 0\.9\]"):
        few.see(torch.full((4, 3, 8, 8), 0.5), "")


def test_effects_tell_too():
    z = dissect.latents((5,), 16, seed=3)
    with pytest.warns(
        UserWarning, match=r"^effect: images of model must be in \[-1, 1\], but the .* as \(x \+ 1\) / 2"
    ):
        dissect.generators.effect(Half().eval(), "features", [0], z, Colours(), "red", draws=1, progress=False)


class Half(Painter):
    """Images in [-0.1, 1]."""

    def forward(self, z, noise=None):
        return super().forward(z, noise) * 0.55 + 0.45
