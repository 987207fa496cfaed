"""Where dissect() spends its time on a GPU: visits, kernels, the host; ``python benchmarks/gpu_profile.py ROW``.

ROW is a number, of the rows that ``gpu.py dissect`` measures. Three runs after a warm one: the seconds of each visit,
the device being waited for at its end; torch's profiler, by kernel and by operator, and the share of the time in which
some kernel ran; Python's profiler. No figures are kept: this says where to look, not how fast it is.
"""

import cProfile
import pstats
import sys
import time
from functools import partial
from unittest.mock import patch

import gpu
import torch
from torch.profiler import ProfilerActivity, profile

import dissect
from dissect.dissection.dissection_run import DissectionRun

SHOWN = 25


def visits(run):
    """Prints how long each visit took, and what came after the last one."""
    clock, end_visit = [time.perf_counter()], DissectionRun.end_visit

    def timed(findings):
        phase = findings.phase
        end_visit(findings)
        torch.cuda.synchronize()
        clock.append(time.perf_counter())
        print(f"  {phase}: {1e3 * (clock[-1] - clock[-2]):.1f} ms")

    with patch.object(DissectionRun, "end_visit", timed):
        run()
    torch.cuda.synchronize()
    print(f"  result: {1e3 * (time.perf_counter() - clock[-1]):.1f} ms")


def kernels(run):
    """Prints the kernels and operators that took most, and how long some kernel ran."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        begin = time.perf_counter()
        run()
        torch.cuda.synchronize()
        spent = 1e6 * (time.perf_counter() - begin)
    for order in ("self_cuda_time_total", "self_cpu_time_total"):
        table = profiler.key_averages().table(sort_by=order, row_limit=SHOWN, max_name_column_width=70)
        print("\n".join(line.rstrip() for line in table.splitlines()))
    ran = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    print(f"some kernel ran in {union((e.time_range.start, e.time_range.end) for e in ran) / spent:.0%} of the time")


def union(spans):
    """The length of what spans cover together.

    >>> union([(0, 2), (5, 6), (1, 3)])
    4
    """
    covered, until = 0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0, end - max(start, until))
        until = max(until, end)
    return covered


def host(run):
    """Prints the Python functions that took most."""
    profiler = cProfile.Profile()
    profiler.runcall(run)
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(SHOWN)


def main(row):
    name, network, layers, budget = gpu.DISSECTED[row]
    model, batches = gpu.dissected(network)
    run = partial(dissect.dissect, model, layers, batches, memory_budget=budget, progress=False)
    run()
    print(name, flush=True)
    for part in (visits, kernels, host):
        part(run)
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
