"""Figures: what is drawn in them, and that they are written whole."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from dissect.experiments import figures as pictures
from dissect.experiments import iou_by_classes, iou_by_importance
from dissect.experiments.attack import GroupRow
from dissect.table import Table

from ..report.conftest import make_dissection, make_layer


def texts(figure) -> list[str]:
    from matplotlib.text import Text

    return [found.get_text() for found in figure.findobj(Text) if found.get_text() and found.get_visible()]


def test_the_chart_of_changes():
    rows = [
        GroupRow(units, cause, float(number), 0.1, -1.0, number / 10, 0.01)
        for number, (cause, units) in enumerate(
            (cause, units) for cause in ("attack", "noise") for units in ("target", "source", "other")
        )
    ]
    figure = pictures.attack_chart(Table(rows), 4)
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == [0, 1, 2, 3, 4, 5]
    assert [bar.get_width() for bar in right.patches] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert "4 most important\nto the target" in texts(figure)
    # Attack and noise of a group stand side by side.
    centres = [bar.get_y() + bar.get_height() / 2 for bar in left.patches]
    assert [round(centre) for centre in centres] == [0, 1, 2, 0, 1, 2]


def test_maps_are_red_where_a_unit_rises_and_blue_where_it_falls(tmp_path):
    image = torch.full((3, 8, 8), 0.5)
    before = torch.zeros(3, 2, 2)
    after = torch.zeros(3, 2, 2)
    after[0, 0, 0], after[1, 1, 1] = 2.0, -2.0
    groups = [("up", [0, 2]), ("down", [1])]
    figure = pictures.attack_maps(image, image + 0.01, before, after, groups, ("cat", "dog"), {0: "tree"})
    shown = [axes.images[0].get_array() for axes in figure.findobj(lambda part: hasattr(part, "images")) if axes.images]
    *_, rising, resting, falling = shown
    assert rising[0, 0, 0] > rising[0, 0, 2] + 0.2  # red above blue
    assert falling[7, 7, 2] > falling[7, 7, 0] + 0.2
    np.testing.assert_allclose(resting, 0.75)
    assert {"cat", "dog", "tree (0)", "unit (1)", "peak +2.0", "peak 0.0", "up", "down"} <= set(texts(figure))
    saved = pictures.save(figure, tmp_path / "new" / "maps.png")
    with Image.open(saved) as written:
        assert written.size[0] > 200
    assert [path.name for path in saved.parent.iterdir()] == ["maps.png"]


def test_relations(importance):
    iou = torch.tensor([0.10, 0.20, 0.30, 0.40, 0.50])
    tables = [(k, iou_by_classes(importance, iou, k)) for k in (1, 2)]
    points = (torch.tensor([0.0, 0.1]), torch.tensor([-0.5, 0.5]), torch.tensor([False, True]))
    figure = pictures.relations_chart(tables, iou_by_importance(importance, iou, 5), points)
    figure.draw_without_rendering()  # which names the bars
    assert {"among the top 1", "among the top 2", "5+"} <= set(texts(figure))
    buckets, cloud = figure.axes[-2:]
    assert [bar.get_height() for bar in buckets.patches] == pytest.approx([0.5, 0.2, 0.3, 0.4, 0.1])
    assert [part.get_offsets().tolist() for part in cloud.collections] == [[[0, -0.5]], [[pytest.approx(10), 0.5]]]


def test_combinations():
    dissection = make_dissection([make_layer("conv", 5, 6, 9)])
    classes = [(name, torch.rand(3, 32, 32)) for name in ("farm", "pond", "barn")]
    important = torch.tensor([[True, True, False], [False, True, True], [True, False, True]])
    figure = pictures.combination_picture(dissection, "conv", classes, [4, 0, 2], torch.full((3, 3), 0.031), important)
    found = texts(figure)
    assert found.count("-3.1 points") == 6
    assert found.count("-3.1") == 3
    names = pictures.unit_names(dissection, "conv")
    assert {"farm", "pond", "barn", f"{names[4]} (4)"} <= set(found)
    assert pictures.unit_names(None, "conv") == {}


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'dissect-units\[report\]'"):
        pictures.check_extras()
