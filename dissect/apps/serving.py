"""The pages, shown to the browsers of this machine."""

from __future__ import annotations

import secrets
import socket
import threading
import webbrowser

import torch

from dissect import extras
from dissect.apps.painter import Painter
from dissect.apps.rewriter import Rewriter
from dissect.arguments import integer, refusal, speaks

#: Requests at once, beyond which others hear to come back.
MOST_AT_ONCE = 64


@speaks
def serve(painter: Painter | Rewriter, *, name: str = "generator", port: int = 0, browser: bool = True) -> None:
    """Shows the page of a painter, or of a rewriter, to browsers of this machine, until it is interrupted (Ctrl-C).

    It listens on 127.0.0.1 alone, at an address with a token that is new each time, and answers nothing but that page.
    Nothing that a page sends reaches the disk.

    Args:
        painter: who paints, with brushes; or who rewrites.
        name: of the generator, to be shown.
        port: of this machine; 0 is a free one.
        browser: whether to open the page.

    Raises:
        ImportError: a package of the extra `apps` is not installed.
        OSError: the port is taken.
        TypeError, ValueError: neither a Painter nor a Rewriter, a Painter without brushes, or no port.

    Example:
        >>> dissect.apps.serve(painter, name="progan-street")  # doctest: +SKIP
        page: http://127.0.0.1:41503/kd0V5q1pVbYpBhEwJ4dZvQ/
    """
    extras.require("a page", "apps", "starlette", "uvicorn", "jinja2", "PIL")
    import uvicorn

    from dissect.apps.server import application

    if not isinstance(painter, (Painter, Rewriter)):
        raise refusal(TypeError(f"painter must be a Painter or a Rewriter, but is a {type(painter).__name__}."))
    if isinstance(painter, Painter) and not painter.brushes:
        raise refusal(ValueError("painter must have brushes, which dissect.apps.brushes gives, but has none."))
    port, token = integer("port", port, 0, 65535), secrets.token_urlsafe(16)
    # What is done once is done before anyone waits; an optimiser's first use imports what takes seconds.
    if isinstance(painter, Painter):
        painter.picture(0)
    else:
        torch.optim.Adam([torch.zeros(1)])
    config = uvicorn.Config(
        application(painter, token=token, name=name), log_level="warning", access_log=False, server_header=False,
        limit_concurrency=MOST_AT_ONCE, timeout_keep_alive=30, ws="none", lifespan="off",
    )  # fmt: skip
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        bound.listen()  # before the address is told, so that whoever reads it waits, and is not refused
        address = f"http://127.0.0.1:{bound.getsockname()[1]}/{token}/"
        print(f"page: {address}\nIt is shown to this machine alone; Ctrl-C ends it.", flush=True)
        if browser:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        try:
            uvicorn.Server(config).run(sockets=[bound])
        except KeyboardInterrupt:  # which is how it ends
            return
