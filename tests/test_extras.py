"""Packages that are optional: who needs them says so, and names the extra that has them."""

import ast
import re
import sys
from pathlib import Path

import pytest

import dissect
from dissect import apps, extras, plots
from dissect.data import ClassFolder, ImageFolder
from dissect.experiments import carlini_wagner, figures
from dissect.tiny import survey

ROOT = Path(dissect.__file__).parent
#: The import name of what some extra installs.
OPTIONAL = set(
    "jinja2 matplotlib PIL scipy sklearn foolbox starlette uvicorn anywidget traitlets transformers pycocotools lpips "
    "torch_fidelity".split()
)
#: Files that are only reached through another, which has asked for the packages.
BEHIND = {
    "data/files.py": "data/folders.py",
    "apps/guard.py": "apps/serving.py",
    "apps/server.py": "apps/serving.py",
    "apps/widgets.py": "apps/showing.py",
    "report/charts.py": "report/html.py",
    "report/embedded.py": "report/html.py",
    "report/pairs.py": "report/html.py",
    "report/pictures.py": "report/html.py",
}


@pytest.mark.parametrize(
    ("module", "extra", "call"),
    [
        ("matplotlib.figure", "report", lambda: plots.new_figure(1, 1)),
        ("matplotlib", "report", figures.check_extras),
        ("PIL", "report", lambda: ImageFolder("nowhere")),
        ("PIL", "report", lambda: ClassFolder("nowhere")),
        ("starlette", "apps", lambda: apps.serve(None)),
        ("uvicorn", "apps", lambda: apps.serve(None)),
        ("anywidget", "notebook", lambda: apps.show(None)),
        ("jinja2", "report", lambda: dissect.write_report(None, "nowhere")),
        ("foolbox", "experiments", carlini_wagner.load_foolbox),
        ("sklearn.linear_model", "experiments", lambda: survey.logistic_accuracy(*[None] * 4)),
    ],
)
def test_who_needs_a_missing_package_names_its_extra(module, extra, call, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"needs .*{re.escape(module)}.*pip install 'dissect-units\[{extra}\]'"):
        call()


def imported(path: Path) -> set[str]:
    """Optional packages that a file imports when it is run, not for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names & OPTIONAL


def test_whoever_imports_an_optional_package_asks_for_it_first():
    users = {path.relative_to(ROOT).as_posix(): imported(path) for path in ROOT.rglob("*.py")}
    users = {path: packages for path, packages in users.items() if packages}
    assert {"plots/style.py", "data/folders.py", "experiments/carlini_wagner.py", *BEHIND} <= set(users)
    for path, packages in users.items():
        text = (ROOT / BEHIND.get(path, path)).read_text(encoding="utf-8")
        asked = " ".join(re.findall(r"\brequire\(([^)]*)\)", text))
        assert all(f'"{package}' in asked for package in packages), (path, packages)


def test_the_extras_that_are_named_are_there():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    calls = re.compile(r'\brequire\("[^"]+", "([\w-]+)"')
    named = {found for path in ROOT.rglob("*.py") for found in calls.findall(path.read_text(encoding="utf-8"))}
    assert {"report", "experiments", "hugging-face", "coco", "fid", "lpips"} <= named
    assert all(re.search(rf"^{extra} = \[", text, re.MULTILINE) for extra in named)


def test_a_package_that_is_here_is_no_trouble():
    assert extras.require("a test", "report", "json", "math") is None
