"""The table of rooms in CONTRIBUTING.md: all that is there is in it, on the floors of the contract; and sizes."""

import ast
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Folders of tests that are of no room: of the engine and the kernels, and files that tests read.
BESIDE = {"docs", "emulation", "fuzz", "golden", "gpu", "native"}


def floors():
    """The floor of each room and single file, by the table."""
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    found = {}
    for floor, room, what in rows:
        names = re.findall(r"`(\w+)`", what) if room == "single files" else [room.strip("`/").removesuffix(".py")]
        found |= dict.fromkeys(names, int(floor))
    return found


def contract():
    """The sets of modules that pyproject.toml keeps apart, the highest first."""
    text = (ROOT / "pyproject.toml").read_text()
    (layers,) = re.findall(r"^layers = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    found = [set(re.findall(r"dissect\.(\w+)", line)) for line in layers.splitlines()]
    return [layer for layer in found if layer != {"__main__"}]


def names(folder):
    """Its folders and files of Python."""
    files = {path.stem for path in folder.glob("*.py")}
    return files | {path.parent.name for path in folder.glob("*/*.py")}


def test_everything_has_a_row():
    assert set(floors()) == names(ROOT / "dissect") - {"__main__"} | {"kernels"}


def test_everything_is_in_the_contract():
    assert set().union(*contract()) == names(ROOT / "dissect") - {"__main__", "__init__"}


def test_floors_are_those_of_the_contract():
    floor, layers = floors(), contract()
    for layer in layers:
        assert len({floor[room] for room in layer}) == 1, layer
    heights = [floor[next(iter(layer))] for layer in layers]
    assert all(above > below or above == below == 0 for above, below in pairwise(heights)), heights


def test_tests_have_the_rooms_names():
    folders = {path.name for path in (ROOT / "tests").iterdir() if any(path.glob("*.py"))}
    assert folders <= set(floors()) | BESIDE


def code():
    """All files of Python."""
    folders = ("dissect", "kernels", "docs", "benchmarks", "tests")
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


def longest(text):
    """The lines of the longest function in a file, without its signature and docstring."""
    parts = [part for part in ast.walk(ast.parse(text)) if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))]
    bodies = [part.body[ast.get_docstring(part) is not None :] for part in parts]
    return max((body[-1].end_lineno - body[0].lineno + 1 for body in bodies if body), default=0)


def test_files_and_functions_are_short():
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in code()}
    assert len(texts) > 500
    assert {path for path, text in texts.items() if text.count("\n") >= 400} == set()
    assert {path for path, text in texts.items() if longest(text) >= 50} == set()


def named(text):
    """The classes and types that a file defines; earlier names of something, as ``Old = New``, are none."""
    found = []
    for part in ast.parse(text).body:
        if isinstance(part, ast.ClassDef):
            found.append(part.name)
        elif isinstance(part, (ast.Assign, ast.AnnAssign)) and not isinstance(part.value, ast.Name):
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            found += [name for name in names if re.match("_?[A-Z]", name) and not name.isupper()]
    return found


#: Layers of published networks: fingerprints, which files of results keep, have the names of their classes.
IN_FINGERPRINTS = {"Block", "Blur", "Noise", "ScaledConv"}


def test_classes_and_types_have_names_of_their_own():
    """So that a name in a message, a signature or a search is one thing."""
    files = (ROOT / "dissect").rglob("*.py")
    names = Counter(name for path in files for name in named(path.read_text(encoding="utf-8")))
    assert len(names) > 600, len(names)
    assert {name for name, count in names.items() if count > 1} == IN_FINGERPRINTS


def test_classes_and_types_are_found():
    text = (
        "class One: ...\nTwo = Callable[[int], int]\n_Three = TypeVar('_Three')\nOld = One\nFOUR = (1, 2)\nfive = 5\n"
    )
    assert named(text) == ["One", "Two", "_Three"]
    assert named("if True:\n    def inner():\n        class One: ...\n") == []


def test_the_longest_function_is_found():
    assert longest('def one():\n    """Says."""\n    a = 1\n\n    b = 2\n\n\ndef two():\n    return 1\n') == 3
