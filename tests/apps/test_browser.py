"""The page in a browser: painted on by mouse, by touch and by keyboard, undone, saved, and replayed."""

import json
import re
import socket
import threading
import time

import pytest
import torch
import uvicorn
from report.browsing import FAINT
from report.chromium import Page, find_chromium

from dissect import apps, models
from dissect.apps.server import application
from dissect.apps.session import session_of

from .conftest import BRUSHES
from .test_published import decoded

IDLE = "!document.getElementById('stage').hasAttribute('aria-busy')"


@pytest.fixture(scope="module")
def painter():
    return apps.Painter(models.ProGAN((8, 8, 6), z_channels=5).eval(), "layer3", brushes=BRUSHES, count=20)


@pytest.fixture(scope="module")
def address(painter):
    config = uvicorn.Config(
        application(painter, token="token", name="<b>street</b>"), log_level="error", lifespan="off"
    )
    server = uvicorn.Server(config)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/token/"
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def browser(tmp_path_factory, missing):
    program = find_chromium()
    if program is None:
        missing("chromium", "no Chromium was found on the PATH or in DISSECT_CHROMIUM")
    page = Page(program, tmp_path_factory.mktemp("browser") / "profile")
    yield page
    page.close()


@pytest.fixture
def page(browser, address):
    browser.errors.clear()
    browser.requests.clear()
    browser.emulate(1280, 1100, prefers_color_scheme="light")
    browser.call("Page.navigate", url="about:blank")
    browser.wait("location.href === 'about:blank'")
    browser.call("Page.navigate", url=address)
    browser.wait(f"document.querySelectorAll('#images button').length === 12 && {IDLE}")
    yield browser
    assert browser.errors == []
    assert all(url.startswith(address) for url in browser.requests)


def drag(page, *points):
    box = "document.getElementById('picture').getBoundingClientRect().toJSON()"
    left, top, width, height = (page.js(box)[side] for side in ("left", "top", "width", "height"))
    for at, (x, y) in enumerate(points):
        place = {"x": left + x * width, "y": top + y * height, "button": "left", "clickCount": 1, "buttons": 1}
        page.call("Input.dispatchMouseEvent", type="mouseMoved" if at else "mousePressed", **place)
    page.call("Input.dispatchMouseEvent", type="mouseReleased", **place)
    page.wait(IDLE)


def choose(page, **values):
    for name, value in values.items():
        part = f"const part = document.getElementById('tools').elements[{name!r}]; part.value = {value!r};"
        told = "(part.length ? part[0] : part).dispatchEvent(new Event('change', { bubbles: true }));"
        page.js(f"(() => {{ {part} {told} }})()")
    page.wait(IDLE)


def click(page, name):
    page.js(f"document.getElementById('tools').elements[{name!r}].click()")
    page.wait(IDLE)


def picture(page):
    return decoded(page.js("document.getElementById('picture').src"))


def saved(page, name="save"):
    """What a button saves."""
    page.js("URL.createObjectURL = (blob) => { window.told = blob; return '#'; }; window.told = null")
    click(page, name)
    page.wait("Boolean(window.told)")
    return page.js("told.text()")


def status(page):
    return page.js("document.getElementById('status').textContent")


def test_painting_by_mouse_undoing_saving_and_replaying(page, painter, tmp_path):
    assert torch.equal(picture(page), painter.picture(0))
    choose(page, brush=2, strength=2, size=2)
    drag(page, (0.1, 0.1), (0.3, 0.1), (0.3, 0.4))
    first = picture(page)
    assert re.fullmatch(r"Drew water \(object\): \d+ cells, 2 units\.", status(page))
    choose(page, action="remove", brush=1)
    drag(page, (0.8, 0.8))
    both, session = picture(page), session_of(json.loads(saved(page)), 8)
    told = [(stroke.action, stroke.concept) for stroke in session.strokes]
    assert told == [("draw", "water-iou"), ("remove", "tree-iou")]
    assert torch.equal(both, painter.picture(0, session.strokes))
    assert not torch.equal(both, first)
    click(page, "undo")
    assert torch.equal(picture(page), first)
    page.press("z")  # no shortcut without Control
    click(page, "undo")
    assert torch.equal(picture(page), painter.picture(0))
    click(page, "redo")
    click(page, "redo")
    assert torch.equal(picture(page), both)
    assert page.js("document.getElementById('tools').elements.redo.disabled")
    # The file replays, in the library and in the page.
    path = session.save(tmp_path / "session.json")
    assert torch.equal(apps.Painting.of(painter, apps.load_painting(path)).image, both)
    click(page, "reset")
    assert torch.equal(picture(page), painter.picture(0))
    text = json.dumps(path.read_text())
    page.js(f"(() => {{ const data = new DataTransfer(); data.items.add(new File([{text}], 'a.json'));"
            " const load = document.getElementById('tools').elements.load; load.files = data.files;"
            " load.dispatchEvent(new Event('change', { bubbles: true })); })()")  # fmt: skip
    page.wait(f"document.querySelectorAll('#history li').length === 2 && {IDLE}")
    assert torch.equal(picture(page), both)
    assert saved(page, "movie").startswith("GIF89a")


def test_a_stroke_is_deleted_and_before_is_shown(page, painter):
    choose(page, size=1)
    drag(page, (0.1, 0.1))
    one = picture(page)
    drag(page, (0.9, 0.9))
    click(page, "before")
    assert torch.equal(picture(page), painter.picture(0))
    assert page.js("document.getElementById('seen').textContent") == "before"
    click(page, "before")
    page.js("document.querySelectorAll('#history button')[1].click()")
    page.wait(f"document.querySelectorAll('#history li').length === 1 && {IDLE}")
    assert torch.equal(picture(page), one)


def test_painting_by_keyboard(page, painter):
    for _ in range(30):
        page.press("Tab")
        if page.js("document.activeElement.id") == "stage":
            break
    for key in ("ArrowUp", "ArrowRight", "ArrowRight", " "):
        page.press(key)
    assert re.fullmatch(r"\d+ cells marked\.", status(page))
    page.press("Escape")
    page.press("Enter")
    page.wait(f"document.querySelectorAll('#history li').length === 1 && {IDLE}")
    (stroke,) = session_of(json.loads(saved(page)), 8).strokes
    cells = stroke.mask.pooled((8, 8)).nonzero()
    assert cells.float().mean(0).tolist() == [4, 6]  # around row 5, column 7
    assert torch.equal(picture(page), painter.picture(0, [stroke]))
    page.js("document.getElementById('stage').focus()")
    page.call("Input.dispatchKeyEvent", type="rawKeyDown", key="z", code="KeyZ", windowsVirtualKeyCode=90, modifiers=2)
    page.wait(f"document.querySelectorAll('#history li').length === 0 && {IDLE}")
    assert torch.equal(picture(page), painter.picture(0))


def test_another_picture_and_what_is_refused(page, painter):
    choose(page, number=13)
    assert torch.equal(picture(page), painter.picture(13))
    page.js("document.querySelectorAll('#images button')[3].click()")
    page.wait(f"document.getElementById('tools').elements.number.value === '3' && {IDLE}")
    assert torch.equal(picture(page), painter.picture(3))
    page.js("(() => { const data = new DataTransfer(); data.items.add(new File(['{}'], 'a.json'));"
            " const load = document.getElementById('tools').elements.load; load.files = data.files;"
            " load.dispatchEvent(new Event('change', { bubbles: true })); })()")  # fmt: skip
    page.wait("document.getElementById('status').textContent.startsWith('a session must hold kind')")
    assert torch.equal(picture(page), painter.picture(3))
    # The browser writes what the server refused to the console, and nothing else.
    assert all("400 (Bad Request)" in error for error in page.errors)
    page.errors.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 2560])
def test_it_fits_and_can_be_read(page, width, scheme):
    page.emulate(width, 900, prefers_color_scheme=scheme)
    drag(page, (0.5, 0.5))
    assert page.js("document.documentElement.scrollWidth") <= width
    assert page.js(FAINT) == []
    small = """[...document.querySelectorAll('button, .palette span, .switch span, input[type=number]')]
      .filter((part) => part.checkVisibility() && part.getBoundingClientRect().height < 38).map((part) => part.name)"""
    assert page.js(small) == []
    named = """[...document.querySelectorAll('button, input, select, [role]')].filter((part) =>
      !(part.getAttribute('aria-label') || part.labels?.length || part.textContent.trim() || part.role === 'status'))
      .map((part) => part.outerHTML)"""
    assert page.js(named) == []
    assert "<b>street</b>" in page.js("document.querySelector('.eyebrow').textContent")


def test_painting_by_touch(page):
    page.emulate(390, 844)
    box = page.js("document.getElementById('picture').getBoundingClientRect().toJSON()")
    place = [{"x": box["left"] + box["width"] / 2, "y": box["top"] + box["height"] / 2}]
    page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=place)
    page.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": place[0]["x"] + 30, "y": place[0]["y"]}])
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    page.wait(f"document.querySelectorAll('#history li').length === 1 && {IDLE}")
