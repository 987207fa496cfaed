"""Where each target pixel samples a feature map: the one definition that all backends share.

A grid holds, per axis, a packed table with two source indices and a weight for every target row or column. It is
computed once, on the host, in float64; kernels only ever read it, so no backend can disagree about geometry.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.digests import digest

Border = Literal["edge", "zeros"]
BORDERS: tuple[Border, ...] = get_args(Border)
#: (kernel, stride, padding[, dilation]) of a convolution or pooling; each an integer, or a pair (rows', columns').
Layer = tuple[int | tuple[int, int], ...]

#: The largest weight below 1. Up to it, rounded interpolation provably stays between its two ends.
MAX_WEIGHT = 1 - 2.0**-22


@speaks
@dataclass(frozen=True, eq=False)
class Grid:
    """Bilinear sampling of an h x w feature map at the H x W pixels of a segmentation.

    The value at target pixel (y, x), with ``(y0, y1, wy)`` from row y of `rows` and ``(x0, x1, wx)`` from row x of
    `columns`, every operation rounded to float32 and none fused::

        left  = a[y0, x0] + (a[y1, x0] - a[y0, x0]) * wy
        right = a[y0, x1] + (a[y1, x1] - a[y0, x1]) * wy
        v     = left + (right - left) * wx

    Laws: index0 never decreases along an axis, index1 is index0 or index0 + 1, and 0 <= weight <= 1 - 2^-22. Hence v
    lies between its row's ends `left` and `right`, and these between the four corners. Index -1 and index h (or w)
    stand for virtual corners of value 0; only the border "zeros" uses them, and only along an axis of two cells or
    more: the one cell of an axis fills it, as in the published code.

    Use a constructor: `half_pixel` (the default geometry of the library), `align_corners`, `receptive_field`,
    `netdissect`, or `from_centres` for any other geometry. Tables
    of your own are checked against the laws and copied, so that kernels can trust them; do not write into them.

    Attributes:
        rows: [H, 3] int32, one (index0, index1, bits of the float32 weight) per target row; on the CPU.
        columns: [W, 3] int32, the same for the target columns.
        source_shape: (h, w).

    Raises:
        TypeError: a table that is no int32 tensor on the CPU, sizes that are no integers.
        ValueError: a table of another shape, or an entry that breaks a law; names the entry.

    Example:
        >>> grid = Grid.half_pixel((2, 2), (4, 4))
        >>> grid.target_shape, grid.indices("rows").tolist()
        ((4, 4), [[0, 0], [0, 1], [0, 1], [1, 1]])
        >>> grid.weights("rows").tolist()
        [0.0, 0.25, 0.75, 0.0]
    """

    rows: Tensor
    columns: Tensor
    source_shape: tuple[int, int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "source_shape", _sizes("source_shape", self.source_shape))
        for name, size in zip(("rows", "columns"), self.source_shape):
            object.__setattr__(self, name, _checked_table(name, getattr(self, name), size))

    @property
    def target_shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.rows.shape[0], self.columns.shape[0]

    @cached_property
    def is_identity(self) -> bool:
        """Whether each target pixel is the cell at its place."""
        tables = zip((self.rows, self.columns), self.source_shape)
        return all(table.tolist() == [[at, at, 0] for at in range(size)] for table, size in tables)

    @classmethod
    def half_pixel(cls, source: tuple[int, int], target: tuple[int, int], *, border: Border = "edge") -> Grid:
        """Pixel centres at half-integers: ``src = (y + 0.5) * h / H - 0.5``.

        As ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` with border "edge"; the published
        PNAS 2020 code is this geometry with border "zeros". Grids are cached; do not write into their tables.

        Raises:
            TypeError: a size that is no integer.
            ValueError: a size below 1, or an unknown border.
        """
        return _half_pixel(*_checked_sizes(source, target, border), border)

    @classmethod
    def align_corners(cls, source: tuple[int, int], target: tuple[int, int], *, border: Border = "edge") -> Grid:
        """Corner pixels on corner pixels: ``src = y * (h - 1) / (H - 1)``, and 0 where H is 1.

        Raises:
            TypeError: a size that is no integer.
            ValueError: a size below 1, or an unknown border.
        """
        source, target = _checked_sizes(source, target, border)
        centres = [np.arange(t, dtype=np.float64) * (s - 1) / max(1, t - 1) for s, t in zip(source, target)]
        return cls._from_centres(centres, source, border)

    @classmethod
    def receptive_field(
        cls,
        layers: Iterable[Layer],
        source: tuple[int, int],
        target: tuple[int, int],
        *,
        image: tuple[int, int] | None = None,
        border: Border = "edge",
    ) -> Grid:
        """Feature-map cells placed at the centres of their receptive fields in the image.

        The exact geometry: a chain of layers maps cell i to image coordinate ``i * scale + offset``, composed from the
        probed layer backwards: ``scale *= stride; offset = offset * stride + (kernel - 1) * dilation / 2 - padding``.
        For a segmentation smaller than the image both shrink by ``(H - 1) / (image_h - 1)``, and
        ``src = (y - offset) / scale`` (the published `sequence_scale_offset` of Bau et al. 2020). `netdissect` has the
        whole pixels of Bau et al. 2017.

        Args:
            layers: (kernel, stride, padding[, dilation]) of each convolution and pooling from the image up to and
                including the probed layer, none after it. Each an integer, or a pair of the rows' and the columns'.
            source: (h, w) of the probed layer.
            target: (H, W) of the segmentation.
            image: size of the image that the layers see; the target's by default.
            border: "edge" or "zeros".

        Raises:
            TypeError: a size that is no integer.
            ValueError: a size below 1, an unknown border, or a layer that is no such tuple.
        """
        source, target = _checked_sizes(source, target, border)
        image = target if image is None else _sizes("image", image)
        centres = []
        for size, full, (field, offset, step) in zip(target, image, _field_maps(layers)):
            middle = offset + (field - 1) / 2
            shrink = (size - 1) / (full - 1) if full > 1 else 1.0
            centres.append((np.arange(size, dtype=np.float64) - middle * shrink) / (step * (shrink or 1.0)))
        return cls._from_centres(centres, source, border)

    @classmethod
    def netdissect(
        cls,
        layers: Iterable[Layer],
        source: tuple[int, int],
        target: tuple[int, int],
        *,
        image: tuple[int, int] | None = None,
        border: Border = "edge",
    ) -> Grid:
        """Feature-map cells at whole pixels near the centres of their receptive fields, as NetDissect places them.

        A chain of layers has a receptive field of `size` image pixels, the first of which begins at `offset`, and
        `step` pixels from one to the next, composed from the image on: ``size += (kernel - 1) * dilation * step;
        offset -= padding * step; step *= stride``. Cell i lies at pixel ``(size // 2 + offset) // r + i * (step // r)``
        of a segmentation r times smaller, with r = round(image / H): at 8, 16, ..., 104 of 113 for AlexNet's conv5 at
        227. `receptive_field` is the exact geometry (8.42, ..., 103.58 there).

        Args:
            layers: as of `receptive_field`.
            source: (h, w) of the probed layer.
            target: (H, W) of the segmentation.
            image: size of the image that the layers see; the target's by default.
            border: "edge" (as published) or "zeros".

        Raises:
            ValueError: as of `receptive_field`; or places that do not exist: a segmentation larger than the image, or
                cells less than a pixel apart.

        Example:
            >>> grid = Grid.netdissect([(3, 1, 1), (2, 2, 0)], (3, 3), (6, 6))  # cells at 1, 3, 5
            >>> grid.indices("rows").tolist(), grid.weights("rows").tolist()
            ([[0, 0], [0, 0], [0, 1], [1, 1], [1, 2], [2, 2]], [0.0, 0.0, 0.5, 0.0, 0.5, 0.0])
        """
        source, target = _checked_sizes(source, target, border)
        image = target if image is None else _sizes("image", image)
        centres = []
        for size, full, (field, offset, step) in zip(target, image, _field_maps(layers)):
            reduction = round(full / size)
            if reduction < 1 or step < reduction:
                raise refusal(
                    ValueError(
                        "NetDissect's whole pixels need a segmentation no larger than the image and cells at least one "
                        f"of its pixels apart, but got {size} of {full} pixels and cells {step} pixels of the image "
                        "apart; use the exact geometry, receptive_field."
                    )
                )
            first, apart = (field // 2 + offset) // reduction, step // reduction
            centres.append((np.arange(size, dtype=np.float64) - first) / apart)
        return cls._from_centres(centres, source, border)

    @classmethod
    def from_centres(
        cls,
        rows: Iterable[float],
        columns: Iterable[float],
        source: tuple[int, int],
        *,
        border: Border = "edge",
    ) -> Grid:
        """Any geometry: where in the feature map each row and each column of the segmentation samples.

        Args:
            rows: [H] coordinates in rows of the map, 0 the first; none less than the one before.
            columns: [W], the same in its columns.
            source: (h, w) of the feature map.
            border: beyond the map's cells "edge" or "zeros".

        Raises:
            ValueError: sizes below 1, an unknown border, or coordinates that fall or are not finite.

        Example:
            >>> Grid.from_centres([0, 0.5, 1], [0, 1], (2, 2)).weights("rows").tolist()
            [0.0, 0.5, 0.0]
        """
        centres = []
        for name, values in (("rows", rows), ("columns", columns)):
            axis = np.asarray(values if hasattr(values, "__array__") else list(values), dtype=np.float64)
            if axis.ndim != 1 or not np.isfinite(axis).all() or (np.diff(axis) < 0).any():
                raise refusal(
                    ValueError(
                        f"{name} must be one list of finite coordinates that never fall, but got {axis.tolist()}."
                    )
                )
            centres.append(axis)
        source, _ = _checked_sizes(source, (len(centres[0]), len(centres[1])), border)
        return cls._from_centres(centres, source, border)

    @classmethod
    def _from_centres(cls, centres: list[np.ndarray], source: tuple[int, int], border: Border) -> Grid:
        rows, columns = (_axis_table(axis, size, border) for axis, size in zip(centres, source))
        return cls(rows, columns, source)

    def indices(self, axis: str) -> Tensor:
        """[T, 2] int64: index0 and index1 of each target row (axis "rows") or column ("columns")."""
        column: Tensor = getattr(self, axis)[:, :2].long()
        return column

    def weights(self, axis: str) -> Tensor:
        """[T] float32: the weight of index1 of each target row or column."""
        column: Tensor = getattr(self, axis)[:, 2].contiguous().view(torch.float32)
        return column

    def check(self, op: str, source: tuple[int, ...], target: tuple[int, ...] | None = None) -> None:
        """Refuse a feature map or a segmentation that this grid was not made for.

        Raises:
            ValueError: names the op and both sizes.
        """
        if tuple(source) != self.source_shape:
            raise ValueError(f"{op}: grid must be for feature maps of {tuple(source)}, but got {self.source_shape}.")
        if target is not None and tuple(target) != self.target_shape:
            raise ValueError(f"{op}: grid must be for segmentations of {tuple(target)}, but got {self.target_shape}.")

    @cached_property
    def key(self) -> str:
        """A digest of the tables, equal for equal grids: what states compare before they merge."""
        return digest([repr(self.source_shape), self.rows, self.columns], 64)


@lru_cache(maxsize=64)
def _half_pixel(source: tuple[int, int], target: tuple[int, int], border: Border) -> Grid:
    centres = [(np.arange(t, dtype=np.float64) + 0.5) * s / t - 0.5 for s, t in zip(source, target)]
    return Grid._from_centres(centres, source, border)


def _checked_sizes(
    source: Iterable[int], target: Iterable[int], border: Border
) -> tuple[tuple[int, int], tuple[int, int]]:
    if border not in BORDERS:
        raise refusal(ValueError(f"border must be one of {BORDERS}, but got {border!r}."))
    return _sizes("source", source), _sizes("target", target)


def _sizes(name: str, given: Iterable[int]) -> tuple[int, int]:
    try:
        sizes = tuple(operator.index(size) for size in given)
    except TypeError:
        raise refusal(TypeError(f"{name} must be two integers, but got {given!r}.")) from None
    if len(sizes) != 2 or min(sizes) < 1:
        raise refusal(ValueError(f"{name} must be two sizes of at least 1, but got {sizes}."))
    return sizes


def _checked_table(name: str, table: Tensor, size: int) -> Tensor:
    """A contiguous copy of a table, which no one else can write into; refuses what breaks a law of `Grid`."""
    if not isinstance(table, Tensor) or table.dtype != torch.int32 or table.layout != torch.strided:
        got = f"{table.dtype}, {table.layout}" if isinstance(table, Tensor) else type(table).__name__
        raise refusal(TypeError(f"{name} must be an int32 tensor, but got {got}."))
    if table.device.type != "cpu":
        raise refusal(TypeError(f"{name} must be on the CPU, but is on {table.device}."))
    if table.ndim != 2 or table.shape[0] < 1 or table.shape[1] != 3:
        raise refusal(ValueError(f"{name} must have shape [T, 3] with T >= 1, but got {list(table.shape)}."))
    with torch.inference_mode(False):
        table = table.detach().clone(memory_format=torch.contiguous_format)
    index0, index1, weight = table.numpy().T
    inside, neighbours = (index0 >= -1) & (index1 <= size), (index1 == index0) | (index1 - 1 == index0)
    # The bits of floats from 0 on are in their order.
    weighs = (weight >= 0) & (weight <= np.float32(MAX_WEIGHT).view(np.int32))
    good = inside & neighbours & weighs
    good[1:] &= (index0[1:] >= index0[:-1]) & (index1[1:] >= index1[:-1])
    if not good.all():
        at = int(good.argmin())
        entry = (int(index0[at]), int(index1[at]), float(weight[at].view(np.float32)))
        raise refusal(
            ValueError(
                f"{name} must hold (index0, index1, weight) with indices in [-1, {size}] that never decrease, index1 "
                f"equal to index0 or index0 + 1, and weights from 0 to 1 - 2^-22, but entry {at} is {entry}."
            )
        )
    return table


def _field_maps(layers: Iterable[Layer]) -> list[tuple[int, int, int]]:
    """(size, offset, step) of receptive fields along rows and along columns: how wide, from where, how far apart.

    Raises:
        ValueError: a layer that is no (kernel, stride, padding) or (kernel, stride, padding, dilation).
    """
    maps = [(1, 0, 1), (1, 0, 1)]
    for layer in layers:
        try:
            pairs = [_pair(value) for value in layer]
        except TypeError:
            pairs = []
        if len(pairs) not in (3, 4) or min(pairs[0] + pairs[1]) < 1:
            raise refusal(
                ValueError(
                    f"a layer must be (kernel, stride, padding) or (kernel, stride, padding, dilation), each an "
                    f"integer or a pair of rows' and columns', but got {layer!r}."
                )
            )
        for axis, (size, offset, step) in enumerate(maps):
            kernel, stride, padding, dilation = ([pair[axis] for pair in pairs] + [1])[:4]
            maps[axis] = size + (kernel - 1) * dilation * step, offset - padding * step, step * stride
    return maps


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    """Of rows and columns.

    Raises:
        TypeError: no integer, nor two.
    """
    if isinstance(value, tuple) and len(value) == 2:
        return operator.index(value[0]), operator.index(value[1])
    if isinstance(value, tuple):
        raise TypeError
    return operator.index(value), operator.index(value)


def _axis_table(centres: np.ndarray, size: int, border: Border) -> Tensor:
    """[T, 3] int32 table of one axis from its source coordinates (float64, non-decreasing)."""
    # The published code scales by size - 1, so that of one cell every coordinate is 0 and no border is met.
    low, high = (0, size - 1) if border == "edge" or size == 1 else (-1, size)
    centres = np.clip(centres, low, high)
    index0 = np.floor(centres)
    weight = (centres - index0).astype(np.float32)
    snap = weight > MAX_WEIGHT
    index0, weight = index0 + snap, np.where(snap, np.float32(0), weight)
    index1 = index0 + (weight > 0)
    table = np.stack([index0.astype(np.int32), index1.astype(np.int32), weight.astype(np.float32).view(np.int32)], 1)
    return torch.from_numpy(np.ascontiguousarray(table))
