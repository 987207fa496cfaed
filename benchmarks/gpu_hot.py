"""Hot cells on a GPU: what it takes to keep them, and what counts and tails take of them and of the maps."""

from functools import partial

import torch
from gpu_timing import milliseconds, rotation, row

from dissect import Grid, ops, reference

LAYERS = {"64 units 224x224": (64, 224), "256 units 56x56": (256, 56), "512 units 14x14": (512, 14)}
TARGET, LABELS, CALLS = 224, 41, 10


def hot_rows(copy, batch, random_maps, random_planes):
    """Of batches of so many images: `hot_cells` by each backend, then counts and tails of maps and of what they keep.

    Args:
        copy: GB/s of a large copy.
        batch: images of a batch.
        random_maps: of gpu.py.
        random_planes: of gpu.py.
    """
    for name, (units, side) in LAYERS.items():
        make = partial(batches_of, batch, units, side, random_maps)
        for backend in ("cuda", "torch"):
            yield f"hot_cells[{name}, {backend}]", partial(keeping_row, make, backend, copy)
        for source in ("maps", "hot cells"):
            yield f"iou_counts of {source}[{name}]", partial(counting_row, make, source, random_planes, copy)
            yield f"tail_histogram of {source}[{name}]", partial(tail_row, make, source, copy)


def batches_of(batch, units, side, random_maps):
    """Contiguous batches that no cache holds, and floors [U] that leave the top 2 % of the cells."""
    count = rotation(batch * units * side**2 * 2)
    batches = [random_maps(batch, units, side, torch.contiguous_format, seed) for seed in range(count)]
    samples = batches[0][:16].float().transpose(0, 1).flatten(1)
    return batches, samples.kthvalue(samples.shape[1] * 98 // 100, dim=1).values


def keeping_row(make, backend, copy):
    """Asserted first: what is kept, of a few images, is the reference's."""
    batches, floors = make()
    few = batches[0][:2]
    ours, expected = ops.hot_cells(few, floors, backend=backend), ops.hot_cells(few.cpu(), floors.cpu())
    for one, other in ((ours.counts, expected.counts), (ours.values, expected.values), (ours.peaks, expected.peaks)):
        if not torch.equal(one.cpu(), other):
            raise AssertionError("hot_cells differ from the CPU's")
    ms = milliseconds(partial(ops.hot_cells, floors=floors, backend=backend), batches, calls=1)
    share = ops.hot_cells(batches[0], floors, backend=backend).nbytes / batches[0].nbytes
    return row(ms, len(batches[0]), batches[0].nbytes, copy, kept=share)


def sources(batches, floors, source):
    """The batches, or what is kept of them."""
    return batches if source == "maps" else [ops.hot_cells(maps, floors) for maps in batches]


def counting_row(make, source, random_planes, copy):
    """Asserted first: counts of hot cells are those of the maps."""
    batches, floors = make()
    labels = ops.encode_labels(random_planes(len(batches[0]), TARGET, 0).to(floors.device) % LABELS, LABELS)
    given = sources(batches, floors, source)
    found, expected = (ops.iou_counts(part, floors, labels).intersection for part in (given[0], batches[0]))
    if not torch.equal(found, expected):
        raise AssertionError("counts of hot cells differ from those of the maps")
    calls = CALLS if source == "maps" else 1  # of which each waits to see that the floors suffice
    ms = milliseconds(partial(ops.iou_counts, thresholds=floors, labels=labels), given, calls=calls)
    return row(ms, len(batches[0]), given[0].nbytes, copy)


def tail_row(make, source, copy):
    """Asserted first: tails of hot cells are those of the maps."""
    batches, floors = make()
    low = reference.keys_of(floors.cpu()).to(floors.device) + 1
    high, shift = torch.full_like(low, 2**32 - 1), torch.full_like(low, 20)
    grid = Grid.half_pixel(tuple(batches[0].shape[2:]), (TARGET, TARGET))

    def bins_of(part):
        bins, above = torch.zeros(len(low), 4096, dtype=torch.int64, device=low.device), torch.zeros_like(low)
        ops.tail_histogram(part, low, high, shift, bins, above, grid=grid)
        return bins

    given = sources(batches, floors, source)
    if not torch.equal(bins_of(given[0]), bins_of(batches[0])):
        raise AssertionError("tails of hot cells differ from those of the maps")
    return row(milliseconds(bins_of, given, calls=CALLS), len(batches[0]), given[0].nbytes, copy)
