"""Units at their most informative thresholds, against a plain loop over masks."""

import math

import pytest
import torch
from torch import nn

from dissect import Concepts
from dissect.experiments import matching_units

CONCEPTS = Concepts.of([("car", "object"), ("tree", "object"), ("red", "color")])
FRACTIONS = (0.1, 0.25, 0.5)


@pytest.fixture(scope="module")
def made():
    """z that are their own maps and images, and planes in which concepts follow some of the units."""
    z = torch.rand(6, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    planes = torch.zeros(6, 2, 8, 8, dtype=torch.int64)
    planes[:, 0][z[:, 0] > 0.7] = 1
    planes[:, 0][(z[:, 1] > 0.6) & (z[:, 0] <= 0.7)] = 2
    planes[:, 1][z[:, 2] < 0.3] = 3  # where unit 2 does not fire
    return z, planes


def found(made, **options):
    z, planes = made
    at = iter(planes.split(4))
    return matching_units(
        nn.Sequential(nn.Identity()), "0", z, lambda _: next(at), CONCEPTS,
        **{"fractions": FRACTIONS, "batch_size": 4} | options,
    )  # fmt: skip


def entropy(*shares):
    return -sum(float(p) * math.log(p) for p in shares if p > 0)


def plainly(made, unit, labels, least_iou=0.05, least_accuracy=0.75):
    """The label, the IoU and the ratio of a unit, by the definition."""
    z, planes = made
    best = (0.0, 0, 0.0)
    values = z[:, unit].flatten()
    for label in labels:
        shown = (planes == label).any(1).flatten()
        for fraction in FRACTIONS:
            fires = values > values.sort(descending=True).values[int(fraction * len(values))]
            p, q, both = (float(mask.double().mean()) for mask in (fires, shown, fires & shown))
            cells = (both, p - both, q - both, 1 - p - q + both)
            mutual = entropy(p, 1 - p) + entropy(q, 1 - q) - entropy(*cells)
            if cells[0] + cells[3] > least_accuracy and both > p * q and mutual / entropy(*cells) > best[0] + 1e-12:
                best = (mutual / entropy(*cells), label, both / (p + q - both))
    ratio, label, overlap = best
    return (label, overlap, ratio) if overlap > least_iou else (0, 0.0, 0.0)


def test_as_by_hand(made):
    result = found(made)
    assert result.labels.tolist()[:2] == [1, 2]
    for unit, row in enumerate(zip(*(part.tolist() for part in result))):
        assert row == pytest.approx(plainly(made, unit, (1, 2, 3)), abs=1e-12), unit
    assert 0 in result.labels[2:]


def test_rules(made):
    strict = found(made, least_iou=0.9, least_accuracy=0.5)
    for unit in range(5):
        assert int(strict.labels[unit]) == plainly(made, unit, (1, 2, 3), 0.9, 0.5)[0]
    assert not strict.labels[1]
    colors = found(made, categories=["color"])
    assert set(colors.labels.tolist()) <= {0, 3}
    one = found(made, fractions=[0.25])
    assert one.information_quality[0] <= found(made).information_quality[0]


def test_training_mode_is_told(made):
    z, planes = made
    model = nn.Sequential(nn.Identity(), nn.Dropout())
    with pytest.warns(UserWarning, match=r"^matching_units: the model is in training mode"):
        matching_units(model, "0", z, lambda _: planes, CONCEPTS, fractions=FRACTIONS)


def test_batches_do_not_matter(made):
    z, planes = made
    one = matching_units(nn.Sequential(nn.Identity()), "0", z, lambda _: planes, CONCEPTS, fractions=FRACTIONS)
    assert all(torch.equal(first, second) for first, second in zip(one, found(made)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categories": ["parts"]}, r"categories must be among \['color', 'object'\], but 'parts' is not"),
        ({"fractions": []}, "z and fractions must hold one at least, but hold 6 and 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, but got 0"),
    ],
)
def test_refusals(made, options, message):
    with pytest.raises(ValueError, match="^matching_units: " + message):
        found(made, **options)
