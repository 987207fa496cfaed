"""The server of both pages: bound to this machine, and one page."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from dissect.apps.answers import no_such
from dissect.apps.guard import Guard, answering, response
from dissect.apps.page import paint_page, rewrite_page
from dissect.apps.paint_gestures import PaintGestures
from dissect.apps.painter import Painter
from dissect.apps.rewrite_gestures import RewriteGestures
from dissect.apps.rewriter import Rewriter


def application(engine: Painter | Rewriter, *, token: str, name: str) -> ASGIApp:
    """The page of a painter or a rewriter and what it asks, as an ASGI application below the path of its token."""
    gestures: PaintGestures | RewriteGestures
    if isinstance(engine, Painter):
        gestures, page = PaintGestures(engine, name), paint_page(engine, name)
    else:
        gestures, page = RewriteGestures(engine), rewrite_page(engine, name)

    async def home(request: Request) -> Response:
        return HTMLResponse(page)

    routes = [Route("/", home, methods=["GET"])]
    for path, work in gestures.gets().items():
        routes.append(Route(path, answering(work, reads_body=False), methods=["GET"]))
    for path, work in gestures.posts().items():
        routes.append(Route(path, answering(work, reads_body=True), methods=["POST"]))
    return Guard(Starlette(routes=routes, exception_handlers={HTTPException: _no_such}), token)


def _no_such(request: Request, error: Exception) -> Response:
    """Of a path or a method that there is not."""
    return response(no_such(request.method)._replace(status=getattr(error, "status_code", 404)))
