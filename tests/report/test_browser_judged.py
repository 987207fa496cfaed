"""In a browser: how far labels can be trusted, and pages of images without labels."""

import math

import pytest

from dissect import Dissection, write_report
from dissect.report.trust import TRUST

from .browsing import FAINT, count, download, enter, expected, shown, visit
from .conftest import HOSTILE_PAIRS, images_only, judge, make_dissection, make_layer


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, tuple[Dissection, object]]:
    """A dissection with evidence, and one of images only, each with its page."""
    pairs = {"judged": [*HOSTILE_PAIRS[:4], ("iou", "iou")], "only": HOSTILE_PAIRS}
    made = {}
    for name, change in (("judged", lambda result: judge(result, null=0.2)), ("only", images_only)):
        layers = [make_layer("features.a", 12, 6, 9), make_layer("features.b", 7, 6, 9, share=0.3, seed=3)]
        result = change(make_dissection(layers, pairs=pairs[name]))
        result.settings["weights"] = "random (seed 0)"
        result.settings["provenance"] = {"network": "a.b.C", "weights": "0123456789abcdef" * 4, "images": "Folder"}
        made[name] = result, write_report(result, tmp_path_factory.mktemp(name))
    return made


def test_the_table_tells_how_far_labels_can_be_trusted(page, pages):
    result, report = pages["judged"]
    visit(page, report)
    rows = {(row.layer, row.unit): row for row in result.best()}
    found = download(page)
    assert len(found) == 19
    for told in found:
        row = rows[told["layer"], int(told["unit"])]
        assert told["same_label"] == str(row.same_label).lower()
        assert told["shown"] == str(row.shown)
        for name in set(TRUST) - {"same_label", "shown"}:
            assert float(told[name]) == pytest.approx(getattr(row, name), rel=1e-5, abs=1e-12)
        assert float(told["iou"]) == pytest.approx(row.iou, rel=1e-8)
        assert told["iou_"] in ("iou", ""), "a category with the name of a column has a name of its own"


def test_what_is_unknown_is_blank(page):
    known = {"margin", "precision", "recall", "accuracy", "information_quality"}
    for told in download(page):
        assert {told[name] for name in set(TRUST) - known} == {""}
        assert (told["margin"] == "") == (told["concept"] == "")


def test_detectors_beyond_chance(page, pages):
    result, report = pages["judged"]
    visit(page, report)
    enter(page, "state", "beyond")
    assert set(shown(page)) == expected(result, lambda row: row.iou > (result[row.layer].cutoff_at() or math.inf))
    assert 0 < len(shown(page)) < 19
    enter(page, "state", "detector")
    assert count(page) == "19 units"


def test_details_tell_what_speaks_for_a_label(page, pages):
    result, report = pages["judged"]
    visit(page, report)
    page.js("document.getElementById('u0-2').querySelector('.open').click()")
    told = "[...document.querySelectorAll('#detail .trust tr')].map((row) => [...row.cells].map((c) => c.innerText))"
    rows = dict(page.js(told))
    row = result.best("features.a")[2]
    assert rows["IoU, 95% interval"] == f"{row.low:.3f} to {row.high:.3f}"
    assert rows["Label by each half of the images"] == f"{row.concept} / sky doubtful"
    assert rows["Top images that show the concept"].startswith(f"{row.shown} of 5")
    assert float(rows["IoU above which 5% are false"]) == pytest.approx(result["features.a"].cutoff_at(), rel=1e-2)
    assert float(rows["p, from the labels of other images"]) == pytest.approx(row.p, rel=1e-2)
    assert rows["Information that both share (I/H)"] == f"{row.information_quality:.3f}"
    assert len(rows) == 12
    assert page.js("document.querySelectorAll('.density rect').length") == 24
    assert "in each of 20 images" in page.js("document.querySelector('[data-part=told]').innerText")
    canvases = "[...document.querySelectorAll('[data-part=sample] canvas')]"
    page.wait(f"{canvases}.length === 2 && {canvases}.every((canvas) => canvas.width > 50)")
    page.press("Escape")
    page.wait(f"{canvases}.length === 0")


def test_images_only(page, pages):
    visit(page, pages["only"][1])
    assert shown(page) == [*(f"u0-{unit}" for unit in range(12)), *(f"u1-{unit}" for unit in range(7))]
    enter(page, "text", "unit 6")
    assert shown(page) == ["u0-6", "u1-6"]
    page.js("document.querySelector('[type=reset]').click()")
    page.wait("location.hash === ''")
    enter(page, "sort", "strength")
    assert page.js("location.hash") == "#sort=strength"
    assert len(shown(page)) == 19
    page.js("document.getElementById('u0-6').querySelector('.open').click()")
    assert page.js("document.querySelector('[data-part=name]').textContent") == "unit 6"
    for hidden in ("scores", "trust"):
        assert not page.js(f"document.querySelector('[data-part={hidden}]').checkVisibility()")
    assert page.js("document.querySelectorAll('.density rect').length") == 24
    assert {row[name] for row in download(page) for name in ("concept", "iou", "detector")} == {""}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["judged", "only"])
def test_contrast(page, pages, name, scheme):
    visit(page, pages[name][1])
    page.emulate(1280, 900, prefers_color_scheme=scheme)
    assert page.js(FAINT) == []
    page.js("document.getElementById('u0-2').querySelector('.open').click()")
    assert page.js(FAINT) == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2200])
@pytest.mark.parametrize("name", ["judged", "only"])
def test_nothing_is_wider_than_the_window(page, pages, name, width):
    visit(page, pages[name][1])
    page.emulate(width, 800)
    assert page.js("document.documentElement.scrollWidth") <= width
    page.js("document.getElementById('u0-2').querySelector('.open').click()")
    assert page.js("document.getElementById('detail').scrollWidth") <= width


@pytest.mark.parametrize("name", ["judged", "only"])
def test_everything_to_act_on_has_a_name(page, pages, name):
    visit(page, pages[name][1])
    page.js("document.getElementById('u0-2').querySelector('.open').click()")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "checkbox", "combobox", "dialog", "image", "link", "searchbox", "table"}
    acting = [node for node in nodes if node.get("role", {}).get("value") in roles and not node["ignored"]]
    assert [node["role"]["value"] for node in acting if not node.get("name", {}).get("value")] == []
