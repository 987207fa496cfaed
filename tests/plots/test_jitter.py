"""Jitter plots and densities, against scipy's kernel density estimate."""

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from dissect import plots


def test_densities_are_those_of_another_library():
    values, at = np.random.default_rng(0).gamma(2, size=300), np.linspace(0, 8, 50)
    quartiles = np.subtract(*np.percentile(values, [75, 25])) / 1.34
    width = 0.9 * min(values.std(ddof=1), quartiles) * 300**-0.2
    theirs = gaussian_kde(values, bw_method=width / values.std(ddof=1))
    assert plots.density(values, at) == pytest.approx(theirs(at))


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0]])
def test_what_has_no_spread_has_no_density(values):
    assert plots.density(values, [1.0, 2.0]).tolist() == [0, 0]


def test_many_equal_values_still_have_one():
    assert plots.density([0.0] * 9 + [5.0], [0.0])[0] > 0


def test_points_stay_in_their_strips_below_their_densities():
    with plots.drawing():
        axes = plots.new_figure(3, 2).add_subplot()
        plots.jitter(axes, {"one": [1.0, 2.0, 4.0], "other": [0.0, 1.0], "none": []}, line=("cut", 1.5))
    points = [scatter.get_offsets() for scatter in axes.collections if len(scatter.get_offsets()) > 1]
    assert [part[:, 0].tolist() for part in points] == [[1, 2, 4], [0, 1]]
    for base, part in zip((2, 1), points):
        assert ((part[:, 1] >= base) & (part[:, 1] < base + 0.45)).all()
    curves = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) > 2]
    for base, curve in zip((2, 1, 0), curves):
        assert base + 0.4 < curve.min() <= curve.max() < base + 1
    assert [line.get_xdata() for line in axes.lines if len(line.get_ydata()) == 2] == [[1.5, 1.5]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["one (3)", "other (2)", "none (0)"]
