"""The label of each band of activations, and the second label, against masks in plain numpy."""

import numpy as np
import pytest
import torch
from small_dissection import Scenes, network, run

import dissect
from dissect.chosen import cycles, group_of
from dissect.dissection.formulas_result import UnitFormulas
from dissect.stats.bootstrap import drawn_again

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
SHARES = [0.2, 0.01, 0.05]
OPTIONS = {"batch_size": 5, "progress": False}


def shown(layer):
    """The layer's maps [N, U, H, W], which have the planes' size, and each label's masks [C, N, H, W]."""
    scenes, model = Scenes(), network()
    with torch.no_grad(), dissect.Trace(model, layer) as trace:
        maps = []
        for part in scenes.images.split(5):
            model(part)
            maps.append(trace[layer].clone())
    return torch.cat(maps).numpy(), np.stack([(scenes.planes == label).any(1).numpy() for label in range(5)])


def best(fires, labels):
    """The label from 1 on with the highest IoU, and that; 0 where none is above 0."""
    scores = [(fires & one).sum() / max(1, (fires | one).sum()) for one in labels[1:]]
    at = int(np.argmax(scores))
    return (1 + at, scores[at]) if scores[at] > 0 else (0, 0.0)


def test_bands_are_masks_between_levels():
    found = dissect.sweep(network(), "1", Scenes(), shares=SHARES, levels=6, **OPTIONS)
    maps, labels = shown("1")
    rows = list(found.bands())
    assert len(rows) == 4 * maps.shape[1]
    names = found.concepts.names
    for row in rows:
        values = maps[:, row.unit]
        inside = (values > row.low) & (values <= row.high)
        label, score = best(inside, labels)
        assert (row.concept, row.iou) == (names[label], pytest.approx(score, abs=1e-15))
        assert row.firing == inside.mean()
        assert row.precision == pytest.approx((inside & labels[label]).sum() / max(1, inside.sum()) if label else 0)
    for band, (top, share) in enumerate(((0.0, 0.01), (0.01, 0.05), (0.05, 0.2), (0.2, None))):
        own = rows[band::4]
        assert {(row.top, row.share) for row in own} == {(top, share)}
        assert [row.unit for row in own] == list(range(maps.shape[1]))
        if share:
            order = np.sort(maps.transpose(1, 0, 2, 3).reshape(maps.shape[1], -1), 1)[:, ::-1]
            rank = int(round(share * order.shape[1], 9))
            assert [row.low for row in own] == order[:, rank].tolist()
        else:
            assert {row.low for row in own} == {0.0}
    assert {row.concept for row in rows} - {"-"}


def test_a_band_that_no_activation_lies_in_names_nothing():
    found = dissect.sweep(torch.nn.Sequential(torch.nn.Threshold(0.5, 0.0)), "0", Scenes(), shares=[0.001, 0.9],
                          **OPTIONS)  # fmt: skip
    for row in found.bands():
        if row.top == 0.9:
            assert (row.firing, row.concept, row.iou, row.precision) == (0, "-", 0, 0)


@pytest.fixture(scope="module")
def doubted():
    """A sweep whose bands have a null and intervals; all levels alone."""
    return dissect.sweep(network(), "1", Scenes(), shares=SHARES, levels=2, decoys=3, resamples=40, seed=7, **OPTIONS)


def test_bands_have_p_values_of_planes_of_other_images(doubted):
    maps, labels = shown("1")
    others = cycles(3, len(maps), 7).numpy()
    rows = list(doubted.bands())
    null = np.zeros((4, maps.shape[1], 3))
    for at, row in enumerate(rows):
        inside = (maps[:, row.unit] > row.low) & (maps[:, row.unit] <= row.high)
        null[at % 4, row.unit] = [best(inside, labels[:, other])[1] for other in others]
    np.testing.assert_allclose(doubted["1"].bands.null.numpy().transpose(2, 1, 0), null, atol=1e-15)
    for at, row in enumerate(rows):
        assert row.p == pytest.approx((1 + (null[at % 4] >= row.iou - 1e-15).sum()) / (1 + null[0].size))
    assert len({row.p for row in rows}) > 3


def test_bands_have_intervals_over_images_that_are_drawn_again(doubted):
    maps, labels = shown("1")
    groups = group_of(torch.arange(len(maps)), 128).numpy()
    kept = np.unique(groups)
    times = drawn_again(len(kept), 40, 7).numpy()
    assert any(row.concept == "-" for row in doubted.bands())
    for row in doubted.bands():
        if row.concept == "-":
            assert (row.iou_low, row.iou_high) == (None, None)
            continue
        inside = (maps[:, row.unit] > row.low) & (maps[:, row.unit] <= row.high)
        own = labels[doubted.concepts.names.index(row.concept)]
        both, either = (part.sum((1, 2)) for part in (inside & own, inside | own))
        both, either = (np.array([part[groups == group].sum() for group in kept]) for part in (both, either))
        values = np.sort(times @ both / np.maximum(1, times @ either))
        assert (row.iou_low, row.iou_high) == pytest.approx((values[0], values[39]), abs=1e-15)


def test_evidence_of_bands_is_saved_and_may_be_missing(doubted, tmp_path):
    again = dissect.load(doubted.save(tmp_path / "a"))
    assert list(again.bands()) == list(doubted.bands())
    plain = dissect.sweep(network(), "1", Scenes(), shares=SHARES, levels=2, **OPTIONS)
    assert {row[-3:] for row in plain.bands()} == {(None, None, None)}
    assert [row[:-3] for row in plain.bands()] == [row[:-3] for row in doubted.bands()]
    only = dissect.sweep(network(), "1", Scenes(), shares=SHARES, levels=2, decoys=1, **OPTIONS)
    assert all(row.iou_low is None and row.p is not None for row in only.bands())


@pytest.mark.parametrize("left", [8, 70])  # in the survey, and in the counts
def test_evidence_of_bands_is_the_same_after_a_stop(doubted, tmp_path, monkeypatch, left):
    monkeypatch.setattr("dissect.files.progress.EVERY", 0.0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)

    class Stops(Scenes):
        def __getitem__(self, index):
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    options = {"shares": SHARES, "levels": 2, "decoys": 3, "resamples": 40, "seed": 7, "resume": tmp_path, **OPTIONS}
    with pytest.raises(KeyboardInterrupt):
        dissect.sweep(network(), "1", Stops(), memory_budget=40000, **options)
    with pytest.raises(ValueError, match="had the same options"):
        dissect.sweep(network(), "1", Scenes(), memory_budget=40000, **{**options, "decoys": 0, "resamples": 0})
    again = dissect.sweep(network(), "1", Scenes(), memory_budget=40000, **options)
    assert list(again.bands()) == list(doubted.bands())


@pytest.fixture(scope="module")
def explained():
    dissection = run()
    return dissection, dissect.formulas(network(), dissection, Scenes(), **OPTIONS)


def test_the_second_label_is_the_best_where_the_first_is_not(explained):
    dissection, found = explained
    maps, labels = shown("1")
    names = found.concepts.names
    for row in found.rows("1"):
        fires = maps[:, row.unit] > float(dissection["1"].thresholds[row.unit])
        first = names.index(row.concept)
        left = ~labels[first]
        second, score = best(fires & left, labels & left)
        assert row.also == (names[second] if second else "")
        assert row.also_iou == (pytest.approx(score, abs=1e-15) if second else None)
        assert row.also_firing == pytest.approx((fires & left).sum() / fires.sum())
    assert len({row.also for row in found.rows("1")}) > 1


def test_what_a_unit_says_is_saved_and_may_be_missing(explained, tmp_path):
    _, found = explained
    again = dissect.load(found.save(tmp_path / "a"))
    assert list(again.rows()) == list(found.rows())
    plain = {name: layer._replace(also=None, also_counts=None, also_null=None) for name, layer in found.layers.items()}
    older = dissect.load(UnitFormulas(plain, found.concepts, found.settings).save(tmp_path / "b"))
    assert {(row.also, row.also_iou, row.also_firing) for row in older.rows()} == {("", None, None)}
