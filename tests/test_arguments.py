"""What several functions ask of their arguments; wrong numbers are tested with the functions that take them."""

import numpy as np
import pytest
import torch
from torch import nn

import dissect
from dissect.arguments import integer, num_bytes
from dissect.experiments.responses import scores_and_peaks


def test_integers():
    assert type(integer("k", np.uint8(3))) is int
    assert integer("k", 0, least=0) == 0
    with pytest.raises(ValueError, match=r"^k must be at least 2, but got 1\.$"):
        integer("k", 1, least=2)


def test_bytes():
    assert (num_bytes("b", 1.5), num_bytes("b", np.float32(8))) == (1, 8)
    assert num_bytes("b", float("inf")) > 2**60
    with pytest.raises(ValueError, match=r"^b must be a number of bytes, 0 or more, but is -1\.$"):
        num_bytes("b", -1)


def model_in_double_precision():
    return (
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        .double()
        .eval()
    )


IMAGES = torch.rand(6, 3, 4, 4, dtype=torch.float64)
LABELS = torch.arange(6) % 3


def ablated(model):
    with dissect.ablate(model, "0", [1]):
        model(IMAGES)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: dissect.dissect(model, "0", [(IMAGES, torch.ones(6, 1, 4, 4).long())], progress=False),
        lambda model: dissect.unit_importance(model, "0", [(IMAGES, LABELS)], [(IMAGES, LABELS)], progress=False),
        lambda model: scores_and_peaks(model, "0", IMAGES),
        ablated,
    ],
)
def test_double_precision_is_refused_with_what_to_do(call):
    told = r"activations of layer '0' are float64, but must be .*: call model\.float\(\) and give the model float32"
    with pytest.raises(TypeError, match=told):
        call(model_in_double_precision())


@pytest.mark.parametrize(("size", "kind"), [(0, ValueError), (-2, ValueError), ("a", TypeError), (1.5, TypeError)])
def test_batch_sizes_are_checked_by_whoever_makes_batches(size, kind):
    with pytest.raises(kind, match=r"^Batches: batch_size must be"):
        dissect.data.Batches(IMAGES, size)
