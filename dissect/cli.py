"""The command line: ``dissect demo``, ``dissect run``, ``dissect info``; also ``python -m dissect``."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

from dissect.run import add_arguments
from dissect.run import run as run_command

DEMO_LAYERS = ("features.conv4_3", "features.conv5_3")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0, or 1 for an error that the user can mend, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        # A KeyError's text is its repr, quotes and all.
        text = error.args[0] if isinstance(error, KeyError) else str(error)
        print("dissect: " + text.removeprefix("dissect: "), file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("dissect", description="Finds out what the single units of a network detect.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="dissect the embedded network over the embedded scenes, write a report")
    demo.add_argument("--out", type=Path, default=Path("out"), help="folder for the report and the result (out)")
    demo.add_argument("--images", type=int, default=800, help="how many scenes to look at (800)")
    demo.add_argument("--layers", nargs="+", default=list(DEMO_LAYERS), help="layers to dissect (%(default)s)")
    demo.add_argument("--untrained", action="store_true", help="dissect the network as it was before its training")
    demo.set_defaults(command=_demo)

    run = commands.add_parser("run", help="dissect your own network over a folder of images")
    add_arguments(run)
    run.set_defaults(command=run_command)

    info = commands.add_parser("info", help="versions, processors, backends, and why some are missing")
    info.add_argument("--json", action="store_true", help="for programs")
    info.set_defaults(command=_info)
    return parser


def _demo(options: argparse.Namespace) -> int:
    import dissect
    from dissect import tiny

    model = tiny.vgg(trained=not options.untrained)
    scenes = tiny.TinyScenes("val", count=options.images)
    result = dissect.dissect(model, options.layers, scenes)
    result.save(options.out / "tiny-vgg")
    report = dissect.write_report(result, options.out)
    last = options.layers[-1]
    layer = result[last]
    print(f"{last}: {len(result.detectors(last))} of {layer.num_units} units are detectors; the five best:\n")
    for row in result.best(last).top(5, by="iou"):
        print(f"  unit {row.unit:4d}   {row.concept} ({row.category})   IoU {row.iou:.3f}")
    print(f"\nreport: {report}")
    return 0


def _info(options: argparse.Namespace) -> int:
    facts = collect_info()
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    for name, value in facts.items():
        if name != "backends":
            print(f"{name:12} {value}")
    for op, choices in facts["backends"].items():
        print(f"{op:16} " + "; ".join(f"{name}: {reason or 'available'}" for name, reason in choices.items()))
    return 0


def collect_info() -> dict[str, Any]:
    """Versions, processors and, per op, each backend with None or the reason why it is missing."""
    import torch

    import dissect
    from dissect.ops import dispatch, native

    return {
        "dissect": dissect.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "simd": native.simd_level(),
        "backends": {op: dict(dispatch.backends(op)) for op in dispatch.CPU_BACKENDS},
    }
