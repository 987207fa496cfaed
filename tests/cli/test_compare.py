"""dissect compare: what it prints and writes, and the lines of its errors."""

import json

import pytest
from small_comparison import FIRST, first, layer, made, other

import dissect
from dissect.cli import commands as cli


@pytest.fixture
def files(tmp_path):
    return [str(one.save(tmp_path / name / "result")) for name, one in (("one", first()), ("two", other()))]


def test_it_prints_the_summary_and_writes_page_tables_and_charts(files, tmp_path, capsys):
    assert cli.main(["compare", *files, "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    lines = out.split("\n")
    assert lines[0].split() == [
        "network", "layer", "units", "detectors", "beyond_chance", "concepts", "concepts_beyond_chance", "ratio",
        "mean_iou",
    ]  # fmt: skip
    assert lines[1].split() == ["one", "x", "5", "4", "3", "3", "2", "0.600", "0.155"]
    assert f"report: {tmp_path / 'out' / 'comparison.html'}" in lines
    assert err == ""
    tables = [f"{name}.csv" for name in ("best_units", "categories", "concepts", "correlation", "summary")]
    expected = sorted([*tables, "comparison.html", "concepts.png", "iou.png"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == expected


def test_for_programs(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["compare", *files, "--names", "a", "b", "--json", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == str(out / "comparison.html")
    assert [row["network"] for row in found["summary"]] == ["a", "b"]
    assert found["summary"][1]["beyond_chance"] is None
    assert found["correlation"][0]["r"] == dissect.compare(files).correlation()[0].r
    assert set(found) == {
        "report", "charts", "notes", "summary", "categories", "concepts", "best_units", "correlation"
    }  # fmt: skip


def test_a_series_whose_images_differ(tmp_path, capsys):
    files = [str(made(layer(FIRST), num_images=10 + at).save(tmp_path / f"step{at}")) for at in (0, 5)]
    with pytest.warns(dissect.DoubtfulResultWarning, match="num_images is 10 in 'step0', 15 in 'step5'"):
        assert cli.main(["compare", *files, "--steps", "0", "2.5", "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["step"] for row in found["summary"]] == [0, 2.5]
    assert (tmp_path / "out" / "series.png").is_file()
    assert "num_images is 10 in 'step0', 15 in 'step5'" in found["notes"][0]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "the following arguments are required: RESULT"),
        (["{one}"], "compare: two layers or networks must be there to be compared, but there is 1."),
        (["{one}", "{two}", "--names", "a"], "compare: --names must be 2 different names, one per result"),
        (["{one}", "{two}", "--names", "a", "a"], "compare: --names must be 2 different names, one per result"),
        (["{one}", "{two}", "--steps", "1", "x"], "argument --steps: invalid number value: 'x'"),
        (["{one}", "{two}", "--steps", "2", "1"], "compare: steps must rise"),
        (["{one}", "{two}", "--allow", "colour"], "compare: allow must name settings of"),
        (["{one}", "nowhere"], "there is no file nowhere.dissection"),
        (["{one}", "{folder}"], "compare: a .dissection file is needed, but {folder} is a folder"),
    ],
)
def test_errors_are_one_line(files, tmp_path, capsys, given, told):
    names = {"one": files[0], "two": files[1], "folder": tmp_path / "one"}
    arguments = ["compare", *(text.format(**names) for text in given), "--out", str(tmp_path / "out")]
    try:
        code = cli.main(arguments)
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert told.format(**names) in err
    assert not (tmp_path / "out").exists()


def test_the_page_of_a_saved_comparison(tmp_path, capsys):
    path = dissect.compare({"one": first(), "two": other()}).save(tmp_path / "pair")
    assert cli.main(["report", str(path), "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"report: {tmp_path / 'comparison.html'}\n"
