"""Every Triton kernel compiled for GPUs that are not here: no fused multiply-add, no flush to zero, few registers."""

import importlib
import re

import pytest
import torch

from dissect import Grid, ops
from dissect.ops import gpu

pytest.importorskip("triton")

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from dissect import kernels

from .offline import Launch, compiled, with_wide_strides

pytestmark = pytest.mark.skipif(
    gpu.triton_unavailable(torch.device("cpu")) is None, reason="TRITON_INTERPRET=1: nothing is compiled then"
)

#: Bytes of stack per thread: Triton 3.6's assembler puts some of iou_counts' scalars there, 3.9's nothing.
STACK = 80

OPS = (
    "blend_units",
    "encode_labels",
    "image_peaks",
    "iou_counts",
    "tail_histogram",
    "threshold_sweep",
    "upsample_argmax",
)

KERNELS = (
    "image_peaks_kernel",
    "iou_counts_kernel",
    "features_kernel",
    "pixels_kernel",
    "threshold_sweep_kernel",
    "upsample_argmax_kernel",
    "blend_units_kernel",
    "blend_units_backward_kernel",
    "claim_slots_kernel",
    "mark_firsts_kernel",
    "write_runs_kernel",
    "write_table_kernel",
)


@pytest.fixture(scope="module", autouse=True)
def _fresh_cache(tmp_path_factory):
    """Nothing is found that an earlier run compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


@pytest.fixture
def recorded(monkeypatch):
    """Every launch of the ops from now on, in order; nothing runs."""
    found = []

    def record(kernel, num_programs, *arguments, num_warps=1, **constants):
        found.append(Launch(kernel, arguments, constants, num_warps))

    for op in OPS:
        monkeypatch.setattr(importlib.import_module(f"dissect.kernels.{op}"), "launch", record)
    return found


@pytest.fixture
def launches(recorded):
    """Gives every launch of the ops, by kernel, for maps of a dtype and layout; nothing runs."""

    def launches_for(dtype, memory_format):
        maps = torch.zeros(2, 32, 14, 14, dtype=dtype).contiguous(memory_format=memory_format)
        planes = torch.zeros(2, 3, 224, 224, dtype=torch.int16)
        labels, grid = ops.encode_labels(planes, 5), Grid.half_pixel((14, 14), (224, 224))
        status, keys = ops.new_status(maps.device), torch.zeros(32, dtype=torch.int64)
        tail = (maps, keys, keys, keys, torch.zeros(32, 8, dtype=torch.int64), keys)
        operands = (torch.ones(1, 32, 1, 1), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
        kernels.image_peaks(maps, status)
        kernels.iou_counts(
            maps, torch.zeros(32), labels.runs, labels.table, labels.offsets, 5, grid.rows, grid.columns, status
        )
        kernels.tail_histogram(*tail, None, None, "value", status)
        kernels.tail_histogram(*tail, grid.rows, grid.columns, "value", status)
        swept = (torch.zeros(32, 9), torch.zeros(32, 5, 9, dtype=torch.int64), labels.runs, labels.table)
        kernels.threshold_sweep(maps, *swept, labels.offsets, 5, grid.rows, grid.columns, status)
        kernels.upsample_argmax(maps, grid.rows, grid.columns)
        kernels.blend_units(maps, *operands)
        kernels.blend_units_backward(maps, maps, *operands)
        kernels.Combinations(planes, 5).write(len(labels.table), labels.runs, labels.area)
        return {launch.kernel.__name__: launch for launch in recorded}

    return launches_for


def fused(ptx):
    """Fused multiply-adds of floats in PTX."""
    return re.findall(r"\bfma\.\S*f(?:16|32|64)\S*", ptx)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(
    ("capability", "dtype", "memory_format"),
    [(90, torch.bfloat16, torch.channels_last), (80, torch.float32, torch.contiguous_format)],
    ids=["sm_90-bfloat16-channels_last", "sm_80-float32-contiguous"],
)
def test_machine_code(name, capability, dtype, memory_format, launches, record_property):
    found = launches(dtype, memory_format)
    assert found.keys() == set(KERNELS)
    code = compiled(found[name], capability)
    assert f".target sm_{capability}" in code.ptx
    assert not fused(code.ptx)
    assert ".ftz" not in code.ptx
    sass = code.instructions()
    assert re.search(r"\bEXIT\b", sass)
    # A product of zeros is how the assembler loads a constant.
    assert not re.findall(r"\b[FHD]FMA2?\b\S* \w+, (?!-RZ, RZ)", sass)
    # The only flush is within an integer division, of a quotient that is no subnormal.
    assert set(re.findall(r"\b(\w+)[.\w]*\.FTZ", sass)) <= {"F2I"}
    assert code.stack <= STACK
    record_property("registers", code.registers)
    print(f"{name} sm_{capability}: {code.registers} registers, {code.stack} bytes of stack")


@pytest.mark.parametrize(
    ("dtype", "size", "target", "sample", "planes_dtype"),
    [
        (torch.float16, 7, 7, "min", torch.int64),
        (torch.float32, 14, 56, "max", torch.uint8),
        (torch.bfloat16, 7, 56, "min", torch.int32),
    ],
    ids=["float16-tile1", "float32-tile4", "bfloat16-tile8"],
)
def test_rarer_variants_compile_too(dtype, size, target, sample, planes_dtype, recorded):
    """Sliced maps, small tiles, runs of 64 bits, other planes, value maps, in place, strides of 64 bits."""
    maps = torch.zeros(2, 32, size, size + 1, dtype=dtype)[..., :size]
    planes = torch.zeros(2, 3, target, target, dtype=planes_dtype)
    labels, grid = ops.encode_labels(planes, 5), Grid.half_pixel((size, size), (target, target))
    status, keys, runs = ops.new_status(maps.device), torch.zeros(32, dtype=torch.int64), labels.runs.long()
    tail = (maps, keys, keys, keys, torch.zeros(32, 8, dtype=torch.int64), keys)
    operands = (torch.ones(2, 32, 1, 1), torch.ones(2, 32, size, size), torch.ones(1, 1, size, size))
    kernels.image_peaks(maps, status)
    kernels.iou_counts(maps, torch.zeros(32), runs, labels.table, labels.offsets, 5, grid.rows, grid.columns, status)
    kernels.tail_histogram(*tail, None, None, "value", status)
    kernels.tail_histogram(*tail, grid.rows, grid.columns, sample, status)
    starts, counts = torch.zeros(3, dtype=torch.int64), torch.zeros(8, dtype=torch.int32)
    by_image = (runs, labels.table, labels.offsets, grid.rows, grid.columns, starts, counts, status)
    kernels.iou_counts_by_image(maps, torch.zeros(32), *by_image)
    swept = (torch.zeros(32, 9), torch.zeros(32, 5, 9, dtype=torch.int64), runs, labels.table)
    kernels.threshold_sweep(maps, *swept, labels.offsets, 5, grid.rows, grid.columns, status)
    kernels.upsample_argmax(maps, grid.rows, grid.columns)
    kernels.blend_units_(maps, *operands)
    kernels.blend_units_backward(maps, maps, *operands)
    kernels.Combinations(planes, 5).write(len(labels.table), runs, labels.area)
    assert {launch.kernel.__name__ for launch in recorded} == set(KERNELS)
    for launch in [*recorded, with_wide_strides(recorded[1])]:
        code = compiled(launch, 90)
        assert not fused(code.ptx), launch.kernel.__name__
        assert ".ftz" not in code.ptx, launch.kernel.__name__
        assert code.stack <= STACK, launch.kernel.__name__


@triton.jit
def careless(values, out):
    """The sampling rule's step, to be compiled as Triton does by default."""
    lanes = tl.arange(0, 32)
    first, second = tl.load(values + lanes), tl.load(values + 32 + lanes)
    tl.store(out + lanes, first + (second - first) * tl.load(values + 64 + lanes))


def test_the_test_would_find_a_fused_operation():
    source = ASTSource(careless, {"values": "*fp32", "out": "*fp32"})
    with_fusion, without = (
        triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"enable_fp_fusion": fusion}).asm["ptx"]
        for fusion in (True, False)
    )
    assert fused(with_fusion)
    assert not fused(without)


def test_a_new_shape_compiles_nothing():
    # What Triton would compile anew for: the types of the arguments, whether an integer is 1 or divisible by 16, and
    # the constants. Sizes and strides are exempt from the second.
    for name in KERNELS:
        module = next(m for m in OPS if hasattr(importlib.import_module(f"dissect.kernels.{m}"), name))
        kernel = getattr(importlib.import_module(f"dissect.kernels.{module}"), name)
        for parameter in kernel.params:
            is_size = parameter.name.startswith(("num_", "stride_")) or parameter.name in ("height", "width")
            assert parameter.do_not_specialize or parameter.is_constexpr or not is_size, (name, parameter.name)
