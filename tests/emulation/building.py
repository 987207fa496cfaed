"""Builds the CUDA engine for the CPU: the same sources, with tests/emulation/cuda_on_cpu.h as their runtime."""

from pathlib import Path

from compiling import build_script, sanitizing_script

HERE = Path(__file__).resolve().parent
EMULATE = "-DDISSECT_EMULATE -Wno-unknown-pragmas -Wno-unused-parameter -Wno-maybe-uninitialized"


def build(folder, target, files, flags, link_flags):
    """The target's path."""
    script = sanitizing_script()
    own = [*EMULATE.split(), f"-I{HERE}"]
    script.write_ninja(folder, folder / target, files, [*script.engine_flags(), *own, *flags], link_flags)
    script.run_ninja(folder)
    return folder / target


def build_module(folder, flags, link_flags):
    """The extension `_cuda`, which runs on the CPU."""
    return build(folder, "_cuda.so", build_script().cuda_sources(), flags, ["-shared", *link_flags])
