"""A message begins with the name of the function that was called, and with no other."""

import pytest
import torch
from torch import nn

import dissect
from dissect.arguments import integer, refusal, speaks
from dissect.experiments import attack, peak_correlation


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


IMAGES = [(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1]))]
PLANES = [(torch.rand(4, 3, 8, 8), torch.zeros(4, 1, 8, 8, dtype=torch.int64))]

#: By name: a call with a layer, and options that all such functions take.
CALLS = {
    "dissect": lambda layer, **options: dissect.dissect(network(), layer, PLANES, **options),
    "unit_importance": lambda layer, **options: dissect.unit_importance(network(), layer, IMAGES, IMAGES, **options),
    "peak_correlation": lambda layer, **options: peak_correlation(network(), layer, IMAGES, **options),
    "attack": lambda layer, **options: attack(network(), layer, IMAGES, **options),
    "Trace": lambda layer, **options: dissect.Trace(network(), layer, **options),
    "ablate": lambda layer, **options: dissect.ablate(network(), layer, [0], **options),
    "keep": lambda layer, **options: dissect.keep(network(), layer, [0], **options),
    "insert": lambda layer, **options: dissect.insert(network(), layer, [0], value=1.0, **options),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_layer_that_is_none(name):
    with pytest.raises(KeyError, match=rf"^.{name}: the model has no layer 'nope'"):
        CALLS[name]("nope")


@pytest.mark.parametrize("name", ["dissect", "unit_importance", "peak_correlation", "attack"])
def test_a_batch_size_of_nothing(name):
    with pytest.raises(ValueError, match=rf"^{name}: batch_size must be at least 1, but got 0"):
        CALLS[name]("0", batch_size=0)


@pytest.mark.parametrize("name", ["dissect", "unit_importance"])
def test_less_than_no_memory(name):
    with pytest.raises(ValueError, match=rf"^{name}: memory_budget must be a number of bytes, 0 or more, but is -1"):
        CALLS[name]("0", memory_budget=-1)


@pytest.mark.parametrize("name", ["dissect", "unit_importance", "peak_correlation", "attack"])
def test_a_batch_size_that_is_no_number(name):
    with pytest.raises(TypeError, match=rf"^{name}: batch_size must be an integer, but got 'a'"):
        CALLS[name]("0", batch_size="a")


def test_the_outermost_speaks_and_others_errors_keep_their_words():
    @speaks
    def outer():
        return integer("k", 0)

    @speaks
    def broken():
        raise ValueError("of the user's model")

    with pytest.raises(ValueError, match=r"^test_the_outermost_speaks_and_others_errors_keep_their_words: k must be"):
        outer()
    with pytest.raises(ValueError, match=r"^of the user's model$"):
        broken()
    assert str(refusal(ValueError("must be finite."), "layer '0'")) == "layer '0': must be finite."


def test_warnings_name_the_line_that_called():
    with pytest.warns(UserWarning, match="training mode") as told:
        dissect.dissect(network().train().append(nn.Dropout()), "0", PLANES, progress=False)
    one_class = [(images, classes * 0) for images, classes in IMAGES]
    with pytest.warns(UserWarning, match="1 classes have no") as more:
        dissect.unit_importance(network(), "0", one_class, one_class, progress=False)
    assert {warning.filename for warning in [*told, *more]} == {__file__}
