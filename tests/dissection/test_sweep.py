"""dissect.sweep: every threshold at once, against dissections at single ones."""

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
    with pytest.raises(ValueError, match='kind must be "labels" or "unit"'):
        found.plot("all", layer="3")
