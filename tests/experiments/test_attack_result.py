"""What attacks change in units, on tables worked out by hand."""

import math

import pytest
import torch

from dissect.experiments import AttackResult, CarliniWagner, most_important

from .conftest import make_importance


def hand_made(**changed) -> AttackResult:
    """Three attacks on five units, the last of which failed."""
    before = torch.tensor([[1.0, 1, 1, 1, 1], [3.0, 1, 1, 1, 3], [5.0, 1, 1, 1, 5]])
    after = before + torch.tensor([[4.0, -2, 1, 0, 1], [0.0, 2, -6, 1, 0], [0.0, 0, 0, 0, 0]])
    values = {
        "layer": "conv", "settings": CarliniWagner(), "seed": 0, "misnamed": 0, "images": torch.arange(3),
        "sources": torch.tensor([1, 2, 0]), "targets": torch.tensor([0, 1, 1]),
        "reached": torch.tensor([True, True, False]), "norms": torch.ones(3),
        "noise_kept": torch.ones(3, dtype=torch.bool), "before": before, "after": after, "noise": before + 0.5,
    }  # fmt: skip
    return AttackResult(**{**values, **changed})


def test_changes_of_groups():
    # The most important unit of class 0 is 0, of class 1 it is 1, of class 2 it is 2.
    importance = make_importance([[0.4, 0, 0], [0, 0.4, 0], [0, 0, 0.4], [0, 0, 0], [0, 0, 0]])
    rows = hand_made().changes(importance, k=1)
    target, source, other, *noise = rows
    # Image 0: target unit 0, source unit 1, others 2 3 4. Image 1: target unit 1, source unit 2, others 0 3 4.
    assert [row.units for row in rows] == ["target", "source", "other"] * 2
    assert [row.cause for row in rows] == ["attack"] * 3 + ["noise"] * 3
    assert (target.change, source.change, other.change) == pytest.approx((3, 4, (2 / 3 + 1 / 3) / 2))
    assert (target.rise, source.rise, other.rise) == pytest.approx((3, -4, (2 / 3 + 1 / 3) / 2))
    assert target.interval == pytest.approx(2.576 * math.sqrt(2) / math.sqrt(2))
    assert [(row.change, row.rise, row.interval) for row in noise] == [(0.5, 0.5, 0)] * 3
    # Units 0 and 4 vary by 2 over the images, the others never: of image 1 no unit of the target's class is left.
    assert (target.scaled, noise[0].scaled) == pytest.approx((2.0, 0.25))
    assert (other.scaled, noise[2].scaled) == pytest.approx(((0.5 + 0) / 2, 0.25))


def test_typical_attacks_are_near_the_median_and_of_different_classes():
    several = hand_made(
        reached=torch.tensor([True, True, False, True, True]), norms=torch.tensor([1.0, 2.0, 2.1, 2.4, 9.0]),
        sources=torch.tensor([0, 0, 6, 3, 7]), targets=torch.tensor([1, 2, 8, 0, 9]),
    )  # fmt: skip
    assert several.typical() == [1, 4]  # the median is 2.0; of the others 0 and 3 share a class with it
    assert several.typical(1) == [1]
    assert several.typical(9) == [1, 4]
    assert hand_made(reached=torch.zeros(3, dtype=torch.bool)).typical() == []


def test_a_unit_of_both_classes_counts_for_both():
    importance = make_importance([[0.4, 0.4, 0], [0, 0, 0], [0, 0, 0.4], [0, 0, 0], [0, 0, 0]])
    target, source, *_ = hand_made(reached=torch.tensor([True, False, True])).changes(importance, k=1)
    assert target.change == source.change == pytest.approx(2)


def test_changes_refuse_what_does_not_fit(importance):
    with pytest.raises(ValueError, match="of the 5 units of 'conv', but is of the 5 units of 'fc'"):
        hand_made().changes(make_importance(torch.zeros(5, 3), layer="fc"))
    with pytest.raises(ValueError, match=r"k must be in \[1, 2\], less than half the 5 units, but got 4"):
        hand_made().changes(importance, k=4)
    assert [most_important(units) for units in (3, 4, 5, 192)] == [1, 1, 2, 95]
    with pytest.raises(ValueError, match="two attacks that reached their target, but there are 1"):
        hand_made(reached=torch.tensor([True, False, False])).changes(importance, k=1)
    importance.fingerprint = "of another"
    with pytest.raises(ValueError, match="must be of the network that was attacked, but is of one with"):
        hand_made(fingerprint="of this one").changes(importance, k=1)
    assert hand_made().changes(importance, k=1)  # of before there were any
    partial = make_importance(torch.zeros(5, 3), images=[0, 1000, 1000])
    with pytest.raises(ValueError, match="must know every target class, but not 'class 0'"):
        hand_made().changes(partial, k=1)
