"""Units as classifiers: AUROC and p-values against scipy, thresholds against a plain loop, bad input."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, false_discovery_control, mannwhitneyu
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from dissect.chosen import half_of, rank_keys
from dissect.stats.ranks import (
    NEITHER,
    WITH,
    WITHOUT,
    adjusted,
    balanced_sample,
    separation,
    threshold_classifier,
)


def drawn(images=120, units=4, concepts=3, steps=6):
    """Peaks with many ties, of which unit 0 follows concept 0; roles of all three kinds."""
    roles = torch.randint(-1, 2, (images, concepts))
    peaks = torch.randint(0, steps, (images, units)).float()
    peaks[:, 0] += roles[:, 0].clamp(min=0) * (steps / 2)
    return peaks, roles


@pytest.mark.parametrize("steps", [2, 6, 100_000])
def test_areas_and_p_values_are_those_of_other_libraries(steps):
    peaks, roles = drawn(steps=steps)
    found = separation(peaks, roles)
    for concept in range(3):
        own = roles[:, concept]
        used = own != NEITHER
        for unit in range(4):
            have, lack = (peaks[own == kind, unit].double().numpy() for kind in (WITH, WITHOUT))
            theirs = mannwhitneyu(have, lack, method="asymptotic")
            assert found.p[unit, concept].item() == pytest.approx(theirs.pvalue, rel=1e-9)
            area = roc_auc_score(own[used] == WITH, peaks[used, unit])
            assert found.auroc[unit, concept].item() == pytest.approx(area, rel=1e-12)
        assert (found.present[concept], found.absent[concept]) == ((own == WITH).sum(), (own == WITHOUT).sum())
    assert found.p[0, 0] < 1e-3
    assert found.auroc[0, 0] > 0.6


def test_rates_are_those_of_another_library():
    p = torch.rand(7, 9, dtype=torch.float64) ** 3
    theirs = false_discovery_control(p.numpy(), axis=None).reshape(7, 9)
    assert np.allclose(adjusted(p).numpy(), theirs, rtol=1e-12)


def test_what_is_no_test_does_not_count_among_them():
    p = torch.tensor([0.01, math.nan, 0.04], dtype=torch.float64)
    assert adjusted(p)[[0, 2]].tolist() == [0.02, 0.04]
    assert adjusted(p)[1].isnan()
    assert adjusted(p[1:2]).isnan().all()
    assert adjusted(p[:0]).shape == (0,)


def test_a_concept_of_too_few_images_is_empty_and_says_how_many():
    peaks, roles = drawn()
    roles[:, 1] = WITH
    roles[:9, 1] = WITHOUT
    found = separation(peaks, roles)
    for values in (found.auroc, found.p, found.q):
        assert values[:, 1].isnan().all()
    assert found.absent[1] == 9
    others = separation(peaks, roles[:, [0, 2]])
    assert torch.equal(found.q[:, [0, 2]], others.q)
    assert not others.q.isnan().any()
    assert not separation(peaks, roles, least=9).auroc.isnan().any()


def test_a_constant_unit_separates_nothing():
    peaks, roles = drawn()
    peaks[:, 2] = 0.1
    found = separation(peaks, roles)
    assert (found.auroc[2] == 0.5).all()
    assert (found.p[2] == 1).all()


def test_the_classifier_against_a_plain_loop():
    peaks, roles = drawn(images=400)
    numbers = torch.randperm(1000)[:400]
    unit, role = peaks[:, 0], roles[:, 0]
    found = threshold_classifier(unit, role, numbers)
    kinds = {kind: [at for at in range(400) if role[at] == kind] for kind in (WITH, WITHOUT)}
    size = min(map(len, kinds.values()))
    sample = [at for kind in kinds.values() for at in sorted(kind, key=lambda a: int(rank_keys(numbers[[a]])))[:size]]
    halves = [[at for at in sample if int(half_of(numbers[[at]])) == half] for half in (0, 1)]
    assert found.counts == tuple(sum(int(role[at]) == kind for at in h) for h in halves for kind in (1, 0))
    levels = sorted({float(unit[at]) for at in halves[0]})
    scored = [
        (balanced_accuracy_score(role[halves[0]], unit[halves[0]] > (low + high) / 2), -(low + high) / 2)
        for low, high in pairwise(levels)
    ]
    accuracy, threshold = max(scored)
    assert (found.chosen_on, found.threshold) == (pytest.approx(accuracy), -threshold)
    held_out = balanced_accuracy_score(role[halves[1]], unit[halves[1]] > found.threshold)
    assert found.accuracy == pytest.approx(held_out)
    assert found.low < found.accuracy < found.high


def test_a_sample_is_balanced_and_no_larger_than_asked_for():
    roles, numbers = torch.tensor([WITH] * 30 + [WITHOUT] * 50 + [NEITHER] * 9), torch.randperm(89)
    every, some = balanced_sample(roles, numbers), balanced_sample(roles, numbers, most=7)
    assert sorted(every[roles[every] == WITH].tolist()) == list(range(30))
    assert [int((roles[part] == kind).sum()) for part in (every, some) for kind in (WITH, WITHOUT)] == [30, 30, 7, 7]
    assert set(some.tolist()) < set(every.tolist())
    assert (numbers[every].diff() > 0).all()
    found = threshold_classifier(torch.rand(89), roles, numbers, least=1, most=7)
    assert sum(found.counts) == 14
    assert (found.low, found.high) == (None, None)


def test_of_equally_good_thresholds_the_lowest():
    """Three quarters both at 0.5 and at 2.5: each of four peaks is equally frequent in both halves."""
    numbers = torch.arange(4000)
    halves = [numbers[half_of(numbers) == half][:80] for half in (0, 1)]
    peaks = torch.arange(160).remainder(4).float()
    found = threshold_classifier(peaks, peaks.long() % 2, torch.cat(halves))
    assert (found.threshold, found.chosen_on, found.accuracy) == (0.5, 0.75, 0.75)


def test_the_order_of_images_does_not_matter():
    peaks, roles = drawn(images=300)
    numbers, order = torch.arange(300) * 3, torch.randperm(300)
    here = threshold_classifier(peaks[:, 0], roles[:, 0], numbers)
    assert here == threshold_classifier(peaks[order, 0], roles[order, 0], numbers[order])


def test_the_interval_is_as_wide_as_theory_says():
    role, numbers = torch.arange(4000) % 2, torch.arange(4000)
    peak = (role.bool() ^ (torch.rand(4000) < 0.2)).float()  # right in 80 %
    found = threshold_classifier(peak, role, numbers, most=2000)
    width = 2 * 1.96 * math.sqrt(0.8 * 0.2 / 2000)
    assert found.high - found.low == pytest.approx(width, rel=0.15)


def test_an_interval_without_errors_is_no_point():
    found = threshold_classifier(torch.arange(400.0), torch.arange(400) // 200, torch.arange(400))
    assert (found.accuracy, found.high) == (1, 1)
    counts = found.counts[2:]
    ends = [binomtest(count, count).proportion_ci(method="wilson").low for count in counts]
    assert found.low == pytest.approx(1 - math.hypot(1 - ends[0], 1 - ends[1]) / 2, abs=1e-6)


def test_bad_input():
    peaks, roles = drawn()
    numbers = torch.arange(120)
    with pytest.raises(ValueError, match="same images"):
        separation(peaks[:5], roles)
    with pytest.raises(ValueError, match="finite"):
        separation(torch.full_like(peaks, math.nan), roles)
    with pytest.raises(ValueError, match=r"1 \(with\), 0"):
        separation(peaks, roles + 5)
    with pytest.raises(ValueError, match="least asks for 10 images"):
        threshold_classifier(peaks[:20, 0], roles[:20, 0], numbers[:20])
    with pytest.raises(ValueError, match="with and 0 without"):
        threshold_classifier(peaks[:, 0], torch.ones(120), numbers)
    with pytest.raises(ValueError, match=r"the unit's peak is 3\.0 in all"):
        threshold_classifier(torch.full((120,), 3.0), roles[:, 0], numbers)
    with pytest.raises(ValueError, match="same images"):
        threshold_classifier(peaks, roles[:, 0], numbers)
    with pytest.raises(ValueError, match="numbers must"):
        threshold_classifier(peaks[:, 0], roles[:, 0], numbers[:7])
