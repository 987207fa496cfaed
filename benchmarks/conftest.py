"""Paired timing on top of pytest-benchmark."""

import gc
import os
import statistics
import time
from collections.abc import Callable
from operator import truediv

import pytest
import torch


class Comparison:
    """Times functions in turn, A B C A B C ..., so that a machine's drift hits all alike."""

    def __init__(self, benchmark, enabled: bool) -> None:
        self.benchmark, self.enabled = benchmark, enabled

    def __call__(
        self, ours, others, seconds: float = 3.0, per: int = 1, rounds: int = 5,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        """Records the median milliseconds of each, and the median of the paired ratios ours / other.

        Args:
            ours: what the row is about.
            others: by name, what it is compared with. Those that take more than a second, where ours does not, are
                timed afterwards, three times: after a pause of seconds a call finds cold caches.
            seconds: about how long to go on.
            per: the images that one call handles; times are per image.
            rounds: at least how often ours runs.
            clock: gives seconds, of the wall or of the processor.
        """
        if not self.enabled:
            self.benchmark(ours)
            return

        def timed(function: Callable[[], object]) -> float:
            start = clock()
            function()
            return clock() - start

        long = {name for name, function in {"ours": ours, **others}.items() if timed(function) > 1.0}
        after = set() if "ours" in long else long
        times, ratios = {}, {}
        for group, least, limit in ((others.keys() - after, rounds, seconds), (after, 3, 0.0)):
            if not group:
                continue
            turns = {"ours": [], **{name: [] for name in others if name in group}}
            begin = time.perf_counter()
            while len(turns["ours"]) < least or time.perf_counter() - begin < limit:
                for name, values in turns.items():
                    values.append(timed(others.get(name, ours)))
            for name in list(turns)[1:]:
                ratios[name] = statistics.median(map(truediv, turns["ours"], turns[name]))
            times = turns | times  # of ours the first ones
        self.benchmark.extra_info["ms_per_image"] = {
            name: 1e3 * statistics.median(values) / per for name, values in times.items()
        }
        self.benchmark.extra_info["ratio"] = ratios
        self.benchmark.extra_info["rounds"] = {name: len(values) for name, values in times.items()}
        self.benchmark.pedantic(ours, rounds=1 if statistics.median(times["ours"]) > 1.0 else 5)


@pytest.fixture
def compare(benchmark, request):
    """Times ours against others, in pairs, without looking for garbage; without --benchmark-enable ours runs once."""
    gc.collect()
    gc.disable()
    threads = torch.get_num_threads()
    torch.set_num_threads(min(2, len(os.sched_getaffinity(0))))  # one, where a single core was set aside for this
    yield Comparison(benchmark, request.config.getoption("benchmark_enable"))
    torch.set_num_threads(threads)
    gc.enable()
