"""The command ``dissect rewrite ui``: a page on which a rule is rewritten by copy, paste and context."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dissect.arguments import result_file
from dissect.cli.rewrite_model import add_model_arguments, model_of

#: What is rewritten where nothing is named.
MODEL, LAYER = "dissect.tiny:generator", "layer6"


def add_ui_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect rewrite ui`` takes."""
    add_model_arguments(parser, MODEL, LAYER)
    parser.add_argument("--moment", type=Path, help="what dissect rewrite moments wrote (gathered anew)")
    parser.add_argument("--port", type=int, default=0, help="of this machine, which no other can reach (a free one)")
    parser.add_argument("--no-browser", action="store_true", help="print the page's address, and open no browser")


def ui(options: argparse.Namespace) -> int:
    """Serves the page to this machine's browsers until it is interrupted."""
    from dissect.apps import Rewriter, serve
    from dissect.rewriting import SecondMoment

    model = model_of(options)
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
