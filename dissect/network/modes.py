"""The one rule for evaluation mode.

What is measured of a network must not depend on chance or on what else is in the batch. Where a network is compared
with itself under edits, a difference that dropout makes would be taken for an effect, so training mode is refused
(`check_evaluating`). A dissection tells of parts that are random or look at the batch (`tell_training`), and refuses
nothing: activations under dropout may be what one wants to see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, tell
from dissect.network.layers import check_weights
from dissect.network.outputs import tensors

_NOT_REPEATABLE = (
    "the network must give the same when it runs again on the same, but two passes differ, though it is in evaluation "
    "mode: some part draws random numbers all the same (a functional dropout without training=self.training, noise, "
    "patches left out by chance); turn that off, or fix what it draws."
)


def check_evaluating(model: nn.Module) -> None:
    """Refuses a network whose predictions depend on chance or on the batch.

    Raises:
        ValueError: some part of it is in training mode, or normalises with the batch's statistics; or its weights have
            no values.
    """
    check_weights(model)
    for name, module in model.named_modules():
        if module.training:
            raise refusal(
                ValueError(
                    f"the network must be in evaluation mode, but {name or 'it'} ({type(module).__name__}) is in "
                    "training mode (batch statistics, dropout); call model.eval()."
                )
            )
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise refusal(
                ValueError(
                    f"the network must treat each image alone, but {name!r} ({type(module).__name__}) normalises with "
                    "the batch's statistics, since it has no running ones."
                )
            )


@contextmanager
def noticed_chance(device: torch.device) -> Iterator[list[bool]]:
    """Within a ``with`` block of passes; what it gives holds something after it if torch drew random numbers there."""
    found: list[bool] = []
    before = _random_state(device)
    yield found
    if any(not torch.equal(one, other) for one, other in zip(before, _random_state(device))):
        found.append(True)


def _random_state(device: torch.device) -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def check_repeatable(model: nn.Module, images: Tensor) -> None:
    """Refuses a network that gives something else of the same images when it runs again, though it is evaluating.

    Raises:
        ValueError: it does.
    """
    with torch.no_grad():
        first, second = (list(tensors(model(images))) for _ in range(2))
    if not same_bits(first, second):
        raise refusal(ValueError(_NOT_REPEATABLE))


def repeatable(run: Callable[[], Any], device: torch.device) -> Any:
    """What a pass gives; where it drew random numbers it runs again, and must give the same.

    Raises:
        ValueError: it gives something else.
    """
    with noticed_chance(device) as drawn:
        found = run()
    if drawn and not same_bits(list(tensors(found)), list(tensors(run()))):
        raise refusal(ValueError(_NOT_REPEATABLE))
    return found


def tell_chance() -> None:
    """Warns of a network whose activations are others at the second pass over the same images."""
    tell(
        "the model draws random numbers as it runs, though it is in evaluation mode, and two passes over the same "
        "images gave other activations: the result is of one draw (a functional dropout without "
        "training=self.training, noise, patches left out or shuffled by chance?)."
    )


def same_bits(one: Any, other: Any) -> bool:
    """Whether tensors, in lists, are equal; not-a-numbers are equal to themselves."""
    return len(one) == len(other) and all(
        a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one, other)
    )


def range_taken(segmenter: object) -> tuple[float, float] | None:
    """Least and largest value of the images that a segmenter takes, as its `input` or `signed` says; or None.

    Example:
        >>> range_taken(dissect.segmentation.ColorNamer(signed=True)), range_taken(len)
        ((-1.0, 1.0), None)
    """
    own, signed = getattr(segmenter, "input", None), getattr(segmenter, "signed", None)
    low, high = getattr(own, "low", None), getattr(own, "high", None)
    if isinstance(low, (int, float)) and isinstance(high, (int, float)):
        return low, high
    return (-1.0 if signed else 0.0, 1.0) if isinstance(signed, bool) else None


def check_segmenter(segmenter: object, *, generated: bool = False) -> None:
    """Refuses a segmenter whose planes depend on chance or on the batch; with `generated` one for images in [0, 1] too.

    Raises:
        ValueError: some such part of it is in training mode, or it says that it takes other images than generators give
            (its `input` or `signed`); or its weights have no values.
    """
    taken = range_taken(segmenter)
    if generated and taken not in (None, (-1, 1)):
        raise refusal(
            ValueError(
                "segmenter must take images in [-1, 1], as generators give them, but takes them in "
                f"[{taken[0]:g}, {taken[1]:g}]; make it with signed=True, or fitted() to low=-1."
            )
        )
    check_weights(segmenter, "segmenter")
    for name, part in segmenter.named_modules() if isinstance(segmenter, nn.Module) else ():
        if part.training and _is_random(part):
            raise refusal(
                ValueError(
                    f"segmenter must be in evaluation mode, but its part {name!r} ({type(part).__name__}) is in "
                    "training mode (batch statistics, dropout); call segmenter.eval()."
                )
            )


def segmented(segmenter: Callable[[Tensor], Any], images: Tensor, *, again: bool) -> Any:
    """What a segmenter makes of images, which it leaves as they are; where it draws random numbers it may run `again`.

    Raises:
        ValueError: it changes the images in place; or makes other planes of them when it runs again.
    """
    version = None if images.is_inference() else images._version
    with torch.no_grad(), noticed_chance(images.device) as drawn:
        planes = segmenter(images)
    if version is not None and images._version != version:
        raise refusal(
            ValueError(
                "segmenter must leave its images as they are, but changes them in place; let it work on a copy, "
                "images.clone()."
            )
        )
    if drawn and again:
        with torch.no_grad():
            second = segmenter(images)
        if not same_bits(list(tensors(planes)), list(tensors(second))):
            raise refusal(
                ValueError(
                    "segmenter must give the same planes of the same images, but draws random numbers and gives others "
                    "the second time; turn that off, or fix what it draws."
                )
            )
    return planes


def tell_training(model: nn.Module) -> None:
    """Warns of a network some part of which is random, or looks at the batch, be it in training mode or not."""
    if any(module.training and _is_random(module) for module in model.modules()):
        tell(
            "the model is in training mode, so dropout or batch statistics change its activations "
            "between visits; call model.eval() first."
        )
        return
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            tell(
                f"{name!r} ({type(module).__name__}) normalises with the batch's statistics in evaluation mode too, "
                "since it has no running ones: activations depend on which images share a batch, and on batch_size."
            )
            return


def _is_random(module: nn.Module) -> bool:
    """Whether a module's outputs depend on chance or on the batch while it is in training mode."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU)
    name, rate = type(module).__name__.lower(), getattr(module, "dropout", 0)
    named = "drop" in name or "stochasticdepth" in name
    return isinstance(module, kinds) or named or (isinstance(rate, float) and rate > 0)
