"""A page of this library's server in a browser, and what a visitor does with it."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import uvicorn
from report.browsing import FAINT

from dissect.apps.server import application

from .test_published import decoded

IDLE = "!document.getElementById('stage').hasAttribute('aria-busy')"
SMALL = """[...document.querySelectorAll('button, .palette span, .switch span, input[type=number], input[type=text]')]
  .filter((part) => part.checkVisibility() && part.getBoundingClientRect().height < 38).map((part) => part.name)"""
NAMELESS = """[...document.querySelectorAll('button, input, select, [role]')].filter((part) =>
  !(part.getAttribute('aria-label') || part.labels?.length || part.textContent.trim() || part.role === 'status'))
  .map((part) => part.outerHTML)"""


@contextmanager
def served(engine):
    """The address of an engine's page."""
    config = uvicorn.Config(application(engine, token="token", name="<b>street</b>"), log_level="error", lifespan="off")
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


def visited(browser, address):
    """The page, which must ask for nothing else, and write no error."""
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


def check_readable(page, width):
    """Nothing sticks out, is faint, too small to touch, or without a name."""
    assert page.js("document.documentElement.scrollWidth") <= width
    for wrong in (FAINT, SMALL, NAMELESS):
        assert page.js(wrong) == []


def opened(page, data, name="load"):
    """Gives a file to the page, of a text or of bytes."""
    held = json.dumps(data) if isinstance(data, str) else f"new Uint8Array({list(data)})"
    page.js(f"(() => {{ const data = new DataTransfer(); data.items.add(new File([{held}], 'a.json'));"
            f" const load = document.getElementById('tools').elements.{name}; load.files = data.files;"
            " load.dispatchEvent(new Event('change', { bubbles: true })); })()")  # fmt: skip


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
