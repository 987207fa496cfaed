"""The command line; also ``python -m dissect``.

Commands: ``dissect demo``, ``layers``, ``run``, ``labels``, ``sweep``, ``classify``, ``unit-classifiers``,
``experiment``, ``generator``, ``omissions``, ``rewrite``, ``paint``, ``compare``, ``monitor``, ``report``,
``unit-pages``, ``rating`` and ``info``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import dissect
from dissect.arguments import result_file, speaker
from dissect.cli import classify as classify_commands
from dissect.cli import compare as compare_command
from dissect.cli import experiment as experiment_commands
from dissect.cli import generator as generator_commands
from dissect.cli import labels as labels_commands
from dissect.cli import monitor as monitor_command
from dissect.cli import omissions as omissions_commands
from dissect.cli import pages as pages_commands
from dissect.cli import paint as paint_commands
from dissect.cli import rating as rating_commands
from dissect.cli import rewrite as rewrite_commands
from dissect.cli import sweep as sweep_command
from dissect.cli import unit_classifiers as unit_classifiers_command
from dissect.cli.run import add_arguments, add_layers_arguments
from dissect.cli.run import layers as layers_command
from dissect.cli.run import run as run_command
from dissect.interrupts import Interrupts
from dissect.text import printable, shown

DEMO_LAYERS = ("features.conv4_3", "features.conv5_3")
#: Exit codes: wrong usage, or anything else that the user can mend; then as shells have them.
USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0, `USER_ERROR`, `INTERRUPTED` or `BROKEN_PIPE`.

    An error is one line on stderr, and so is a warning. DISSECT_TRACEBACK=1 shows where they come from instead.

    Raises:
        SystemExit: wrong usage, or ``--help``.
    """
    as_usual = warnings.formatwarning
    if os.environ.get("DISSECT_TRACEBACK") != "1":
        warnings.formatwarning = _warning_line
    interrupts = Interrupts()
    try:
        with interrupts:
            options = _parser().parse_args(arguments)
            with speaker(options.name):
                code: int = options.command(options)
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if interrupts.happened:
            return _interrupted()
        if os.environ.get("DISSECT_TRACEBACK") == "1":
            raise
        print("dissect: " + _one_line(error) + _whence(error), file=sys.stderr)
        return USER_ERROR
    finally:
        warnings.formatwarning = as_usual


def _interrupted() -> int:
    print("\ndissect: interrupted.", file=sys.stderr)
    return INTERRUPTED


def _warning_line(message: Warning | str, *_: object, **__: object) -> str:
    return "dissect: warning: " + _line(str(message)) + "\n"


def _one_line(error: Exception) -> str:
    text = str(error)
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # its text would be the repr, quotes and all
    elif isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}."
    return _line(text) or type(error).__name__


def _line(text: str) -> str:
    """A message in one line; what a terminal would obey in it is escaped, since it may quote anybody's files."""
    return printable(" ".join(text.removeprefix("dissect: ").split()))


def _whence(error: Exception) -> str:
    """Where an error of other code than ours came from, which its text does not tell."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, OSError | ImportError) or Path(last.filename).is_relative_to(Path(__file__).parents[1]):
        return ""
    return f" ({Path(last.filename).name}, line {last.lineno}; DISSECT_TRACEBACK=1 shows the way there)"


class _Parser(argparse.ArgumentParser):
    """Tells wrong usage in one line; options know the `name` of their command, as "classify sets"."""

    def set_defaults(self, **defaults: Any) -> None:
        """See `argparse.ArgumentParser`."""
        super().set_defaults(name=self.prog.partition(" ")[2], **defaults)

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: {_line(message)}; see {self.prog} --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("dissect", description="Finds out what the single units of a network detect.")
    parser.add_argument("--version", action="version", version=f"dissect {dissect.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="name")
    adders: tuple[tuple[str, str, Callable[[argparse.ArgumentParser], None], Callable[..., int] | None], ...] = (
        ("demo", "dissect the embedded network over the embedded scenes, write a report", _add_demo_arguments, _demo),
        ("layers", "list the layers of a network, their outputs' shapes and their units", add_layers_arguments,
         layers_command),
        ("run", "dissect your own network over a folder of images", add_arguments, run_command),
        ("labels", "segment images once, and keep their labels",
         _group("STEP", labels_commands.add_commands), None),
        ("sweep", "how units agree with labels at every threshold, not at one", sweep_command.add_arguments,
         sweep_command.sweep),
        ("classify", "what units do for a classifier", _group("EXPERIMENT", classify_commands.add_commands), None),
        ("unit-classifiers", "how well single units tell images with a concept from others",
         unit_classifiers_command.add_arguments, unit_classifiers_command.unit_classifiers),
        ("compare", "put saved results side by side: networks, layers, checkpoints",
         compare_command.add_compare_arguments, compare_command.compare),
        ("experiment", "the papers' experiments on classifiers",
         _group("EXPERIMENT", experiment_commands.add_commands), None),
        ("monitor", "dissect the checkpoints of one training in turn", monitor_command.add_arguments,
         monitor_command.monitor),
        ("generator", "what the units of a generator draw",
         _group("EXPERIMENT", generator_commands.add_commands), None),
        ("omissions", "what a generator leaves out", _group("STEP", omissions_commands.add_commands), None),
        ("rewrite", "change one rule of a generator in its weights",
         _group("STEP", rewrite_commands.add_commands), None),
        ("paint", "paint with the units of a generator, on a page; or replay what was painted",
         paint_commands.add_paint_arguments, paint_commands.paint),
        ("report", "write the report of a saved result", _add_report_arguments, _report),
        ("unit-pages", "print all units of a layer of a saved result, as PDF or PNG",
         pages_commands.add_unit_pages_arguments, pages_commands.unit_pages),
        ("rating", "what people call units, and whether labels fit",
         _group("STEP", rating_commands.add_commands), None),
        ("info", "versions, processors, backends, and why some are missing", _add_info_arguments, _info),
    )  # fmt: skip
    for name, text, add, command in adders:
        own = commands.add_parser(name, help=text)
        add(own)
        if command is not None:
            own.set_defaults(command=command)
    return parser


def _group(step: str, add_commands: Callable[[Any], None]) -> Callable[[argparse.ArgumentParser], None]:
    """Adds the commands of a group to its parser."""
    return lambda parser: add_commands(parser.add_subparsers(required=True, metavar=step))


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the report and the result (out)")
    parser.add_argument("--images", type=int, default=800, help="how many scenes to look at (800)")
    parser.add_argument("--layers", nargs="+", default=list(DEMO_LAYERS), help="layers to dissect (%(default)s)")
    parser.add_argument("--untrained", action="store_true", help="dissect the network as it was before its training")


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("result", type=Path, help="a file that Dissection.save or Comparison.save wrote")
    parser.add_argument("--importance", type=Path, help="a file that UnitImportance.save wrote, for the cards")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder, or a file that ends in .html (out)")


def _add_info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")


def _demo(options: argparse.Namespace) -> int:
    from dissect import tiny
    from dissect.report.html import check_extras

    # What would stop the report is told before the work, not after it.
    check_extras()
    options.out.mkdir(parents=True, exist_ok=True)
    model = tiny.vgg(trained=not options.untrained)
    scenes = tiny.TinyScenes("val", count=options.images)
    result = dissect.dissect(model, options.layers, scenes)
    # The two are there to be compared, so neither takes the other's place.
    name, page = ("tiny-vgg-untrained", "untrained.html") if options.untrained else ("tiny-vgg", "report.html")
    result.save(options.out / name)
    report = dissect.write_report(result, options.out / page)
    last = options.layers[-1]
    layer = result[last]
    found = len(result.detectors(last))
    print(f"{printable(last)}: {found} of {layer.num_units} units are detectors; the five best:\n")
    for row in result.best(last).top(5, by="iou"):
        print(f"  unit {row.unit:4d}   {row.concept} ({row.category})   IoU {row.iou:.3f}")
    print(f"\nreport: {shown(report)}")
    return 0


def _report(options: argparse.Namespace) -> int:
    kind = dissect.Comparison if options.result.suffix == dissect.Comparison.suffix else dissect.Dissection
    result: dissect.Comparison | dissect.Dissection = kind.load(result_file(options.result, ".dissection"))
    given = options.importance
    importance = () if given is None else dissect.UnitImportance.load(result_file(given, ".importance"))
    print(f"report: {shown(dissect.write_report(result, options.out, importance=importance))}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from dissect.cli.info import collect_info, info_lines

    facts = collect_info()
    print(json.dumps(facts, indent=2) if options.json else "\n".join(info_lines(facts)))
    return 0
