"""What is drawn: the numbers, their places, and one style whatever the user's settings are."""

import math
import sys

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from dissect import plots


def drawn(function, *args, **options):
    with plots.drawing():
        axes = plots.new_figure(3, 2).add_subplot()
        function(axes, *args, **options)
    return axes


def test_bars_of_a_place_stand_side_by_side_around_it():
    axes = drawn(plots.bars, ["a", "b"], {"train": [0.3, 0.1], "val": [0.2, math.nan]}, notes=["3", "17"])
    assert [bar.get_height() for bar in axes.patches] == [0.3, 0.1, 0.2, 0.0]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    assert centres == pytest.approx([-0.185, 0.815, 0.185, 1.185])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["a", "b"]
    assert [text.get_text() for text in axes.texts] == ["3", "17"]
    assert [text.get_position() for text in axes.texts] == [(-0.185, 0.3), (0.815, 0.1)]


def test_a_place_without_a_value_keeps_its_name():
    axes = drawn(plots.bars, ["0", "1"], {"IoU": [math.nan, 0.5]}, notes=["0", "4"])
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0.5)]


def test_bars_across_begin_at_the_top_and_have_intervals():
    axes = drawn(plots.bars, ["a", "b"], {"x": [1, 2]}, intervals=[[0.25, 0.5]], across=True)
    assert [bar.get_width() for bar in axes.patches] == [1, 2]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    (error,) = axes.collections
    assert [segment[:, 0].tolist() for segment in error.get_segments()] == [[0.75, 1.25], [1.5, 2.5]]


@pytest.mark.parametrize(
    ("options", "what"),
    [({"intervals": [[0.1]]}, "intervals"), ({"notes": ["1"]}, "notes")],
)
def test_bars_refuse_what_does_not_fit_the_names(options, what):
    with pytest.raises(ValueError, match=f"bars: {what} must have one value per name, 2, but has 1"):
        drawn(plots.bars, ["a", "b"], {"x": [1, 2]}, **options)
    with pytest.raises(ValueError, match="bars: x must have one value per name, 2, but has 3"):
        drawn(plots.bars, ["a", "b"], {"x": [1, 2, 3]})


def test_curves_have_bands_and_a_baseline():
    curve = plots.Curve([1, 2, 4], [0.1, 0.3, 0.4], [0, 0.2, 0.3], [0.2, 0.4, 0.5])
    axes = drawn(plots.curves, {"door": curve, "tree": plots.Curve([1], [0])}, baseline=("before", 0.05))
    assert [line.get_label() for line in axes.lines] == ["before", "door", "tree"]
    assert axes.lines[1].get_xydata().tolist() == [[1, 0.1], [2, 0.3], [4, 0.4]]
    (band,) = axes.collections
    assert band.get_paths()[0].get_extents().extents.tolist() == [1, 0, 4, 0.5]
    assert axes.lines[1].get_color() != axes.lines[2].get_color()


@pytest.mark.parametrize("parts", [([1, 2], [0]), ([1], [0], [0]), ([1], [0], [0], [])])
def test_a_curve_of_unequal_parts_is_refused(parts):
    with pytest.raises(ValueError, match="curves: at, values, low and high of 'x' must be equally long"):
        drawn(plots.curves, {"x": plots.Curve(*parts)})


def test_a_cloud_marks_points_and_says_r():
    axes = drawn(plots.scatter, torch.tensor([0.0, 1, 2]), [0, 1, 4], marked=[False, True, False], correlation=True)
    assert [part.get_offsets().tolist() for part in axes.collections] == [[[0, 0], [2, 4]], [[1, 1]]]
    assert axes.texts[0].get_text() == f"r = {np.corrcoef([0, 1, 2], [0, 1, 4])[0, 1]:.2f}"
    assert drawn(plots.scatter, [1, 1], [0, 1], correlation=True).texts[0].get_text() == "r is not known"


def test_marks_go_upwards():
    axes = drawn(plots.marks, {"a": [5, 6], "b": [7, 8]}, shapes=("|", "v"), across=True)
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[5, 0], [6, 1]], [[7, 0], [8, 1]]]


def test_histograms_share_their_bins():
    with plots.drawing():
        left, right = plots.histograms(plots.new_figure(6, 2), {"a": [0, 1, 1], "b": [1, 3]}, bins=3, marked=2)
    assert [bar.get_height() for bar in left.patches] == [1, 2, 0]
    assert [bar.get_x() for bar in left.patches] == [bar.get_x() for bar in right.patches] == [0, 1, 2]
    assert left.get_ylim() == right.get_ylim()
    for values in ({}, {"a": []}, {"a": [math.nan]}):
        with pytest.raises(ValueError, match="histograms: values must be finite numbers, at least one"):
            plots.histograms(plots.new_figure(6, 2), values)


def test_tiles_show_what_they_are_given():
    first, second = torch.zeros(3, 4, 4), torch.ones(3, 4, 4)
    with plots.drawing():
        figure = plots.new_figure(3, 2)
        plots.tiles(figure, [[first, second], [second]], ["before"])
    assert [float(axes.images[0].get_array().mean()) for axes in figure.axes if axes.images] == [0, 1, 1]
    assert figure.axes[0].get_title("left") == "before"
    assert not figure.axes[3].axison


def test_the_users_settings_neither_show_nor_change(tmp_path):
    def picture(name):
        with plots.drawing():
            figure = plots.new_figure(3, 2)
            plots.bars(figure.add_subplot(), ["a"], {"x": [1]})
        return plots.save(figure, tmp_path / "new" / name)

    plain = picture("plain.png").read_bytes()
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "savefig.dpi": 50}):
        assert picture("changed.png").read_bytes() == plain
        assert matplotlib.rcParams["font.size"] == 20
    with Image.open(tmp_path / "new" / "plain.png") as written:
        assert written.size == (315, 210)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    needed = r"a plot needs matplotlib\.figure, but .*pip install 'dissect-units\[report\]'"
    with pytest.raises(ImportError, match=needed), plots.drawing():
        pass
    with pytest.raises(ImportError, match=needed):
        plots.new_figure(1, 1)
