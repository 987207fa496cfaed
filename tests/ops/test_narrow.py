"""narrow: where thresholds lie after a visit, by hand and by a sort."""

import pytest
import seeding
import torch
from small_brackets import random_brackets

from dissect import ops
from dissect.reference.narrow import Bracket, Histogram, Narrowed, Narrowing


def keys(*values):
    return torch.tensor(values)


def problem(**others):
    """Three units of keys 0 to 255 in 64 bins of 4 keys, a sample in each: the 10th largest lies in [216, 219]."""
    bracket = {"low": keys(0, 0, 7), "high": keys(255, 255, 7), "spare": keys(1, 2, 3), "kept": keys(0, 0, 0)}
    bracket |= {"least": keys(0, 0, 0)} | {name: part for name, part in others.items() if name in Bracket._fields}
    bins = torch.ones(3, 64).long() * keys(1, 1, 0)[:, None]
    histogram = Histogram(keys(0, 0, 1), keys(255, 255, 0), keys(2, 2, 0), bins, keys(0, 0, 0))
    return Bracket(**bracket), histogram._replace(**{n: part for n, part in others.items() if n in Histogram._fields})


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_by_hand(backend):
    found = ops.narrow(*problem(above=keys(0, 5, 0)), Narrowing((10,), True, 32, 64), backend=backend)
    expected = Narrowed(
        keys(216, 236, 7), keys(219, 239, 7), keys(216, 236, 7), keys(216, 236, 1), keys(219, 239, 0), keys(0, 0, 0),
        keys(2, 0, 0, 0),
    )  # fmt: skip
    assert all(map(torch.equal, found, expected))


def test_ranks_that_no_bin_holds():
    bracket, histogram = problem(above=keys(0, 30, 0), last=keys(199, 199, 0), bins=torch.zeros(3, 64).long())
    found = ops.narrow(bracket, histogram._replace(first=keys(100, 100, 1)), Narrowing((10,), False, 32, 4096))
    assert found.low.tolist() == [0, 200, 7]
    assert found.high.tolist() == [99, 255, 7]
    assert found.spare.tolist() == [1, 2, 3]
    assert found.facts.tolist() == [2, 0, 0, 0]


def test_guesses_are_no_bracket():
    found = ops.narrow(*problem(least=keys(1 << 31, 5, 0)), Narrowing((12, 4, 30), True, 32, 8))
    assert found.low.tolist() == [1 << 31, 0, 7]
    assert found.high.tolist() == [255, 255, 7]
    assert found.facts.tolist() == [2, 0, 1, 3]
    assert (found.first[1], found.last[1], found.spare[1], found.shift[1]) == (208, 243, 136, 3)


def test_what_was_not_kept_proves_nothing():
    """Of unit 0 all from key 217 on was seen; of unit 1 all from 230 on, and as it reaches 229 it is that."""
    given = problem(kept=keys(217, 230, 250), low=keys(0, 229, 7))
    found = ops.narrow(*given, Narrowing((10,), False, 32, 4096))
    assert found.low.tolist() == [0, 229, 7]
    assert found.high.tolist() == [219, 229, 7]
    assert found.facts.tolist() == [1, 1, 0, 0]
    assert found.spare.tolist() == [0, 2, 3]


def test_brackets_that_have_nothing_in_common_with_the_bins_are_told():
    found = ops.narrow(*problem(low=keys(0, 230, 7)), Narrowing((10,), False, 32, 4096))
    assert found.facts.tolist() == [2, 0, 1, 2]  # the second of three


@pytest.mark.parametrize("seed", range(20))
def test_a_bracket_holds_the_order_statistic(seed):
    seeding.seed(seed)
    samples = torch.randint(0, 1 << 16, (5, 300))
    histogram = torch.zeros(5, 64).long().scatter_add_(1, samples >> 10, torch.ones_like(samples))
    zeros, top = torch.zeros(5).long(), torch.full((5,), (1 << 16) - 1)
    rank = 1 + 14 * seed
    found = ops.narrow(
        Bracket(zeros, top, zeros, zeros, zeros),
        Histogram(zeros, top, zeros + 10, histogram, zeros),
        Narrowing((rank,), False, 32, 64),
    )
    wanted = samples.sort(1, descending=True).values[:, rank - 1]
    assert ((found.low <= wanted) & (wanted <= found.high)).all()
    assert (found.high - found.low).tolist() == [1023] * 5
    assert found.shift.tolist() == [4] * 5


def test_the_next_bins_hold_their_keys_and_no_unit_is_both_known_and_torn():
    for seed in range(40):
        bracket, histogram, by = random_brackets(seed)
        found = ops.narrow(bracket, histogram, by)
        width = (found.last - found.first) >> found.shift
        assert by.bits == 16 or (width < by.num_bins).all(), seed
        was_known = bracket.low == bracket.high
        assert torch.equal(found.low[was_known], bracket.low[was_known]), seed
        assert (found.first > found.last)[was_known].all(), seed
