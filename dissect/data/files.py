"""Pictures and arrays of label planes in files as people have them: what cannot be read is named."""

from __future__ import annotations

import io
import math
import os
import struct
import warnings
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from dissect.arguments import refusal
from dissect.text import shown

#: What Pillow and numpy raise when the bytes of a file make no sense to them.
DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, EOFError,
    NotImplementedError, RuntimeError, AssertionError, struct.error, zlib.error,
)  # fmt: skip

#: Where photographs say how they are to be turned; 1 is as they are stored, and from 5 on rows become columns.
ORIENTATION, UPRIGHT, TRANSPOSED = 0x0112, 1, 5

#: A file's planes are enlarged to the images' size, so a small file of many would fill the memory.
MOST_PLANES = 256


def files_under(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files under a folder with one of these suffixes, in any case, in the order of their paths.

    Hidden ones are left out, and hidden folders, whose names begin with a dot. Linked folders are entered, but each
    folder only once, and where it stands itself rather than where a link stands. A link to nothing is listed.
    """
    found: list[Path] = []
    seen: set[str] = set()
    links: list[Path] = []
    waiting = [folder]
    while waiting or links:
        at = waiting.pop() if waiting else links.pop(0)
        real = os.path.realpath(at)
        if real in seen:
            continue
        seen.add(real)
        with os.scandir(at) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = Path(entry.path)
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    (links if entry.is_symlink() else waiting).append(path)
                elif path.suffix.lower() in suffixes and (entry.is_file() or not path.exists()):
                    found.append(path)
    return sorted(found)


def file_facts(path: Path) -> bytes:
    """The name, size and time of a file: what tells whether it changed, without reading it."""
    facts = path.stat()
    return os.fsencode(path.name) + f" {facts.st_size} {facts.st_mtime_ns}".encode()


def opened(path: Path, upright: bool = True) -> tuple[Any, int]:
    """A decoded picture, turned as its orientation tag says, and that tag.

    Args:
        path: of the file.
        upright: turn it; else it stays as it is stored, and the tag is 1.

    Raises:
        ValueError: it cannot be read, or its checksums are wrong; names the file.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(file)
            if picture.format == "PNG":  # which is decoded whatever its checksums say
                picture.verify()
                file.seek(0)
                picture = Image.open(file)
            picture.load()
    except (*DAMAGED, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise refusal(ValueError(f"{shown(path)} cannot be read: {_why(error)}")) from error
    return _turned(picture, path) if upright else (picture, UPRIGHT)


def _turned(picture: Any, path: Path) -> tuple[Any, int]:
    from PIL import ImageOps

    try:
        tag = picture.getexif().get(ORIENTATION, UPRIGHT)
        if tag not in range(2, 9):  # that of a file that says nothing, or what nobody defined
            return picture, UPRIGHT
        return ImageOps.exif_transpose(picture), tag
    except DAMAGED as error:
        raise refusal(
            ValueError(
                f"the tags of {shown(path)} cannot be read: {_why(error)}; pass orientation=False to take "
                "pictures as they are stored."
            )
        ) from error


def rgb(picture: Any, path: Path) -> Any:
    """Three channels of 8 bits.

    Raises:
        ValueError: it has 32 bits, of which it is not known where white is.
    """
    from PIL import Image

    if picture.mode in ("I", "F"):
        raise refusal(
            ValueError(
                f"pictures must have 8 or 16 bits per channel, but {shown(path)} has 32 (mode "
                f"{picture.mode}); convert it first."
            )
        )
    if picture.mode.startswith("I;16"):  # Pillow would cut 16 bits off at 255
        picture = Image.fromarray((np.array(picture).astype(np.float32) / 257).round().astype(np.uint8))
    return picture.convert("RGB")


def array(path: Path) -> np.ndarray:
    """The array in an .npy file, whose size is compared with what it says of itself before it is read.

    Raises:
        ValueError: it cannot be read; names the file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(12)
            file.seek(0)
            if not data.startswith(np.lib.format.MAGIC_PREFIX):
                raise ValueError("it does not begin as an .npy file does")
            version = np.lib.format.read_magic(file)
            readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in readers:
                raise ValueError(f"version {version} of the format is not known here")
            shape, _, dtype = readers[version](file)
            wanted, left = math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size - file.tell()
            if wanted > left:
                raise ValueError(f"it says that it holds {dtype} {list(shape)}, {wanted} bytes, but has {left}")
            file.seek(0)
            array: np.ndarray = np.load(io.BytesIO(file.read()))
            return array
    except DAMAGED as error:
        raise refusal(ValueError(f"{shown(path)} cannot be read: {_why(error)}")) from error


def _why(error: Exception | Warning) -> str:
    return str(error) or type(error).__name__
