"""Predictions explained by units."""

import pytest
import torch
from small_dissection import CONCEPTS, Scenes, network
from torch import nn

import dissect
from dissect.experiments import explain_predictions

IMAGES = Scenes(5).images
WEIGHTS = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
BIAS = torch.tensor([0.5, 0.0, -0.5, 1.0])


def maps():
    with torch.no_grad():
        return network()(IMAGES).clamp(min=0)


@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_by_a_plain_loop(pool):
    found = explain_predictions(network(), "3", IMAGES, WEIGHTS, bias=BIAS, pool=pool, units=3, batch_size=2)
    upsampled = nn.functional.interpolate(maps(), (16, 16), mode="bilinear", align_corners=False)
    compared = 0
    for n in range(5):
        x = [float(getattr(maps()[n, unit].double(), pool)()) for unit in range(6)]
        scores = [sum(float(WEIGHTS[c, u]) * x[u] for u in range(6)) + float(BIAS[c]) for c in range(4)]
        best = max(range(4), key=scores.__getitem__)
        assert int(found.predicted[n]) == best
        parts = {unit: float(WEIGHTS[best, unit]) * x[unit] for unit in range(6)}
        ranked = sorted(parts, key=parts.get, reverse=True)[:3]
        assert found.units[n].tolist() == ranked
        assert found.weighs[n].tolist() == pytest.approx([parts[unit] for unit in ranked], rel=1e-5, abs=1e-5)
        for rank, unit in enumerate(ranked):
            level = upsampled[n, unit].flatten().sort(descending=True).values[51]  # a fifth of 256 pixels, rounded down
            expected = upsampled[n, unit] > level
            sure = (upsampled[n, unit] - level).abs() > 1e-5  # interpolate rounds otherwise
            assert torch.equal(expected[sure], found.masks[n, rank][sure])
            assert int(found.masks[n, rank].sum()) <= 51
            compared += int(sure.sum())
    assert compared > 1000  # of 3,840; many maps are zero in most places


@pytest.mark.parametrize("truth", [None, [0, 1, 2, 3, 0]])
def test_saved(truth, tmp_path):
    found = explain_predictions(network(), "3", IMAGES, WEIGHTS, truth=truth, units=2)
    found.concepts = {4: "sky"}
    again = dissect.load(found.save(tmp_path / "a"))
    assert (again.table(), again.concepts) == (found.table(), {4: "sky"})
    for name in ("images", "scores", "predicted", "units", "weighs", "masks"):
        assert torch.equal(getattr(again, name), getattr(found, name)), name
    found.predicted = (found.predicted + 1) % 4
    with pytest.raises(ValueError, match="the predicted class has the highest score"):
        dissect.load(found.save(tmp_path / "b"))


def test_parts_add_up_to_the_score():
    found = explain_predictions(network(), "3", IMAGES, WEIGHTS, bias=BIAS, units=10)
    assert found.units.shape == (5, 6)
    best = found.scores.gather(1, found.predicted[:, None])[:, 0]
    assert torch.allclose(found.weighs.sum(1) + BIAS[found.predicted].double(), best)


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
def test_tables_and_pictures():
    d = dissect.dissect(network(), "3", Scenes(), concepts=CONCEPTS, fraction=0.05, relu=True, progress=False)
    truth = [0, 1, 2, 3, 0]
    found = explain_predictions(network(), "3", IMAGES, WEIGHTS, truth=truth, units=2, dissection=d)
    rows = found.table()
    assert len(rows) == 10
    assert [row.correct for row in rows[::2]] == [int(p) == t for p, t in zip(found.predicted, truth)]
    concepts = {row.unit: row.concept for row in d.best() if row.iou > 0}
    assert all(row.concept == concepts.get(row.unit, "") for row in rows)
    assert len(found.plot([1, 3], classes=["a", "b", "c", "d"]).axes) >= 6


@pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
def test_labels_of_another_network_are_refused():
    other = network()
    with torch.no_grad():
        other[0].weight.mul_(2)
    d = dissect.dissect(other, "3", Scenes(), concepts=CONCEPTS, fraction=0.05, relu=True, progress=False)
    with pytest.raises(ValueError, match=r"^explain_predictions: model must be the network of the dissection, of "):
        explain_predictions(network(), "3", IMAGES, WEIGHTS, dissection=d)
    d.settings["provenance"]["weights"] = None  # where it is meant
    assert explain_predictions(network(), "3", IMAGES, WEIGHTS, dissection=d).concepts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": WEIGHTS[:, :5]}, r"weights must have shape \[K, U\] with U=6"),
        ({"bias": BIAS[:2]}, r"bias must have shape \[4\]"),
        ({"weights": WEIGHTS * torch.nan}, "weights and bias must be finite"),
        ({"truth": [0, 1, 2, 3, 4]}, "truth must be 5 class numbers below 4"),
        ({"truth": [0]}, "truth must be 5 class numbers"),
        ({"share": 1}, "share must lie between 0 and 1"),
        ({"pool": "max"}, "pool must be one of"),
        ({"images": IMAGES[0]}, "images must be a tensor"),
        (
            {"images": IMAGES.index_fill(0, torch.tensor([2]), torch.nan)},
            "images must be finite, but 1 are .*, image 2",
        ),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    given = {"images": IMAGES, "weights": WEIGHTS} | options
    with pytest.raises(ValueError, match=f"explain_predictions: {message}"):
        explain_predictions(network(), "3", given.pop("images"), given.pop("weights"), **given)
