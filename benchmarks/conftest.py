"""Paired timing on top of pytest-benchmark."""

import gc
import os
import statistics
import time
from collections.abc import Callable

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
            others: by name, what it is compared with; slow ones are run less often.
            seconds: about how long to go on.
            per: the images that one call handles; times are per image.
            rounds: at least how often ours runs; others that take more than a second run three times, or as often if
                ours takes more than a second too.
            clock: gives seconds, of the wall or of the processor.
        """
        if not self.enabled:
            self.benchmark(ours)
            return
        functions = {"ours": ours, **others}
        times = {name: [] for name in functions}
        for function in functions.values():
            function()
        begin = time.perf_counter()
        while len(times["ours"]) < rounds or time.perf_counter() - begin < seconds:
            slow = {name: bool(values) and statistics.median(values) > 1.0 for name, values in times.items()}
            for name, function in functions.items():
                if slow[name] and not slow["ours"] and len(times[name]) >= 3:
                    continue
                start = clock()
                function()
                times[name].append(clock() - start)
        ratios = {
            name: statistics.median(a / b for a, b in zip(times["ours"], values))
            for name, values in times.items()
            if name != "ours"
        }
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
