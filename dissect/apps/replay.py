"""Sessions replayed: every step of a painting on one sheet, or as a movie."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dissect import extras, plots
from dissect.apps.painter import Painter
from dissect.apps.painting import Painting
from dissect.apps.session import PaintSession
from dissect.apps.strokes import Stroke
from dissect.arguments import refusal, speaks
from dissect.files.tensors import replacing
from dissect.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Steps beside each other on a sheet, and inches of each.
COLUMNS, INCHES = 6, 1.5
#: Milliseconds of a step in a movie, and of the last.
STEP, LAST = 700, 2000
#: Pixels of a movie's shorter side at least.
SIDE = 256


@speaks
def write_replay(painter: Painter, session: PaintSession, path: str | Path) -> Path:
    """Paints a session again, and writes each of its steps.

    Args:
        painter: of the generator, layer and z set with which it was painted; it needs no brushes.
        session: what was painted.
        path: of a sheet of all steps, with what was painted outlined, where it ends in ".png"; of a movie of them
            where it ends in ".gif". An older file is replaced only once the new one is complete.

    Returns:
        The path.

    Raises:
        ImportError: matplotlib or Pillow is not installed.
        ValueError: a session of something else, or a path with another ending.

    Example:
        >>> from dissect import apps, tiny
        >>> painter = apps.Painter(tiny.generator(), "layer4", count=4)
        >>> left = apps.Mask((8, 8), (0, 0, 8, 4), "1" * 32)
        >>> stroke = apps.Stroke("remove", "tree-iou", (3, 7), (0.0, 0.0), (1.0, 1.0), left)
        >>> session = apps.Painting(painter, 2, [stroke]).session
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     apps.write_replay(painter, session, f"{folder}/tree.gif").name
        'tree.gif'
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".gif"):
        raise refusal(ValueError(f"path must end in .png, for a sheet, or in .gif, for a movie, but is {path.name!r}."))
    painting = Painting.of(painter, session)
    if path.suffix.lower() == ".png":
        return plots.save(sheet(painting), path)
    with replacing(path) as partial:
        partial.write_bytes(movie(painting.history))
    return path


def sheet(painting: Painting) -> Figure:
    """All steps of a painting as a matplotlib figure: before, after each stroke with its outline, and after the last.

    Raises:
        ImportError: matplotlib is not installed.
    """
    steps = painting.history
    pictures = [steps[0], *steps[1:], *steps[-1:]] if painting.strokes else steps
    titles = ["before", *(f"{at} {told(stroke)}" for at, stroke in enumerate(painting.strokes, 1)), "after"]
    rows, columns = -(-len(pictures) // COLUMNS), min(COLUMNS, max(2, len(pictures)))
    height, width = painting.painter.image_size
    with plots.drawing():
        figure = plots.new_figure(columns * INCHES, rows * (INCHES * height / width + 0.25))
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, picture, title, stroke in zip(panels, pictures, titles, [None, *painting.strokes, None]):
            plots.tile(axes, picture.float() / 255, plots.fitting(title, 72 * INCHES - 6, 9))
            if stroke is not None:
                _outline(axes, stroke, painting.painter.image_size)
        plots.empty(panels[len(pictures) :])
    return figure


def told(stroke: Stroke) -> str:
    """A stroke in words: "draw tree"."""
    return printable(f"{stroke.action} {stroke.concept.rpartition('-')[0] or stroke.concept or 'units'}")


def _outline(axes: Any, stroke: Stroke, size: tuple[int, int]) -> None:
    """Draws the outline of the painted places into a picture of their size."""
    if stroke.mask is None:
        return
    picture = stroke.mask.picture()
    index = [torch.arange(8 * side) * own // (8 * side) for side, own in zip(size, picture.shape)]
    mask = torch.nn.functional.pad(picture[index[0]][:, index[1]], (1, 1, 1, 1))
    rows, columns = (torch.arange(-1, 8 * side + 1).add(0.5).div(8).sub(0.5) for side in size)
    for color, width in (("white", 2.2), (plots.ACCENT, 1.1)):
        axes.contour(columns.numpy(), rows.numpy(), mask.numpy(), levels=[0.5], colors=[color], linewidths=width)


def movie(pictures: Sequence[Tensor]) -> bytes:
    """Pictures [3, H, W] uint8 one after another, as a GIF that repeats.

    Raises:
        ImportError: Pillow is not installed.
    """
    extras.require("a movie", "report", "PIL")
    from PIL import Image

    frames, buffer = [], io.BytesIO()
    for picture in pictures:
        frame = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
        factor = -(-SIDE // min(frame.size))
        frames.append(frame.resize((frame.width * factor, frame.height * factor), Image.Resampling.BICUBIC))
    durations = [STEP] * (len(frames) - 1) + [LAST]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return buffer.getvalue()
