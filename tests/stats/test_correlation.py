"""Pearson's correlation and its interval, against scipy."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from dissect.stats import pearson


@pytest.mark.parametrize(("count", "seed", "level"), [(4, 0, 0.95), (17, 1, 0.95), (300, 2, 0.9)])
def test_scipy_finds_the_same(count, seed, level):
    random = np.random.default_rng(seed)
    x = random.normal(size=count)
    y = 0.3 * x + random.normal(size=count)
    expected = scipy_stats.pearsonr(x, y)
    low, high = expected.confidence_interval(level)
    assert pearson(x, y, level) == pytest.approx((count, expected.statistic, low, high), rel=1e-12)


def test_pairs_on_a_line():
    assert pearson([1, 2, 3, 5], [2, 4, 6, 10]) == (4, 1.0, 1.0, 1.0)
    assert pearson([1, 2, 3], [3, 2, 1]) == (3, -1.0, None, None)


@pytest.mark.parametrize("values", [[], [1], [1, 2], [0.1, 0.1, 0.1, 0.1]])
def test_what_has_no_correlation_gets_none(values):
    assert pearson(values, range(len(values))) == (len(values), None, None, None)
    assert pearson(range(len(values)), values) == (len(values), None, None, None)


def test_numbers_of_any_magnitude():
    x, y = [1e-200, 3e-200, 2e-200, 7e-200], [1e300, 1.5e308, -1e308, 5e307]
    assert pearson(x, y).r == pytest.approx(pearson([1, 3, 2, 7], [1e-8, 1.5, -1, 0.5]).r, rel=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "level", "told"),
    [
        ([1, 2, 3], [1, 2], 0.95, "same length, but have 3 and 2"),
        ([1, 2, float("nan")], [1, 2, 3], 0.95, "finite"),
        ([1, 2, 3], [1, 2, float("inf")], 0.95, "finite"),
        ([1, 2, 3], [1, 2, 3], 1.0, "level must lie strictly between 0 and 1, but is 1.0"),
    ],
)
def test_refusals(x, y, level, told):
    with pytest.raises(ValueError, match=told):
        pearson(x, y, level)
