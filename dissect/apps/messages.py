"""What a page in a notebook asks, in messages, which are answered as a server answers requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qsl

from dissect.apps.answers import MOST_BYTES, Answer, answer, no_such, too_large
from dissect.apps.session import json_of
from dissect.files.checked import Maybe, Text, fields

#: Parts of a query at most.
MOST_PARTS = 16


class Gestures(Protocol):
    """What either page asks, by its paths, and what it shows as an engine's."""

    def gets(self) -> dict[str, Callable[..., Any]]:
        """By path, what answers a query."""

    def posts(self) -> dict[str, Callable[..., Any]]:
        """By path, what answers a body."""

    def opened(self, asked: Any) -> Any:
        """What a page shows, if it can be shown here."""


class Messages:
    """Answers messages {"path", "body"}: without a body as GET is answered, with one, a text of JSON, as POST is.

    Beside what a server is asked, a page tells by "keep" what it shows.

    Args:
        gestures: what is done at which path.
        engine: what the page begins with, a `Painting` or a `Rewriting`.
        state: the same, as the page holds it.

    Attributes:
        engine: what the page shows.
        state: the same, as the page holds it.
    """

    def __init__(self, gestures: Gestures, engine: Any, state: dict[str, Any]) -> None:
        self._gestures, self.engine, self.state = gestures, engine, state
        self._posts = {**gestures.posts(), "/keep": self._keep}

    def answer(self, message: Any) -> Answer:
        """What a message is answered; what is wrong with it is a message too."""
        return answer(self._answer, lambda: _checked(message))

    def _answer(self, message: dict[str, Any]) -> Answer:
        path, _, query = message["path"].partition("?")
        body = message.get("body")
        works: dict[str, Callable[..., Any]] = self._gestures.gets() if body is None else self._posts
        if f"/{path}" not in works:
            return no_such("GET" if body is None else "POST")
        if body is None:
            return answer(works[f"/{path}"], lambda: dict(parse_qsl(query, True, max_num_fields=MOST_PARTS)))
        data = body[: MOST_BYTES + 1].encode("utf-8", "surrogatepass")
        return too_large() if len(data) > MOST_BYTES else answer(works[f"/{path}"], lambda: json_of(data))

    def _keep(self, asked: Any) -> dict[str, bool]:
        self.engine, self.state = self._gestures.opened(asked), asked
        return {"kept": True}


def _checked(message: Any) -> dict[str, Any]:
    fields("a message", message, {"path": Text(), "body": Maybe(Text())})
    return dict(message)
