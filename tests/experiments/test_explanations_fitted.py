"""Explanations as runs that go on, and by a support vector machine that is fitted for them."""

import numpy as np
import pytest
import torch
from altered import altered
from sklearn.svm import LinearSVC
from small_dissection import Scenes, network
from stopping import gone_on
from torch.utils.data import Dataset

import dissect
from dissect.experiments import explain_by_svm, explain_predictions
from dissect.experiments.explanations import Explained
from dissect.experiments.explanations_fitted import Pooled
from dissect.files.progress import FILE

IMAGES = Scenes(12).images
TENSORS = ("images", "scores", "predicted", "truth", "units", "weighs", "masks")


class Classed(Dataset):
    """Images with class numbers, every `classes`-th of the same; as folders they have names, and pictures."""

    def __init__(self, count=12, classes=3, first=0):
        self.images, self.numbers = Scenes(first + count).images[first:], torch.arange(count) % classes
        self.classes = tuple(f"class {number}" for number in range(classes))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], int(self.numbers[index])

    def to_pictures(self, images):
        return torch.full((len(images), 3, *images.shape[2:]), 9, dtype=torch.uint8)


def fitted(**options):
    given = {"train": Classed(15), "images": Classed(7, first=15), "batch_size": 4, "progress": False} | options
    return explain_by_svm(network(), "3", given.pop("train"), given.pop("images"), **given)


@pytest.mark.parametrize("pool", ["sum", "mean"])
@pytest.mark.parametrize("classes", [2, 3])
def test_against_scikit_learn(classes, pool):
    train, images = Classed(15, classes), Classed(7, classes, first=15)
    found = fitted(train=train, images=images, pool=pool, penalty=0.5)
    with torch.no_grad():
        x, asked = (
            getattr(network()(data.images).clamp(min=0).double(), pool)((2, 3)).numpy() for data in (train, images)
        )
    svm = LinearSVC(C=0.5, dual=False, max_iter=10000, random_state=0).fit(x, train.numbers.numpy())
    assert found.predicted.tolist() == svm.predict(asked).tolist()
    scores = svm.decision_function(asked)
    if classes == 2:
        scores = np.stack([-scores, scores], 1)
    assert found.scores.numpy() == pytest.approx(scores, rel=1e-5, abs=1e-5)
    assert found.classes == train.classes
    assert found.truth.tolist() == images.numbers.tolist()
    assert bool((found.images == 9).all())


def test_pairs_are_what_a_tensor_and_its_truth_are():
    data, weights = Classed(5), torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    options = {"progress": False, "batch_size": 2}
    one = explain_predictions(network(), "3", data, weights, **options)
    other = explain_predictions(network(), "3", data.images, weights, truth=data.numbers, **options)
    for name in TENSORS[1:]:
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert (one.classes, other.classes) == (data.classes, ())
    planes = explain_predictions(network(), "3", Scenes(5), weights, **options)  # no class numbers come with these
    assert planes.truth is None
    assert all(row.correct is None for row in planes.table())


def test_saved_with_names(tmp_path):
    found = fitted()
    path = found.save(tmp_path / "a")
    assert dissect.load(path).classes == found.classes
    assert found.plot([0]).axes[0].get_title(loc="left").startswith("class ")
    altered(path, lambda tensors, meta: meta.update(classes=["one"]))
    with pytest.raises(ValueError, match="each class has a name, or none has"):
        dissect.load(path)


@pytest.mark.parametrize(("run", "steps"), [(Pooled, 4), (Explained, 2)])
def test_goes_on(run, steps, tmp_path, monkeypatch):
    """From every step, to the same bits."""
    expected = fitted()
    for again in gone_on(run, steps, fitted, tmp_path, monkeypatch):
        for name in TENSORS:
            assert torch.equal(getattr(again, name), getattr(expected, name)), name
    with pytest.raises(ValueError, match="had the same classifier"):
        fitted(resume=tmp_path / "0", penalty=1.0)


def test_a_file_that_cannot_be_is_refused(tmp_path):
    fitted(resume=tmp_path)
    for folder, change, message in (
        ("train", lambda tensors: tensors.update({"run/x": tensors["run/x"].float()}), "hold x as float64"),
        ("images", lambda tensors: tensors.update({"run/found/scores": tensors["run/found/scores"][:, :2].clone()}),
         "hold scores as float64"),
        ("images", lambda tensors: tensors["run/found/predicted"].add_(1).remainder_(3), "has the highest score"),
    ):  # fmt: skip
        path = tmp_path / folder / FILE
        kept = path.read_bytes()
        altered(path, lambda tensors, meta, change=change: change(tensors))
        with pytest.raises(ValueError, match=message):
            fitted(resume=tmp_path)
        path.write_bytes(kept)


class Numbered(Classed):
    """Without names of classes."""

    def __init__(self, *options, **more):
        super().__init__(*options, **more)
        del self.classes


def numbered(add=0, classes=3):
    data = Numbered(15, classes)
    data.numbers = data.numbers + add
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": Scenes(6)}, "images must come with class numbers"),
        ({"train": Classed(2)}, "train must have images of every class, but has none of 1 of 3: class 2; give more"),
        (
            {"train": numbered(1), "images": Numbered(7)},
            "train must have images of every class, but has none of 1 of 4: 0; give",
        ),
        ({"train": numbered(-1), "images": Numbered(7)}, "train must have class numbers from 0 to 1, but has -1 to 1"),
        ({"train": Classed(4, 1), "images": Classed(4, 1)}, "train must have images of two classes at least"),
        ({"images": Classed(7, 4)}, "both data sets must number the same classes alike, but class 3 is no class"),
        (
            {"train": numbered(classes=2), "images": Numbered(7, 3)},
            r"images must have class numbers in \[0, 2\), .* but image 2 has 2",
        ),
        (
            {"train": numbered(classes=2), "images": Classed(7, 3)},
            "train must have images of every class, but has none of 1 of 3: class 2",
        ),
        ({"penalty": 0}, "penalty must be a number above 0, but is 0"),
        ({"pool": "max"}, "pool must be one of"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=f"^explain_by_svm: {message}"):
        fitted(**change)


def test_no_such_layer():
    with pytest.raises(KeyError, match=r"explain_by_svm: .*has no layer 'conv5'"):
        explain_by_svm(network(), "conv5", Classed(), Classed(), progress=False)


def test_truth_comes_with_images():
    with pytest.raises(ValueError, match="weights must have a row for each class that images name, 3, but have 4"):
        explain_predictions(network(), "3", Classed(5), torch.zeros(4, 6), progress=False)
    with pytest.raises(ValueError, match=r"^explain_predictions: truth must come with images that are a tensor"):
        explain_predictions(network(), "3", Classed(5), torch.zeros(3, 6), truth=[0] * 5, progress=False)


def test_examples_are_right_and_then_wrong_ones():
    found = fitted()
    found.truth, found.predicted = torch.tensor([0] * 7), torch.tensor([0, 0, 0, 1, 1, 0, 0])
    assert found.examples(2) == [0, 2, 3, 4]  # of 0 1 2 5 6 every second
    assert found.examples(1) == [0, 3]
    found.truth = None
    assert found.examples(2) == [0, 1, 2, 3]
    assert found.examples(1) == [0, 3]


def test_the_summary_by_hand():
    found = fitted()
    found.truth, found.predicted = torch.tensor([0] * 7), torch.tensor([0, 0, 0, 1, 1, 0, 0])
    found.units[:, 0], found.concepts = torch.tensor([0, 1, 2, 0, 1, 2, 0]), {0: "sky", 1: "tree"}
    right, wrong = found.summary()
    assert (right.correct, right.images, right.share, right.labelled) == (True, 5, 5 / 7, 3)
    assert (wrong.correct, wrong.images, wrong.labelled) == (False, 2, 2)
    assert (right.low, right.high) == pytest.approx((0.3589, 0.9178), abs=1e-4)  # as statsmodels has it
    assert repr(found) == "<Explanations of 7 images by 4 units each, 2 of whose units have labels>"
    found.truth = None
    (row,) = found.summary()
    assert (row.correct, row.images, row.share, row.high) == (None, 7, 1.0, pytest.approx(1))
