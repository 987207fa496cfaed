"""Cards of units: their concepts, and what other methods found of them."""

import os
from html import escape as html_escape

import pytest
import torch

from dissect import UnitFormulas, UnitImportance, write_report
from dissect.classifiers import ClassTally
from dissect.dissection.formulas_result import LayerFormulas

from .reading import cards, read, units


def test_every_unit_has_a_card_with_its_concept(dissection, tmp_path):
    page = read(write_report(dissection, tmp_path))
    shown = {}
    for card in cards(page):
        (concept,) = card.find("span", class_="concept")
        (chip,) = card.find("span", class_="chip")
        shown[card.attributes["id"]] = (concept.text, chip.text, card.find("b")[0].text)
    expected = {
        f"u{list(dissection.layers).index(row.layer)}-{row.unit}": (row.concept, row.category, f"{row.iou:.3f}")
        for row in dissection.best()
    }
    assert shown == expected


def test_cards_fall_in_iou_and_name_the_next_best(dissection, tmp_path):
    page = read(write_report(dissection, tmp_path))
    scores = [float(card.find("b")[0].text) for card in cards(page, "layer0")]
    assert scores == sorted(scores, reverse=True)
    layer = dissection["features.a"]
    for card in cards(page, "layer0"):
        unit = card.attributes["unit"]
        second = layer.iou[unit].sort(descending=True, stable=True).indices[1]
        assert card.find("span", class_="next")[0].text.lstrip().startswith(dissection.concepts.names[second])


def make_importance(layer="features.a", units=12, classes=("street", "<b>sea", "attic")):
    """Unit u matters to class c most where u is c, then in the order of the units."""
    tally = ClassTally(units + 1, len(classes))
    labels = torch.arange(len(classes))
    scores = torch.eye(len(classes)).repeat(units + 1, 1, 1)
    for unit in range(len(classes)):
        scores[1 + unit, unit] = 0.1
    tally.add(scores, labels, labels)
    return UnitImportance(layer, classes, torch.zeros(units), tally, tally)


def test_cards_list_the_classes_to_which_a_unit_is_important(dissection, tmp_path):
    found = units(read(write_report(dissection, tmp_path, importance=make_importance())))
    assert "important for</dt><dd>street, &lt;b&gt;sea, attic</dd>" in found["u0-0"]["html"]
    assert "important for" not in found["u0-7"]["html"]
    assert "important for" not in found["u1-0"]["html"]
    both = [make_importance(), make_importance("features.b", 7)]
    assert "important for" in units(read(write_report(dissection, tmp_path, importance=both)))["u1-0"]["html"]


def unit_formulas(dissection, units):
    """Of the first layer: a OR b in unit 1, single labels elsewhere."""
    labels, joins = torch.zeros(2, units, 2, dtype=torch.int64)
    labels[:, 0], labels[1, 1], joins[1, 1] = 1, 2, 1
    ten, share = torch.full((units,), 10), torch.full((2, units), 0.25).double()
    parts = labels.clone(), joins.clone(), ten, 2 * ten, labels[:, 0].clone(), ten, 3 * ten, 2 * ten, share, share
    also = torch.zeros(units, dtype=torch.int64)
    also[1:3], left = 3, torch.zeros(3, units, dtype=torch.int64)
    left[:, 1], left[:, 2] = torch.tensor([5, 10, 10]), torch.tensor([1, 90, 10])  # IoU 1/3, and below the cut-off
    null = torch.linspace(0, 0.3, 6)[:, None].expand(6, units).double()
    chance = torch.linspace(0, 0.4, 200)[:, None].expand(200, units).double()  # of which 17 in 100 reach 1/3
    layers = {next(iter(dissection.layers)): LayerFormulas(*parts, also, left, null, chance)}
    return UnitFormulas(layers, dissection.concepts, {"length": 2, "beam": 1, "num_images": 9})


def test_cards_tell_formulas_of_several_concepts(dissection, tmp_path):
    given = unit_formulas(dissection, next(iter(dissection.layers.values())).num_units)
    found = units(read(write_report(dissection, tmp_path, formulas=given)))
    one, other = (html_escape(name) for name in dissection.concepts.names[1:3])
    text = f"better as</dt><dd>{one} OR {other} (IoU 0.333, 0.250 on images that did not choose it; may be chance, "
    assert f"{text}false discovery rate 0.17)</dd>" in found["u0-1"]["html"]
    assert [name for name, unit in found.items() if "better as" in unit["html"]] == ["u0-1"]
    second = html_escape(dissection.concepts.names[3])
    text = f"also fires on</dt><dd>{second} (IoU 0.333 without the pixels of {one}, 50% of its own; may be chance,"
    assert f"{text} false discovery rate 0.15)</dd>" in found["u0-1"]["html"]  # 1 of 13, of two units that have pixels
    assert [name for name, unit in found.items() if "also fires" in unit["html"]] == ["u0-1"]


def test_formulas_of_something_else_are_refused(dissection, tmp_path):
    with pytest.raises(ValueError, match=r"formulas of layer .* must be of its \d+ units, but are of 3"):
        write_report(dissection, tmp_path, formulas=unit_formulas(dissection, 3))
    with pytest.raises(TypeError, match=r"formulas must be what dissect\.formulas gave, but got dict"):
        write_report(dissection, tmp_path, formulas={})
    assert not os.listdir(tmp_path)


def test_importance_of_something_else_is_refused(dissection, tmp_path):
    with pytest.raises(KeyError, match=r"layer 'features\.c' was not dissected"):
        write_report(dissection, tmp_path, importance=make_importance("features.c"))
    with pytest.raises(TypeError, match=r"importance must be a UnitImportance, which UnitImportance\.load .* got str"):
        write_report(dissection, tmp_path, importance="impx.importance")
    with pytest.raises(
        TypeError, match=r"dissection must be a Dissection or a Comparison, which dissect\.load reads .* but got str"
    ):
        write_report("cnnres.dissection", tmp_path)
    with pytest.raises(ValueError, match="must be of its 7 units, but is of 12"):
        write_report(dissection, tmp_path, importance=make_importance("features.b"))
