"""The command ``dissect rewrite ui``: a page on which a rule is rewritten by copy, paste and context."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from dissect.arguments import refusal, result_file
from dissect.cli.networks import load_model
from dissect.cli.run import MODEL_HELP, check_device

#: What is rewritten where nothing is named.
MODEL, LAYER = "dissect.tiny:generator", "layer6"


def add_ui_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect rewrite ui`` takes."""
    parser.add_argument("--model", default=MODEL, metavar="NAME", help=f"{MODEL_HELP} ({MODEL})")
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument("--layer", default=LAYER, help=f"a name as in model.named_modules() ({LAYER})")
    parser.add_argument("--moment", type=Path, help="what dissect rewrite moments wrote (gathered anew)")
    parser.add_argument("--seed", type=int, default=1, help="of the z set (1, as published)")
    parser.add_argument("--count", type=int, default=1000, help="how many images it has (1000, as published)")
    parser.add_argument("--truncation", type=float, help="of a StyleGAN2 (the model's; 0.5 is published)")
    parser.add_argument("--batch-size", type=int, default=32, help="z at a time (32)")
    parser.add_argument("--device", default="cpu", help="where the generator runs, cuda for example (cpu)")
    parser.add_argument("--port", type=int, default=0, help="of this machine, which no other can reach (a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the page's address, and open no browser")


def set_truncation(model: Any, truncation: float | None) -> None:
    """Sets a generator's truncation, if one is given.

    Raises:
        ValueError: the generator has none.
    """
    if truncation is None:
        return
    if not hasattr(model, "truncation"):
        raise refusal(ValueError(f"--truncation must not be given for a {type(model).__name__}, which has none."))
    model.truncation = truncation


def ui(options: argparse.Namespace) -> int:
    """Serves the page to this machine's browsers until it is interrupted."""
    from dissect.apps import Rewriter, serve
    from dissect.rewriting import SecondMoment

    check_device(options.device)
    model: Any = load_model(options.model, options.weights).eval().to(options.device)
    set_truncation(model, options.truncation)
    moment = None
    if options.moment is not None:
        moment = SecondMoment.load(result_file(options.moment, SecondMoment.suffix))
    else:
        print(f"dissect: gathers the second moment of {options.count} images; --moment takes one.", file=sys.stderr)
    rewriter = Rewriter(
        model, options.layer, seed=options.seed, count=options.count, moment=moment, batch_size=options.batch_size
    )
    serve(rewriter, name=options.model, port=options.port, browser=not options.no_browser)
    return 0
