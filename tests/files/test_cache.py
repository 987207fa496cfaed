"""Files that appear whole or not at all: their permissions, and what a kill leaves of them."""

import os
import subprocess
import sys

import pytest
import torch

from dissect.files.tensors import replacing, save_tensors, sweep

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX processes and permissions")


def parts(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".part")]


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask_of_the_moment(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "file", "test", 1, {"a": torch.ones(1)}, {})
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask


KILLED = """
import os, signal, sys
from dissect.files.tensors import replacing
for name in sys.argv[1:]:
    if not (child := os.fork()):
        with replacing(name) as partial:
            partial.write_bytes(b"a part")
            os.kill(os.getpid(), signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@posix
def test_what_a_kill_leaves_is_removed_and_nothing_else(tmp_path):
    path, other = tmp_path / "file", tmp_path / "file2"
    command = [sys.executable, "-c", KILLED, path, path, other]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["-9"] * 3
    assert len(parts(tmp_path)) == 2  # the second run has removed what the first one left
    (tmp_path / ".file.123.part").write_bytes(b"somebody else's")
    with replacing(path) as partial:
        partial.write_bytes(b"whole")
        with replacing(path) as second:  # of a process that runs
            second.write_bytes(b"at once")
        assert partial.exists()
    assert path.read_bytes() == b"whole"
    assert len(parts(tmp_path)) == 2
    sweep(other)
    assert parts(tmp_path) == [".file.123.part"]
    sweep(tmp_path / "no folder" / "file")
