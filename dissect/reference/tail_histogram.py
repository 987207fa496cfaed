"""Histograms over order-preserving integer keys of floats: what an exact order statistic is found with."""

import torch
from torch import Tensor

from dissect.reference.sampling import corners, upsample
from dissect.subnormals import keeps_subnormals


@keeps_subnormals
def keys_of(values: Tensor) -> Tensor:
    """Integers in the order of the floats: int64 in [0, 2^32) for float32, in [0, 2^16) for 16-bit types.

    The two zeros share one key.

    Raises:
        TypeError: another dtype.
    """
    if values.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise TypeError(f"keys_of: values must be float32, float16 or bfloat16, but got {values.dtype}.")
    bits = 16 if values.element_size() == 2 else 32
    pattern = (values + 0.0).view(torch.int16 if bits == 16 else torch.int32).long()
    # A negative float's pattern falls as the float grows, so all its bits but the sign are turned round.
    ordered = torch.where(pattern < 0, pattern ^ ((1 << (bits - 1)) - 1), pattern)
    return ordered + (1 << (bits - 1))


def values_of(keys: Tensor, dtype: torch.dtype) -> Tensor:
    """The floats of `dtype` that have these keys, the inverse of `keys_of`; keys of no finite float give NaN or inf."""
    bits = 16 if dtype.itemsize == 2 else 32
    ordered = keys - (1 << (bits - 1))
    pattern = torch.where(ordered < 0, ordered ^ ((1 << (bits - 1)) - 1), ordered)
    return pattern.to(torch.int16 if bits == 16 else torch.int32).view(dtype)


@keeps_subnormals
def tail_histogram(
    activations: Tensor,
    low: Tensor,
    high: Tensor,
    shift: Tensor,
    num_bins: int,
    rows: Tensor | None,
    columns: Tensor | None,
    sample: str = "value",
) -> tuple[Tensor, Tensor]:
    """Samples per unit whose key lies within [low, high], in bins of 2^shift keys, and those above.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16.
        low: [U] int64, the smallest key counted; a unit whose low exceeds its high is left out.
        high: [U] int64, the largest key counted in a bin; ``(high - low) >> shift`` must be below num_bins.
        shift: [U] int64; a key falls in bin ``(key - low) >> shift``.
        num_bins: B.
        rows: [H, 3] int32 table of `Grid.rows`; None with columns None: the samples are the feature map's own cells.
        columns: [W, 3] int32 table of `Grid.columns`.
        sample: what a target pixel contributes: its "value", or the smallest ("min") or largest ("max") of its four
            corners, which bound the value. Without tables a cell contributes itself.

    Returns:
        bins: [U, B] int64.
        above: [U] int64, samples with a key above high.
    """
    num_units = activations.shape[1]
    bins = torch.zeros(num_units, num_bins, dtype=torch.int64, device=activations.device)
    above = torch.zeros(num_units, dtype=torch.int64, device=activations.device)
    for image in activations:
        keys = keys_of(_samples(image, rows, columns, sample)).flatten(1)
        above += ((keys > high[:, None]) & (low <= high)[:, None]).sum(1)
        within = (keys >= low[:, None]) & (keys <= high[:, None])
        bin_of = ((keys - low[:, None]) >> shift[:, None]).clamp(0, num_bins - 1)
        bins.scatter_add_(1, bin_of, within.long())
    return bins, above


def _samples(image: Tensor, rows: Tensor | None, columns: Tensor | None, sample: str) -> Tensor:
    if rows is None or columns is None:
        return image
    if sample == "value":
        return upsample(image, rows, columns)
    a00, a01, a10, a11 = corners(image, rows, columns)
    pick = torch.minimum if sample == "min" else torch.maximum
    return pick(pick(a00, a01), pick(a10, a11))
