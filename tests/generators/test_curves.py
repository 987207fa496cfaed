"""Curves of removal, against each set of units ablated by hand."""

import pytest
import torch
from generators.painter import Colours, Painter, pixels

import dissect
from dissect import generators

OPTIONS = {"progress": False, "batch_size": 16}


@pytest.fixture
def model():
    return Painter().eval()


@pytest.fixture
def z():
    return dissect.latents((5,), 40, seed=3)


def without(model, z, units):
    """Pixels of each label without these units."""
    with torch.no_grad():
        maps = model.maps(z)
        maps[:, units] = 0
        return pixels(model.paint(maps))


def test_curves_are_those_of_sets_ablated_by_hand(model, z):
    rankings = {"known": [0, 1, 2, 5], "other": torch.tensor([7, 1, 0, 3])}
    found = generators.removal_curves(
        model, "features", rankings, z, Colours(), "red", counts=[3, 1], draws=2, **OPTIONS
    )
    assert (found.names, found.counts) == (("known", "other", "random", "random"), (1, 3))
    before = pixels(model(z))
    assert torch.equal(found.before, before)
    for at, units in enumerate(found.rankings.tolist()):
        for k, count in enumerate(found.counts):
            expected = without(model, z, units[:count])
            assert torch.equal(found.pixels[at, k], expected[:, 1])
            assert torch.equal(found.totals[at, k], expected.sum(0))
    assert found.rankings[:2].tolist() == [[0, 1, 2], [7, 1, 0]]
    shares = [1 - int(without(model, z, units)[:, 1].sum()) / int(before[:, 1].sum()) for units in ([0], [0, 1, 2])]
    assert found.removed("known").tolist() == pytest.approx(shares)
    drawn = [1 - int(found.pixels[at, 0].sum()) / int(before[:, 1].sum()) for at in (2, 3)]
    assert float(found.removed("random")[0]) == pytest.approx(sum(drawn) / 2)


def test_rows_say_units_share_interval_and_what_else_changes(model, z):
    found = generators.removal_curves(model, "features", {"known": range(4)}, z, Colours(), "red", draws=1, **OPTIONS)
    assert [row.units for row in found.table] == [1, 2, 3, 4] * 2
    row = found.table[2]
    assert (row.ranking, row.share, row.removed, row.most_changed, row.its_change) == ("known", 3 / 8, 1.0, "green", -1)
    assert (row.low, row.high) == (1.0, 1.0)
    alone = generators.removed_share(model, "features", [0], z, Colours(), "red", draws=0, **OPTIONS)
    assert (found.table[0].removed, found.table[0].low) == pytest.approx((alone.removed, alone.interval[0]))


def test_few_z_have_no_interval(model, z):
    found = generators.removal_curves(model, "features", {"known": [0]}, z[:4], Colours(), "red", draws=0, **OPTIONS)
    assert [(row.low, row.high) for row in found.table] == [(None, None)]
    assert found.plot().axes[0].lines


def test_a_figure_has_a_line_per_ranking_and_the_share_above(model, z):
    found = generators.removal_curves(model, "features", {"IoU": [0, 1]}, z, Colours(), "red", draws=1, **OPTIONS)
    axes = found.plot().axes[0]
    assert [line.get_label() for line in axes.lines][:2] == ["IoU", "random"]
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([0, *found.removed("IoU").tolist()])
    assert "0" not in found.plot().axes[0].get_ylabel()


def test_units_by_iou_are_ranked_by_a_dissection(model, z):
    d = dissect.dissect(
        model, "features", z, segmenter=Colours(), segment="output", fraction=0.2, decoys=0, progress=False
    )
    iou = generators.class_iou(d, "features", "red")
    assert torch.equal(iou, d["features"].iou[:, 1])
    units = generators.units_by_iou(d, "features", "color/red")
    assert iou[units].tolist() == sorted(iou.tolist(), reverse=True)
    assert {0, 1} & set(units[:2].tolist())
    with pytest.raises(KeyError, match="tree"):
        generators.units_by_iou(d, "features", "tree")


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"rankings": {}}, ValueError, "rankings must be units by name"),
        ({"rankings": [0, 1]}, ValueError, "rankings must be units by name"),
        ({"rankings": {"random": [0]}}, ValueError, 'none is called "random"'),
        ({"rankings": {"a": [0, 9]}}, ValueError, "must be below 8"),
        ({"counts": [1, 3]}, ValueError, "counts must be different numbers from 1 to 2"),
        ({"counts": [1, 1]}, ValueError, "counts must be different numbers"),
        ({"counts": [0]}, ValueError, "counts must be at least 1"),
        ({"concept": "blue"}, ValueError, "finds no pixel of 'color/blue'"),
        ({"draws": -1}, ValueError, "draws must be at least 0"),
        ({"resamples": 1}, ValueError, "^removal_curves: resamples must be at least 2, since one draw"),
    ],
)
def test_what_is_wrong_is_said(model, z, change, error, text):
    arguments = {"rankings": {"a": [0, 1]}, "z": z, "segmenter": Colours(), "concept": "red"}
    with pytest.raises(error, match=text):
        generators.removal_curves(model, "features", **{**arguments, **OPTIONS, **change})
