"""The generator and the layer that ``dissect rewrite`` works on, as its commands take them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dissect.arguments import refusal
from dissect.cli.networks import load_model
from dissect.cli.run import MODEL_HELP, check_device


def add_model_arguments(parser: argparse.ArgumentParser, model: str | None = None, layer: str | None = None) -> None:
    """The generator, its layer and its z set; what has no default must be given."""
    parser.add_argument(
        "--model", required=model is None, default=model, metavar="NAME",
        help=MODEL_HELP if model is None else f"{MODEL_HELP} ({model})",
    )  # fmt: skip
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument(
        "--layer", required=layer is None, default=layer,
        help=f"a name as in model.named_modules(){', layer6 for example' if layer is None else f' ({layer})'}",
    )  # fmt: skip
    parser.add_argument("--count", type=int, default=1000, help="how many z (1000, as published)")
    parser.add_argument("--seed", type=int, default=1, help="of the z set, and of its noise (1, as published)")
    parser.add_argument("--truncation", type=float, help="of a StyleGAN2 (the model's; 0.5 is published)")
    parser.add_argument("--batch-size", type=int, default=32, help="z at a time (32)")
    parser.add_argument("--device", default="cpu", help="where the generator runs, cuda for example (cpu)")


def model_of(options: argparse.Namespace) -> Any:
    """The generator that options name, in evaluation mode on their device, with their truncation.

    Raises:
        ValueError: a truncation is given, and the generator has none.
    """
    check_device(options.device)
    model: Any = load_model(options.model, options.weights).eval().to(options.device)
    if options.truncation is not None:
        if not hasattr(model, "truncation"):
            raise refusal(ValueError(f"--truncation must not be given for a {type(model).__name__}, which has none."))
        model.truncation = options.truncation
    return model
