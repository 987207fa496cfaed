"""Calls of torch.ops.dissect itself, made to hurt: `python direct.py BEGIN END [ENGINE]`, as calls.py has them.

Those of `dissect.ops` check what they pass on; here labels, grids and brackets are tampered with behind their backs. A
call by the C++ engine must end, be refused, or equal the reference's to the bit where that answers too.
"""

import random
import signal
import sys
import warnings

import torch
from calls import LABEL_DTYPES, hostile, is_plain, maps, same, with_entry
from torch._subclasses import FakeTensor

from dissect import Grid, ops
from dissect.ops import native

#: Of a call that would never end.
SECONDS = 30
NUMBERS = (-(2**31), -131072, -2, -1, 0, 1, 2, 3, 7, 131071, 131073, 2**20 + 1, 10**6, 2**30, 2**31 - 1)
WRITTEN = ("activations", "bins", "above", "state")
#: AttributeError: torch takes None for a tensor.
REFUSALS = (AttributeError, TypeError, ValueError, RuntimeError, IndexError, NotImplementedError)


def labels_and_grid(r, images, source, target):
    """What counts take of labels and grids, by name."""
    planes = torch.randint(0, 4, (images, r.randint(1, 3), *target)).to(r.choice(LABEL_DTYPES))
    labels = ops.encode_labels(planes, 4)
    grid = r.choice([Grid.half_pixel, Grid.align_corners])(source, target, border=r.choice(["edge", "zeros"]))
    return {"runs": labels.runs, "table": labels.table, "offsets": labels.offsets, "num_labels": 4,
            "rows": grid.rows, "columns": grid.columns}  # fmt: skip


def problem(r):
    """The op, and its arguments by name, in order."""
    images, units, source = r.randint(0, 3), r.randint(1, 18), (r.randint(1, 5), r.randint(1, 5))
    target = r.randint(1, 9), r.randint(1, 9)
    given = {"activations": maps(r, images, units, *source)}
    op = r.choice(["iou_counts", "iou_counts", "iou_counts_by_image", "tail_histogram", "threshold_sweep",
                   "blend_units", "blend_units_", "blend_units_backward", "image_peaks", "encode_labels", "observe",
                   "hot_cells",
                   "observe_", "filter_step", "formula_search"])  # fmt: skip
    if op.startswith("iou_counts"):
        given |= {"thresholds": torch.randint(-16, 17, (units,)) / 8, **labels_and_grid(r, images, source, target)}
    if op == "threshold_sweep":
        given |= {"edges": torch.randint(-16, 17, (units, 5)).sort(1).values / 8,
                  "bins": torch.zeros(units, 4, 5, dtype=torch.int64),
                  **labels_and_grid(r, images, source, target)}  # fmt: skip
    if op in ("tail_histogram", "observe", "observe_"):
        low = torch.randint(0, 1 << 15, (units,))
        high = low + torch.randint(0, 1 << 10, (units,))
        bins, above = torch.zeros(units, 64, dtype=torch.int64), torch.zeros(units, dtype=torch.int64)
        given |= {"low": low, "high": high, "shift": torch.full((units,), 10), "bins": bins, "above": above}
    if op == "tail_histogram":
        grid = labels_and_grid(r, images, source, target)
        given |= {"rows": grid["rows"], "columns": grid["columns"], "sample": r.choice(["value", "min", "max"])}
    if op.startswith("observe"):
        given["thresholds"] = torch.randint(-16, 17, (units,)) / 8
    if op in ("blend_units", "blend_units_", "blend_units_backward", "observe_"):
        given |= {"alpha": torch.rand(1, units, 1, 1), "value": torch.rand(1, units, 1, 1),
                  "mask": torch.rand(images, 1, *source)}  # fmt: skip
    if op == "blend_units_backward":
        given = {"gradient": torch.randn(images, units, *source), **given}
    if op == "encode_labels":
        given = {"planes": torch.randint(0, 4, (images, 2, *target)).to(r.choice(LABEL_DTYPES)), "num_labels": 4}
    if op == "hot_cells":
        given |= {"floors": torch.randint(-8, 17, (images, units)) / 8, "reach": r.randint(0, 1)}
    if op == "filter_step":
        given = {"state": torch.rand(3, images, units, 9, 16), "tiles": torch.randn(units, 16, source[0]),
                 "gradient": torch.randn(images, 16, source[0], 16), "step": 3, "rate": 0.1}  # fmt: skip
    if op == "formula_search":
        areas = torch.randint(0, 5, (units,))
        given = {"table": torch.randint(0, 4, (units, images)), "areas": areas,
                 "counts": (torch.rand(images, units) * areas).long(), "num_labels": 4, "length": r.randint(1, 3),
                 "beam": r.randint(1, 3)}  # fmt: skip
    return op, given


def tampered(r, given):
    """The arguments, some of them altered."""
    given = dict(given)
    for _ in range(r.choice([0, 1, 1, 1, 2])):
        name = r.choice(list(given))
        value = given[name]
        if name == "num_labels":
            given[name] = r.choice([-1, 0, 1, 2, 3, 300])
        elif name == "reach":
            given[name] = r.choice([-1, 2, 10**6])
        elif name in ("length", "beam"):
            given[name] = r.choice([-1, 0, 7])
        elif name == "sample":
            given[name] = r.choice(["", "mean"])
        elif isinstance(value, torch.Tensor) and is_plain(value):
            if value.dtype in (torch.int32, torch.int64) and value.numel() and r.random() < 0.8:
                number = r.choice([n for n in NUMBERS if n <= torch.iinfo(value.dtype).max])
                # Also into the tensor itself, which may have been looked at before.
                value = given[name] = value if r.random() < 0.3 else value.clone()
                value[tuple(r.randrange(size) for size in value.shape)] = number
            elif value.is_floating_point() and value.numel() and r.random() < 0.3:
                given[name] = with_entry(r, value, r.choice([float("nan"), float("inf"), 1e30]))
            elif r.random() < 0.1:
                given[name] = value[..., :0]
            else:
                altered = hostile(r, value)
                # torch itself asserts that fake tensors come alone.
                given[name] = value if isinstance(altered, FakeTensor) else altered
    return given


def outcome(op, given, backend):
    """What the call gives and has written, or None where it is refused."""
    plain = [name for name in WRITTEN if isinstance(given.get(name), torch.Tensor) and is_plain(given[name])]
    own = {name: given[name].clone() for name in plain}
    given = {**given, **own}
    try:
        found = getattr(torch.ops.dissect, op)(*given.values(), backend)
    except REFUSALS:
        return None
    values = [found] if isinstance(found, torch.Tensor) else list(found or ())
    return [*values, *own.values()]


def main(begin, end):
    """The calls of the seeds from begin to before end; how many were answered."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    answered = 0
    for seed in range(begin, end):
        print(seed, flush=True)
        signal.alarm(SECONDS)
        torch.manual_seed(seed)
        r = random.Random(seed)
        op, given = problem(r)
        given = tampered(r, given)
        ours, expected = (outcome(op, given, backend) for backend in ("cpp", "reference"))
        if ours is None:
            continue
        answered += 1
        if expected is None or any(value.is_meta or value.is_complex() for value in ours):
            continue
        if not all(map(same, ours, expected)):
            raise AssertionError(f"seed {seed}: {op} gives {ours}, but the reference {expected}, of {given}")
    print(f"answered {answered} of {end - begin}")


if __name__ == "__main__":
    if native.unavailable() is not None:
        raise SystemExit(native.unavailable())
    main(int(sys.argv[1]), int(sys.argv[2]))
