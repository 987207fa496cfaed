"""Calls and files made to hurt, in processes of their own: a crash is seen, with the seed to do it again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dissect.ops import native

HERE = Path(__file__).parent
CALLS, FILES, PARTS = 2000, 1000, 4

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


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("program", ["calls.py", "direct.py"])
def test_calls(program, part):
    size = CALLS // PARTS
    answered = run(program, part * size, (part + 1) * size).split()
    assert 100 < int(answered[1]) < size - 100  # of both kinds there are many


@pytest.mark.parametrize("part", range(PARTS))
def test_files(part, tmp_path):
    size = FILES // PARTS
    refused = run("files.py", tmp_path, part * size, (part + 1) * size).split()
    assert int(refused[1]) > size / 2


def test_a_crash_is_seen():
    with pytest.raises(AssertionError, match="seed x ended with -11"):
        run("crash.py")
