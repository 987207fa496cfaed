"""What the painting page asks, and what the published server was asked."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any, cast

from dissect.apps.answers import Answer
from dissect.apps.painter import Painter
from dissect.apps.painting import Painting
from dissect.apps.published import MOST_IMAGES, Published, data_url
from dissect.apps.replay import movie, sheet
from dissect.apps.session import session_of
from dissect.apps.strokes import ACTIONS, POOLINGS, Mask, mask_of
from dissect.files.checked import Maybe, Of, Text, Whole, fields, require

#: What a page may set removed units to.
NEUTRALS = ("zero", "mean")


class PaintGestures:
    """What the page asks, as functions of plain data: a session goes in, and with a gesture it comes back.

    The server keeps nothing of a painting, so that any number of tabs may paint, and none loses anything when the
    server ends.

    Args:
        painter: who paints.
        name: of the generator.
    """

    def __init__(self, painter: Painter, name: str) -> None:
        self.painter, self.published = painter, Published(painter, name)

    def images(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Images of the z set as they are, for a page to choose from: {"first", "count"}."""
        first, count = (_whole(asked, name, default) for name, default in (("first", 0), ("count", 8)))
        require("images", count <= MOST_IMAGES, f"at most {MOST_IMAGES} are shown at once")
        last = min(first + count, len(self.painter))
        found = [{"number": at, "image": data_url(self.painter.picture(at))} for at in range(first, last)]
        return {"images": found, "count": len(self.painter)}

    def render(self, asked: Any) -> dict[str, Any]:
        """The image of a session, and the session as it was understood."""
        painting = self.opened(asked)
        return {"image": data_url(painting.image), "session": painting.session.as_json()}

    def stroke(self, asked: Any) -> dict[str, Any]:
        """A session with another stroke: {"session", "action", "brush", "units", "mask", "pooling", "neutral"}."""
        what = "a gesture"
        rules = {"session": Of(dict), "action": Text(ACTIONS), "brush": Text(), "mask": Of(dict)}
        maybe = {"units": Maybe(Whole(1)), "pooling": Maybe(Text(POOLINGS)), "neutral": Maybe(Text(NEUTRALS))}
        fields(what, asked, {**rules, **maybe})
        painting, mask = self.opened(asked["session"]), cast(Mask, mask_of(asked["mask"]))
        brush, number = self.painter.brush(asked["brush"]), asked.get("units")
        neutral: Any = 0.0
        if asked.get("neutral") == "mean" and asked["action"] == "remove":
            plain = self.painter.stroke("remove", brush, mask, units=number)
            neutral = [self.published.means[unit] for unit in plain.units]
        more = {"units": number, "neutral": neutral, "pooling": asked.get("pooling") or "max"}
        painting.add(self.painter.stroke(asked["action"], brush, mask, **more))
        return {"image": data_url(painting.image), "session": painting.session.as_json()}

    def movie(self, asked: Any) -> Answer:
        """A session as a movie."""
        return Answer(200, "image/gif", movie(self.opened(asked).history))

    def sheet(self, asked: Any) -> Answer:
        """A session's steps as a sheet."""
        buffer = io.BytesIO()
        sheet(self.opened(asked)).savefig(buffer, format="png", dpi=150)
        return Answer(200, "image/png", buffer.getvalue())

    def gets(self) -> dict[str, Callable[..., Any]]:
        """By path, what answers a query."""
        published = self.published
        return {
            "/paint/images": self.images,
            "/api/all_projects": _asking(published, lambda asked: published.all_projects()),
            "/api/layers": _asking(published, lambda asked: published.layers()),
            "/api/units": _asking(published, lambda asked: published.units()),
            "/api/rankings": _asking(published, lambda asked: published.rankings()),
            "/api/levels": _asking(published, lambda asked: published.levels(_quantiles(asked))),
        }

    def posts(self) -> dict[str, Callable[..., Any]]:
        """By path, what answers a body."""
        published = self.published
        return {
            "/paint/render": self.render,
            "/paint/stroke": self.stroke,
            "/paint/movie": self.movie,
            "/paint/sheet": self.sheet,
            "/api/generate": _asking(published, published.generate),
            "/api/features": _asking(published, published.features),
            "/api/featuremaps": _asking(published, published.featuremaps),
        }

    def state(self, painting: Painting) -> dict[str, Any]:
        """What a page begins with: a session."""
        return painting.session.as_json()

    def opened(self, asked: Any) -> Painting:
        """What a page shows, as an engine's: a session."""
        return Painting.of(self.painter, session_of(asked, self.painter.num_units))


def _asking(published: Published, work: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """The published envelope: {"request", "res"}; another project or layer than the one here is refused."""

    def answer(asked: Any) -> dict[str, Any]:
        own = {"project": (published.name,), "layer": (published.painter.layer,)}
        fields("a request", asked, {name: Maybe(Text(choices)) for name, choices in own.items()})
        return {"request": asked, "res": work(asked)}

    return answer


def _quantiles(asked: Mapping[str, str]) -> list[float]:
    text = asked.get("quantiles", "")
    require("quantiles", len(text) <= 2000, "they are numbers between commas")
    found = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError:
            require("quantiles", False, "they are numbers between commas")
    return found


def _whole(asked: Mapping[str, str], name: str, default: int) -> int:
    text = asked.get(name, str(default))
    good = text.isascii() and text.isdigit() and len(text) < 10
    require("images", good, f"{name} is an integer from 0 on")
    return int(text)
