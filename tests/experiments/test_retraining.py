"""Tops trained anew on features and on rotated ones."""

import numpy as np
import pytest
import torch
from torch import nn

import dissect
from dissect.experiments import random_rotation, retrained_tops
from dissect.experiments.retraining import RetrainedTops, rotated


def problem(images=60, places=()):
    g = torch.Generator().manual_seed(1)
    classes = torch.arange(images) % 3
    features = torch.randn(images, 5, *places, generator=g)
    features[:, :3] += 2 * torch.eye(3)[classes].view(-1, 3, *(1 for _ in places))
    return features, classes


def linear(seed):
    torch.manual_seed(seed)
    return nn.Linear(5, 3)


def found(**options):
    return retrained_tops(linear, problem(), problem(30), **{"repeats": 2, "epochs": 3, "progress": False} | options)


def plainly(features, classes, seed, epochs, batch, rate):
    """A linear top by AdamW, written out; its weight and bias."""
    model = linear(seed)
    w = np.concatenate([model.weight.detach().numpy(), model.bias.detach().numpy()[:, None]], 1).astype(np.float64)
    x = np.concatenate([features.numpy(), np.ones((len(features), 1))], 1).astype(np.float64)
    mean, square, step, chance = np.zeros_like(w), np.zeros_like(w), 0, torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(x) // batch)
    for _ in range(epochs):
        for index in torch.randperm(len(x), generator=chance).split(batch):
            own = x[index.numpy()]
            odds = np.exp(own @ w.T)
            odds /= odds.sum(1, keepdims=True)
            gradient = (odds - np.eye(3)[classes[index].numpy()]).T @ own / len(index)
            now = rate * (1 + np.cos(np.pi * step / steps)) / 2
            step += 1
            mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
            w *= 1 - now * 0.05
            w -= now * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return w


def test_both_trainings_against_numpy():
    result = found(repeats=1, seed=4, batch_size=16, rate=0.05)
    (features, classes), (others, answers) = problem(), problem(30)
    for which in range(2):
        turn = random_rotation(5, 4).float() if which else torch.eye(5)
        w = plainly(features @ turn.T, classes, 4, 3, 16, 0.05)
        x = np.concatenate([(others @ turn.T).numpy(), np.ones((30, 1))], 1)
        assert float(result.accuracy[which, 0]) == ((x @ w.T).argmax(1) == answers.numpy()).mean()


def test_maps_are_rotated_at_every_place():
    maps, turn = problem(places=(2, 3))[0], random_rotation(5, 0).float()
    assert torch.allclose(rotated(maps, turn), nn.functional.conv2d(maps, turn[:, :, None, None]), atol=1e-5)


def test_it_is_the_same_again_and_leaves_the_chance_of_others():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    maps = problem(places=(2, 2))

    def top(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(5, 3))

    options = {"repeats": 2, "epochs": 1, "progress": False}
    one, other = (retrained_tops(top, maps, maps, **options) for _ in range(2))
    assert torch.equal(one.accuracy, other.accuracy)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_summary_by_hand():
    accuracy = torch.tensor([[0.2, 0.4] * 5, [0.3, 0.3] * 5], dtype=torch.float64)
    same, turned, difference = RetrainedTops(accuracy).summary()
    assert (same.features, same.repeats, turned.low, turned.high) == (
        "as they are",
        10,
        pytest.approx(0.3),
        pytest.approx(0.3),
    )
    assert same.accuracy == pytest.approx(0.3)
    assert same.low < 0.3 < same.high
    assert difference.accuracy == pytest.approx(0)
    assert difference.high - difference.low == pytest.approx(same.high - same.low)
    assert RetrainedTops(accuracy[:, :9]).summary()[0].low is None


def test_saved(tmp_path):
    accuracy = torch.tensor([[0.25, 0.5], [0.75, 1.0]], dtype=torch.float64)
    again = dissect.load(RetrainedTops(accuracy).save(tmp_path / "a"))
    assert torch.equal(again.accuracy, accuracy)
    with pytest.raises(ValueError, match="must hold accuracy as float64"):
        dissect.load(RetrainedTops(accuracy * 2).save(tmp_path / "b"))


def test_refusals():
    features, classes = problem()
    broken = features.clone()
    broken[3, 1] = torch.nan
    for train, test, message in (
        (
            (broken, classes),
            (features, classes),
            "train must have finite features, but those of 1 of 60 images",
        ),
        ((features, classes), (broken, classes), "test must have finite features, but those of 1 of 60 images"),
        ((features, classes[:3]), (features, classes), r"train must be features \[N, U, ...\] and classes \[N\]"),
        ((features, classes), (features[:0], classes[:0]), "test must be features"),
        ((features, classes), (features[:, :4], classes), r"features of one shape, but have \[5\], \[4\]"),
    ):
        with pytest.raises(ValueError, match=rf"^retrained_tops: .*{message}"):
            retrained_tops(linear, train, test, progress=False)
    with pytest.raises(ValueError, match="retrained_tops: repeats must be at least 1"):
        found(repeats=0)
