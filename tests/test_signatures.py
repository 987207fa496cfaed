"""A snapshot of the public signatures: others call them, so a change must be meant.

After a change that is meant: ``python tests/test_signatures.py > tests/signatures.txt``.
"""

import inspect
from pathlib import Path

import dissect
from dissect import classifiers, data, models, ops, reference, stats, tiny

SNAPSHOT = Path(__file__).with_name("signatures.txt")


def public_signatures() -> str:
    """One line per public function, class and method."""
    lines = []
    for room in (dissect, ops, reference, stats, data, models, tiny, classifiers):
        for name in sorted(room.__all__):
            thing = getattr(room, name)
            path = f"{room.__name__}.{name}"
            if inspect.isclass(thing):
                lines.append(f"class {path}{_signature(thing)}")
                for method in sorted(vars(thing)):
                    if not method.startswith("_") and callable(getattr(thing, method)):
                        lines.append(f"{path}.{method}{_signature(getattr(thing, method))}")
            elif callable(thing):
                lines.append(f"{path}{_signature(thing)}")
    return "\n".join(lines) + "\n"


def _signature(thing) -> str:
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return ""
    parameters = inspect.signature(thing).parameters.values()
    return "(" + ", ".join(str(p.replace(annotation=inspect.Parameter.empty)) for p in parameters) + ")"


def test_signatures_are_those_of_the_snapshot():
    assert public_signatures() == SNAPSHOT.read_text()


if __name__ == "__main__":
    print(public_signatures(), end="")
