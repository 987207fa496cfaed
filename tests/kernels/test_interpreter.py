"""Runs `interpreted.py` in a process of its own, since Triton looks at TRITON_INTERPRET when it is imported."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_every_kernel_in_the_interpreter(missing):
    if importlib.util.find_spec("triton") is None:
        missing("triton", "triton is not installed")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        str(HERE / "interpreted.py"),
    ]
    run = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) >= 330
