"""A network's own top trained anew, and trainings that go on."""

import copy

import pytest
import torch
from altered import altered
from stopping import gone_on
from torch import nn
from torch.utils.data import TensorDataset

import dissect
from dissect.experiments import random_rotation, retrain_top, retrained_tops, rotation_error
from dissect.experiments.discrimination import FeaturesRun
from dissect.experiments.retraining import Trainings
from dissect.experiments.retraining_result import NetworkRow, RetrainedTops
from dissect.files.progress import FILE


def pairs(count, seed):
    g = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % 3
    images = torch.rand(count, 3, 6, 6, generator=g)
    images[torch.arange(count), classes] += 0.4
    return TensorDataset(images, classes)


TRAIN, TEST = pairs(30, 0), pairs(12, 1)


def network(*tops, flat=True):
    torch.manual_seed(2)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), *([nn.Flatten()] if flat else [])]
    return nn.Sequential(*layers, *(tops or (nn.Linear(16, 3),))).eval()


def found(model=None, layer="2", top="4", train=TRAIN, test=TEST, **options):
    options = {"repeats": 2, "epochs": 2, "batch_size": 8, "rate": 0.05, "progress": False} | options
    return retrain_top(network() if model is None else model, layer, top, train, test, **options)


def test_it_is_retrained_tops_of_what_the_layer_gives():
    model, result = network(), found(seed=4)
    with torch.no_grad():
        seen, asked = (model[:3](data.tensors[0]) for data in (TRAIN, TEST))
        answers = model(TEST.tensors[0]).argmax(1)

    def top(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    by_hand = retrained_tops(top, (seen, TRAIN.tensors[1]), (asked, TEST.tensors[1]), repeats=2, epochs=2, batch_size=8,
                             rate=0.05, seed=4, progress=False)  # fmt: skip
    assert torch.equal(result.accuracy, by_hand.accuracy)
    assert result.network.accuracy == (answers == TEST.tensors[1]).double().mean()
    assert result.network[1:] == rotation_error(model, "2", TEST.tensors[0][:8], random_rotation(4, 4))
    assert 0 < result.network.error < 1e-5
    assert result.settings == {"layer": "2", "top": "4", "num_train": 30, "num_test": 12, **by_hand.settings}


def test_a_top_that_takes_maps_or_vectors():
    """Whatever is in between, the same features; and weights that were frozen are trained."""
    convolution = nn.Sequential(nn.Conv2d(4, 3, 2), nn.BatchNorm2d(3), nn.Flatten())
    maps = found(network(convolution, flat=False).requires_grad_(False), top="3", repeats=1, epochs=6)
    assert maps.accuracy.min() > 0.4  # a third is chance
    vectors = found(layer="3")
    assert vectors.accuracy.shape == (2, 2)
    assert vectors.network.accuracy == found().network.accuracy
    given = found(anew=lambda seed: nn.Linear(16, 3))
    assert given.accuracy.shape == (2, 2)


def test_saved_and_drawn(tmp_path):
    result = found(repeats=10, epochs=1)
    again = dissect.load(result.save(tmp_path / "a"))
    assert (again.network, again.settings) == (result.network, result.settings)
    assert str(again) == str(result)
    (axes,) = again.plot().axes
    assert [list(line.get_ydata()) for line in axes.lines if line.get_linestyle() == ":"] == [[result.network[0]] * 2]
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks == ["features\nas they are", "features\nrotated"]
    alone = RetrainedTops(torch.rand(2, 3).double())
    assert alone.plot().axes
    assert dissect.load(alone.save(tmp_path / "b")).network is None
    altered(tmp_path / "a.tops", lambda tensors, meta: meta.update(network=[1.5, 0, 1]))
    with pytest.raises(ValueError, match="the network's shares are at most 1"):
        dissect.load(tmp_path / "a.tops")
    assert NetworkRow(*result.network) == again.network


@pytest.mark.parametrize(("run", "steps"), [(FeaturesRun, 6), (Trainings, 4)])
def test_goes_on(run, steps, tmp_path, monkeypatch):
    """From every step, to the same bits."""
    expected = found()
    for again in gone_on(run, steps, found, tmp_path, monkeypatch):
        assert torch.equal(again.accuracy, expected.accuracy)
    for change, message in (
        ({"rate": 0.1}, "the same options"),
        ({"train": pairs(30, 5)}, "must be the same at every"),
    ):
        with pytest.raises(ValueError, match=message):
            found(resume=tmp_path / "0", **change)
    path = tmp_path / "0" / "tops" / FILE
    altered(path, lambda tensors, meta: tensors.update({"run/accuracy": torch.ones(5).double()}))
    with pytest.raises(ValueError, match=r"must hold accuracy as float64 \[4\]"):
        found(resume=tmp_path / "0")


def test_another_top_or_other_features_are_refused(tmp_path):
    features, classes = torch.eye(4).repeat(4, 1), torch.arange(4).repeat(4)

    def tops(width=0, features=features):
        made = nn.Sequential(nn.Linear(4, 4), *[nn.Linear(4, 4)] * width)
        return retrained_tops(lambda seed: copy.deepcopy(made), (features, classes), (features, classes), repeats=1,
                              epochs=1, resume=tmp_path, progress=False)  # fmt: skip

    torch.manual_seed(0)
    tops()
    with pytest.raises(ValueError, match="the same top"):
        tops(width=1)
    torch.manual_seed(0)
    with pytest.raises(ValueError, match="the same data"):
        tops(features=features * 2)


class Named(TensorDataset):
    """Whose classes have names."""

    classes = ("one", "two", "three", "four")


class Lone(nn.Module):
    """A weight that nothing sets anew."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.last = nn.Linear(16, 3)

    def forward(self, features):
        return self.last(features * self.scale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer": "0"}, r"top '4' must take what layer '0' gives, \[8, 4, 4, 4\], as it is or flattened, but takes"),
        ({"top": "0"}, "top '0' must take what layer '2' gives"),
        ({"model": network(nn.Linear(16, 3), nn.Softmax(1))}, "top '4' must give the model's logits, but the model"),
        ({"model": network(Lone())}, "top must be of modules with reset_parameters, but Lone '' has scale"),
        ({"model": network(nn.Linear(16, 2))}, r"train must have classes in \[0, 2\), as many as top gives logits"),
        ({"train": Named(*TRAIN.tensors)}, "must name as many classes as '4' gives logits, 3, but name 4"),
        ({"train": [TRAIN.tensors[0]]}, r"train must be of pairs \(image, class number\)"),
        ({"test": []}, "images must hold at least one batch"),
        ({"model": network().train()}, "evaluation mode"),
        ({"rate": 1e30}, "logits of top must be finite after its training"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"anew": lambda seed: nn.Linear(16, 2)}, r"classes in \[0, 2\)"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        found(**change)


def test_no_such_top():
    with pytest.raises(KeyError, match=r"retrain_top: .*'classifier'"):
        found(top="classifier")
