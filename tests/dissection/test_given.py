"""dissect() at thresholds that are given."""

import pytest
import torch
from small_dissection import CONCEPTS, Scenes, network
from torch import nn

import dissect

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")


def run(layers="3", **options):
    options = {"concepts": CONCEPTS, "progress": False, "batch_size": 5} | options
    return dissect.dissect(network(), layers, options.pop("images", Scenes()), **options)


def differing(a, b):
    tensors = {name: value for name, value in vars(a).items() if isinstance(value, torch.Tensor)}
    assert len(tensors) > 5
    return [
        name for name, value in tensors.items() if not torch.allclose(value, getattr(b, name), 0, 0, equal_nan=True)
    ]


def test_those_that_were_found_give_the_same_counts():
    found = run()
    again = run(thresholds=found["3"].thresholds, fraction=0.5)
    assert not differing(found["3"], again["3"])
    assert torch.equal(found["3"].evidence.null, again["3"].evidence.null)
    assert list(again.settings["thresholds"]) == ["3"]
    assert "thresholds" not in found.settings


def test_others_count_what_exceeds_them():
    found = run()
    levels = found["3"].thresholds + torch.tensor([0.0, 0.1, -0.1, 0.2, float("inf"), -float("inf")])
    given = run(thresholds={"3": levels})["3"]
    assert torch.equal(given.thresholds, levels)
    assert given.unit_area[0] == found["3"].unit_area[0]
    assert given.unit_area[1] <= found["3"].unit_area[1] <= given.unit_area[2] * 2
    assert given.unit_area[4] == 0
    assert given.unit_area[5] == given.num_pixels


def test_layers_without_are_found_as_ever():
    layers = [name for name, module in network().named_modules() if isinstance(module, nn.Conv2d)][:2]
    both = run(layers)
    mixed = run(layers, thresholds={layers[0]: both[layers[0]].thresholds * 2})
    assert not differing(both[layers[1]], mixed[layers[1]])
    assert differing(both[layers[0]], mixed[layers[0]])


def test_a_run_goes_on_at_the_same_thresholds_only(tmp_path):
    found = run(thresholds=torch.zeros(6), resume=tmp_path)
    assert not differing(found["3"], run(thresholds=torch.zeros(6), resume=tmp_path)["3"])
    with pytest.raises(ValueError, match="had the same options"):
        run(thresholds=torch.ones(6), resume=tmp_path)


def test_a_threshold_of_zero_by_wish_is_no_sparse_unit(tmp_path):
    """As a ReLU's zero would be, below which a unit cannot go."""
    found = run(thresholds=torch.tensor([0.0, 0, 0, 0, 0, float("inf")]))
    assert [row.state for row in found.best()] == ["dead" if area == 0 else "ok" for area in found["3"].unit_area]
    assert int((found["3"].unit_area > 0).sum()) >= 3
    assert dissect.load(found.save(tmp_path / "d"))["3"].states() == found["3"].states()
    rectified = nn.Sequential(network(), nn.ReLU()).eval()
    own = dissect.dissect(rectified, "1", Scenes(), fraction=0.9, progress=False)
    assert "sparse" in {row.state for row in own.best()}


def test_the_page_says_so(tmp_path):
    page = dissect.write_report(run(thresholds=torch.zeros(6)), tmp_path).read_text()
    assert "Thresholds given" in page
    assert "Top fraction" not in page
    assert "Thresholds given" not in dissect.write_report(run(), tmp_path).read_text()


@pytest.mark.parametrize(
    ("thresholds", "error", "message"),
    [
        (torch.zeros(5), ValueError, r"must have shape \[U\] with U=6, but got \[5\]"),
        (torch.zeros(6, 4, 2), ValueError, r"must have shape \[U\], one for each unit, or \[U, C\]"),
        (torch.zeros(6, 4), ValueError, r"shape \[U\] or \[U, C\] with C=5 \(the concepts.*but got \[6, 4\]"),
        (torch.zeros(5, 5), ValueError, r"must have shape \[U, C\] with U=6, but got \[5, 5\]"),
        (torch.zeros(6).double(), TypeError, "must be a float32 tensor"),
        ([0.0] * 6, TypeError, "must be a float32 tensor.* but got list"),
        (torch.full((6,), float("nan")), ValueError, "must not be NaN, but unit 0's is"),
        ({"nope": torch.zeros(6)}, ValueError, r"must be of layers \['3'\], but name 'nope'"),
    ],
)
def test_what_are_no_thresholds_is_refused(thresholds, error, message):
    with pytest.raises(error, match=message):
        run(thresholds=thresholds)


def test_one_tensor_is_of_one_layer():
    with pytest.raises(ValueError, match="must be a mapping"):
        run(["0", "3"], thresholds=torch.zeros(6))


def levels_of(found):
    """A level for each unit and label, some of them not asked for, one of them never reached."""
    generator = torch.Generator().manual_seed(2)
    levels = found["3"].thresholds[:, None] - torch.rand(6, 5, generator=generator)
    levels[1, 2], levels[2, 1:], levels[3, 1] = float("nan"), float("nan"), float("inf")
    return levels


@pytest.mark.parametrize("scope", ["all", "category"])
def test_each_label_is_counted_at_its_own_threshold(scope, tmp_path):
    levels = levels_of(run())
    layer = run(thresholds=levels, scope=scope)["3"]
    for label in range(1, 5):
        one = run(thresholds=levels[:, label].nan_to_num(nan=1e30), scope=scope)["3"]
        assert torch.equal(layer.intersection[:, label], one.intersection[:, label])
        assert torch.equal(layer.iou[:, label], one.iou[:, label])
        own = layer.best_label == label
        assert torch.equal(layer.unit_area[own], one.unit_area[own])
        assert torch.equal(layer.thresholds[own], levels[own, label])
        for unit in own.nonzero().flatten().tolist():
            assert torch.equal(layer.masks(unit), one.masks(unit))
    assert layer.intersection[1, 2] == layer.intersection[2].sum() == layer.intersection[3, 1] == 0
    assert layer.evidence.half_labels.shape == (2, 6)


def test_a_unit_of_which_nothing_is_asked_has_an_empty_row(tmp_path):
    found = run(thresholds=levels_of(run()))
    rows = found.best()
    assert [row.state for row in rows] == ["ok", "ok", "unmatched", "ok", "ok", "ok"]
    empty = rows[2]
    assert (empty.concept, empty.iou, empty.firing, empty.threshold) == ("-", 0, 0, float("inf"))
    assert (empty.accuracy, empty.information_quality, empty.precision, empty.recall) == (0, 0, 0, 0)
    for row, label in zip(rows, found["3"].best_label.tolist()):
        shared, area = int(found["3"].intersection[row.unit, label]), int(found["3"].unit_area[row.unit])
        agree = found["3"].num_pixels - area - int(found["3"].label_area[label]) + 2 * shared
        assert row.unit == 2 or row.accuracy == agree / found["3"].num_pixels
    again = dissect.load(found.save(tmp_path / "d"))
    assert not differing(found["3"], again["3"])
    assert repr(again.best()) == repr(rows)
    page = dissect.write_report(found, tmp_path).read_text()
    assert "Infinity" not in page
    assert "In 3 every concept has a threshold of its own" in page
    assert "1 unit of this layer is" in page


def test_the_chance_of_a_label_is_at_its_own_threshold():
    """All equal, they are those of one threshold per unit."""
    found = run()
    same = run(thresholds=found["3"].thresholds[:, None].expand(6, 5))
    for name in ("null", "interval", "half_labels", "held_out", "place_iou"):
        mine, its = (getattr(one["3"].evidence, name) for one in (same, found))
        assert torch.allclose(mine, its, 0, 0, equal_nan=True), name
    other = run(thresholds=found["3"].thresholds[:, None] - torch.arange(5.0))
    assert not torch.equal(other["3"].evidence.null, found["3"].evidence.null)


class Stops(Scenes):
    """Is interrupted when the 35th image is asked for: in the middle of the counts."""

    left = 35

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_a_run_at_thresholds_of_labels_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("dissect.files.progress.EVERY", 0.0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)
    levels = levels_of(run())
    options = {"thresholds": levels, "resume": tmp_path, "memory_budget": 0}
    with pytest.raises(KeyboardInterrupt):
        run(images=Stops(), **options)
    expected, again = run(thresholds=levels), run(**options)
    assert not differing(expected["3"], again["3"])
    assert torch.equal(expected["3"].evidence.null, again["3"].evidence.null)
    assert torch.allclose(expected["3"].evidence.interval, again["3"].evidence.interval, 0, 0, equal_nan=True)
    with pytest.raises(ValueError, match="had the same"):
        run(**options | {"thresholds": levels + 1})


def test_thresholds_of_labels_need_labels():
    with pytest.raises(ValueError, match=r"must have shape \[U\], where there are no labels, but got \[6, 5\]"):
        dissect.dissect(network(), "3", Scenes().images, thresholds=torch.zeros(6, 5), progress=False)
