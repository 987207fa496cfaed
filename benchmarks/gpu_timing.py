"""What benchmarks of a GPU share: times by events, rows of results, and their targets."""

import statistics
import time
from itertools import cycle

import torch

ROTATED_BYTES = 256 << 20  # several times any GPU's cache
CYCLES_TO_QUEUE = 400_000  # of the device's clock, about 200 us: more than the host needs for a call

#: By how a row's name begins: what of it must be at least (">=") or at most ("<=") how much.
TARGETS = {
    "iou_counts[512 units 14x14 to 224x224": [("images_per_s", ">=", 700e3), ("times_published", ">=", 1000)],
    "iou_counts[512 units 14x14 to 56x56": [("images_per_s", ">=", 2e6)],
    "iou_counts[256 units 56x56 to 224x224": [("images_per_s", ">=", 300e3)],
    "threshold_sweep[": [("times_iou_counts", "<=", 10)],
    "TailThreshold[": [("us_per_image", "<=", 2.5)],
    "observe[": [("share_of_copy", ">=", 0.6)],
    "blend_units[512 of": [("share_of_copy", ">=", 0.85)],
    "insert[": [("seconds", "<=", 2)],
    "dissect[VGG-16 conv5_3]": [("times_of_forward", "<=", 1.05)],
    "dissect[ResNet-152 layer4]": [("times_of_forward", "<=", 1.05)],
    "dissect[VGG-16 all 13 layers]": [("times_of_forward", "<=", 1.5)],
    "dissect[VGG-16 all 13 layers, 16 GiB kept]": [("times_of_forward", "<=", 2.2)],
}


def milliseconds(function, inputs, least_rounds=20, seconds=1.0, calls=1):
    """The device's time for a call, the median over rounds of so many seconds in all; each call has the next input.

    With several calls to a round they are queued while the device sleeps, so that it never waits for Python, as where a
    network's forward pass is queued before: the time is that of the kernels and of the gaps between them.
    """
    turn = cycle(inputs)
    for _ in range(3):
        function(next(turn))
    torch.cuda.synchronize()
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < least_rounds or time.perf_counter() - started < seconds:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        if calls > 1:
            torch.cuda._sleep(calls * CYCLES_TO_QUEUE)
        begin.record()
        for _ in range(calls):
            function(next(turn))
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / calls)
        if len(times) >= 3 and time.perf_counter() - started > 60:  # a rival that is very slow
            break
    return statistics.median(times)


def host_microseconds(function, inputs, calls=100):
    """What a call costs the host, which queues it and does not wait."""
    turn = cycle(inputs)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(calls):
        function(next(turn))
    spent = time.perf_counter() - started
    torch.cuda.synchronize()
    return 1e6 * spent / calls


def rotation(bytes_of_one):
    return 1 + ROTATED_BYTES // bytes_of_one


def row(ms, images=None, bytes_moved=None, copy=None, **more):
    """One row of the results."""
    found = {"ms": ms, **more}
    if images is not None:
        found |= {"images_per_s": 1e3 * images / ms, "us_per_image": 1e3 * ms / images}
    if bytes_moved is not None:
        found["gb_per_s"] = bytes_moved / ms / 1e6
        found["floor_ms"] = bytes_moved / copy / 1e6 if copy else None
        found["share_of_copy"] = found["gb_per_s"] / copy if copy else None
    return found


def with_targets(name, found):
    """The row with its targets, and whether it meets them."""
    goals = next((goals for begin, goals in TARGETS.items() if name.startswith(begin)), [])
    met = {">=": lambda value, bound: value >= bound, "<=": lambda value, bound: value <= bound}
    targets = [
        {
            "of": field,
            "must_be": f"{sign} {bound:g}",
            "met": found.get(field) is not None and met[sign](found[field], bound),
        }
        for field, sign, bound in goals
    ]
    return {**found, "targets": targets} if targets else found
