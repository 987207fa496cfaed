"""What stands before a server of pages: who may ask, how much, and how errors are told."""

from __future__ import annotations

import json
import secrets
import sys
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dissect.apps.rewriter import StoppedError
from dissect.apps.session import json_of
from dissect.arguments import refusal

#: Names of this machine by which a page may be asked for; any other is a name that somebody else gave it.
HOSTS = ("127.0.0.1", "localhost")
#: Bytes of a request's body at most.
MOST_BYTES = 8_000_000
#: Letters of a message to a page.
LONGEST = 500

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
            await refused(scope, receive, headed)
            return
        path = scope["path"][len(self._token) + 1 :]
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, headed)

    def _refused(self, scope: Scope) -> Response | None:
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


def told(found: Any, status: int = 200) -> Response:
    """An answer of JSON, in ASCII: texts that came in may hold halves of characters, which UTF-8 has not.

    Raises:
        ValueError: a number that JSON has not.
    """
    return Response(json.dumps(found, allow_nan=False), status, media_type="application/json")


def problem(status: int, text: str) -> Response:
    """An answer that says what is wrong."""
    return told({"error": text[:LONGEST]}, status)


class TooLargeError(Exception):
    """A body beyond `MOST_BYTES`."""


async def body_of(request: Request) -> Any:
    """The JSON of a request, of bounded size.

    Raises:
        TooLargeError: more bytes than may be.
        ValueError: no JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise refusal(ValueError("a request must be of the type application/json."))
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and len(length) < 20 and int(length) > MOST_BYTES:
        raise TooLargeError
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MOST_BYTES:
            raise TooLargeError
    return json_of(bytes(data))


def answering(work: Callable[..., Any], reads_body: bool) -> Callable[[Request], Any]:
    """What answers a request by a function of plain data: of the body's JSON, or of the query's texts.

    The function runs in a thread, so that others can be answered meanwhile, and gives a `Response` or what becomes
    JSON. What it refuses becomes a message; what it fails at is told on stderr, and the page hears that alone.
    """

    async def answer(request: Request) -> Response:
        try:
            asked = await body_of(request) if reads_body else dict(request.query_params)
            found = await run_in_threadpool(work, asked)
            return found if isinstance(found, Response) else told(found)
        except TooLargeError:
            return problem(413, f"a request must have at most {MOST_BYTES} bytes.")
        except ClientDisconnect:
            return problem(400, "the request ended early.")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            return problem(400 if _is_told(error) else 500, text_of(error))
        except Exception as error:  # a page must hear of any other, and go on
            return problem(500, text_of(error))

    return answer


def _is_told(error: Exception) -> bool:
    """Whether an error is a check's, and not that of a line of code which went wrong."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return last.line is not None and last.line.lstrip().startswith("raise ")


def text_of(error: Exception) -> str:
    """What a page hears of an error: what a check says; of any other that there was one, which is told on stderr."""
    told = isinstance(error, (ArithmeticError, KeyError, StoppedError, TypeError, ValueError, RuntimeError))
    if told and _is_told(error):
        return str(error.args[0] if error.args else error)[:LONGEST]
    traceback.print_exception(error, file=sys.stderr)
    return "something went wrong; the terminal in which dissect runs says what."
