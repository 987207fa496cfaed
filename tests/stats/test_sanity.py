"""Sanity tests of measures."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from dissect import ops, stats
from dissect.stats import Agreement, activation_curves, average_precision, curve_sanity_tests, sanity_tests
from dissect.stats.sanity import MEASURES, _Counts, _expected_precision


def pairs():
    """Units that meet their labels far more often than by chance."""
    g = torch.Generator().manual_seed(0)
    label = torch.randint(50, 2000, (200,), generator=g)
    both = (label * (0.1 + 0.8 * torch.rand(200, generator=g))).long()
    return Agreement(both, both + torch.randint(0, 800, (200,), generator=g), label, torch.tensor(100_000))


def test_measures_are_those_of_agreement():
    given = pairs()
    counts = _Counts(*(p.double() for p in (given.intersection, given.unit_area, given.label_area, given.pixels)))
    for name in ("f1", "iou", "precision", "recall", "accuracy"):
        assert torch.allclose(MEASURES[name](counts), getattr(given, name)()), name
    unit, label = torch.tensor([1.0, 1, 1, 0, 0, 0, 0, 0]), torch.tensor([1.0, 1, 0, 1, 0, 0, 0, 0])
    one = _Counts(*(torch.tensor([n]).double() for n in (2, 3, 3, 8)))
    assert float(MEASURES["correlation"](one)) == pytest.approx(float(torch.corrcoef(torch.stack([unit, label]))[0, 1]))
    assert float(MEASURES["cosine"](one)) == pytest.approx(float(torch.cosine_similarity(unit, label, 0)))
    assert float(MEASURES["balanced_accuracy"](one)) == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_which_pass():
    rows = {row.measure: row for row in sanity_tests(pairs())}
    assert [name for name, row in rows.items() if row.passes] == ["f1", "iou", "correlation", "cosine"]
    assert (rows["recall"].missing, rows["recall"].extra) == (0, 1)
    assert (rows["precision"].missing, rows["precision"].extra) == (1, 0)
    assert rows["accuracy"].missing < 0.9


def test_expectation_is_what_draws_give():
    """Of one unit and label, redrawn."""
    g, pixels = torch.Generator().manual_seed(1), 4000
    unit, label = torch.zeros(pixels, dtype=torch.bool), torch.zeros(pixels, dtype=torch.bool)
    unit[:300], label[100:500] = True, True
    both, count = int((unit & label).sum()), int(label.sum())
    where = {True: label.nonzero().flatten(), False: (~label).nonzero().flatten()}
    drawn = {True: [], False: []}
    for _ in range(300):
        for inside, places in where.items():
            chosen = places[torch.randperm(len(places), generator=g)[: count // 2 if inside else count]]
            worse = label.clone()
            worse[chosen] = not inside
            drawn[inside].append(int((unit & worse).sum()))
    assert sum(drawn[True]) / 300 == pytest.approx(both / 2, rel=0.02)
    assert sum(drawn[False]) / 300 == pytest.approx(both + (300 - both) * count / (pixels - count), rel=0.02)


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="sanity_tests: pairs must hold a unit and a label that share a pixel"):
        sanity_tests(Agreement(*(torch.tensor([n]) for n in (0, 3, 4, 10))))


def activations():
    """Of 40 units over 400 pixels, some of the same value, and their labels."""
    g = torch.Generator().manual_seed(3)
    labels = torch.rand(40, 400, generator=g) < 0.02 + 0.2 * torch.rand(40, 1, generator=g)
    return (torch.randn(40, 400, generator=g) + 1.5 * labels).mul(8).round() / 8, labels


def test_average_precision_of_activations_is_scikit_learns():
    maps, labels = activations()
    found = average_precision(activation_curves(maps, labels))
    expected = [average_precision_score(own, scores) for own, scores in zip(labels, maps)]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    one = activation_curves(maps, labels[0])
    assert torch.equal(one.label_area[:, 0], labels[0].sum().expand(40))
    assert average_precision(one)[0] == found[0]


@pytest.mark.parametrize("carries", [[0, 2, 5], [1, 3, 4, 6], [2]])
def test_expected_average_precision_is_the_mean_over_all_draws(carries):
    """Of eight pixels, every choice of half of the label, and of as many others, by scikit-learn."""
    scores = np.array([3.0, 1.0, 2.0, 2.0, 0.0, 5.0, 0.0, 4.0])
    label = np.isin(np.arange(8), carries)
    others = np.flatnonzero(~label)

    def of(chosen, whole):
        return average_precision_score(np.isin(np.arange(8), [*whole, *chosen]), scores)

    curves = activation_curves(torch.tensor(scores)[None], torch.tensor(label)[None])
    counts = _Counts(*(part.double().expand(curves.intersection.shape) for part in vars(curves).values()))
    before, missing, extra = (float(part) for part in _expected_precision(counts))
    half = combinations(carries, -(-len(carries) // 2))
    assert before == pytest.approx(of([], carries))
    assert missing == pytest.approx(np.mean([of(chosen, []) for chosen in half]))
    assert extra == pytest.approx(np.mean([of(chosen, carries) for chosen in combinations(others, len(carries))]))


def test_with_average_precision_five_pass():
    maps, labels = activations()
    at = torch.full((40,), 340)  # the top 15 %
    curves = activation_curves(maps + 2.0 * labels, labels)
    rows = curve_sanity_tests(curves, at)
    assert [row.measure for row in rows[:5]] == ["f1", "iou", "correlation", "cosine", "average_precision"]
    assert all(row.passes for row in rows[:5])
    assert not any(row.passes for row in rows if row.measure in ("precision", "recall"))
    level = Agreement(curves.intersection[:, 340], curves.unit_area[:, 340], curves.label_area[:, 0], curves.pixels)
    assert [row for row in rows if row.measure != "average_precision"] == list(sanity_tests(level))
    # Whatever the labels, a unit that fires at random is at most by chance in the test of extra labels.
    noise = curve_sanity_tests(activation_curves(torch.randn(maps.shape), labels), 340)
    assert not next(row for row in noise if row.measure == "average_precision").passes


def test_counts_of_a_sweep_are_those_of_activations():
    g = torch.Generator().manual_seed(5)
    maps = torch.randint(0, 6, (3, 2, 4, 4), generator=g).float()
    planes = (torch.rand(3, 1, 4, 4, generator=g) < 0.3).long()
    sweep = stats.ThresholdSweep(torch.arange(-1.0, 6).expand(2, 7).contiguous(), 2)
    sweep.add(maps, ops.encode_labels(planes, 2))
    both = sweep.agreement()
    pairs = Agreement(both.intersection[:, 1], both.unit_area[:, 0], both.label_area[1], both.pixels[0])
    curves = activation_curves(maps.transpose(0, 1).flatten(1), planes.flatten())
    assert torch.allclose(average_precision(pairs), average_precision(curves))
    fires = (curves.unit_area > both.unit_area[:, 0, 4:5]).sum(1)  # above the same value
    assert list(curve_sanity_tests(pairs, 4)) == list(curve_sanity_tests(curves, fires))


def test_curves_that_are_none_are_refused():
    maps, labels = activations()
    curves = activation_curves(maps, labels)
    for call, message in (
        (lambda: curve_sanity_tests(curves, 400), "curve_sanity_tests: at must be from 0 to 399"),
        (lambda: curve_sanity_tests(curves, torch.zeros(3).long()), "at must be an edge, or one of each of P=40"),
        (lambda: curve_sanity_tests(curves, 399), "curves must hold a unit and a label that share a pixel"),
        (lambda: curve_sanity_tests(stats.Agreement(*(torch.tensor([1]),) * 4), 0), r"curves must be counts \[P, B\]"),
        (lambda: activation_curves(maps[0], labels), r"activation_curves: activations must be floating \[P, M\]"),
        (lambda: activation_curves(maps, labels[:, 1:]), r"labels must have shape \[40, 400\], but have \[40, 399\]"),
        (lambda: activation_curves(maps / 0, labels), "activations must be numbers, but hold NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
