"""upsample_argmax: the label of every pixel from a segmentation network's coarse logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dissect.grid import Grid
from dissect.ops import checks
from dissect.ops.backends.arguments import Tables
from dissect.ops.dispatch import implementation, register


def upsample_argmax(
    logits: Tensor,
    size: tuple[int, int] | None = None,
    *,
    grid: Grid | None = None,
    status: Tensor | None = None,
    backend: str = "auto",
) -> Tensor:
    """The number of the highest upsampled logit at every pixel, without materialising the upsampled logits.

    Equivalent to::

        labels = upsample(logits, grid).argmax(1)  # ties to the smaller number

    which is ``F.interpolate(logits, size, mode="bilinear").argmax(1)`` but for pixels where two logits are equal up to
    rounding. Every backend gives the same bits (see `Grid` for the rule).

    Cost: a logit's values in a cell (the pixels between the same four source values) lie between its corners there, so
    one whose largest corner is below another's least wins nowhere in it. Mostly one logit is left, and the cell is
    filled; else those that are left are sampled. Memory: the labels, and on a CPU per thread two source rows of all
    logits and 128 bytes per logit.

    Args:
        logits: [N, C, h, w] float32, float16 or bfloat16, C >= 1, any strides (channels-last included, without a copy).
        size: (H, W) of the labels; read from a grid that is given.
        grid: how the logits are sampled at [H, W]; half-pixel centres and edge border by default.
        status: [] int32 on the same device, which becomes 1 where a GPU meets values that are not finite and below
            2^126; without one the call waits for the GPU and raises.
        backend: "auto", "cpp", "cuda", "triton", "torch" or "reference".

    Returns:
        [N, H, W] int32, from 0 on. Planes of a vocabulary where 0 is "no label" are this plus 1.

    Raises:
        TypeError, ValueError: wrong dtype or shape; neither a size nor a grid, or two that disagree; values that are
            not finite and below 2^126.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> logits = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
        >>> dissect.ops.upsample_argmax(logits, (1, 4))
        tensor([[[0, 0, 1, 1]]], dtype=torch.int32)
    """
    _check_logits(logits)
    checks.status("upsample_argmax", status, logits)
    checks.backend("upsample_argmax", backend)
    size = _size(logits, size, grid)
    rows, columns = checks.tables("upsample_argmax", grid, logits, size)
    labels: Tensor = torch.ops.dissect.upsample_argmax(logits, size, rows, columns, backend, status)
    return labels


def _check_logits(logits: Tensor) -> None:
    checks.activations("upsample_argmax", logits, name="logits")
    if logits.shape[1] < 1:
        raise ValueError(f"upsample_argmax: logits must be of C >= 1 labels, but got {list(logits.shape)}.")


def _size(logits: Tensor, size: tuple[int, int] | None, grid: Grid | None) -> tuple[int, int]:
    if size is None and isinstance(grid, Grid):
        return grid.target_shape
    if size is None:
        raise ValueError("upsample_argmax: size must be the (H, W) of the labels, or a grid be given, but got None.")
    if not isinstance(size, (tuple, list)) or len(size) != 2:
        raise TypeError(f"upsample_argmax: size must be two integers (H, W), but got {size!r}.")
    height, width = (checks.integer("upsample_argmax", "size", side, 1) for side in size)
    return height, width


def _upsample_argmax(
    logits: Tensor,
    size: Sequence[int],
    rows: Tensor | None,
    columns: Tensor | None,
    backend: str,
    status: Tensor | None = None,
) -> Tensor:
    serve = implementation("upsample_argmax", backend, logits.device)
    _check_logits(logits)
    if rows is None or columns is None:
        grid = Grid.half_pixel((logits.shape[2], logits.shape[3]), (size[0], size[1]))
        rows, columns = grid.rows, grid.columns
    for name, table, length in (("rows", rows, size[0]), ("columns", columns, size[1])):
        checks.laid_out("upsample_argmax", name, table, torch.int32, (length, 3))
    labels: Tensor = serve(logits, Tables(rows, columns), status)
    return labels


def _shapes(logits: Tensor, size: Sequence[int], *_: object) -> Tensor:
    return logits.new_empty((len(logits), *size), dtype=torch.int32)


register(
    "upsample_argmax(Tensor logits, SymInt[] size, Tensor? rows, Tensor? columns, str backend, "
    "Tensor(a!)? status=None) -> Tensor",
    _upsample_argmax,
    _shapes,
)
