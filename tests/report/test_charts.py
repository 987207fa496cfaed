import re
from xml.etree import ElementTree

import pytest

from dissect import write_report
from dissect.report.charts import detector_chart, iou_chart, layers_chart
from dissect.report.content import layer_content

from .conftest import judge, make_dissection, make_layer
from .reading import read

#: Names that look like what the charts rewrite: a color, an id, a reference to one.
NAMES = [": #000102", 'id="figure_1"', "#axes_1)", ": #000200", 'id="axes_1">']


def content(*layers, pairs=None):
    result = make_dissection(list(layers), **({} if pairs is None else {"pairs": pairs}))
    return [layer_content(result, at, layer.name, 128) for at, layer in enumerate(layers)]


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg.replace("xlink:href", "href")).iter("text")]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_look_like_colors_or_ids_stay_as_they_are(name):
    pairs = [(name, "object"), *((f"{other}", "color") for other in "abcd")]
    layers = content(make_layer(name, 5, 6, 9), make_layer("b", 5, 6, 9), pairs=pairs)
    assert name in texts(detector_chart(layers[0]))
    assert name in texts(layers_chart(layers))
    assert name in ElementTree.fromstring(detector_chart(layers[0]).replace("xlink:href", "href")).attrib["aria-label"]


def test_colors_are_the_pages_own_and_ids_begin_with_the_layers():
    (layer,) = content(make_layer("a", 5, 6, 9))
    for svg in (detector_chart(layer), iou_chart(layer, 0.04)):
        assert not re.search(r"#0001|#0002", svg)
        assert "var(--shade" in svg or "var(--accent)" in svg
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert ids
        assert all(name.startswith("layer0") for name in ids)
        assert {name for name in re.findall(r"url\(#([^)]+)\)", svg)} <= set(ids)


def axis(svg):
    return [text for text in texts(svg) if re.fullmatch(r"[\d.,]+", text)]


@pytest.mark.parametrize("units", [1, 2, 3, 30])
def test_counts_are_whole_and_begin_at_none(units):
    layers = content(make_layer("a", units, 6, 9), make_layer("b", units, 6, 9, share=0.01))
    for svg in (detector_chart(layers[0]), layers_chart(layers)):
        assert all(text.isdigit() for text in axis(svg))
        assert "0" in axis(svg)


def test_charts_of_nothing_are_none():
    layer = make_layer("a", 4, 6, 9)
    layer.intersection.zero_()
    empty = content(layer)
    assert iou_chart(empty[0], 0.04) is None
    assert layers_chart(empty * 2) is None
    weak = content(make_layer("a", 4, 6, 9, share=0.02))
    assert layers_chart(weak * 2) is None
    assert "cut-off 0.04" in texts(iou_chart(weak[0], 0.04))


def test_charts_of_nothing_are_sentences(tmp_path):
    layers = [make_layer(name, 4, 6, 9) for name in ("a", "b")]
    for layer in layers:
        layer.intersection.zero_()
    page = read(write_report(make_dissection(layers), tmp_path))
    assert not page.find("svg")
    assert page.text.count("No unit meets any concept: every IoU is 0.") == 2
    assert page.text.count("so no concept has a detector") == 1


def test_chance_is_a_line():
    result = judge(make_dissection([make_layer("a", 12, 6, 9)]), null=0.2)
    layer = layer_content(result, 0, "a", 128)
    plain = layer_content(make_dissection([make_layer("a", 12, 6, 9)]), 0, "a", 128)
    svg = iou_chart(layer, 0.04)
    by_chance = float((layer.trust.null > 0.04).sum()) / 4
    assert f"With the planes of other images {by_chance:.3g} do, on average" in svg
    assert svg.count("<path") > iou_chart(plain, 0.04).count("<path")
