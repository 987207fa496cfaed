"""The commands ``dissect rewrite ...``: one rule of a generator, changed in its weights."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect.arguments import integer, refusal, result_file
from dissect.cli.networks import called, imported, inputs_of
from dissect.cli.rewrite_model import add_model_arguments, model_of
from dissect.cli.rewrite_ui import add_ui_arguments, ui
from dissect.cli.run import resumed
from dissect.cli.segmenters import signed
from dissect.text import printable, shown

if TYPE_CHECKING:
    from dissect.rewriting import Edit, Memory


def add_commands(commands: Any) -> None:
    """The commands ``dissect rewrite ...``, to what `argparse` gives for them."""
    gathered = commands.add_parser(
        "moments", help="the second moment of a layer's keys, which edits are to leave alone"
    )
    _add_common(gathered)
    gathered.set_defaults(command=moments)
    replayed = commands.add_parser("apply", help="replay an editing session; write the edit, and the weights with it")
    replayed.add_argument("session", type=Path, help="a JSON file in the published format")
    _add_common(replayed)
    _add_insertion(replayed)
    replayed.set_defaults(command=apply)
    measured = commands.add_parser("metrics", help="what an edit or a session does to images, beside its baselines")
    _add_change(measured)
    _add_metrics(measured)
    measured.set_defaults(command=metrics)
    pictured = commands.add_parser(
        "sheet", help="the images that agree most with an edit's direction, before and after"
    )
    _add_change(pictured)
    pictured.add_argument("--shown", type=int, default=12, help="how many images (12, as published)")
    pictured.set_defaults(command=sheet)
    page = commands.add_parser("ui", help="a page: rewrite a rule by copy, paste and context")
    add_ui_arguments(page)
    page.set_defaults(command=ui)


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for what is written (out)")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever --out holds")


def _add_insertion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--moment", type=Path, help="what dissect rewrite moments wrote (gathered anew)")
    parser.add_argument("--rank", type=int, default=1, help="of the change (1)")
    parser.add_argument("--mode", default="projected", help="projected, lambda or closed (projected)")
    parser.add_argument("--steps", type=int, default=2001, help="of the descent (2001)")
    parser.add_argument("--every", type=int, default=10, help="steps between projections (10)")
    parser.add_argument("--rate", type=float, default=0.05, help="of Adam (0.05)")
    parser.add_argument("--loss", default="l1", help="l1 or l2 (l1, as the published code)")
    parser.add_argument("--whole", action="store_true", help="compare whole maps, not the crop around what is pasted")


def _add_change(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("change", type=Path, help="a .edit file, or a session, which is replayed")
    _add_common(parser)
    _add_insertion(parser)
    parser.add_argument("--samples", type=int, default=1000, help="how many other z (1000; published are 10000)")
    parser.add_argument("--samples-seed", type=int, default=2, help="of these z, and of their noise (2)")


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--segmenter", required=True, metavar="MODULE:CALLABLE", help="called, gives a segmenter")
    parser.add_argument("--source", required=True, help="the class that is to go, as NAME, CATEGORY/NAME or a number")
    parser.add_argument("--targets", nargs="+", required=True, help="what may take its place")
    parser.add_argument("--features", metavar="MODULE:FUNCTION", help="of images in [-1, 1], for the perceived change")
    parser.add_argument("--lpips", metavar="NET", help="or LPIPS, of alex (the thesis') or vgg (the published code's)")
    parser.add_argument("--effect", metavar="MODULE:FUNCTION", help="tells which of some images have the effect")
    parser.add_argument("--baselines", action="store_true", help="of a session: all that papers compare with, too")
    parser.add_argument(
        "--correspondences", metavar="MODULE:FUNCTION",
        help="with --baselines: of images in [-1, 1] gives maps, the finest first, to copy and blend by",
    )  # fmt: skip
    parser.add_argument("--fine-tuning-steps", type=int, default=2001, help="with --baselines; 0: none (2001)")
    parser.add_argument("--pairs", type=int, default=0, help="writes a page of so many blinded pairs for each (0)")
    parser.add_argument("--json", action="store_true", help="print what was found for programs")


def moments(options: argparse.Namespace) -> int:
    """Gathers and saves a second moment; an interrupted run goes on when called again."""
    memory, inputs = _memory(options)
    with resumed(options) as progress:
        found = memory.second_moment(inputs, batch_size=options.batch_size, resume=progress)
    path = found.save(options.out / "result")
    print(f"{found!r}: rank {found.rank}, condition {found.condition:.3g}\nresult: {shown(path)}")
    return 0


def apply(options: argparse.Namespace) -> int:
    """Replays a session; saves the edit, and all weights with it applied."""
    from dissect.files.tensors import save_file
    from dissect.rewriting import load_session

    session = load_session(options.session)
    memory, inputs = _memory(options)
    edit = _replayed(session, memory, inputs, options)
    path, weights = edit.save(options.out / "result"), options.out / "weights.safetensors"
    state = {name: value.cpu().contiguous().clone() for name, value in edit.merged(memory.model.state_dict()).items()}
    save_file(state, weights)
    before, after = (edit.settings[f"loss_{when}"] for when in ("before", "after"))
    print(f"{printable(repr(memory))}\nrank {edit.rank}, loss {before:.4g} before and {after:.4g} after")
    print(f"edit: {shown(path)}\nweights: {shown(weights)}")
    return 0


def metrics(options: argparse.Namespace) -> int:
    """Measures a change on other z; prints and saves a table, and if asked writes a page of blinded pairs."""
    from dissect.rewriting import change_table, changed_images, lpips_distance, rule_changes

    segmenter = signed(called(options.segmenter), options.device)
    source, *targets = (_label(segmenter, name) for name in (options.source, *options.targets))
    features, effect = (None if name is None else imported(name) for name in (options.features, options.effect))
    distance = None if options.lpips is None else lpips_distance(options.lpips)
    if integer("--pairs", options.pairs, 0):
        from dissect.report.html import check_extras

        check_extras()
    memory, samples, changes = _changes(options)
    found = rule_changes(
        memory.model, samples, changes, segmenter, source, targets, features=features, distance=distance,
        effect=effect, batch_size=options.batch_size,
    )  # fmt: skip
    table = change_table(found)
    path = table.to_csv(options.out / "metrics.csv")
    if options.json:
        rows = [row._asdict() for row in table]
        print(json.dumps([{key: None if value != value else value for key, value in row.items()} for row in rows]))
    else:
        print(table)
    told = [f"table: {shown(path)}"]
    if options.pairs:
        chosen = _first_of(samples, options.pairs)
        images = {name: changed_images(memory.model, chosen, each) for name, each in changes.items()}
        told += _pairs(images, options.out)
    print("\n".join(told), file=sys.stderr if options.json else sys.stdout)
    return 0


def sheet(options: argparse.Namespace) -> int:
    """Draws the images that agree most with the direction of a change, before and after."""
    from dissect import plots, rewriting

    memory, samples, changes = _changes(options)
    name, edit = next(iter(changes.items()))
    count = integer("--shown", options.shown)
    best = rewriting.matches(memory, samples, edit.directions[:, 0], count, batch_size=options.batch_size).images
    chosen = tuple(part[best] for part in samples) if isinstance(samples, tuple) else samples[best]
    figure = rewriting.sheet(memory.model, chosen, {name: edit}, batch_size=options.batch_size)
    path = plots.save(figure, options.out / "sheet.png")
    print(f"images: {' '.join(map(str, best.tolist()))}\nsheet: {shown(path)}")
    return 0


def _pairs(images: dict[str, Any], out: Path) -> list[str]:
    """A page of the first change's images beside every other's."""
    from dissect.report import write_pairs

    made = {name: each.add(1).mul(127.5).clamp(0, 255).round().byte() for name, each in images.items()}
    ours, *others = made
    written = write_pairs({name: (made[ours], made[name]) for name in others}, out, seed=0)
    return [f"pairs: {shown(written.page)}", f"key: {shown(written.key)}"]


def _changes(options: argparse.Namespace) -> tuple[Memory, Any, dict[str, Any]]:
    """The layer, other z than the session's, and the changes by name, the one that is asked about first."""
    from dissect.rewriting import Edit, baselines, load_session

    if options.samples_seed == options.seed:
        raise refusal(ValueError(f"--samples-seed must be another than --seed, but both are {options.seed}."))
    compared = getattr(options, "baselines", False)
    edit, session = None, None
    if options.change.suffix == Edit.suffix:
        edit = Edit.load(result_file(options.change, Edit.suffix))
        if compared:
            raise refusal(ValueError("--baselines must be given with a session, from which they are made."))
    else:
        session = load_session(options.change)
    memory, inputs = _memory(options)
    samples = inputs_of(memory.model, argparse.Namespace(count=options.samples, seed=options.samples_seed))
    if edit is not None:
        if edit.layer != memory.layer:
            raise refusal(ValueError(f"--layer must be the edit's, {edit.layer!r}, but is {memory.layer!r}."))
        return memory, samples, {"edit": edit.bound(memory.model), "unmodified": nullcontext()}
    if session is not None and compared:
        _gather(memory, inputs, options)
        maps = None if options.correspondences is None else imported(options.correspondences)
        made = baselines(
            memory, inputs, session, options.rank, correspondences=maps, fine_tuning_steps=options.fine_tuning_steps,
            **_insertion(options),
        )  # fmt: skip
        return memory, samples, made
    return memory, samples, {"edit": _replayed(session, memory, inputs, options), "unmodified": nullcontext()}


def _replayed(session: Any, memory: Memory, inputs: Any, options: argparse.Namespace) -> Edit:
    _gather(memory, inputs, options)
    edit: Edit = session.edit(memory, inputs, options.rank, mode=options.mode, **_insertion(options))
    return edit


def _insertion(options: argparse.Namespace) -> dict[str, Any]:
    named = {name: getattr(options, name) for name in ("steps", "every", "rate", "loss")}
    return {"tight": not options.whole, **named}


def _gather(memory: Memory, inputs: Any, options: argparse.Namespace) -> None:
    """The second moment, from a file or anew."""
    from dissect.rewriting import SecondMoment

    if options.moment is not None:
        memory.moment = SecondMoment.load(result_file(options.moment, SecondMoment.suffix))
        return
    with resumed(options) as progress:
        memory.second_moment(inputs, batch_size=options.batch_size, resume=progress)


def _label(segmenter: Any, name: str) -> int:
    """The number of a class, of a segmenter that names its concepts, or as it is."""
    from dissect.concepts import Concepts, label_of

    if name.isdigit():
        return int(name)
    named = getattr(segmenter, "concepts", None)
    if named is None:
        raise refusal(
            ValueError(f"--source and --targets must be numbers, as the segmenter has no concepts: {name!r}.")
        )
    return label_of(Concepts.of(named), name)


def _first_of(inputs: Any, count: int) -> Any:
    """The first z, with their noise."""
    return tuple(part[:count] for part in inputs) if isinstance(inputs, tuple) else inputs[:count]


def _memory(options: argparse.Namespace) -> tuple[Memory, Any]:
    """The layer, and the z that the options ask for."""
    from dissect.rewriting import Memory

    model = model_of(options)
    return Memory(model, options.layer), inputs_of(model, options)
