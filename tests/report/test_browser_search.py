"""Search, filters, order and the address of the page in a browser."""

from dissect import write_report

from .browsing import SHOWN, count, enter, expected, ranked, shown
from .conftest import make_dissection, make_layer


def test_search(page, result):
    assert count(page) == "19 units"
    page.js("document.querySelector('input[type=search]').focus()")
    page.type("TREE")
    trees = [pair for name in result.layers for pair in ranked(result, "tree", [name])]
    assert shown(page) == [card for card, _ in trees]
    assert count(page) == f"{len(trees)} of 19 units, by IoU with tree"
    named = {f"u{list(result.layers).index(row.layer)}-{row.unit}" for row in result.best() if row.concept == "tree"}
    lines = f"Object.fromEntries({SHOWN}.map((card) => [card.id, card.querySelector('.met')?.textContent]))"
    for card, score in trees:
        line = page.js(lines).get(card)
        assert (line is None) == (card in named)
        assert line is None or line.split() == ["tree", "object", "IoU", f"{score:.3f}"]
    enter(page, "text", "unit 6")
    assert shown(page) == ["u0-6", "u1-6"]
    enter(page, "text", "nothing like it")
    assert shown(page) == []
    assert page.js("document.getElementById('nothing').checkVisibility()")
    page.js("document.querySelector('[type=reset]').click()")
    page.wait("document.querySelector('.toolbar output').value === '19 units'")


def test_a_search_means_words_that_begin_so(browser, tmp_path):
    pairs = [("street", "scene"), ("palm tree", "object"), ("tree", "object"), ("wood", "material"), ("green", "color")]
    browser.open(write_report(make_dissection([make_layer("a", 5, 6, 9)], pairs=pairs), tmp_path))
    browser.wait("document.querySelectorAll('.open').length === 5")
    for text, told in (("tree", "palm tree, tree"), ("ree", "street, palm tree, tree, green"), ("palm", "palm tree")):
        enter(browser, "text", text)
        names = set(count(browser).split("by IoU with ")[1].split(", "))
        assert names == set(told.split(", ")) or (text == "ree" and names == {"the best of the concepts that fit"})


def test_filters(page, result):
    enter(page, "category", "object")
    assert set(shown(page)) == expected(result, lambda row: row.category == "object")
    sky = page.js("[...document.querySelectorAll('option')].find((o) => o.text.startsWith('sky (')).value")
    enter(page, "concept", sky)
    assert shown(page) == [card for name in result.layers for card, _ in ranked(result, "sky", [name])]
    enter(page, "category", "color")
    assert set(shown(page)) == expected(result, lambda row: row.category == "color")
    enter(page, "category", "")
    enter(page, "layer", "layer1")
    assert set(shown(page)) == expected(result, lambda row: row.layer != "features.a")
    enter(page, "layer", "")
    for state in ("dead", "sparse"):
        enter(page, "state", state)
        assert set(shown(page)) == expected(result, lambda row, state=state: row.state == state)
    enter(page, "state", "detector")
    assert set(shown(page)) == expected(result, lambda row: row.iou > 0.04)


def test_sort(page, result):
    rows = {f"u{list(result.layers).index(row.layer)}-{row.unit}": row for row in result.best()}
    keys = {
        "unit": lambda row: row.unit,
        "iou": lambda row: (-row.iou, row.unit),
        "reach": lambda row: (-row.iou / (row.attainable or 1), row.unit),
    }
    for name, key in keys.items():
        enter(page, "sort", name)
        for layer in ("u0", "u1"):
            order = [rows[card] for card in shown(page) if card.startswith(layer)]
            assert order == sorted(order, key=key), name
    enter(page, "sort", "concept")
    names = [rows[card].concept for card in shown(page) if card.startswith("u1")]
    assert len([name for name, after in zip(names, [*names[1:], None]) if name != after]) == len(set(names))
    assert shown(page)[11] == "u0-0", "a unit without a concept comes last"


def test_layers_together(page, result):
    where = f"{SHOWN}.map((card) => card.closest('.cards').id)"
    rows = {f"u{list(result.layers).index(row.layer)}-{row.unit}": row for row in result.best()}
    assert set(page.js(where)) == {""}
    page.js("document.querySelector('[name=together]').click()")
    assert set(page.js(where)) == {"together"}
    order = [rows[card] for card in shown(page)]
    assert len(order) == 19
    assert order == sorted(order, key=lambda row: (-row.iou, list(result.layers).index(row.layer), row.unit))
    assert page.js(f"{SHOWN}[0].querySelector('.unit').textContent").startswith("features.a, unit ")
    enter(page, "text", "tree")
    assert shown(page) == [card for card, _ in ranked(result, "tree", list(result.layers))]
    page.js(f"{SHOWN}[0].querySelector('.open').click()")
    page.press("ArrowRight")
    assert page.js("document.querySelector('[data-part=place]').textContent").startswith("2 of ")
    page.press("Escape")
    page.js("document.querySelector('[name=together]').click()")
    assert set(page.js(where)) == {""}


ADDRESS = "decodeURIComponent(location.hash)"


def test_the_address_keeps_what_was_chosen(page, report):
    page.js("document.querySelector('input[type=search]').focus()")
    page.type("tree")
    assert page.js(ADDRESS) == "#text=tree"
    enter(page, "category", "object")
    enter(page, "layer", "layer1")
    enter(page, "state", "detector")
    enter(page, "sort", "reach")
    page.js("document.querySelector('[name=together]').click()")
    address = "#text=tree&layer=layer1&category=object&state=detector&sort=reach&together=1"
    assert page.js(ADDRESS) == address
    found = shown(page)
    page.call("Page.navigate", url="about:blank")
    page.call("Page.navigate", url=report.as_uri() + address)
    page.wait("document.querySelectorAll('.open').length === 19")
    assert shown(page) == found
    form = "Object.fromEntries(new FormData(document.querySelector('.toolbar')))"
    expected = dict(pair.split("=") for pair in address[1:].split("&")) | {"concept": "", "together": "on"}
    assert page.js(form) == expected
    page.js("document.querySelector('[type=reset]').click()")
    page.wait("location.hash === ''")
    assert count(page) == "19 units"


def test_back_and_forward(page):
    page.js("document.querySelector('input[type=search]').focus()")
    page.type("tree")
    enter(page, "layer", "layer1")
    both = shown(page)
    page.js("history.back()")
    page.wait("document.querySelector('.toolbar').elements.layer.value === ''")
    assert page.js("document.querySelector('input[type=search]').value") == "tree", "letters are one step"
    page.js("history.back()")
    page.wait("document.querySelector('.toolbar output').value === '19 units'")
    page.js("history.go(2)")
    page.wait("document.querySelector('.toolbar').elements.layer.value === 'layer1'")
    assert shown(page) == both
    page.js("location.hash = '#u0-3'")
    page.wait("document.getElementById('u0-3').checkVisibility()")
    assert count(page) == "19 units"
    page.js("history.back()")
    page.wait("document.querySelector('.toolbar').elements.layer.value === 'layer1'")
    assert shown(page) == both


def test_an_address_of_nothing_shows_everything(page):
    page.js("location.hash = '#concept=99999&sort=nonsense&layer=<b>'")
    page.wait("document.querySelector('.toolbar').elements.sort.value === 'iou'")
    assert count(page) == "19 units"
