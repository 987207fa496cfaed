"""The commands ``dissect experiment explanations`` and ``retraining``: what classifiers say, by units and rotations."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from dissect.arguments import integer, refusal, result_file, seed_number
from dissect.cli.classify import LAYER, add_common, images_of, model_of
from dissect.cli.experiment_units import told
from dissect.cli.run import check_layers, resumed
from dissect.table import Table


def add_commands(commands: Any) -> None:
    """The experiments."""
    for name, text, add, command in (
        ("explanations", "which units make a classifier say what it says of an image, and where they fire",
         add_explanations_arguments, explanations),
        ("retraining", "whether a network's top learns from rotated features as well", add_retraining_arguments,
         retraining),
    ):  # fmt: skip
        own = commands.add_parser(name, help=text)
        add(own)
        own.set_defaults(command=command)


def add_explanations_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect experiment explanations`` takes."""
    add_common(parser, images=86)
    _add_train(parser, 430)
    parser.add_argument("--layer", default=LAYER, help="a name as in model.named_modules() (%(default)s)")
    parser.add_argument("--dissection", type=Path, metavar="FILE", help="a result of dissect run over the layer, for "
                        "what units detect (of the embedded network one is made of its --images)")  # fmt: skip
    parser.add_argument("--penalty", type=float, default=0.001, help="C of the support vector machine (0.001)")
    parser.add_argument("--units", type=int, default=4, metavar="N", help="that are shown of each image (4)")
    parser.add_argument("--share", type=float, default=0.2, help="of an image's pixels that a unit lights (0.2)")
    parser.add_argument("--examples", type=int, default=3, metavar="N", help="in the chart, of images named right, and "
                        "of others (3)")  # fmt: skip


def add_retraining_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect experiment retraining`` takes."""
    add_common(parser, images=860, batch_size=64)
    _add_train(parser, 2150)
    parser.add_argument("--layer", default="avgpool", help="whose output is rotated, as in model.named_modules() "
                        "(%(default)s)")  # fmt: skip
    parser.add_argument("--top", default="classifier", help="what takes that, as it is or flattened, and gives the "
                        "logits (%(default)s)")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=10, metavar="N", help="tops of each kind; the first has --seed, "
                        "the others the numbers that follow; from 10 on with intervals (10)")  # fmt: skip
    parser.add_argument("--epochs", type=int, default=20, help="how often each image is seen (20)")
    parser.add_argument("--rate", type=float, default=0.001, help="of learning, at first (0.001)")
    parser.add_argument("--decay", type=float, default=0.05, help="of the weights (0.05)")


def _add_train(parser: argparse.ArgumentParser, images: int) -> None:
    parser.add_argument("--train", metavar="IMAGES", help="the same, to learn from, with every class; classes are "
                        "numbered in the order of its folders' names (the embedded scenes)")  # fmt: skip
    parser.add_argument("--train-images", type=int, metavar="N", help=f"how many embedded scenes ({images})")
    parser.set_defaults(train_scenes=images)


def explanations(options: argparse.Namespace) -> int:
    """Learns, explains, saves and draws; an interrupted run goes on when called again."""
    import dissect
    from dissect import experiments, tiny

    examples = integer("--examples", options.examples)
    model = _classifier(options, [options.layer])
    train, images = _both(options)
    d = None
    if options.dissection is not None:
        d = dissect.load(result_file(options.dissection, dissect.Dissection.suffix))
        if not isinstance(d, dissect.Dissection):
            raise refusal(ValueError(f"--dissection must be a result of dissect run, but is of {type(d).__name__}."))
    elif options.model is not None:
        print("dissect: units have no names without --dissection, a result of dissect run.", file=sys.stderr)
    with resumed(options) as progress:
        if options.model is None and d is None:
            d = dissect.dissect(
                model, options.layer, tiny.TinyScenes("val", count=len(images)), relu=True, decoys=0, resamples=0,
                batch_size=options.batch_size, resume=progress / "dissected",
            )  # fmt: skip
        found = experiments.explain_by_svm(
            model, options.layer, train, images, penalty=options.penalty, units=integer("--units", options.units),
            share=options.share, dissection=d, batch_size=options.batch_size, resume=progress,
        )  # fmt: skip
    shown = found.examples(examples)
    return told(options, found, {"answers": found.summary(), "images": found.table()}, found.plot(shown))


def retraining(options: argparse.Namespace) -> int:
    """Trains, saves and draws; an interrupted run goes on when called again."""
    from dissect import experiments

    seed, repeats = seed_number(options.seed, "--seed"), integer("--repeats", options.repeats)
    model = _classifier(options, [options.layer, options.top])
    train, test = _both(options)
    anew = partial(_embedded, options.top) if options.model is None else None
    with resumed(options) as progress:
        found = experiments.retrain_top(
            model, options.layer, options.top, train, test, anew=anew,
            repeats=repeats, epochs=integer("--epochs", options.epochs), batch_size=options.batch_size,
            rate=options.rate, decay=options.decay, seed=seed, resume=progress,
        )  # fmt: skip
    return told(options, found, {"tops": found.summary(), "network": Table([found.network])})


def _embedded(top: str, seed: int) -> nn.Module:
    """A part of the embedded network before its training."""
    from dissect.models import VGG
    from dissect.tiny import TinyScenes
    from dissect.tiny.networks import CHANNELS, HIDDEN, POOLED

    return VGG(CHANNELS, len(TinyScenes.classes), HIDDEN, POOLED, seed=seed).get_submodule(top)


def _classifier(options: argparse.Namespace, layers: list[str]) -> nn.Module:
    """The network, which has these layers."""
    model = model_of(options)
    if options.model is not None:
        check_layers(model, argparse.Namespace(model=options.model, layers=layers))
    return model


def _both(options: argparse.Namespace) -> tuple[Any, Any]:
    """What is learned from, and other images, of the same classes."""
    if (options.train is None) != (options.val is None):
        raise refusal(ValueError("--train and --val must come together, as one's classes are the other's."))
    learned = argparse.Namespace(**{**vars(options), "scenes": options.train_scenes})
    train = images_of(learned, "train", counted="train_images")
    return train, images_of(options, "val", getattr(train, "classes", None))
