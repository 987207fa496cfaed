"""Drives a headless Chromium through its DevTools pipe: no driver program, no package, no port."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
#: Seconds that a reply or a condition may take.
PATIENCE = 60.0
#: Keys that produce no text, and their Windows key codes, which Chromium acts on.
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
#: What a page may load besides itself: what it carries inside.
INSIDE = ("data:", "blob:")


def find_chromium() -> str | None:
    """The program that DISSECT_CHROMIUM names, or one on the PATH, or None."""
    return os.environ.get("DISSECT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A tab of its own browser.

    Attributes:
        requests: addresses that the page asked for, itself and what it carries inside left out.
        errors: what was written to the console as an error, and exceptions that nothing caught.
        frames: sessions of frames that run apart from the page, as sandboxed ones do, the last one last.
    """

    def __init__(self, program: str, profile: Path) -> None:
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.frames: list[str] = []
        self._count, self._buffer, self._url = 0, b"", ""
        read, self._write = os.pipe()
        self._read, write = os.pipe()
        # The browser reads commands from descriptor 3 and answers on 4.
        line = f'exec "$0" "$@" 3<&{read} 4>&{write}'
        arguments = ["bash", "-c", line, program, *FLAGS, f"--user-data-dir={profile}"]
        self._log = (profile.parent / "chromium.log").open("wb")
        self._process = subprocess.Popen(arguments, pass_fds=(read, write), stderr=self._log, stdout=self._log)
        os.close(read)
        os.close(write)
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        self._process.wait()
        for descriptor in (self._read, self._write):
            os.close(descriptor)
        self._log.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A DevTools command's result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("id") == self._count:
                if "error" in reply:
                    raise RuntimeError(f"{method}: {reply['error']['message']}")
                return reply["result"]

    def open(self, path: Path) -> None:
        """Opens a file and waits until it is loaded."""
        self._url = path.resolve().as_uri()
        self.call("Page.navigate", url=self._url)
        self.wait(f"location.href === {json.dumps(self._url)} && document.readyState === 'complete'")

    def watch_frames(self) -> None:
        """From now on the sessions of frames are noted."""
        self.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)

    @contextmanager
    def inside(self, frame: str) -> Iterator[None]:
        """The block within which what is called is called in a frame."""
        self._session, own = frame, self._session
        try:
            yield
        finally:
            self._session = own

    def js(self, expression: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{expression}: {done['exceptionDetails']['exception'].get('description')}")
        return done["result"].get("value")

    def wait(self, condition: str) -> None:
        """Returns once an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.js(condition):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition} has not become true in {PATIENCE:g} s")
            time.sleep(0.02)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Presses a key: a name of KEYS, or a character, which is typed."""
        code = KEYS.get(key, 0)
        text = "\r" if key == "Enter" else "" if code else key
        common = {"key": key, "code": key if code else "", "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        for character in text:
            self.press(character)

    def emulate(self, width: int, height: int, **features: str) -> None:
        """A window of that size, and media features such as prefers_color_scheme="dark"."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        pairs = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=pairs)

    def screenshot(self, path: Path) -> None:
        """Writes what the window shows as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _receive(self) -> dict[str, Any]:
        """The next message; what it tells about requests and errors is noted."""
        while b"\0" not in self._buffer:
            if not select.select([self._read], [], [], PATIENCE)[0]:
                raise TimeoutError(f"Chromium said nothing for {PATIENCE:g} s")
            piece = os.read(self._read, 1 << 20)
            if not piece:
                raise ConnectionError(f"Chromium ended: {Path(self._log.name).read_text(errors='replace')[-2000:]}")
            self._buffer += piece
        message, self._buffer = self._buffer.split(b"\0", 1)
        event = json.loads(message)
        self._note(event.get("method"), event.get("params", {}))
        return event

    def _note(self, method: str | None, event: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            url = event["request"]["url"]
            if url != self._url and not url.startswith(INSIDE):
                self.requests.append(url)
        elif method == "Target.attachedToTarget" and event["targetInfo"]["type"] == "iframe":
            self.frames.append(event["sessionId"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(str(event["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and event["type"] in ("error", "warning", "assert"):
            self.errors.append(str(event["args"]))
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("error", "warning"):
            self.errors.append(event["entry"]["text"])
