"""tail_histogram: samples by order-preserving key, the op behind `dissect.stats.TailThreshold`."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect.grid import Grid
from dissect.ops import checks
from dissect.ops.backends.arguments import SAMPLES, Brackets, Tables
from dissect.ops.dispatch import register, serving
from dissect.ops.hot import HotCells
from dissect.ops.hot_cells import check_reach


def tail_histogram(
    activations: Tensor | HotCells,
    low: Tensor,
    high: Tensor,
    shift: Tensor,
    bins: Tensor,
    above: Tensor,
    *,
    grid: Grid | None = None,
    sample: str = "value",
    status: Tensor | None = None,
    backend: str = "auto",
) -> None:
    """Adds each sample whose key lies within [low, high] to its unit's bins, and counts those above.

    Keys are integers in the order of the floats (`dissect.reference.keys_of`): 32 bits for float32 and for every
    sampled value, 16 bits for the own cells of 16-bit maps. A key falls in bin ``(key - low) >> shift``.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16, any strides; or `hot_cells` of them, whose samples are
            those of the maps from the first key above their floors on, and fewer below it.
        low: [U] int64 keys, from 0 on; a unit whose low exceeds its high is left out.
        high: [U] int64 keys; ``(high - low) >> shift`` must be below B.
        shift: [U] int64 from 0 to 31.
        bins: [U, B] int64, contiguous, B >= 1; added to.
        above: [U] int64, contiguous; added to.
        grid: samples are the pixels of its target; None: the feature map's own cells.
        sample: what a target pixel contributes: its "value", or the smallest ("min") or largest ("max") of its four
            corners, which bound the value.
        status: [] int32 on the same device, which becomes 1 where a GPU meets bad activations or a bin range that does
            not fit; the counts are then worthless. Without one the call waits for the GPU and raises.
        backend: "auto", "cpp", "cuda", "triton", "torch" or "reference".

    Raises:
        TypeError, ValueError: wrong dtypes, shapes or sizes, a bin range that does not fit, or activations that are
            NaN, infinite or of magnitude 2^126 or more (nothing is counted then).
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> keys = dissect.reference.keys_of(torch.tensor([1.0]))
        >>> bins, above = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
        >>> maps = torch.tensor([[[[0.5, 1.0, 2.0, 3.0]]]])
        >>> dissect.ops.tail_histogram(maps, keys, keys, torch.zeros_like(keys), bins, above)
        >>> bins.item(), above.item()
        (1, 2)
    """
    checks.backend("tail_histogram", backend)
    check_tails(activations, low, high, shift, bins, above)
    if not isinstance(sample, str) or sample not in SAMPLES:
        raise ValueError(f"tail_histogram: sample must be one of {SAMPLES}, but got {sample!r}.")
    rows, columns = checks.tables("tail_histogram", grid, activations)
    checks.status("tail_histogram", status, activations)
    if isinstance(activations, HotCells):
        if sample != "value":
            raise ValueError(f'tail_histogram: sample must be "value" of hot cells, but got {sample!r}.')
        check_reach("tail_histogram", activations, grid)
        _tail_histogram(activations, low, high, shift, bins, above, rows, columns, sample, backend, status)
        return
    torch.ops.dissect.tail_histogram(activations, low, high, shift, bins, above, rows, columns, sample, backend, status)


def check_tails(
    activations: Tensor | HotCells, low: Tensor, high: Tensor, shift: Tensor, bins: Tensor, above: Tensor
) -> None:
    """Refuses brackets and bins of other dtypes or shapes than the activations ask for.

    Raises:
        TypeError, ValueError: says which and why.
    """
    checks.activations("tail_histogram", activations)
    for name, value in (("low", low), ("high", high), ("shift", shift), ("above", above)):
        checks.vector("tail_histogram", name, value, torch.int64, activations)
    if not above.is_contiguous():
        raise ValueError(f"tail_histogram: above must be contiguous, but has stride {above.stride(0)}.")
    checks.same_device("tail_histogram", "bins", bins, activations)
    if bins.dtype != torch.int64 or bins.ndim != 2 or bins.shape[0] != len(low) or bins.shape[1] < 1:
        raise ValueError(
            f"tail_histogram: bins must be int64 [U, B] with U={len(low)}, B >= 1, but got {bins.dtype} "
            f"{list(bins.shape)}."
        )
    if not bins.is_contiguous():
        raise ValueError(f"tail_histogram: bins must be contiguous, but has strides {list(bins.stride())}.")
    checks.written("tail_histogram", "bins", bins)
    checks.written("tail_histogram", "above", above)
    checks.apart(
        "tail_histogram",
        ("bins", "above", "low", "high", "shift", "activations"),
        (bins, above, low, high, shift, activations.values if isinstance(activations, HotCells) else activations),
        num_written=2,
    )


def brackets_of(
    activations: Tensor | HotCells, low: Tensor, high: Tensor, shift: Tensor, bins: Tensor, above: Tensor
) -> Brackets:
    """The brackets, also of a call that did not come by `dissect.ops`.

    Raises:
        TypeError, ValueError: as `check_tails`.
    """
    units = (activations.shape[1],)
    if not (
        low.dtype is high.dtype is shift.dtype is above.dtype is bins.dtype is torch.int64
        and low.shape == high.shape == shift.shape == above.shape == bins.shape[:1] == units
        and bins.is_contiguous()
        and above.is_contiguous()
    ):
        check_tails(activations, low, high, shift, bins, above)
    return Brackets(low, high, shift, bins, above)


def _tail_histogram(
    activations: Tensor | HotCells,
    low: Tensor,
    high: Tensor,
    shift: Tensor,
    bins: Tensor,
    above: Tensor,
    rows: Tensor | None,
    columns: Tensor | None,
    sample: str,
    backend: str,
    status: Tensor | None = None,
) -> None:
    brackets, tables = brackets_of(activations, low, high, shift, bins, above), None
    serve, activations = serving("tail_histogram", backend, activations)
    if rows is not None and columns is not None:
        for name, table in (("rows", rows), ("columns", columns)):  # of a Grid, which has some of both
            checks.laid_out("tail_histogram", name, table, torch.int32, (max(1, table.shape[0]), 3))
        tables = Tables(rows, columns)
    elif rows is not None or columns is not None:
        raise ValueError("tail_histogram: rows and columns must come together, but one is None.")
    serve(activations, brackets, tables, sample, status)


register(
    "tail_histogram(Tensor activations, Tensor low, Tensor high, Tensor shift, Tensor(a!) bins, Tensor(b!) above, "
    "Tensor? rows, Tensor? columns, str sample, str backend, Tensor(c!)? status=None) -> ()",
    _tail_histogram,
    lambda *arguments: None,
)
