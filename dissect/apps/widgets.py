"""The pages as widgets, whose messages go to the engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from dissect.apps.messages import Messages
from dissect.apps.page import FRAMED, paint_page, rewrite_page
from dissect.apps.paint_gestures import PaintGestures
from dissect.apps.painting import Painting
from dissect.apps.rewrite_gestures import RewriteGestures
from dissect.apps.rewriting import Rewriting


class PageWidget(anywidget.AnyWidget):
    """A page in a notebook; `show` makes it.

    Attributes:
        page: the file of HTML.
        title: of its frame.
        height: of its frame, in pixels.
        state: what the page shows, as it holds it.
    """

    _esm = (Path(__file__).parent / "widget.js").read_text("utf-8")
    page = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, messages: Messages, **traits: Any) -> None:
        super().__init__(state=messages.state, **traits)
        self._messages = messages
        self.on_msg(self._hear)

    @property
    def painting(self) -> Painting:
        """What is painted on the page now.

        Raises:
            AttributeError: the page is one to rewrite.
        """
        found: Painting = self._engine(Painting)
        return found

    @property
    def rewriting(self) -> Rewriting:
        """What is painted, and which edits are made, on the page now.

        Raises:
            AttributeError: the page is one to paint.
        """
        found: Rewriting = self._engine(Rewriting)
        return found

    def _engine(self, kind: type) -> Any:
        if not isinstance(self._messages.engine, kind):
            raise AttributeError(f"the page is of a {type(self._messages.engine).__name__}.")
        return self._messages.engine

    def _hear(self, widget: Any, message: Any, buffers: Any) -> None:
        found = self._messages.answer(message)
        self.state = self._messages.state
        number = message.get("id") if isinstance(message, dict) else None
        self.send({"id": number, "status": found.status, "kind": found.kind}, buffers=[found.data])


def paint_widget(painting: Painting, name: str, height: int) -> PageWidget:
    """A page that begins with a painting."""
    gestures = PaintGestures(painting.painter, name)
    page = paint_page(painting.painter, name, FRAMED)
    messages = Messages(gestures, painting, gestures.state(painting))
    return PageWidget(messages, page=page, title=f"Paint with the units of {name}", height=height)


def rewrite_widget(rewriting: Rewriting, name: str, height: int) -> PageWidget:
    """A page that begins with a rewriting."""
    gestures = RewriteGestures(rewriting.rewriter)
    page = rewrite_page(rewriting.rewriter, name, FRAMED)
    messages = Messages(gestures, rewriting, gestures.state(rewriting))
    return PageWidget(messages, page=page, title=f"Rewrite a rule of {name}", height=height)
