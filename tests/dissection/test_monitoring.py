"""dissect.monitor: checkpoints dissected in turn, and what is no series."""

import pytest
import torch
from generators.painter import Colours, Painter
from torch import nn

import dissect

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
OPTIONS = {"segmenter": Colours(), "segment": "output", "fraction": 0.1, "decoys": 0, "progress": False}


def blank():
    """A painter before it has learned anything: its units have other weights."""
    model = Painter().eval()
    with torch.no_grad():
        model.features.weight.copy_(model.features.weight.flip(0))
    return model


@pytest.fixture
def z():
    return dissect.latents((5,), 24)


def test_a_series_is_that_of_dissections_made_apart(z, tmp_path):
    loaded = []

    def load():
        loaded.append(1)
        return Painter().eval()

    found = dissect.monitor({0: blank(), 500: load}, ["features", "up"], z, resume=tmp_path, **OPTIONS)
    apart = [dissect.dissect(model, ["features", "up"], z, **OPTIONS) for model in (blank(), Painter().eval())]
    expected = dissect.compare({"0": apart[0], "500": apart[1]}, steps=[0, 500])
    assert [tuple(row) for row in found.summary()] == [tuple(row) for row in expected.summary()]
    assert {row.step for row in found.summary()} == {0, 500}
    assert len({row.detectors for row in found.summary()}) > 1
    assert found.plot("series").axes[0].lines[0].get_xdata().tolist() == [0, 500]
    assert len(loaded) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000", "001"]
    with pytest.raises(ValueError, match="resume must name a folder"):
        dissect.monitor({0: blank(), 500: blank()}, ["features", "up"], z, resume=tmp_path, **OPTIONS)


def test_what_was_dissected_before_is_not_dissected_again(z, tmp_path):
    first = dissect.dissect(blank(), "features", z, **OPTIONS)
    found = dissect.monitor(
        [("early", first.save(tmp_path / "early")), ("late", Painter().eval())], "features", z, **OPTIONS
    )
    assert [(row.network, row.step) for row in found.summary()] == [("early", 0), ("late", 1)]
    assert found.summary()[0].detectors == len(first.detectors("features"))
    found = dissect.monitor([("a", first), ("b", Painter().eval())], "features", z, steps=[2, 2.5], **OPTIONS)
    assert list(found.steps.values()) == [2, 2.5]


@pytest.mark.parametrize(
    ("checkpoints", "steps", "error", "text"),
    [
        (nn.Identity(), None, TypeError, "must be a mapping of networks by name"),
        ([nn.Identity()], None, TypeError, "but one is Identity"),
        ({"a": nn.Identity(), "b": 3}, None, TypeError, "'b' is int"),
        ({"a": nn.Identity()}, None, ValueError, r"at least two, of different names, but got \['a'\]"),
        ([(1, nn.Identity()), ("1", nn.Identity())], None, ValueError, "of different names"),
        ({2: nn.Identity(), 1: nn.Identity()}, None, ValueError, r"must rise and be finite, but are \[2, 1\]"),
        ({"a": nn.Identity(), "b": nn.Identity()}, [1], ValueError, "as many as checkpoints, 2, but are 1"),
        ({"a": nn.Identity(), "b": nn.Identity()}, [1, "2"], TypeError, "steps must be numbers"),
    ],
)
def test_what_is_no_series_is_told_before_any_work(checkpoints, steps, error, text):
    with pytest.raises(error, match=f"^monitor: .*{text}"):
        dissect.monitor(checkpoints, "features", None, steps=steps)


class Plain(nn.Module):
    """A network; `Residual` has a layer of its name and its number of units."""

    def __init__(self, stride=1, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, 4, 3, padding=1, stride=stride)

    def forward(self, images):
        return self.conv(images)


class Residual(Plain):
    def forward(self, images):
        return images.mean(1, keepdim=True) + super().forward(images)


def test_networks_of_two_kinds_are_no_series():
    """Though they share a layer's name and its number of units."""
    generator = torch.Generator().manual_seed(0)
    images, planes = torch.rand(4, 3, 8, 8, generator=generator), torch.randint(0, 3, (4, 1, 8, 8), generator=generator)
    options = {"concepts": ["sky", "tree"], "fraction": 0.1, "decoys": 0, "resamples": 0, "progress": False}

    def of(model):
        return dissect.dissect(model.eval(), "conv", [(images, planes)], **options)

    def series(first, other, **more):
        return dissect.monitor({1: first, 2: other}, "conv", [(images, planes)], **options, **more)

    told = r"of class Plain and '2' of Residual; compare them without steps, or, .* allow='network'"
    with pytest.raises(ValueError, match=f"^monitor: a series must be of one network, but '1' is {told}"):
        dissect.monitor({1: Plain().eval(), 2: Residual().eval()}, "conv", None)  # before images are looked at
    with pytest.raises(ValueError, match=told):
        series(of(Plain()), lambda: Residual().eval())
    with pytest.raises(ValueError, match=f"^compare: .*{told}"):
        dissect.compare({"1": of(Plain()), "2": of(Residual())}, steps=[1, 2])
    assert len(dissect.compare({"1": of(Plain()), "2": of(Residual())}).summary()) == 2
    assert len(series(of(Plain()), Residual().eval(), allow="network").summary()) == 2
    with pytest.raises(ValueError, match=r"maps of layer 'conv' are 8x8 in '1' and 4x4 in '2'; compare them without"):
        series(Plain().eval(), Plain(stride=2).eval())
    assert len(series(Plain().eval(), Plain(seed=1).eval()).summary()) == 2
