"""Sessions: what was painted on which image, as a file that replays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissect.apps.strokes import Stroke, stroke_of
from dissect.arguments import speaks
from dissect.files.checked import Each, Of, Text, Whole, bytes_of_file, fields, named, require
from dissect.files.tensors import replacing

KIND = "dissect painting"
VERSION = 1
#: Strokes of a session at most, and bytes of its file.
MOST_STROKES, MOST_BYTES = 500, 8_000_000
#: Units of a layer, and images of a z set, at most.
MOST_UNITS, MOST_IMAGES = 1 << 16, 1_000_000


@dataclass(frozen=True)
class PaintSession:
    """What was painted on an image.

    Attributes:
        generator: the fingerprint of its weights.
        layer: whose units the strokes set.
        seed: of the z set.
        number: of the image in it.
        strokes: in their order.
    """

    generator: str
    layer: str
    seed: int
    number: int
    strokes: tuple[Stroke, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What its file holds."""
        return {
            "kind": KIND,
            "version": VERSION,
            "generator": self.generator,
            "layer": self.layer,
            "z": {"seed": self.seed, "number": self.number},
            "strokes": [stroke.as_json() for stroke in self.strokes],
        }

    def save(self, path: str | Path) -> Path:
        """Writes it as JSON, whole or not at all."""
        with replacing(path) as partial:
            partial.write_text(json.dumps(self.as_json(), allow_nan=False) + "\n", "utf-8")
        return Path(path)


def session_of(found: Any, num_units: int = MOST_UNITS) -> PaintSession:
    """A session that was read from JSON, for a layer of so many units.

    Raises:
        ValueError: it is none; says what must hold.
    """
    what = "a session"
    rules = {"generator": Text(), "layer": Text(), "z": Of(dict), "strokes": Each(Of(dict))}
    fields(what, found, {"kind": Text((KIND,)), "version": Whole(1, VERSION), **rules})
    fields(f"z of {what}", found["z"], {"seed": Whole(0, 2**31 - 1), "number": Whole(0, MOST_IMAGES - 1)})
    require(what, len(found["strokes"]) <= MOST_STROKES, f"it has at most {MOST_STROKES} strokes")
    strokes = [stroke_of(one, num_units, f"stroke {number}") for number, one in enumerate(found["strokes"], 1)]
    z = found["z"]
    return PaintSession(found["generator"], found["layer"], z["seed"], z["number"], tuple(strokes))


@speaks
def load_painting(path: str | Path) -> PaintSession:
    """Reads a session that `PaintSession.save`, or the page, wrote.

    Args:
        path: of a JSON file of at most 8 MB.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no JSON, or no session; says what must hold.

    Example:
        >>> import tempfile
        >>> from dissect import apps
        >>> mask = apps.Mask((8, 8), (0, 0, 1, 2), "11")
        >>> stroke = apps.Stroke("draw", "object/tree", (3, 7), (5.5, 2.25), (1.0, 1.0), mask)
        >>> session = apps.PaintSession("c7c43b4debf6e3f4", "layer4", seed=1, number=12, strokes=(stroke,))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     apps.load_painting(session.save(f"{folder}/tree.json")) == session
        True
    """
    data = bytes_of_file(path, "a session", MOST_BYTES)
    with named(path):
        return session_of(json_of(data))


def json_of(data: bytes) -> Any:
    """What JSON says, without the numbers that JSON has not (NaN, infinity) and names that come twice.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_number, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it must be JSON, but is nested too deeply.") from error
    except ValueError as error:
        raise ValueError(f"it must be JSON, but is not: {str(error)[:200]}") from error


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice in an object")
    return found
