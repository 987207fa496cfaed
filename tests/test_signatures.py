"""A snapshot of the public signatures: others call them, so a change must be meant.

After a change that is meant: ``python tests/test_signatures.py > tests/signatures.txt``.
"""

import inspect
from pathlib import Path

import dissect
from dissect import (
    apps,
    classifiers,
    data,
    dissection,
    experiments,
    generators,
    interventions,
    models,
    omissions,
    ops,
    plots,
    reference,
    report,
    rewriting,
    segmentation,
    stats,
    tiny,
)
from dissect.experiments import biases

ROOMS = (
    dissect, dissection, ops, reference, stats, data, models, segmentation, tiny, interventions, classifiers,
    generators, omissions, rewriting, experiments, biases, plots, report, apps,
)  # fmt: skip
SNAPSHOT = Path(__file__).with_name("signatures.txt")


def public_signatures() -> str:
    """One line per public function, class and method."""
    lines = []
    for room in ROOMS:
        for name in sorted(room.__all__):
            thing = getattr(room, name)
            path = f"{room.__name__}.{name}"
            if inspect.isclass(thing):
                lines.append(f"class {path}{_signature(thing)}")
                own = [base for base in thing.__mro__ if base.__module__.startswith("dissect")]
                for method in sorted({name for base in own for name in vars(base)}):
                    if not method.startswith("_") and callable(getattr(thing, method)):
                        lines.append(f"{path}.{method}{_signature(getattr(thing, method))}")
            elif callable(thing):
                lines.append(f"{path}{_signature(thing)}")
    return "\n".join(lines) + "\n"


def _signature(thing) -> str:
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return ""
    signature = inspect.signature(thing)
    empty = inspect.Signature.empty
    bare = [p.replace(annotation=empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=empty))  # with the markers * and /


def test_signatures_are_those_of_the_snapshot():
    assert public_signatures() == SNAPSHOT.read_text()


def test_every_room_with_public_names_is_here_and_on_the_site():
    root = Path(dissect.__file__).parent
    files = [path for path in root.rglob("__init__.py") if "\n__all__ = " in path.read_text(encoding="utf-8")]
    assert {Path(room.__file__) for room in ROOMS} == {*files} - {root / "cli/__init__.py"}
    pages = Path(__file__).parents[1] / "docs/reference"
    shown = {path.read_text(encoding="utf-8").rpartition("::: ")[2].strip() for path in pages.glob("*.md")}
    assert {room.__name__ for room in ROOMS} <= shown
    index = (pages / "index.md").read_text(encoding="utf-8")
    assert [room.__name__ for room in ROOMS if f"[{room.__name__}](" not in index] == []


def test_a_keyword_only_parameter_shows_as_one():
    def positional(a, b=1): ...
    def keyword(a, *, b=1): ...

    assert (_signature(positional), _signature(keyword)) == ("(a, b=1)", "(a, *, b=1)")


if __name__ == "__main__":
    print(public_signatures(), end="")
