"""Machine code of the kernels without a GPU: what a launch would compile, compiled for a GPU that is not here."""

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.uint8: "*u8",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


class Launch(NamedTuple):
    """What `dissect.kernels.launch.launch` was called with."""

    kernel: object
    arguments: tuple
    constants: dict
    num_warps: int


class MachineCode(NamedTuple):
    """A compiled kernel.

    Attributes:
        ptx: what Triton wrote.
        cubin: what the assembler made of it.
        registers: per thread.
        stack: bytes per thread: what did not fit in registers.
    """

    ptx: str
    cubin: bytes
    registers: int
    stack: int

    def instructions(self) -> str:
        """The assembler's, as text; jumps are not followed, which would take as long again."""
        with tempfile.TemporaryDirectory() as folder:
            binary = Path(folder) / "kernel.cubin"
            binary.write_bytes(self.cubin)
            return _output(TOOLS / "nvdisasm", "-c", "-ndf", binary)


def with_wide_strides(launch: Launch) -> Launch:
    """The same launch for tensors whose strides need 64 bits."""
    named = zip(launch.kernel.arg_names, launch.arguments)
    wide = tuple(1 << 33 if name.startswith("stride_") else argument for name, argument in named)
    return launch._replace(arguments=wide)


def compiled(launch: Launch, capability: int) -> MachineCode:
    """The machine code of a launch for a GPU of this compute capability, e.g. 90."""
    names = launch.kernel.arg_names
    signature, values = dict.fromkeys(names, "constexpr"), dict(launch.constants)
    for name, argument in zip(names, launch.arguments):
        if isinstance(argument, torch.Tensor):
            signature[name] = POINTERS[argument.dtype]
        elif isinstance(argument, int):
            signature[name] = "i32" if -(1 << 31) <= argument < 1 << 31 else "i64"  # as Triton's launcher types it
        else:
            signature[name] = "fp32"
    source = ASTSource(launch.kernel, signature, values)
    options = {"num_warps": launch.num_warps, "enable_fp_fusion": False}
    asm = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).asm
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(asm["cubin"])
        usage = _output(TOOLS / "cuobjdump", "-res-usage", binary)
    registers, stack = (int(re.search(rf"\b{name}:(\d+)", usage)[1]) for name in ("REG", "STACK"))
    return MachineCode(asm["ptx"], asm["cubin"], registers, stack)


def _output(*command: object) -> str:
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
