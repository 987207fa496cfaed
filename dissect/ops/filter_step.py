"""filter_step: a step of Adam for 3x3 filters, and what they give after it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dissect.ops import checks
from dissect.ops.dispatch import implementation, register

#: Outputs of a block, and frequencies of a tile.
BLOCK = FREQUENCIES = 16


def filter_step(
    state: Tensor, tiles: Tensor, gradient: Tensor, step: int, rate: float, *, backend: str = "auto"
) -> Tensor:
    """A step of Adam for the filters of a 3x3 convolution, in place, and their product with keys after it.

    In Winograd's form F(2x2, 3x3), in which both products take 16 multiplications where they have 36; see
    `dissect.reference.filter_step`, which has the equations, and `dissect.rewriting`, which uses it. On a CPU each
    number of the weight and of Adam's moments is read and written once. Values are not checked.

    Args:
        state: [3, B, I, 9, 16] float32, contiguous: weight, first and second moment of 16 B outputs and I channels.
        tiles: [I, 16, T] float32, of keys.
        gradient: [B, 16, T, 16] float32, of the loss by the values.
        step: t, from 1.
        rate: of Adam, whose decays are .9 and .999 and whose epsilon is 1e-8.
        backend: "auto", "cpp", "torch" or "reference".

    Returns:
        [B, 16, T, 16] float32, the product of the filters after the step with the keys.

    Raises:
        TypeError: another dtype, no tensor, a step that is no integer.
        ValueError: shapes or devices that do not fit; a state that is not contiguous, or that autograd would need; a
            step below 1; a rate that is not finite and above 0.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> state = torch.zeros(3, 1, 1, 9, 16)
        >>> tiles, gradient = torch.ones(1, 16, 1), torch.ones(1, 16, 1, 16)
        >>> product = dissect.ops.filter_step(state, tiles, gradient, 1, 0.5)
        >>> state[:, 0, 0, 0, 0], product.shape  # gradient 4
        (tensor([-0.5000,  0.4000,  0.0160]), torch.Size([1, 16, 1, 16]))
    """
    checks.backend("filter_step", backend)
    for name, value in (("state", state), ("tiles", tiles), ("gradient", gradient)):
        checks.tensor("filter_step", name, value)
        checks.on_a_device("filter_step", name, value)
        if value.dtype is not torch.float32:
            raise TypeError(f"filter_step: {name} must be float32, but got {value.dtype}.")
        checks.same_device("filter_step", name, value, state, "state")
    if state.ndim != 5 or state.shape[0] != 3 or state.shape[3:] != (9, BLOCK):
        raise ValueError(f"filter_step: state must have shape [3, B, I, 9, {BLOCK}], but got {list(state.shape)}.")
    _, blocks, channels, *_ = state.shape
    if tiles.ndim != 3 or tiles.shape[:2] != (channels, FREQUENCIES):
        raise ValueError(
            f"filter_step: tiles must have shape [I, {FREQUENCIES}, T] with I={channels} (from state), but got "
            f"{list(tiles.shape)}."
        )
    shape = (blocks, FREQUENCIES, tiles.shape[2], BLOCK)
    if gradient.shape != shape:
        raise ValueError(f"filter_step: gradient must have shape {list(shape)}, but got {list(gradient.shape)}.")
    if torch.is_grad_enabled() and any(value.requires_grad for value in (state, tiles, gradient)):
        raise ValueError("filter_step: it must come with torch.no_grad() or tensors that need no gradient.")
    if not state.is_contiguous():
        raise ValueError("filter_step: state, which is written, must be contiguous.")
    checks.written("filter_step", "state", state)
    checks.apart("filter_step", ("state", "tiles", "gradient"), (state, tiles, gradient), 1)
    step, rate = checks.integer("filter_step", "step", step, 1), float(rate)
    if not 0 < rate < math.inf:
        raise ValueError(f"filter_step: rate must be above 0 and finite, but is {rate}.")
    product: Tensor = torch.ops.dissect.filter_step(state, tiles, gradient, step, rate, backend)
    return product


def _filter_step(state: Tensor, tiles: Tensor, gradient: Tensor, step: int, rate: float, backend: str) -> Tensor:
    size, root = rate / (1 - 0.9**step), 1 / math.sqrt(1 - 0.999**step)
    product: Tensor = implementation("filter_step", backend, state.device)(state, tiles, gradient, size, root)
    return product


register(
    "filter_step(Tensor(a!) state, Tensor tiles, Tensor gradient, int step, float rate, str backend) -> Tensor",
    _filter_step,
    lambda state, tiles, gradient, *arguments: torch.empty_like(gradient, memory_format=torch.contiguous_format),
    mutates_first=True,
)
