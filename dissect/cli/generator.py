"""The commands ``dissect generator ...``: what the units of a generator draw."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from dissect.arguments import integer, refusal, result_file
from dissect.cli.artifacts import add_artifacts_arguments, artifacts
from dissect.cli.networks import called, inputs_of, load_model
from dissect.cli.run import (
    MODEL_HELP,
    add_dissection_arguments,
    check_device,
    check_layers,
    gibibytes,
    print_found,
    random_weights,
    resumed,
)
from dissect.cli.segmenters import signed
from dissect.models.noise import takes_noise
from dissect.text import shown

if TYPE_CHECKING:
    from dissect.dissection.result import Dissection


def add_commands(commands: Any) -> None:
    """The commands ``dissect generator ...``, to what `argparse` gives for them."""
    drawn = commands.add_parser("dissect", help="dissect a generator: the segmenter sees what it makes of z")
    add_dissect_arguments(drawn)
    drawn.set_defaults(command=dissect)
    without = commands.add_parser("effect", help="what goes of a class, and of all others, without its units")
    add_effect_arguments(without)
    add_units_arguments(without)
    without.set_defaults(command=effect)
    searched = commands.add_parser("ace", help="which units a class depends on most, by their average causal effect")
    add_effect_arguments(searched, count=1000, seed=10)
    add_ace_arguments(searched)
    searched.set_defaults(command=ace)
    within = commands.add_parser("context", help="where a class comes when its units are inserted")
    add_effect_arguments(within)
    add_units_arguments(within)
    add_context_arguments(within)
    within.set_defaults(command=context)
    through = commands.add_parser("trace", help="how far a class's units, set at one place, change later layers")
    add_effect_arguments(through)
    add_units_arguments(through, second=False)
    add_trace_arguments(through)
    through.set_defaults(command=trace)
    wrong = commands.add_parser("artifacts", help="units whose images look unreal, and what goes without them")
    add_artifacts_arguments(wrong)
    wrong.set_defaults(command=artifacts)


def add_dissect_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect generator dissect`` takes."""
    parser.add_argument("--model", required=True, metavar="NAME", help=MODEL_HELP)
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument("--seed", type=int, default=1, help="of the z set, and of its noise (1, as published)")
    parser.add_argument("--layers", nargs="+", required=True, help="names as in model.named_modules()")
    parser.add_argument("--count", type=int, default=1000, help="how many images it makes (1000)")
    parser.add_argument(
        "--segmenter",
        metavar="MODULE:CALLABLE",
        help="called without arguments, gives a segmenter of images in [-1, 1]",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        help="a folder that `dissect labels write` wrote of the same generator, --count and --seed",
    )
    parser.add_argument("--device", default="cpu", help="where the generator runs, cuda for example (cpu)")
    parser.add_argument("--preset", default="default", help="default, pnas2020 or iclr2019")
    parser.add_argument(
        "--threshold-seed", type=int, default=2,
        help="of as many other z, on which iclr2019 finds the most informative thresholds (2, as published)",
    )  # fmt: skip
    parser.add_argument("--top-images", type=int, default=10, help="images to keep per unit (10, as published)")
    add_dissection_arguments(parser)


def add_effect_arguments(parser: argparse.ArgumentParser, count: int = 128, seed: int = 3) -> None:
    """What ``dissect generator effect``, ``ace``, ``context`` and ``trace`` take."""
    parser.add_argument("dissection", type=Path, help="a result of dissect generator dissect, which ranks units by IoU")
    parser.add_argument("--model", required=True, metavar="NAME", help=MODEL_HELP)
    parser.add_argument("--weights", type=Path, help="a state dict, .safetensors or .pt (read as tensors only)")
    parser.add_argument("--segmenter", required=True, metavar="MODULE:CALLABLE", help="called, gives a segmenter")
    parser.add_argument("--layer", help="one of the dissection's (its only one)")
    parser.add_argument("--concept", required=True, help="the class, as NAME or CATEGORY/NAME")
    parser.add_argument("--units", type=int, default=20, help="how many, those that rank highest (20)")
    parser.add_argument("--count", type=int, default=count, help=f"how many z ({count})")
    parser.add_argument("--seed", type=int, default=seed, help=f"of the z, which must not be the dissection's ({seed})")
    parser.add_argument("--batch-size", type=int, default=32, help="images at a time (32)")
    parser.add_argument("--device", default="cpu", help="where the generator runs, cuda for example (cpu)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for result, chart and progress (out)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever --out holds")


def add_units_arguments(parser: argparse.ArgumentParser, second: bool = True) -> None:
    """Which units, for all that does not search for them, and who else is to see what they do."""
    parser.add_argument("--ace", type=Path, help="a result of dissect generator ace, whose units it takes (by IoU)")
    if second:
        parser.add_argument("--second", metavar="MODULE:CALLABLE", help="gives another segmenter, to see the same")


def add_ace_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect generator ace`` takes beside."""
    add_block_argument(parser)
    parser.add_argument("--epochs", type=int, default=10, help="how often each place is visited (10, as published)")
    parser.add_argument("--form", default="published", help="of the optimisation: published or thesis (published)")


def add_trace_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect generator trace`` takes beside."""
    add_block_argument(parser)
    parser.add_argument(
        "--cut",
        type=float,
        default=0.005,
        help="a visible effect changes the class in a larger share of pixels (0.005)",
    )


def add_block_argument(parser: argparse.ArgumentParser) -> None:
    """How large the places are where units are set."""
    parser.add_argument("--block", type=int, default=1, help="cells of a block's side, where units are inserted (1)")


def add_context_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``dissect generator context`` takes beside."""
    add_block_argument(parser)
    parser.add_argument("--least", type=int, default=1000, help="samples of a context that is shown (1000)")


def effect(options: argparse.Namespace) -> int:
    """Ablates a class's units; prints what goes of it and of every other class."""
    from dissect.generators import removed_share

    found = _measured(options, removed_share)
    print(found)
    print(found.others.top(10, by="before"))
    return 0


def ace(options: argparse.Namespace) -> int:
    """Optimises how much each unit takes part in a class; prints those that do most. It goes on when called again."""
    import dissect
    from dissect.generators import causal_units, class_iou

    def searched(model: nn.Module, layer: str, units: Any, z: Any, segmenter: Any, concept: str, **more: Any) -> Any:
        ranking = dissect.Dissection.load(result_file(options.dissection, ".dissection"))
        return causal_units(
            model, layer, concept, z, segmenter, len(units), iou=class_iou(ranking, layer, concept),
            epochs=options.epochs, form=options.form, **more,
        )  # fmt: skip

    found = _measured(options, searched, block=options.block)
    print(found)
    print(found.table)
    return 0


def context(options: argparse.Namespace) -> int:
    """Inserts a class's units at every place of many images; prints where it comes, by what was there."""
    from dissect.generators import insertion_context

    found = _measured(options, insertion_context, block=options.block, least=options.least)
    print(found)
    print(found.table)
    return 0


def trace(options: argparse.Namespace) -> int:
    """Inserts a class's units at every place of many images; prints how much every later layer changes."""
    from dissect.generators import trace_effect

    def traced(model: nn.Module, layer: str, units: Any, z: Any, segmenter: Any, concept: str, **more: Any) -> Any:
        return trace_effect(model, layer, units, z, segmenter=segmenter, concept=concept, cut=options.cut, **more)

    found = _measured(options, traced, block=options.block)
    print(found)
    print(found.table)
    return 0


def _measured(options: argparse.Namespace, measure: Callable[..., Any], **more: Any) -> Any:
    """What is measured of the units, saved beside its chart."""
    import dissect
    from dissect import plots
    from dissect.generators import units_by_iou

    check_device(options.device)
    ranking = dissect.Dissection.load(result_file(options.dissection, ".dissection"))
    names = list(ranking.layers)
    if options.layer is None and len(names) > 1:
        raise refusal(ValueError(f"--layer must be one of the dissection's layers, {names}."))
    layer = options.layer or names[0]
    if options.seed in (ranking.settings.get(name, {}).get("seed") for name in ("z", "thresholds_z")):
        raise refusal(
            ValueError(f"--seed must be another than the {options.seed} of the z that ranked the units, to be fair.")
        )
    model = load_model(options.model, options.weights).eval().to(options.device)
    segmenter = signed(called(options.segmenter), options.device)
    units = _causal(options, layer)
    if units is None:
        units = units_by_iou(ranking, layer, options.concept)[: integer("--units", options.units)]
    second = getattr(options, "second", None)
    if second is not None:
        more["second"] = signed(called(second), options.device)
    with resumed(options) as progress:
        found = measure(
            model, layer, units, inputs_of(model, options), segmenter, options.concept,
            batch_size=options.batch_size, resume=progress, **more,
        )  # fmt: skip
    path, chart = found.save(options.out / "result"), plots.save(found.plot(), options.out / "chart.png")
    print(f"result: {shown(path)}\nchart: {shown(chart)}")
    return found


def _causal(options: argparse.Namespace, layer: str) -> Any:
    """The units of an optimisation, if they are asked for; of the same layer and class."""
    from dissect.generators import CausalUnits

    if getattr(options, "ace", None) is None:
        return None
    found = CausalUnits.load(result_file(options.ace, ".causal"))
    if found.layer != layer or options.concept not in (found.concept, found.concept.partition("/")[2]):
        raise refusal(
            ValueError(
                f"--ace must be of layer {layer!r} and the concept {options.concept!r}, but is of {found.concept!r} in "
                f"{found.layer!r}."
            )
        )
    found.number = min(integer("--units", options.units), len(found.alpha))
    return found


def dissect(options: argparse.Namespace) -> int:
    """Dissects a generator, saves the result, writes the report; an interrupted run goes on when called again."""
    from dissect.report.html import check_extras

    check_extras()
    check_device(options.device)
    with resumed(options) as progress:
        found = _dissected(options, progress)
    return print_found(options, found, "no --segmenter and no --labels: units have no concepts")


def _dissected(options: argparse.Namespace, progress: Path) -> Dissection:
    import dissect
    from dissect.dissection.presets import preset_with
    from dissect.segmentation import LabelStore

    model = load_model(options.model, options.weights).eval().to(options.device)
    check_layers(model, options)
    z, others, noise = inputs_of(model, options), None, takes_noise(model)
    if preset_with(options.preset, levels=options.levels).levels != "fraction":
        if options.threshold_seed == options.seed:
            raise refusal(ValueError(f"--threshold-seed must be another than --seed, but both are {options.seed}."))
        others = inputs_of(model, options, options.threshold_seed)
    if options.labels is not None and others is not None:
        raise refusal(ValueError("--labels must come with thresholds by a share, since other z have no labels there."))
    random = random_weights(argparse.Namespace(model=options.model, weights=options.weights, seed=0))
    found = dissect.dissect(
        model,
        options.layers,
        z if options.labels is None else LabelStore(options.labels).beside(z),
        segmenter=None if options.segmenter is None else signed(called(options.segmenter), options.device),
        segment="output",
        preset=options.preset,
        fraction=options.fraction,
        detector_iou=options.detector_iou,
        match=options.match,
        levels=options.levels,
        thresholds_from=others,
        top_images=options.top_images,
        batch_size=options.batch_size,
        memory_budget=gibibytes("--memory", options.memory),
        disk_budget=gibibytes("--disk", options.disk),
        resume=progress,
    )
    found.settings["z"] = {"count": options.count, "seed": options.seed, "noise": noise}
    if others is not None:
        found.settings["thresholds_z"] = {"count": options.count, "seed": options.threshold_seed, "noise": noise}
    if random is not None:
        found.settings["weights"] = random
    return found
