"""The command ``dissect classify attack``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("importance", type=Path, help="a file that UnitImportance.save wrote; it names the layer")
    parser.add_argument("--model", metavar="NAME", help="as for dissect run (the embedded network)")
    parser.add_argument("--weights", type=Path, help="a state dict for --model, .safetensors or .pt")
    parser.add_argument(
        "--data",
        metavar="MODULE:CALLABLE",
        help="called without arguments, gives a Dataset of (image, class number) (the embedded scenes)",
    )
    parser.add_argument("--images", type=int, default=344, help="how many embedded scenes (344)")
    parser.add_argument("--most", type=int, default=4, metavar="K", help="units of a class that count as important (4)")
    parser.add_argument("--batch-size", type=int, default=16, help="images at a time (16)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for result, chart and progress (out)")


def run(options: argparse.Namespace) -> int:
    """Attacks, saves the result, prints and draws it; an interrupted run goes on when called again."""
    from dissect import tiny
    from dissect.classifiers import UnitImportance
    from dissect.experiments import pictures
    from dissect.experiments.attack import attack
    from dissect.run import called, load_model

    if options.model is None and options.weights is not None:
        raise ValueError("classify attack: --weights needs --model.")
    pictures.check_extras()
    importance = UnitImportance.load(options.importance)
    model = tiny.vgg() if options.model is None else load_model(options.model, options.weights).eval()
    scenes = tiny.TinyScenes("val", count=options.images, target="class")
    result = attack(
        model,
        importance.layer,
        scenes if options.data is None else called(options.data),
        batch_size=options.batch_size,
        resume=options.out / "progress",
    )
    path = result.save(options.out / "result")
    changes = result.changes(importance, options.most)
    chart = pictures.save(pictures.attack_chart(changes, options.most), options.out / "attack.png")
    print(f"{len(result.images)} images attacked, {result.success_rate():.1%} reached their target\n\n{changes}\n")
    print(f"result: {path}\nchart: {chart}")
    return 0
