"""Units along a training: tables of dissections made by hand, against what is written out here."""

import pytest
import torch
from small_comparison import PAIRS, first, layer, made

from dissect import compare
from dissect.concepts import Concepts
from dissect.dissection.histories import likenesses
from dissect.stats import wilson_interval

#: (label, shared pixels) of five units at three steps; 1 sky, 2 tree, 3 wood, 4 red, 0 nothing.
STEPS = (
    ((1, 500), (1, 400), (2, 200), (3, 50), (0, 0)),
    ((1, 500), (2, 400), (2, 200), (4, 300), (4, 300)),
    ((1, 600), (4, 400), (2, 200), (3, 300), (4, 300)),
)


@pytest.fixture
def series():
    return compare({str(at): made(layer(units)) for at, units in enumerate(STEPS)}, steps=[0, 10, 100])


def test_histories_are_the_tables_of_each_step(series):
    rows = series.histories()
    assert [(row.unit, row.step) for row in rows[:4]] == [(0, 0), (0, 10), (0, 100), (1, 0)]
    for row in rows:
        own = series.dissections[{0: "0", 10: "1", 100: "2"}[row.step]].best()[row.unit]
        assert (row.concept, row.category, row.iou, row.detector) == (
            own.concept, own.category, own.iou, own.iou > 0.04)  # fmt: skip


def test_changes_by_hand(series):
    told = [(row.before, row.after, row.detector, row.kept, row.changes, row.since) for row in series.changes()]
    assert told == [
        ("sky", "sky", True, True, 0, 0),
        ("sky", "red", True, False, 2, 100),
        ("tree", "tree", True, True, 0, 0),
        ("wood", "wood", False, True, 2, 100),
        ("-", "red", False, False, 1, 10),
    ]


def test_shares_of_units_that_keep_their_concept(series):
    units, detectors = series.kept()
    assert units[:5] == ("x", "units", 4, 3, 3 / 4)
    assert units[5:7] == wilson_interval(3, 4)
    # sky, sky, tree, wood are dealt sky, red, tree, wood: 2 x 1 + 1 + 1 of 16 pairs.
    assert units.by_chance == 4 / 16
    assert detectors[:5] == ("x", "detectors", 3, 2, 2 / 3)
    assert detectors.by_chance == 3 / 9
    none = compare({"a": made(layer([(0, 0)] * 3)), "b": made(layer([(1, 500)] * 3))}, steps=[0, 1]).kept()
    assert none[0] == ("x", "units", 0, 0, None, None, None, None)


def random_layer(seed, units=30):
    """Units that meet all labels here and there."""
    found = layer([(0, 0)] * units)
    shared = torch.randint(0, 400, (units, len(PAIRS) + 1), generator=torch.Generator().manual_seed(seed))
    shared[:, 0] = 0
    found.intersection = shared
    return found


def test_likenesses_against_plain_loops():
    before, after = random_layer(1), random_layer(2)
    after.intersection[:6] = before.intersection[:6]
    after.intersection[6] = 0
    found = likenesses(before, after, Concepts.of(PAIRS))
    categories = {"object": [1, 2], "material": [3], "color": [4]}
    for unit in range(30):
        ranks = {}
        for category, labels in categories.items():
            like = []
            for other in range(30):
                pairs = [
                    (int(before.intersection[unit, label]) / 1000, int(after.intersection[other, label]) / 1000)
                    for label in labels
                ]
                most = sum(max(pair) for pair in pairs)
                like.append(sum(min(pair) for pair in pairs) / most if most else 0.0)
            ranks[category] = sum(value >= like[unit] for value in like[:unit] + like[unit + 1 :]) / 29
            if not like[unit]:
                ranks[category] = 1.0
        fewest = min(ranks.values())
        expected = next(name for name in categories if ranks[name] == fewest) if fewest <= 0.05 else None
        assert found[unit] == expected
    assert set(found[:6]) == {"object"}
    assert found[6] is None
    assert None in found


def test_alike_units_beside_permuted_ones():
    before, after = random_layer(1), random_layer(2)
    after.intersection[:6] = before.intersection[:6]
    series = compare({"a": made(before), "b": made(after)}, steps=[0, 1])
    changed = [row.unit for row in series.changes() if "-" not in (row.before, row.after) and not row.kept]
    assert 3 < len(changed) < 30
    generator, counts = torch.Generator().manual_seed(7), []
    for _ in range(20):
        order = torch.randperm(30, generator=generator)
        permuted = random_layer(2)
        permuted.intersection, permuted.unit_area = after.intersection[order], after.unit_area[order]
        alike = likenesses(before, permuted, Concepts.of(PAIRS))
        counts.append([alike[unit] for unit in changed])
    rows = {row.category: row for row in series.alike(permutations=20, seed=7)}
    assert list(rows) == ["all", "object", "material", "color"]
    for category, row in rows.items():
        drawn = [sum(one is not None and category in ("all", one) for one in own) for own in counts]
        real = sum(row.alike is not None and category in ("all", row.alike) and row.unit in changed
                   for row in series.changes())  # fmt: skip
        assert row[2:] == (len(changed), real, pytest.approx(sum(drawn) / 20), min(drawn), max(drawn),
                           (1 + sum(one >= real for one in drawn)) / 21)  # fmt: skip
    assert series.tables()["alike"] == series.alike()
    same = compare({"a": made(before), "b": made(before)}, steps=[0, 1])
    assert len(same.alike()) == 0
    with pytest.raises(ValueError, match="permutations"):
        series.alike(permutations=0)


def test_what_is_no_series_has_no_history():
    both = compare({"a": made(layer(STEPS[0])), "b": made(layer(STEPS[1]))})
    for reading in (both.histories, both.changes, both.kept, both.alike, lambda: both.plot("histories")):
        with pytest.raises(ValueError, match=r"a series needs steps, which compare\(..., steps=...\) takes"):
            reading()
    assert "histories" not in both.tables()


def test_figures_say_what_the_tables_say(series, tmp_path):
    assert set(series.tables()) > {"histories", "changes", "kept"}
    axes = series.plot("histories").axes[0]
    texts = [text.get_text() for text in axes.texts]
    shown = sorted({row.unit for row in series.histories()}, key=lambda unit: -series.histories()[3 * unit + 2].iou)
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"unit {unit}" for unit in shown]
    by_unit = {unit: [row.concept for row in series.histories() if row.unit == unit] for unit in shown}
    assert texts == [concept for unit in shown for concept in by_unit[unit]]
    lines = {line.get_label(): list(line.get_ydata()) for line in series.plot("categories").axes[0].lines}
    for category, values in lines.items():
        assert values == [row.concepts for row in series.by_category() if row.category == category]
    series.save(tmp_path / "a")
    assert type(series).load(tmp_path / "a").kept() == series.kept()
    with pytest.raises(ValueError, match="a series must be of one network"):
        compare({"a": first(), "b": made(layer(STEPS[0][:3]))}, steps=[0, 1])
