"""The page in a browser: painted on by mouse, by touch and by keyboard, undone, saved, and replayed."""

import json
import re

import pytest
import torch

from dissect import apps, models
from dissect.apps.session import session_of

from .conftest import BRUSHES
from .driving import IDLE, check_readable, choose, click, drag, opened, picture, saved, served, status, visited


@pytest.fixture(scope="module")
def painter():
    return apps.Painter(models.ProGAN((8, 8, 6), z_channels=5).eval(), "layer3", brushes=BRUSHES, count=20)


@pytest.fixture(scope="module")
def address(painter):
    with served(painter) as address:
        yield address


@pytest.fixture
def page(browser, address):
    yield from visited(browser, address)


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
    opened(page, path.read_text())
    page.wait(f"document.querySelectorAll('#history li').length === 2 && {IDLE}")
    assert torch.equal(picture(page), both)
    assert saved(page, "movie").startswith("GIF89a")
    click(page, "picture")
    assert page.js("told.arrayBuffer().then((data) => new Uint8Array(data)[1])") == ord("P")


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
    opened(page, "{}")
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
    check_readable(page, width)
    assert "<b>street</b>" in page.js("document.querySelector('.eyebrow').textContent")


def test_painting_by_touch(page):
    page.emulate(390, 844)
    box = page.js("document.getElementById('picture').getBoundingClientRect().toJSON()")
    place = [{"x": box["left"] + box["width"] / 2, "y": box["top"] + box["height"] / 2}]
    page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=place)
    page.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{"x": place[0]["x"] + 30, "y": place[0]["y"]}])
    page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    page.wait(f"document.querySelectorAll('#history li').length === 1 && {IDLE}")
