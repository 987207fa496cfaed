"""What the page says of how far labels can be trusted, of images alone, and of where a result comes from."""

import dataclasses
import math

import pytest
import torch

from dissect import write_report
from dissect.report.trust import TRUST

from .conftest import images_only, judge
from .reading import cards, read, units


@pytest.fixture
def judged(dissection):
    return judge(dissection, null=0.3)


def test_units_tell_how_far_they_can_be_trusted(judged, tmp_path):
    told = units(read(write_report(judged, tmp_path)))
    for index, name in enumerate(judged.layers):
        layer = judged[name]
        for row in judged.best(name):
            unit = told[f"u{index}-{row.unit}"]
            assert unit["trust"] == pytest.approx({key: getattr(row, key) for key in TRUST}, rel=1e-5)
            assert not any(math.isnan(value) for value in unit["trust"].values())
            assert unit["halves"] == layer.evidence.half_labels[:, row.unit].tolist()
            assert unit["beyond"] == (row.iou > layer.cutoff_at() > 0.04)
            assert unit["density"][0] <= row.threshold <= unit["density"][1]
            assert sum(unit["density"][3]) == 20
            assert unit["density"][2] == float((layer.sample.peaks[row.unit] > row.threshold).double().mean())
            assert [level for level, *_ in unit["sample"]] == [0.9, 0.5]
            assert [number for _, number, *_ in unit["sample"]] == layer.sample.images[row.unit].tolist()
            for (*_, mask, text), value in zip(unit["sample"], layer.sample.values[row.unit].tolist()):
                assert f"peak activation {value:.3g};" in text
                assert (mask == "") == ("does not fire" in text)


def test_cards_in_doubt_say_why(judged, tmp_path):
    page = read(write_report(judged, tmp_path))
    marks = {
        card.attributes["id"]: "".join(mark.text for mark in card.find("p", class_="doubt")) for card in cards(page)
    }
    assert "halves of the images disagree" in marks["u0-2"]
    shown = {row.unit: row.shown for row in judged.best("features.a")}
    assert len({count < 2 for count in shown.values()}) == 2
    for unit, count in shown.items():
        words = {"halves of the images disagree": unit == 2, "a fixed place fits as well": unit in (4, 9)}
        words |= {f"shown in {count} of 5 top images": count < 2}
        expected = [text for text, told in words.items() if told]
        assert marks[f"u0-{unit}"] == (f"doubtful: {'; '.join(expected)}" if expected else "")
    assert "same_label" in units(page)["u0-2"]["doubts"]


def test_layers_tell_what_comes_by_chance(judged, tmp_path):
    layer = judged["features.a"]
    chance, rate, allowed = (
        float((layer.evidence.null > 0.04).sum() / 4),
        layer.false_discovery_rate(0.04),
        layer.cutoff_at(),
    )
    text = words(read(write_report(judged, tmp_path)))
    assert "19 units, 19 detectors, 19 beyond chance" in text
    assert (
        f"12 detectors above 0.04; with the labels of other images, drawn at random, {chance:.3g} on average "
        f"(false discovery rate {rate:.0%}). At the cut-off {allowed:.3g} the rate is 5%: "
        "12 detectors are beyond chance."
    ) in text


@pytest.mark.parametrize(
    ("null", "told", "beyond"),
    [(0.9, "No cut-off keeps that rate to 5%, so that none", 0), (0.03, "That is within 5%, so that all", 19)],
)
def test_all_or_none_may_be_there_by_chance(dissection, tmp_path, null, told, beyond):
    page = read(write_report(judge(dissection, null=null), tmp_path))
    assert f"19 units, 19 detectors, {beyond} beyond chance" in words(page)
    assert told in words(page)
    chance = sum(float((layer.evidence.null > 0.04).sum()) / 4 for layer in dissection.layers.values())
    warning = f"About {round(chance)} of the 19 detectors could be there by chance: "
    assert (warning in words(page)) == (beyond == 0)
    assert {"may be chance" in card.text for card in cards(page)} == {beyond == 0}


def words(page):
    return " ".join(page.text.split())


def test_the_units_to_begin_with_are_not_in_doubt(judged, tmp_path):
    page = read(write_report(judged, tmp_path))
    doubtful = {unit["id"] for unit in units(page).values() if unit["doubts"]}
    first = [link.attributes["href"][1:] for link in page.find("ul", class_="first")[0].find("a")]
    free = len(units(page)) - len(doubtful)
    assert sum(unit in doubtful for unit in first) == max(8 - free, 0)


def test_same_bytes_twice_with_evidence(judged, tmp_path):
    first = write_report(judged, tmp_path / "a").read_bytes()
    assert write_report(judged, tmp_path / "b").read_bytes() == first


def test_without_evidence_nothing_is_said_of_it(dissection, tmp_path):
    page = read(write_report(dissection, tmp_path))
    assert not page.find("option", value="beyond")
    assert "labels of other images" not in page.find("body")[0].find("main")[0].text
    assert not page.find("p", class_="doubt")
    assert all("density" not in unit for unit in units(page).values())
    known = {"margin", "precision", "recall", "accuracy", "information_quality"}
    assert {key for unit in units(page).values() for key in unit["trust"]} == known
    assert not any(unit["beyond"] or unit["doubts"] or unit["halves"] for unit in units(page).values())


def test_evidence_without_decoys_judges_nobody(judged, tmp_path):
    for layer in judged.layers.values():
        layer.evidence = dataclasses.replace(layer.evidence, null=torch.empty(0, 0, dtype=torch.float64))
    page = read(write_report(judged, tmp_path))
    assert page.find("h1")[0].text == "19 units, 19 detectors"
    assert not any("may be chance" in card.text for card in cards(page))
    assert all("low" in unit["trust"] for unit in units(page).values())


def test_images_only(dissection, tmp_path):
    page = read(write_report(images_only(dissection), tmp_path))
    text = " ".join(page.text.split())
    assert page.find("h1")[0].text == "19 units"
    assert "Images only. Nothing said what the images show" in text
    assert not page.find("svg")
    assert not page.find("select", name="category") + page.find("select", name="concept")
    for word in ("detector", "No unit meets", "Union over"):
        assert word not in page.find("header")[0].text + page.find("section", id="layer0")[0].text
    assert [option.attributes["value"] for option in page.find("select", name="sort")[0].find("option")] == [
        "unit", "strength",
    ]  # fmt: skip
    assert [card.attributes["unit"] for card in cards(page, "layer0")] == list(range(12))
    for card in cards(page):
        assert not card.find("h4")
        assert "IoU" not in card.text
        assert "threshold" in card.text
        assert card.find("canvas")
    assert len(page.find("ul", class_="first")[0].find("a")) == 8


def test_images_only_shows_what_excites_a_unit_that_fires_nowhere(dissection, tmp_path):
    result = images_only(dissection)
    for layer in result.layers.values():
        layer.unit_area.zero_()
        layer.thresholds.fill_(2)  # as that of a vector in few images
    layer.sample.peaks[3] = layer.peaks[3] = 0
    found = {card.attributes["id"]: card for card in cards(read(write_report(result, tmp_path)))}
    canvas = found["u0-0"].find("canvas")
    assert len(canvas) == 5
    assert all(one.attributes["data-mask"] == "" for one in canvas)
    assert all("does not fire in it" in one.attributes["aria-label"] for one in canvas)
    assert not found["u1-3"].find("canvas")
    assert "All images are the same to it." in found["u1-3"].text


def test_provenance_and_weights(dissection, tmp_path):
    assert not read(write_report(dissection, tmp_path)).find("footer")
    dissection.settings["weights"] = "random (seed <0>)"
    dissection.settings["provenance"] = {"network": "VGG <b>", "weights": "a1b2", "date": "2026-11-29"}
    page = read(write_report(dissection, tmp_path))
    (warning,) = page.find("p", class_="warning")
    assert "The network's weights are random (seed <0>)." in warning.text
    rows = page.find("footer")[0].find("div")
    assert [(row.find("dt")[0].text, row.find("dd")[0].text) for row in rows] == [
        ("Network", "VGG <b>"),
        ("Fingerprint of the weights", "a1b2"),
        ("Date", "2026-11-29"),
        ("Weights", "random (seed <0>)"),
    ]
