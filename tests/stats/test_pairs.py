"""PairTally: what iou_counts counts, at a threshold of its own for each unit and label."""

import math

import pytest
import torch

from dissect import Grid, ops
from dissect.stats import IouTally, NullTally, PairTally
from dissect.stats.pairs import BLOCK, PairLevels
from dissect.stats.significance import halves, resampled

CATEGORIES = ("", "object", "object", "color", "scene")


def data(count=23, units=5):
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(count, units, 3, 4, generator=generator)
    planes = torch.randint(0, 3, (count, 2, 6, 7), generator=generator)
    planes[:, 1] = torch.where(planes[:, 1] > 1, 3, 0) * (torch.arange(count) % 3 > 0)[:, None, None]
    levels = (torch.rand(units, 5, generator=generator) * 8).round() / 8  # some of a unit are equal
    levels[0, 2], levels[1, 1], levels[2, 3], levels[:, 0] = math.inf, -math.inf, 0.0, math.nan
    return maps, planes.to(torch.int16), levels


def counted(maps, planes, levels, batches, backend="auto", **options):
    tally = PairTally(levels, backend=backend, **options)
    for part in batches:
        tally.add(maps[part], ops.encode_labels(planes[part], 5), part)
    return tally


def alone(maps, planes, levels, label, **options):
    """At the thresholds of one label, by iou_counts."""
    tally = IouTally(levels[:, label].contiguous(), 5, **options)
    tally.add(maps, planes, torch.arange(len(maps)))
    return tally


@pytest.mark.parametrize("scope", ["all", "category"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_counts_are_those_of_iou_counts_at_each_threshold(scope, dtype, backend, monkeypatch):
    maps, planes, levels = data()
    maps = maps.to(dtype)
    grid = Grid.half_pixel((3, 4), (6, 7), border="zeros")
    categories = CATEGORIES if scope == "category" else None
    for block in (BLOCK, 1):  # all units at once, and one by one
        monkeypatch.setattr("dissect.stats.pairs.BLOCK", block)
        batches = torch.arange(23).split(7)
        found = counted(maps, planes, levels, batches, backend, categories=categories, grid=grid)
        for label in range(1, 5):
            one = alone(maps, planes, levels, label, grid=grid)
            assert torch.equal(found.intersection()[:, label], one.intersection()[:, label])
            area = one.scoped_unit_area(scope, CATEGORIES)
            area = area[:, label] if scope == "category" else area
            assert torch.equal(found.scoped_unit_area(scope)[:, label], area)
            assert torch.equal(found.area_at(torch.full((5,), label)), one.unit_area().sum(0))
            assert torch.equal(found.label_area().sum(0), one.label_area().sum(0))
            assert torch.equal(found.iou(scope)[:, label], one.iou(scope, CATEGORIES)[:, label])
    shows = (planes == 3).flatten(1).any(1)
    pixels = 42 * (int(shows.sum()) if scope == "category" else 23)
    assert found.scoped_pixels(scope).tolist()[3] == pixels
    assert found.iou(scope)[:, 0].eq(0).all()


@pytest.mark.parametrize("scope", ["all", "category"])
def test_intervals_and_halves_are_those_of_iou_counts(scope):
    maps, planes, levels = data()
    found = counted(maps, planes, levels, torch.arange(23).split(7), categories=CATEGORIES, groups=16)
    labels = torch.tensor([1, 2, 3, 4, 1])
    intervals, held = resampled(found, labels, scope, CATEGORIES, 50, seed=3), halves(found, scope, CATEGORIES)
    for unit, label in enumerate(labels.tolist()):
        one = alone(maps, planes, levels, label, groups=16)
        assert torch.equal(intervals[unit], resampled(one, labels, scope, CATEGORIES, 50, seed=3)[unit])
        for half in (0, 1):
            shared, fires, carries = found.by_half(scope, CATEGORIES)[half]
            expected = one.by_half(scope, CATEGORIES)[half]
            assert shared[unit, label] == expected[0][unit, label]
            assert fires[unit, label] == (expected[1] if scope == "all" else expected[1][:, label])[unit]
            assert carries[label] == expected[2][label]
    assert held[0].shape == (2, 5)
    assert torch.equal(found.images_by_group(), one.images_by_group())


@pytest.mark.parametrize("categories", [None, CATEGORIES])
def test_the_null_counts_each_label_at_its_own_threshold(categories):
    maps, planes, levels = data()
    others = [planes.roll(by, 0) for by in (1, 5)]
    joint = torch.cat([torch.where(other > 0, other + 4 * k, 0) for k, other in enumerate(others)], 1)
    null = NullTally(levels.nan_to_num(nan=math.inf), 5, 2, categories=categories)
    for part in torch.arange(23).split(7):
        null.add(maps[part], ops.encode_labels(joint[part], 9))
    scope = "all" if categories is None else "category"
    everything = [torch.arange(23)]
    scores = [counted(maps, other, levels, everything, categories=categories).iou(scope).amax(1) for other in others]
    assert torch.equal(null.scores(), torch.stack(scores))
    again = NullTally(levels.nan_to_num(nan=math.inf), 5, 2, categories=categories)
    again.load_state_dict(null.state_dict())
    assert torch.equal(again.scores(), null.scores())
    with pytest.raises(ValueError, match="labels must be of 9 labels, but are of 5"):
        null.add(maps, ops.encode_labels(planes, 5))


def test_states_that_are_merged_saved_and_read_count_the_same(tmp_path):
    maps, planes, levels = data()
    whole, first, second = (
        counted(maps, planes, levels, [torch.arange(a, b)], categories=CATEGORIES, groups=4)
        for a, b in ((0, 23), (0, 9), (9, 23))
    )
    second.merge(first)
    again = PairTally(levels, categories=CATEGORIES, groups=4)
    again.load(second.save(tmp_path / "state"))
    for name, value in whole.state_dict().items():
        same = again.state_dict()[name]
        assert value == same if value is None else torch.equal(value.nan_to_num(), same.nan_to_num()), name
    for other in (PairTally(levels + 1, groups=4), PairTally(levels, categories=CATEGORIES)):
        with pytest.raises(ValueError, match="must agree, but their"):
            whole.merge(other)
    state = whole.state_dict()
    for name, change, message in (
        ("thresholds", lambda value: value + 1, "its thresholds are this state's"),
        ("label_area", lambda value: value * 0, "no intersection exceeds its label's area"),
        ("unit_area", lambda value: value * 0, "no intersection exceeds its unit's area"),
        ("pixels", lambda value: value * 0, "no unit's area exceeds all pixels"),
        ("grid", lambda value: "another", "its grid is this state's"),
    ):
        with pytest.raises(ValueError, match=f"PairTally: the state .*{message}"):
            again.load_state_dict(state | {name: change(state[name])})
    with pytest.raises(ValueError, match="its intersection has this state's shape"):
        PairTally(levels, categories=CATEGORIES, groups=8).load_state_dict(state)


def test_what_cannot_be_is_refused():
    for levels in (torch.zeros(3), torch.full((2, 3), math.nan), torch.zeros(2, 0)):
        with pytest.raises(ValueError, match=r"thresholds must have shape \[U, C\]"):
            PairTally(levels)
    with pytest.raises(ValueError, match="groups must be 0 or a power of two"):
        PairTally(torch.zeros(2, 3), groups=3)
    with pytest.raises(ValueError, match="categories must be of C=3 labels, but are of 5"):
        PairTally(torch.zeros(2, 3), categories=CATEGORIES)
    with pytest.raises(ValueError, match=r"scope must be one of .* of a tally with categories"):
        PairTally(torch.zeros(2, 3)).iou("category")
    assert PairTally(torch.zeros(2, 1)).iou().tolist() == [[0], [0]]
    assert PairLevels(torch.zeros(2, 1)).edges.shape == (2, 1)
