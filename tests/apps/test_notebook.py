"""The pages in a notebook: messages in, state out, refused as on the server; in a browser, by the widget's module."""

import base64
import json
import time
from types import SimpleNamespace

import pytest
import torch
from apps.conftest import BRUSHES, some_strokes
from apps.malformed import good, good_of_rewriter, requests
from report.chromium import PATIENCE
from rewriting import nets
from starlette.testclient import TestClient

from dissect import apps, models
from dissect.apps.messages import Messages
from dissect.apps.paint_gestures import PaintGestures
from dissect.apps.rewrite_gestures import RewriteGestures
from dissect.apps.server import application
from dissect.rewriting.session import session_of

from .driving import IDLE, choose, click, drag, picture, saved, status
from .test_published import decoded

JSON = {"content-type": "application/json"}


class Notebook:
    """Messages asked for as a server is; what it refuses by their headers is not asked."""

    def __init__(self, messages):
        self.messages, self.answers = messages, []

    def request(self, method, path, content=b"", headers=None):
        path = path.removeprefix("/secret/")
        body = None if method == "GET" else content.decode("utf-8", "surrogateescape")
        found = self.messages.answer({"path": path, "body": body})
        self.answers.append((method, path, content, dict(headers or {}), found))
        return SimpleNamespace(status_code=found.status, text=found.data.decode())

    def ask(self, path, body=None):
        found = self.messages.answer({"path": path, "body": None if body is None else json.dumps(body)})
        return found.status, json.loads(found.data)


@pytest.fixture
def painted(painter):
    gestures, painting = PaintGestures(painter, "street"), apps.Painting(painter, 2, some_strokes(painter, 2))
    return Notebook(Messages(gestures, painting, gestures.state(painting)))


@pytest.fixture(scope="module")
def rewriter():
    return apps.Rewriter(nets.progan(), "layer4", count=12, progress=False)


def test_a_stroke_and_what_the_page_shows(painted, painter):
    mask, state = apps.Mask.of(torch.eye(8)).as_json(), painted.messages.state
    gesture = {"session": state, "action": "draw", "brush": "tree", "mask": mask, "units": 2}
    status, found = painted.ask("paint/stroke", gesture)
    painting = apps.Painting(painter, 2, some_strokes(painter, 2))
    painting.draw("tree", torch.eye(8), units=2)
    assert status == 200
    assert torch.equal(decoded(found["image"]), painting.image)
    assert painted.messages.engine.session.as_json() == state  # nothing is shown before the page says so
    assert painted.ask("keep", found["session"]) == (200, {"kept": True})
    assert painted.messages.engine.session == painting.session
    for wrong in ({}, {**found["session"], "layer": "layer1"}, [], "x"):
        assert painted.ask("keep", wrong)[0] == 400
    assert painted.messages.engine.session == painting.session
    assert [one["number"] for one in painted.ask("paint/images?first=17&count=9")[1]["images"]] == [17, 18, 19]


def test_a_rewriting_goes_on_with_its_edits(rewriter):
    session = session_of(good_of_rewriter(rewriter, "")["rewrite/open"]["session"])
    rewriting = apps.Rewriting(rewriter, session)
    rewriting.execute(steps=2)
    gestures = RewriteGestures(rewriter)
    notebook = Notebook(Messages(gestures, rewriting, gestures.state(rewriting)))
    state = notebook.messages.state
    options = {"rank": 1, "steps": 3, "every": 10, "rate": 0.05}
    job = notebook.ask("rewrite/execute", {**state, **options})[1]["job"]
    while (found := notebook.ask(f"rewrite/progress?job={job}")[1])["state"] in ("waits", "runs"):
        time.sleep(0.01)
    assert notebook.ask("keep", {**state, "edits": [*state["edits"], found["edit"]]})[0] == 200
    rewriting.execute(steps=3)
    assert torch.equal(notebook.messages.engine.images([3])[0], rewriting.images([3])[0])
    assert notebook.ask("keep", {**state, "edits": ["edit-9"]})[0] == 400
    assert len(notebook.messages.engine.edits) == 2


@pytest.mark.parametrize("page", ["paint", "rewrite"])
def test_malformed_messages_are_refused_as_on_the_server(page, painter, painted, rewriter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    engine, notebook, bodies = painter, painted, good(painter)
    if page == "rewrite":
        engine, gestures = rewriter, RewriteGestures(rewriter)
        notebook, bodies = Notebook(Messages(gestures, apps.Rewriting(rewriter), {})), good_of_rewriter(rewriter, "e")
    statuses = [status for status, _ in requests(notebook, bodies, "secret", seed=3, count=120)]
    assert set(statuses) <= {200, 400, 404}
    assert statuses.count(400) > 40
    assert list(tmp_path.iterdir()) == []
    client = TestClient(application(engine, token="secret", name="street"), base_url="http://127.0.0.1:8000")
    for method, path, content, headers, found in notebook.answers:
        if method in ("GET", "POST") and headers == JSON and content.isascii() and found.status != 404:
            answer = client.request(method, f"/secret/{path}", content=content, headers=headers)
            assert (answer.status_code, answer.content) == (found.status, found.data), (method, path, content)


def test_messages_that_are_none(painted):
    for wrong in (None, [], "x", {}, {"path": 1}, {"path": "paint/render", "body": {}}, {"path": "../x", "body": "{}"}):
        assert painted.messages.answer(wrong).status in (400, 404)
    large = {"path": "paint/render", "body": " " * 8_000_001}
    assert painted.messages.answer(large).status == 413
    assert painted.messages.answer({"path": "paint/images?" + "a&" * 99}).status == 400
    assert painted.messages.answer({"path": "paint/render", "body": "\ud800"}).status == 400


def test_what_can_be_shown(painter, generator, anywidget):
    with pytest.raises(TypeError, match="show: engine must be a Painter, Painting, Rewriter or Rewriting, but is a s"):
        apps.show("street")
    with pytest.raises(ValueError, match="show: engine must have brushes"):
        apps.show(apps.Painter(generator, "layer3", count=2))
    with pytest.raises(ValueError, match="height must be at least 100"):
        apps.show(painter, height=1)
    shown = apps.show(painter, name="<i>street</i>")
    assert shown.painting.strokes == ()
    with pytest.raises(AttributeError, match="the page is of a Painting"):
        shown.rewriting  # noqa: B018
    assert "connect-src 'none'" in shown.page
    assert not any(word in shown.page + shown._esm for word in ("http://", "https://", "<i>street"))


class Framed:
    """A widget in a bare page, whose model is Python's: what runs is in its frame, what is pressed is in the window."""

    def __init__(self, browser, widget):
        self._browser, self._widget, self._frames = browser, widget, len(browser.frames)
        self.errors = browser.errors
        widget.send = self._reply
        browser.js(MODEL.format(values=json.dumps(self._values()), module=json.dumps(module_of(widget))))
        self._until(lambda: len(browser.frames) > self._frames)
        self.frame = browser.frames[-1]

    def _values(self):
        return {name: getattr(self._widget, name) for name in ("page", "title", "height", "state")}

    def _reply(self, content, buffers):
        data = base64.b64encode(buffers[0]).decode()
        self._browser.js(f"hear({json.dumps(content)}, {json.dumps(data)})")

    def _until(self, there):
        end = time.monotonic() + PATIENCE
        while not there():
            assert time.monotonic() < end
            for message in self._browser.js("sent.splice(0)"):
                self._widget._handle_custom_msg(message, [])
            self._browser.js(f"values.state = {json.dumps(self._widget.state)}")

    def js(self, expression):
        with self._browser.inside(self.frame):
            return self._browser.js(expression)

    def wait(self, condition):
        self._until(lambda: self.js(condition))

    def call(self, method, **event):
        """What is pressed, at a place of the frame."""
        box = self._browser.js("document.querySelector('iframe').getBoundingClientRect().toJSON()")
        if "x" in event:
            event |= {"x": event["x"] + box["left"] + 1, "y": event["y"] + box["top"] + 1}
        return self._browser.call(method, **event)


MODEL = """(async () => {{
  globalThis.values = {values};
  globalThis.sent = [];
  const heard = new Set();
  const model = {{
    get: (name) => values[name], send: (message) => sent.push(message),
    on: (_, hear) => heard.add(hear), off: (_, hear) => heard.delete(hear),
  }};
  globalThis.hear = (content, text) => {{
    const data = new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
    heard.forEach((each) => each(content, [data]));
  }};
  const {{ default: widget }} = await import({module});
  document.body.replaceChildren();
  await widget.render({{ model, el: document.body }});
}})()"""


def module_of(widget):
    return "data:text/javascript;base64," + base64.b64encode(widget._esm.encode()).decode()


@pytest.fixture
def bare(browser, tmp_path):
    (tmp_path / "bare.html").write_text("<!doctype html><title>bare</title><body style='margin: 0'></body>")
    browser.errors.clear()
    browser.requests.clear()
    browser.emulate(1280, 1000, prefers_color_scheme="light")
    browser.open(tmp_path / "bare.html")
    browser.watch_frames()
    yield browser
    assert browser.errors == []
    assert browser.requests == []


def test_painting_in_a_frame(bare, anywidget):
    painter = apps.Painter(models.ProGAN((8, 8, 6), z_channels=5).eval(), "layer3", brushes=BRUSHES, count=20)
    shown = apps.show(apps.Painting(painter, 4, some_strokes(painter, 1)))
    page = Framed(bare, shown)
    page.wait(f"document.querySelectorAll('#images button').length === 12 && {IDLE}")
    assert torch.equal(picture(page), painter.picture(4, some_strokes(painter, 1)))
    drag(page, (0.2, 0.2), (0.4, 0.2))
    assert status(page).startswith("Drew tree")
    page.wait(IDLE)
    page._until(lambda: len(shown.painting.strokes) == 2)
    assert torch.equal(picture(page), shown.painting.image)
    assert saved(page, "movie").startswith("GIF89a")
    assert json.loads(saved(page)) == shown.state
    click(page, "undo")
    page._until(lambda: len(shown.painting.strokes) == 1)
    # A frame that is moved loads anew, and goes on where it was.
    drag(page, (0.8, 0.8))
    page._until(lambda: len(shown.painting.strokes) == 2)
    was, frames = picture(page), len(bare.frames)
    bare.js("document.body.append(Object.assign(document.createElement('p')), document.querySelector('iframe'))")
    page._until(lambda: len(bare.frames) > frames)
    page.frame = bare.frames[-1]
    page.wait(f"document.querySelectorAll('#images button').length === 12 && {IDLE}")
    assert torch.equal(picture(page), was)


def test_rewriting_in_a_frame(bare, anywidget, rewriter):
    session = session_of(good_of_rewriter(rewriter, "")["rewrite/open"]["session"])
    shown = apps.show(apps.Rewriting(rewriter, session))
    page = Framed(bare, shown)
    page.wait(f"document.querySelectorAll('#images button').length === 12 && {IDLE}")
    choose(page, steps=3)
    click(page, "execute")
    page.wait(f"document.getElementById('progress').hidden && {IDLE}")
    assert status(page).startswith("Changed: loss")
    page._until(lambda: len(shown.rewriting.edits) == 1)
    assert torch.equal(picture(page), shown.rewriting.images([0])[0])
