"""Shapes and values that nobody thought of, and the engine in other threads and processes."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from dropping import printed
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect import Grid, ops
from dissect.ops import native

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))

FLOATS = st.floats(-(2.0**126), 2.0**126, exclude_min=True, exclude_max=True, width=32)
SPECIAL = st.sampled_from([0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, 1.0, 1 + 2.0**-23, -1.0])


@st.composite
def problems(draw):
    """Few values, so that ties and equal corners are frequent, on any small shapes."""
    images, units, height, width = (draw(st.integers(1, high)) for high in (2, 20, 6, 6))
    values = draw(st.lists(FLOATS | SPECIAL, min_size=1, max_size=6))
    seed = draw(st.integers(0, 2**32 - 1))
    choose = np.random.default_rng(seed)
    maps = torch.from_numpy(choose.choice(np.float32(values), (images, units, height, width)))
    thresholds = torch.from_numpy(choose.choice(np.float32(values), units))
    target = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    planes = torch.from_numpy(choose.integers(0, 4, (images, draw(st.integers(1, 3)), *target)))
    grid = Grid.half_pixel((height, width), target, border=draw(st.sampled_from(["edge", "zeros"])))
    return maps, thresholds, planes, grid


@settings(max_examples=150, deadline=None)
@given(problems())
def test_iou_counts_equals_the_reference(problem):
    maps, thresholds, planes, grid = problem
    ours, expected = (ops.iou_counts(maps, thresholds, planes, 4, grid=grid, backend=b) for b in ("cpp", "reference"))
    assert all(map(torch.equal, ours, expected))


@settings(max_examples=100, deadline=None)
@given(problems(), st.sampled_from(["value", "min", "max"]), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_tail_histogram_equals_the_reference(problem, sample, one, other):
    maps, _, _, grid = problem
    low, high = (torch.full((maps.shape[1],), key) for key in (min(one, other), max(one, other)))
    shift = torch.full_like(low, max(0, (max(one, other) - min(one, other)).bit_length() - 6))
    results = []
    for backend in ("cpp", "reference"):
        bins, above = torch.zeros(len(low), 64, dtype=torch.int64), torch.zeros_like(low)
        ops.tail_histogram(maps, low, high, shift, bins, above, grid=grid, sample=sample, backend=backend)
        results.append((bins, above))
    assert all(map(torch.equal, *results))


def count_once(_=None):
    """The same small problem."""
    generator = torch.Generator().manual_seed(5)
    maps = torch.randn(2, 40, 5, 5, generator=generator)
    planes = torch.randint(0, 9, (2, 2, 20, 20), generator=generator)
    return ops.iou_counts(maps, torch.zeros(40), planes, 9, backend="cpp").intersection.tolist()


def test_calls_from_several_threads_at_once():
    expected, found = count_once(), []
    threads = [threading.Thread(target=lambda: found.extend(count_once() for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 80


class Watched:
    """The engine, with a flag that is up just while one of its functions runs."""

    def __init__(self, engine):
        self.engine, self.inside, self.seen = engine, False, 0

    def __getattr__(self, name):
        function = getattr(self.engine, name)

        def call(*arguments):
            self.inside = True
            try:
                return function(*arguments)
            finally:
                self.inside = False

        return call


@pytest.mark.parametrize("name", ["iou_counts", "tail_histogram", "encode_labels", "image_peaks", "blend_units"])
def test_other_threads_run_during_a_call(name, monkeypatch):
    maps, zeros = torch.randn(8, 64, 28, 28), torch.zeros(64, dtype=torch.int64)
    planes = torch.randint(0, 50, (8, 3, 224, 224), dtype=torch.int32)
    labels, bins = ops.encode_labels(planes, 50), torch.zeros(64, 256, dtype=torch.int64)
    high, grid = zeros + (1 << 32) - 1, Grid.half_pixel((28, 28), (224, 224))
    calls = {
        "iou_counts": lambda: ops.iou_counts(maps, torch.zeros(64), labels),
        "tail_histogram": lambda: ops.tail_histogram(maps, zeros, high, zeros + 24, bins, zeros.clone(), grid=grid),
        "encode_labels": lambda: ops.encode_labels(planes, 50),
        "image_peaks": lambda: ops.image_peaks(maps),
        "blend_units": lambda: ops.blend_units(maps, torch.full((64,), 0.5), inplace=True),
    }
    watched, done = Watched(native.engine()), threading.Event()
    monkeypatch.setattr(native, "_engine", watched)

    def watch():
        while not done.is_set():
            watched.seen += watched.inside
            time.sleep(0)

    # By itself the interpreter would pass from thread to thread every 5 ms; now only one that lets go is followed.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(200):
            calls[name]()
            if watched.seen:
                break
    finally:
        sys.setswitchinterval(interval)
        done.set()
        watcher.join()
    assert watched.seen > 0


BEFORE = """
from dissect import ops
maps = torch.full((2, 40, 3, 3), 1e-40)
"""
SUBNORMAL = """
planes = torch.ones(2, 1, 6, 6, dtype=torch.uint8)
counts = ops.iou_counts(maps, torch.zeros(40), planes, 2, backend="cpp")
peaks = ops.image_peaks(maps, backend="cpp").view(torch.int32)
print(int(counts.unit_area.sum()), peaks.unique().tolist(), (torch.full((1,), 1e-40) + 0).item())
"""


def test_subnormal_numbers_are_kept_where_torch_drops_them():
    bits = torch.full((1,), 1e-40).view(torch.int32).item()
    assert printed(SUBNORMAL, (1, 3), BEFORE) == [f"{2 * 40 * 36} [{bits}] 0.0"] * 2


FEW_THREADS = """
import resource, torch
from dissect import ops
maps = torch.randn(4, 4096, 7, 7)
expected = ops.image_peaks(maps, backend="cpp")
torch.set_num_threads(64)  # before the limit: some versions of torch begin them here, and wait for them
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (30 << 20),) * 2)
assert torch.equal(ops.image_peaks(maps, backend="cpp"), expected)
print("the same")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_threads_that_cannot_be_had_are_done_without():
    done = subprocess.run(
        [sys.executable, "-c", FEW_THREADS], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr[-2000:]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_engine_works_in_a_forked_process():
    expected = count_once()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(count_once, range(4), chunksize=1) == [expected] * 4
