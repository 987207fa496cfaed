"""dissect.sweep: every threshold at once, against dissections at single ones."""

import re

import numpy as np
import pytest
import torch
from small_dissection import CONCEPTS, Scenes, network

import dissect
from dissect import ops
from dissect.stats import Agreement, average_precision, curve_sanity_tests

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
SHARES = [0.01, 0.05, 0.2]


def run(**options):
    options = {"shares": SHARES, "levels": 12, "progress": False, "batch_size": 5} | options
    return dissect.sweep(network(), options.pop("layers", "3"), options.pop("images", Scenes()), **options)


@pytest.fixture(scope="module")
def found():
    return run(layers=["1", "3"])


def dissected(**options):
    options = {"progress": False, "batch_size": 5, "decoys": 0, "resamples": 0} | options
    return dissect.dissect(network(), "3", Scenes(), concepts=CONCEPTS, **options)


def test_the_labels_of_each_share_are_those_of_a_dissection(found):
    for at, share in enumerate(SHARES):
        one = dissected(fraction=share)
        assert torch.equal(found["3"].exact[:, at], one["3"].thresholds)
        level = found["3"].level(at)[:, None]
        assert torch.equal(found["3"].best_iou.gather(1, level)[:, 0], one["3"].best_iou)
        assert torch.equal(found["3"].best_label.gather(1, level)[:, 0], one["3"].best_label)
        assert torch.equal(found["3"].firing.gather(1, level)[:, 0], one["3"].unit_area / one["3"].num_pixels)
        rows = [row for row in found.labels("3") if row.share == share]
        assert [(r.category, r.concepts, r.units) for r in rows] == [tuple(r) for r in one.unique_detectors()]


def test_without_a_threshold_units_fire_above_zero(found):
    one = dissected(thresholds=torch.zeros(6))
    rows = [row for row in found.labels("3") if row.share is None]
    assert [(r.category, r.concepts, r.units) for r in rows] == [tuple(r) for r in one.unique_detectors()]
    assert torch.equal(found["3"].best_iou.gather(1, found["3"].level(None)[:, None])[:, 0], one["3"].best_iou)


def test_every_measure_against_counts_at_each_level(found):
    layer, planes = found["3"], Scenes().planes
    maps = torch.cat([network()(part).detach() for part in Scenes().images.split(5)])  # as it is in these batches
    edges, pixels = layer.counts.edges, torch.tensor(planes[:, 0].numel())
    assert edges.shape == (6, 12 + 3 + 1)
    counts = []
    for at in range(edges.shape[1]):
        one = ops.iou_counts(maps, edges[:, at].contiguous(), planes.to(torch.int16), 5)
        counts.append(
            (one.intersection, one.unit_area.sum(0)[:, None].expand(6, 5), one.label_area.sum(0).expand(6, 5))
        )
    both = Agreement(*(torch.stack(part, -1) for part in zip(*counts)), pixels)
    iou, quality, precision = both.iou(), both.information_quality().amax(-1), average_precision(both)
    for row, own, informs, ranks in zip(found.units("3"), iou, quality, precision):
        label, at = divmod(int(own.flatten().argmax()), own.shape[1])
        assert (row.iou, row.concept) == (float(own[label, at]), (["-", *(name for name, _ in CONCEPTS)])[label])
        assert row.f1 == pytest.approx(float(both.f1()[row.unit, label, at]))
        assert row.threshold == float(edges[row.unit, at])
        assert (row.average_precision, row.information_quality) == (float(ranks.max()), float(informs.max()))
        curve = found.curve(row.unit, "3", concepts=["green"])
        assert [point.iou for point in curve] == own[3].tolist()
        assert [point.information_quality for point in curve] == both.information_quality()[row.unit, 3].tolist()
        most = [float(measure[row.unit].max()) for measure in (both.correlation(), both.cosine())]
        assert [row.correlation, row.cosine] == most
        assert [(point.correlation, point.cosine) for point in curve] == list(
            zip(both.correlation()[row.unit, 3].tolist(), both.cosine()[row.unit, 3].tolist())
        )
        shown = {point.concept for point in found.curve(row.unit, "3")}
        assert shown == {CONCEPTS[label - 1][0] for label in own.argmax(0).unique().tolist() if label}


def test_measures_of_units_and_their_labels_when_these_get_worse(found, monkeypatch):
    layer, labels = found["3"], found.best("3", 1)
    units = labels.nonzero()[:, 0]
    both = layer.counts.agreement()
    kept = [part.expand(both.intersection.shape)[units, labels[units]] for part in vars(both).values()]
    rows = found.sanity("3", share=1)
    assert list(rows) == list(curve_sanity_tests(Agreement(*kept), layer.level(1)[units]))
    assert "average_precision" in [row.measure for row in rows]
    monkeypatch.setattr("dissect.dissection.swept.BLOCK", 1)  # a unit at a time
    assert list(found.sanity("3", share=1)) == list(rows)
    with pytest.raises(ValueError, match="layer must be one of"):
        found.sanity()
    monkeypatch.setitem(found.settings, "detector_iou", 1.0)
    with pytest.raises(ValueError, match=r"share must be one at which units have labels, but at number 0 none has"):
        found.sanity("3")


def test_correlation_and_cosine_are_those_of_masks(found):
    both = found["3"].counts.agreement(slice(2, 3))
    maps = torch.cat([network()(part).detach() for part in Scenes().images.split(5)])
    at, label = int(found["3"].level(2)[2]), 1
    grid = dissect.Grid.half_pixel((8, 8), (16, 16))
    fires = dissect.reference.upsample(maps[:, 2:3], grid.rows, grid.columns)
    one = (fires[:, 0] > found["3"].counts.edges[2, at]).double().flatten().numpy()
    other = (Scenes().planes == label).any(1).double().flatten().numpy()
    assert float(both.correlation()[0, label, at]) == pytest.approx(np.corrcoef(one, other)[0, 1])
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert float(both.cosine()[0, label, at]) == pytest.approx(cosine)


def test_measures_that_fail_the_sanity_tests_are_marked_where_they_are_printed(found):
    head = repr(found.curve(2, "3")).splitlines()[0]
    marked = ["information_quality (untested)", "precision (fails)", "recall (fails)"]
    assert re.split(r"\s{2,}", head)[4:] == ["iou", "f1", "correlation", "cosine", *marked]
    head = repr(found.units("3")).splitlines()[0]
    assert head.index("correlation") < head.index("cosine") < head.index("information_quality (untested)")
    assert found.units("3").columns[8:12] == (  # where they were before
        "by_precision", "average_precision", "by_information", "information_quality",
    )  # fmt: skip


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_units_have_no_label(value):
    """By precision or IoU a dead or a constant one would have the label of the most pixels."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1)).eval()
    with torch.no_grad():
        model[0].weight[0].zero_()
        model[0].bias[0] = value
    options = {"shares": SHARES, "levels": 4, "progress": False, "decoys": 1, "concepts": CONCEPTS}
    found = dissect.sweep(model, "0", Scenes(), **options)
    row, other = found.units()
    assert found["0"].constant.tolist() == [True, False]
    named = row.concept, row.by_precision, row.by_information, row.by_correlation, row.by_cosine
    assert {*named} == {"-"}
    assert (row.iou, row.average_precision, row.correlation, row.cosine) == (0, 0, 0, 0)
    assert other.iou > 0
    assert {each.concept for each in found.bands() if each.unit == 0} == {"-"}
    assert found.best("0", None)[0] == 0
    assert max(each.units for each in found.labels()) <= 1
    assert found.curve(0) == []
    assert [text.get_text() for text in found.plot("unit", unit=0).axes[0].texts] == [
        "no label has an IoU above 0 with unit 0"
    ]


def test_it_is_the_same_after_a_stop(found, tmp_path, monkeypatch):
    def tensors(sweep):
        return sweep.contents()[0]

    monkeypatch.setattr("dissect.files.progress.EVERY", 0.0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)

    class Stops(Scenes):
        left = 0

        def __getitem__(self, index):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    for number, stop in enumerate((8, 70)):  # in the survey and later
        images, folder = Stops(), tmp_path / str(number)
        images.left = stop
        with pytest.raises(KeyboardInterrupt):
            run(layers=["1", "3"], images=images, resume=folder, memory_budget=40000)
        again = run(layers=["1", "3"], resume=folder, memory_budget=40000)
        for name, value in tensors(again).items():
            assert torch.equal(value, tensors(found)[name]), name
        with pytest.raises(ValueError, match="had the same options"):
            run(layers=["1", "3"], resume=folder, shares=[0.5], memory_budget=40000)


def test_files_and_figures(found, tmp_path):
    again = dissect.load(found.save(tmp_path / "s"))
    assert repr(again.units()) == repr(found.units())
    assert repr(again) == "<Sweep of '1' (8 units), '3' (6 units) over 21 images>"
    axes = again.plot("unit", layer="3", unit=2).axes[0]
    assert len(axes.lines) == len({row.concept for row in found.curve(2, "3")})
    axes = again.plot(layer="3").axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["top 1%", "top 5%", "top 20%", "above 0"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"shares": []}, ValueError, "shares must be different numbers between 0 and 1"),
        ({"shares": [0.1, 0.1]}, ValueError, "shares must be different numbers"),
        ({"shares": [1]}, ValueError, "shares must be different numbers between 0 and 1"),
        ({"resamples": 1}, ValueError, "^sweep: resamples must be at least 2, .* or 0 for none, but is 1"),
        ({"levels": 0}, ValueError, "levels must be at least 1"),
        ({"preset": "tpami2018"}, ValueError, "preset must be one that counts over all images"),
        ({"images": Scenes().images}, ValueError, "concepts must name the labels"),
        ({"memory_budget": 100}, ValueError, "memory_budget must hold the counts"),
        ({"layers": "9"}, KeyError, "the model has no layer"),
        ({"grid": dissect.Grid.half_pixel((3, 3), (16, 16))}, ValueError, "^sweep: layer '3': grid must be for"),
    ],
)
def test_what_is_ambiguous_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        run(**options)


def test_what_was_not_swept_is_named(found):
    with pytest.raises(KeyError, match="layer '9' was not swept; these were"):
        found["9"]
    with pytest.raises(ValueError, match=r"layer must be one of \['1', '3'\]"):
        found.curve(0)
    with pytest.raises(ValueError, match="unit must be below 6, but is 6"):
        found.curve(6, "3")
    for share in (3, 9):
        with pytest.raises(ValueError, match=f"share must be the number of .*, from 0 to 2, but is {share}"):
            found.sanity("3", share=share)
    with pytest.raises(ValueError, match="share must be at least 0"):
        found.best("3", -1)
    with pytest.raises(ValueError, match='kind must be "labels" or "unit"'):
        found.plot("all", layer="3")
