"""The C++ engine under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer, at every SIMD level."""

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from dissect.ops import native

ROOT = Path(__file__).resolve().parents[2]
SANITIZERS = {"address": "address,undefined", "thread": "thread"}


def build_script():
    spec = importlib.util.spec_from_file_location("build_script", ROOT / "build_engine.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=SANITIZERS)
def program(request, tmp_path_factory):
    build = build_script()
    if build.compiler() is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp(request.param)
    flags = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
    flags.append(f"-fsanitize={SANITIZERS[request.param]}")
    sources = [path for path in build.sources() if path.name != "bindings.cpp"]
    build.write_ninja(
        folder,
        folder / "engine_test",
        [*sources, Path("tests/native/engine_test.cpp")],
        compile_flags=[*build.engine_flags(), *flags],
        link_flags=["-pthread", flags[-1]],
    )
    build.run_ninja(folder)
    return folder / "engine_test"


@pytest.mark.parametrize("level", native.engine().simd_levels() if native.unavailable() is None else ["baseline"])
def test_the_engine_is_clean(program, level):
    environment = {**os.environ, "DISSECT_SIMD": level, "TSAN_OPTIONS": "halt_on_error=1"}
    done = subprocess.run([program, "60"], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == f"60 rounds at level {level}\n"
