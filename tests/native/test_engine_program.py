"""The C++ engine in a program of its own: clean under sanitizers, the same bits at every SIMD level and on aarch64."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compiling import ROOT, build_script, library, sanitized, sanitizing_script

from dissect.ops import native

SANITIZERS = {"address": "address,undefined", "thread": "thread"}
LEVELS = native.engine().simd_levels() if native.unavailable() is None else ["baseline"]


def build(folder, compile_flags, link_flags, for_this_machine=True, of_python=False):
    """The program that runs every op on random problems; of Python, the engine.

    What both are made of is compiled once in a folder.
    """
    script = sanitizing_script()
    script.X86 = script.X86 and for_this_machine
    for level in {"avx2", "avx512"} - set(LEVELS):  # which is there to be linked, but cannot run
        script.LEVEL_FLAGS[f"_{level}.cpp"] += ["-O0", "-fno-sanitize=all"]
    sources = [path for path in script.sources() if path.name != "bindings.cpp"]
    sources.append(Path("csrc/bindings.cpp" if of_python else "tests/native/engine_test.cpp"))
    target = folder / ("_C.so" if of_python else "engine_test")
    flags = [*script.engine_flags(), *compile_flags]
    script.write_ninja(folder, target, sources, flags, [*link_flags, *(["-shared"] if of_python else [])])
    script.run_ninja(folder)
    return target


def run(*command, level="baseline"):
    """What the program prints."""
    environment = {**os.environ, "DISSECT_SIMD": level, "TSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run([*command, "60"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rounds, digest = done.stdout.strip().split(": ")
    assert rounds == f"60 rounds at level {level}"
    return digest


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Builds with a sanitizer, in one folder for each."""
    if build_script().compiler() is None:
        pytest.skip("no C++ compiler")
    folders = {name: tmp_path_factory.mktemp(name) for name in SANITIZERS}

    def built(name, of_python=False):
        sanitize = f"-fsanitize={SANITIZERS[name]}"
        return build(folders[name], [*sanitized(), sanitize], ["-pthread", sanitize], of_python=of_python)

    return built


@pytest.fixture(scope="module", params=SANITIZERS)
def program(request, checked):
    return checked(request.param)


@pytest.fixture(scope="module")
def digest(tmp_path_factory):
    """What the plainest build prints: no vector instructions but the processor family's own."""
    if build_script().compiler() is None:
        pytest.skip("no C++ compiler")
    return run(build(tmp_path_factory.mktemp("plain"), ["-O1"], ["-pthread"], for_this_machine=False))


@pytest.mark.parametrize("level", LEVELS)
def test_the_engine_is_clean_and_every_level_has_the_same_bits(program, level, digest):
    assert run(program, level=level) == digest


def test_fuzzed_calls_are_clean_under_the_address_sanitizer(checked):
    runtime = [library("libasan.so"), library("libstdc++.so")]
    if not all(runtime):
        pytest.skip("no C++ compiler with an address sanitizer")
    # One process for both, since torch takes long to start under a sanitizer; the engine is calls.py's to load.
    code = "import calls, direct; calls.main(2000, 4000); direct.main(2000, 4000)"
    command = [sys.executable, "-c", code, "2000", "4000", checked("address", of_python=True)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env={**os.environ, "LD_PRELOAD": " ".join(runtime), "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "1",
             "PYTHONPATH": os.pathsep.join([str(ROOT / "tests/fuzz"), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, f"after {done.stdout[-60:]}: {done.stderr[-3000:]}"
    assert done.stdout.count("answered") == 2


def test_aarch64_has_the_same_bits(tmp_path, monkeypatch, digest):
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("aarch64-linux-gnu-g++ and qemu-aarch64 are needed")
    monkeypatch.setenv("CXX", compiler)
    program = build(tmp_path, ["-O2"], ["-pthread", "-static"], for_this_machine=False)
    assert run(emulator, program) == digest
