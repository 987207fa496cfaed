"""The sweep over thresholds: measures against scikit-learn and numpy, the state's laws, errors."""

import math

import numpy as np
import pytest
import torch

from dissect import Grid, ops, stats
from dissect.reference import upsample

sklearn = pytest.importorskip("sklearn.metrics")

CATEGORIES = ("-", "object", "object", "color", "part")


def problem(images=6, units=5):
    """Maps, labels of four concepts, of which one is in no image and one in some images only, and edges."""
    generator = torch.Generator().manual_seed(4)
    maps = torch.randn(images, units, 4, 5, generator=generator)
    planes = torch.randint(0, 4, (images, 2, 12, 15), generator=generator)
    planes[::2][planes[::2] == 3] = 0
    edges = stats.edges_between(torch.full((units,), 0.3), maps.amax((0, 2, 3)), 16)
    return maps, planes, edges


def swept(maps, planes, edges, **options):
    sweep = stats.ThresholdSweep(edges, len(CATEGORIES), **options)
    sweep.add(maps, ops.encode_labels(planes, len(CATEGORIES)))
    return sweep


def masks(maps, planes, edges, unit, label, edge, images=None):
    """Two flat boolean arrays."""
    images = images or slice(None)
    grid = Grid.half_pixel(maps.shape[2:], planes.shape[2:])
    fires = upsample(maps[images, unit], grid.rows, grid.columns) > edges[unit, edge]
    return fires.flatten().numpy(), (planes[images] == label).any(1).flatten().numpy()


@pytest.mark.parametrize("label", [1, 2, 3])
@pytest.mark.parametrize("edge", [0, 7, 15])
def test_measures_are_scikit_learns(label, edge):
    maps, planes, edges = problem()
    agreement = swept(maps, planes, edges).agreement()
    for unit in range(len(edges)):
        fires, carries = masks(maps, planes, edges, unit, label, edge)
        expected = {
            "iou": sklearn.jaccard_score(carries, fires),
            "f1": sklearn.f1_score(carries, fires),
            "precision": sklearn.precision_score(carries, fires),
            "recall": sklearn.recall_score(carries, fires),
            "accuracy": sklearn.accuracy_score(carries, fires),
            "mutual_information": sklearn.mutual_info_score(carries, fires),
        }
        for name, value in expected.items():
            assert getattr(agreement, name)()[unit, label, edge].item() == pytest.approx(value, abs=1e-12), name


def test_information_is_that_of_a_transcription():
    maps, planes, edges = problem()
    agreement = swept(maps, planes, edges).agreement()
    entropy, quality = agreement.joint_entropy(), agreement.information_quality()
    for unit, label, edge in ((0, 1, 0), (1, 2, 5), (4, 3, 9)):
        fires, carries = masks(maps, planes, edges, unit, label, edge)
        p = np.array([[(a & b).mean() for b in (carries, ~carries)] for a in (fires, ~fires)])
        joint = -(p * np.log(p)).sum()
        mutual = (p * np.log(p / (p.sum(1, keepdims=True) * p.sum(0)))).sum()
        assert entropy[unit, label, edge].item() == pytest.approx(joint)
        assert quality[unit, label, edge].item() == pytest.approx(mutual / joint)


def test_average_precision_is_scikit_learns():
    maps, planes, edges = problem()
    found = swept(maps, planes, edges).average_precision()
    for unit in range(len(edges)):
        exceeded = sum(masks(maps, planes, edges, unit, 1, edge)[0].astype(int) for edge in range(edges.shape[1]))
        for label in (1, 2, 3):
            carries = masks(maps, planes, edges, unit, label, 0)[1]
            assert found[unit, label].item() == pytest.approx(sklearn.average_precision_score(carries, exceeded))


def test_what_is_nowhere_or_everywhere_has_numbers():
    tables = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 9], [0, 4, 0, 9], [0, 0, 4, 9], [9, 9, 9, 9], [4, 4, 9, 9]])
    agreement = stats.Agreement(*tables.T)
    names = ("iou", "f1", "precision", "recall", "accuracy", "mutual_information", "joint_entropy")
    found = {name: getattr(agreement, name)().tolist() for name in (*names, "information_quality")}
    assert all(math.isfinite(value) for values in found.values() for value in values)
    assert found["mutual_information"] == [0] * 6
    assert found["information_quality"] == [0] * 6
    assert found["iou"] == [0, 0, 0, 0, 1, 4 / 9]
    assert found["precision"] == [0, 0, 0, 0, 1, 1]
    assert found["recall"] == [0, 0, 0, 0, 1, 4 / 9]
    assert found["accuracy"] == [0, 1, 5 / 9, 5 / 9, 1, 4 / 9]
    same = stats.Agreement(*(torch.tensor(n) for n in (5, 5, 5, 20)))
    assert same.information_quality().item() == pytest.approx(1)


def test_a_label_that_is_in_no_image():
    maps, planes, edges = problem()
    sweep = swept(maps, planes, edges)
    assert (sweep.average_precision()[:, 4] == 0).all()
    informative = sweep.informative(least_share=0.0)
    assert torch.isinf(informative.thresholds[:, 4]).all()
    assert (informative.information_quality[:, 4] == 0).all()
    assert (informative.iou[:, 0] == 0).all()


def test_scope_category_counts_only_images_of_the_category():
    maps, planes, edges = problem()
    agreement = swept(maps, planes, edges, categories=CATEGORIES).agreement()
    odd = slice(1, None, 2)  # where label 3, the only color, is
    for unit in range(len(edges)):
        fires, carries = masks(maps, planes, edges, unit, 3, 4, odd)
        assert agreement.iou()[unit, 3, 4].item() == pytest.approx(sklearn.jaccard_score(carries, fires))
        assert agreement.accuracy()[unit, 3, 4].item() == pytest.approx((fires == carries).mean())
    tally = stats.IouTally(edges[:, 4].contiguous(), len(CATEGORIES))
    tally.add(maps, planes, torch.arange(len(maps)))
    assert torch.equal(agreement.iou()[..., 4], tally.iou("category", CATEGORIES))


def test_at_every_edge_the_iou_is_that_of_a_tally():
    maps, planes, edges = problem()
    scores = swept(maps, planes, edges).agreement().iou()
    for b, thresholds in enumerate(edges.unbind(1)):
        tally = stats.IouTally(thresholds.contiguous(), len(CATEGORIES))
        tally.add(maps, planes, torch.arange(len(maps)))
        assert torch.equal(scores[..., b], tally.iou())


def test_the_most_informative_threshold():
    maps, planes, edges = problem()
    sweep = swept(maps, planes, edges - 0.6)  # some edges below 0
    found = sweep.informative(least_accuracy=0.5, least_share=0.2)
    agreement = sweep.agreement()
    quality, accuracy = agreement.information_quality(), agreement.accuracy()
    share = (agreement.label_area / agreement.pixels).expand(quality.shape)
    some = 0
    for unit in range(len(edges)):
        for label in range(1, len(CATEGORIES)):
            allowed = [
                (-quality[unit, label, b].item(), b)
                for b in range(edges.shape[1])
                if sweep.edges[unit, b] > 0 and accuracy[unit, label, b] > 0.5 and share[unit, label, b] >= 0.2
            ]
            if not allowed:
                assert found.thresholds[unit, label] == math.inf
                continue
            some += 1
            best = min(allowed)[1]
            assert found.thresholds[unit, label] == sweep.edges[unit, best]
            assert found.information_quality[unit, label] == quality[unit, label, best]
            assert found.iou[unit, label] == agreement.iou()[unit, label, best]
            assert found.accuracy[unit, label] == accuracy[unit, label, best]
    assert some > 5
    part = sweep.informative(slice(1, 3), least_accuracy=0.5, least_share=0.2)
    assert all(torch.equal(one, whole[1:3]) for one, whole in zip(part, found))


def states_equal(one, other):
    return all(torch.equal(one[k], other[k]) if isinstance(one[k], torch.Tensor) else one[k] == other[k] for k in one)


def test_split_merged_saved_or_shuffled_it_is_the_same(tmp_path):
    maps, planes, edges = problem()
    options = {"categories": CATEGORIES, "grid": Grid.half_pixel((4, 5), (12, 15), border="zeros")}
    whole = swept(maps, planes, edges, **options)
    first, second = (swept(maps[part], planes[part], edges, **options) for part in (slice(4, 6), slice(0, 3)))
    second.save(tmp_path / "sweep")
    resumed = stats.ThresholdSweep(edges, len(CATEGORIES), **options)
    resumed.load(tmp_path / "sweep")
    resumed.add(maps[3:4], ops.encode_labels(planes[3:4], len(CATEGORIES)))
    first.merge(resumed)
    assert states_equal(first.state_dict(), whole.state_dict())
    block = swept(maps[:, 2:4], planes, edges[2:4], **options)
    assert torch.equal(block.agreement().iou(), whole.agreement(slice(2, 4)).iou())


def test_errors():
    maps, planes, edges = problem()
    sweep = swept(maps, planes, edges)
    with pytest.raises(ValueError, match="ThresholdSweep: edges must rise and not be NaN, but those of unit 0"):
        stats.ThresholdSweep(edges.flip(1), 5)
    with pytest.raises(ValueError, match="categories must be of C=5 labels, but are of 2"):
        stats.ThresholdSweep(edges, 5, categories=("-", "object"))
    with pytest.raises(ValueError, match="states to merge must agree, but their edges differs"):
        sweep.merge(stats.ThresholdSweep(edges + 1, 5))
    with pytest.raises(ValueError, match="states to merge must agree, but their labels differs"):
        sweep.merge(stats.ThresholdSweep(edges, 5, categories=CATEGORIES))
    state = sweep.state_dict()
    with pytest.raises(ValueError, match="its edges are this state's"):
        stats.ThresholdSweep(edges + 1, 5).load_state_dict(state)
    for name, change in (("bins", 1 << 20), ("label_area", 1 << 20), ("unit_bins", 1 << 20)):
        with pytest.raises(ValueError, match="ThresholdSweep: the state does not fit together"):
            stats.ThresholdSweep(edges, 5).load_state_dict({**state, name: state[name] + change})
    with pytest.raises(ValueError, match="edges_between: count must be at least 1"):
        stats.edges_between(torch.ones(1), torch.ones(1), 0)
    with pytest.raises(ValueError, match="no highest value below the lowest"):
        stats.edges_between(torch.ones(1), torch.zeros(1))
