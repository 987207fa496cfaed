"""What to do on a machine with a GPU, in pieces: build, test, sanitize, triton, cpu, bench, profile, thorough.

``python benchmarks/gpu_stages.py 540 build test`` does the pieces of these stages that are not done yet, for at most so
many seconds, and exits with 0 when none is left, with 75 when the time is up (call it again), with 1 when one failed;
its last line says so too. What was done is kept in build/gpu/done.json, for the tree as it is; a piece that failed is
tried again when all others are done. Where OUT names a folder, results and one file of all logs are copied there at
the end of a call. No network is needed: the Python at hand must have torch, and what pyproject.toml asks for to build
and to test.
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


def gpu_tests(which: str, cases: int = 200) -> tuple[list[str], dict[str, str]]:
    """A piece: the tests on a GPU whose names fit, none of which may be skipped for want of a backend."""
    needed = {"DISSECT_TEST_REQUIRE": "cpp,gpu,cuda,triton", "DISSECT_GPU_CASES": str(cases)}
    return [*PYTEST, "tests/gpu", "-k", which], needed


def sanitizer(tool: str) -> list[str]:
    """What comes before a command that a tool of compute-sanitizer watches; torch's own kernels are not in question."""
    report = ["--error-exitcode", str(FOUND), "--report-api-errors", "no"]
    return ["compute-sanitizer", "--tool", tool, *report, "--kernel-name", "kns=dissect"]


#: With what small_run exits where bits differ, and with what a sanitizer where it found something.
WRONG_BITS, FOUND = 3, 9

#: Of benchmarks/gpu.py.
PARTS = ("copy", "iou_counts", "sweep", "thresholds", "maps", "hot", "dissect", "rewriting")

#: Per stage its pieces, by name: a command, and what it adds to the environment.
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
        "cuda": gpu_tests("not triton and not compiles"),
        "no spills": ([*PYTEST, "tests/native/test_cuda_build.py"], {"DISSECT_TEST_REQUIRE": "cpp,nvcc"}),
    },
    "sanitize": {
        "planted error": ([sys.executable, "tests/gpu/planted_error.py"], {}),
        **{
            tool: (
                [*sanitizer(tool), sys.executable, "tests/gpu/small_run.py"],
                {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
            )
            for tool in ("memcheck", "racecheck")
        },
    },
    # Each compiles for minutes, and what was compiled is kept.
    "triton": {
        "iou_counts": gpu_tests("triton and test_iou_counts"),
        "threshold_sweep": gpu_tests("triton and test_threshold_sweep"),
        "tail_histogram": gpu_tests("triton and test_tail_histogram"),
        "rest": gpu_tests(
            "triton and not test_iou_counts and not test_threshold_sweep and not test_tail_histogram and not compiles"
        ),
        "compiled": gpu_tests("compiles"),
    },
    "cpu": {"ops and stats with this PyTorch": ([*PYTEST, "tests/ops", "tests/stats"], {})},
    "bench": {
        **{name: ([*BENCH, name], {}) for name in PARTS},
        "readme": ([sys.executable, "benchmarks/tables.py", "readme"], {}),
    },
    "profile": {f"dissect {row}": ([sys.executable, "benchmarks/gpu_profile.py", str(row)], {}) for row in range(4)},
    "thorough": {
        f"iou_counts {backend}": gpu_tests(f"test_iou_counts and {backend}", 10_000) for backend in ("cuda", "triton")
    },
}  # fmt: skip

#: What compute-sanitizer says where the machine does not let it work.
REFUSALS = (
    "Device not supported",
    "Unable to attach",
    "error while loading shared libraries",
    "file or directory: 'compute-",
)


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


def found(tool: str) -> str | None:
    """Where a program is: on the PATH, or with CUDA."""
    homes = [os.environ.get("CUDA_HOME"), "/usr/local/cuda"]
    folders = [os.environ.get("PATH", ""), *(f"{home}/bin" for home in homes if home)]
    return shutil.which(tool, path=os.pathsep.join(folders))


def run_piece(stage: str, name: str, seconds: float) -> str:
    """Returns "done", "no time", "failed", or for a sanitizer that must not work here "unavailable: reason"."""
    command, extra = STAGES[stage][name]
    log = FOLDER / f"{stage}-{name.replace(' ', '-')}.log"
    program = found(command[0])
    if program is None:
        return f"unavailable: {command[0]} was not found, neither on the PATH nor with CUDA."
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **extra}
    with log.open("w") as out:
        try:
            done = subprocess.run(
                [program, *command[1:]], cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT,
                timeout=seconds, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return "no time"
    text = log.read_text(errors="replace")
    print(text[-SHOWN:])
    refusal = next((line for line in text.splitlines() if any(words in line for words in REFUSALS)), None)
    if stage == "sanitize" and done.returncode not in (0, FOUND, WRONG_BITS) and refusal:
        return f"unavailable: {refusal.strip('= ')}"
    return "done" if done.returncode == 0 else "failed"


def is_installed() -> bool:
    """Whether both engines can be imported, whatever was recorded: the machine may be another one."""
    code = "import dissect._C, dissect._cuda"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False).returncode == 0


def main(seconds: float, stages: list[str]) -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        code, unavailable = do(stages, time.monotonic() + seconds)
    finally:
        if os.environ.get("OUT"):
            bring_back(Path(os.environ["OUT"]))
    words = {0: "all done", NOT_YET: "more to do, call again"}.get(code, "some failed")
    print("STATE:", words + (f"; not available: {', '.join(unavailable)}" if unavailable else ""))
    return code


def bring_back(out: Path) -> None:
    """Copies the results, and all logs as one file, since few files may come back."""
    for path in FOLDER.glob("*.json"):
        shutil.copy(path, out)
    logs = [f"===== {path.name}\n{path.read_text(errors='replace')}\n" for path in sorted(FOLDER.glob("*.log"))]
    (out / "logs.txt").write_text("".join(logs))


def do(stages: list[str], end: float) -> tuple[int, list[str]]:
    """Does the pieces that are left, until the time `end`; those that failed before come last.

    Returns what to exit with, and the pieces that this machine does not let work.
    """
    record = FOLDER / "done.json"
    kept = json.loads(record.read_text()) if record.exists() else {}
    state = kept if kept.get("tree") == tree() else {"tree": tree()}
    if not is_installed():
        state.pop("build: install", None)
    pieces = [(stage, name) for stage in stages for name in STAGES[stage]]
    bench_failed = False
    pieces.sort(key=lambda piece: state.get(": ".join(piece)) == "failed" and piece[0] != "build")
    for stage, name in pieces:
        key = f"{stage}: {name}"
        if state.get(key, "failed") != "failed":
            print(f"{key}: {state[key]} (before)")
            continue
        result = run_piece(stage, name, max(1.0, end - time.monotonic()))
        print(f"{key}: {result}", flush=True)
        if result == "no time":
            return NOT_YET, []
        if stage == "build" and result == "failed":
            return 1, []
        if stage != "bench":  # which looks itself what is there, of this card
            state[key] = result
            record.write_text(json.dumps(state, indent=1) + "\n")
        bench_failed |= stage == "bench" and result == "failed"
    asked = {key: state.get(key, "") for key in map(": ".join, pieces)}
    unavailable = [key for key, result in asked.items() if result.startswith("unavailable")]
    return int(bench_failed or "failed" in asked.values()), unavailable


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
