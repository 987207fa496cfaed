"""Agreement of raters, against Krippendorff's own examples and a plain loop."""

import itertools
import random

import pytest
import torch

from dissect.stats import rater_agreement

#: Krippendorff (2011), "Computing Krippendorff's alpha-reliability", sections A and C.
BINARY = ["0100000010", "1110010000"]
NOMINAL = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


def counted(raters):
    values = sorted({value for rater in raters for value in rater} - {"."})
    return torch.tensor([[sum(value == one for value in item) for one in values] for item in zip(*raters)])


def test_published_examples():
    assert rater_agreement(counted(BINARY)).alpha == pytest.approx(0.095, abs=5e-4)
    found = rater_agreement(counted(NOMINAL))
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    assert found.items == 11


@pytest.mark.parametrize("seed", range(5))
def test_as_a_loop_over_pairs(seed):
    chance = random.Random(seed)
    items = [[chance.choice("ynu") for _ in range(chance.randint(0, 6))] for _ in range(20)]
    kept = [item for item in items if len(item) > 1]
    same = [a == b for item in kept for a, b in itertools.permutations(item, 2)]
    weights = [1 / (len(item) - 1) for item in kept for _ in itertools.permutations(item, 2)]
    observed = sum(w for w, equal in zip(weights, same) if not equal) / sum(weights)
    every = [value for item in kept for value in item]
    by_chance = [a != b for a, b in itertools.permutations(every, 2)]
    found = rater_agreement(torch.tensor([[item.count(value) for value in "ynu"] for item in items]))
    assert found.items == len(kept)
    assert found.agreement == pytest.approx(sum(same) / len(same))
    assert found.alpha == pytest.approx(1 - observed / (sum(by_chance) / len(by_chance)))


def test_nothing_to_compare_is_none_and_not_nan():
    assert rater_agreement(torch.tensor([[1, 0], [0, 1]])) == (0, None, None)
    assert rater_agreement(torch.zeros(0, 2, dtype=torch.int64)) == (0, None, None)
    assert rater_agreement(torch.tensor([[3, 0], [2, 0]])) == (2, 1.0, None)


@pytest.mark.parametrize(
    ("counts", "error"),
    [
        (torch.rand(2, 2), TypeError),
        ([[1]], TypeError),
        (torch.tensor([1]), ValueError),
        (torch.tensor([[-1]]), ValueError),
    ],
)
def test_other_counts_are_refused(counts, error):
    with pytest.raises(error, match="rater_agreement: counts must be"):
        rater_agreement(counts)
