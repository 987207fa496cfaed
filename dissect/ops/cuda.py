"""The CUDA engine `dissect._cuda`, seen from Python: launches on torch's current stream, outputs in torch's memory.

Nothing here waits for the device. What is wrong with the data is noted in `status`, a [] int32 tensor on the device,
which becomes 1: bad values, thresholds that are NaN, brackets that do not fit in their bins.
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from dissect.devices import outlives_its_readers
from dissect.grid import Grid
from dissect.ops.native import DTYPES

_engine: ModuleType | None
try:
    _engine = import_module("dissect._cuda")
except ImportError as error:
    _engine, _missing = None, str(error)

SAMPLES = ("value", "min", "max")

#: The oldest devices that the engine has code for.
LEAST_CAPABILITY = 80


def unavailable(device: torch.device) -> str | None:
    """None, or why the CUDA engine cannot serve tensors on this GPU."""
    current = torch.cuda.current_device() if device.index is None and torch.cuda.is_available() else 0
    return _unavailable(current if device.index is None else device.index)


@cache
def _unavailable(number: int) -> str | None:
    if _engine is None:
        return f"the CUDA engine is missing ({_missing}); install CUDA's nvcc and reinstall the package."
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is not built for NVIDIA's GPUs."
    reason: str | None = _engine.unavailable()
    if reason:
        return reason
    capability = _engine.capability(number)
    if capability < LEAST_CAPABILITY:
        return (
            f"the GPU has compute capability {capability / 10}, but the engine needs {LEAST_CAPABILITY / 10} or later."
        )
    return None


def engine() -> ModuleType:
    """The CUDA engine.

    Raises:
        ImportError: it is missing.
    """
    if _engine is None:
        raise ImportError(f"the CUDA engine is missing ({_missing})")
    return _engine


def iou_counts(
    activations: Tensor,
    thresholds: Tensor,
    runs: Tensor,
    table: Tensor,
    offsets: Tensor,
    num_labels: int,
    rows: Tensor | None,
    columns: Tensor | None,
    status: Tensor,
) -> tuple[Tensor, Tensor]:
    """As the op of this name: intersection [U, C] and unit_area [N, U] on the activations' device.

    Raises:
        RuntimeError: the launch failed; names the op, the shapes and the device.
    """
    num_images, num_units, height, width = activations.shape
    if rows is None or columns is None:
        grid = Grid.half_pixel((height, width), (runs.shape[1], runs.shape[2]))
        rows, columns = grid.rows, grid.columns
    words, grid_arguments = _device_grid(rows, columns, activations)
    thresholds, runs, table = thresholds.contiguous(), runs.contiguous(), table.contiguous()
    intersection = activations.new_zeros((num_units, num_labels), dtype=torch.int64)
    unit_area = activations.new_zeros((num_images, num_units), dtype=torch.int64)
    with _guard(activations):
        engine().iou_counts(
            _place(activations, status),
            _maps(activations),
            (words.data_ptr(), *grid_arguments),
            thresholds.data_ptr(),
            runs.data_ptr(),
            runs.dtype == torch.int64,
            table.data_ptr(),
            offsets.data_ptr(),
            table.shape[1],
            num_labels,
            intersection.data_ptr(),
            unit_area.data_ptr(),
        )
    return intersection, unit_area


def tail_histogram(
    activations: Tensor,
    low: Tensor,
    high: Tensor,
    shift: Tensor,
    bins: Tensor,
    above: Tensor,
    rows: Tensor | None,
    columns: Tensor | None,
    sample: str,
    status: Tensor,
) -> None:
    """As the op of this name; a batch with bad values leaves counts that are worthless.

    Raises:
        RuntimeError: the launch failed; names the op, the shapes and the device.
    """
    if rows is None or columns is None:
        _observe(activations, tails=(low, high, shift, bins, above), status=status)
        return
    words, grid_arguments = _device_grid(rows, columns, activations)
    low, high, shift = low.contiguous(), high.contiguous(), shift.contiguous()
    with _guard(activations):
        engine().tail_histogram(
            _place(activations, status),
            _maps(activations),
            (words.data_ptr(), *grid_arguments),
            SAMPLES.index(sample),
            _tails((low, high, shift, bins, above)),
        )


def image_peaks(activations: Tensor, status: Tensor) -> Tensor:
    """As the op of this name.

    Raises:
        RuntimeError: the launch failed; names the op, the shapes and the device.
    """
    peaks = _no_peaks(activations)
    _observe(activations, peaks=peaks, status=status)
    return peaks


def blend_units(features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """As the op of this name; alpha, value and mask are float32 and broadcast to the features.

    Raises:
        RuntimeError: the launch failed; names the op, the shapes and the device.
    """
    out = torch.empty_like(features)
    if out.stride() != features.stride():  # strides with gaps or overlaps: only in place does the kernel keep them
        blend_units_(out.copy_(features), alpha, value, mask)
    else:
        _observe(features, out=out, operands=(alpha, value, mask))
    return out


def blend_units_(features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor) -> None:
    """The same in place; planes whose alpha is 0 are neither read nor written.

    Raises:
        RuntimeError: the launch failed; names the op, the shapes and the device.
    """
    _observe(features, out=features, operands=(alpha, value, mask))


def observe(
    activations: Tensor,
    low: Tensor,
    high: Tensor,
    shift: Tensor,
    bins: Tensor,
    above: Tensor,
    thresholds: Tensor | None,
    operands: tuple[Tensor, Tensor, Tensor] | None,
    status: Tensor,
) -> tuple[Tensor, Tensor]:
    """As the op of this name: peaks [N, U] and unit_area [N, U]; with operands, blends in place.

    Raises:
        RuntimeError: the launch failed; names the op, the shapes and the device.
    """
    peaks, unit_area = _no_peaks(activations), activations.new_zeros(activations.shape[:2], dtype=torch.int64)
    _observe(
        activations,
        peaks=peaks,
        tails=(low, high, shift, bins, above),
        unit_area=unit_area if thresholds is not None else None,
        thresholds=thresholds,
        out=activations if operands is not None else None,
        operands=operands,
        status=status,
    )
    return peaks, unit_area


def _no_peaks(activations: Tensor) -> Tensor:
    """[N, U], which the kernel raises, since several blocks may share a map."""
    return activations.new_full(activations.shape[:2], -torch.inf, dtype=torch.float32)


def _observe(
    activations: Tensor,
    *,
    peaks: Tensor | None = None,
    tails: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None = None,
    unit_area: Tensor | None = None,
    thresholds: Tensor | None = None,
    out: Tensor | None = None,
    operands: tuple[Tensor, Tensor, Tensor] | None = None,
    status: Tensor | None = None,
) -> None:
    """One launch that does what it is given places for."""
    if tails is not None:
        tails = (*(bound.contiguous() for bound in tails[:3]), *tails[3:])  # type: ignore[assignment]
    thresholds = None if thresholds is None else thresholds.contiguous()
    blends = [] if operands is None else [operand.expand_as(activations) for operand in operands]
    with _guard(activations):
        engine().observe(
            _place(activations, status),
            _maps(activations),
            _address(peaks),
            _tails(tails),
            _address(unit_area),
            _address(thresholds),
            _address(out),
            *((operand.data_ptr(), list(operand.stride())) for operand in blends or ()),
            *([(0, [0] * 4)] * (3 - len(blends))),
        )


@lru_cache(maxsize=256)
def _packed_grid(
    rows: bytes, columns: bytes, source: tuple[int, int], device: torch.device
) -> tuple[Tensor, tuple[int, int, int]]:
    entries = [torch.frombuffer(bytearray(table), dtype=torch.int32) for table in (rows, columns)]
    Grid(entries[0].view(-1, 3), entries[1].view(-1, 3), source)  # refuses what a call that names tables may bring
    sizes = [part for table in entries for part in (table.data_ptr(), len(table) // 3)]
    words, *spans = engine().pack_grid(*sizes)
    return torch.tensor(words, dtype=torch.int32).to(device), tuple(spans)


def _device_grid(rows: Tensor, columns: Tensor, maps: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """A grid's words on the device of the maps, copied there once, and the sizes that tell how to read them."""
    source = (maps.shape[2], maps.shape[3])
    words, spans = _packed_grid(rows.numpy().tobytes(), columns.numpy().tobytes(), source, maps.device)
    outlives_its_readers(words)
    return words, (len(rows), len(columns), *spans)


def _guard(activations: Tensor) -> torch.cuda.device_of:
    """Makes the activations' device the current one."""
    return torch.cuda.device_of(activations)


def _stream(device: torch.device) -> int:
    """Address of torch's current stream there."""
    return torch.cuda.current_stream(device).cuda_stream


def _place(activations: Tensor, status: Tensor | None) -> tuple[int, int, int]:
    return activations.device.index or 0, _stream(activations.device), _address(status)


def _maps(activations: Tensor) -> tuple[int, int, list[int], list[int]]:
    return activations.data_ptr(), DTYPES[activations.dtype], list(activations.shape), list(activations.stride())


def _tails(tails: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None) -> tuple[int, int, int, int, int, int]:
    if tails is None:
        return 0, 0, 0, 0, 0, 0
    low, high, shift, bins, above = tails
    addresses = [tensor.data_ptr() for tensor in (low, high, shift)]
    return addresses[0], addresses[1], addresses[2], bins.shape[1], bins.data_ptr(), above.data_ptr()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
