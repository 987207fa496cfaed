"""dissect.compare: the tables of dissections made by hand, and what must not be compared."""

import csv
import math
import re
import warnings

import numpy as np
import pytest
import torch
from small_comparison import FIRST, OTHER, PAIRS, first, judged, layer, made, other
from small_dissection import run

import dissect
from dissect import DoubtfulResultWarning, compare, plots
from dissect.files.tensors import save_tensors


@pytest.fixture
def both():
    return compare({"one": first(), "two": other()})


def values(table, *names):
    return [tuple(getattr(row, name) for name in names) for row in table]


def test_summary(both):
    counted = values(both.summary(), "network", "layer", "step", "units", "detectors", "concepts", "ratio")
    assert counted == [("one", "x", None, 5, 4, 3, 3 / 5), ("two", "x", None, 4, 3, 2, 2 / 4)]
    one, two = both.summary()
    assert (one.beyond_chance, one.concepts_beyond_chance, one.by_chance, one.certain) == (3, 2, 0.2, 3)
    assert (two.beyond_chance, two.concepts_beyond_chance, two.by_chance, two.certain) == (None,) * 4
    assert one.mean_iou == pytest.approx((1 / 3 + 1 / 4 + 1 / 9 + 1 / 19 + 1 / 39) / 5)
    assert one.detector_mean_iou == pytest.approx((1 / 3 + 1 / 4 + 1 / 9 + 1 / 19) / 4)
    assert two.mean_iou == pytest.approx((2 / 3 + 1 / 4 + 1 / 3 + 0) / 4)
    assert (one.sparse, one.dead, one.images) == (0, 0, 10)


def test_unique_detectors_and_their_ratio_to_all_units_by_category(both):
    counted = values(both.by_category(), "network", "category", "detectors", "concepts", "ratio")
    assert counted == [
        ("one", "object", 3, 2, 2 / 5),
        ("one", "material", 1, 1, 1 / 5),
        ("one", "color", 0, 0, 0.0),
        ("two", "object", 1, 1, 1 / 4),
        ("two", "material", 0, 0, 0.0),
        ("two", "color", 2, 1, 1 / 4),
    ]
    surer = values(both.by_category(), "beyond_chance", "concepts_beyond_chance")
    assert surer == [(3, 2), (0, 0), (0, 0), *[(None, None)] * 3]


def test_they_are_the_detectors_that_a_dissection_counts():
    one, two = run(decoys=0, resamples=0), run(decoys=0, resamples=0, fraction=0.05, layers=["1"])
    together = compare({"both": one, "first": two}, detector_iou=0.02)
    assert [row.detectors for row in compare({"both": one}).summary()] == [len(one.detectors(name)) for name in "13"]
    assert [row.detectors for row in together.summary()] == [
        sum(row.iou > 0.02 for row in table) for table in (one.best("1"), one.best("3"), two.best("1"))
    ]
    for name in "13":
        own = [(row.concepts, row.detectors) for row in compare([one]).by_category() if row.layer == name]
        assert own == [(row.concepts, row.units) for row in one.unique_detectors(name)]


def test_concepts_are_ranked_by_detectors_then_iou(both):
    rows = values(both.concepts(), "network", "category", "rank", "concept", "detectors", "beyond_chance", "unit")
    assert rows == [
        ("one", "object", 1, "sky", 2, 2, 0),
        ("one", "object", 2, "tree", 1, 1, 2),
        ("one", "material", 1, "wood", 1, 0, 3),
        ("two", "object", 1, "sky", 1, None, 0),
        ("two", "color", 1, "red", 2, None, 2),
    ]
    sky, *_, red = both.concepts()
    assert (sky.mean_iou, sky.iou) == (pytest.approx((1 / 3 + 1 / 4) / 2), pytest.approx(1 / 3))
    assert (red.mean_iou, red.iou) == (pytest.approx((1 / 4 + 1 / 3) / 2), pytest.approx(1 / 3))
    assert [row.concept for row in both.top_concepts(1)] == ["sky", "wood", "sky", "red"]


def test_the_best_two_units_of_each_concept_in_each_network(both):
    rows = values(both.best_units(), "concept", "networks", "network", "rank", "unit", "beyond_chance")
    assert rows == [
        ("sky", 2, "one", 1, 0, True),
        ("sky", 2, "one", 2, 1, True),
        ("sky", 2, "two", 1, 0, None),
        ("red", 1, "two", 1, 2, None),
        ("red", 1, "two", 2, 1, None),
        ("tree", 1, "one", 1, 2, True),
        ("wood", 1, "one", 1, 3, False),
    ]
    best, *_ = both.best_units(1)
    assert (best.iou, best.low, best.high) == (pytest.approx(1 / 3), 0.3, 0.8)
    assert {row.rank for row in both.best_units(1)} == {1}


def test_the_best_units_come_from_all_layers_of_a_network():
    together = compare([made(layer(FIRST, "a"), layer(OTHER, "b"))])
    sky = [(row.layer, row.unit) for row in together.best_units(3) if row.concept == "sky"]
    assert sky == [("b", 0), ("a", 0), ("a", 1)]


def test_correlation_of_average_iou_with_number(both):
    rows = {(row.network, row.category): row for row in both.correlation()}
    expected = np.corrcoef([2, 1, 1], [(1 / 3 + 1 / 4) / 2, 1 / 9, 1 / 19])[0, 1]
    assert rows["one", "all"][3:] == (3, pytest.approx(expected), None, None)
    assert rows["one", "object"][3:] == (2, None, None, None)
    assert rows["two", "all"][3:] == (2, None, None, None)
    assert ("one", "color") not in rows  # no concept of it has a detector


def test_no_detectors_at_all_give_empty_rows_and_no_nan(tmp_path):
    none = [(0, 0)] * 3
    together = compare({"a": made(layer(none, "x")), "b": made(layer([(1, 1)] * 2, "x"))})
    assert values(together.summary(), "detectors", "concepts", "ratio", "detector_mean_iou") == [(0, 0, 0.0, None)] * 2
    assert (together.concepts(), together.best_units(), together.correlation()) == ([], [], [])
    together.to_csv(tmp_path)
    for file in tmp_path.iterdir():
        assert "nan" not in file.read_text()


def test_nan_intervals_and_a_rate_that_none_keeps_are_told_as_such():
    null = torch.full((2, 5), 0.9, dtype=torch.float64)
    doubtful = made(layer(FIRST, evidence=judged(5, null, [math.nan] * 5)))
    one, _ = compare({"a": doubtful, "b": other()}).summary()
    assert (one.beyond_chance, one.concepts_beyond_chance, one.by_chance, one.certain) == (0, 0, 5.0, None)
    best = compare({"a": doubtful, "b": other()}).best_units()[0]
    assert (best.low, best.high, best.beyond_chance) == (None, None, False)
    nothing = judged(5, torch.empty(0, 5, dtype=torch.float64), [math.nan] * 5)
    assert compare({"a": made(layer(FIRST, evidence=nothing)), "b": other()}).summary()[0].beyond_chance is None


def test_files_are_read_and_give_names(tmp_path):
    first().save(tmp_path / "trained")
    first().save(tmp_path / "one" / "result")
    other().save(tmp_path / "two" / "result")
    assert list(compare([tmp_path / "trained", tmp_path / "one" / "result.dissection"]).dissections) == [
        "trained",
        "result",
    ]
    alike = [tmp_path / "one" / "result", str(tmp_path / "two" / "result")]
    assert list(compare(alike).dissections) == ["one", "two"]
    assert list(compare(dict(zip("ab", alike))).dissections) == ["a", "b"]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        compare([tmp_path / "nowhere", first()])


def test_results_are_called_by_their_networks_and_numbered_where_these_are_alike():
    named = [other(provenance={"network": f"models.{name}"}) for name in ("VGG", "AlexNet", "VGG")]
    shuffled = [made(layer(OTHER[:2])), named[0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DoubtfulResultWarning)
        assert list(compare(named[:2]).dissections) == ["VGG", "AlexNet"]
        assert list(compare(named).dissections) == ["VGG 1", "AlexNet 2", "VGG 3"]
    assert list(compare(shuffled).dissections) == ["network", "VGG"]


def test_csv(both, tmp_path):
    assert both.to_csv(tmp_path / "tables") == tmp_path / "tables"
    names = ["best_units", "categories", "concepts", "correlation", "summary"]
    assert sorted(path.stem for path in (tmp_path / "tables").iterdir()) == names
    with (tmp_path / "tables" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["concepts"], row["beyond_chance"]) for row in rows] == [
        ("one", "3", "3"),
        ("two", "2", ""),
    ]


def test_a_series():
    series = compare({"start": other(), "end": made(layer(FIRST[:4]))}, steps=[0, 1000])
    assert values(series.summary(), "network", "step") == [("start", 0), ("end", 1000)]
    assert "step" in repr(series.summary()).split("\n")[0]
    assert "step" not in repr(compare([first(), other()]).summary()).split("\n")[0]


@pytest.mark.parametrize(
    ("steps", "error", "told"),
    [
        ([0], ValueError, "one number per dissection, 2, but have 1"),
        ([1, 1], ValueError, "must rise"),
        ([0, math.nan], ValueError, "must rise and be finite"),
        ([0, math.inf], ValueError, "must rise and be finite"),
        (["0", "1"], TypeError, "must be numbers"),
    ],
)
def test_steps_that_are_none(steps, error, told):
    with pytest.raises(error, match=told):
        compare({"a": other(), "b": made(layer(FIRST[:4]))}, steps=steps)


def test_a_series_is_of_one_network():
    with pytest.raises(ValueError, match=r"a series must be of one network.*'one' has {'x': 5} and 'two' {'x': 4}"):
        compare({"one": first(), "two": other()}, steps=[0, 1])


def test_another_vocabulary_is_refused_by_name():
    pairs = (("sky", "object"), ("tree", "scene"), ("wood", "material"), ("blue", "color"))
    told = "'two', against 'one', lacks 'tree' (object), 'red' (color) and has 'tree' (scene), 'blue' (color) beside"
    with pytest.raises(ValueError, match=re.escape(told)):
        compare({"one": first(), "two": made(layer(OTHER), pairs=pairs)})
    many = [(f"c{number}", "object") for number in range(9)]
    with pytest.raises(ValueError, match=r"'sky' \(object\), 'tree' \(object\), 'wood' \(material\) and 1 more"):
        compare({"one": first(), "two": made(layer(OTHER, pairs=many), pairs=many)})


def test_the_order_of_labels_is_no_difference():
    turned = made(layer([(4, 800), (1, 400), (1, 500), (0, 0)]), pairs=PAIRS[::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = compare({"one": first(), "two": turned})
    assert comparison.by_category() == compare({"one": first(), "two": other()}).by_category()


@pytest.mark.parametrize(
    ("name", "value"),
    [("fraction", 0.005), ("positions", "feature"), ("grid", "netdissect"), ("border", "zeros"), ("step", 2),
     ("scope", "category"), ("relu", True), ("detector_iou", 0.05)],
)  # fmt: skip
def test_other_rules_are_refused_unless_allowed(name, value):
    with pytest.raises(ValueError, match=rf"{name} is .* in 'one', {value!r} in 'two'"):
        compare({"one": first(), "two": other(**{name: value})})
    with pytest.warns(DoubtfulResultWarning, match=rf"{name} is .* in 'one', {value!r} in 'two'"):
        comparison = compare({"one": first(), "two": other(**{name: value})}, allow=name)
    assert len(comparison.notes) == 1
    assert f"note: {name} is" in repr(comparison)


def test_a_rule_that_one_does_not_say_is_another():
    old = other()
    del old.settings["relu"]
    with pytest.raises(ValueError, match="relu is False in 'one', not said in 'two'"):
        compare({"one": first(), "two": old})


def test_each_cut_off_is_its_own_where_that_is_allowed_and_one_can_be_given_for_all():
    pair = {"one": first(), "two": other(detector_iou=0.3)}
    with pytest.raises(ValueError, match=r"count all by one cut-off, detector_iou=\.\.\."):
        compare(pair)
    with pytest.warns(DoubtfulResultWarning):
        assert [row.detectors for row in compare(pair, allow=["detector_iou"]).summary()] == [4, 2]
    assert [row.detectors for row in compare(pair, detector_iou=0.3).summary()] == [1, 2]
    assert [row.detectors for row in compare(pair, detector_iou=0.02).summary()] == [5, 3]


@pytest.mark.parametrize("value", [-0.1, 1.5, math.nan, "0.04", True])
def test_a_cut_off_that_is_none(value):
    with pytest.raises(ValueError, match="detector_iou must be a number from 0 to 1"):
        compare([first(), other()], detector_iou=value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_images": 20}, "num_images is 10 in 'one', 20 in 'two': fewer images give more detectors by chance"),
        ({"segment": "output"}, "'two' saw images of its own making, the others images that were given"),
        ({"decoys": 9}, "decoys is not said in 'one', 9 in 'two'"),
        ({"rule of tomorrow": 1}, "rule of tomorrow is not said in 'one', 1 in 'two'"),
    ],
)
def test_what_else_differs_is_told(change, told):
    with pytest.warns(DoubtfulResultWarning, match=told):
        assert told in compare({"one": first(), "two": other(**change)}).notes[0]


def test_other_images_are_told_by_their_planes_but_those_of_generators_are_always_other():
    less, small = made(layer(OTHER, area=900)), made(layer(OTHER, side=8))
    with pytest.warns(DoubtfulResultWarning, match="areas differ, so the images or their labels are not the same"):
        compare([first(), less])
    with pytest.warns(DoubtfulResultWarning, match="label planes have 8x8 and 16x16 pixels"):
        compare([first(), small])
    made_up = made(layer(OTHER, area=900), segment="output")
    assert compare([first(segment="output"), made_up]).notes == ()


def test_categories_that_never_occur_are_told():
    without = made(layer(OTHER[:1]), segment="output")
    without["x"].label_area[[3, 4]] = 0
    with pytest.warns(DoubtfulResultWarning, match=r"planes of 'two' show nothing of the categories \['color', 'mate"):
        comparison = compare({"one": first(segment="output"), "two": without})
    assert len(comparison.notes) == 1


def test_labels_without_names_are_told_where_images_differ():
    pairs = [("1", "concept"), ("2", "concept")]
    one, two = (made(layer([(1, 500), (2, 300)], pairs=pairs, area=area), pairs=pairs) for area in (1000, 900))
    with pytest.warns(DoubtfulResultWarning, match="labels have numbers for names, so nothing tells whether they mean"):
        compare({"one": one, "two": two})


def test_nothing_to_detect(tmp_path):
    one, two = (made(layer([(0, 0)] * count, pairs=()), pairs=()) for count in (2, 3))
    nothing = compare({"one": one, "two": two})
    assert nothing.by_category() == []
    assert [row.concepts for row in nothing.summary()] == [0, 0]
    for kind in ("concepts", "iou"):
        plots.save(nothing.plot(kind), tmp_path / "figure.png")
    dissect.write_report(nothing, tmp_path)


def test_grids_by_hand_are_told():
    with pytest.warns(DoubtfulResultWarning, match="grids were given by hand"):
        compare([first(grid="given"), other(grid="given")])


def test_the_same_twice_is_told():
    with pytest.warns(DoubtfulResultWarning, match="'x' of 'a' and 'x' of 'b' have the same thresholds and counts"):
        compare({"a": first(), "b": first()})


def test_images_only_are_refused_by_name():
    with pytest.raises(ValueError, match=r"'two' is of images alone, so it has no detectors"):
        compare({"one": first(), "two": other(images_only=True)})


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ([], ValueError, "at least one, but there is none"),
        ([first()], ValueError, "two layers or networks must be there to be compared, but there is 1"),
        (first(), TypeError, "a list, or a mapping by name, .* but got Dissection"),
        ("file", TypeError, "but got str"),
        (3, TypeError, "but got int"),
        ([first(), 3], TypeError, "but one is int"),
        ({1: first(), "b": other()}, TypeError, "names of dissections must be texts, but one is 1"),
        ({"": first(), "b": other()}, TypeError, "names of dissections must be texts, but one is ''"),
    ],
)
def test_what_cannot_be_compared(given, error, told):
    with pytest.raises(error, match=told):
        compare(given)


def test_unknown_rules_and_counts_are_refused():
    with pytest.raises(ValueError, match=r"allow must name settings of .*, but names 'colour'"):
        compare([first(), other()], allow=["colour"])
    with pytest.raises(ValueError, match="count must be at least 1"):
        compare([first(), other()]).best_units(0)
    with pytest.raises(TypeError, match="count must be an integer"):
        compare([first(), other()]).top_concepts(1.5)


def test_saved_and_loaded(tmp_path):
    pair = {"one": first(), "two": made(layer(FIRST[::-1]), num_images=20)}
    comparison = compare(pair, steps=[0.5, 2], detector_iou=0.06, allow="relu")
    path = comparison.save(tmp_path / "pair")
    again = dissect.load(path)
    assert path.name == "pair.comparison"
    assert (again.steps, again.detector_iou, again.allow) == ({"one": 0.5, "two": 2}, 0.06, ("relu",))
    assert again.notes == comparison.notes != ()
    for table in ("summary", "by_category", "concepts", "best_units", "correlation"):
        assert getattr(again, table)() == getattr(comparison, table)()


def test_a_file_of_what_must_not_be_compared_is_refused(tmp_path):
    tensors, meta = compare({"one": first(), "two": other()}).contents()

    def saved(**changes):
        return save_tensors(tmp_path / "x.comparison", "comparison", 1, tensors, {**meta, **changes})

    for changes, told in (
        ({"steps": [0, 1]}, "a series must be of one network"),
        ({"steps": [0]}, "steps as .* but holds"),
        ({"networks": ["one", "one"]}, "networks as .* some entry twice"),
        ({"dissections": meta["dissections"][:1]}, "dissections as"),
        ({"dissections": [meta["dissections"][0], {}]}, "'two' must hold layers"),
        ({"detector_iou": 2}, "detector_iou must be a number from 0 to 1"),
        ({"allow": ["all"]}, "allow as"),
        ({"networks": ["one"], "dissections": meta["dissections"][:1]}, "two layers or networks must be there"),
    ):
        with pytest.raises(ValueError, match=rf"x\.comparison.*{told}"):
            dissect.load(saved(**changes))


def test_it_prints():
    text = repr(compare({"one": first(), "two": other()}))
    assert text == "<Comparison of 'one' ('x'), 'two' ('x')>"
    assert isinstance(compare([first(), other()]), dissect.Comparison)
