"""The CUDA engine compiles, without spilling a register, and says on a machine without a GPU why it cannot serve."""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from compiling import build_script

ARCHITECTURES = {"sm_80", "sm_90"}
REPORT = re.compile(
    r"Compiling entry function '(\w+)' for '(sm_\d+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers",
    re.DOTALL,
)


@pytest.fixture(scope="module")
def script(missing):
    """The module build_engine."""
    script = build_script()
    if script.nvcc() is None or script.compiler() is None:
        missing("nvcc", "CUDA's nvcc is not here.")
    return script


@pytest.fixture(scope="module")
def module(script):
    """What the installation compiled; only what changed since then is compiled again."""
    target = script.CUDA_FOLDER / f"_cuda{sysconfig.get_config_var('EXT_SUFFIX')}"
    script.write_cuda_ninja(script.CUDA_FOLDER, target, ["-O3", *script.engine_flags()])
    script.run_ninja(script.CUDA_FOLDER)
    return target


def test_it_is_linked_with_the_flags_of_the_host_compiler(script, tmp_path, monkeypatch):
    monkeypatch.setenv("LDFLAGS", "-Wl,-O1,--as-needed -L/nowhere -lm -pthread")
    monkeypatch.setenv("CXX", "env g++")
    script.write_cuda_ninja(tmp_path, tmp_path / "_cuda.so", [])
    (command,) = re.findall(r"rule link\n  command = (.*)", (tmp_path / "build.ninja").read_text())
    (tmp_path / "one.o").touch()
    words = shlex.split(command.replace("$in", str(tmp_path / "one.o")).replace("$out", str(tmp_path / "_cuda.so")))
    done = subprocess.run([words[0], "--dryrun", *words[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    link = done.stderr.splitlines()[-1]
    assert all(f" {flags} " in link for flags in ("-Xlinker -O1 -Xlinker --as-needed", "-lm", "-pthread"))


def test_no_kernel_spills_a_register(module):
    seen = {}
    for report in sorted((module.parent / "csrc/cuda").glob("*.txt")):
        for name, architecture, stack, stores, loads, registers in REPORT.findall(report.read_text()):
            seen[name, architecture] = int(registers)
            assert (int(stack), int(stores), int(loads)) == (0, 0, 0), f"{name} for {architecture} spills"
    kernels = {
        architecture: sum(1 for _, other in seen if other == architecture) for architecture in sorted(ARCHITECTURES)
    }
    # iou_counts, by image too: 3 dtypes or hot cells, 2 widths of runs each; threshold_sweep: 3 dtypes; tail_histogram:
    # 4; observe: 3, 2 layouts, vectors or single values, which are seen, blended, or both; component_halves: 4 types, 4
    # launches; upsample_argmax: 3; hot_cells: 3, which are counted or written; label_cells: 2 widths of runs; narrow.
    assert kernels == dict.fromkeys(sorted(ARCHITECTURES), 4 * 4 + 3 * 2 + 4 + 36 + 16 + 3 + 6 + 2 + 1)
    assert max(seen.values()) <= 84  # three blocks of 256 threads fit into a multiprocessor's 65,536


def test_no_multiplication_is_fused_with_an_addition_and_no_float_is_flushed(module):
    triton = pytest.importorskip("triton")  # it comes with a disassembler
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    code = subprocess.run([tool, "-sass", module], check=True, capture_output=True, text=True).stdout
    lines = re.findall(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+ )?\s*([A-Z][\w.]*)(.*?);", code, re.MULTILINE)
    assert {opcode.split(".")[0] for opcode, _ in lines} >= {"FADD", "FMUL"}
    # Zero times zero plus a number is how the compiler writes a number down.
    assert not [line for line in lines if re.match("[FDH]FMA", line[0]) and ", -RZ, RZ, " not in line[1]]
    # Integers are divided by way of a float that is never small.
    assert {opcode.split(".")[0] for opcode, _ in lines if ".FTZ" in opcode} <= {"F2I"}


def test_it_is_imported_without_a_driver(module):
    code = "import _cuda; print(_cuda.unavailable()); print(_cuda.pack_grid(0, 0, 0, 0))"
    environment = {**os.environ, "PYTHONPATH": str(module.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reason, grid = done.stdout.splitlines()
    assert grid == "([0, 0, 0], 0, 0, 0)"
    if not Path("/dev/nvidiactl").exists():
        assert reason in ("no NVIDIA driver was found.", "no GPU was found.") or reason.startswith("no GPU can be used")


def test_without_the_extension_the_package_says_so():
    code = (
        "import sys; sys.modules['dissect._cuda'] = None\n"
        "import torch, dissect\n"
        "from dissect.ops.backends import cuda\n"
        "print(cuda.unavailable(torch.device('cuda')))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the CUDA engine is missing (")
    assert done.stdout.endswith("install CUDA's nvcc and reinstall the package.\n")
