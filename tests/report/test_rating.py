"""Pages on which people name units and rate labels: what they ask, what they hide, and the tables of the answers."""

import json
import math
import random
import re

import pytest

from dissect.report import (
    NameRow,
    compare_names,
    plain_label,
    read_names,
    read_ratings,
    write_naming,
    write_rating,
)
from dissect.stats import wilson_interval

from .browsing import FAINT
from .conftest import images_only, make_dissection, make_layer
from .test_judging import opened, told  # noqa: F401 - a fixture

PEOPLE = {"people": {("features.a", 0): "Sky", ("features.a", 1): "green_leaves", ("features.b", 6): "cloud"}}


def asked(key_path):
    return json.loads(key_path.read_text())["labels"]


def answers(path, key_path, given, rater="one", name="rating"):
    page = json.loads(key_path.read_text())["page"]
    path.write_text(json.dumps({"kind": f"dissect {name} answers", "page": page, "rater": rater, "answers": given}))
    return path


def test_labels_of_all_methods_are_mixed_and_asked_once(dissection, tmp_path):
    page, key = write_rating(dissection, tmp_path, seed=1, labels=PEOPLE)
    found = {(each["layer"], each["unit"], each["label"]): each for each in asked(key)}
    assert len(found) == len(asked(key)) == 19 + 2
    assert found["features.a", 0, "sky"]["methods"] == ["dissection", "people"]  # the same text, in one spelling
    assert found["features.a", 1, "green leaves"] == {
        "layer": "features.a", "unit": 1, "label": "green leaves", "category": "other", "methods": ["people"],
    }  # fmt: skip
    assert found["features.a", 2, "wood"]["category"] == "material"
    assert asked(write_rating(dissection, tmp_path / "b", seed=2, labels=PEOPLE).key) != asked(key)
    again = write_rating(dissection, tmp_path / "c.html", seed=1, labels=PEOPLE)
    assert (again.page.read_bytes(), again.key.read_bytes()) == (page.read_bytes(), key.read_bytes())
    assert again.key.name == "c.key.json"


def test_the_page_does_not_tell_whose_a_label_is(dissection, tmp_path):
    text = write_rating(dissection, tmp_path, seed=1, labels=PEOPLE).page.read_text()
    assert not any(word in text for word in ("dissection", "features", "material", "methods", "IoU", "Sky", "_leaves"))
    sheet = json.loads(re.search(r'id="sheet">(.*?)</script>', text, re.DOTALL)[1])
    units = [unit for unit, _ in sheet["items"]]
    assert list(dict.fromkeys(units)) == list(range(19))  # by when they are asked about first
    assert len(sheet["units"]) == 19
    naming = write_naming(dissection, tmp_path, seed=1).page.read_text()
    assert not any(word in naming for word in ("sky", "tree", "striped", "features"))


def test_pictures_are_those_of_the_unit(dissection, tmp_path):
    page, key = write_rating(dissection, tmp_path, seed=4, units={"features.a": [3, 7]}, images=2)
    sheet = json.loads(re.search(r'id="sheet">(.*?)</script>', page.read_text(), re.DOTALL)[1])
    assert {each["unit"] for each in asked(key)} == {3, 7}
    for each, (unit, text) in zip(asked(key), sheet["items"]):
        assert text == each["label"]
        numbers = [number for number, _ in sheet["units"][unit]["pictures"]]
        assert numbers == dissection["features.a"].peak_images[each["unit"], :2].tolist()


def test_spelling_does_not_tell_whose_a_label_is():
    assert plain_label("Blue-c", "color") == "Blue-c".casefold().removesuffix("-c")
    assert [plain_label("sky-s", its) for its in ("scene", "object")] == ["sky", "sky-s"]
    assert plain_label(" Dining_table\n") == "dining table"


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"labels": {"dissection": {}}}, ValueError, "other methods than 'dissection'"),
        ({"labels": {"people": [("features.a", 0)]}}, TypeError, r"texts by \(layer, unit\)"),
        ({"labels": {"people": {("features.a", 0): " "}}}, ValueError, "1 to 60 letters, but 'people' has ' '"),
        ({"labels": {"people": {("features.a", 0): "a\x1b"}}}, ValueError, "printable"),
        ({"labels": {"people": {("features.a", 12): "a"}}}, ValueError, "labels must be at most 11"),
        ({"units": {"features.a": []}}, ValueError, "there are none"),
        ({"units": {"features.a": [12]}}, ValueError, "units must be at most 11"),
        ({"units": [1]}, TypeError, "numbers by layer"),
        ({"detector_iou": 0.9}, ValueError, "there are none"),
        ({"detector_iou": math.nan}, ValueError, "detector_iou must be between"),
        ({"images": 0}, ValueError, "images must be at least 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(dissection, tmp_path, given, error, text):
    with pytest.raises(error, match=f"write_rating: .*{text}"):
        write_rating(dissection, tmp_path, **{"seed": 0, **given})
    assert not list(tmp_path.iterdir())


def test_other_dissections_are_refused(dissection, tmp_path):
    for write in (write_rating, write_naming):
        with pytest.raises(TypeError, match="dissection must be a Dissection"):
            write("result", tmp_path, seed=0)
        with pytest.raises(KeyError, match="was not dissected"):
            write(dissection, tmp_path, seed=0, units={"x": [0]})
        with pytest.raises(ValueError, match="must have top images"):
            write(make_dissection([make_layer("a", 2, 6, 9, top=0)]), tmp_path, seed=0)
    with pytest.raises(ValueError, match="there are none"):
        write_rating(images_only(dissection), tmp_path, seed=0)
    for layer in dissection.layers.values():
        layer.unit_area.zero_()
    with pytest.raises(ValueError, match="write_naming: units must have one that fires"):
        write_naming(dissection, tmp_path, seed=0)


#: Six labels by hand: layer, unit, label, category, methods; the votes of three raters, the last of whom saw four.
BY_HAND = [
    ("a", 0, "sky", "object", ["dissection", "people"], "yyy"),
    ("a", 1, "tree", "object", ["dissection"], "ynn"),
    ("a", 1, "leaf", "other", ["people"], "yyn"),
    ("a", 2, "red", "color", ["dissection"], "nny"),
    ("b", 0, "car", "object", ["dissection"], "yn"),  # a tie is not "most"
    ("b", 0, "wheel", "part", ["people"], "yy"),
]


@pytest.fixture
def by_hand(tmp_path):
    names = ("layer", "unit", "label", "category", "methods")
    labels = [dict(zip(names, row)) for row in BY_HAND]
    key = tmp_path / "rating.key.json"
    key.write_text(json.dumps({"kind": "dissect rating key", "page": "p", "labels": labels}))
    columns = [[{"y": "yes", "n": "no"}[row[5][at]] for row in BY_HAND if at < len(row[5])] for at in range(3)]
    return key, [answers(tmp_path / f"{at}.json", key, given, f"r{at}") for at, given in enumerate(columns)]


def test_tables_by_hand(by_hand):
    ratings = read_ratings(by_hand[0], *by_hand[1])
    assert [tuple(row) for row in ratings.labels()] == [
        ("a", 0, "dissection", "sky", "object", 3, 3, True),
        ("a", 0, "people", "sky", "object", 3, 3, True),
        ("a", 1, "people", "leaf", "other", 3, 2, True),
        ("a", 1, "dissection", "tree", "object", 3, 1, False),
        ("a", 2, "dissection", "red", "color", 3, 1, False),
        ("b", 0, "dissection", "car", "object", 2, 1, False),
        ("b", 0, "people", "wheel", "part", 2, 2, True),
    ]
    rows = {row[:3]: row for row in ratings.validity()}
    assert len(rows) == len(ratings.validity()) == 17
    assert ratings.validity()[0][:3] == ("(all)", "(all)", "dissection")
    row = rows["(all)", "(all)", "dissection"]
    assert (row.labels, row.valid, row.share, row.votes, row.yes) == (4, 1, 0.25, 11, 6)
    assert (row.low, row.high) == wilson_interval(1, 4)
    assert row.positive == 6 / 11
    assert rows["a", "object", "dissection"][3:6] == (2, 1, 0.5)
    assert rows["(all)", "object", "dissection"][3:6] == (3, 1, 1 / 3)
    assert rows["b", "(all)", "people"][3:6] == (1, 1, 1.0)
    assert ("a", "part", "people") not in rows


def test_the_published_table_counts_interpretable_units_alone(by_hand):
    rows = {row[:3]: row for row in read_ratings(by_hand[0], *by_hand[1]).validity(among="people")}
    # Units (a, 0), (a, 1) and (b, 0) have a valid label by people, of the categories object, other and part.
    people, machine = (rows["(all)", "(all)", method] for method in ("people", "dissection"))
    assert (people.labels, people.votes, people.yes) == (3, 8, 7)
    assert (machine.labels, machine.valid, machine.votes, machine.yes) == (3, 1, 8, 5)
    assert rows["a", "other", "dissection"][3:5] == (1, 0)
    assert rows["b", "part", "dissection"].positive == 0.5
    assert not any(key[1] == "color" for key in rows)
    with pytest.raises(ValueError, match=r"Ratings: among must be one of \['dissection', 'people'\]"):
        read_ratings(by_hand[0], *by_hand[1]).validity(among="x")


def test_agreement_by_hand(by_hand):
    rows = {row.method: row for row in read_ratings(by_hand[0], *by_hand[1]).agreement()}
    # Pairs of answers that are the same: 3, 1, 1, 1 of 3 each, 0 and 1 of 1.
    assert rows["(all)"][1:3] == (3, 6)
    assert rows["(all)"].agreement == pytest.approx(7 / 14)
    disagreement = (0 + 2 + 2 + 2 + 2 + 0) / 16  # ordered pairs of an item that differ, by its raters but one
    assert rows["(all)"].alpha == pytest.approx(1 - disagreement / (2 * 10 * 6 / (16 * 15)))
    assert rows["people"].agreement == pytest.approx((3 + 1 + 1) / 7)
    alone = read_ratings(by_hand[0], by_hand[1][0]).agreement()
    assert [tuple(row)[2:] for row in alone] == [(0, None, None)] * 3


def test_a_layer_cannot_stand_for_all(by_hand):
    text = by_hand[0].read_text().replace('"b"', '"(all)"')
    by_hand[0].write_text(text)
    with pytest.raises(ValueError, match=r"rating.key.json does not fit together: '\(all\)'"):
        read_ratings(by_hand[0], *by_hand[1])


NAMES = [
    ["white sofa", "Sofa!", "the sofa", "", "chair"],
    ["traffic light"] * 2 + ["light"],
    ["a", "", "of"],
    ["x y", "y z"],
]


@pytest.fixture
def named(tmp_path):
    key = tmp_path / "naming.key.json"
    units = [{"layer": "features.a", "unit": unit} for unit in range(4)]
    key.write_text(json.dumps({"kind": "dissect naming key", "page": "p", "units": units}))
    files = []
    for rater in range(5):  # who stopped at the first unit that they did not see
        given = [those[rater] for those in NAMES if rater < len(those)]
        files.append(answers(tmp_path / f"n{rater}.json", key, given, f"r{rater}", "naming"))
    return key, files


def test_names_by_hand(named):
    rows = read_names(named[0], *named[1])
    assert [tuple(row)[1:] for row in rows] == [
        (0, "sofa", 5, 3, 0.6, True),
        (1, "light", 3, 3, 1.0, True),
        (2, "-", 3, 0, 0.0, False),
        (3, "y", 2, 2, 1.0, True),
    ]
    assert [row.agreed for row in read_names(named[0], *named[1], share=0.61)] == [False, True, False, True]
    assert read_names(named[0], *named[1][:2])[1].name == "traffic light"  # as frequent as its words, and longer
    with pytest.raises(ValueError, match="read_names: share must be above 0"):
        read_names(named[0], *named[1], share=0)


def test_names_beside_the_dissections_labels_by_hand(dissection):
    rows = [
        NameRow("features.a", 0, "sky", 4, 4, 1.0, True),  # the same
        NameRow("features.a", 1, "leaf", 4, 2, 0.5, True),  # the dissection's is "tree"
        NameRow("features.a", 2, "wood", 4, 1, 0.25, False),  # no agreement, but a label
        NameRow("features.a", 3, "stripes", 4, 4, 1.0, True),  # no label: below the cut-off
        NameRow("features.b", 0, "sky", 4, 4, 1.0, True),
    ]
    dissection["features.a"].intersection[3] = 0
    found = compare_names(rows, dissection)
    assert [tuple(row) for row in found] == [("features.a", 4, 3, 2, 1, 1, 1), ("features.b", 1, 1, 1, 1, 0, 0)]
    assert compare_names(rows, dissection, detector_iou=0.9)[0][2:] == (3, 0, 0, 3, 0)
    with pytest.raises(ValueError, match="compare_names: names must be of the 7 units"):
        compare_names([NameRow("features.b", 7, "sky", 4, 4, 1.0, True)], dissection)
    with pytest.raises(TypeError, match="compare_names: dissection must be"):
        compare_names(rows, "x")


def test_bad_files_are_named(by_hand, named, tmp_path):
    key, (good, *_) = by_hand
    text = good.read_text()
    bad = {
        "nested too deeply": "[" * 100_000,
        "answers are to the page": text.replace('"p"', '"q"'),
        "has answered once": text,
        "one of \\['yes', 'no'\\]": text.replace('"yes"', '"maybe"', 1),
        "a printable name": text.replace('"r0"', '"\\u001b"'),
        "dissect rating answers": text.replace("rating", "pair"),
        "at most as many": text.replace('["yes"', '["yes", "yes"'),
        "utf-8": b"\xff",
        "Expecting value": "",
        "must hold kind": "[]",
    }
    for words, content in bad.items():
        path = tmp_path / "bad.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValueError, match=rf"(?s)bad\.json.*{words}"):
            read_ratings(key, good, path)
    with pytest.raises(ValueError, match="read_ratings: answers must be at least one file"):
        read_ratings(key)
    with pytest.raises(ValueError, match=re.escape(str(good))):
        read_ratings(good, good)
    empty = answers(tmp_path / "empty.json", key, [])
    with pytest.raises(ValueError, match="at least one answer"):
        read_ratings(key, empty)
    long = answers(tmp_path / "long.json", named[0], ["x" * 61], name="naming")
    with pytest.raises(ValueError, match=r"long\.json.*at most 60 letters"):
        read_names(named[0], long)


@pytest.mark.parametrize("seed", range(2))
def test_altered_answers_are_refused_by_name_or_can_be_counted(by_hand, named, tmp_path, seed):
    chance = random.Random(seed)
    values = [
        "null",
        "true",
        "1e400",
        "-1",
        "[]",
        "{}",
        '"yes"',
        '"\\ud800"',
        "NaN",
        "[[",
        '"' + "a" * 99 + '"',
        "9" * 5000,
    ]
    for (key, files), read in ((by_hand, read_ratings), (named, read_names)):
        for _ in range(60):
            which = chance.choice([key, *files])
            text = which.read_text()
            parts = re.findall(r'"[^"]*"|[\[\]{},:]|[^"\[\]{},:]+', text)
            parts[chance.randrange(len(parts))] = chance.choice([*values, "", *parts])
            (tmp_path / "altered.json").write_text("".join(parts))
            given = [tmp_path / "altered.json" if path == which else path for path in (key, *files)]
            try:
                found = read(*given)
            except ValueError as error:
                assert "altered.json" in str(error) or "at least one" in str(error)  # noqa: PT017
                continue
            tables = [found] if read is read_names else [found.labels(), found.validity(), found.agreement()]
            for table in tables:
                table.to_csv(tmp_path / "t.csv")
                assert not any(isinstance(value, float) and math.isnan(value) for row in table for value in row)
                str(table)


def test_labels_are_rated_with_keys_and_saved(dissection, tmp_path, opened):  # noqa: F811
    page_path, key = write_rating(dissection, tmp_path, seed=1, labels=PEOPLE, images=4)
    page = opened(page_path)
    questions = asked(key)
    page.press("y")
    page.js("document.querySelector('[name=back]').click()")
    for number, each in enumerate(questions[:5]):
        assert page.js("document.querySelector('.score output').value") == f"{number} of 21"
        assert page.js("document.querySelector('q').textContent") == each["label"]
        assert page.js("document.querySelectorAll('.pictures canvas').length") == 4
        page.press("n" if "people" in each["methods"] else "y")
    page.wait("document.querySelector('canvas').width > 1")
    page.js("document.querySelector('[data-answer=no]').click()")
    page.js("document.querySelector('[name=rater]').value = 'one'")
    page.open(page_path)  # they stay
    page.js("URL.createObjectURL = (blob) => { window.told = blob; return '#'; }")
    page.js("document.querySelector('[name=save]').click()")
    (tmp_path / "mine.json").write_text(told(page))
    found = read_ratings(key, tmp_path / "mine.json")
    expected = [["no", "yes"]["people" not in each["methods"]] for each in questions[:5]] + ["no"]
    assert [["no", "yes"][each.votes[""]] for each in found.questions] == expected


def test_units_are_named_by_typing(dissection, tmp_path, opened):  # noqa: F811
    page_path, key = write_naming(dissection, tmp_path, seed=1, units={"features.b": [2, 5]}, images=4)
    page = opened(page_path)
    page.type("Red yacht")  # whose y and n are no answers
    page.js("document.querySelector('.choices button').click()")
    assert page.js("document.querySelector('.score output').value") == "1 of 2"
    page.js("document.querySelector('.choices button').click()")  # nothing was written
    assert page.js("document.querySelector('.score output').value") == "1 of 2"
    page.js("document.querySelector('[data-answer]').click()")
    page.js("document.querySelector('[name=save]').click()")
    (tmp_path / "mine.json").write_text(told(page))
    first, second = (each["unit"] for each in json.loads(key.read_text())["units"])
    found = {row.unit: row.name for row in read_names(key, tmp_path / "mine.json")}
    assert found == {first: "red yacht", second: "-"}


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_pages_fit_and_can_be_read(dissection, tmp_path, opened, width, scheme):  # noqa: F811
    for path in (write_rating(dissection, tmp_path, seed=1).page, write_naming(dissection, tmp_path, seed=1).page):
        page = opened(path, width, scheme)
        assert page.js(FAINT) == []
        assert page.js("document.documentElement.scrollWidth") <= width
