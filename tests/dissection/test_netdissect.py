"""The preset tpami2018 against NetDissect's own way, written down with scipy's splines, which know nothing of grids."""

import numpy as np
import pytest
import torch
from torch import nn

import dissect

interpolate = pytest.importorskip("scipy.interpolate")

CONCEPTS = [("sky", "object"), ("tree", "object"), ("green", "color")]


def network():
    """The shape of AlexNet's beginning: of 47 pixels 23, 11 and 11."""
    torch.manual_seed(8)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 10, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(10 * 11 * 11, 4),
    ).eval()  # fmt: skip
    nn.init.normal_(model[3].weight)
    model[3].weight.data -= model[3].weight.mean((2, 3), keepdim=True)  # each unit is below 0 in half of its cells
    return model


def places(cells, reduction):
    """Where NetDissect puts the cells: fields composed layer by layer, (offset, size, step)."""
    offset, size, step = 0, 1, 1
    for kernel, stride, padding in ((5, 2, 1), (3, 2, 0), (3, 1, 1)):
        offset, size, step = -padding * step + offset, (kernel - 1) * step + size, stride * step
    return (size // 2 + offset) // reduction + np.arange(cells) * (step // reduction)


def upsampled(maps, height, width):
    """Linear splines through the cells, at every pixel; outside they go on as at the end."""
    at = places(maps.shape[-1], round(47 / width))
    spline = [interpolate.RectBivariateSpline(at, at, one, kx=1, ky=1) for one in maps.reshape(-1, *maps.shape[2:])]
    return np.stack([one(np.arange(height), np.arange(width)) for one in spline]).reshape(*maps.shape[:2], height, -1)


def test_tpami2018_is_netdissect():
    model = network()
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(12, 3, 47, 47, generator=generator)
    # Blobs of planes, so that labels and maps lie over one another.
    smooth = nn.functional.avg_pool2d(images, 3, 2, 1)[:, :2, :23, :23]
    planes = torch.stack([(smooth[:, 0] > 0.5) + (smooth[:, 0] > 0.6).long(), 3 * (smooth[:, 1] > 0.5)], 1)
    planes[:4, 1] = 0  # images without a color
    found = dissect.dissect(
        model, "3", [(images, planes)], concepts=CONCEPTS, preset="tpami2018", fraction=0.05, progress=False
    )["3"]

    with torch.no_grad():
        maps = model[:5](images).numpy()
    values = upsampled(maps.astype(np.float64), 23, 23).astype(np.float32)
    level = found.thresholds.numpy()[:, None, None]
    assert (level > 0).all()
    assert np.array_equal(level[:, 0, 0], np.sort(maps.transpose(1, 0, 2, 3).reshape(10, -1))[:, -1 - 1452 // 20])
    fires = values > level
    ties = np.abs(values - level) < 1e-6
    assert ties.sum() < 1e-3 * ties.size  # a unit's threshold is one of its cells
    masks = np.stack([found.masks(unit).numpy() for unit in range(10)])
    top = found.peak_images.numpy()
    for unit in range(10):
        sure = ~ties[top[unit], unit]
        assert np.array_equal(masks[unit][sure], fires[top[unit], unit][sure])

    carried = np.stack([(planes.numpy() == label).any(1) for label in (1, 2, 3)], 1)
    objects, colors = carried[:, :2].any((1, 2, 3)), carried[:, 2].any((1, 2))
    assert not colors.all()
    for label, shown in ((1, objects), (2, objects), (3, colors)):
        truth = carried[:, label - 1]
        both = (fires & truth[:, None]).sum((0, 2, 3))
        union = fires[shown].sum((0, 2, 3)) + truth.sum() - both
        assert np.array_equal(both, found.intersection[:, label])
        assert found.iou[:, label].numpy() == pytest.approx(both / union, abs=1e-12)
