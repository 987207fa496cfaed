"""Importance beside IoU and correlation, on tables worked out by hand."""

import math
import signal

import numpy as np
import pytest
import scipy.stats
import torch
from stopping import gone_on
from torch import nn

from dissect.experiments import (
    Combination,
    clearest_combinations,
    iou_by_classes,
    iou_by_importance,
    mean_importance,
    overlapping_combinations,
    peak_correlation,
    rank_correlation,
    sign_shares,
)
from dissect.experiments.relations import PeaksAndShares, correlation

from .conftest import make_importance

IOU = torch.tensor([0.10, 0.20, 0.30, 0.40, 0.50])


def test_iou_by_the_number_of_classes(importance):
    # Top 2: class 0 has units 0 1, class 1 has 0 2, class 2 has 2 1, class 3 has 3 4.
    rows = iou_by_classes(importance, IOU, k=2, most=3)
    assert [(row.classes, row.units) for row in rows] == [("0", 0), ("1", 2), ("2", 3), ("3+", 0)]
    assert rows[0].iou is None
    assert rows[1].iou == pytest.approx(0.45)
    assert rows[2].iou == pytest.approx(0.20)


def test_the_last_row_pools_all_that_are_important_to_more(importance):
    rows = iou_by_classes(importance, IOU, k=2, most=1)
    assert [(row.classes, row.units) for row in rows] == [("0", 0), ("1+", 5)]
    assert rows[1].iou == pytest.approx(0.30)


def test_iou_in_buckets_of_mean_importance(importance):
    # Means: 0.125, 0.075, 0.075, 0.1075, 0.065.
    assert mean_importance(importance).tolist() == pytest.approx([0.125, 0.075, 0.075, 0.1075, 0.065])
    rows = iou_by_importance(importance, IOU, buckets=2)
    assert [row.units for row in rows] == [3, 2]
    assert rows[0].importance == pytest.approx((0.065 + 0.075 + 0.075) / 3)
    assert rows[0].iou == pytest.approx((0.5 + 0.2 + 0.3) / 3)
    assert rows[1].iou == pytest.approx((0.4 + 0.1) / 2)


def test_classes_without_images_have_no_part():
    importance = make_importance([[0.3, 0.1, 0.2], [0.1, 0.1, 0.1], [0.0, 0.4, 0.3]], images=[1000, 0, 1000])
    assert mean_importance(importance).tolist() == pytest.approx([0.25, 0.1, 0.15])
    assert [row.units for row in iou_by_classes(importance, IOU[:3], k=1, most=1)] == [1, 2]
    shares = sign_shares(importance, torch.tensor([[0.5, -1.0, 0.5], [-0.5, -1.0, 0.5], [0.5, -1.0, -0.5]]), k=1)
    assert [(row.units, row.pairs, row.negative) for row in shares] == [("important", 2, 0.5), ("other", 4, 0.25)]
    assert overlapping_combinations(importance, k=1) == []


def test_shares_of_negative_correlations(importance):
    values = torch.full((5, 4), -0.5, dtype=torch.float64)
    values[0, 0] = values[3, 3] = 0.5
    values[4, 3] = math.nan
    important, other = sign_shares(importance, values, k=2)
    assert important == ("important", 7, pytest.approx(5 / 7), pytest.approx(-1.5 / 7))
    assert other == ("other", 12, 1.0, -0.5)


def test_combinations_of_three(importance):
    # Unit 0 serves classes 0 and 1, unit 2 serves 1 and 2, unit 1 serves 0 and 2; the weakest is unit 2 in class 1.
    assert overlapping_combinations(importance, k=2) == [Combination((0, 1, 2), (0, 2, 1), pytest.approx(0.1))]


def test_a_unit_important_to_all_three_classes_tells_none_apart():
    table = torch.zeros(4, 3)
    table[0] = 0.4
    table[1, [0, 1]] = table[2, [1, 2]] = 0.3
    table[3, 0] = 0.1  # keeps unit 3 from being important to two classes that lack a third
    assert overlapping_combinations(make_importance(table), k=2) == []


def test_combinations_come_in_the_order_of_their_weakest_drop():
    strong = torch.tensor([[0.4, 0.4, 0.0], [0.0, 0.3, 0.3], [0.4, 0.0, 0.4]])
    table = torch.zeros(6, 6)
    table[:3, :3], table[3:, 3:] = strong / 2, strong
    found = overlapping_combinations(make_importance(table), k=2)
    assert [part.classes for part in found] == [(3, 4, 5), (0, 1, 2)]
    assert [part.weakest for part in found] == pytest.approx([0.3, 0.15])


def test_correlations_are_numpys():
    first, second = torch.randn(30, 3), torch.randn(30, 2)
    expected = np.corrcoef(first.T.double(), second.T.double())[:3, 3:]
    assert correlation(first, second).numpy() == pytest.approx(expected)
    first[:, 1] = 0.1
    assert correlation(first, second).isnan().tolist() == [[False] * 2, [True] * 2, [False] * 2]


def test_rank_correlation_is_scipys():
    first = torch.tensor([3.0, 1.0, 1.0, 2.0, 5.0, 5.0, 5.0])
    second = torch.tensor([0.1, 0.2, 0.2, 0.7, 0.3, 0.9, 0.8])
    expected = scipy.stats.spearmanr(first, second).statistic
    assert rank_correlation(first, second) == pytest.approx(expected)


class OfPeaks(nn.Module):
    """Logits that are what its layer `conv` gives, at their peaks."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Identity()

    def forward(self, images):
        return self.conv(images).amax((2, 3))


def test_peaks_and_softmax_scores():
    images = torch.zeros(5, 2, 4, 4)
    images[torch.arange(5), 0, torch.arange(5) % 4, 0] = torch.tensor([0.5, 1.0, 2.0, 3.0, 4.0])
    found = peak_correlation(OfPeaks().eval(), "conv", images, batch_size=2, progress=False)
    peaks = images.amax((2, 3)).double()
    expected = np.corrcoef(peaks[:, 0], peaks.softmax(1)[:, 0])[0, 1]
    assert found[0].tolist() == pytest.approx([expected, -expected])
    assert found[1].isnan().all()  # unit 1 never varies


class Photos(list):
    """Batches that can be told from others."""

    def fingerprint(self):
        return "photos"


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    images = torch.rand(7, 2, 4, 4, generator=torch.Generator().manual_seed(0))

    def found(**options):
        return peak_correlation(OfPeaks().eval(), "conv", images, batch_size=2, progress=False, **options)

    for again in gone_on(PeaksAndShares, 4, found, tmp_path, monkeypatch):
        assert torch.equal(again, found())
    with pytest.raises(ValueError, match="resume must name a folder whose run had the same batch_size"):
        peak_correlation(OfPeaks().eval(), "conv", images, batch_size=3, resume=tmp_path / "1", progress=False)


def test_a_batch_that_has_changed_is_refused(tmp_path, monkeypatch):
    photos = Photos(torch.rand(3, 2, 2, 4, 4, generator=torch.Generator().manual_seed(0)))
    with monkeypatch.context() as patched:
        patched.setattr(PeaksAndShares, "end_visit", lambda self: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            peak_correlation(OfPeaks().eval(), "conv", photos, resume=tmp_path, progress=False)
    photos[1] = photos[1] + 1
    with pytest.raises(ValueError, match="images must be the same at every visit, but those of batch 1 have changed"):
        peak_correlation(OfPeaks().eval(), "conv", photos, resume=tmp_path, progress=False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: iou_by_classes(i, IOU[:4]), r"unit_iou must have shape \[U=5\], of importance, but got \[4\]"),
        (lambda i: iou_by_classes(i, IOU, k=0), r"k must be in \[1, 5\], but got 0"),
        (lambda i: overlapping_combinations(i, k=6), r"k must be in \[1, 5\], but got 6"),
        (lambda i: iou_by_importance(i, IOU, 6), r"buckets must be in \[1, 5\], but got 6"),
        (lambda i: sign_shares(i, torch.zeros(4, 5)), r"must have shape \[U, C\]=\[5, 4\], of importance, but got"),
        (
            lambda i: peak_correlation(OfPeaks(), "conv", torch.zeros(1, 2, 4, 4)),
            "must be in evaluation mode, but it",
        ),
        (
            lambda i: peak_correlation(OfPeaks().eval(), "conv", []),
            "images must hold at least one batch",
        ),
    ],
)
def test_what_is_refused(importance, call, message):
    with pytest.raises(ValueError, match=message):
        call(importance)


def test_combinations_to_show():
    found = [
        Combination(classes, (0, 1, 2), weakest)
        for classes, weakest in (
            ((0, 1, 2), 0.4),
            ((1, 2, 3), 0.3),
            ((3, 4, 5), 0.2),
            ((0, 3, 6), 0.1),
            ((6, 7, 8), 0.0),
        )
    ]
    assert clearest_combinations(found) == [found[0], found[2], found[3]]
    assert clearest_combinations(found, 1) == found[:1]
    assert clearest_combinations(found, 9, least=0.2) == [found[0], found[2]]
    assert clearest_combinations([]) == []
