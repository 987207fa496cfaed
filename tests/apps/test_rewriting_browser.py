"""The rewriting page in a browser: copied, pasted, searched, executed, cancelled, undone and saved."""

import json

import pytest
import torch
from rewriting import nets

from dissect import apps
from dissect.rewriting import Edit
from dissect.rewriting.session import session_of

from .driving import IDLE, check_readable, choose, click, drag, opened, picture, saved, served, status, visited

DONE = f"document.getElementById('progress').hidden && {IDLE}"


@pytest.fixture(scope="module")
def rewriter():
    return apps.Rewriter(nets.progan(), "layer4", count=14, progress=False)


@pytest.fixture(scope="module")
def address(rewriter):
    with served(rewriter) as address:
        yield address


@pytest.fixture
def page(browser, address):
    yield from visited(browser, address)


def show(page, number):
    page.js(f"document.querySelector('#images button[value=\"{number}\"]').click()")
    page.wait(IDLE)


def painted(page):
    """Copies from image 0, pastes into image 3, takes image 5 as context."""
    choose(page, size=1)
    drag(page, (0.2, 0.2), (0.4, 0.2), (0.4, 0.4))
    click(page, "copy")
    show(page, 3)
    drag(page, (0.7, 0.6))
    click(page, "place")
    show(page, 5)
    drag(page, (0.1, 0.8), (0.3, 0.8))
    click(page, "add")


def executed(page, steps):
    page.js(f"document.getElementById('tools').elements.steps.value = {steps}")
    click(page, "execute")
    page.wait(DONE)


def test_by_mouse_from_copying_to_saving(page, rewriter, tmp_path):
    assert torch.equal(picture(page), rewriter.images([0])[0])
    painted(page)
    session = session_of(json.loads(saved(page)))
    assert (session.object.image, session.paste.image, [part.image for part in session.key]) == (0, 3, [5])
    rewriting = apps.Rewriting(rewriter, session)
    show(page, 3)
    page.js("document.getElementById('tools').elements.place.focus()")
    # What was painted is where the mouse was, a cell of the layer or two.
    rows, columns = session.paste.mask.nonzero().float().mean(0).tolist()
    assert abs(rows - 0.6 * 16) < 1.5
    assert abs(columns - 0.7 * 16) < 1.5
    click(page, "like")
    best = rewriting.search(12).images.tolist()
    assert page.js("[...document.querySelectorAll('#images button')].map((each) => Number(each.value))") == best
    assert page.js("document.querySelectorAll('#images canvas').length") == 12
    executed(page, 5)
    assert status(page).startswith("Changed: loss ")
    edit = rewriting.execute(steps=5)
    assert torch.equal(picture(page), rewriting.images([3])[0])
    click(page, "before")
    assert torch.equal(picture(page), rewriter.images([3])[0])
    click(page, "before")
    page.js("URL.createObjectURL = (blob) => { window.told = blob; return '#'; }; window.told = null")
    click(page, "keep")
    page.wait("Boolean(window.told)")
    data = bytes(page.js("told.arrayBuffer().then((data) => [...new Uint8Array(data)])"))
    (tmp_path / "rule.edit").write_bytes(data)
    assert torch.equal(Edit.load(tmp_path / "rule.edit").lambdas, edit.lambdas)
    click(page, "revert")
    opened(page, data, "take")
    page.wait("document.getElementById('status').textContent.startsWith('Opened an edit of rank 1')")
    assert torch.equal(picture(page), rewriting.images([3])[0])
    click(page, "snap")
    click(page, "revert")
    assert torch.equal(picture(page), rewriter.images([3])[0])
    page.js("document.querySelector('#snapshots button').click()")
    page.wait(IDLE)
    assert torch.equal(picture(page), rewriting.images([3])[0])
    for _ in range(5):
        click(page, "undo")
    assert torch.equal(picture(page), rewriter.images([3])[0])
    assert page.js("document.querySelectorAll('#key button').length") == 1
    click(page, "undo")
    assert page.js("document.querySelectorAll('#key button').length") == 0


def test_a_file_is_opened_an_edit_cancelled_and_what_is_refused_is_told(page, rewriter):
    painted(page)
    text = saved(page)
    page.js("document.querySelector('#key button').click()")
    page.wait(IDLE)
    opened(page, text)
    page.wait(f"document.querySelectorAll('#key button').length === 1 && {IDLE}")
    assert page.js("document.getElementById('seen').textContent") == "as it shall be"
    assert torch.equal(picture(page), rewriter.preview(session_of(json.loads(text))))
    page.js("document.getElementById('tools').elements.steps.value = 20001")
    click(page, "execute")
    page.wait("document.getElementById('bar').value > 2")
    assert page.js("document.getElementById('tools').elements.undo.disabled")
    click(page, "cancel")
    page.wait(DONE)
    assert "nothing has changed" in status(page)
    assert page.js("document.getElementById('tools').elements.keep.disabled")
    opened(page, '{"object": [99, "x"]}')
    page.wait("document.getElementById('status').textContent.includes('must have a mask that begins with')")
    choose(page, numbers="7-x")
    assert status(page) == "Numbers are like 0-8 or 3, 17, 40."
    assert all("400 (Bad Request)" in error for error in page.errors)
    page.errors.clear()


def test_by_keyboard(page):
    for _ in range(30):
        page.press("Tab")
        if page.js("document.activeElement.id") == "stage":
            break
    for key in ("ArrowUp", "ArrowRight", " ", "c", "ArrowDown", " ", "v", "ArrowLeft", " ", "ArrowLeft", " ", "a"):
        page.press(key)
        page.wait(IDLE)
    session = session_of(json.loads(saved(page)))
    assert session.object.image == session.paste.image == session.key[0].image == 0
    assert float(session.key[0].mask.sum()) > float(session.object.mask.sum()) > 0
    page.js("document.getElementById('stage').focus()")
    page.call("Input.dispatchKeyEvent", type="rawKeyDown", key="z", code="KeyZ", windowsVirtualKeyCode=90, modifiers=2)
    page.wait(f"document.querySelectorAll('#key button').length === 0 && {IDLE}")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (820, "dark"), (2560, "light"), (390, "dark")])
def test_it_fits_and_can_be_read(page, width, scheme):
    painted(page)
    click(page, "like")
    page.emulate(width, 900, prefers_color_scheme=scheme)
    drag(page, (0.5, 0.5))
    check_readable(page, width)
    assert "<b>street</b>" in page.js("document.querySelector('.eyebrow').textContent")


def test_by_touch_two_strokes_are_one_mask(page):
    page.emulate(390, 844)
    box = page.js("document.getElementById('picture').getBoundingClientRect().toJSON()")
    for part in (0.3, 0.8):
        place = {"x": box["left"] + part * box["width"], "y": box["top"] + part * box["height"]}
        page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[place])
        page.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[{**place, "x": place["x"] + 20}])
        page.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        page.wait("document.getElementById('status').textContent.includes('painted')")
    click(page, "copy")
    mask = session_of(json.loads(saved(page))).object.mask
    halves = mask[:8].sum(), mask[8:].sum()
    assert all(halves)
