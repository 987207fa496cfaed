"""A network that draws random numbers in evaluation mode is told of, or refused where it is compared with itself."""

import warnings

import pytest
import torch
from torch import nn

import dissect
from dissect import rewriting


class AlwaysDropped(nn.Module):
    """A functional dropout that knows nothing of evaluation mode, a common mistake."""

    def __init__(self, rate=0.5):
        super().__init__()
        self.first, self.last, self.rate = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 3, 3), rate

    def forward(self, x):
        x = self.last(nn.functional.dropout(self.first(x), self.rate))
        return x.mean((2, 3))


def told(model, images, planes):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dissect.dissect(model, "last", [(images, planes)], fraction=0.1, progress=False, decoys=0, resamples=0)
    return [str(warning.message) for warning in caught if "random numbers" in str(warning.message)]


def test_a_dissection_tells_of_chance():
    images, planes = torch.rand(4, 3, 12, 12), torch.randint(0, 3, (4, 1, 12, 12))
    (message,) = told(AlwaysDropped().eval(), images, planes)
    assert message.startswith("dissect: the model draws random numbers as it runs, though it is in evaluation mode")
    assert not told(AlwaysDropped(rate=0.0).eval(), images, planes)  # what it draws changes nothing


def test_importance_refuses_chance():
    images = [(torch.rand(6, 3, 12, 12), torch.arange(6) % 3)]
    with pytest.raises(ValueError, match=r"^unit_importance: the network must give the same when it runs again"):
        dissect.unit_importance(AlwaysDropped().eval(), "first", images, images, progress=False)
    units = torch.tensor([[1, 2]] * 3)
    with pytest.raises(ValueError, match=r"^ablated_bands: the network must give the same when it runs again"):
        dissect.experiments.ablated_bands(AlwaysDropped().eval(), "first", images, units, controls=0, progress=False)
    assert dissect.unit_importance(AlwaysDropped(0.0).eval(), "first", images, images, progress=False).num_units == 5


def test_attacks_refuse_chance():
    images = [(torch.rand(6, 3, 12, 12), torch.arange(6) % 3)]
    quick = dissect.experiments.CarliniWagner(binary_search_steps=1, steps=1)
    told = "^attack: the network must give the same when it runs again"
    for candidates in ("correct", "non_target"):
        options = {"settings": quick, "candidates": candidates, "progress": False}
        with pytest.raises(ValueError, match=told):
            dissect.experiments.attack(AlwaysDropped().eval(), "first", images, **options)
        dissect.experiments.attack(AlwaysDropped(0.0).eval(), "first", images, **options)


class Noisy(nn.Module):
    """A generator with noise of its own before its last layer, as of other people's StyleGANs."""

    def __init__(self, strength=0.1):
        super().__init__()
        self.first, self.last, self.strength = nn.ConvTranspose2d(4, 6, 8), nn.Conv2d(6, 3, 3, padding=1), strength

    def forward(self, z):
        x = self.first(z[:, :, None, None])
        return self.last(x + self.strength * torch.randn_like(x)).tanh()


def test_rewriting_refuses_chance():
    z, told = torch.randn(4, 4), "the network must give the same when it runs again"
    everything = torch.ones(4, 1, 8, 8).long()
    less = {"less": lambda: dissect.ablate(model, "first", [3])}
    calls = {
        "changed_images": lambda: rewriting.changed_images(model, z),
        "rule_changes": lambda: rewriting.rule_changes(
            model, z, less, lambda images: everything, 1, [2], progress=False
        ),
        "rule_effects": lambda: rewriting.rule_effects(
            model, z, less["less"], less["less"], lambda images, plain: images.mean((1, 2, 3)), progress=False
        ),
        "Memory": lambda: rewriting.Memory(model, "last").keys(z),
    }
    for name, call in calls.items():
        model = Noisy().eval()
        with pytest.raises(ValueError, match=f"^{name}: {told}"):
            call()
        model = Noisy(0.0).eval()
        call()
    model = Noisy().eval()
    rewriting.Memory(model, "first").keys(z)  # what is drawn behind the layer is not in its keys


@pytest.mark.parametrize(
    ("segment", "told"),
    [
        (lambda x: x.mul_(2).argmax(1, keepdim=True), "segmenter must leave its images as they are, but changes them"),
        (lambda x: torch.randint(0, 3, (len(x), 1, 6, 6)), "segmenter must give the same planes of the same images"),
    ],
)
def test_segmenters_that_change_images_or_are_of_chance_are_refused(segment, told):
    model = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    with pytest.raises(ValueError, match=f"^dissect: {told}"):
        dissect.dissect(
            model, "0", [torch.rand(4, 3, 6, 6)], segmenter=segment, concepts=["a", "b"], fraction=0.1, progress=False
        )


def test_a_dissection_tells_of_statistics_of_the_batch():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    batches = [(torch.rand(4, 3, 6, 6), torch.randint(0, 3, (4, 1, 6, 6)))]
    with pytest.warns(UserWarning, match=r"^dissect: '1' \(BatchNorm2d\) normalises with the batch's statistics"):
        dissect.dissect(model, "0", batches, fraction=0.1, progress=False, decoys=0, resamples=0)
