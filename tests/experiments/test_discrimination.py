"""Features in a linear support vector machine, against unique detectors."""

import numpy as np
import pytest
import torch
from small_dissection import CONCEPTS, Scenes, network
from torch import nn

import dissect
from dissect.experiments import Discrimination, discrimination, linear_predictions

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
SCENES = Scenes(40)
CLASSES = (SCENES.images[:, 0].mean((1, 2)) > SCENES.images[:, 2].mean((1, 2))).long() + 3 * (
    SCENES.images[:, 1].mean((1, 2)) > 0.5
)
TRAIN = [(SCENES.images[:15], CLASSES[:15]), (SCENES.images[15:24], CLASSES[15:24])]
TEST = [(SCENES.images[24:], CLASSES[24:])]
NETWORKS = {
    "a": network(),
    "b": nn.Sequential(*network(), nn.ReLU(), nn.Conv2d(6, 9, 1)).eval(),
    "c": nn.Sequential(nn.Conv2d(3, 5, 3)).eval(),
}
LAYERS = {"a": "3", "b": "5", "c": "0"}


@pytest.fixture(scope="module")
def dissections():
    options = {"concepts": CONCEPTS, "fraction": 0.05, "relu": True, "decoys": 0, "resamples": 0, "progress": False}
    return {name: dissect.dissect(NETWORKS[name], LAYERS[name], Scenes(), **options) for name in NETWORKS}


def measured(dissections, **options):
    return discrimination(NETWORKS, dissections, TRAIN, TEST, progress=False, **options)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("cells", [None, 2])
def test_by_scikit_learn_and_plain_loops(dissections, cells, scaled):
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.svm import LinearSVC

    found = measured(dissections, cells=cells, scaled=scaled, penalty=0.3, trained_for=["b"])
    for row in found.rows():
        with torch.no_grad():
            maps = NETWORKS[row.network](SCENES.images).clamp(min=0)
        if cells:
            maps = nn.functional.adaptive_avg_pool2d(maps, 2)
        vectors = maps.flatten(1).double().numpy()
        if scaled:
            vectors = vectors / np.mean([np.linalg.norm(vector) for vector in vectors[:24]])
        said = LinearSVC(C=0.3, random_state=0).fit(vectors[:24], CLASSES[:24].numpy()).predict(vectors[24:])
        assert row.accuracy == pytest.approx(balanced_accuracy_score(CLASSES[24:].numpy(), said))
        assert row.low <= row.accuracy <= row.high
        objects = {unit.concept for unit in dissections[row.network].detectors() if unit.category == "object"}
        assert row.concepts == len(objects)
        assert row.units == dissections[row.network][LAYERS[row.network]].num_units
        assert row.trained == (row.network == "b")
    every, others = found.correlations()
    assert (every.of, every.networks, others.of, others.networks) == ("all", 3, "others", 2)
    assert others.r is None


def test_the_interval_is_that_of_images_drawn_again(dissections):
    found = measured(dissections)
    drawn = torch.randint(16, (1000, 16), generator=torch.Generator().manual_seed(0)).tolist()
    right, truth = (found.predictions[0] == found.truth).tolist(), found.truth.tolist()
    values = []
    for sample in drawn:
        shares = []
        for label in sorted({truth[at] for at in sample}):
            own = [right[at] for at in sample if truth[at] == label]
            shares.append(sum(own) / len(own))
        values.append(sum(shares) / len(shares))
    values.sort()
    low = int(0.025 * 999)
    row = found.rows()[0]
    assert (row.low, row.high) == pytest.approx((values[low], values[999 - low]))


def made(concepts, hits):
    """Networks of ten units by ten images of two classes, of which so many of the first five are named right."""
    truth = torch.arange(10) // 5
    said = truth.repeat(len(hits), 1)
    for row, right in zip(said, hits):
        row[right:5] = 1
    names = [f"n{at}" for at in range(len(hits))]
    settings = {"category": "object", "penalty": 0.001, "cells": None, "scaled": False, "relu": True,
                "num_train": 20, "detector_iou": 0.04}  # fmt: skip
    return Discrimination(names, ["x"] * len(hits), names[:1], [10] * len(hits), concepts, said, truth, settings)


def test_tables_by_hand(tmp_path):
    found = made([1, 2, 4, 5, 6], [0, 1, 2, 3, 5])
    assert [row.accuracy for row in found.rows()] == pytest.approx([0.5, 0.6, 0.7, 0.8, 1.0])
    every, others = found.correlations()
    assert every[1:] == dissect.stats.pearson([1, 2, 4, 5, 6], [0.5, 0.6, 0.7, 0.8, 1.0])
    assert others[1:] == pytest.approx(dissect.stats.pearson([2, 4, 5, 6], [0.6, 0.7, 0.8, 1.0]))
    assert "5 networks by 10 images: r = 0.9" in repr(found)
    points = [tuple(point) for cloud in found.plot().axes[0].collections for point in cloud.get_offsets().tolist()]
    assert [value for point in sorted(points) for value in point] == pytest.approx(
        [1, 0.5, 2, 0.6, 4, 0.7, 5, 0.8, 6, 1.0]
    )
    again = dissect.load(found.save(tmp_path / "a"))
    assert again.rows() == found.rows()


def test_it_goes_on(dissections, tmp_path):
    first, again = measured(dissections, resume=tmp_path), measured(dissections, resume=tmp_path)
    assert torch.equal(first.predictions, again.predictions)
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(ValueError, match="had the same options"):
        measured(dissections, resume=tmp_path, cells=1)


def test_networks_load_when_their_turn_comes(dissections):
    loaded = []

    def load(name):
        loaded.append(name)
        return NETWORKS[name]

    found = discrimination(
        {name: (lambda name=name: load(name)) for name in NETWORKS}, dissections, TRAIN, TEST, progress=False
    )
    assert loaded == ["a", "b", "c"]
    assert torch.equal(found.predictions, measured(dissections).predictions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trained_for": ["d"]}, r"trained_for must name some of \['a', 'b', 'c'\], but names \['d'\]"),
        ({"penalty": 0}, "penalty must be a number above 0, but is 0"),
        ({"category": "sound"}, "category must be one of"),
        ({"cells": 0}, "cells must be at least 1"),
    ],
)
def test_what_cannot_be_is_refused(dissections, options, message):
    with pytest.raises(ValueError, match=f"^discrimination: {message}"):
        measured(dissections, **options)


@pytest.mark.parametrize(
    ("features", "classes", "others", "message"),
    [
        (torch.eye(4) * torch.nan, torch.arange(4), torch.eye(4), "features must be finite numbers"),
        (torch.eye(4), torch.arange(4), torch.eye(3), "others must be finite numbers"),
        (torch.eye(4), torch.arange(3), torch.eye(4), r"classes must be \[N=4\], but are \[3\]"),
    ],
)
def test_features_that_do_not_fit(features, classes, others, message):
    with pytest.raises(ValueError, match=f"^linear_predictions: {message}"):
        linear_predictions(features, classes, others)


def test_what_does_not_fit_is_refused(dissections):
    with pytest.raises(ValueError, match="must have the same names, at least two"):
        discrimination(NETWORKS, {"a": dissections["a"]}, TRAIN, TEST)
    with pytest.raises(ValueError, match=r"train must show every class that test shows, but not \[9\]"):
        discrimination(NETWORKS, dissections, TRAIN, [(SCENES.images[:2], torch.tensor([0, 9]))], progress=False)
    with pytest.raises(ValueError, match="train must be of pairs"):
        discrimination(NETWORKS, dissections, [SCENES.images], TEST, progress=False)
    with pytest.raises(ValueError, match="must be in evaluation mode"):
        discrimination(NETWORKS | {"a": network().train()}, dissections, TRAIN, TEST, progress=False)
    two = dissect.dissect(network(), ["0", "3"], Scenes(), concepts=CONCEPTS, fraction=0.05, relu=True, progress=False)
    with pytest.raises(ValueError, match="dissections must be of one layer each"):
        discrimination(NETWORKS, dissections | {"a": two}, TRAIN, TEST)
    with pytest.raises(ValueError, match="classes must be two or more"):
        linear_predictions(torch.rand(3, 2), torch.zeros(3, dtype=torch.int64), torch.rand(1, 2))


def test_dissections_under_each_others_names_are_refused(dissections):
    """Layer "3" of a and "5" of b are both in b, so that nothing else would tell."""
    swapped = {"a": NETWORKS["b"], "b": nn.Sequential(*NETWORKS["b"], nn.Identity()).eval()}
    named = {name: dissections[name] for name in swapped}
    told = r"networks\['a'\] must be the network of the dissection 'a', of weights \w+, but this Sequential has other"
    with pytest.raises(ValueError, match=f"^discrimination: {told}"):
        discrimination(swapped, named, TRAIN, TEST, progress=False)
    with pytest.raises(ValueError, match=f"^discrimination: {told}"):
        discrimination({"a": lambda: swapped["a"], "b": NETWORKS["b"]}, named, TRAIN, TEST, progress=False)


def test_images_of_another_size_are_refused_where_every_cell_is_a_feature(dissections):
    smaller = [(SCENES.images[24:, :, :-1], CLASSES[24:])]
    with pytest.raises(ValueError, match=r"features must be as many of all .*, but are \d+ of some of test and \d+ of"):
        discrimination(NETWORKS, dissections, TRAIN, smaller, cells=None, progress=False)
