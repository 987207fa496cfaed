"""What to do on a machine with a GPU, in pieces: build, test, sanitize, bench.

``python benchmarks/gpu_stages.py 540 build test`` does the pieces of these stages that are not done yet, for at most so
many seconds, and exits with 0 when none is left, with 75 when the time is up (call it again), with 1 when one failed.
What is done is kept in build/gpu/done.json, for the tree as it is; a piece that failed is tried again at the next
call, and the others are done nevertheless. Where OUT names a folder, logs and results are copied there at the end of a
call. No network is needed: the Python at hand must have torch, and what pyproject.toml asks for to build and to test.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build/gpu"
NOT_YET = 75
#: Characters of a piece's output that are printed; all of it is in its log.
SHOWN = 2500

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
BENCH = [sys.executable, "benchmarks/gpu.py"]

#: What the tests must not skip for want of.
REQUIRED = {"DISSECT_TEST_REQUIRE": "cpp,gpu,cuda,triton"}

#: Per stage its pieces, by name: a command, what it adds to the environment, and how long it may take at most.
STAGES = {
    "build": {
        "install": (
            [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--quiet", "--editable", "."],
            {
                "DISSECT_CUDA": "1",
                "DISSECT_REQUIRE_NATIVE": "1",
                "PIP_NO_INDEX": "1",
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                "PIP_BREAK_SYSTEM_PACKAGES": "1",  # a Python of the system's refuses otherwise
            },
        ),
        "info": ([sys.executable, "-m", "dissect", "info"], {}),
    },
    "test": {
        "bits": ([*PYTEST, "tests/gpu", "-k", "not test_iou_counts"], REQUIRED),
        "iou_counts cuda": (
            [*PYTEST, "tests/gpu", "-k", "test_iou_counts and cuda"],
            {"DISSECT_GPU_CASES": "10000", **REQUIRED},
        ),
        "iou_counts triton": (
            [*PYTEST, "tests/gpu", "-k", "test_iou_counts and triton"],
            {"DISSECT_GPU_CASES": "10000", **REQUIRED},
        ),
        "no spills": ([*PYTEST, "tests/native/test_cuda_build.py"], {"DISSECT_TEST_REQUIRE": "cpp,nvcc"}),
    },
    "sanitize": {
        tool: (
            ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable, "tests/gpu/small_run.py"],
            {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
        )
        for tool in ("memcheck", "racecheck")
    },
    "cpu": {"ops and stats with this PyTorch": ([*PYTEST, "tests/ops", "tests/stats"], {})},
    "bench": {
        **{name: ([*BENCH, name], {}) for name in ("copy", "iou_counts", "thresholds", "maps", "dissect")},
        "readme": ([sys.executable, "benchmarks/tables.py", "readme"], {}),
    },
}

#: What compute-sanitizer says where the machine does not let it work.
REFUSALS = ("Device not supported", "unable to", "not found", "No such file")


def tree() -> str:
    """A digest of what the pieces depend on."""
    digest = hashlib.sha256()
    for folder in ("csrc", "kernels", "dissect", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cpp", ".cu", ".cuh", ".py"):
                digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    for name in ("build_engine.py", "setup.py", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()[:16]


def run_piece(stage: str, name: str, seconds: float) -> str:
    """Returns "done", "no time", "failed", or for a sanitizer that must not work here "unavailable: reason"."""
    command, extra = STAGES[stage][name]
    log = FOLDER / f"{stage}-{name.replace(' ', '-')}.log"
    if stage == "sanitize" and shutil.which(command[0]) is None:
        return f"unavailable: {command[0]} was not found on the PATH."
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **extra}
    with log.open("w") as out:
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return "no time"
    text = log.read_text(errors="replace")
    print(text[-SHOWN:])
    refusal = next((line for line in text.splitlines() if any(words in line for words in REFUSALS)), None)
    if stage == "sanitize" and done.returncode not in (0, 9) and refusal:
        return f"unavailable: {refusal.strip('= ')}"
    return "done" if done.returncode == 0 else "failed"


def is_installed() -> bool:
    """Whether both engines can be imported, whatever was recorded: the machine may be another one."""
    code = "import dissect._C, dissect._cuda"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


def main(seconds: float, stages: list[str]) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        return do(stages, time.monotonic() + seconds)
    finally:
        if os.environ.get("OUT"):
            for path in [*FOLDER.glob("*.log"), *FOLDER.glob("*.json")]:
                shutil.copy(path, os.environ["OUT"])


def do(stages: list[str], end: float) -> int:
    """The pieces that are left, until the time `end`."""
    record = FOLDER / "done.json"
    kept = json.loads(record.read_text()) if record.exists() else {}
    state = kept if kept.get("tree") == tree() else {"tree": tree()}
    if not is_installed():
        state.pop("build: install", None)
    code = 0
    for stage, name in [(each, name) for each in stages for name in STAGES[each]]:
        key = f"{stage}: {name}"
        if key in state:
            print(f"{key}: {state[key]} (before)")
            continue
        result = run_piece(stage, name, max(1.0, end - time.monotonic()))
        print(f"{key}: {result}", flush=True)
        if result == "no time":
            print("the time is up; call again to go on")
            return NOT_YET
        if result == "failed":
            code = 1
            if stage == "build":
                return code
            continue
        state[key] = result
        record.write_text(json.dumps(state, indent=1) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
