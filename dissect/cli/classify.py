"""The commands ``dissect classify importance``, ``dissect classify sets`` and ``dissect classify attack``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dissect.arguments import refusal, result_file, seed_number
from dissect.cli.networks import called, load_model
from dissect.cli.run import random_weights, telling_what_is_saved
from dissect.text import json_text, printable, shown

LAYER = "features.conv5_3"


def add_commands(commands: Any) -> None:
    """The experiments on classifiers."""
    for name, text, add, command in (
        ("importance", "what each class loses without each unit of a layer", add_importance_arguments, importance),
        ("sets", "what each class has left without its most, or least, important units", add_sets_arguments, sets),
        ("attack", "attack images, and tell whether the units important to a class change", add_attack_arguments,
         attack),
    ):  # fmt: skip
        own = commands.add_parser(name, help=text)
        add(own)
        own.set_defaults(command=command)


def add_importance_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect classify importance`` takes."""
    add_common(parser)
    parser.add_argument("--layer", default=LAYER, help="a name as in model.named_modules() (%(default)s)")
    parser.add_argument(
        "--train", metavar="IMAGES",
        help="a folder with a subfolder of images per class, numbered in the order of their names; or MODULE:CALLABLE, "
        "called without arguments, which gives a data set of (image, class number), with the classes' names as an "
        "attribute `classes`; ranks units (the embedded scenes)",
    )  # fmt: skip
    parser.add_argument("--fill", choices=("zero", "mean"), default="zero", help="what an ablated unit gives (zero)")


def add_sets_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect classify sets`` takes."""
    parser.add_argument("importance", type=Path, help="a file that UnitImportance.save wrote; it names the layer")
    add_common(parser)
    parser.add_argument("--counts", nargs="+", type=int, help="units to remove (0.8, 3.9, 50 and 96.1 %% of them)")
    parser.add_argument("--classes", nargs="+", help="names of classes (all)")


def add_attack_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect classify attack`` takes."""
    parser.add_argument("importance", type=Path, help="a file that UnitImportance.save wrote; it names the layer")
    add_common(parser, images=344)
    parser.epilog = (
        "Attacked pixels stay in [0, 1]: for a folder of images give --mean 0 0 0 --std 1 1 1, and a model that "
        "normalises by itself."
    )
    parser.add_argument("--most", type=int, default=4, metavar="K", help="units of a class that count as important (4)")
    parser.add_argument(
        "--candidates", choices=("correct", "non_target"), default="correct",
        help="images to attack: those named right, or, as published, all whose class and answer are not the target "
        "(correct)",
    )  # fmt: skip


def add_common(parser: argparse.ArgumentParser, images: int = 860, batch_size: int = 32) -> None:
    """A classifier, the images with classes that measure it, and where results go."""
    parser.add_argument("--model", metavar="NAME", help="as for dissect run (the embedded network)")
    parser.add_argument("--weights", type=Path, help="a state dict for --model, .safetensors or .pt")
    parser.add_argument("--seed", type=int, default=0, help="of random weights, where there are no others (0)")
    parser.add_argument(
        "--val", metavar="IMAGES",
        help="a folder of classes, which may lack some, or MODULE:CALLABLE, see `dissect classify importance --help`; "
        "measures (the embedded scenes)",
    )  # fmt: skip
    parser.add_argument("--size", type=int, default=224, help="rows and columns of a folder's images (224)")
    parser.add_argument("--skip", action="store_true", help="leave out images that cannot be read, naming them")
    parser.add_argument("--mean", nargs=3, type=float, metavar="M", help="of their channels in [0, 1] (ImageNet's)")
    parser.add_argument("--std", nargs=3, type=float, metavar="S", help="of their channels in [0, 1] (ImageNet's)")
    parser.add_argument("--images", type=int, metavar="N", help=f"how many embedded scenes ({images})")
    parser.set_defaults(scenes=images)
    parser.add_argument("--batch-size", type=int, default=batch_size, help="images at a time (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for result and progress (out)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever run --out holds")
    parser.add_argument("--json", action="store_true", help="print what was found for programs")


def importance(options: argparse.Namespace) -> int:
    """Measures and saves; an interrupted run goes on when called again."""
    import dissect

    train = images_of(options, "train")
    resume = _progress(options, "importance-progress")
    with telling_what_is_saved(resume):
        found = dissect.unit_importance(
            model_of(options),
            options.layer,
            train,
            images_of(options, "val", getattr(train, "classes", None)),
            fill=options.fill,
            batch_size=options.batch_size,
            resume=resume,
        )
    path = found.save(options.out / "result")
    if options.json:
        halves = found.split_half().tolist()
        return _print_json(
            result=str(path),
            classes=[
                {
                    "name": found.classes[number],
                    "balanced_accuracy": float(found.baseline()[number]),
                    "split_half": halves[number],
                    "units": _rows(found.top(number, found.num_units)),
                }
                for number in found.measured_classes()
            ],
        )
    for number in found.measured_classes():
        units = ", ".join(f"{row.unit} ({_change(row.val_drop)})" for row in found.top(number, 4))
        name = printable(found.classes[number])
        print(f"{name}: balanced accuracy {found.baseline()[number]:.3f}; without unit {units}")
    print(
        "\nunits: the four most important to each class, ranked on training images; in brackets the change of its "
        "balanced\naccuracy without that unit alone; all accuracies are those on validation images"
    )
    trust = found.split_half().nanmean()
    known = "-" if trust.isnan() else f"{trust:.2f}"
    print(f"split-half correlation of the rankings, on average: {known}\nresult: {shown(path)}")
    return 0


def sets(options: argparse.Namespace) -> int:
    """Measures, saves, and prints the average class's table; an interrupted run goes on when called again."""
    import dissect

    importance = dissect.UnitImportance.load(result_file(options.importance, ".importance"))
    resume = _progress(options, "sets-progress")
    with telling_what_is_saved(resume):
        found = dissect.unit_sets(
            model_of(options),
            importance,
            images_of(options, "val", importance.classes),
            counts=options.counts,
            classes=options.classes,
            batch_size=options.batch_size,
            resume=resume,
        )
    path = found.save(options.out / "result")
    if options.json:
        tables = {found.classes[number]: _rows(found.table(number)) for number in found.measured}
        return _print_json(result=str(path), average=_rows(found.table()), classes=tables)
    print(f"{found.title(None)}:\n\n{found.table()}\n\nresult: {shown(path)}")
    return 0


def attack(options: argparse.Namespace) -> int:
    """Attacks, saves, prints and draws how units change; an interrupted run goes on when called again."""
    import dissect
    from dissect import experiments
    from dissect.experiments import figures as pictures

    pictures.check_extras()
    importance = dissect.UnitImportance.load(result_file(options.importance, ".importance"))
    model = model_of(options)
    # What the table of changes would refuse is told before the attacks.
    importance.check_model(model)
    most = experiments.most_important(importance.num_units)
    if not 1 <= options.most <= most:
        raise refusal(ValueError(f"--most must be in [1, {most}], less than half the units, but got {options.most}."))
    resume = _progress(options, "attack-progress")
    with telling_what_is_saved(resume):
        found = experiments.attack(
            model,
            importance.layer,
            images_of(options, "val", importance.classes),
            candidates=options.candidates,
            batch_size=options.batch_size,
            resume=resume,
        )
    path = found.save(options.out / "result")
    changes = found.changes(importance, options.most)
    chart = pictures.save(pictures.attack_chart(changes, options.most), options.out / "attack.png")
    if options.json:
        return _print_json(
            result=str(path),
            chart=str(chart),
            images=len(found.images),
            success_rate=found.success_rate(),
            changes=_rows(changes),
        )
    print(f"{len(found.images)} images attacked, {found.success_rate():.1%} reached their target:\n\n{changes}\n")
    print(f"result: {shown(path)}\nchart: {shown(chart)}")
    return 0


def _progress(options: argparse.Namespace, name: str) -> Path:
    """The folder of an experiment's progress, of which --fresh leaves nothing."""
    from dissect.files.progress import FILE

    folder: Path = options.out / name
    if options.fresh:
        (folder / FILE).unlink(missing_ok=True)
    return folder


def model_of(options: argparse.Namespace) -> nn.Module:
    """The classifier."""
    from dissect import tiny

    if options.model is None and options.weights is not None:
        raise refusal(ValueError("--weights needs --model."))
    if options.model is None:
        return tiny.vgg()
    model = load_model(options.model, options.weights, seed_number(options.seed, "--seed"))
    random_weights(options)
    return model.eval()


def images_of(
    options: argparse.Namespace, split: str, classes: Sequence[str] | None = None, counted: str = "images"
) -> Any:
    """A data set of (image, class number).

    Args:
        options: of the command.
        split: "train" or "val".
        classes: the names that a folder of classes must have, in the order of their numbers; None: those it has.
        counted: the option that says how many embedded scenes.
    """
    from dissect import tiny
    from dissect.data import ClassFolder
    from dissect.data.folders import MEAN, STD

    name = getattr(options, split)
    if name is None and options.model is not None:
        raise refusal(
            ValueError(f"--model needs --{split}, a data set of (image, class number) or a folder of classes.")
        )
    asked = getattr(options, counted)
    if name is not None and asked is not None:
        told = f"--{counted.replace('_', '-')} is how many embedded scenes to take"
        raise refusal(ValueError(f"{told}, so it goes with no --{split}."))
    count = options.scenes if asked is None else asked
    if name is None:
        return tiny.TinyScenes(split, count=count, target="class")
    if Path(name).is_dir():
        mean, std = options.mean or MEAN, options.std or STD
        return ClassFolder(name, classes, size=options.size, mean=mean, std=std, skip=options.skip)
    return called(name, _no_folder)


def _no_folder(name: str) -> str:
    """What to say of a name of images that is neither."""
    return f", and there is no folder {name} either"


def _change(drop: float | None) -> str:
    return "-" if drop is None else f"{0 - drop:+.3f}"


def _rows(table: Iterable[Any]) -> list[dict[str, Any]]:
    return [row._asdict() for row in table]


def _print_json(**found: Any) -> int:
    print(json_text(found))
    return 0
