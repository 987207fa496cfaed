"""The commands ``dissect paint``: a page on which units of a generator are brushes, and paintings replayed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from torch import nn

from dissect.arguments import refusal, result_file
from dissect.cli.networks import load_model
from dissect.cli.run import MODEL_HELP, check_device
from dissect.network.identity import check_identity, weights_fingerprint
from dissect.text import shown

#: What is painted with where nothing is named.
MODEL, LAYER = "dissect.tiny:generator", "layer4"
#: Images on which its brushes are found, and the seed of their z set.
DEMO_IMAGES, DEMO_SEED = 96, 2


def add_paint_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect paint`` and ``dissect paint replay`` take."""
    _add_generator_arguments(parser, given={"model": MODEL, "weights": None, "device": "cpu"})
    parser.add_argument("--dissection", type=Path, help="a result of dissect generator dissect: the brushes, by IoU")
    parser.add_argument(
        "--ace", type=Path, nargs="+", default=[], metavar="FILE",
        help="results of dissect generator ace: brushes by causal effect, before the others",
    )  # fmt: skip
    parser.add_argument("--layer", help="one of the dissection's (its only one)")
    parser.add_argument("--seed", type=int, default=1, help="of the z set (1, as published)")
    parser.add_argument("--count", type=int, default=1000, help="how many images it has (1000)")
    parser.add_argument("--port", type=int, default=0, help="of this machine, which no other can reach (a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the page's address, and open no browser")
    steps = parser.add_subparsers(metavar="[replay]")
    again = steps.add_parser("replay", help="paint a saved session again, as a sheet or a movie")
    # Options before the word "replay" count too.
    _add_generator_arguments(again, given=dict.fromkeys(("model", "weights", "device"), argparse.SUPPRESS))
    again.add_argument("session", type=Path, help="a file that the page, or PaintSession.save, wrote")
    again.add_argument(
        "--out", type=Path, default=Path("out/painting.png"), help="a file in .png or .gif (out/painting.png)"
    )
    again.set_defaults(command=replay)


def _add_generator_arguments(parser: argparse.ArgumentParser, given: dict[str, Any]) -> None:
    parser.add_argument("--model", default=given["model"], metavar="NAME", help=f"{MODEL_HELP} ({MODEL})")
    parser.add_argument(
        "--weights",
        type=Path,
        default=given["weights"],
        help="a state dict, .safetensors or .pt (read as tensors only)",
    )
    parser.add_argument("--device", default=given["device"], help="where the generator runs, cuda for example (cpu)")


def paint(options: argparse.Namespace) -> int:
    """Serves the page to this machine's browsers until it is interrupted."""
    from dissect.apps import serve

    painter, name = _painter(options)
    serve(painter, name=name, port=options.port, browser=not options.no_browser)
    return 0


def replay(options: argparse.Namespace) -> int:
    """Paints a session again, and writes its steps."""
    from dissect.apps import Painter, load_painting, write_replay

    session = load_painting(options.session)
    painter = Painter(_generator(options), session.layer, seed=session.seed, count=session.number + 1)
    print(f"{'movie' if options.out.suffix.lower() == '.gif' else 'sheet'}: ", end="")
    print(shown(write_replay(painter, session, options.out)))
    return 0


def _generator(options: argparse.Namespace) -> nn.Module:
    check_device(options.device)
    return load_model(options.model, options.weights).eval().to(options.device)


def _painter(options: argparse.Namespace) -> tuple[Any, str]:
    """Who paints, and what it is called."""
    import dissect
    from dissect.apps import Painter, brushes
    from dissect.generators import CausalUnits

    generator = _generator(options)
    causal = [CausalUnits.load(result_file(path, ".causal")) for path in options.ace]
    if options.dissection is not None:
        found: Any = dissect.Dissection.load(result_file(options.dissection, ".dissection"))
    elif causal:
        found = None
    else:
        found = _demo(options, generator)
    names = list(found.layers) if found is not None else [causal[0].layer]
    if options.layer is None and len(names) > 1:
        raise refusal(ValueError(f"--layer must be one of the dissection's layers, {names}."))
    known = (found.settings.get("provenance") or {}).get("weights") if found is not None else None
    made = weights_fingerprint(generator)
    check_identity(
        "--dissection", known, made,
        f"of the generator to paint with, whose weights are {made}, but is of weights {known}",
        "give --model and --weights of the generator that was dissected, or dissect this one",
    )  # fmt: skip
    layer = options.layer or names[0]
    own = brushes(found, layer, causal=causal)
    return Painter(generator, layer, brushes=own, seed=options.seed, count=options.count), options.model


def _demo(options: argparse.Namespace, generator: nn.Module) -> Any:
    """The shipped generator's brushes, found anew."""
    import dissect
    from dissect import tiny

    if options.model != MODEL or options.weights is not None:
        raise refusal(
            ValueError(
                "--dissection or --ace must be given with --model or --weights, for the brushes: "
                "dissect generator dissect makes one."
            )
        )
    layer = options.layer or LAYER
    print(f"dissect: finds brushes in {DEMO_IMAGES} images; --dissection takes those of a result.", file=sys.stderr)
    z = dissect.latents(generator, DEMO_IMAGES, DEMO_SEED)
    segmenter = tiny.segmenter(signed=True).to(options.device)
    return dissect.dissect(generator, layer, z, segmenter=segmenter, segment="output", decoys=0)
