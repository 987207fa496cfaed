"""The page of a comparison: its numbers, its pictures, names made to hurt, and that it asks for nothing."""

import base64
import hashlib
import json
import re

import pytest
import torch
from small_comparison import FIRST, OTHER, first, layer, made, other

from dissect import compare, write_report
from dissect.report import compared

from .browsing import FAINT
from .conftest import HOSTILE_PAIRS, make_dissection, make_layer

ROW = re.compile(r'<th scope="row">(.*?)</th>(.*?)</tr>', re.DOTALL)


@pytest.fixture
def both():
    return compare({"one": first(), "two": other()})


def cells(page, section):
    """Per line of a section's table its name and the texts of its cells."""
    inside = page.split(f'id="{section}"')[1].split("</section>")[0]
    plain = [(name, re.findall(r"<td.*?>(.*?)</td>", rest, re.DOTALL)) for name, rest in ROW.findall(inside)]
    return {name: [" ".join(re.sub(r"<.*?>", " ", cell).split()) for cell in found] for name, found in plain}


def written(comparison, folder):
    return write_report(comparison, folder).read_text("utf-8")


def test_it_says_what_the_tables_say(both, tmp_path):
    page = written(both, tmp_path)
    assert cells(page, "unique") == {
        "one": ["3", "60%", "", "5", "4", "3 (2)", "0.155"],
        "two": ["2", "50%", "", "4", "3", "–", "0.312"],
    }
    assert cells(page, "top") == {"one": ["sky 2 tree 1", "wood 1", "–"], "two": ["sky 1", "–", "red 2"]}
    widths = re.findall(r'<span class="shade\d" style="width: ([\d.]+)%" title="(.*?)">', page)
    assert widths == [
        ("66.667", "object: 2 concepts, 3 units"),
        ("33.333", "material: 1 concept, 1 unit"),
        ("33.333", "object: 1 concept, 1 unit"),
        ("33.333", "color: 1 concept, 2 units"),
    ]
    assert "2 networks, 2 layers" in page
    assert "exceeds 0.04." in page
    assert "Not only the networks differ" not in page


def test_notes_and_the_step_of_a_series_are_told(tmp_path):
    pair = {"start": other(), "end": made(layer(FIRST[:4]), num_images=20)}
    page = written(compare(pair, steps=[0, 1000], detector_iou=0.3), tmp_path)
    assert "num_images is 10 in &#39;start&#39;, 20 in &#39;end&#39;" in page
    assert [cells[0] for cells in cells(page, "unique").values()] == ["0", "1,000"]
    assert "exceeds 0.3." in page
    assert "2 steps, 1 layer" in page
    assert page.count("<svg") == 3  # a cloud each, and the lines


def test_where_it_is_written(both, tmp_path):
    assert write_report(both, tmp_path) == tmp_path / "comparison.html"
    assert write_report(both, tmp_path / "x.html") == tmp_path / "x.html"
    assert (tmp_path / "comparison.html").read_bytes() == (tmp_path / "x.html").read_bytes()
    with pytest.raises(TypeError, match="importance must not be given with a comparison"):
        write_report(both, tmp_path, importance=[])
    with pytest.raises(TypeError, match="must be a Dissection or a Comparison"):
        write_report("both", tmp_path)


def test_pictures_are_there_once_whatever_their_size(tmp_path):
    large = make_dissection([make_layer("x", 4, 5, 9)], pairs=[*first().concepts.names[1:]], side=48)
    large.concepts, large.settings = first().concepts, first().settings
    with pytest.warns(UserWarning, match="pixels"):
        comparison = compare({"one": first(), "two": large})
    pictures = compared.PagePictures()
    concepts, left_out = compared.shown_concepts(comparison, pictures)
    assert left_out == 0
    shown = [unit for concept in concepts for units in concept.units.values() for unit in units]
    assert {unit.aspect for unit in shown} == {"16 / 16", "48 / 48"}
    numbers = {picture.number for unit in shown for picture in unit.pictures}
    assert sorted(pictures.encoded()["data"]) == sorted(numbers) == list(range(len(numbers)))
    page = written(comparison, tmp_path)
    held = json.loads(re.search(r'id="pictures">(.*?)</script>', page)[1])
    assert len(held["data"]) == len(numbers)


def test_masks_are_those_of_the_layer():
    one, pictures = first(), compared.PagePictures()
    concepts, _ = compared.shown_concepts(compare({"one": one, "two": other()}), pictures)
    best = concepts[0].units["one"][0]
    coded = [base64.b64decode(picture.mask) for picture in best.pictures]
    masks = one["x"].masks(best.row.unit)
    for text, mask in zip(coded, masks, strict=True):
        runs = torch.tensor(list(text))
        fires = torch.arange(len(runs)) % 2 == 1
        assert torch.equal(fires.repeat_interleave(runs), mask.flatten())  # no run is as long as 255


def test_many_concepts_are_left_out_and_counted(tmp_path):
    pairs = [(f"c{number}", "object") for number in range(30)]
    many = made(layer([(number + 1, 400) for number in range(30)], pairs=pairs), pairs=pairs)
    few = made(layer([(1, 300), (2, 400)], pairs=pairs), pairs=pairs)
    page = written(compare({"many": many, "few": few}), tmp_path)
    assert "6 more concepts with detectors are not shown" in page
    assert page.count('<section class="best') == compared.MAX_CONCEPTS


def test_no_detector_at_all(tmp_path):
    nothing = compare({"a": made(layer([(0, 0)])), "b": made(layer([(1, 1), (0, 0)]))})
    page = written(nothing, tmp_path)
    assert "No unit of any layer is a detector" in page
    assert "<svg" not in page


def test_names_are_only_names(browser, tmp_path):
    pair = {}
    for name in ("<script>alert(1)</script>", "$x_$ {{ 7*7 }}\u2028'\"&"):
        pair[name] = make_dissection(
            [make_layer(inner, 7, 6, 9, seed=len(pair)) for inner in ("<b>x</b>", "features.y\x1b[2J")],
            pairs=HOSTILE_PAIRS,
        )
    path = write_report(compare(pair), tmp_path)
    browser.requests.clear()
    browser.errors.clear()
    browser.emulate(1280, 900, prefers_color_scheme="light")
    browser.open(path)
    names = browser.js("[...document.querySelectorAll('.compared tbody th')].map((cell) => cell.textContent)")
    assert names[0] == "<script>alert(1)</script> · <b>x</b>"
    assert browser.js("document.scripts.length") == 2
    assert (browser.requests, browser.errors) == ([], [])


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(both, browser, tmp_path, width, scheme):
    path = write_report(both, tmp_path)
    script = path.read_text("utf-8").rsplit("<script>", 1)[1].split("</script>")[0]
    assert f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}" in path.read_text("utf-8")
    browser.requests.clear()
    browser.errors.clear()
    browser.emulate(width, 900, prefers_color_scheme=scheme)
    browser.open(path)
    assert browser.js("document.documentElement.scrollWidth") == width
    assert browser.js(FAINT) == []
    browser.js("document.querySelector('#best').scrollIntoView()")
    browser.wait("document.querySelector('#best ~ .best canvas').width > 1")
    assert (browser.requests, browser.errors) == ([], [])


def test_layers_of_one_network_have_no_headings_of_networks(tmp_path):
    page = written(compare({"one": made(layer(FIRST, "a"), layer(OTHER, "b"))}), tmp_path)
    assert "1 network, 2 layers" in page
    assert "<h4>" not in page
