"""Text labels of units on the report, and a search of formulas and texts."""

import pytest

from dissect import write_report
from dissect.dissection import TextRow
from dissect.table import Table

from .browsing import count, download, enter, shown
from .conftest import make_dissection, make_layer
from .reading import read, units
from .test_cards import unit_formulas

TEXTS = ("a red street car", "</script><b>palm trees", "=stripes", "The Sky at night", "street", "reed")


@pytest.fixture(scope="module")
def result():
    return make_dissection([make_layer("a", 12, 6, 9), make_layer("b", 7, 6, 9, seed=3)])


def text_rows(result, layer="a", **changes):
    rows = (
        TextRow(layer, row.unit, row.concept, row.iou, TEXTS[row.unit % 6], 0.1 + row.unit / 50, 0.01, 0.002)
        for row in result.best(layer)
    )
    return Table(row._replace(**changes) if row.unit == 2 else row for row in rows)


def test_cards_tell_the_texts_and_the_page_what_it_searches(result, tmp_path):
    page = write_report(result, tmp_path, texts=[text_rows(result), text_rows(result, "b")])
    found = units(read(page))
    for unit in found.values():
        number = unit["unit"]
        assert unit["text"] == [TEXTS[number % 6], pytest.approx(0.1 + number / 50), 0.002]
        assert unit["told"] == TEXTS[number % 6].lower()
    assert "from texts</dt><dd>a red street car <small>score 0.1, by chance 0.2%" in found["u0-0"]["html"]
    text = page.read_text("utf-8")
    assert 'placeholder="concept, text label or unit number"' in text
    assert "A text label is the best of the texts that were given" in text
    assert "</script><b>palm" not in text
    one = write_report(result, tmp_path, texts=text_rows(result))
    assert {name for name, unit in units(read(one)).items() if "text" in unit} == {f"u0-{at}" for at in range(12)}
    bare = write_report(result, tmp_path).read_text("utf-8")
    assert 'placeholder="concept or unit number"' in bare
    assert "A text label" not in bare


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (lambda d: text_rows(d, iou=0.3), ValueError, "unit 2 has another concept or IoU there"),
        (lambda d: list(text_rows(d))[1:], ValueError, "must be of its 12 units, but are of 11"),
        (lambda d: [*text_rows(d), text_rows(d)[0]], ValueError, "is twice"),
        (lambda d: [row._replace(layer="c") for row in text_rows(d)], KeyError, "c"),
        (lambda d: ["red"] * 12, TypeError, "must be what dissect.dissection.text_labels gave, but hold a str"),
        (lambda d: list(d.best("a")), TypeError, "but hold a UnitRow"),
        (lambda d: [3], TypeError, "but hold a int"),
    ],
)
def test_texts_of_something_else_are_refused(result, tmp_path, texts, error, message):
    with pytest.raises(error, match=message):
        write_report(result, tmp_path, texts=texts(result))


def test_a_search_finds_texts_and_formulas_by_their_words(browser, result, tmp_path):
    given = unit_formulas(result, 12)
    browser.open(write_report(result, tmp_path, formulas=given, texts=[text_rows(result), text_rows(result, "b")]))
    browser.wait("document.querySelectorAll('.open').length === 19")
    assert browser.js("document.querySelector('input[type=search]').placeholder") == (
        "concept, formula, text label or unit number"
    )

    def of(*texts):
        return {
            f"u{at}-{unit}" for at, number in enumerate((12, 7)) for unit in range(number) if TEXTS[unit % 6] in texts
        }

    browser.js("document.querySelector('input[type=search]').focus()")
    browser.type("Street C")
    assert set(shown(browser)) == of("a red street car")
    assert count(browser) == f"{len(shown(browser))} of 19 units, {len(shown(browser))} by formula or text label"
    enter(browser, "text", "night")
    assert set(shown(browser)) == of("The Sky at night")
    enter(browser, "text", "ipes")  # no word begins so
    assert set(shown(browser)) >= of("=stripes")
    enter(browser, "text", "ree")  # "reed" begins so, and the concepts tree and green are not meant
    assert set(shown(browser)) == of("reed")
    enter(browser, "text", "sky or")
    assert shown(browser) == ["u0-1"]
    sky = browser.js("[...document.querySelectorAll('option')].find((o) => o.text.startsWith('sky (')).value")
    enter(browser, "text", "night")
    enter(browser, "concept", sky)
    assert shown(browser) == []  # a concept that was chosen must be met
    enter(browser, "concept", "")
    rows = download(browser)
    assert {row["text"] for row in rows} == {"The Sky at night"}
    assert {row["text_p"] for row in rows} == {"0.002"}
    enter(browser, "text", "stripes")
    assert {row["text"] for row in download(browser)} >= {"'=stripes"}
