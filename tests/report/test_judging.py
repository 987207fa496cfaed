"""Pages on which people judge images: flags of units, and blinded pairs."""

import json
import re

import pytest
import torch

from dissect import generators
from dissect.report import read_preferences, write_flagging, write_pairs

from .browsing import FAINT
from .conftest import make_dissection, make_layer

SAVING = "URL.createObjectURL = (blob) => { window.told = blob; return '#'; }"


def pictures(count, seed, side=8):
    return torch.randint(
        0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture
def comparisons():
    return {"mended": (pictures(6, 1), pictures(6, 2)), "<b>random": (pictures(4, 3), pictures(4, 4))}


@pytest.fixture
def opened(browser):
    """A page, of whose requests and errors there are none."""
    browser.requests.clear()
    browser.errors.clear()

    def visit(path, width=1280, scheme="light"):
        browser.emulate(width, 900, prefers_color_scheme=scheme)
        browser.open(path)
        browser.js("localStorage.clear()")
        browser.open(path)
        browser.js(SAVING)
        return browser

    yield visit
    assert (browser.requests, browser.errors) == ([], [])


def told(page):
    return page.js("told.text()")


def test_units_are_flagged_with_keys_and_saved(dissection, tmp_path, opened):
    path = write_flagging(dissection, tmp_path, layer="features.a", images=3)
    page = opened(path)
    assert page.js("document.querySelectorAll('.flagging li').length") == 12
    assert page.js("document.querySelectorAll('.flagging li:first-child canvas').length") == 3
    page.wait("document.querySelector('canvas').width > 1")
    for key in ("ArrowDown", " ", "ArrowDown", "ArrowDown", " ", "ArrowDown", " ", "ArrowUp", "ArrowDown", " "):
        page.press(key)
    assert page.js("document.querySelector('.toolbar output').value") == "2 flagged"
    for kind, button in (("json", "json"), ("csv", "csv")):
        page.js(f"document.querySelector('[name={button}]').click()")
        (tmp_path / f"flags.{kind}").write_text(told(page))
        flags = generators.read_flags(tmp_path / f"flags.{kind}")
        assert (tuple(flags), flags.layer) == ((0, 2), "features.a")
    page.js("document.querySelector('[name=only]').click()")
    assert page.js("document.querySelectorAll('.flagging li:not([hidden])').length") == 2
    page.open(path)  # they stay
    assert page.js("document.querySelector('.toolbar output').value") == "2 flagged"
    page.js("document.querySelector('[name=clear]').click()")
    assert page.js("document.querySelector('.toolbar output').value") == "0 flagged"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_fit_and_can_be_read(dissection, comparisons, tmp_path, opened, width, scheme):
    for path in (
        write_flagging(dissection, tmp_path, layer="features.b"),
        write_pairs(comparisons, tmp_path, seed=1).page,
    ):
        page = opened(path, width, scheme)
        assert page.js(FAINT) == []
        assert page.js("document.documentElement.scrollWidth") <= width


def test_a_layer_is_asked_for_where_there_are_several(dissection, tmp_path):
    with pytest.raises(ValueError, match="write_flagging: layer must be one of"):
        write_flagging(dissection, tmp_path)
    with pytest.raises(KeyError, match="was not dissected"):
        write_flagging(dissection, tmp_path, layer="x")
    with pytest.raises(TypeError, match="dissection must be a Dissection"):
        write_flagging("result", tmp_path)
    alone = make_dissection([make_layer("<i>", 2, 6, 9)])
    page = write_flagging(alone, tmp_path / "mine.html").read_text()
    assert "&lt;i&gt;" in page
    assert "<i>" not in page


def test_pairs_are_answered_with_keys_and_the_key_tells_who_wins(comparisons, tmp_path, opened):
    page_path, key_path = write_pairs(comparisons, tmp_path, seed=3)
    key = json.loads(key_path.read_text())["pairs"]
    page = opened(page_path)
    page.press("ArrowLeft")
    page.js("document.querySelector('[name=back]').click()")
    for number, pair in enumerate(key):
        assert page.js("document.querySelector('.score output').value") == f"{number} of 10"
        mended = pair["comparison"] == "mended"
        page.press("ArrowLeft" if (pair["changed"] == "left") == mended else "ArrowRight")
    page.wait("!document.querySelector('.done').hidden")
    page.js("document.querySelector('[name=rater]').value = 'one'")
    page.js("document.querySelector('[name=save]').click()")
    (tmp_path / "answers.json").write_text(told(page))
    rows = read_preferences(key_path, tmp_path / "answers.json")
    assert [(row.comparison, row.answers, row.preferred) for row in rows] == [("<b>random", 4, 0), ("mended", 6, 6)]


def test_pictures_are_on_the_sides_that_the_key_says(comparisons, tmp_path, opened):
    page_path, key_path = write_pairs(comparisons, tmp_path, seed=3)
    key, page = json.loads(key_path.read_text())["pairs"], opened(page_path)
    pixel = """(async (at) => {
      const image = document.querySelectorAll('.pair img')[at];
      await image.decode();
      const context = new OffscreenCanvas(8, 8).getContext('2d');
      context.drawImage(image, 0, 0);
      return [...context.getImageData(0, 0, 8, 8).data].filter((_, place) => place % 4 < 3);
    })"""
    for pair in key[:3]:
        first, other = (
            each[pair["picture"]].permute(1, 2, 0).flatten().tolist() for each in comparisons[pair["comparison"]]
        )
        expected = [other, first] if pair["changed"] == "left" else [first, other]
        assert [page.js(f"{pixel}({at})") for at in (0, 1)] == expected
        page.press("ArrowLeft")


def test_the_page_does_not_tell_the_key(comparisons, tmp_path):
    written = write_pairs(comparisons, tmp_path / "a.html", seed=3)
    page = written.page.read_text()
    assert written.key.name == "a.key.json"
    assert not any(word in page for word in ("mended", "random", "changed", "original"))
    again = write_pairs(comparisons, tmp_path / "b.html", seed=3)
    assert again.page.read_bytes() == written.page.read_bytes()
    other = write_pairs(comparisons, tmp_path / "c.html", seed=4)
    sides = [[pair["changed"] for pair in json.loads(each.key.read_text())["pairs"]] for each in (written, other)]
    assert sides[0] != sides[1]
    assert {*sides[0]} == {"left", "right"}


def answers(path, page, given, rater="one"):
    path.write_text(json.dumps({"kind": "dissect pair answers", "page": page, "rater": rater, "answers": given}))
    return path


def test_several_people_are_added_up_as_far_as_they_came(comparisons, tmp_path):
    _, key_path = write_pairs(comparisons, tmp_path, seed=3)
    key = json.loads(key_path.read_text())
    right = [pair["changed"] for pair in key["pairs"]]
    one = answers(tmp_path / "1.json", key["page"], right)
    two = answers(tmp_path / "2.json", key["page"], right[:5], "two")
    rows = {row.comparison: row for row in read_preferences(key_path, one, two)}
    assert sum(row.answers for row in rows.values()) == 15
    assert all(row.share == 1 and row.high == pytest.approx(1) and 0 < row.low < 1 for row in rows.values())
    bad = {
        "dissect": answers(tmp_path / "3.json", "other", right, "three"),
        "has answered once": answers(tmp_path / "4.json", key["page"], right),
        "at most as many": answers(tmp_path / "5.json", key["page"], [*right, "left"], "five"),
        "one of": answers(tmp_path / "6.json", key["page"], ["middle"], "six"),
    }
    for text, path in bad.items():
        with pytest.raises(ValueError, match=re.escape(path.name)):
            read_preferences(key_path, one, path)
        with pytest.raises(ValueError, match="answers are to the page" if text == "dissect" else text):
            read_preferences(key_path, one, path)
    with pytest.raises(ValueError, match="at least one file"):
        read_preferences(key_path)
    with pytest.raises(ValueError, match=r"1\.json"):
        read_preferences(one, one)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({}, ValueError, "comparisons must be pairs of pictures by name"),
        ({"a": (torch.zeros(1, 3, 8, 8), pictures(1, 1))}, TypeError, "two tensors uint8"),
        ({"a": (pictures(2, 1), pictures(1, 1))}, ValueError, "as many pictures"),
        ({"a": (pictures(0, 1), pictures(0, 1))}, ValueError, "as many pictures"),
        ({"a": (pictures(1, 1),) * 2, "b": (pictures(1, 1, 16),) * 2}, ValueError, "all of one size"),
    ],
)
def test_other_pictures_are_no_pairs(tmp_path, given, error, text):
    with pytest.raises(error, match=f"write_pairs: .*{text}"):
        write_pairs(given, tmp_path, seed=0)
