"""What Python prints where torch drops subnormal numbers, with as many threads as one likes."""

import os
import subprocess
import sys

import pytest

FORKS = """
import os, torch
{before}
for threads in {threads}:  # each in a fork, which has begun none yet
    if os.fork() == 0:
        break
    assert os.wait()[1] == 0
else:
    raise SystemExit
torch.set_num_threads(threads)
if not torch.set_flush_denormal(True):
    print("cannot")
    raise SystemExit
{script}
"""


def printed(script, threads, before=""):
    """The lines of a script that runs once with each number of threads, after what comes before them all."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    done = subprocess.run(
        [sys.executable, "-c", FORKS.format(before=before, threads=threads, script=script)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    if "cannot" in done.stdout:
        pytest.skip("this processor cannot drop them")
    return done.stdout.splitlines()
