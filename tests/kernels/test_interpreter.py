"""Runs `interpreted.py` in a process of its own, since Triton looks at TRITON_INTERPRET when it is imported."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).with_name("interpreted.py")
TESTS = re.findall(r"^def (test_\w+)", FILE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def interpreted(request):
    """What the process printed, and by test the outcomes of its cases; one process for all tests that were selected."""
    wanted = [name for name in TESTS if any(f"[{name}]" in item.nodeid for item in request.session.items)]
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *(f"{FILE}::{name}" for name in wanted)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, cwd=FILE.parent, capture_output=True, text=True, check=False)
    found = re.findall(r"^([A-Z]+) \S*::(test_\w+)", run.stdout, re.MULTILINE)
    assert wanted != TESTS or len(found) >= 270, run.stdout[-6000:] + run.stderr[-2000:]
    return run.stdout[-6000:] + run.stderr[-2000:], found


@pytest.mark.parametrize("name", TESTS)
def test_kernels_in_the_interpreter(name, missing, request):
    if importlib.util.find_spec("triton") is None:
        missing("triton", "triton is not installed")
    printed, found = request.getfixturevalue("interpreted")
    assert {outcome for outcome, test in found if test == name} == {"PASSED"}, printed
