"""What the tests that compile the engines share: the build script, and how a build is checked while it runs."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: For Python under the address sanitizer: less memory than usual is kept from use after it was freed, and fewer callers
#: of whoever asked for it are noted, which saves a fifth of the time.
ASAN_OPTIONS = "detect_leaks=0:quarantine_size_mb=32:malloc_context_size=5"


def build_script():
    """build_engine.py, as a module of its own for each caller, who may change it."""
    spec = importlib.util.spec_from_file_location("build_script", ROOT / "build_engine.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sanitizing_script():
    """The same for builds under sanitizers, but that pybind11's pointers are not checked one by one.

    That takes a third of the time to compile bindings.cpp; a bad one is a crash under the address sanitizer.
    """
    script = build_script()
    own = script.python_flags
    script.python_flags = lambda: [*own(), "-fno-sanitize=vptr,null,alignment"]
    return script


def sanitized():
    """Flags of a build that is checked while it runs, but for what is looked for (-fsanitize)."""
    flags = ["-Og", "-g1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
    if "g++" in (build_script().compiler() or ""):
        # Each access is checked by a call, not by code in its place: as much is found, in a third less time to compile.
        flags += ["--param", "asan-instrumentation-with-call-threshold=0"]
    return flags


def library(name):
    """Where the compiler has a library of its own; None where there is none, or it is not g++."""
    if shutil.which("g++") is None:
        return None
    found = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = found.stdout.strip()
    return path if os.path.isabs(path) and os.path.exists(path) else None
