"""The page in a browser: what people do with it by mouse, keyboard and screen reader."""

import csv
import io
from pathlib import Path

import pytest

from dissect import Dissection, write_report

from .chromium import Page, find_chromium
from .conftest import make_dissection, make_layer

PAIRS = [
    ("sky", "object"),
    ("tree", "object"),
    ("<img src=x onerror=alert(1)>", "material"),
    ('=1+"1"', "texture"),
    ("</script><script>alert(2)</script>", "color"),
]
#: Cards that the filters leave, in their order.
SHOWN = "[...document.querySelectorAll('.cards:not([hidden]) .card:not([hidden])')]"
#: Per visible text its contrast with the color behind it, as [ratio, text], where it is below 4.5 : 1.
FAINT = """(() => {
  const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    context.clearRect(0, 0, 1, 1); context.fillStyle = color; context.fillRect(0, 0, 1, 1);
    return context.getImageData(0, 0, 1, 1).data;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] > 230) return color;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), faint = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement, style = getComputedStyle(element);
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, .hidden")) continue;
    const color = rgba(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(color), light(behind(element))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) faint.push([(a + .05) / (b + .05), texts.currentNode.data]);
  }
  return faint;
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory, missing):
    program = find_chromium()
    if program is None:
        missing("chromium", "no Chromium was found on the PATH or in DISSECT_CHROMIUM")
    page = Page(program, tmp_path_factory.mktemp("browser") / "profile")
    yield page
    page.close()


@pytest.fixture(scope="module")
def result() -> Dissection:
    first = make_layer("features.a", 12, 6, 9)
    first.thresholds[1] = 0.0
    for counts in (first.intersection, first.unit_area, first.union_area):
        counts[0] = 0
    second = make_layer('<b>"b"', 7, 6, 9, share=0.3, seed=3)
    return make_dissection([first, second], pairs=PAIRS)


@pytest.fixture(scope="module")
def report(result, tmp_path_factory) -> Path:
    return write_report(result, tmp_path_factory.mktemp("report"))


@pytest.fixture
def page(browser, report):
    """The page, freshly opened; that it asks for nothing and that nothing goes wrong is checked at the end."""
    browser.requests.clear()
    browser.errors.clear()
    browser.emulate(1280, 900, prefers_color_scheme="light")
    browser.open(report)
    browser.wait("document.querySelectorAll('.open').length === 19")
    yield browser
    assert browser.requests == []
    assert browser.errors == []


def shown(page: Page) -> list[str]:
    return page.js(f"{SHOWN}.map((card) => card.id)")


def enter(page: Page, name: str, value: str) -> None:
    page.js(f"document.querySelector('.toolbar').elements[{name!r}].focus()")
    page.js(f"document.activeElement.value = {value!r}")
    page.js("document.activeElement.dispatchEvent(new Event('input', { bubbles: true }))")


def count(page: Page) -> str:
    return page.js("document.querySelector('.toolbar output').value")


def expected(result: Dissection, fits) -> set[str]:
    return {f"u{list(result.layers).index(row.layer)}-{row.unit}" for row in result.best() if fits(row)}


def ranked(result: Dissection, concept: str, layers: list[str]) -> list[tuple[str, float]]:
    """The cards of all units that meet a concept, the best first, layer by layer or together, with their IoUs."""
    label, found = result.concepts.names.index(concept), []
    for name in layers:
        iou, at = result[name].iou[:, label].tolist(), list(result.layers).index(name)
        found += [(-iou[unit], -max(result[name].iou[unit].tolist()), at, unit) for unit in range(len(iou))]
    return [(f"u{at}-{unit}", -score) for score, _, at, unit in sorted(found) if score < 0]


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


def test_the_first_screen_has_pictures(page, result):
    links = page.js("[...document.querySelectorAll('.first a')].map((link) => [link.hash, link.innerText])")
    rows = {f"#u{list(result.layers).index(row.layer)}-{row.unit}": row for row in result.best()}
    assert len(links) == 8
    assert {rows[link].concept for link, _ in links[:5]} == {name for name, _ in PAIRS}
    assert all(f"{rows[link].iou:.3f} · unit {rows[link].unit}" in text for link, text in links)
    page.wait("[...document.querySelectorAll('.first canvas')].every((canvas) => canvas.width > 50)")
    page.js("document.querySelector('.first a').click()")
    page.wait(f"location.hash === {links[0][0]!r}")


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


def test_a_card_opens_by_keyboard(page):
    page.press("Tab")
    assert page.js("document.activeElement.className") == "skip"
    page.press("Enter")
    page.wait("location.hash === '#units'")
    for _ in range(12):
        page.press("Tab")
        if page.js("document.activeElement.className") == "open":
            break
    first, second = shown(page)[:2]
    assert page.js("document.activeElement.closest('.card').id") == first
    assert page.js("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    assert page.js("document.getElementById('detail').open")
    assert page.js("document.activeElement.textContent") == "Close"
    where = "document.querySelector('[data-part=where]').textContent"
    assert page.js(where) == f"features.a, unit {first[3:]}"
    page.press("ArrowRight")
    assert page.js(where) == f"features.a, unit {second[3:]}"
    page.wait("[...document.querySelectorAll('#detail canvas')].every((canvas) => canvas.width > 100)")
    page.press("Escape")
    page.wait("!document.getElementById('detail').open")
    page.wait(f"document.activeElement.closest('.card')?.id === {second!r}")


def test_details_stop_at_the_ends(page):
    enter(page, "text", "unit 6")
    page.js(f"{SHOWN}[1].querySelector('canvas').click()")
    parts = "['previous', 'next'].map((part) => document.querySelector(`[data-part=${part}]`).disabled)"
    assert page.js(parts) == [False, True]
    page.js("document.querySelector('[data-part=previous]').focus()")
    page.press("Enter")
    assert page.js(parts) == [True, False]
    assert page.js("document.activeElement.textContent") == "Close"
    assert page.js("document.querySelector('[data-part=place]').textContent") == "1 of 2"


def test_details_list_the_best_concepts(page, result):
    page.js("document.getElementById('u0-3').querySelector('.open').click()")
    cells = "[...row.cells].map((cell) => cell.innerText)"
    rows = page.js(f"[...document.querySelectorAll('#detail tbody tr')].map((row) => {cells})")
    row = result.best("features.a")[3]
    assert rows[0][:3] == [row.concept, row.category, f"{row.iou:.3f}"]
    assert len(rows) == 2
    page.press("Escape")
    page.js("document.getElementById('u0-0').querySelector('.open').click()")
    assert page.js("document.querySelector('[data-part=name]').textContent") == "never fires"
    assert not page.js("document.querySelector('[data-part=scores]').checkVisibility()")


def test_pictures_are_dark_where_the_unit_does_not_fire(page):
    page.js("document.getElementById('u0-3').scrollIntoView()")
    canvas = "document.querySelector('#u0-3 canvas')"
    page.wait(f"{canvas}.width > 1")
    copy = "Object.assign(document.createElement('canvas'), { width: 99, height: 99 })"
    page.js(f"const copy = {copy}.getContext('2d', {{ willReadFrequently: true }})")
    light = f"(copy.drawImage({canvas}, 0, 0), copy.getImageData(0, 0, 99, 99).data.reduce((sum, v) => sum + v))"
    masked = page.js(light)
    page.js("document.querySelector('[name=whole]').click()")
    page.wait(f"{light} > {masked} * 1.2")
    page.js("document.querySelector('[name=whole]').click()")
    page.wait(f"{light} === {masked}")


def test_table_to_download(page, result):
    page.js("URL.createObjectURL = (blob) => { window.told = blob; return '#'; }")
    page.js("document.querySelector('[name=csv]').click()")
    rows = list(csv.DictReader(io.StringIO(page.js("told.text()"), newline="")))
    best = sorted(result.best(), key=lambda row: (list(result.layers).index(row.layer), -row.iou, row.unit))
    assert [(row["layer"], int(row["unit"])) for row in rows] == [(row.layer, row.unit) for row in best]
    for row, told in zip(best, rows):
        assert told["concept"] == {"-": "", '=1+"1"': '\'=1+"1"'}.get(row.concept, row.concept)
        for name in ("iou", "attainable", "concept_fraction", "threshold", "firing"):
            assert float(told[name]) == pytest.approx(getattr(row, name), rel=1e-8)
        assert (told["state"], told["detector"]) == (row.state, str(row.iou > 0.04).lower())


def test_a_link_shows_a_card_that_is_filtered_away(page):
    enter(page, "text", "nothing like it")
    page.js("location.hash = '#u0-3'")
    page.wait("document.getElementById('u0-3').checkVisibility()")
    assert count(page) == "19 units"


def test_the_same_link_shows_it_again(page):
    page.js("location.hash = '#u0-3'")
    enter(page, "text", "nothing like it")
    assert not page.js("document.getElementById('u0-3').checkVisibility()")
    page.js("""
        document.body.insertAdjacentHTML('beforeend', '<a id=again href=#u0-3><b>3</b></a>');
        document.querySelector('#again b').click();
    """)
    page.wait("document.getElementById('u0-3').checkVisibility()")
    assert count(page) == "19 units"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page, scheme):
    page.emulate(1280, 900, prefers_color_scheme=scheme)
    assert page.js(FAINT) == []
    page.js("document.getElementById('u0-3').querySelector('.open').click()")
    assert page.js(FAINT) == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280, 2200])
def test_nothing_is_wider_than_the_window(page, width):
    page.emulate(width, 800)
    assert page.js("document.documentElement.scrollWidth") <= width
    page.js("document.getElementById('u0-3').querySelector('.open').click()")
    assert page.js("document.getElementById('detail').scrollWidth") <= width


def test_everything_to_act_on_has_a_name(page):
    page.js("document.getElementById('u0-3').querySelector('.open').click()")
    for state in ("open", "closed"):
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "checkbox", "combobox", "dialog", "image", "link", "searchbox", "table"}
        acting = [node for node in nodes if node.get("role", {}).get("value") in roles and not node["ignored"]]
        nameless = [node["role"]["value"] for node in acting if not node.get("name", {}).get("value")]
        assert len(acting) > 5
        assert nameless == [], state
        page.press("Escape")


def test_nothing_moves(page):
    moving = "[...document.querySelectorAll('*')].filter((e) => getComputedStyle(e).transitionDuration !== '0s')"
    assert page.js(f"document.getAnimations().length + {moving}.length") == 0


def test_print_has_the_pictures(page):
    pdf = page.call("Page.printToPDF", printBackground=True)["data"]
    assert len(pdf) > 50_000
    page.js("dispatchEvent(new Event('beforeprint'))")
    assert page.js("[...document.querySelectorAll('.card canvas')].every((canvas) => canvas.width > 1)")


def test_two_thousand_units(page, wide_report):
    paints = []
    for _ in range(3):
        page.open(wide_report)
        paints.append(page.js("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    assert min(paints) < 2000
    drawn = "[...document.querySelectorAll('.card canvas')].filter((canvas) => canvas.width > 1).length"
    page.js("document.getElementById('units').scrollIntoView()")
    page.wait(f"{drawn} > 10")
    assert page.js(drawn) < 200, "only what is near the window is drawn"
    page.js("dispatchEvent(new Event('beforeprint'))")
    assert page.js("document.querySelectorAll('.unprinted').length") == 1800
    page.js("dispatchEvent(new Event('afterprint'))")
    assert page.js("document.querySelectorAll('.unprinted').length") == 0
