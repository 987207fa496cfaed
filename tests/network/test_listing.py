"""The layers of a network, as `dissect layers` shows them."""

import pytest
import torch
from torch import nn

from dissect.network.listing import list_layers


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv2d(3, 5, 1)])
        self.act, self.never, self.out = nn.ReLU(), nn.Linear(2, 2), nn.LSTM(5, 7, batch_first=True)
        self.wrapped = Named()

    def forward(self, images):
        maps = self.act(self.parts[0](self.act(images)))
        tokens, _ = self.out(maps.flatten(2).transpose(1, 2))
        return self.wrapped(tokens)["last"]


class Named(nn.Module):
    def forward(self, tokens):
        return {"last": tokens}


def test_every_layer_has_a_row():
    model = Odd()
    rows = {row.layer: row[1:] for row in list_layers(model, torch.zeros(2, 3, 4, 6))}
    assert rows == {
        "parts": ("ModuleList", (), None, "does not run"),
        "parts.0": ("Conv2d", (5, 4, 6), 5, ""),
        "act": ("ReLU", (3, 4, 6), 3, "runs 2 times"),
        "never": ("Linear", (), None, "does not run"),
        "out": ("LSTM", (24, 7), 7, ""),
        "wrapped": ("Named", (24, 7), 7, ""),
    }
    assert not any(module._forward_hooks for module in model.modules())


class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 5, 1), nn.Linear(2, 2)

    def forward(self, images):
        return self.two(self.one(images).missing)


def test_layers_before_a_failure_are_listed_and_it_is_told():
    with pytest.warns(UserWarning, match=r"failed once 1 of its layers had run on images \[1, 3, 4, 4\]: .*'missing'"):
        rows = list_layers(Late(), torch.zeros(1, 3, 4, 4))
    assert [(row.units, row.note) for row in rows] == [(5, ""), (None, "does not run")]


def test_a_network_that_fails_is_told_and_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 5, 1))
    with pytest.raises(ValueError, match=r"layers: the network cannot take images \[1, 2, 4, 4\]: "):
        list_layers(model, torch.zeros(1, 2, 4, 4))
    assert not any(module._forward_hooks for module in model.modules())
