"""What classes lose within bands of activation, against the network written out."""

import pytest
import torch
from torch import nn

from dissect.experiments import band_losses

UNITS = torch.tensor([[0, 3], [1, 2], [-1, -1]])


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()
    with torch.no_grad():
        model[0].bias[3] = -0.4  # 0 on most cells, so that its lower bands are empty
    return model, torch.rand(7, 3, 6, 6), torch.tensor([0, 1, 0, 0, 1, 2, 0])


def test_against_the_network_written_out(made):
    model, images, classes = made
    shares = [0.1, 0.5]
    rows = list(band_losses(model, "0", images, classes, UNITS, shares=shares, batch_size=3))
    with torch.no_grad():
        maps = model[0](images)

    def logits(maps):
        with torch.no_grad():
            return model[4](maps.clamp(min=0).mean((2, 3)))

    expected = []
    for number in (0, 1):
        own = classes == number
        for top, share in ((0.0, 0.1), (0.1, 0.5), (0.5, None), (None, None)):
            changed = maps.clone()
            for unit in UNITS[number].tolist():
                cells = maps[:, unit].flatten().sort(descending=True).values

                def level(share, cells=cells):
                    return max(0.0, float(cells[int(share * len(cells) + 1e-9)]))

                high = float("inf") if not top else level(top)
                low = 0.0 if share is None else level(share)
                inside = (maps[:, unit] > low) & (maps[:, unit] <= high)
                changed[:, unit][inside if top is not None else torch.ones_like(inside)] = 0
            before, after = logits(maps)[own], logits(changed)[own]
            recall, without = ((part.argmax(1) == number).double().mean() for part in (before, after))
            fall = float((before - after)[:, number].double().mean())
            expected.append((number, top, share, int(own.sum()), float(recall), float(without), fall))
    assert [row[:6] for row in rows] == [row[:6] for row in expected]
    for row, other in zip(rows, expected):
        assert row.fall == pytest.approx(other[6], abs=1e-6)
    assert any(row.fall != 0 for row in rows)


def test_refusals(made):
    model, images, classes = made
    with pytest.raises(ValueError, match=r"^band_losses: shares must rise within 0 and 1, but are \[0.5, 0.1\]"):
        band_losses(model, "0", images, classes, UNITS, shares=[0.5, 0.1])
    with pytest.raises(
        ValueError, match=r"units must be \[K=3, m\] below 4, the layer's units, but are \[3, 2\] up to 4"
    ):
        band_losses(model, "0", images, classes, UNITS + 1)
    with pytest.raises(ValueError, match=r"images must be \[N, 3, H, W\] and classes \[N\], but classes are \[2\]"):
        band_losses(model, "0", images, [0, 1], UNITS)
    with pytest.raises(ValueError, match="classes must be numbers below 3, the network's, but one is not"):
        band_losses(model, "0", images, classes + 1, UNITS)
    with pytest.raises(ValueError, match="units must be of a class that has images, but there is none"):
        band_losses(model, "0", images, classes, torch.full((3, 2), -1))
    with pytest.raises(ValueError, match="evaluation mode"):
        band_losses(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout()), "0", images, classes, UNITS)
    with pytest.raises(KeyError, match="no layer '9'"):
        band_losses(model, "9", images, classes, UNITS)
