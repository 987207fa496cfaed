"""The one rule for evaluation mode.

What is measured of a network must not depend on chance or on what else is in the batch. Where a network is compared
with itself under edits, a difference that dropout makes would be taken for an effect, so training mode is refused
(`check_evaluating`). A dissection tells of parts that are random or look at the batch (`tell_training`), and refuses
nothing: activations under dropout may be what one wants to see.
"""

from __future__ import annotations

from torch import nn

from dissect.arguments import refusal, tell
from dissect.network.layers import check_weights


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


def range_taken(segmenter: object) -> tuple[float, float] | None:
    """Least and largest value of the images that a segmenter takes, as its `input` or `signed` says; or None.

    Example:
        >>> range_taken(dissect.segmentation.ColorNamer(signed=True)), range_taken(len)
        ((-1.0, 1.0), None)
    """
    own, signed = getattr(segmenter, "input", None), getattr(segmenter, "signed", None)
    ends = getattr(own, "low", None), getattr(own, "high", None)
    if all(isinstance(end, (int, float)) for end in ends):
        return ends  # type: ignore[return-value]
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


def tell_training(model: nn.Module) -> None:
    """Warns of a network some part of which is random, or looks at the batch, as it is in training mode."""
    if any(module.training and _is_random(module) for module in model.modules()):
        tell(
            "the model is in training mode, so dropout or batch statistics change its activations "
            "between visits; call model.eval() first."
        )


def _is_random(module: nn.Module) -> bool:
    """Whether a module's outputs depend on chance or on the batch while it is in training mode."""
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RReLU)
    name, rate = type(module).__name__.lower(), getattr(module, "dropout", 0)
    named = "drop" in name or "stochasticdepth" in name
    return isinstance(module, kinds) or named or (isinstance(rate, float) and rate > 0)
