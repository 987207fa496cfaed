"""Editing sessions in the published JSON format: what was painted on which image, to be replayed."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.extras import require
from dissect.files.checked import Whole, bytes_of_file, fields, named
from dissect.files.pngs import png_of, png_url
from dissect.files.tensors import replacing
from dissect.rewriting.directions import area
from dissect.rewriting.edit import Edit
from dissect.rewriting.insertion import insert
from dissect.rewriting.keys import Keys
from dissect.rewriting.memory import Memory
from dissect.rewriting.selection import copy, paste, placed

#: Rows or columns of a mask at most; published ones have 1,024.
MOST = 4096
#: Bytes of a session at most.
MOST_BYTES = 100_000_000
#: Images of a context at most.
MOST_KEYS = 1000


class Selection(NamedTuple):
    """A mask on an image.

    Attributes:
        image: its number, in the z set.
        mask: [H, W] float32 in [0, 1].
    """

    image: int
    mask: Tensor


class Painted(NamedTuple):
    """A session in a memory.

    Attributes:
        inputs: of the image where the object is pasted.
        keys: what is inserted.
        values: the same.
        context_of_paste: all keys of that image.
        whole: [1, o, H, W], all its values, with the object.
        alpha: [H, W], how much of each is the object's.
        context: keys of the images of the context.
        masks: [n, h, w] of them.
        masks_of_paste: [1, h, w].
    """

    inputs: Any
    keys: Keys
    values: Tensor
    context_of_paste: Keys
    whole: Tensor
    alpha: Tensor
    context: Keys
    masks: Tensor
    masks_of_paste: Tensor


@dataclass(frozen=True, eq=False)
class Session:
    """What was painted: see section 6.4 of the thesis.

    Attributes:
        object: what is copied; None where nothing was.
        paste: where to.
        key: the context; the published code takes `paste` where there is none.
        query: the search for images, which an edit does not need.
    """

    object: Selection | None = None
    paste: Selection | None = None
    key: tuple[Selection, ...] = ()
    query: Selection | None = None

    @property
    def context(self) -> tuple[Selection, ...]:
        """`key`, or `paste` where that is empty."""
        return self.key or ((self.paste,) if self.paste is not None else ())

    @speaks
    def edit(self, memory: Memory, inputs: Any, rank: int = 1, *, tight: bool = True, **options: Any) -> Edit:
        """Replays the session: copies, pastes, takes the context's directions and inserts.

        Args:
            memory: the layer, whose second moment is known.
            inputs: the z set in which images have their numbers (published: z set 1), or (z, noise seeds).
            rank: of the change.
            tight: see `paste`.
            options: of `insert`.

        Raises:
            ValueError: a session without an object, a place or a context; images beyond the z set; masks whose size is
                no multiple of the layer's map, which are of another model.
        """
        painted = self.painted(memory, inputs, tight=tight)
        directions = memory.direction(painted.context, rank, masks=painted.masks)
        return insert(memory, painted.keys, painted.values, directions, **options)

    def painted(self, memory: Memory, inputs: Any, *, tight: bool = True) -> Painted:
        """What the session says in a memory; arguments and errors are those of `edit`."""
        if self.object is None or self.paste is None:
            raise refusal(ValueError("the session must have an object and a place to paste it, but lacks one."))
        count = len(inputs[0] if isinstance(inputs, (tuple, list)) else inputs)
        size = memory.value_size(memory.keys(_rows(inputs, [0])))
        check_selections((self.object, self.paste, *self.context), count, size)
        copied = copy(memory, _rows(inputs, [self.object.image]), self.object.mask)
        own = _rows(inputs, [self.paste.image])
        keys, values = paste(memory, own, self.paste.mask, copied, tight=tight)
        whole = paste(memory, own, self.paste.mask, copied, tight=False)
        alpha = torch.zeros(whole[1].shape[2:])
        alpha[placed(memory, whole[0], self.paste.mask, copied)] = copied.alpha.cpu()
        context, masks = selected_keys(memory, inputs, self.context)
        size = (context.maps.shape[2], context.maps.shape[3])
        return Painted(own, keys, values, *whole, alpha, context, masks, area(self.paste.mask[None], size))

    def as_json(self) -> dict[str, Any]:
        """What its file holds; masks become RGBA images, opaque as far as they are painted.

        Raises:
            ImportError: Pillow is not installed.
        """
        parts: dict[str, Any] = {
            name: None if part is None else [part.image, _encoded(part.mask)]
            for name, part in {"object": self.object, "paste": self.paste, "query": self.query}.items()
        }
        parts["key"] = [[part.image, _encoded(part.mask)] for part in self.key]
        return {name: part for name, part in parts.items() if part}

    def save(self, path: str | Path) -> Path:
        """Writes the session as JSON, whole or not at all; see `as_json`."""
        with replacing(path) as partial:
            partial.write_text(json.dumps(self.as_json()), "utf-8")
        return Path(path)


def check_selections(selections: Sequence[Selection], count: int, size: tuple[int, int]) -> None:
    """Refuses selections that are of another model than one whose values have that size, or beyond `count` images.

    Raises:
        ValueError: says what must hold.
    """
    rows, columns = size
    for selection in selections:
        height, width = selection.mask.shape
        if not 0 <= selection.image < count:
            raise refusal(
                ValueError(
                    f"inputs must have the images of the session, but there are {count} and it names number "
                    f"{selection.image}."
                )
            )
        if height % rows or width % columns or height // rows != width // columns:
            raise refusal(
                ValueError(
                    f"masks must be of images whose size is a multiple of the layer's map, {rows} by {columns}, but "
                    f"one is {height} by {width}: the session is of another model."
                )
            )


def selected_keys(memory: Memory, inputs: Any, selections: Sequence[Selection]) -> tuple[Keys, Tensor]:
    """The keys of the images of selections, and how much of each the masks cover, [n, h, w]."""
    keys = memory.keys(_rows(inputs, [selection.image for selection in selections]))
    size = (keys.maps.shape[2], keys.maps.shape[3])
    return keys, torch.cat([area(selection.mask[None], size) for selection in selections])


@speaks
def load_session(path: str | Path) -> Session:
    """Reads a session in the published format, or one that `Session.save` wrote.

    A mask is the red channel over 255, as the published code reads it. What else the file holds is not looked at.

    Args:
        path: a JSON file with "object", "paste" and "query", each ``[image number, data URL of a PNG]``, and "key", a
            list of such.

    Raises:
        FileNotFoundError: no such file.
        ImportError: Pillow is not installed.
        ValueError: no JSON, a part that is no such pair, or a mask that is no PNG of 4,096 rows and columns at most.

    Example:
        >>> import tempfile
        >>> from dissect import rewriting
        >>> mask = torch.zeros(8, 8)
        >>> mask[2:4] = 1
        >>> here = rewriting.Selection(3, mask)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = rewriting.Session(here, here, (here, here)).save(f"{folder}/hats.json")
        ...     found = rewriting.load_session(path)
        >>> [part.image for part in found.key], torch.equal(found.object.mask, mask)
        ([3, 3], True)
    """
    data = bytes_of_file(path, "a session", MOST_BYTES)
    with named(path):
        try:
            found = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is no JSON: {error}") from error
        return session_of(found)


def session_of(found: Any, *, sides: int = MOST, count: int = MOST_KEYS) -> Session:
    """A session that was read from JSON, with at most so many images of context, and rows and columns of a mask.

    Raises:
        ValueError: it is none; says what must hold.
    """
    if not isinstance(found, dict):
        raise ValueError("a session must be a JSON object.")
    single = {name: _selection(name, found.get(name), sides) for name in ("object", "paste", "query")}
    given = found.get("key") or []
    if not isinstance(given, list):
        raise ValueError("key must be a list of [image number, data URL].")
    if len(given) > count:
        raise ValueError(f"key must have at most {count} entries, but has {len(given)}.")
    keys = [_selection("key", each, sides) for each in given]
    return Session(key=tuple(each for each in keys if each is not None), **single)


def _selection(name: str, found: Any, sides: int) -> Selection | None:
    if not found:
        return None
    if not isinstance(found, list) or len(found) != 2 or not isinstance(found[1], str):
        raise ValueError(f"{name} must be [image number, data URL], but is a {type(found).__name__}.")
    fields(name, {"the image's number": found[0]}, {"the image's number": Whole()})
    return Selection(found[0], _decoded(name, found[1], sides))


def _decoded(name: str, url: str, sides: int) -> Tensor:
    """The mask in a data URL."""
    require("load_session", "report", "PIL")
    red = png_of(name, url, sides).convert("RGB").getchannel("R")
    return torch.frombuffer(bytearray(red.tobytes()), dtype=torch.uint8).view(red.height, red.width).float() / 255


def _encoded(mask: Tensor) -> str:
    """The data URL of a mask [H, W]."""
    require("Session.save", "report", "PIL")
    from PIL import Image

    grey = (area(mask[None], (mask.shape[0], mask.shape[1]))[0] * 255).round().to(torch.uint8)
    pixels = grey[:, :, None].expand(-1, -1, 4).contiguous()
    buffer = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(buffer, "PNG")
    return png_url(buffer.getvalue())


def _rows(inputs: Any, numbers: list[int]) -> Any:
    if isinstance(inputs, (tuple, list)):
        return tuple(part[numbers] for part in inputs)
    return inputs[numbers]
