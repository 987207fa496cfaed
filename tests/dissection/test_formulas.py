"""formulas(): the counts of pixels, halves, runs that go on, and data that is not the dissection's."""

import numpy as np
import pytest
import scipy.stats
import torch
from small_dissection import Scenes, network, run

import dissect
from dissect.chosen import cycles, half_of
from dissect.dissection.formula_decoys import FormulaDecoys
from dissect.files import progress as files
from dissect.stats.formulas import Formula, FormulaSearch

OPTIONS = {"batch_size": 5, "progress": False}


@pytest.fixture(scope="module")
def found():
    dissection = run()
    return dissection, dissect.formulas(network(), dissection, Scenes(), **OPTIONS)


def pixels(dissection, layer):
    """Where each unit fires [U, N, H, W], and where each label is [C, N, H, W]."""
    scenes = Scenes()
    model = network()
    with torch.no_grad(), dissect.Trace(model, layer) as trace:
        model(scenes.images)
        maps = trace[layer]
    up = torch.nn.functional.interpolate(maps, (16, 16), mode="bilinear")
    fires = up > dissection[layer].thresholds[:, None, None]
    return fires.transpose(0, 1), torch.stack([(scenes.planes == label).any(1) for label in range(5)])


def overlap(fires, holds):
    return int((fires & holds).sum()) / max(1, int((fires | holds).sum()))


def holding(formula, labels):
    return formula.holds(labels.flatten(1).T).view(labels.shape[1:])


def test_formulas_hold_where_they_say(found):
    dissection, formulas = found
    # Layer "1" has the planes' size, so that its masks are plain comparisons.
    fires, labels = pixels(dissection, "1")
    rows, layer = formulas.rows("1"), formulas.layers["1"]
    halves = half_of(torch.arange(len(Scenes()))).bool()
    for unit, row in enumerate(rows):
        assert row.iou == overlap(fires[unit], holding(layer.formula(unit), labels))
        label = int(layer.label[unit])
        single = [overlap(fires[unit], one) for one in labels[1:]]
        assert row.concept_iou == single[label - 1] == max(single)
        assert row.iou > row.concept_iou if row.length > 1 else row.iou == row.concept_iou
        assert row.concept == dissection.concepts.names[label]
        for half in (False, True):  # what this half gives, measured on the other
            learn, test = fires[unit, halves == half], fires[unit, halves != half]
            best = max(range(1, 5), key=lambda at: overlap(learn, labels[at, halves == half]))
            share = overlap(test, labels[best, halves != half])
            assert layer.held_out_label[0 if half else 1, unit] == share
    assert any(row.length > 1 for row in rows)
    assert rows[0].held_out == pytest.approx(float(layer.held_out[:, 0].mean()))


def test_the_half_that_is_held_out(found):
    """A search over one half's pixels alone gives the formula whose share of the other half is told."""
    dissection, formulas = found
    fires, labels = pixels(dissection, "1")
    halves = half_of(torch.arange(len(Scenes())))
    for half in (0, 1):
        flat = labels[:, halves == half].flatten(1).T.clone()
        flat[:, 0] = False
        rows, inverse = flat.unique(dim=0, return_inverse=True)
        table = rows.long() * torch.arange(5)
        search = FormulaSearch(table, inverse.bincount(), 5)
        for unit in range(8):
            counts = inverse[fires[unit, halves == half].flatten()].bincount(minlength=len(rows))
            formula = search.best(counts).formula
            share = overlap(fires[unit, halves != half], holding(formula, labels[:, halves != half]))
            # Ties between formulas may fall otherwise, as combinations come in another order.
            assert formulas.layers["1"].held_out[1 - half, unit] == pytest.approx(share, abs=0.02)


def second(fires, labels, away):
    """The highest IoU of a unit's pixels with a label but one, where that one is not; in numpy."""
    return max(
        (fires & holds & ~away).sum() / max(1, ((fires | holds) & ~away).sum()) for holds in labels
    )  # fmt: skip


def test_the_null_of_second_labels(found):
    """Other images' planes, where a unit's own first label is not; p-values over the layer, and their rates."""
    dissection, formulas = found
    fires, labels = (part.numpy() for part in pixels(dissection, "1"))
    layer, rows = formulas.layers["1"], formulas.rows("1")
    firsts, orders = layer.label.tolist(), cycles(4, len(Scenes()), 0).numpy()

    def best(unit, planes):
        others = [planes[label] for label in range(1, 5) if label != firsts[unit]]
        return second(fires[unit], others, labels[firsts[unit]])

    null = np.array([[best(unit, labels[:, order]) for unit in range(8)] for order in orders])
    assert np.array_equal(layer.also_null.numpy(), null)
    scores = np.array([best(unit, labels) for unit in range(8)])
    tested = [unit for unit in range(8) if (fires[unit] & ~labels[firsts[unit]]).any()]
    p = (1 + (null[:, tested] >= scores[tested][:, None, None]).sum((1, 2))) / (1 + 4 * len(tested))
    q = scipy.stats.false_discovery_control(p)
    for at, unit in enumerate(tested):
        assert (rows[unit].also_iou or 0.0) == scores[unit]
        assert (rows[unit].also_p, rows[unit].also_q) == ((p[at], q[at]) if rows[unit].also else (None, None))
    assert any(row.also for row in rows)


def test_the_null_of_formulas(found):
    """The very search with other images' planes; p-values over the units that fire, and their rates."""
    dissection, formulas = found
    fires, labels = pixels(dissection, "1")
    layer, rows = formulas.layers["1"], formulas.rows("1")

    def searched(planes):
        flat = planes.flatten(1).T.clone()
        flat[:, 0] = False
        kinds, inverse = flat.unique(dim=0, return_inverse=True)
        search = FormulaSearch(kinds.long() * torch.arange(5), inverse.bincount(), 5)
        counts = [inverse[own.flatten()].bincount(minlength=len(kinds)) for own in fires]
        found = [search.best(own).formula for own in counts]
        return [overlap(own, holding(formula, planes)) for own, formula in zip(fires, found)]

    null = np.array([searched(labels[:, order]) for order in cycles(4, len(Scenes()), 0)])
    assert np.allclose(layer.null.numpy(), null, rtol=0, atol=1e-15)
    scores = layer.iou().numpy()
    p = (1 + (null >= scores[:, None, None]).sum((1, 2))) / (1 + 4 * len(scores))
    assert all(unit.any() for unit in fires)
    q = scipy.stats.false_discovery_control(p)
    assert [row.p for row in rows] == pytest.approx(p)
    assert [row.q for row in rows] == pytest.approx(q)


def test_permutations_by_and_by(found, monkeypatch):
    """Where the counts of all exceed the budget, there are more visits, and the same null."""
    dissection, formulas = found
    begun, visits = FormulaDecoys.begin, []

    def little(self, combinations):
        self._budget = 2 * 16 * 14 * combinations - 1  # of one permutation, of both layers
        begun(self, combinations)

    ended = FormulaDecoys.end_visit
    monkeypatch.setattr(FormulaDecoys, "begin", little)
    monkeypatch.setattr(FormulaDecoys, "end_visit", lambda self, number: visits.append(1) or ended(self, number))
    again = dissect.formulas(network(), dissection, Scenes(), **OPTIONS)
    assert len(visits) == 4
    assert equal(formulas, again)


def test_without_decoys_or_with_others(found):
    dissection, formulas = found
    none = dissect.formulas(network(), dissection, Scenes(), decoys=0, **OPTIONS)
    assert none.layers["1"].also_null is None is none.layers["1"].null
    assert [row[:-4] for row in none.rows()] == [row[:-4] for row in formulas.rows()]
    assert {row.also_p for row in none.rows()} == {row.p for row in none.rows()} == {None}
    other = dissect.formulas(network(), dissection, Scenes(), seed=1, **OPTIONS).layers["1"]
    assert not torch.equal(other.also_null, formulas.layers["1"].also_null)


def equal(one, other):
    return all(
        torch.equal(value.nan_to_num(-1), other.contents()[0][name].nan_to_num(-1))
        for name, value in one.contents()[0].items()
    )


def test_any_batches_and_files(found, tmp_path):
    dissection, formulas = found
    other = dissect.formulas(network(), dissection, Scenes(), batch_size=8, progress=False)
    assert equal(formulas, other)
    assert equal(formulas, dissect.load(formulas.save(tmp_path / "a")))
    one = dissect.formulas(network(), dissection, Scenes(), layers="3", length=1, **OPTIONS)
    assert list(one.layers) == ["3"]
    assert {row.length for row in one.rows()} == {1}
    assert "better explained" in repr(formulas)


def test_interrupted_anywhere(found, tmp_path, monkeypatch):
    dissection, formulas = found
    monkeypatch.setattr(files, "EVERY", 0)
    monkeypatch.setattr(files, "TIMES", 0)
    for stop in range(1, 6):
        seen = [0]

        def segmenter(images, seen=seen, stop=stop):
            seen[0] += 1
            if seen[0] == stop:
                raise KeyboardInterrupt
            return planes_of(images)

        folder = tmp_path / str(stop)
        arguments = network(), dissection, Scenes().images
        with pytest.raises(KeyboardInterrupt):
            dissect.formulas(*arguments, segmenter=segmenter, resume=folder, **OPTIONS)
        assert equal(formulas, dissect.formulas(*arguments, segmenter=segmenter, resume=folder, **OPTIONS))


def test_interrupted_among_decoys(found, tmp_path, monkeypatch):
    dissection, formulas = found
    monkeypatch.setattr(files, "EVERY", 0)
    monkeypatch.setattr(files, "TIMES", 0)
    count, arguments = FormulaDecoys.count, (network(), dissection, Scenes())
    for stop in (1, 3, 5):
        seen = [0]

        def stopping(self, *step, seen=seen, stop=stop):
            seen[0] += 1
            if seen[0] == stop:
                raise KeyboardInterrupt
            count(self, *step)

        monkeypatch.setattr(FormulaDecoys, "count", stopping)
        folder = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            dissect.formulas(*arguments, resume=folder, **OPTIONS)
        monkeypatch.setattr(FormulaDecoys, "count", count)
        for other in ({"decoys": 2}, {"beam": 4}):  # whose null would be another one
            with pytest.raises(ValueError, match="decoys"):
                dissect.formulas(*arguments, resume=folder, **other, **OPTIONS)
        assert equal(formulas, dissect.formulas(*arguments, resume=folder, **OPTIONS))


def planes_of(images):
    objects = (images[:, 0] > 0.5).long() + (images[:, 1] > 0.7).long()
    return torch.stack([objects, 3 * (images[:, 1] > 0.6), torch.full_like(objects, 4)], 1)


def test_other_data_or_weights(found):
    dissection, _ = found
    other = network()
    with torch.no_grad():
        other[0].weight.neg_()
    for model, images in ((other, Scenes()), (network(), Scenes(20))):
        with pytest.raises(ValueError, match=r"^formulas: model and images must be those of the dissection, but unit"):
            dissect.formulas(model, dissection, images, **OPTIONS)
    with pytest.raises(ValueError, match=r"^formulas: length must be at least 1, but got 0"):
        dissect.formulas(network(), dissection, Scenes(), length=0, **OPTIONS)
    with pytest.raises(ValueError, match=r"budget must hold \d+ combinations of labels of 8 units"):
        dissect.formulas(network(), dissection, Scenes(), memory_budget=1000, decoys=0, **OPTIONS)
    with pytest.raises(ValueError, match=r"must hold the counts of 4 decoys, 3584 bytes, but is 1000; take fewer"):
        dissect.formulas(network(), dissection, Scenes(), memory_budget=1000, **OPTIONS)
    with pytest.raises(ValueError, match="decoys must be at least 0, but got -1"):
        dissect.formulas(network(), dissection, Scenes(), decoys=-1, **OPTIONS)
    with pytest.raises(ValueError, match="dissection must be of images with planes, but was of images alone"):
        dissect.formulas(network(), run(images=Scenes().images), Scenes().images, **OPTIONS)
    own = run(layers="1", thresholds=torch.full((8, 5), 0.5), decoys=0)
    with pytest.raises(ValueError, match="must have one threshold per unit, but layer '1' has one for each label"):
        dissect.formulas(network(), own, Scenes(), **OPTIONS)
    with pytest.raises(KeyError, match="nowhere"):
        dissect.formulas(network(), dissection, Scenes(), layers="nowhere", **OPTIONS)


def test_a_dead_unit_has_no_formula():
    model = network()
    with torch.no_grad():
        model[0].weight[2].zero_()
        model[0].bias[2] = -1
    dissection = run(model=model, layers="1")
    formulas = dissect.formulas(model, dissection, Scenes(), **OPTIONS)
    row = formulas.rows()[2]
    assert row == ("1", 2, "-", 0, 0.0, "-", 0.0, None, None, "", *[None] * 6)
    assert formulas.layers["1"].formula(2) == Formula(())
