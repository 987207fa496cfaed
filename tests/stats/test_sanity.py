"""Sanity tests of measures."""

import pytest
import torch

from dissect.stats import Agreement, sanity_tests
from dissect.stats.sanity import MEASURES, _Counts


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
