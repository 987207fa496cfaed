"""The segmenter that a command is given, and which images it sees."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from torch import nn

from dissect.arguments import refusal
from dissect.cli.networks import called
from dissect.text import printable

if TYPE_CHECKING:
    from dissect.segmentation.inputs import ImageInput


def add_segmenter_arguments(parser: argparse.ArgumentParser) -> None:
    """Its name, and which images it takes if it does not say so itself."""
    parser.add_argument("--segmenter", metavar="MODULE:CALLABLE", help="called without arguments, gives a segmenter")
    parser.add_argument("--segmenter-input", nargs=2, type=float, metavar=("LOW", "HIGH"),
                        help="black and white of the images that it takes, if it does not say so")  # fmt: skip


def segmenter_in(options: argparse.Namespace, images: Any) -> Any:
    """The segmenter that options name, in evaluation mode on their device; tells which images of a data set it sees.

    Raises:
        ValueError: it says which images it takes, and options do too.
    """
    from dissect.segmentation.inputs import ImageInput, given_by, input_of
    from dissect.segmentation.protocol import told_conversion

    ends = getattr(options, "segmenter_input", None)
    if options.segmenter is None:
        if ends is not None:
            raise refusal(ValueError("--segmenter-input is of --segmenter, but there is none."))
        return None
    name, segmenter = printable(options.segmenter), placed(called(options.segmenter), options.device)
    taken, given = input_of(segmenter), given_by(images)
    if ends is not None:
        if taken is not None:
            raise refusal(
                ValueError(f"--segmenter-input is of segmenters that do not say it, but {name} takes {taken.said}.")
            )
        taken = ImageInput(*ends)
        _say_input(name, segmenter, taken)
    if taken is None and given is not None and not given.values_as(ImageInput()):
        _say_input(name, segmenter, given)
        print(f"dissect: {name} does not say which images it takes, and is given the network's, {given.said}; "
              "--segmenter-input 0 1 has it given images in [0, 1].", file=sys.stderr)  # fmt: skip
    told = told_conversion(segmenter, images)
    if told:
        print(f"dissect: the segmenter is given images brought from {told}.", file=sys.stderr)
    return segmenter


def _say_input(name: str, segmenter: Any, taken: ImageInput) -> None:
    """Has a segmenter say which images it takes.

    Raises:
        ValueError: it cannot: it has something else of that name, or takes no attributes.
    """
    own = getattr(segmenter, "input", None)
    why = f"its attribute input is another thing, of type {type(own).__name__}" if hasattr(segmenter, "input") else ""
    try:
        if not why:
            segmenter.input = taken
    except (AttributeError, TypeError):  # slots; a bound method
        why = f"a {type(segmenter).__name__} takes no attribute of that name"
    if why:
        raise refusal(
            ValueError(
                f"{name} must say which images it takes by an attribute input, but {why}; give a class of its own that "
                "calls it, with input = dissect.segmentation.ImageInput(low, high)."
            )
        )


def signed(segmenter: Any, device: str) -> Any:
    """A segmenter that says that it takes other images than generators give takes those in [-1, 1], which is told."""
    from dissect.segmentation.inputs import ImageInput, input_of
    from dissect.segmentation.protocol import Fitted

    taken, made = input_of(segmenter), ImageInput(-1.0, 1.0)
    if taken is not None and not taken.values_as(made):
        how = "(x + 1) / 2" if taken.values_as(ImageInput()) else "these"
        told = f"{taken.said}; it is given {how}"
        print(f"dissect: the segmenter takes images in {told}.", file=sys.stderr)
        if getattr(segmenter, "signed", None) is False and "signed" in vars(segmenter):
            segmenter.signed = True
        else:
            segmenter = Fitted(segmenter, made)
    return placed(segmenter, device)


def placed(segmenter: Any, device: str) -> Any:
    """A module in evaluation mode on a device; anything else as it is."""
    return segmenter.eval().to(device) if isinstance(segmenter, nn.Module) else segmenter
