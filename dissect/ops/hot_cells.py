"""hot_cells: of maps what lies near values above a floor, which is all that counts above it ask for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dissect.grid import Grid
from dissect.ops import checks
from dissect.ops.dispatch import implementation, register, serving
from dissect.ops.hot import HotCells


def hot_cells(activations: Tensor | HotCells, floors: Tensor, *, reach: int = 1, backend: str = "auto") -> HotCells:
    """The cells above a floor and their neighbours, and each map's largest value, in one read of the maps.

    Equivalent to::

        hot = pad(activations, (reach,) * 4) > floors[..., None, None]  # with zeros
        kept = max_pool2d(hot, 2 * reach + 1, stride=1)

    Of trained networks a floor that leaves 2 % of the upsampled pixels leaves 2 to 10 % of the cells above it. What
    asks for pixels above the floor (`iou_counts`, `tail_histogram`) takes the result in the maps' place, gives the same
    bits, and looks at these cells alone. An entry takes 6 bytes (8 from 65,537 cells on), a map 20.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16, any strides; or what was kept by lower floors.
        floors: float32 [U], or [N, U], finite, or -inf to keep all of a map. Below 0 the border is kept too, since
            the zeros that a grid may have around a map are above such a floor.
        reach: 1 for pixels between neighbouring cells, as of every upsampling; 0 for the cells themselves.
        backend: "auto", "cpp", "torch" or "reference".

    Raises:
        TypeError, ValueError: wrong dtypes or shapes, floors that are NaN or inf, activations that are NaN, infinite or
            of magnitude 2^126 or more; or hot cells of a higher floor or of another reach.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> maps = torch.tensor([[[[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]])
        >>> hot = dissect.ops.hot_cells(maps, torch.tensor([0.5]))
        >>> hot.places.tolist(), hot.peaks.item()
        ([0, 1, 2, 4, 5, 6], 1.0)
    """
    op = "hot_cells"
    checks.backend(op, backend)
    checks.activations(op, activations)
    reach = checks.integer(op, "reach", reach, 0)
    _check_reach(reach)
    floors = _floors(activations, floors)
    if isinstance(activations, HotCells):
        return _higher(activations, floors, reach, backend)
    peaks, counts, places, values = torch.ops.dissect.hot_cells(activations, floors, reach, backend)
    size = activations.shape[2], activations.shape[3]
    return _trusted(floors, peaks, counts, places, values, size, reach)


def _trusted(
    floors: Tensor, peaks: Tensor, counts: Tensor, places: Tensor, values: Tensor, size: tuple[int, int], reach: int
) -> HotCells:
    """What a backend made, map after map."""
    flat = counts.reshape(-1).long()
    starts = (flat.cumsum(0) - flat).view(counts.shape)
    hot = HotCells(floors, peaks, starts, counts, places, values, size, reach)
    hot.trust()
    return hot


def _check_reach(reach: int) -> None:
    if reach not in (0, 1):
        raise ValueError(f"hot_cells: reach must be 0 or 1, but got {reach}.")


def _floors(activations: Tensor | HotCells, floors: Tensor) -> Tensor:
    """[N, U], checked."""
    checks.tensor("hot_cells", "floors", floors, "a torch.float32 tensor")
    shape = tuple(activations.shape[:2])
    if floors.dtype != torch.float32:
        raise TypeError(f"hot_cells: floors must be float32, but got {floors.dtype}.")
    if tuple(floors.shape) not in (shape[1:], shape):
        raise ValueError(f"hot_cells: floors must have shape {list(shape[1:])} or {list(shape)}, but got "
                         f"{list(floors.shape)}.")  # fmt: skip
    checks.same_device("hot_cells", "floors", floors, activations)
    if not bool((floors < torch.inf).all()):
        raise ValueError("hot_cells: floors must be finite, or -inf to keep all of a map, but some are NaN or inf.")
    return floors.expand(shape).contiguous()


def _higher(hot: HotCells, floors: Tensor, reach: int, backend: str) -> HotCells:
    """What higher floors keep of it."""
    if reach != hot.reach:
        raise ValueError(f"hot_cells: reach must be that of the hot cells, {hot.reach}, but got {reach}.")
    check_floors("hot_cells", hot, floors, "floors")
    serve, maps = serving("hot_cells", backend, hot)
    _, counts, places, values = serve(maps, floors, reach)
    return _trusted(floors, hot.peaks, counts, places, values, hot.size, reach)


def check_floors(op: str, hot: HotCells, levels: Tensor, name: str) -> None:
    """Refuses levels [U] or [N, U] below which pixels count that were not kept.

    Raises:
        ValueError: names the first unit.
    """
    lower = (hot.floors > levels).any(0)
    if bool(lower.any()):
        unit = int(lower.nonzero()[0])
        raise ValueError(f"{op}: {name} must not be below the floors of the hot cells, but unit {unit}'s is.")


def check_reach(op: str, hot: HotCells, grid: Grid | None) -> None:
    """Refuses a grid that samples between cells of which some were not kept.

    Raises:
        ValueError: says how far it reaches.
    """
    tables = () if grid is None else (grid.rows, grid.columns)
    widest = max((int((table[:, 0] - table[:, 1]).abs().max()) for table in tables if len(table)), default=0)
    if widest > hot.reach:
        raise ValueError(f"{op}: hot cells must have a reach of {widest}, as the grid's, but have one of {hot.reach}.")


def _hot_cells(activations: Tensor, floors: Tensor, reach: int, backend: str) -> tuple[Tensor, ...]:
    serve = implementation("hot_cells", backend, activations.device)
    _check_reach(reach)
    checks.laid_out("hot_cells", "floors", floors, torch.float32, tuple(activations.shape[:2]))
    found: tuple[Tensor, ...] = serve(activations, floors, reach)
    return found


def _shapes(activations: Tensor, floors: Tensor, reach: int, *_: Any) -> tuple[Tensor, ...]:
    entries = torch.library.get_ctx().new_dynamic_size()
    area = activations.shape[2] * activations.shape[3]
    return (
        activations.new_empty(activations.shape[:2], dtype=torch.float32),
        activations.new_empty(activations.shape[:2], dtype=torch.int32),
        activations.new_empty(entries, dtype=torch.int32 if area > 1 << 16 else torch.uint16),
        activations.new_empty(entries, dtype=torch.float32),
    )


register(
    "hot_cells(Tensor activations, Tensor floors, int reach, str backend) -> (Tensor, Tensor, Tensor, Tensor)",
    _hot_cells,
    _shapes,
)
