"""Calls of the ops with arguments made to hurt: `python calls.py BEGIN END [ENGINE]` does those of the seeds between.

A call by the C++ engine must equal the reference's to the bit, or be refused by both in the library's own words. The
number that is printed last is the seed of a crash. ENGINE is another build of dissect._C, such as a sanitizer's.
"""

import dataclasses
import importlib.util
import random
import sys
import warnings

if len(sys.argv) > 3:
    spec = importlib.util.spec_from_file_location("dissect._C", sys.argv[3])
    sys.modules["dissect._C"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["dissect._C"])

import torch
from torch._subclasses import FakeTensor, FakeTensorMode

from dissect import Grid, ops
from dissect.ops import native

OWN = ("iou_counts:", "tail_histogram:", "blend_units:", "image_peaks:", "encode_labels:", "observe:", "Grid:", "grid:",
       "EncodedLabels:")  # fmt: skip
LABEL_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)
SPECIAL = (0.0, -0.0, 1.0, 0.5, 2.0**-149, -(2.0**-130), 2.0**125, float("nan"), float("inf"), 2.0**126, 1e9)
NO_TENSOR = (None, "3", 3.5, [1.0], object(), 10**400, -1, float("nan"))
NO_COUNT = (None, "3", 3.5, [3], True, 0, -1, 2**40, 10**30, 2, 300)


def maps(r, images, units, height, width):
    """Random maps of any dtype and layout."""
    values = torch.randint(-20, 21, (images, units, height, width)) / 8
    values = values.to(r.choice([torch.float32, torch.float16, torch.bfloat16]))
    layout = r.randrange(4)
    if layout == 1:
        values = values.contiguous(memory_format=torch.channels_last)
    elif layout == 2:
        values = values.repeat_interleave(2, 3)[..., ::2]
    elif layout == 3:
        values = values.mT.contiguous().mT
    return values


def with_entry(r, value, entry):
    """A copy, another entry somewhere."""
    value = value.clone()
    value[tuple(r.randrange(size) for size in value.shape)] = entry
    return value


def is_plain(value):
    """Whether torch can make other things of a tensor."""
    return value.layout is torch.strided and not (
        isinstance(value, FakeTensor) or value.is_meta or value.is_nested or value.is_quantized or value.is_neg()
    )


def hostile(r, value):
    """Something else in a tensor's place."""
    with torch.no_grad():
        kind = r.randrange(20)
        if kind < 3:
            return r.choice(NO_TENSOR)
        if kind < 8 and value.is_floating_point() and value.numel():
            return with_entry(r, value, r.choice(SPECIAL))
        if kind < 8 and value.numel():
            numbers = (0, 1, 7, 31, 64, 255) if value.dtype == torch.uint8 else (-1, 0, 1, 31, 64, 30000)
            return with_entry(r, value, r.choice(numbers))
        changes = [
            lambda: value.to_sparse(), lambda: value.to("meta"), lambda: value.double(), lambda: value.long(),
            lambda: value.bool(), lambda: value * 1j, lambda: value[:0], lambda: value[None], lambda: value[..., :1],
            lambda: value.flatten(), lambda: torch.cat([value, value]), lambda: value.float().to_mkldnn(),
            lambda: torch.quantize_per_tensor(value.float(), 0.1, 0, torch.quint8), lambda: torch._neg_view(-value),
            lambda: FakeTensorMode().from_tensor(value), lambda: value.as_strided(value.shape, [1] * value.ndim),
            lambda: value[:1].expand_as(value), lambda: value.flip(0), lambda: torch.nested.nested_tensor([value]),
            lambda: value.numpy(), lambda: value.clone().requires_grad_(), lambda: value.unsqueeze(-1).expand(
                *value.shape, 2)[..., 0],
        ]  # fmt: skip
        try:
            return r.choice(changes)()
        except (RuntimeError, TypeError, NotImplementedError):  # torch cannot make this of it
            return None


def hostile_grid(r, grid, source, target):
    """Makes a grid, when it is called, that may be refused."""

    def tampered():
        tables = [grid.rows.clone(), grid.columns.clone()]
        table = r.choice(tables)
        table[r.randrange(len(table)), r.randrange(3)] = r.choice([-(2**31), -2, -1, 0, 1, 5, 10**6, 2**31 - 1, 2**30])
        return Grid(*tables, source)

    return r.choice([
        tampered, tampered, lambda: Grid.half_pixel(source, (target[0] + 1, target[1])), lambda: grid.rows,
        lambda: Grid(grid.rows.long(), grid.columns, source), lambda: Grid(grid.rows, grid.columns, (source[0], 1)),
        lambda: Grid(grid.rows[::2], grid.columns, source), lambda: Grid(grid.rows.flip(0), grid.columns, source),
    ])  # fmt: skip


def hostile_labels(r, labels):
    """Makes labels, when it is called, of which a field was tampered with."""

    def tampered():
        field = r.choice(dataclasses.fields(labels)).name
        value = getattr(labels, field).clone()
        if r.random() < 0.3:
            value = hostile(r, value)
        elif value.numel():
            value = with_entry(r, value, r.choice([-1, 0, 1, 2, 7, 131071, 131073, 10**9, 2**31 - 1]))
        return dataclasses.replace(labels, **{field: value})

    return tampered


def problem(r):
    """The op, and its arguments by name: values, or functions that make them."""
    images, units, height, width = r.randrange(3), r.randint(1, 18), r.randint(1, 5), r.randint(1, 5)
    target = r.randint(1, 9), r.randint(1, 9)
    border = r.choice(["edge", "zeros"])
    grid = r.choice([Grid.half_pixel, Grid.align_corners])((height, width), target, border=border)
    given = {"activations": maps(r, images, units, height, width)}
    op = r.choice(
        ["iou_counts", "iou_counts", "tail_histogram", "blend_units", "image_peaks", "encode_labels", "observe"]
    )
    planes = torch.randint(0, 4, (images, r.randint(1, 3), *target)).to(r.choice(LABEL_DTYPES))
    if op in ("tail_histogram", "observe"):
        bits = 16 if given["activations"].element_size() == 2 and op == "observe" else 32
        low = torch.randint(0, 1 << bits, (units,))
        high = (low + torch.randint(-5, 1 << (bits - 2), (units,))).clamp(0, (1 << bits) - 1)
        bins, above = torch.zeros(units, 64, dtype=torch.int64), torch.zeros(units, dtype=torch.int64)
        given |= {"low": low, "high": high, "shift": torch.full((units,), bits - 6), "bins": bins, "above": above}
    if op == "tail_histogram":
        given |= {"grid": grid, "sample": r.choice(["value", "min", "max"])}
    if op in ("iou_counts", "observe"):
        given["thresholds"] = torch.randint(-16, 17, (units,)) / 8
    if op == "iou_counts":
        given |= {"labels": r.choice([planes, ops.encode_labels(planes, 4)]), "num_labels": 4, "grid": grid}
    if op in ("blend_units", "observe"):
        shape = (units,) if r.random() < 0.5 else (images, units)
        mask = torch.randint(0, 3, r.choice([(height, width), (images, 1, height, width)])) / 2
        given |= {"alpha": torch.randint(0, 3, shape) / 2, "mask": r.choice([None, mask]),
                  "value": r.choice([0.0, 3, torch.rand(units), torch.rand(units, height, width)])}  # fmt: skip
    if op == "blend_units":
        given = {"features": given.pop("activations"), **given, "inplace": r.random() < 0.5}
    if op == "encode_labels":
        given = {"planes": planes, "num_labels": 4}
    for _ in range(r.choice([0, 1, 1, 1, 2])):
        name = r.choice(list(given))
        value = given[name]
        if name == "num_labels":
            given[name] = r.choice(NO_COUNT)
        elif name == "grid":
            given[name] = hostile_grid(r, grid, (height, width), target)
        elif isinstance(value, ops.EncodedLabels):
            given[name] = hostile_labels(r, value)
        elif isinstance(value, torch.Tensor) and is_plain(value):
            given[name] = hostile(r, value)
        elif name != "inplace":
            given[name] = r.choice(NO_TENSOR)
    return op, given


WRITTEN = ("features", "activations", "bins", "above")


def outcome(op, given, backend):
    """What the call gives and has written, or None where it is refused in the library's words."""
    given = {name: value() if callable(value) else value for name, value in given.items()}
    for name in WRITTEN:  # each call writes its own
        value = given.get(name)
        if type(value) is torch.Tensor and value.layout is torch.strided and not (value.is_meta or value.is_nested):
            own = value.untyped_storage().clone()
            if not value.is_quantized:
                given[name] = torch.empty(0, dtype=value.dtype).set_(
                    own, value.storage_offset(), value.size(), value.stride()
                ).requires_grad_(value.requires_grad)  # fmt: skip
    found = getattr(ops, op)(**given, backend=backend)
    written = [given[name] for name in WRITTEN if name in given and given.get("inplace", True)]
    if isinstance(found, ops.EncodedLabels):
        values = [getattr(found, field.name) for field in dataclasses.fields(found)]
    else:
        values = [found] if isinstance(found, torch.Tensor) else list(found or ())
    return [value.detach() for value in [*values, *written]]


def outcome_or_refusal(op, given, backend, seed):
    """The outcome, or None."""
    random.seed(seed)
    try:
        return outcome(op, given, backend)
    except (TypeError, ValueError) as error:
        if not str(error).startswith(OWN):
            raise
        return None


def same(ours, expected):
    """To the bit, but that any NaN is as good as any, and a zero as the other."""
    return ours.shape == expected.shape and ours.dtype == expected.dtype and torch.equal(
        *(torch.nan_to_num(value, 7.25) if value.is_floating_point() else value for value in (ours, expected))
    )  # fmt: skip


def main(begin, end):
    """The calls of the seeds from begin to before end; how many were answered, and how many refused."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    answered = 0
    for seed in range(begin, end):
        print(seed, flush=True)
        torch.manual_seed(seed)
        op, given = problem(random.Random(seed))
        ours, expected = [], []
        for backend, found in (("cpp", ours), ("reference", expected)):
            # What makes an argument when it is called must make the same for both.
            fixed = {name: frozen(value, seed) for name, value in given.items()}
            found.append(outcome_or_refusal(op, fixed, backend, seed))
        if (ours[0] is None) != (expected[0] is None):
            raise AssertionError(f"seed {seed}: {op} is refused by one backend only: {given}")
        if ours[0] is not None:
            answered += 1
            if any(isinstance(value, FakeTensor) for value in ours[0]):
                continue
            if not all(map(same, ours[0], expected[0])):
                raise AssertionError(f"seed {seed}: {op} gives {ours[0]}, but the reference {expected[0]}, of {given}")
    print(f"answered {answered} of {end - begin}")


_MADE = {}


def frozen(value, seed):
    """A function that makes the same each time, errors too."""
    if not callable(value):
        return value

    def make():
        if any(before != seed for before, _ in _MADE):
            _MADE.clear()
        if (seed, id(value)) not in _MADE:
            try:
                _MADE[seed, id(value)] = value()
            except Exception as error:
                _MADE[seed, id(value)] = error
        made = _MADE[seed, id(value)]
        if isinstance(made, Exception):
            raise made
        return made

    return make


if __name__ == "__main__":
    if native.unavailable() is not None:
        raise SystemExit(native.unavailable())
    main(int(sys.argv[1]), int(sys.argv[2]))
