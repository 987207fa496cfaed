"""Names beside points: none over another or out of the axes where there is room, and the same each time."""

import pytest
from matplotlib.text import Text

from dissect import plots


def named(points, names):
    with plots.drawing():
        axes = plots.new_figure(6, 4).add_subplot()
        axes.scatter(*zip(*points))
        axes.margins(0.2)
        plots.name_points(axes, points, names)
    return axes


def boxes(axes):
    return [Text.get_window_extent(text) for text in axes.texts if text.get_window_extent()]


def test_names_of_a_crowd_stand_apart():
    points = [(1.0, 1.0), (1.05, 1.0), (1.0, 1.02), (1.1, 1.01), (1.05, 1.03), (3.0, 2.0), (0.0, 0.0)]
    axes = named(points, [f"a long name {number}" for number in range(len(points))])
    found = boxes(axes)
    assert [text.get_text() for text in axes.texts] == [f"a long name {number}" for number in range(len(points))]
    assert not any(one.overlaps(other) for at, one in enumerate(found) for other in found[:at])
    assert all(axes.bbox.contains(*corner) for box in found for corner in box.corners())
    assert [box.bounds for box in boxes(named(points, [text.get_text() for text in axes.texts]))] == [
        box.bounds for box in found
    ]


def test_a_name_alone_stands_at_its_point_and_has_no_line():
    (text,) = named([(1.0, 1.0)], ["one"]).texts
    assert text.get_position() == (4, 2)
    assert text.arrow_patch is None


def test_each_point_has_a_name():
    with pytest.raises(ValueError, match="names must be those of the 1 points, but are 2"):
        named([(1.0, 1.0)], ["one", "two"])
