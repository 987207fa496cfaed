"""The descent of 3x3 convolutions in Winograd's form, beside that of any layer."""

import pytest
import torch
from rewriting import nets
from torch import nn

from dissect.ops import native
from dissect.rewriting import Memory, insert, solving
from dissect.rewriting.winograd import suits

LAYERS = {
    "even": (nn.Conv2d(4, 3, 3, padding=1), (2, 4, 6, 4)),
    "odd": (nn.Conv2d(9, 17, 3, padding=1, bias=False), (1, 9, 5, 7)),
    "no border": (nn.Conv2d(4, 16, 3), (1, 4, 6, 5)),
    "one value": (nn.Conv2d(4, 3, 3), (1, 4, 3, 3)),
    "reflected": (nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"), (2, 4, 4, 6)),
}


def case(name):
    layer, shape = LAYERS[name]
    memory = Memory(nets.one(layer), "0")
    memory.second_moment(nets.randn(30, *shape[1:], seed=7), progress=False)
    keys = memory.keys(nets.randn(*shape, seed=8))
    values = memory.values(keys)
    return memory, keys, values + nets.randn(*values.shape, seed=9)


@pytest.fixture
def engine(missing):
    if native.unavailable():
        missing("cpp", native.unavailable())


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_it_finds_what_the_descent_of_any_layer_finds(name, loss, engine, monkeypatch):
    memory, keys, values = case(name)
    directions = memory.direction(keys, 2)
    served = []
    step = solving.Filters.step
    monkeypatch.setattr(solving.Filters, "step", lambda self, *given: served.append(step(self, *given)))
    options = {"loss": loss, "steps": 13, "every": 5, "rate": 0.01, "progress": False}
    found = insert(memory, keys, values, directions, **options)
    assert len(served) == 13
    monkeypatch.setattr(solving, "suits", lambda problem: False)
    expected = insert(memory, keys, values, directions, **options)
    torch.testing.assert_close(found.losses, expected.losses, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.lambdas, expected.lambdas, atol=2e-4, rtol=0)
    assert found.rank == expected.rank == 2
    assert found.settings["loss_after"] < found.settings["loss_before"]


@pytest.mark.parametrize("name", ["oblong", "stride", "dilation", "same", "transposed", "linear", "pointwise"])
def test_other_layers_are_descended_as_before(name):
    make, shape = nets.LAYERS[name]
    memory = Memory(nets.one(make()), "0")
    keys = memory.keys(nets.randn(*shape))
    assert not suits(solving.Problem(memory, keys, memory.values(keys), "l1", torch.eye(4)[:, :1]))


def test_other_numbers_and_engines_are_too(engine, monkeypatch):
    memory, keys, values = case("even")
    assert suits(solving.Problem(memory, keys, values, "l1", torch.eye(4)[:, :1]))
    double = Memory(nets.one(nn.Conv2d(4, 3, 3).double()), "0")
    wide = double.keys(nets.randn(1, 4, 6, 6).double())
    assert not suits(solving.Problem(double, wide, double.values(wide), "l1", torch.eye(4)[:, :1]))
    monkeypatch.setattr(native, "unavailable", lambda: "it is missing")
    assert not suits(solving.Problem(memory, keys, values, "l1", torch.eye(4)[:, :1]))
