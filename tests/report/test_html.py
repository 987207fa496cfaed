import base64
import hashlib
import io
import itertools
import os
import re
import sys
from collections import Counter

import pytest
import torch
from PIL import Image

from dissect import write_report
from dissect.report import html

from .conftest import make_dissection, make_layer
from .reading import cards, pictures, read, units

HOSTILE = [
    "<script>alert(1)</script>",
    '"onmouseover="alert(2)',
    "</script><b>",
    "$x_$ {{ 7*7 }}",
    "'];alert(3)//",
    "<!--<script>",
    "a\u2028b\u2029c",
    "javascript:alert(4)",
]


def test_folder_gets_report_html(dissection, tmp_path):
    path = write_report(dissection, tmp_path / "new" / "out")
    assert path == tmp_path / "new" / "out" / "report.html"
    assert os.listdir(path.parent) == ["report.html"]


def test_html_path_is_the_file(dissection, tmp_path):
    path = write_report(dissection, str(tmp_path / "mine.html"))
    assert path == tmp_path / "mine.html"
    assert path.is_file()


def test_permissions_are_those_of_any_new_file(dissection, tmp_path):
    (tmp_path / "other").write_text("")
    path = write_report(dissection, tmp_path)
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_failure_leaves_the_old_file_and_no_other(dissection, tmp_path, monkeypatch, name):
    (tmp_path / "report.html").write_text("old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(dissection, tmp_path)
    assert os.listdir(tmp_path) == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_failed_rendering_writes_nothing(dissection, tmp_path, monkeypatch):
    monkeypatch.setattr(html, "_render", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(dissection, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", ["jinja2", "matplotlib", "PIL"])
def test_missing_extra_is_named(dissection, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module}.*pip install 'dissect-units\[report\]'"):
        write_report(dissection, tmp_path)


def test_same_bytes_twice(dissection, tmp_path):
    first = write_report(dissection, tmp_path / "a").read_bytes()
    assert write_report(dissection, tmp_path / "b").read_bytes() == first


def test_nothing_is_fetched(dissection, tmp_path):
    page = write_report(dissection, tmp_path).read_text("utf-8")
    assert not re.search(r"(?:src|href)=[\"'](?!#)", page)
    assert not re.search(r"url\((?!#)|@import|https?:", page)


def test_links_lead_to_elements_and_ids_are_unique(dissection, tmp_path):
    page = read(write_report(dissection, tmp_path))
    everything = [element for part in (page, *cards(page)) for tag in _tags(part) for element in part.find(tag)]
    ids = [element.attributes["id"] for element in everything if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    targets = {
        element.attributes[name]
        for element in everything
        for name in ("href", "xlink:href")
        if name in element.attributes
    }
    assert {target[1:] for target in targets} <= set(ids)
    named = {element.attributes["aria-labelledby"] for element in everything if "aria-labelledby" in element.attributes}
    assert named <= set(ids)


def _tags(element):
    return {child.tag for child in element.children if not isinstance(child, str)}.union(
        *(_tags(child) for child in element.children if not isinstance(child, str))
    )


def test_headings_skip_no_level(dissection, tmp_path):
    page = write_report(dissection, tmp_path).read_text("utf-8")
    levels = [int(level) for level in re.findall(r"<h([1-6])\b", page)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_each_image_is_embedded_once(dissection, tmp_path):
    path = write_report(dissection, tmp_path)
    page, text = read(path), path.read_text("utf-8")
    shown = {canvas.attributes["data-picture"] for card in cards(page) for canvas in card.find("canvas")}
    stored = pictures(page)
    assert shown == set(stored)
    assert set(map(int, stored)) <= set(dissection.image_numbers.tolist())
    for number, data in stored.items():
        assert text.count(data) == 1
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        average = dissection.image(int(number)).float().mean((1, 2))
        seen = torch.tensor(list(picture.convert("RGB").tobytes())).view(-1, 3).float().mean(0)
        torch.testing.assert_close(seen, average, rtol=0, atol=4.0)


def test_pictures_have_texts(dissection, tmp_path):
    page = read(write_report(dissection, tmp_path))
    texts = [canvas.attributes["aria-label"] for card in cards(page) for canvas in card.find("canvas")]
    assert all(re.match(r"Image \d+: peak activation", text) for text in texts)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(tmp_path, name):
    layers = [make_layer(name, 4, 3, 9), make_layer("b", 4, 3, 9)]
    path = write_report(make_dissection(layers, pairs=[(name, name), ("tree", "object")]), tmp_path)
    page = read(path)
    assert len(page.find("script")) == 3
    assert "<script>alert" not in path.read_text("utf-8")
    assert not any(re.search("[<>&\u2028\u2029]", script.text) for script in page.find("script", type="json"))
    assert not any(
        "alert" in key or key.startswith("on")
        for part in (page, *cards(page))
        for tag in _tags(part)
        for element in part.find(tag)
        for key in element.attributes
    )
    concepts = {span.text for card in cards(page) for span in card.find("span", class_="concept")}
    assert concepts == {name, "tree"}
    assert {unit["scores"][0][0] for unit in units(page).values()} == {name, "tree"}


def test_odd_names_are_written(tmp_path):
    names = ["木", "", "a\nb", "x" * 300, "<b>"]
    layer = make_layer("a", 5, 6, 9)
    page = read(write_report(make_dissection([layer], pairs=[(name, "object") for name in names]), tmp_path))
    assert len(cards(page)) == 5
    with pytest.raises(ValueError, match="texts must be such that a file can hold them"):
        make_dissection([layer], pairs=[("\ud800", "object")] * 5)


def test_one_layer_has_no_comparison(tmp_path):
    one = read(write_report(make_dissection([make_layer("a", 4, 6, 9)]), tmp_path / "one"))
    two = read(write_report(make_dissection([make_layer("a", 4, 6, 9), make_layer("b", 4, 6, 9)]), tmp_path / "two"))
    assert not one.find("h2", id="comparison")
    assert two.find("h2", id="comparison")
    assert [len(page.find("select", name="layer")) for page in (one, two)] == [0, 1]


def test_tables_count_as_the_dissection_does(dissection, tmp_path):
    page = read(write_report(dissection, tmp_path))
    for index, name in enumerate(dissection.layers):
        (section,) = [section for section in page.find("section") if section.attributes.get("id") == f"layer{index}"]
        tiles = [int(value.text.split()[0]) for value in section.find("dl", class_="tiles")[0].find("dd")]
        unique = dissection.unique_detectors(name)
        detectors = len(dissection.detectors(name))
        assert tiles == [dissection[name].num_units, detectors, sum(row.concepts for row in unique), 0, 0]
        linked = [link.attributes["href"] for table in section.find("table") for link in table.find("a")]
        assert sorted(linked) == sorted(f"#u{index}-{row.unit}" for row in dissection.detectors(name))


def test_shares_near_none_and_all_are_neither():
    shares = (0, 2e-8, 0.00004, 0.0123, 0.456, 0.9949, 0.99995, 1)
    assert [html._percent(share) for share in shares] == [
        "0%", "<0.001%", "0.004%", "1.2%", "46%", "99.5%", "99.9%", "100%",
    ]  # fmt: skip


def test_no_detectors(tmp_path):
    layers = [make_layer(name, units, 6, 9, share=0.02) for name, units in (("a", 4), ("b", 3))]
    page = read(write_report(make_dissection(layers), tmp_path))
    assert "has no detectors" in page.text
    assert len(cards(page)) == 7
    assert not any(card.attributes["detector"] for card in cards(page))


def test_dead_and_sparse_units(tmp_path):
    layer = make_layer("a", 3, 6, 9)
    layer.unit_area[0] = layer.union_area[0] = 0
    layer.intersection[0] = 0
    layer.thresholds[1] = 0.0
    page = read(write_report(make_dissection([layer]), tmp_path))
    dead, sparse = (next(card for card in cards(page) if card.attributes["unit"] == unit) for unit in (0, 1))
    assert dead.attributes["state"] == "dead"
    assert "never fires" in dead.text
    assert not dead.find("canvas")
    assert sparse.find("span", class_="state")[0].text == "sparse"
    assert sparse.find("canvas")


def test_only_dead_units(tmp_path):
    layer = make_layer("a", 3, 6, 9)
    for counts in (layer.intersection, layer.unit_area, layer.union_area):
        counts.zero_()
    page = read(write_report(make_dissection([layer]), tmp_path))
    assert len(cards(page)) == 3
    assert pictures(page) == {}


def test_without_scripts_there_is_a_table(dissection, tmp_path):
    page = read(write_report(dissection, tmp_path))
    rows = [row for table in page.find("noscript") for row in table.find("tr", id="u")]
    texts = {(row.attributes["id"], *(cell.text for cell in row.find("td"))) for row in rows}
    layers = list(dissection.layers)
    assert texts == {
        (f"u{layers.index(row.layer)}-{row.unit}", row.concept, row.category, f"{row.iou:.3f}")
        for row in dissection.best()
    }


def test_units_tell_the_dissections_numbers(dissection, tmp_path):
    told = units(read(write_report(dissection, tmp_path)))
    for index, name in enumerate(dissection.layers):
        for row in dissection.best(name):
            unit = told[f"u{index}-{row.unit}"]
            expected = {key: getattr(row, key) for key in ("attainable", "threshold", "firing")}
            expected["covers"] = row.concept_fraction
            assert {key: unit[key] for key in expected} == pytest.approx(expected, rel=1e-8)
            assert unit["scores"][0][:2] == (row.concept, row.category)
            falling = dissection[name].iou[row.unit].sort(descending=True).values.tolist()
            assert [iou for *_, iou in unit["scores"]] == pytest.approx([iou for iou in falling if iou > 0][:10])


def test_thresholds_without_bound_are_written(tmp_path):
    layer = make_layer("a", 2, 6, 9)
    layer.thresholds[0] = torch.inf
    page = read(write_report(make_dissection([layer]), tmp_path))
    assert units(page)["u0-0"]["threshold"] is None


def test_only_the_pages_own_script_may_run(dissection, tmp_path):
    page = read(write_report(dissection, tmp_path))
    (policy,) = (meta.attributes["content"] for meta in page.find("meta", content="default-src"))
    script = page.find("script")[-1].text
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_concepts_to_choose_from_are_those_that_name_a_unit(dissection, tmp_path):
    (chosen,) = read(write_report(dissection, tmp_path)).find("select", name="concept")
    counts = Counter(f"{row.category} {row.concept}" for row in dissection.best())
    shown = {}
    for group in chosen.find("optgroup"):
        for option in group.find("option"):
            name, count = re.fullmatch(r"(.*) \((\d+)\)", option.text).groups()
            shown[f"{group.attributes['label']} {name}"] = int(count)
    assert shown == counts


@pytest.mark.parametrize("sizes", [(1,), (1, 200, 3)])
def test_layers_of_any_size(tmp_path, sizes):
    layers = [make_layer(f"l{number}", size, 6, 9) for number, size in enumerate(sizes)]
    page = read(write_report(make_dissection(layers), tmp_path))
    assert [len(cards(page, f"layer{number}")) for number in range(len(sizes))] == list(sizes)
    assert page.find("h1")[0].text == ("1 unit, 1 detector" if sizes == (1,) else "204 units, 204 detectors")


def test_no_pictures_were_kept(tmp_path):
    layer = make_layer("a", 3, 6, 9, top=0)
    result = make_dissection([layer])
    result.images, result.image_numbers = result.images[:0], result.image_numbers[:0]
    page = read(write_report(result, tmp_path))
    assert ["No top images were kept." in card.text for card in cards(page)] == [True] * 3
    assert pictures(page) == {}


def test_unit_that_fires_in_no_top_image(tmp_path):
    layer = make_layer("a", 2, 6, 9)
    layer.peak_maps[0] = 0
    page = read(write_report(make_dissection([layer]), tmp_path))
    card = next(card for card in cards(page) if card.attributes["unit"] == 0)
    assert "It fires in none of its top images." in card.text


def test_no_concepts(tmp_path):
    layer = make_layer("a", 2, 3, 9)
    layer.intersection = torch.zeros(2, 1, dtype=torch.int64)
    layer.label_area = layer.label_area[:1]
    page = read(write_report(make_dissection([layer], pairs=[]), tmp_path))
    assert [card.find("h4")[0].text for card in cards(page)] == ["no concept"] * 2


def test_unknown_categories_get_the_colors_that_are_left_then_take_turns(tmp_path):
    pairs = [("house", "object")] + [(f"concept {number}", f"kind {number}") for number in range(10)]
    page = read(write_report(make_dissection([make_layer("a", 11, 12, 9)], pairs=pairs), tmp_path))
    shades = {unit["scores"][0][1]: unit["scores"][0][2] for unit in units(page).values()}
    left = [6, 7, 8, 9, 1, 2, 3, 4, 5, 6]
    assert shades == {"object": 0} | {f"kind {number}": shade for number, shade in enumerate(left)}


def test_the_lead_tells_images_and_preset(dissection, tmp_path):
    assert "in 9 images, by the preset default." in " ".join(read(write_report(dissection, tmp_path)).text.split())
    dissection.settings["preset"] = "tpami2018"
    dissection.settings |= {"grid": "receptive_field", "relu": True}
    text = " ".join(read(write_report(dissection, tmp_path)).text.split())
    assert "by the preset tpami2018." in text
    assert "Gridreceptive field" in text
    assert "Layers readafter the ReLU" in text
