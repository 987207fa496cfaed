"""Third parties: scipy's interpolation and scikit-learn's scores, which know nothing of this library."""

import numpy as np
import pytest
import torch

from dissect import Grid, ops
from dissect.reference import upsample
from dissect.stats import TailThreshold, iou

ndimage = pytest.importorskip("scipy.ndimage")
metrics = pytest.importorskip("sklearn.metrics")


@pytest.mark.parametrize("border", ["edge", "zeros"])
def test_scipy_interpolates_alike(border):
    maps, target = torch.randn(6, 9), (25, 40)
    rows, columns = ((np.arange(t) + 0.5) * s / t - 0.5 for s, t in zip(maps.shape, target))
    mode = {"edge": "nearest", "zeros": "constant"}[border]
    where = np.meshgrid(rows, columns, indexing="ij")
    if border == "zeros":  # scipy's constant mode drops to 0 at once; a ring of zeros makes it fall linearly
        padded, where = np.pad(maps.double().numpy(), 1), [axis + 1 for axis in where]
    else:
        padded = maps.double().numpy()
    expected = ndimage.map_coordinates(padded, where, order=1, mode=mode)
    grid = Grid.half_pixel(tuple(maps.shape), target, border=border)
    ours = upsample(maps[None, None], grid.rows, grid.columns)[0, 0]
    assert np.abs(ours.double().numpy() - expected).max() < 1e-5


def test_scikit_learn_scores_alike():
    maps, planes = torch.randn(4, 6, 5, 5), torch.randint(0, 4, (4, 1, 5, 5))
    counts = ops.iou_counts(maps, torch.zeros(6), planes, 4)
    scores = iou(counts.intersection, counts.unit_area.sum(0), counts.label_area.sum(0))
    for unit in range(6):
        for label in range(1, 4):
            expected = metrics.jaccard_score((planes[:, 0] == label).flatten(), (maps[:, unit] > 0).flatten())
            assert scores[unit, label].item() == pytest.approx(expected, rel=1e-12)


def test_numpy_sorts_alike():
    maps = torch.randn(3, 2, 20, 20)
    state = TailThreshold(0.02, positions="feature")
    while True:
        state.add(maps)
        if state.advance():
            break
    values = np.sort(maps.numpy().transpose(1, 0, 2, 3).reshape(2, -1), axis=1)[:, ::-1]
    assert state.threshold().tolist() == values[:, 24].tolist()  # 24 of 1,200 may be above
