"""The package as a whole: imports, names, docs."""

import copy
import csv
import doctest
import importlib
import inspect
import math
import os
import pickle
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import dissect
from dissect.concepts import Concepts
from dissect.table import Table

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(dissect.__path__, "dissect.")
    if not module.name.endswith(("__main__", "._C"))
)

#: With this the package in that folder is tested, not the tree: `make test-wheel`.
INSTALLED = os.environ.get("DISSECT_TEST_INSTALLED")

#: What an example needs beyond the core.
EXTRAS = {"dissect.experiments.attack": "foolbox", "dissect.tiny.survey": "sklearn"}


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name])
    module = importlib.import_module(name)
    if INSTALLED and not lies_beside_data(module):
        return  # it has the bytes of the tree's, says test_wheel.py, so that its examples tell no more
    names = {"torch": torch, "dissect": dissect, "NamedTuple": NamedTuple}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in _Examples().find(module, name, extraglobs=names):
        runner.run(test)
    assert runner.summarize().failed == 0


def lies_beside_data(module):
    """Whether its folder, or one in that, has files that are found by their place: pages, weights."""
    files = Path(module.__file__).parent.rglob("*") if module is not dissect else ()
    return any(file.is_file() and file.suffix not in (".py", ".pyc", ".so", ".typed") for file in files)


class _Examples(doctest.DocTestFinder):
    """Finds those of decorated functions too, whose wrappers belong to another module."""

    def _from_module(self, module, thing):
        return super()._from_module(module, inspect.unwrap(thing) if callable(thing) else thing)


def test_what_is_tested():
    where = Path(dissect.__file__).resolve().parents[1]
    assert where == (Path(INSTALLED).resolve() if INSTALLED else Path(__file__).resolve().parents[1])


def test_public_names():
    for name in ("dissect", "load", "write_report", "Trace", "Grid", "Dissection", "Concepts", "ops", "stats"):
        assert name in dissect.__all__
        assert getattr(dissect, name).__doc__
    assert dissect.ops.iou_counts.__doc__
    assert not hasattr(importlib.import_module("dissect.kernels"), "torch")


def test_help_shows_a_map_of_all_public_names():
    shown = dissect.__doc__.partition("The map::")[2]
    rows = re.findall(r"^    (\S.*?) {2,}\S", shown, re.MULTILINE)
    told = [name for row in rows for name in row.split(", ")]
    assert sorted(told) == sorted([*dissect.__all__, "apps", "data"])


def in_a_fresh_interpreter(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_needs_no_engine_no_triton_no_report():
    code = """
import sys
for name in ("triton", "jinja2", "matplotlib", "PIL", "torchvision", "dissect._C"):
    sys.modules[name] = None
import warnings; warnings.simplefilter("ignore")
import torch, dissect
counts = dissect.ops.iou_counts(torch.ones(1, 1, 1, 1), torch.zeros(1), torch.ones(1, 1, 2, 2, dtype=torch.uint8), 2)
print(int(counts.unit_area), dict(dissect.ops.backends("iou_counts"))["cpp"])
"""
    out = in_a_fresh_interpreter(code)
    assert out.startswith("4 the compiled engine is missing")


def test_import_brings_no_stranger_and_rooms_are_imported_where_they_are_used():
    rooms = ["experiments", "omissions", "rewriting", "segmentation", "tiny"]
    code = f"""
import os, sys, dissect
print(sorted({{"kernels", "jinja2", "PIL"}} & set(sys.modules)), flush=True)
for name in {rooms}:
    if os.fork() == 0:  # each in a process of its own, which has imported no other
        print(name, f"dissect.{{name}}" in sys.modules, name in dir(dissect), name in dissect.__all__)
        print(getattr(dissect, name).__name__, f"dissect.{{name}}" in sys.modules, flush=True)
        os._exit(0)
    os.wait()
"""
    expected = [line for name in rooms for line in (f"{name} False True True", f"dissect.{name} True")]
    assert in_a_fresh_interpreter(code).splitlines() == ["[]", *expected]
    with pytest.raises(AttributeError, match="module 'dissect' has no attribute 'nothing'"):
        _ = dissect.nothing


def test_concepts():
    concepts = Concepts.of([("tree", "object"), ("tree", "part"), "sky"])
    assert concepts.number("tree") == 1
    assert concepts.number("tree", "part") == 2
    assert concepts.categories == ("", "object", "part", "concept")
    assert Concepts.of(concepts) is concepts
    with pytest.raises(KeyError, match="no concept is called 'sea'"):
        concepts.number("sea")
    with pytest.raises(TypeError, match=r"names or \(name, category\) pairs, but one is \('a', 'b', 'c'\)"):
        Concepts.of([("a", "b", "c")])
    with pytest.raises(ValueError, match="categories of concepts must have names, but that of 'a' is empty"):
        Concepts.of([("a", "")])
    with pytest.raises(TypeError, match=r"must be a list of the names of the labels 1, 2, 3, \.\.\., .* but got a str"):
        Concepts.of("abcd")
    with pytest.warns(UserWarning, match="their first name is 'Background'; label 0 is 'no label' and has no name"):
        Concepts.of(["Background", "sky"])
    with pytest.raises(ValueError, match="the same length, at least 1"):
        Concepts(("-",), ("", "object"))


def test_a_table_as_csv(tmp_path):
    class Row(NamedTuple):
        name: str
        value: float

    path = Table([Row('a, "b"', 1 / 3)]).to_csv(tmp_path / "new" / "table.csv")
    assert path.read_text() == 'name,value\n"a, ""b""",0.3333333333333333\n'
    assert Table().to_csv(path).read_text() == ""
    formulas = ["=1+1", "+1", "-1", "@a", "\t=1", "\n=1", "\uff1d1"]
    with Table([Row(text, -0.5) for text in (*formulas, "a=b")]).to_csv(path).open(newline="") as file:
        assert list(csv.reader(file))[1:] == [[f"'{text}", "-0.5"] for text in formulas] + [["a=b", "-0.5"]]
    assert [file.name for file in path.parent.iterdir()] == ["table.csv"]


def test_table():
    class Row(NamedTuple):
        name: str
        value: float

    table = Table([Row("<b>", 0.5), Row("c", 2.0), Row("d", 2.0)])
    assert str(table).splitlines() == ["name  value", "<b>   0.500", "c     2.000", "d     2.000"]
    assert [row.name for row in table.top(2, by="value")] == ["c", "d"]
    assert "&lt;b&gt;" in table._repr_html_()
    assert isinstance(table[1:], Table)
    assert (table[1:], table[0]) == (table.top(2, by="value"), Row("<b>", 0.5))
    assert str(Table()) == "(no rows)"
    with pytest.raises(ValueError, match="by must be one of"):
        table.top(1, by="weight")
    with pytest.raises(ValueError, match="by must be a column of numbers, but 'name' holds '<b>'"):
        table.top(1, by="name")
    odd = Table(Row(str(value), value) for value in (0.1, math.nan, 0.5, 0.2, math.nan, 0.9))
    assert [row.value for row in odd.top(4, by="value")] == [0.9, 0.5, 0.2, 0.1]
    assert str(Table([Row("a", 0.0004), Row("b", 12.0)])).splitlines()[1:] == ["a     0.0004", "b     12.000"]


class Found(NamedTuple):
    unit: int
    concept: str
    iou: float
    same: bool | None = None


def test_a_table_prints_the_best_first_and_keeps_its_order():
    rows = [Found(0, "a", 0.1), Found(1, "b", math.nan), Found(2, "c", 0.5), Found(3, "d", 0.1, True)]
    table = Table(rows, by="iou", show=("unit", "iou"))
    printed = ["unit    iou", "   2  0.500", "   0  0.100", "   3  0.100", "   1      -", "more columns: concept, same"]
    assert str(table).splitlines() == printed
    assert list(table) == [rows[0], rows[1]._replace(iou=None), *rows[2:]]
    assert table[0] == rows[0]
    assert str(table[:2]).splitlines() == [printed[0], printed[2], printed[4], printed[5]]
    assert (table[:2].by, table[:2].show) == ("iou", ("unit", "iou"))
    top = table.top(3, by="unit")  # in the order asked for last, not by IoU
    assert str(top).splitlines() == [printed[0], printed[3], printed[1], printed[4], printed[5]]
    html = table._repr_html_()
    assert html.index("<td>2</td>") < html.index("<td>0</td>") < html.index("<td>1</td><td>-</td>")
    assert "<th>concept</th>" not in html
    assert "more columns: concept, same" in html
    assert copy.deepcopy(table).show == pickle.loads(pickle.dumps(table)).show == ("unit", "iou")


def test_what_is_not_known_is_a_dash_and_comes_last():
    table = Table([Found(0, "a", 0.1), Found(1, "b", 0.2, True), Found(2, "c", 0.2, False)], by="same")
    assert [line.split()[-1] for line in str(table).splitlines()] == ["same", "True", "False", "-"]
    assert str(table).splitlines()[-1] == "   0  a        0.100      -"
    assert [row.unit for row in table.top(3, by="same")] == [1, 2, 0]


def test_no_table_holds_nan(tmp_path):
    table = Table([Found(0, "a", math.nan), Found(1, "nan", float("inf"), True)])
    assert [row.iou for row in table] == [None, float("inf")]
    assert table.to_csv(tmp_path / "a.csv").read_text().splitlines()[1:] == ["0,a,,", "1,nan,inf,True"]
    assert "nan" not in str(table[:1]) + table[:1]._repr_html_()


def test_a_table_of_columns_that_are_not_there(tmp_path):
    rows = [Found(0, "a", 0.1)]
    with pytest.raises(ValueError, match=r"Table: by must be one of \('unit', .*, but got 'weight'"):
        Table(rows, by="weight")
    with pytest.raises(ValueError, match="Table: by must be a column of numbers, but 'concept' holds 'a'"):
        Table(rows, by="concept")
    for show in (["unit", "weight"], [], "unit"):
        with pytest.raises(ValueError, match=r"Table: show must name columns of \('unit', .*, but got \("):
            Table(rows, show=show)
    assert str(Table([], by="weight", show=["unit"])) == "(no rows)"
    csv_file = Table(rows, by="iou", show=["unit"]).to_csv(tmp_path / "all.csv")
    assert csv_file.read_text() == "unit,concept,iou,same\n0,a,0.1,\n"


def test_names_in_a_table_do_not_reach_the_terminal_as_commands():
    table = Table([Found(0, "\x1b[31mred\n\u202egnp", 0.1)])
    assert str(table).splitlines()[1:] == ["   0  \\x1b[31mred\\n\\u202egnp  0.100  -"]
    assert "\\x1b[31mred\\n\\u202egnp" in table._repr_html_()
    assert "\x1b" not in table._repr_html_()
