"""Calls and files made to hurt, in processes of their own: a crash is seen, with the seed to do it again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dissect.ops import native

HERE = Path(__file__).parent
CALLS, FILES = 2000, 1000

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))


def run(program, *arguments, **environment):
    """The last line that a program prints; how it ended, if not well."""
    done = subprocess.run(
        [sys.executable, str(HERE / program), *map(str, arguments)], capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )  # fmt: skip
    last = (done.stdout.splitlines() or [""])[-1]
    assert done.returncode == 0, f"{program}: seed {last} ended with {done.returncode}\n{done.stderr[-3000:]}"
    return last


@pytest.mark.parametrize("program", ["calls.py", "direct.py"])
def test_calls(program):
    answered = run(program, 0, CALLS).split()
    assert 400 < int(answered[1]) < CALLS - 400  # of both kinds there are many


def test_files(tmp_path):
    refused = run("files.py", tmp_path, 0, FILES).split()
    assert int(refused[1]) > FILES / 2


def test_a_crash_is_seen():
    with pytest.raises(AssertionError, match="seed x ended with -11"):
        run("crash.py")
