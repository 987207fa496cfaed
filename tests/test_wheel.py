"""What was installed from the wheel is what the tree has; `make test-wheel` says where it is."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from dissect.version import __version__

ROOT = Path(__file__).resolve().parents[1]
EXT_SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
INSTALLED = os.environ.get("DISSECT_TEST_INSTALLED")
pytestmark = pytest.mark.skipif(not INSTALLED, reason="DISSECT_TEST_INSTALLED names no folder")


def contents(folder: Path) -> dict[str, bytes]:
    """Of each file its bytes, but of what was compiled."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".so" and "__pycache__" not in path.parts
    }


def test_it_has_the_files_of_the_tree():
    kernels = {f"kernels/{name}": data for name, data in contents(ROOT / "kernels").items()}
    tree, wheel = contents(ROOT / "dissect") | kernels, contents(Path(INSTALLED, "dissect"))
    assert wheel.keys() == tree.keys()
    assert [name for name in tree if wheel[name] != tree[name]] == []


def test_it_has_the_engines_of_the_tree():
    folders = ROOT / "dissect", Path(INSTALLED, "dissect")
    tree, wheel = ({path.name for path in folder.glob(f"*{EXT_SUFFIX}")} for folder in folders)
    assert wheel == tree


def test_its_command_starts():
    environment = {**os.environ, "PYTHONPATH": INSTALLED}
    command = [sys.executable, Path(INSTALLED, "bin", "dissect"), "--version"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout
