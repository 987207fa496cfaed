"""Data sets that change between visits, or number their classes otherwise; wrong numbers, told before any visit."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

import dissect
from dissect.classifiers import ClassTally

from .networks import CLASSES, by_hand, chain, colors


class Interrupted(Exception):
    pass


@pytest.fixture
def importance():
    return dissect.unit_importance(by_hand(), "0", colors(), colors(), classes=CLASSES, progress=False)


@pytest.mark.parametrize("split", ["images", "val_images"])
@pytest.mark.parametrize("changed", [0, 1, 2])
@pytest.mark.parametrize("part", ["images", "classes"])
@pytest.mark.parametrize("stop", [2, 5, None])
def test_a_run_over_changed_data_does_not_go_on(tmp_path, monkeypatch, split, changed, part, stop):
    model, images, labels = chain(), torch.randn(20, 3, 8, 8), torch.arange(20) % 5
    given = {name: list(zip(images.split(8), labels.split(8))) for name in ("images", "val_images")}
    options = {"resume": tmp_path, "progress": False}
    seen, add = [], ClassTally.add

    def interrupted(self, *arguments):
        seen.append(self)
        if len(seen) == stop:
            raise Interrupted
        add(self, *arguments)

    monkeypatch.setattr("dissect.files.progress.EVERY", 0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)
    monkeypatch.setattr(ClassTally, "add", interrupted)
    with pytest.raises(Interrupted) if stop else nullcontext():
        dissect.unit_importance(model, "2", **given, **options)
    monkeypatch.setattr(ClassTally, "add", add)
    before = {name: list(batches) for name, batches in given.items()}
    known = {"images": {2: 1}, "val_images": {2: 0, 5: 1}}[split].get(stop, 3)  # batches that were counted
    pixels, classes = given[split][changed]
    given[split][changed] = (pixels + 1e-3, classes) if part == "images" else (pixels, classes.flip(0))
    if changed < known:
        with pytest.raises(ValueError, match=f"must be the same at every visit, but those of batch {changed} have"):
            dissect.unit_importance(model, "2", **given, **options)
        given = before
    dissect.unit_importance(model, "2", **given, **options)


@pytest.mark.parametrize("fewer", [0, 1])
def test_data_that_differ_at_every_visit_are_told(fewer):
    class Shifting:
        visits = 0

        def __iter__(self):
            self.visits += 1
            images = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(fewer or self.visits))
            batches = list(zip(images.split(4), (torch.arange(10) % 5).split(4)))
            return iter(batches[: len(batches) - fewer * (self.visits > 2)])

    told = "but are 2 batches now" if fewer else "but those of batch 0 have changed; does the data set shuffle or augm"
    fixed = list(zip(torch.randn(10, 3, 8, 8).split(5), (torch.arange(10) % 5).split(5)))
    with pytest.raises(ValueError, match="train images must be the same at every visit, " + told):
        dissect.unit_importance(chain(), "2", Shifting(), fixed, fill="mean", progress=False)


def test_sets_do_not_go_on_over_changed_data(tmp_path, importance):
    options = {"counts": [1], "progress": False, "resume": tmp_path}
    first = dissect.unit_sets(by_hand(), importance, colors(), **options)
    begin, (images, labels) = colors()
    with pytest.raises(ValueError, match="val images must be the same at every visit, but those of batch 1 have"):
        dissect.unit_sets(by_hand(), importance, [begin, (images * 2, labels)], **options)
    assert dissect.unit_sets(by_hand(), importance, colors(), **options).table() == first.table()


WRONG_NUMBERS = [
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1, but got 0"),
    ({"batch_size": -3}, ValueError, "batch_size must be at least 1, but got -3"),
    ({"batch_size": 2.5}, TypeError, r"batch_size must be an integer, but got 2\.5"),
    ({"batch_size": None}, TypeError, "batch_size must be an integer, but got None"),
    ({"memory_budget": -1}, ValueError, "memory_budget must be a number of bytes, 0 or more, but is -1"),
    ({"memory_budget": float("nan")}, ValueError, "memory_budget must be a number of bytes, 0 or more, but is nan"),
    ({"memory_budget": "4GB"}, ValueError, "memory_budget must be a number of bytes, 0 or more, but is '4GB'"),
]


@pytest.mark.parametrize(("wrong", "kind", "told"), WRONG_NUMBERS)
def test_wrong_numbers_are_told_before_the_work(importance, wrong, kind, told):
    class Untouched(torch.utils.data.Dataset):
        def __len__(self):
            pytest.fail("the data were asked")

    with pytest.raises(kind, match="unit_importance: " + told):
        dissect.unit_importance(by_hand(), "0", Untouched(), Untouched(), progress=False, **wrong)
    with pytest.raises(kind, match="unit_sets: " + told):
        dissect.unit_sets(by_hand(), importance, Untouched(), progress=False, **wrong)


class Named(list):
    def __init__(self, classes):
        super().__init__(colors())
        self.classes = classes


@pytest.mark.parametrize(
    ("val", "told"),
    [
        (("a", "c", "b"), "but class 1 is 'b' of the training images and 'c' of the validation images; if they do"),
        (("a", "b"), "but class 2 is 'c' of the training images and no class of the validation images"),
    ],
)
def test_data_sets_that_number_their_classes_otherwise_are_refused(val, told):
    def run(**options):
        return dissect.unit_importance(by_hand(), "0", Named(CLASSES), Named(val), progress=False, **options)

    with pytest.raises(ValueError, match=told):
        run()
    assert run(classes=["x", "y", "z"]).classes == ("x", "y", "z")


def test_any_real_number_of_bytes_is_a_budget(importance, tmp_path):
    for budget in (0, 0.5, float("inf"), np.int64(10**6), np.float32(1e9)):
        options = {"memory_budget": budget, "batch_size": np.int32(9), "resume": tmp_path / str(budget)}
        found = dissect.unit_importance(by_hand(), "0", colors(), colors(), progress=False, **options)
        assert torch.equal(found.drop(), importance.drop())
    assert dissect.unit_sets(by_hand(), importance, colors(), counts=np.array([2, 1]), progress=False).counts == (1, 2)
