"""Labels verified by pairs of images, against scikit-learn, numpy and plain loops."""

import copy
import math

import numpy as np
import pytest
import torch
from altered import altered
from sklearn.metrics import roc_auc_score
from torch import nn

import dissect
from dissect.experiments import VerifiedLabels, verified_labels
from dissect.experiments.verified import Responses
from dissect.files.progress import FILE
from dissect.stats.bootstrap import drawn_again

CONCEPTS = dissect.Concepts.of([("tree", "object"), ("door", "part"), ("wavy", "texture")])
LABELS = [1] * 14 + [2] * 12 + [3] * 4


@pytest.fixture(scope="module")
def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3)).eval()
    images, without = torch.rand(2, 30, 3, 8, 8)
    images[:14, 0] += 0.3  # a tree is red
    units = {"0": torch.tensor([1, 1, 2, 3, 0, 2]), "2": torch.tensor([1, 2, 0, 0, 3])}
    return model, images, without, units


def measured(made, **options):
    model, images, without, units = made
    options = {"concepts": CONCEPTS, "progress": False, "batch_size": 7, "resamples": 50} | options
    return verified_labels(model, ["0", "2"], images, without, LABELS, units, **options)


@pytest.mark.parametrize("response", ["peak", "mean"])
def test_against_scikit_learn_and_a_loop(made, response):
    model, images, without, _ = made
    found = measured(made, response=response)
    with torch.no_grad():
        maps = [model[:2](batch) for batch in (images, without)]
    x, y = (part.amax((2, 3)) if response == "peak" else part.mean((2, 3)) for part in maps)
    layer, own = found.layers["0"], torch.tensor(LABELS)
    for label in (1, 2, 3):
        for unit in range(6):
            a, b = (part[own == label, unit].double().numpy() for part in (x, y))
            truth = [1] * len(a) + [0] * len(b)
            assert layer.auc[label, unit] == pytest.approx(roc_auc_score(truth, np.concatenate([a, b])), abs=1e-6)
            assert layer.difference[label, unit] == pytest.approx((a - b).mean(), abs=1e-6)
            if label == 3:
                assert layer.auc_interval[label, unit].isnan().all()
                continue
            weights = drawn_again(len(a), 50, 0).numpy().astype(int)
            again = [np.repeat(np.arange(len(a)), draw) for draw in weights]
            areas = sorted(roc_auc_score(truth, np.concatenate([a[i], b[i]])) for i in again)
            means = sorted((a[i] - b[i]).mean() for i in again)
            low = int(0.025 * 49)
            assert layer.auc_interval[label, unit].tolist() == pytest.approx([areas[low], areas[49 - low]], abs=1e-6)
            ends = layer.difference_interval[label, unit].tolist()
            assert ends == pytest.approx([means[low], means[49 - low]], abs=1e-6)


def test_rows(made):
    found = measured(made)
    layer, rows = found.layers["0"], list(found.units("0"))
    assert [row.concept for row in rows] == ["tree", "tree", "door", "wavy", "", "door"]
    assert [row.verified is None for row in rows] == [False, False, False, True, True, False]  # four pairs are too few
    for row in rows:
        label = CONCEPTS.names.index(row.concept) if row.concept else 0
        if row.verified is None:
            assert row.auc is row.rank is row.others is None
            continue
        passed = [bool(layer.auc_interval[c, row.unit, 0] > 0.5 and layer.difference_interval[c, row.unit, 0] > 0)
                  for c in (1, 2)]  # fmt: skip
        other = 3 - label
        assert row.verified == passed[label - 1]
        assert row.others == passed[other - 1]
        assert row.rank == (1 if layer.auc[label, row.unit] >= layer.auc[other, row.unit] else 2)
        assert (row.pairs, row.iou) == (14 if label == 1 else 12, None)
    told = found.summary()[0]
    tested = [row for row in rows if row.verified is not None]
    assert (told.units, told.tested, told.verified) == (5, 4, sum(row.verified for row in tested))
    assert told.share == told.verified / 4
    assert told.auc == pytest.approx(sum(row.auc for row in tested) / 4)
    kinds = [(row.category, row.units) for row in found.summary(by_category=True) if row.layer == "0"]
    assert kinds == [("object", 2), ("part", 2), ("texture", 1)]
    assert found.summary(least_iou=0.0)[0].share is None
    found.plot()


def test_what_responds_is_verified_and_what_does_not_is_not():
    images, without = torch.rand(2, 20, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    images[:, 0] += 0.5
    without[:, 2] += 0.5
    units = {"0": torch.tensor([1, 1, 1])}
    found = verified_labels(nn.Sequential(nn.Identity()), "0", images, without, [1] * 20, units, concepts=CONCEPTS,
                            progress=False)  # fmt: skip
    rows = list(found.units())
    assert [row.verified for row in rows] == [True, False, False]
    assert rows[2].difference_high < 0
    constant = verified_labels(nn.Sequential(nn.Identity()), "0", images * 0, without * 0, [1] * 20, units,
                               concepts=CONCEPTS, progress=False)  # fmt: skip
    assert [(row.auc, row.auc_low, row.difference, row.verified) for row in constant.units()] == [
        (0.5, 0.5, 0, False)
    ] * 3


def test_units_of_a_dissection(made):
    model, images, without, _ = made
    planes = torch.randint(0, 4, (30, 1, 8, 8), generator=torch.Generator().manual_seed(1))
    d = dissect.dissect(
        model, "0", [(images, planes)], concepts=CONCEPTS, decoys=0, resamples=0, relu=True, progress=False
    )
    found = verified_labels(model, "0", images, without, LABELS, d, progress=False, resamples=20)
    for row, told in zip(found.units(), d.best()):
        assert (row.concept, row.category, row.iou) == (told.concept, told.category, told.iou)
    with pytest.raises(ValueError, match=r"^verified_labels: concepts must be those of the dissection"):
        verified_labels(model, "0", images, without, LABELS, d, concepts=dissect.Concepts.of(["tree"] * 3))


def test_saved(made, tmp_path):
    found = measured(made)
    again = dissect.load(found.save(tmp_path / "a"))
    assert isinstance(again, VerifiedLabels)
    assert list(again.units()) == list(found.units())
    assert again.settings == found.settings


def test_goes_on(made, tmp_path, monkeypatch):
    """From every step, to the same bits."""
    expected, add = measured(made), Responses.add
    for stop in range(10):
        met = [0]

        def stopping(run, found, met=met, stop=stop):
            if met[0] == stop:
                raise KeyboardInterrupt
            met[0] += 1
            add(run, found)

        folder = tmp_path / str(stop)
        monkeypatch.setattr(Responses, "add", stopping)
        with pytest.raises(KeyboardInterrupt):
            measured(made, resume=folder)
        monkeypatch.setattr(Responses, "add", add)
        again = measured(made, resume=folder)
        for name, layer in expected.layers.items():
            for one, other in zip(layer, again.layers[name]):
                assert torch.equal(one.nan_to_num(9), other.nan_to_num(9))


@pytest.mark.parametrize("change", [lambda kept: kept[..., :-1], lambda kept: kept[:, :-1], lambda kept: kept[0]])
@pytest.mark.parametrize("layer", ["0", "1"])
def test_a_file_of_other_units_or_images_is_refused(made, layer, change, tmp_path, monkeypatch):
    """Before the responses to another batch are put beside those that it holds."""
    monkeypatch.setattr(Responses, "end_visit", lambda run: exec("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        measured(made, resume=tmp_path)
    monkeypatch.undo()
    name = f"run/responses/{layer}"
    path = altered(tmp_path / FILE, lambda tensors, meta: tensors.update({name: change(tensors[name]).clone()}))
    with pytest.raises(ValueError, match=f"{path} holds what cannot be: the run must hold {layer} as float32"):
        measured(made, resume=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"response": "median"}, r"response must be one of \('peak', 'mean'\), but got 'median'"),
        ({"concepts": None}, "concepts must name the labels, where units are no dissection"),
        ({"resamples": 0}, "resamples must be at least 1, but got 0"),
        ({"resamples": 1}, "resamples must be at least 2, since one draw has no interval, but is 1"),
    ],
)
def test_refusals(made, change, message):
    with pytest.raises(ValueError, match="^verified_labels: " + message):
        measured(made, **change)


def test_a_dissection_of_another_network_is_refused(made):
    model, images, without, _ = made
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters()).mul_(2)
    planes = torch.ones(len(images), 1, *images.shape[2:], dtype=torch.int64)
    d = dissect.dissect(other, "0", [(images, planes)], concepts=CONCEPTS, decoys=0, resamples=0, progress=False)
    with pytest.raises(ValueError, match=r"^verified_labels: model must be the network of the dissection in units"):
        verified_labels(model, "0", images, without, LABELS, d, progress=False)


def test_sets_must_fit(made):
    model, images, without, units = made
    told = {"concepts": CONCEPTS, "progress": False}
    for labels, message in (
        (LABELS[:-1], "images must be as many as labels, 29, but are 30 or more"),
        ([*LABELS, 1], "images must be as many as labels, 31, but are 30"),
        ([0] * 30, r"labels must lie in \[1, 4\), the concepts, but reach from 0 to 0"),
        ([1.0] * 30, r"labels must be \[M\] integers, one at least, but are torch.float32 \[30\]"),
    ):
        with pytest.raises(ValueError, match="^verified_labels: " + message):
            verified_labels(model, "0", images, without, labels, units, **told)
    with pytest.raises(ValueError, match="without must be as many as labels, 30, but are 20"):
        verified_labels(model, "0", images, without[:20], LABELS, units, **told)
    with pytest.raises(ValueError, match="units of layer '0' must be U=6, but 5 have labels"):
        verified_labels(model, "0", images, without, LABELS, {"0": units["2"]}, **told)
    with pytest.raises(KeyError, match="units must say what those of layer '2' detect"):
        verified_labels(model, "2", images, without, LABELS, {"0": units["0"]}, **told)
    bad = images.clone()
    bad[3, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match="activations of layer '0' must be finite, but some are not"):
        verified_labels(model, "0", images, bad, LABELS, units, **told)
