"""The CUDA engine `dissect._cuda` as a backend: launches on torch's current stream, outputs in torch's memory.

Nothing here waits for the device. What is wrong with the data is noted in `status`, a [] int32 tensor on the device,
which becomes 1: bad values, thresholds that are NaN, brackets that do not fit in their bins.
"""

from __future__ import annotations

from functools import cache, lru_cache, partial
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor
from torch.nn.functional import pad

from dissect.devices import record_streams
from dissect.grid import Grid
from dissect.ops import checks
from dissect.ops.backends.arguments import (
    SAMPLES,
    Blend,
    Brackets,
    Labels,
    Tables,
    natural_status_of,
    new_status,
    note_bad,
    note_edges,
    status_of,
)  # fmt: skip
from dissect.ops.backends.composed import by_image
from dissect.ops.backends.reference import blend_units_backward as blend_units_backward
from dissect.ops.hot import HotCells
from dissect.ops.native import LABEL_DTYPES, hot_addresses, maps_arguments
from dissect.reference.narrow import Bracket, Histogram, Narrowed, Narrowing

_engine: ModuleType | None
try:
    _engine = import_module("dissect._cuda")
except ImportError as error:
    _engine, _missing = None, str(error)

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


def blend_units(features: Tensor, blend: Blend) -> Tensor:
    """The blend.

    Raises:
        RuntimeError: the launch failed, as of any op here; names the op, the shapes and the device.
    """
    out = torch.empty_like(features)
    if out.stride() != features.stride():  # strides with gaps or overlaps: only in place does the kernel keep them
        blend_units_(out.copy_(features), blend)
    else:
        _observe(features, out=out, blend=blend)
    return out


def blend_units_(features: Tensor, blend: Blend) -> None:
    """The same in place; planes whose alpha is 0 are neither read nor written."""
    _observe(features, out=features, blend=blend)


def component_halves(labels: Tensor, omit_last: bool, status: Tensor | None) -> Tensor:
    """[N, 2, H, W] uint8."""
    status = natural_status_of("component_halves", labels, status)
    labels, shape = labels.contiguous(), labels.shape
    halves = labels.new_empty((shape[0], 2, *shape[1:]), dtype=torch.uint8)
    memory = labels.new_empty(4 * labels.numel() + shape[0], dtype=torch.int32)
    with _guard(labels):
        engine().component_halves(
            _place(labels, status),
            labels.data_ptr(),
            LABEL_DTYPES.index(labels.dtype),
            list(shape),
            omit_last,
            halves.data_ptr(),
            memory.data_ptr(),
        )
    return halves


def hot_cells(activations: Tensor | HotCells, floors: Tensor, reach: int) -> tuple[Tensor, ...]:
    """The peaks, counts, places and values. Waits for the device, to know how many there are."""
    maps = activations.maps() if isinstance(activations, HotCells) else activations
    if maps.stride(1) < maps.stride(3):
        maps = maps.contiguous()  # a warp reads along a map's rows
    peaks, counts = torch.empty_like(floors), torch.empty_like(floors, dtype=torch.int32)
    status = new_status(maps.device)
    launch = partial(engine().hot_cells, _place(maps, status), maps_arguments(maps), floors.data_ptr(), reach)
    with _guard(maps):
        launch(peaks.data_ptr(), counts.data_ptr(), 0, 0, False, 0)
    flat = counts.flatten().long()
    starts = flat.cumsum(0) - flat
    total, bad = torch.stack([flat.sum(), status.long()]).tolist()
    if bad:
        checks.finite("hot_cells", maps)  # finds and names the first one
    wide = maps.shape[2] * maps.shape[3] > 1 << 16
    places = maps.new_empty(total, dtype=torch.int32 if wide else torch.uint16)
    values = maps.new_empty(total, dtype=torch.float32)
    if total:
        with _guard(maps):
            launch(0, 0, starts.data_ptr(), places.data_ptr(), wide, values.data_ptr())
    return peaks, counts, places, values


def image_peaks(activations: Tensor, status: Tensor | None) -> Tensor:
    """[N, U] float32."""
    peaks = _no_peaks(activations)
    _observe(activations, peaks=peaks, status=status_of("image_peaks", activations, status))
    return peaks


def iou_counts(
    activations: Tensor | HotCells, thresholds: Tensor, labels: Labels, tables: Tables, status: Tensor
) -> tuple[Tensor, Tensor]:
    """The intersection and unit_area."""
    num_images, num_units = activations.shape[:2]
    words, grid = _device_grid(tables, activations)
    thresholds = thresholds.contiguous()
    intersection = thresholds.new_zeros((num_units, labels.num_labels), dtype=torch.int64)
    unit_area = thresholds.new_zeros((num_images, num_units), dtype=torch.int64)
    cells = _cell_labels((words.data_ptr(), *grid), unit_area)
    with _guard(activations):
        engine().iou_counts(
            _place(activations, status),
            maps_arguments(activations),
            (words.data_ptr(), *grid),
            thresholds.data_ptr(),
            *_label_arguments(labels),
            intersection.data_ptr(),
            unit_area.data_ptr(),
            _hot(activations),
            cells.data_ptr(),
        )
    return intersection, unit_area


def _count_images(
    activations: Tensor | HotCells,
    thresholds: Tensor,
    labels: Labels,
    tables: Tables,
    starts: Tensor,
    counts: Tensor,
    status: Tensor,
) -> Tensor:
    """As `composed.CountImages`."""
    words, grid = _device_grid(tables, activations)
    thresholds = thresholds.contiguous()
    unit_area = thresholds.new_zeros(activations.shape[:2], dtype=torch.int64)
    cells = _cell_labels((words.data_ptr(), *grid), unit_area)
    with _guard(activations):
        engine().iou_counts_by_image(
            _place(activations, status),
            maps_arguments(activations),
            (words.data_ptr(), *grid),
            thresholds.data_ptr(),
            *_label_arguments(labels),
            starts.data_ptr(),
            counts.data_ptr(),
            unit_area.data_ptr(),
            _hot(activations),
            cells.data_ptr(),
        )
    return unit_area


iou_counts_by_image = by_image(_count_images)


def narrow(bracket: Bracket, histogram: Histogram, by: Narrowing) -> Narrowed:
    """One launch."""
    given = [part.contiguous() for part in (*bracket, *histogram)]
    narrowed, facts = bracket.low.new_empty((6, len(bracket.low))), bracket.low.new_zeros(4)
    addresses, guesses = [part.data_ptr() for part in given], len(by.ranks) > 1
    with _guard(bracket.low):
        engine().narrow(
            _place(bracket.low, None), list(histogram.bins.shape), addresses, by.ranks if guesses else 3 * by.ranks,
            guesses, by.is_first, by.bits, by.num_bins, narrowed.data_ptr(), facts.data_ptr(),
        )  # fmt: skip
    return Narrowed._make([*narrowed, facts])


def observe(
    activations: Tensor, brackets: Brackets, thresholds: Tensor | None, blend: Blend | None, status: Tensor
) -> tuple[Tensor, Tensor]:
    """The peaks and unit_area; adds to the bins, and blends in place."""
    peaks, unit_area = _no_peaks(activations), activations.new_zeros(activations.shape[:2], dtype=torch.int64)
    _observe(
        activations,
        peaks=peaks,
        brackets=brackets,
        unit_area=unit_area if thresholds is not None else None,
        thresholds=thresholds,
        out=activations if blend is not None else None,
        blend=blend,
        status=status,
    )
    return peaks, unit_area


def tail_histogram(
    activations: Tensor | HotCells, brackets: Brackets, tables: Tables | None, sample: str, status: Tensor | None
) -> None:
    """Adds to the bins; where the batch has bad values the counts are worthless."""
    if status is None:
        brackets.check(activations, tables)
    status = status_of("tail_histogram", activations, status)
    if tables is None:
        activations = activations.maps() if isinstance(activations, HotCells) else activations
        _observe(activations, brackets=brackets, status=status)
        return
    words, grid = _device_grid(tables, activations)
    brackets = brackets.dense()
    with _guard(activations):
        engine().tail_histogram(
            _place(activations, status),
            maps_arguments(activations),
            (words.data_ptr(), *grid),
            SAMPLES.index(sample),
            _addresses(brackets),
            _hot(activations),
        )


def threshold_sweep(
    activations: Tensor, edges: Tensor, bins: Tensor, labels: Labels, tables: Tables, status: Tensor
) -> Tensor:
    """The unit_bins; adds to the bins."""
    note_edges(edges, status)
    num_edges = edges.shape[1]
    edges = pad(edges, (0, engine().sweep_edges(num_edges) - num_edges), value=torch.inf)
    unit_bins = activations.new_zeros((*activations.shape[:2], num_edges), dtype=torch.int64)
    words, grid = _device_grid(tables, activations)
    with _guard(activations):
        engine().threshold_sweep(
            _place(activations, status),
            maps_arguments(activations),
            (words.data_ptr(), *grid),
            edges.contiguous().data_ptr(),
            num_edges,
            *_label_arguments(labels),
            bins.data_ptr(),
            unit_bins.data_ptr(),
        )
    return unit_bins


def upsample_argmax(logits: Tensor, tables: Tables, status: Tensor | None) -> Tensor:
    """[N, H, W] int32."""
    status = status_of("upsample_argmax", logits, status, "logits")
    note_bad(logits, logits.amax((2, 3)).float(), status)
    words, grid = _device_grid(tables, logits)
    labels = logits.new_empty((len(logits), *map(len, tables)), dtype=torch.int32)
    with _guard(logits):
        engine().upsample_argmax(
            _place(logits, status), maps_arguments(logits), (words.data_ptr(), *grid), labels.data_ptr()
        )
    return labels


def _no_peaks(activations: Tensor) -> Tensor:
    """[N, U], which the kernel raises, since several blocks may share a map."""
    return activations.new_full(activations.shape[:2], -torch.inf, dtype=torch.float32)


def _observe(
    activations: Tensor,
    *,
    peaks: Tensor | None = None,
    brackets: Brackets | None = None,
    unit_area: Tensor | None = None,
    thresholds: Tensor | None = None,
    out: Tensor | None = None,
    blend: Blend | None = None,
    status: Tensor | None = None,
) -> None:
    """One launch that does what it is given places for."""
    brackets = None if brackets is None else brackets.dense()
    thresholds = None if thresholds is None else thresholds.contiguous()
    operands = [operand.expand_as(activations) for operand in blend or ()]
    with _guard(activations):
        engine().observe(
            _place(activations, status),
            maps_arguments(activations),
            _address(peaks),
            _addresses(brackets),
            _address(unit_area),
            _address(thresholds),
            _address(out),
            *((operand.data_ptr(), list(operand.stride())) for operand in operands),
            *([(0, [0] * 4)] * (3 - len(operands))),
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


def _hot(activations: Tensor | HotCells) -> tuple[int, int, int, bool, int, int] | None:
    """What the engine reads of hot cells; None for maps."""
    if not isinstance(activations, HotCells):
        return None
    return *hot_addresses(activations), activations.floors.data_ptr()


def _device_grid(tables: Tables, maps: Tensor | HotCells) -> tuple[Tensor, tuple[int, ...]]:
    """A grid's words on the device of the maps, copied there once, and the sizes that tell how to read them."""
    rows, columns = tables
    source = (maps.shape[2], maps.shape[3])
    words, spans = _packed_grid(rows.numpy().tobytes(), columns.numpy().tobytes(), source, maps.device)
    record_streams(words)
    return words, (len(rows), len(columns), *spans)


def _label_arguments(labels: Labels) -> tuple[int, bool, int, int, int, int]:
    """runs, whether they have 64 bits, table, offsets, K, C."""
    runs, table, offsets, num_labels = labels
    return runs.data_ptr(), runs.dtype == torch.int64, table.data_ptr(), offsets.data_ptr(), table.shape[1], num_labels


def _cell_labels(grid: tuple[int, ...], unit_area: Tensor) -> Tensor:
    """Room for what the engine notes of the labels of small cells, 16 bytes each, of as many images as areas."""
    return unit_area.new_empty((engine().num_cell_labels(grid, len(unit_area)), 2))


def _guard(activations: Tensor | HotCells) -> torch.cuda.device_of:
    """Makes the activations' device the current one."""
    return torch.cuda.device_of(activations.values if isinstance(activations, HotCells) else activations)


def _stream(device: torch.device) -> int:
    """Address of torch's current stream there."""
    return torch.cuda.current_stream(device).cuda_stream


def _place(activations: Tensor | HotCells, status: Tensor | None) -> tuple[int, int, int]:
    return activations.device.index or 0, _stream(activations.device), _address(status)


def _addresses(brackets: Brackets | None) -> tuple[int, int, int, int, int, int]:
    """low, high, shift, B, bins, above."""
    if brackets is None:
        return 0, 0, 0, 0, 0, 0
    low, high, shift, bins, above = (tensor.data_ptr() for tensor in brackets)
    return low, high, shift, brackets.bins.shape[1], bins, above


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()
