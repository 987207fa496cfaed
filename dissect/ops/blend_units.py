"""blend_units: ablation and insertion, the one intervention on features from which the others are made."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from torch import Tensor

from dissect.ops import checks
from dissect.ops.backends.arguments import Blend
from dissect.ops.dispatch import LIBRARY, implementation, register
from dissect.subnormals import keeps_subnormals


def blend_units(
    features: Tensor,
    alpha: Tensor,
    value: Tensor | float = 0.0,
    mask: Tensor | None = None,
    *,
    inplace: bool = False,
    backend: str = "auto",
) -> Tensor:
    """``a * value + (1 - a) * r`` with ``a = alpha * mask``: r's own bits at a = 0, exactly the value at a = 1.

    Ablation is alpha 1 and value 0; insertion of a constant k is alpha 1 and value k (Bau et al. 2020, "Role of Units
    in GANs"). Computed in float32 and rounded once. There is no 0 * inf: what a factor 0 removes is gone.

    Args:
        features: [N, U, h, w] float32, float16 or bfloat16, any strides: r.
        alpha: [U] or [N, U], usually between 0 and 1; where it or the mask is 0, a is 0, whatever the other is.
        value: a number, [U], or a feature map that broadcasts to [N, U, h, w].
        mask: where to blend: broadcasts to [N, 1, h, w], e.g. [h, w] or [N, 1, h, w]; everywhere by default.
        inplace: write into `features`, whose planes with alpha 0 are then neither read nor written.
        backend: "auto", "cpp", "cuda", "triton", "torch" or "reference".

    Returns:
        The blended features, of the features' dtype; `features` itself where inplace. Differentiable in features,
        alpha and value unless inplace.

    Raises:
        TypeError: features of another dtype; alpha, value or mask that is no tensor (a value may be a number), no plain
            one, or complex.
        ValueError: shapes or devices that do not fit; a value beyond all floats; inplace where autograd would need the
            old values, or on features whose elements share memory, or that inference mode made.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> features = torch.ones(1, 3, 1, 2)
        >>> dissect.ops.blend_units(features, torch.tensor([0.0, 1.0, 0.5])).flatten(1)
        tensor([[1.0000, 1.0000, 0.0000, 0.0000, 0.5000, 0.5000]])
    """
    checks.backend("blend_units", backend)
    checks.activations("blend_units", features, "features")
    operands = blend_operands(features, alpha, value, mask)
    if not inplace:
        blended: Tensor = torch.ops.dissect.blend_units(features, *operands, backend)
        return blended
    torch.ops.dissect.blend_units_(features, *inplace_operands(features, operands), backend)
    return features


@keeps_subnormals
def blend_operands(features: Tensor, alpha: Tensor, value: Tensor | float, mask: Tensor | None) -> Blend:
    """Alpha, value and mask as float32 that broadcasts to [N, U, h, w].

    Raises:
        TypeError: one that is no tensor.
        ValueError: shapes or devices that do not fit.
    """
    return Blend(_alpha(features, alpha), _value(features, value), _mask(features, mask))


def inplace_operands(features: Tensor, operands: Blend) -> Blend:
    """The operands, a copy of those that are views of the features; refuses features that must not be written.

    Raises:
        ValueError: autograd would need the old values, or the features' elements share memory or inference mode made
            them.
    """
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (features, *operands)):
        raise ValueError(
            "blend_units: inplace must come with torch.no_grad() or tensors that need no gradient, "
            "since autograd would lose the old values."
        )
    checks.written("blend_units", "features", features)
    if torch.compiler.is_compiling():
        return operands
    written = features.untyped_storage().data_ptr()
    return Blend(*(each.clone() if each.untyped_storage().data_ptr() == written else each for each in operands))


def _alpha(features: Tensor, alpha: Tensor) -> Tensor:
    """[1 or N, U, 1, 1] float32."""
    num_images, num_units = features.shape[:2]
    _check_operand("alpha", alpha, features)
    if alpha.shape not in ((num_units,), (num_images, num_units)):
        raise ValueError(
            f"blend_units: alpha must have shape [U] or [N, U] with N={num_images}, U={num_units}, "
            f"but got {list(alpha.shape)}."
        )
    return alpha.float().reshape(num_images if alpha.ndim == 2 else 1, num_units, 1, 1)


def _value(features: Tensor, value: Tensor | float) -> Tensor:
    """float32 that broadcasts to the features; a vector counts as one value per unit."""
    if not isinstance(value, Tensor):
        if not isinstance(value, Real):  # which numpy's numbers are too
            checks.tensor("blend_units", "value", value, "a number or a torch.Tensor")
        try:
            number = float(value)
        except OverflowError:
            raise ValueError("blend_units: value must fit in a float, but is an integer beyond all of them.") from None
        return torch.full((1, 1, 1, 1), number, dtype=torch.float32, device=features.device)
    _check_operand("value", value, features)
    value = value.float()
    if value.ndim == 1 and len(value) == features.shape[1]:
        value = value[:, None, None]
    return _broadcast("value", value, list(features.shape))


def _mask(features: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.ones(1, 1, 1, 1, dtype=torch.float32, device=features.device)
    _check_operand("mask", mask, features)
    return _broadcast("mask", mask.float(), [features.shape[0], 1, *features.shape[2:]])


def _check_operand(name: str, value: Tensor, features: Tensor) -> None:
    checks.same_device("blend_units", name, value, features, "features")
    if value.is_complex():
        raise TypeError(f"blend_units: {name} must hold real numbers, but got {value.dtype}.")


def _broadcast(name: str, value: Tensor, shape: list[int]) -> Tensor:
    """The value with four dimensions, each 1 or the full size."""
    fits = value.ndim <= 4 and all(a in (1, b) for a, b in zip(reversed(value.shape), reversed(shape)))
    if not fits:
        raise ValueError(f"blend_units: {name} must broadcast to {shape}, but got {list(value.shape)}.")
    return value.reshape([1] * (4 - value.ndim) + list(value.shape))


def blend_of(features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor) -> Blend:
    """The operands, also of a call that did not come by `dissect.ops`.

    Raises:
        TypeError: one that is not float32.
        ValueError: one on another device.
    """
    if not alpha.dtype is value.dtype is mask.dtype is torch.float32:
        raise TypeError(
            f"blend_units: alpha, value and mask must be float32, but got {alpha.dtype}, {value.dtype}, {mask.dtype}."
        )
    if not alpha.device == value.device == mask.device == features.device:
        for name, operand in (("alpha", alpha), ("value", value), ("mask", mask)):
            checks.same_device("blend_units", name, operand, features, "features")
    return Blend(alpha, value, mask)


def _blend_units(features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor, backend: str) -> Tensor:
    serve = implementation("blend_units", backend, features.device)
    blended: Tensor = serve(features, blend_of(features, alpha, value, mask))
    return blended


def _blend_units_inplace(features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor, backend: str) -> None:
    serve = implementation("blend_units", backend, features.device, "blend_units_")
    serve(features, blend_of(features, alpha, value, mask))


@keeps_subnormals
def _blend_units_backward(
    gradient: Tensor, features: Tensor, alpha: Tensor, value: Tensor, mask: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    serve = implementation("blend_units", backend, features.device, "blend_units_backward")
    gradients: tuple[Tensor, Tensor, Tensor] = serve(gradient, features, Blend(alpha, value, mask))
    return gradients


register(
    "blend_units(Tensor features, Tensor alpha, Tensor value, Tensor mask, str backend) -> Tensor",
    _blend_units,
    lambda features, *arguments: torch.empty_like(features),
)
register(
    "blend_units_(Tensor(a!) features, Tensor alpha, Tensor value, Tensor mask, str backend) -> ()",
    _blend_units_inplace,
    lambda *arguments: None,
    mutates_first=True,
)
register(
    "blend_units_backward(Tensor gradient, Tensor features, Tensor alpha, Tensor value, Tensor mask, str backend) -> "
    "(Tensor, Tensor, Tensor)",
    _blend_units_backward,
    lambda gradient, features, alpha, value, *arguments: (
        torch.empty_like(features),
        alpha.new_empty(alpha.shape),
        value.new_empty(value.shape),
    ),
)


def _keep_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.backend = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.dissect.blend_units_backward(gradient, *ctx.saved_tensors, ctx.backend)
    return *gradients, None, None


torch.library.register_autograd("dissect::blend_units", _backward, setup_context=_keep_for_backward, lib=LIBRARY)
