"""Formulas of labels against masks of pixels: counts, the search, and what it must never do."""

import itertools

import pytest
import torch

import dissect
from dissect.chosen import half_of
from dissect.stats import CombinationTally, Formula, FormulaSearch
from dissect.stats.combinations import _different
from dissect.stats.formulas import JOINS

LABELS, UNITS = 6, 4


@pytest.fixture(scope="module")
def data():
    """Maps at the planes' size, planes of labels that go together, thresholds."""
    torch.manual_seed(3)
    planes = torch.stack([torch.randint(0, 4, (12, 8, 9)), torch.randint(0, 3, (12, 8, 9)) * 2], 1)
    planes[:, 1] = torch.where(planes[:, 0] == 1, 5, planes[:, 1])
    maps = torch.rand(12, UNITS, 8, 9) + 0.5 * (planes[:, :1] == 2) + 0.4 * (planes[:, 1:] == 4)
    maps[:, 3] = -1.0  # a dead unit
    return maps, planes, torch.tensor([0.9, 1.0, 0.7, 0.5])


def tallied(data, batches):
    maps, planes, thresholds = data
    tally = CombinationTally(thresholds, LABELS)
    for batch in torch.arange(len(maps)).split(batches):
        tally.add(maps[batch], dissect.ops.encode_labels(planes[batch], LABELS), batch)
    return tally


def masks(planes):
    """[C, pixels] bool."""
    return torch.stack([(planes == label).any(1).flatten() for label in range(LABELS)])


def test_counts_are_those_of_pixels(data):
    maps, planes, thresholds = data
    tally = tallied(data, 5)
    fires, holds = (maps > thresholds[:, None, None]).transpose(0, 1).flatten(1), masks(planes)
    members = FormulaSearch(tally.table, tally.areas(), LABELS).members
    rows = torch.stack([(holds[1:].T == row[1:]).all(1) for row in members])
    assert torch.equal(tally.counts(), (fires[:, None] & rows).sum(2))
    assert torch.equal(tally.areas(), rows.sum(1))
    halves = half_of(torch.arange(12)).repeat_interleave(72).bool()
    assert torch.equal(tally.counts(1), (fires[:, None] & rows & halves).sum(2))
    assert torch.equal(tally.areas(0) + tally.areas(1), tally.areas())


def test_combinations_of_more_labels_than_a_number_holds():
    table = torch.randint(0, 5, (40, 4), generator=torch.Generator().manual_seed(0)).int()
    (few, of_few), (many, of_many) = (_different(table, labels) for labels in (5, 1 << 20))
    assert torch.equal(few, many.long())
    assert torch.equal(of_few, of_many)
    assert torch.equal(few[of_few], table.long())


def test_batches_merging_and_files(data, tmp_path):
    whole, parts = tallied(data, 12), [CombinationTally(data[2], LABELS) for _ in range(2)]
    for part, images in zip(parts, (torch.arange(7, 12), torch.arange(7))):
        part.add(data[0][images], dissect.ops.encode_labels(data[1][images], LABELS), images)
    parts[0].merge(parts[1])
    again = CombinationTally(data[2], LABELS)
    again.load(parts[0].save(tmp_path / "tally"))
    for other in (tallied(data, 1), parts[0], again):
        for name in ("table", "counts", "areas"):
            assert torch.equal(other.state_dict()[name], whole.state_dict()[name])
    with pytest.raises(ValueError, match="states to merge must agree, but their thresholds differ"):
        whole.merge(CombinationTally(data[2] + 1, LABELS))
    # More pixels than a float64 can sum exactly, which the search would refuse without the file's name.
    state = whole.state_dict()
    for areas in (torch.full_like(state["areas"], (1 << 53) + 1), state["areas"] + (1 << 52)):
        with pytest.raises(ValueError, match=r"its pixels are fewer than 2\^53"):
            again.load_state_dict({**state, "areas": areas})
    small = CombinationTally(data[2], LABELS, budget=500)
    with pytest.raises(ValueError, match=r"budget must hold \d+ combinations of labels of 4 units, .* but is 500"):
        small.add(data[0], dissect.ops.encode_labels(data[1], LABELS), torch.arange(12))


def plain(formula, holds):
    found = holds[formula.labels[0]]
    for label, join in zip(formula.labels[1:], formula.joins):
        found = {"OR": found | holds[label], "AND": found & holds[label], "AND NOT": found & ~holds[label]}[join]
    return found


def overlap(fires, mask):
    both = int((fires & mask).sum())
    return both / max(1, int((fires | mask).sum()))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_search_against_all_formulas(data, length):
    """A beam as wide as all formulas finds the best there is; the usual one a formula whose counts are right."""
    maps, planes, thresholds = data
    tally, holds = tallied(data, 5), masks(planes)
    labels = range(1, LABELS)
    everything = [
        Formula(chosen, joins)
        for n in range(1, length + 1)
        for chosen in itertools.product(labels, repeat=n)
        for joins in itertools.product(JOINS, repeat=n - 1)
    ]
    for unit in range(UNITS):
        fires = (maps[:, unit] > thresholds[unit]).flatten()
        best = max(overlap(fires, plain(formula, holds)) for formula in everything)
        single = max(overlap(fires, holds[label]) for label in labels)
        for beam in (1, 5, 10**4):
            search = FormulaSearch(tally.table, tally.areas(), LABELS, length=length, beam=beam)
            found = search.best(tally.counts()[unit])
            if unit == 3:
                assert found == (Formula(()), 0, 0)
                continue
            mask = plain(found.formula, holds)
            assert (found.intersection, found.area) == (int((mask & fires).sum()), int(mask.sum()))
            assert single <= overlap(fires, mask) <= best
            if beam == 10**4:
                assert overlap(fires, mask) == best


def test_longer_only_where_better():
    """A unit that is one label gets that label, and formulas that hold at the same pixels are one."""
    search = FormulaSearch(torch.tensor([[0, 0], [0, 1], [1, 2]]), torch.tensor([5, 3, 2]), 3)
    assert search.best(torch.tensor([0, 3, 2])).formula == Formula((1,))
    assert search.best(torch.tensor([0, 3, 0])) == (Formula((1, 2), ("AND NOT",)), 3, 3)
    assert search.best(torch.tensor([4, 0, 0])).formula == Formula(())
    with pytest.raises(ValueError, match="length and beam must be at least 1, but got 0 and 5"):
        FormulaSearch(torch.zeros(1, 1).long(), torch.zeros(1).long(), 3, length=0)


@pytest.mark.parametrize(
    ("joins", "text"),
    [
        (("OR", "OR"), "a OR b OR c"),
        (("AND", "AND NOT"), "(a AND b) AND NOT c"),
        (("AND NOT", "AND NOT"), "(a AND NOT b) AND NOT c"),
        (("AND", "OR"), "(a AND b) OR c"),
    ],
)
def test_text(joins, text):
    assert Formula((1, 2, 3), joins).named(("-", "a", "b", "c")) == text
