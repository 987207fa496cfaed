"""The arithmetic that decides a bit, shared by all kernels: the sampling rule, keys of floats, what is no activation.

Kernels are launched with `enable_fp_fusion=False`, so that every operation here rounds by itself. The references are
`dissect/reference/sampling.py` and `tail_histogram.py`.
"""

import triton
import triton.language as tl


@triton.jit
def interpolate(a0, a1, weight):
    """a0 at weight 0, towards a1 as the weight grows; stays between the two (Grid's laws)."""
    return a0 + (a1 - a0) * weight


@triton.jit
def sample(a00, a01, a10, a11, wy, wx):
    """The sampling rule of `dissect.Grid`."""
    return interpolate(interpolate(a00, a10, wy), interpolate(a01, a11, wy), wx)


@triton.jit
def is_bad(values):
    """NaN, infinity and magnitudes from 2^126: their differences could overflow."""
    return (values.to(tl.int32, bitcast=True) & 0x7FFFFFFF) >= 0x7E800000


@triton.jit
def order_of(values):
    """int32 in the order of the float32 values: `reference.keys_of` less 2^31. Both zeros give 0."""
    bits = values.to(tl.int32, bitcast=True)
    return tl.where(values == 0, 0, tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits))


@triton.jit
def order_of_half(values):
    """The same of float16 or bfloat16 values: `reference.keys_of` less 2^15."""
    bits = values.to(tl.int16, bitcast=True).to(tl.int32)
    return tl.where(bits == -32768, 0, tl.where(bits < 0, bits ^ 0x7FFF, bits))


@triton.jit
def widen(values):
    """Stored values in float32, exactly."""
    if values.dtype == tl.bfloat16:
        # In integers, since Triton's interpreter loses subnormals.
        return (values.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    return values.to(tl.float32)


@triton.jit
def narrow(values, dtype: tl.constexpr):
    """float32 values in the dtype, rounded to nearest, ties to even."""
    if dtype == tl.bfloat16:
        # In integers, since Triton's interpreter would cut the last bits off. A NaN stays one.
        bits = values.to(tl.uint32, bitcast=True)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        kept = tl.where((bits & 0x7FFFFFFF) > 0x7F800000, (bits >> 16) | 0x40, rounded)
        return kept.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return values.to(dtype)
