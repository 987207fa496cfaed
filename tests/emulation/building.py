"""Builds the CUDA engine for the CPU: the same sources, with tests/emulation/cuda_on_cpu.h as their runtime."""

import os
import shlex
import subprocess
from pathlib import Path

from compiling import ROOT, build_script, sanitizing_script

HERE = Path(__file__).resolve().parent
EMULATE = "-DDISSECT_EMULATE -Wno-unknown-pragmas -Wno-unused-parameter -Wno-maybe-uninitialized"


def build(folder, target, files, flags, link_flags):
    """The target's path."""
    script = sanitizing_script()
    flags = [*script.engine_flags(), *EMULATE.split(), f"-I{HERE}", *flags]
    header = compiled_header(folder, [*shlex.split(script.compiler()), *flags])
    script.write_ninja(folder, folder / target, files, [*flags, "-include", str(header), "-Winvalid-pch"], link_flags)
    script.run_ninja(folder)
    return folder / target


def compiled_header(folder, command):
    """What all kernels include, read once: the compiler takes the file beside the header in its place."""
    header = folder / "kernels.h"
    header.write_text('#include "cuda/device.h"\n')
    words = [*command, *shlex.split(os.environ.get("CXXFLAGS", "")), "-x", "c++-header", str(header)]
    subprocess.run([*words, "-o", f"{header}.gch"], check=True, cwd=ROOT)
    return header


def build_module(folder, flags, link_flags):
    """The extension `_cuda`, which runs on the CPU."""
    return build(folder, "_cuda.so", build_script().cuda_sources(), flags, ["-shared", *link_flags])
