"""The eleven basic colour names of pixels: by a published table, or by an integer rule."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts
from dissect.extras import require
from dissect.segmentation.protocol import ImageSegmenter

#: In the order of the published table's columns.
COLORS = ("black", "blue", "brown", "grey", "green", "orange", "pink", "purple", "red", "white", "yellow")

#: The table has an entry for every 32nd part of each channel.
LEVELS = 32

# Upper ends of the hue ranges, in 256ths of a sixth of the circle.
_HUES = ((52, "red"), (178, "orange"), (290, "yellow"), (720, "green"), (1100, "blue"), (1310, "purple"),
         (1450, "pink"), (1536, "red"))  # fmt: skip


def _name(red: int, green: int, blue: int) -> str:
    high, low = max(red, green, blue), min(red, green, blue)
    spread = high - low
    if high < 56:
        return "black"
    if spread * 100 < high * 14:
        return "white" if high >= 200 else "grey"
    if high == red:
        hue = (256 * (green - blue) // spread) % 1536
    elif high == green:
        hue = 512 + 256 * (blue - red) // spread
    else:
        hue = 1024 + 256 * (red - green) // spread
    name = next(name for end, name in _HUES if hue < end)
    if name == "red" and high >= 180 and spread * 100 < high * 50:
        return "pink"
    if name == "orange" and (high < 170 or spread * 100 < high * 45):
        return "brown"
    if name == "yellow" and high < 120:
        return "green"
    return name


def color_name(red: int, green: int, blue: int) -> str:
    """The name of a colour of 8-bit channels.

    Only the upper five bits of each channel count: c becomes c // 8 * 8 + 4. With V the largest channel and S the
    largest minus the smallest, the first of these that holds:

    - V < 56: black. S < 14 % of V: white if V >= 200, else grey.
    - by hue, in 256ths of a sixth of the circle (rounded down): red below 52, orange below 178, yellow below 290,
      green below 720, blue below 1100, purple below 1310, pink below 1450, red above; except that
      a red with V >= 180 and S < 50 % of V is pink, an orange with V < 170 or S < 45 % of V is brown, and a yellow
      with V < 120 is green.

    Example:
        >>> color_name(200, 30, 30), color_name(120, 70, 30), color_name(128, 128, 128)
        ('red', 'brown', 'grey')
    """
    return _name(*(channel // 8 * 8 + 4 for channel in (red, green, blue)))


@lru_cache(maxsize=1)
def _rule() -> np.ndarray:
    levels = range(4, 256, 8)
    names = [_name(red, green, blue) for red in levels for green in levels for blue in levels]
    return np.eye(len(COLORS), dtype=np.float32)[[COLORS.index(name) for name in names]]


class ColorNamer(ImageSegmenter):
    """One plane: the colour name of each pixel.

    A pixel's name is the likeliest of its entry in a table of 32 x 32 x 32 colours. `scores` interpolates the table
    between the entries, linearly, and is so differentiable in the images.

    Args:
        table: [32, 32, 32, 11], how likely red, green and blue are called each of `COLORS`, as `read_w2c` gives it;
            None for the rule of `color_name`.
        signed: images come in [-1, 1], not in [0, 1].

    Raises:
        ValueError: a table of another shape, or that is not finite.

    Example:
        >>> namer = ColorNamer()
        >>> namer.concepts.names[int(namer(torch.tensor([0.8, 0.1, 0.1]).view(1, 3, 1, 1)))]
        'red'
    """

    table: Tensor

    @speaks
    def __init__(self, table: np.ndarray | Tensor | None = None, *, signed: bool = False) -> None:
        super().__init__(Concepts.of([(name, "color") for name in COLORS]), signed=signed)
        given = torch.as_tensor(_rule() if table is None else table).float()
        shape = (LEVELS, LEVELS, LEVELS, len(COLORS))
        if table is None:
            given = given.view(shape)
        if given.shape != shape or not bool(given.isfinite().all()):
            raise refusal(ValueError(f"table must be finite and of shape {list(shape)}, but got {list(given.shape)}."))
        self.register_buffer("table", given, persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Planes int16 [N, 1, H, W] of images [N, 3, H, W]."""
        red, green, blue = self.unit_range(images).mul(255).round().long().div(8, rounding_mode="floor").unbind(1)
        return (self.table.argmax(-1)[red, green, blue] + 1).to(torch.int16)[:, None]

    @speaks
    def scores(self, images: Tensor, concept: str | int) -> Tensor:
        """How likely each pixel is called so: float [N, H, W], differentiable in the images.

        Raises:
            KeyError, TypeError: as `label`.
        """
        volume = self.table[None, ..., self.label(concept) - 1]
        # Entry i is of the channels 8 i ... 8 i + 7, so its middle is 8 i + 3.5; grid_sample wants x, y, z in [-1, 1].
        places = (self.unit_range(images).float() * 255 - 3.5) / (8 * (LEVELS - 1)) * 2 - 1
        grid = places.flip(1).permute(0, 2, 3, 1)[:, None]
        expanded = volume[:, None].expand(len(images), 1, *volume.shape[1:])
        return F.grid_sample(expanded, grid, padding_mode="border", align_corners=True)[:, 0, 0]


@speaks
def read_w2c(path: str | Path) -> np.ndarray:
    """The published table of colour names (van de Weijer et al. 2009), of w2c.mat, or as text or .npy.

    A row is of one colour: 11 likelihoods in the order of `COLORS`, red the fastest, then green, then blue; or 14
    numbers, of which the first three are red, green and blue in 0..255.

    Returns:
        [32, 32, 32, 11] float32, by red, green and blue.

    Raises:
        FileNotFoundError: no such file.
        ValueError: there are not 32,768 rows of 11 or 14 numbers, or colours are missing.
        ImportError: a .mat file, and scipy is not here.
    """
    path = Path(path)
    if not path.is_file():
        raise refusal(FileNotFoundError(f"there is no file {path}."))
    rows = _rows(path)
    if rows.ndim != 2 or rows.shape[0] != LEVELS**3 or rows.shape[1] not in (len(COLORS), len(COLORS) + 3):
        raise refusal(ValueError(f"{path} must hold 32768 rows of 11 or 14 numbers, but holds {list(rows.shape)}."))
    if not np.isfinite(rows).all():
        raise refusal(ValueError(f"{path} must hold finite numbers, but some are not."))
    number = np.arange(LEVELS**3)
    colors = np.stack([number % LEVELS, number // LEVELS % LEVELS, number // LEVELS**2], 1)
    if rows.shape[1] > len(COLORS):
        colors = (rows[:, :3] // 8).astype(np.int64)
        places = colors @ [LEVELS**2, LEVELS, 1] if ((colors >= 0) & (colors < LEVELS)).all() else number * 0
        if len(np.unique(places)) != LEVELS**3:
            raise refusal(
                ValueError(f"{path} must have one row for each of 32 x 32 x 32 colours, but some are missing.")
            )
    table = np.empty((LEVELS, LEVELS, LEVELS, len(COLORS)), np.float32)
    table[tuple(colors.T)] = rows[:, -len(COLORS) :]
    return table


def _rows(path: Path) -> np.ndarray:
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), np.float64)
        if path.suffix != ".mat":
            return np.loadtxt(path, ndmin=2)
        require("read_w2c", "experiments", "scipy")
        from scipy.io import loadmat

        found = [value for name, value in loadmat(path).items() if not re.match("__", name)]
        return np.asarray(found[0] if len(found) == 1 else [], np.float64)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise refusal(ValueError(f"{path} must hold a table of numbers, but does not: {error}.")) from error
