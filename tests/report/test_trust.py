import dataclasses

import pytest
import torch

from dissect.dissection.result import UnitRow
from dissect.report.trust import LayerTrust, density, doubts, facts, layer_trust

from .conftest import judge, make_dissection, make_layer


def row(iou=0.1, **known):
    return UnitRow("a", 0, "sky", "object", iou, 0.5, 0.1, 1.0, 0.01, "ok", **known)


def layer(allowed):
    return LayerTrust(torch.zeros(4, 3), 0.0, 0.0, allowed)


def test_what_is_unknown_is_left_out():
    told = row(p=float("nan"), low=0.1, same_label=None, shown=0, margin=float("inf"))
    assert facts(told) == {"low": 0.1, "shown": 0}
    assert facts(row(iou=0.0, low=0.1, same_label=True)) == {}
    assert facts(row()) == {}


@pytest.mark.parametrize(
    ("known", "allowed", "found"),
    [
        ({}, 0.05, []),
        ({}, 0.1, ["limit"]),
        ({}, None, ["limit"]),
        ({"same_label": False}, 0.05, ["same_label"]),
        ({"same_label": True}, 0.05, []),
        ({"place_iou": 0.1}, 0.05, ["place_iou"]),
        ({"place_iou": 0.099}, 0.05, []),
        ({"shown": 1}, 0.05, ["shown"]),
        ({"shown": 2}, 0.05, []),
        ({"shown": 0, "place_iou": 0.3, "same_label": False}, None, ["limit", "same_label", "place_iou", "shown"]),
    ],
)
def test_doubts(known, allowed, found):
    assert list(doubts(row(**known), layer(allowed), 5)) == found


def test_no_concept_is_not_in_doubt():
    assert doubts(row(iou=0.0, shown=0, same_label=False), layer(None), 5) == {}


def test_without_evidence_only_what_is_known_counts():
    assert doubts(row(), None, 5) == {}
    assert list(doubts(row(same_label=False), None, 5)) == ["same_label"]
    result = make_dissection([make_layer("a", 4, 6, 9)])
    assert layer_trust(result["a"], 0.04) is None


def test_a_layer_counts_what_comes_by_chance():
    layer = judge(make_dissection([make_layer("a", 4, 6, 9)]))["a"]
    null = torch.tensor([[0.1, 0.05, 0.04, 0.0], [0.041, 0.0, 0.0, 0.0]])
    layer.evidence = dataclasses.replace(layer.evidence, null=null)
    found = layer_trust(layer, 0.04)
    assert (found.by_chance, found.rate, found.allowed) == (1.5, 0.5, None)
    layer.evidence = dataclasses.replace(layer.evidence, null=torch.empty(0, 4))
    assert layer_trust(layer, 0.04) is None, "nothing was permuted"


def test_density_holds_the_threshold():
    peaks = torch.linspace(0, 1, 101)
    found = density(peaks, 0.75)
    assert (found.low, found.high, sum(found.counts)) == (0.0, 1.0, 101)
    assert found.above == pytest.approx(25 / 101)
    assert (density(peaks, 2.0).high, density(peaks, -1.0).low) == (2.0, -1.0)
    assert density(peaks, float("inf")).high == 1.0
    same = density(torch.full((5,), 0.5), 0.5)
    assert (same.low, same.high, same.counts[0], same.above) == (0.5, 1.5, 5, 0.0)
