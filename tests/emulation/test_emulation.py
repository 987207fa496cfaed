"""The CUDA kernels' own source, executed on the CPU: the references' bits, no race, and no barrier without need."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from compiling import ASAN_OPTIONS, ROOT, build_script, library, sanitized
from emulation.building import build, build_module

CALL = re.compile(r"\b(__syncthreads|__syncwarp|atomic\w+)\(")

pytestmark = [
    pytest.mark.skipif(build_script().compiler() is None, reason="no C++ compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="the emulation is for Linux"),
]


def sites():
    """FILE:LINE of every barrier and every atomic in the kernels, each a call on a line of its own."""
    found = []
    for path in sorted((ROOT / "csrc/cuda").glob("*.cu*")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.partition("//")[0]
            if CALL.search(code):
                assert len(CALL.findall(code)) == 1, f"{path.name}:{number} has several calls"
                assert code.count("(") == code.count(")"), f"{path.name}:{number} must hold the whole call"
                found.append(f"{path.name}:{number}")
    return found


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    """Lets tests/emulation/run.py work with the engine built for the CPU, under Address- and UB sanitizer."""
    pytest.importorskip("pybind11")
    # The second is there so that the first finds what throws exceptions, which Python itself does not bring.
    libraries = [library("libasan.so"), library("libstdc++.so")]
    if None in libraries:
        pytest.skip("the compiler has no AddressSanitizer that can be loaded beforehand")
    sanitize, folder = "-fsanitize=address,undefined", tmp_path_factory.mktemp("emulated")
    module = build_module(folder, [*sanitized(), sanitize], [sanitize])
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": ASAN_OPTIONS,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, Path(__file__).with_name("run.py"), module]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as worker:

        def run(*arguments, threads=64):
            printed, errors = (folder / name for name in ("printed", "errors"))
            for path in (printed, errors):
                path.write_text("")
            print(printed, errors, threads, *arguments, sep="\t", file=worker.stdin, flush=True)
            assert worker.stdout.readline() == "0\n", errors.read_text()[-3000:]
            return printed.read_text()

        yield run
        worker.stdin.close()


@pytest.mark.parametrize(
    ("schedule", "begin", "end"), [(0, 0, 24), (1, 40, 64), ("any", 80, 128)], ids=["forward", "reverse", "shuffled"]
)
def test_kernels_have_the_references_bits(emulated, schedule, begin, end):
    """Under each schedule as many problems as bring up every dtype and every layout."""
    assert emulated("cases", schedule, begin, end) == "equal\n"


def test_blocks_as_large_as_on_a_gpu(emulated):
    """Other plans than those of small blocks: several warps to a map, other numbers of units and combinations."""
    assert emulated("cases", "any", 160, 172, threads=256) == "equal\n"


def test_large_problems_and_launches_that_fail(emulated):
    assert emulated("special") == "equal\n"


def test_no_barrier_and_no_atomic_can_be_left_out(emulated, races):
    """A mutant that changes no result must at least be a race."""
    found = sites()
    assert len(found) >= 10
    told = dict(line.split("\t") for line in emulated("mutants", *found).splitlines())
    assert list(told) == found
    survivors = [site for site, how in told.items() if how == "survived" and not races(site)]
    assert survivors == []


@pytest.fixture(scope="module")
def races(tmp_path_factory):
    """What ThreadSanitizer tells of a race in the kernels on real threads, with a mutant or without; else nothing."""
    flags = [*sanitized(), "-fsanitize=thread", "-DDISSECT_EMULATE_THREADS"]
    files = [path for path in build_script().cuda_sources() if path.suffix == ".cu"]
    files.append(Path(__file__).with_name("races.cpp").relative_to(ROOT))
    program = build(tmp_path_factory.mktemp("races"), "races", files, flags, ["-pthread", "-fsanitize=thread"])

    def run(site=None):
        arguments = [] if site is None else site.split(":")
        environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1 exitcode=66"}
        done = subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0 or (done.returncode == 66 and "data race" in done.stderr), done.stderr[-3000:]
        return done.stderr[:6000] if done.returncode else ""

    return run


def test_kernels_have_no_race(races):
    assert races() == ""
