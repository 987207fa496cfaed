"""The page in a browser: what people do with it by mouse, keyboard and screen reader."""

import pytest

from .browsing import FAINT, SHOWN, count, download, enter, shown
from .conftest import HOSTILE_PAIRS


def test_the_first_screen_has_pictures(page, result):
    links = page.js("[...document.querySelectorAll('.first a')].map((link) => [link.hash, link.innerText])")
    rows = {f"#u{list(result.layers).index(row.layer)}-{row.unit}": row for row in result.best()}
    assert len(links) == 8
    assert {rows[link].concept for link, _ in links} == {name for name, _ in HOSTILE_PAIRS}
    assert all(f"{rows[link].iou:.3f} · unit {rows[link].unit}" in text for link, text in links)
    page.wait("[...document.querySelectorAll('.first canvas')].every((canvas) => canvas.width > 50)")
    page.js("document.querySelector('.first a').click()")
    page.wait(f"location.hash === {links[0][0]!r}")


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
    rows = page.js(f"[...document.querySelectorAll('#detail [data-part=scores] tbody tr')].map((row) => {cells})")
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
    rows = download(page)
    best = sorted(result.best(), key=lambda row: (list(result.layers).index(row.layer), -row.iou, row.unit))
    assert [(row["layer"], int(row["unit"])) for row in rows] == [(row.layer, row.unit) for row in best]
    for row, told in zip(best, rows):
        assert told["concept"] == {"-": "", '=1+"1"': '\'=1+"1"'}.get(row.concept, row.concept)
        for name in ("iou", "attainable", "concept_fraction", "threshold", "firing"):
            assert float(told[name]) == pytest.approx(getattr(row, name), rel=1e-8)
        assert (told["state"], told["detector"]) == (row.state, str(row.iou > 0.04).lower())


def test_the_table_has_the_best_concept_of_each_category(page, result):
    vocabulary = result.concepts
    for told in download(page):
        iou = result[told["layer"]].iou[int(told["unit"])]
        for category in ("object", "material", "texture", "color"):
            labels = [label for label, its in enumerate(vocabulary.categories) if its == category]
            best = max(labels, key=lambda label: (float(iou[label]), -label))
            name = vocabulary.names[best].replace("=1+", "'=1+") if iou[best] > 0 else ""
            assert told[category] == name
            assert float(told[f"{category}_iou"] or 0) == pytest.approx(float(iou[best]), rel=1e-5)


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
