"""Both commands started as a visitor starts them, and their pages worked with in Chromium; writes the docs' recordings.

``python -m apps.walks paint``, or rewrite, in tests/. What is pressed is found by its role and its name in the
accessibility tree, in which a first-time visitor has it announced; nothing is pressed that is not there.
"""

import base64
import io
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw
from report.chromium import Page, find_chromium

DOCS = Path(__file__).parents[2] / "docs"
IDLE = "!document.getElementById('stage').hasAttribute('aria-busy')"
#: Of the windows that are recorded, and pixels of a recording's width.
PAINTING, REWRITING, WIDE = (1120, 1080), (1040, 1340), 780
#: Milliseconds that a step is shown, that a moment of a gesture is, and that a result is.
STEP, MOMENT, RESULT = 900, 110, 1900
ARROW = [(0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (12, 12)]
#: Roles of what can be worked with.
CONTROLS = {"radio", "button", "slider", "application", "spinbutton", "textbox", "checkbox", "combobox"}


@contextmanager
def started(*arguments):
    """The address that a command prints, until Ctrl-C."""
    command = [sys.executable, "-m", "dissect", *arguments, "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield re.fullmatch(r"page: (http://127\.0\.0\.1:\d+/\S+)\n", server.stdout.readline())[1]
    finally:
        server.send_signal(signal.SIGINT)
        print(f"ended by Ctrl-C with status {server.wait(60)}")


class Walk:
    """A visit: what was pressed, how long it took, and what the window showed."""

    def __init__(self, page, address, window):
        self.page, self.frames, self.pointer, self.pressed = page, [], (window[0] // 2, window[1] // 2), []
        page.emulate(*window, prefers_color_scheme="light")
        self.begun = time.monotonic()
        page.call("Page.navigate", url=address)
        page.wait(f"document.querySelectorAll('#images button').length === 12 && {IDLE}")
        self.loaded = time.monotonic()

    def announced(self):
        """[role, name, node] of what a screen reader comes upon, in its order."""
        nodes = self.page.call("Accessibility.getFullAXTree")["nodes"]
        known = {node["nodeId"]: node for node in nodes}
        found, left = [], [nodes[0]["nodeId"]]
        while left:
            node = known[left.pop()]
            left += [child for child in reversed(node.get("childIds", [])) if child in known]
            name = node.get("name", {}).get("value", "")
            if not node.get("ignored") and name.strip():
                found.append((node["role"]["value"], name, node.get("backendDOMNodeId")))
        return found

    def box(self, role, name):
        """Where something is, by its role and how its name begins."""
        node = next(node for its, text, node in self.announced() if its == role and text.startswith(name))
        item = self.page.call("DOM.resolveNode", backendNodeId=node)["object"]["objectId"]
        code = "function() { const part = this.labels?.[0] ?? this; part.scrollIntoView({ block: 'nearest' });"
        code += " return part.getBoundingClientRect().toJSON(); }"
        found = self.page.call("Runtime.callFunctionOn", objectId=item, functionDeclaration=code, returnByValue=True)
        return found["result"]["value"]

    def mouse(self, kind, x, y):
        self.pointer = (x, y)
        held = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1, "buttons": 1}
        self.page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def press(self, role, name, show=STEP):
        """Presses something, and waits until the page is ready."""
        box = self.box(role, name)
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.mouse("mouseMoved", x, y)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y)
        self.pressed.append(f"{role} {name}")
        self.page.wait(IDLE)
        self.look(show)

    def drag(self, *points, show=RESULT, moments=True):
        """Paints along places of the picture, each from 0 to 1."""
        box = self.box("application", "Image")
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.mouse("mouseMoved", *places[0])
        self.mouse("mousePressed", *places[0])
        for (x0, y0), (x1, y1) in zip(places, [*places[1:], places[-1]]):
            for part in (1 / 3, 2 / 3, 1.0):
                x, y = x0 + part * (x1 - x0), y0 + part * (y1 - y0)
                self.page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, button="left", buttons=1)
                self.pointer = (x, y)
                if moments:
                    self.look(MOMENT)
        self.mouse("mouseReleased", *places[-1])
        self.pressed.append("the picture")
        self.page.wait(IDLE)
        self.look(show)

    def status(self):
        return self.page.js("document.getElementById('status').textContent")

    def look(self, time_shown):
        """Keeps what the window shows, with the pointer."""
        self.page.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        data = self.page.call("Page.captureScreenshot", format="png")["data"]
        picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
        draw, (x, y) = ImageDraw.Draw(picture), self.pointer
        draw.polygon([(x + dx, y + dy) for dx, dy in ARROW], fill="black", outline="white")
        picture = picture.resize((WIDE, round(WIDE * picture.height / picture.width)), Image.Resampling.LANCZOS)
        if self.frames and picture.tobytes() == self.frames[-1][0].tobytes():
            self.frames[-1][1] += time_shown
        else:
            self.frames.append([picture, time_shown])

    def save(self, path):
        pictures, times = zip(*self.frames)
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=times, loop=0, quality=72, method=6)
        print(f"{path.name}: {len(pictures)} pictures, {sum(times) / 1000:.1f} s, {path.stat().st_size // 1000} kB")


def downloaded(walk, folder, name):
    """The file that a button saves."""
    before = set(folder.iterdir())
    walk.press("button", name)
    end = time.monotonic() + 60
    while not (new := [each for each in set(folder.iterdir()) - before if each.suffix != ".crdownload"]):
        if time.monotonic() > end:
            raise TimeoutError(f"{name} saved nothing")
        time.sleep(0.05)
    return new[0]


def shown(page):
    """The picture on the page."""
    data = page.js("document.getElementById('picture').src").split(",")[1]
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def painted(page, folder):
    """A first-time visitor draws a tree; then one is erased, undone, saved, and replayed by the command."""
    with started("paint") as address:
        walk = Walk(page, address, PAINTING)
        walk.look(STEP)
        controls = [(role, name) for role, name, _ in walk.announced() if role in CONTROLS]
        print("announced:", "; ".join(f"{role} {name}" for role, name in controls[:30]))
        print("words before the picture and the concepts:", len(words_until(walk, "radio", "tree")))
        before = shown(page)
        walk.press("radio", "tree")
        walk.drag(*STROKE)
        took = time.monotonic() - walk.begun
        print(f"{len(walk.pressed)} interactions ({', '.join(walk.pressed)}), {took:.1f} s from the address, of which "
              f"{walk.loaded - walk.begun:.1f} s to load; told: {walk.status()}")  # fmt: skip
        judged(before, shown(page))
        walk.press("button", "Undo", RESULT)
        walk.press("button", "Redo", RESULT)
        walk.press("button", "Image 1")
        walk.press("radio", "Remove")
        walk.drag(*GONE)
        print("told:", walk.status())
        walk.press("button", "Before", RESULT)
        walk.press("button", "Before", RESULT)
        session, last = downloaded(walk, folder, "Save session"), shown(page)
        walk.look(RESULT)
        picture = Image.open(downloaded(walk, folder, "Picture")).convert("RGB")
    walk.save(DOCS / "painting/recording.webp")
    sheet = folder / "sheet.png"
    command = [sys.executable, "-m", "dissect", "paint", "replay", str(session), "--out", str(sheet)]
    print(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    from dissect import apps, tiny

    painting = apps.Painting.of(apps.Painter(tiny.generator(), "layer4", count=20), apps.load_painting(session))
    again = painting.image.permute(1, 2, 0).numpy().tobytes()
    print("replayed to the same bits:", again == last.tobytes() == picture.tobytes(), f"{sheet.stat().st_size} bytes")


#: Where a tree is drawn in the first picture, in its middle; where one is erased in the second.
STROKE, GONE = [(0.4, 0.5), (0.55, 0.5)], [(0.15, 0.25), (0.3, 0.25), (0.22, 0.45), (0.22, 0.6)]
#: What is copied from picture 1, its treetop; where it is to go, a tower; and other towers.
OBJECT = [(0.1, 0.25), (0.33, 0.25), (0.36, 0.4), (0.1, 0.45), (0.2, 0.2)]
TOWERS = {4: [(0.6, 0.12), (0.6, 0.5)], 5: [(0.62, 0.12), (0.68, 0.45)], 9: [(0.78, 0.15), (0.82, 0.45)]}
RANK, STEPS = 1, 301


def words_until(walk, role, name):
    """Words that are announced until something is."""
    told = []
    for its, text, _ in walk.announced():
        if its == role and text == name:
            break
        told += text.split() if its != "StaticText" else []
    return told


def judged(before, after):
    """What the second segmentation network sees where the picture has become another by a tenth or more."""
    import numpy as np
    import torch

    from dissect import tiny

    segmenter = tiny.segmenter(1, signed=True)
    pixels = [torch.from_numpy(np.array(each)).permute(2, 0, 1)[None].float() for each in (before, after)]
    where = (pixels[1] - pixels[0]).abs().mean(1)[0] > 25
    for name, picture in zip(("before", "after"), pixels):
        labels = segmenter(picture / 127.5 - 1)[0, 0][where]
        numbers, counts = labels.unique(return_counts=True)
        most = sorted(zip(counts.tolist(), numbers.tolist()), reverse=True)[:4]
        told = ", ".join(f"{segmenter.concepts.names[number]} {count}" for count, number in most)
        print(f"{name}, objects in the {len(labels)} pixels that changed: {told}")


def rewritten(page, folder):
    """A treetop is copied onto towers; the edit is saved, taken back, and opened again."""
    with started("rewrite", "ui") as address:
        walk = Walk(page, address, REWRITING)
        walk.look(STEP)
        walk.press("button", "Image 1")
        walk.drag(*OBJECT, show=STEP)
        walk.press("button", "Copy", RESULT)
        (first, place), *others = TOWERS.items()
        walk.press("button", f"Image {first}")
        walk.drag(*place, show=STEP)
        walk.press("button", "Paste", RESULT)
        for number, place in others:
            walk.press("button", f"Image {number}")
            walk.drag(*place, show=STEP, moments=False)
            walk.press("button", "Add to context")
        walk.press("button", f"Image {first}")
        box = walk.box("spinbutton", "Steps")
        page.js(f"document.getElementById('tools').elements.steps.value = {STEPS}")
        walk.pointer = (box["x"] + 20, box["y"] + 40)
        walk.press("button", "Execute", MOMENT)
        while not page.js(f"document.getElementById('progress').hidden && {IDLE}"):
            walk.look(MOMENT)
        walk.look(RESULT)
        print("told:", walk.status())
        changed = shown(page)
        walk.press("button", "Original", RESULT)
        walk.press("button", "Original", RESULT)
        edit, session = downloaded(walk, folder, "Save edit"), downloaded(walk, folder, "Save session")
        walk.save(DOCS / "rewriting/recording.webp")
        walk.press("button", "Revert all")
        print("reverted is another picture:", shown(page).tobytes() != changed.tobytes())
        root = page.call("DOM.getDocument")["root"]["nodeId"]
        node = page.call("DOM.querySelector", nodeId=root, selector="input[name=take]")["nodeId"]
        page.call("DOM.setFileInputFiles", nodeId=node, files=[str(edit)])
        page.wait("document.getElementById('status').textContent.startsWith('Opened an edit')")
        print("told:", walk.status(), "the same picture:", shown(page).tobytes() == changed.tobytes())
    print(f"the edit has {edit.stat().st_size} bytes, the session {session.stat().st_size}")


def main(kind):
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "saved"
        folder.mkdir()
        page = Page(find_chromium(), Path(home) / "profile")
        for domain in ("Accessibility", "DOM"):
            page.call(f"{domain}.enable")
        page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        try:
            {"paint": painted, "rewrite": rewritten}[kind](page, folder)
            print("errors of the page:", page.errors)
        finally:
            page.close()


if __name__ == "__main__":
    main(sys.argv[1])
