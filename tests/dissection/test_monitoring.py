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
