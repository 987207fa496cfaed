"""The figures of comparisons: what they draw is what the tables say."""

import pytest
from small_comparison import FIRST, OTHER, first, layer, made, other

from dissect import compare, plots

PAIRS = (("sky", "concept"), ("tree", "animal"), ("wood", "object"), ("red", "zebra"))


@pytest.fixture
def both():
    return compare({"one": first(), "two": other()})


def names(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def test_bars_of_unique_detectors_and_of_their_ratios(both, tmp_path):
    figure = both.plot()
    left, right = figure.axes
    assert names(left) == ["one", "two"]
    # Category by category, a piece of each network's bar.
    assert [bar.get_width() for bar in left.patches] == [2, 1, 1, 0, 0, 1]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([2 / 5, 1 / 4, 1 / 5, 0, 0, 1 / 4])
    assert [bar.get_x() for bar in left.patches] == [0, 0, 2, 1, 3, 1]
    assert [text.get_text() for text in left.texts + right.texts] == ["3", "2", "60%", "50%"]
    assert plots.save(figure, tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"


def test_places_are_told_by_what_differs():
    layers = compare([made(layer(FIRST, "a"), layer(OTHER, "b" * 40))])
    assert names(layers.plot().axes[0]) == ["a", "…" + "b" * 33]
    with pytest.warns(UserWarning, match="same thresholds and counts"):
        twice = compare({name: made(layer(FIRST, "a"), layer(OTHER, "b")) for name in ("one", "two")})
    assert names(twice.plot().axes[0]) == ["one · a", "one · b", "two · a", "two · b"]
    inner = compare({"one": made(layer(FIRST, "features.relu5")), "two": made(layer(OTHER, "features.block3.bn"))})
    assert names(inner.plot().axes[0]) == ["one · relu5", "two · block3.bn"]


def test_clouds_of_average_iou_over_number(both):
    left, right = both.plot("iou").axes
    points = sorted(tuple(point) for cloud in left.collections for point in cloud.get_offsets().tolist())
    assert points == [(1, pytest.approx(1 / 19)), (1, pytest.approx(1 / 9)), (2, pytest.approx((1 / 3 + 1 / 4) / 2))]
    r = next(row.r for row in both.correlation() if row.network == "one")
    assert left.get_title(loc="left") == f"one\nr = {r:.2f}"
    assert right.get_title(loc="left") == "two\nr is not known"
    assert "sky" in [text.get_text() for text in left.texts]


def test_lines_of_a_series():
    series = compare({"start": made(layer(FIRST[1:])), "end": other()}, steps=[0, 1000])
    drawn = [[line.get_xydata().tolist() for line in axes.lines] for axes in series.plot("series").axes]
    means = [row.mean_iou for row in series.summary()]
    assert drawn == [[[[0, 3], [1000, 3]]], [[[0, 3], [1000, 2]]], [[[0, means[0]], [1000, means[1]]]]]


@pytest.mark.parametrize("kind", ["concepts", "iou", "series"])
def test_no_detectors_and_other_categories(kind, tmp_path):
    none = {name: made(layer([(0, 0)] * 3), decoys=number) for number, name in enumerate("ab")}
    with pytest.warns(UserWarning, match="decoys"):
        nothing = compare(none, steps=[1, 2])
    pair = [made(layer(units, name, pairs=PAIRS), pairs=PAIRS) for units, name in ((FIRST, "a"), (OTHER[:2], "a"))]
    if kind == "series":
        pair = [made(layer(FIRST[at : at + 2], pairs=PAIRS), pairs=PAIRS) for at in (0, 2)]
    strange = compare(dict(zip("ab", pair)), steps=[1, 2] if kind == "series" else None)
    for comparison in (nothing, strange):
        plots.save(comparison.plot(kind), tmp_path / "figure.png")


def test_other_kinds_are_refused(both):
    with pytest.raises(ValueError, match=r"kind must be one of \('concepts', .*'histories'\), but got 'pie'"):
        both.plot("pie")
    with pytest.raises(ValueError, match="a series needs steps"):
        both.plot("series")


def test_stacks_refuse_what_does_not_fit():
    with plots.drawing():
        axes = plots.new_figure(2, 2).add_subplot()
    with pytest.raises(ValueError, match="object must have one value per name, 2, but has 1"):
        plots.stacks(axes, ["a", "b"], {"object": [1]})
    with pytest.raises(ValueError, match="notes must have one value per name, 1, but has 2"):
        plots.stacks(axes, ["a"], {"object": [1]}, notes=["1", "2"])
