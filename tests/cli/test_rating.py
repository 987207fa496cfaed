"""`dissect rating`: pages, and the tables of answers to them."""

import json

import pytest

from dissect.cli import commands

from ..report.conftest import make_dissection, make_layer


@pytest.fixture
def result(tmp_path):
    return make_dissection([make_layer("a", 6, 6, 9), make_layer("b", 3, 6, 9)]).save(tmp_path / "result")


def answered(key, path, answer):
    """Answers to every question of a page, by its key."""
    told = json.loads(key.read_text())
    items = told.get("units") or told["labels"]
    kind = told["kind"].replace("key", "answers")
    path.write_text(
        json.dumps({"kind": kind, "page": told["page"], "rater": path.stem, "answers": [*map(answer, items)]})
    )
    return str(path)


def test_names_are_asked_read_and_rated(result, tmp_path, capsys):
    assert commands.main(["rating", "name", str(result), "--layer", "a", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"page: {tmp_path / 'naming.html'}"
    key = tmp_path / "naming.key.json"
    names = [str(key), *(answered(key, tmp_path / f"{one}.json", lambda item: f"thing {item['unit']}") for one in "pq")]
    assert commands.main(["rating", "names", *names, "--result", str(result), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in told["names"]] == [f"thing {unit}" for unit in range(6)]
    assert told["compared"][0] | {"layer": "a"} == {
        "layer": "a", "units": 6, "named": 6, "labelled": 6, "same": 0, "unlabelled": 0, "unnamed": 0,
    }  # fmt: skip
    page = ["rating", "page", str(result), "--layer", "a", "--units", "1", "4", "--out", str(tmp_path / "r.html")]
    assert commands.main([*page, "--names", *names]) == 0
    capsys.readouterr()
    key = tmp_path / "r.key.json"
    rated = answered(key, tmp_path / "z.json", lambda item: "yes" if "people" in item["methods"] else "no")
    assert commands.main(["rating", "read", str(key), rated]) == 0
    text = capsys.readouterr().out
    assert "thing 4" in text
    assert commands.main(["rating", "read", str(key), rated, "--json", "--among", "people"]) == 0
    rows = json.loads(capsys.readouterr().out)["validity"]
    assert [(row["method"], row["labels"], row["valid"]) for row in rows[:2]] == [
        ("dissection", 2, 0),
        ("people", 2, 2),
    ]


def test_changed_units_are_sorted(result, tmp_path, capsys):
    later = make_layer("a", 6, 6, 9, seed=5)
    later.intersection = later.intersection.roll(1, 0)
    after = make_dissection([later, make_layer("b", 3, 6, 9)]).save(tmp_path / "after")
    page = ["rating", "changes", str(result), "--after", str(after), "--layer", "a", "--out", str(tmp_path)]
    assert commands.main(page) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"page: {tmp_path / 'changes.html'}"
    key = tmp_path / "changes.key.json"
    files = [str(key), *(answered(key, tmp_path / f"{one}.json", lambda item: item["proxy"]) for one in "pq")]
    assert commands.main(["rating", "changed", *files]) == 0
    assert "by_chance" in capsys.readouterr().out
    assert commands.main(["rating", "changed", *files, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["proxy"][0]["same"] == told["proxy"][0]["units"] == len(told["units"]) == 5
    assert told["raters"][0]["agreement"] == 1


def test_errors_are_one_line(result, tmp_path, capsys):
    for arguments, words in (
        (["page", str(result), "--units", "1"], "rating page: --layer must be given with --units"),
        (["page", str(result), "--layer", "x"], "layer 'x' was not dissected"),
        (["read", str(tmp_path / "none"), str(result)], "none"),
        (["read", str(result), str(result)], "holds what cannot be"),
    ):
        assert commands.main(["rating", *arguments]) == 2
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
