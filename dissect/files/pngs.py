"""Pictures in data URLs, which come from others: they say how large they are before anything makes room for them."""

from __future__ import annotations

import base64
import io
import struct
from typing import TYPE_CHECKING

from dissect import extras
from dissect.files.checked import require

if TYPE_CHECKING:
    from PIL.Image import Image

_PREFIX, _BEGINS = "data:image/png;base64,", b"\x89PNG\r\n\x1a\n"


def png_of(what: str, url: str, most: int) -> Image:
    r"""The picture in a data URL, decoded.

    Args:
        what: whose mask it is, for messages.
        url: "data:image/png;base64,...".
        most: rows and columns at most.

    Raises:
        ImportError: Pillow is not installed.
        ValueError: it is none, or larger; says what must hold.

    Example:
        >>> png_of("key", "data:image/png;base64,AAAA", 8)
        Traceback (most recent call last):
        ValueError: key must have a mask that is a PNG, but it begins with b'\x00\x00\x00'.
    """
    extras.require("a mask that is a PNG", "report", "PIL")
    from PIL import Image

    bomb = Image.DecompressionBombError  # of a second size, which Pillow follows
    if not url.startswith(_PREFIX):
        raise ValueError(f"{what} must have a mask that begins with {_PREFIX!r}, but it begins with {url[:30]!r}.")
    try:
        data = base64.b64decode(url[len(_PREFIX) :], validate=True)
    except ValueError as error:  # binascii's, and of letters beyond ASCII
        raise ValueError(f"{what} must have a mask that is a PNG, but its base64 is none: {error}.") from error
    if not data.startswith(_BEGINS):
        raise ValueError(f"{what} must have a mask that is a PNG, but it begins with {data[:8]!r}.")
    columns, rows = struct.unpack(">II", data[16:24].ljust(8, b"\0"))
    require(what, max(columns, rows) <= most, f"a mask has {most} rows and columns at most, not {rows} by {columns}")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            require(what, picture.size == (columns, rows), "a mask is one picture, whose size stands in front")
            picture.load()
            return picture
    except (OSError, SyntaxError, bomb) as error:
        raise ValueError(f"{what} must have a mask that is a PNG, but it is not: {str(error)[:200]}") from error


def png_url(data: bytes) -> str:
    """A PNG as a data URL."""
    return _PREFIX + base64.b64encode(data).decode("ascii")
