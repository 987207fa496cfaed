"""What stands before a server of pages: who may ask, and how much."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dissect.apps.answers import MOST_BYTES, Answer, answer, problem, too_large
from dissect.apps.session import json_of
from dissect.arguments import refusal

#: Names of this machine by which a page may be asked for; any other is a name that somebody else gave it.
HOSTS = ("127.0.0.1", "localhost")

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src "
    "'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Lets through what a page of ours asks for: with the token, from the same origin, on this machine.

    Args:
        app: what answers below the token's path.
        token: the first part of every path.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI asks."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a websocket, of which there are none
            await send({"type": "websocket.close", "code": 1008})
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await response(refused)(scope, receive, headed)
            return
        path = scope["path"][len(self._token) + 1 :]
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, headed)

    def _refused(self, scope: Scope) -> Answer | None:
        headers = Request(scope).headers
        host, origin, site = headers.get("host", ""), headers.get("origin"), headers.get("sec-fetch-site", "none")
        if _name_of(host) not in HOSTS:
            return problem(403, "pages are shown to this machine alone, by the names 127.0.0.1 and localhost.")
        token = scope["path"].split("/")[1] if scope["path"].startswith("/") else ""
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return problem(404, "there is nothing here; the address that was printed has a token.")
        navigates = scope["method"] == "GET" and headers.get("sec-fetch-dest") == "document"
        if origin not in (None, f"http://{host}") or (site not in ("none", "same-origin") and not navigates):
            return problem(403, "only the page itself may ask this.")
        return None


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class TooLargeError(Exception):
    """A body beyond `MOST_BYTES`."""


async def body_of(request: Request) -> Callable[[], Any]:
    """What reads the JSON of a request, of bounded size, and refuses what is none.

    Raises:
        TooLargeError: more bytes than may be.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return _wrong_type
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > MOST_BYTES:
        raise TooLargeError
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MOST_BYTES:
            raise TooLargeError
    return lambda: json_of(bytes(data))


def _wrong_type() -> Any:
    raise refusal(ValueError("a request must be of the type application/json."))


def answering(work: Callable[..., Any], reads_body: bool) -> Callable[[Request], Any]:
    """What answers a request by a function of plain data: of the body's JSON, or of the query's texts.

    The function runs in a thread, so that others can be answered meanwhile; see `answer`.
    """

    async def answers(request: Request) -> Response:
        try:
            asked: Callable[[], Any] = await body_of(request) if reads_body else lambda: dict(request.query_params)
        except TooLargeError:
            return response(too_large())
        except ClientDisconnect:
            return response(problem(400, "the request ended early."))
        return response(await run_in_threadpool(answer, work, asked))

    return answers


def response(found: Answer) -> Response:
    """An answer as it is sent."""
    return Response(found.data, found.status, media_type=found.kind)
