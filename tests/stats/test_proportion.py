"""Wilson's interval, against scipy."""

import pytest
from scipy.stats import binomtest

from dissect.stats import wilson_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (8, 10), (0, 40), (40, 40), (724, 1000)])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_it_is_wilsons(successes, trials, level):
    expected = binomtest(successes, trials).proportion_ci(level, method="wilson")
    assert wilson_interval(successes, trials, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [((0, 0), "trials must be at least 1"), ((3, 2), "at most the 2 trials"), ((1, 2, 1.0), "level must be between")],
)
def test_what_is_wrong_is_said(arguments, text):
    with pytest.raises(ValueError, match=f"wilson_interval: .*{text}"):
        wilson_interval(*arguments)
