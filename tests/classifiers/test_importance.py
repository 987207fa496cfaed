"""unit_importance and unit_sets: hand-made networks, equality with the long way, resuming, bad input."""

import signal

import pytest
import torch
from torch import nn

import dissect
from dissect.classifiers import ClassTally, UnitImportance, UnitSets, plots
from dissect.classifiers import probe as measure
from dissect.classifiers.sets import default_counts, set_alphas

from .networks import CLASSES, Residual, Tokens, by_hand, chain, colors, settled


@pytest.fixture
def importance():
    return dissect.unit_importance(by_hand(), "0", colors(), colors(), classes=CLASSES, progress=False)


def test_by_hand_without_each_unit(importance):
    assert importance.classes == CLASSES
    assert importance.baseline().tolist() == [1, 1, 1]
    # Without unit 0 a's images have logits .25 .1 .2: still right. b's go to a, with .25 against .1; c's too.
    expected = torch.tensor([[0, 0, 0], [0.25, 0.5, 0], [0.25, 0, 0.5], [0.0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(importance.drop("train"), expected)
    torch.testing.assert_close(importance.drop("val"), expected)
    torch.testing.assert_close(importance.baseline_logit(), torch.tensor([1.25, 1.1, 1.2]).double(), atol=1e-5, rtol=0)
    lost = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.25, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(importance.logit_drop(), lost, atol=1e-5, rtol=0)


def test_ranking_by_drop_then_by_logit_then_by_number(importance):
    assert importance.ranking("a").tolist() == [1, 2, 0, 3]
    assert importance.ranking(1).tolist() == [1, 0, 2, 3]
    assert importance.top("c", 2)[0][:3] == (2, 0.5, 0.5)
    assert importance.top_units(2).tolist() == [[1, 2], [1, 0], [2, 0]]
    assert importance.classes_by_unit(2) == [["b", "c"], ["a", "b"], ["a", "c"], []]


def test_equals_the_long_way_in_any_batches():
    model, images = settled(Residual()), torch.randn(30, 3, 8, 8)
    labels = torch.arange(30) % 5
    whole = dissect.unit_importance(model, "blocks.0.bn1", [(images, labels)], [(images, labels)], progress=False)
    parts = list(zip(images.split(7), labels.split(7)))
    small = dissect.unit_importance(model, "blocks.0.bn1", parts, parts, memory_budget=20_000, progress=False)
    expected = ClassTally(7, 5)
    rows = []
    for units in ([], *([unit] for unit in range(6))):
        with torch.no_grad(), dissect.ablate(model, "blocks.0.bn1", units):
            rows.append(model(images))
    expected.add(torch.stack(rows), labels, torch.arange(30))
    for found in (whole, small):
        assert torch.equal(found.val.balanced_accuracy(), expected.balanced_accuracy())
        torch.testing.assert_close(found.val.mean_logit(), expected.mean_logit(), rtol=1e-4, atol=1e-5)


def test_ablation_to_the_mean():
    model, (images, labels) = chain(), (torch.randn(20, 3, 8, 8), torch.arange(20) % 5)
    batches = list(zip(images.split(8), labels.split(8)))
    found = dissect.unit_importance(model, "2", batches, batches, fill="mean", progress=False)
    with torch.no_grad():
        means = model[2](model[1](model[0](images))).mean((0, 2, 3))
        torch.testing.assert_close(found.fill, means)
        with dissect.ablate(model, "2", [3], value=float(found.fill[3])):
            without = model(images)
    own = without[torch.arange(20), labels]
    expected = torch.stack([own[labels == number].double().mean() for number in range(5)])
    torch.testing.assert_close(found.mean_logit()[3], expected, rtol=1e-4, atol=1e-5)


def test_saved_and_loaded(tmp_path, importance):
    path = importance.save(tmp_path / "x.y")
    assert path.name == "x.y.importance"
    again = UnitImportance.load(tmp_path / "x.y")
    assert (again.layer, again.classes) == (importance.layer, importance.classes)
    assert torch.equal(again.drop(), importance.drop())
    assert torch.equal(again.fill, importance.fill)
    again.check_model(by_hand())
    assert repr(again) == "<UnitImportance of 4 units of '0' for 3 classes: 18 train images, 18 val images>"
    with pytest.raises(FileNotFoundError):
        UnitImportance.load(tmp_path / "nothing")


def test_split_half():
    scores, labels = torch.randn(6, 400, 3), torch.arange(400) % 3
    tally = ClassTally(6, 3)
    tally.add(scores, labels, torch.arange(400))
    found = UnitImportance("l", CLASSES, torch.zeros(5), tally, tally)
    from scipy.stats import spearmanr

    for number, correlation in enumerate(found.split_half().tolist()):
        halves = [tally.balanced_accuracy(half)[:, number] for half in (0, 1)]
        assert correlation == pytest.approx(spearmanr(*[half[0] - half[1:] for half in halves]).statistic)


def test_split_half_knows_nothing_of_classes_without_images_in_a_half():
    scores, labels = torch.randn(6, 40, 3), torch.arange(40) % 2
    tally = ClassTally(6, 3)
    tally.add(scores, labels, torch.arange(40))
    found = UnitImportance("l", CLASSES, torch.zeros(5), tally, tally)
    assert found.split_half().isnan().tolist() == [False, False, True]


class Interrupted(Exception):
    pass


def test_ctrl_c_saves(tmp_path, monkeypatch):
    model, images, labels = chain(), torch.randn(20, 3, 8, 8), torch.arange(20) % 5
    batches = list(zip(images.split(8), labels.split(8)))
    whole = dissect.unit_importance(model, "2", batches, batches, progress=False)
    seen, add = [], ClassTally.add

    def interrupted(self, *arguments):
        seen.append(self)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
        add(self, *arguments)

    monkeypatch.setattr(ClassTally, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dissect.unit_importance(model, "2", batches, batches, resume=tmp_path, progress=False)
    seen.clear()
    monkeypatch.setattr(ClassTally, "add", lambda self, *rest: seen.append(self) or add(self, *rest))
    again = dissect.unit_importance(model, "2", batches, batches, resume=tmp_path, progress=False)
    assert len(seen) < 6
    assert torch.equal(again.drop(), whole.drop())
    more = [*batches, batches[0]]
    with pytest.raises(ValueError, match="had the same val, but"):
        dissect.unit_importance(model, "2", batches, more, resume=tmp_path, progress=False)


@pytest.mark.parametrize("stop", [1, 3, 5, 8])
def test_an_interrupted_run_goes_on_with_the_same_bits(tmp_path, monkeypatch, stop):
    monkeypatch.setattr("dissect.files.progress.EVERY", 0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)
    model, images, labels = chain(), torch.randn(20, 3, 8, 8), torch.arange(20) % 5
    batches = list(zip(images.split(8), labels.split(8)))
    options = {"fill": "mean", "progress": False}
    whole = dissect.unit_importance(model, "2", batches, batches, **options)
    seen, numbers = [], measure.class_numbers

    def counting(batch):
        seen.append(batch)
        if len(seen) == stop:
            raise Interrupted
        return numbers(batch)

    monkeypatch.setattr(measure, "class_numbers", counting)
    with pytest.raises(Interrupted):
        dissect.unit_importance(model, "2", batches, batches, resume=tmp_path, **options)
    seen.clear()
    monkeypatch.setattr(measure, "class_numbers", lambda batch: seen.append(batch) or numbers(batch))
    again = dissect.unit_importance(model, "2", batches, batches, resume=tmp_path, **options)
    assert len(seen) == 9 - (stop - 1)
    for name, value in whole.val.state_dict().items():
        assert torch.equal(torch.as_tensor(again.val.state_dict()[name]), torch.as_tensor(value))
    with pytest.raises(ValueError, match="had the same fill"):
        dissect.unit_importance(model, "2", batches, batches, resume=tmp_path, progress=False)
    with pytest.raises(ValueError, match="had the same model"):
        dissect.unit_importance(chain(), "2", batches, batches, resume=tmp_path, **options)


@pytest.mark.filterwarnings("ignore:.*classes have no")
def test_a_hard_coded_batch_size():
    model, images, labels = settled(Tokens(batch=6)), torch.randn(6, 3, 8, 8), torch.arange(6) % 3
    found = dissect.unit_importance(model, "patches", [(images, labels)], [(images, labels)], progress=False)
    with torch.no_grad(), dissect.ablate(model, "patches", [2]):
        own = model(images)[torch.arange(6), labels]
    expected = torch.stack([own[labels == number].double().mean() for number in range(3)])
    torch.testing.assert_close(found.mean_logit()[2, :3], expected, rtol=1e-4, atol=1e-5)


def test_a_class_without_images_is_told_and_refused():
    batches = [(images[labels < 2], labels[labels < 2]) for images, labels in colors()]
    with pytest.warns(UserWarning, match=r"1 classes have no (train|val) images \(c\), so nothing is known"):
        found = dissect.unit_importance(by_hand(), "0", batches, batches, classes=CLASSES, progress=False)
    assert found.measured_classes() == [0, 1]
    assert found.drop()[:, 2].isnan().all()
    assert found.top_units(2)[2].tolist() == [-1, -1]
    with pytest.raises(ValueError, match="class 'c' has no train images"):
        found.top("c")
    with pytest.raises(KeyError, match=r"there is no class 'd'; it has \['a', 'b', 'c'\]"):
        found.top("d")
    with pytest.raises(ValueError, match="class 'c' has no train images"):
        dissect.unit_sets(by_hand(), found, batches, classes=["c"], progress=False)


def test_a_layer_that_is_read_twice_is_told():
    images, labels = torch.randn(10, 3, 8, 8), torch.arange(10) % 5
    batches = [(images, labels)]
    with pytest.warns(
        UserWarning, match=r"'stem' is read by AddBackward0 before .*, blocks\.0\.conv1; all of them see"
    ):
        dissect.unit_importance(settled(Residual()), "stem", batches, batches, progress=False)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model": by_hand().train()}, "the network must be in evaluation mode"),
        ({"fill": "noise"}, r"fill must be one of \('zero', 'mean'\), but got 'noise'"),
        ({"classes": ["a", "b"]}, "classes must be 3 names, as many as there are predictions, but are 2"),
        (
            {"images": [torch.zeros(2, 4, 2, 2)]},
            r"must come with class numbers \[N\], integers, but came with NoneType",
        ),
        ({"images": [(torch.zeros(2, 4, 2, 2), torch.zeros(2, 1, 2, 2))]}, r"but came with \[2, 1, 2, 2\]"),
        (
            {"images": [(torch.zeros(2, 4, 2, 2), torch.tensor([0, 3]))]},
            r"labels must be a vector of classes in \[0, 3\)",
        ),
        ({"images": []}, "images must hold at least one batch"),
        ({"val_images": []}, "val images must hold at least one batch"),
        ({"images": iter(colors())}, "images must be an iterable that can be visited again"),
        (
            {"model": nn.Sequential(nn.ReLU(inplace=True), *by_hand()).eval(), "layer": "1"},
            "leave its images as they are",
        ),
        ({"model": by_hand()[:2].eval()}, r"predictions \[N, classes\] with N=9, but gave \[9, 4, 2, 2\]"),
    ],
)
def test_bad_input(change, told):
    given = {"model": by_hand(), "layer": "0", "images": colors(), "val_images": colors(), "progress": False}
    with pytest.raises(ValueError, match=told):
        dissect.unit_importance(**(given | change))


def test_sets_by_hand(importance):
    sets = dissect.unit_sets(by_hand(), importance, colors(), counts=[3, 1], progress=False)
    assert sets.counts == (1, 3)
    assert sets.baseline().tolist() == [1, 1, 1]
    # Class b needs unit 1 alone; a is lost only if units 0 and 3 go.
    assert sets.curve("most").tolist() == [[0.75, 0.5], [0.5, 0.5], [0.5, 0.5]]
    rows = sets.table("b")
    assert [(row.removed, row.units, row.percent) for row in rows][1:3] == [("most", 1, 25), ("most", 3, 75)]
    assert rows[1][3:10] == pytest.approx((0.5, -0.5, 0, 0, 1, 2 / 3, 0.5), abs=1e-9)
    assert rows[1].all_class_accuracy == pytest.approx(2 / 3)
    kept_one = rows[4]  # without the three least important ones, b has all it needs
    assert (kept_one.removed, kept_one.balanced_accuracy, kept_one.auc) == ("least", 1.0, 1.0)
    average = sets.table()
    assert average[1].balanced_accuracy == pytest.approx((0.75 + 0.5 + 0.5) / 3)
    with pytest.raises(KeyError, match="class 'd' was not measured"):
        sets.table("d")
    with pytest.raises(ValueError, match="removed must be one of"):
        sets.curve("some")


def test_sets_of_classes_without_images_are_told_and_not_averaged(importance):
    batches = [(images[labels < 2], labels[labels < 2]) for images, labels in colors()]
    with pytest.warns(UserWarning, match=r"1 classes have no val images \(c\)"):
        sets = dissect.unit_sets(by_hand(), importance, batches, counts=[1], progress=False)
    assert sets.measured == (0, 1, 2)
    assert [sets.title(name) for name in (None, "b", 0)] == ["average of 2 classes", "b", "a"]
    average = sets.table()
    assert average[0].balanced_accuracy == 1
    for at in (1, 2):
        own = [sets.table(name)[at] for name in "ab"]
        for field in ("balanced_accuracy", "recall", "auc", "all_class_accuracy"):
            assert getattr(average[at], field) == pytest.approx(sum(getattr(row, field) for row in own) / 2)
    assert sets.table("c")[0].balanced_accuracy is None
    with pytest.raises(ValueError, match=r"classes must be named once each, but are \['a', 0\]"):
        dissect.unit_sets(by_hand(), importance, batches, counts=[1], classes=["a", 0], progress=False)


def test_sets_equal_the_long_way(tmp_path):
    model, images, labels = chain(), torch.randn(40, 3, 8, 8), torch.arange(40) % 5
    batches = list(zip(images.split(9), labels.split(9)))
    importance = dissect.unit_importance(model, "2", batches, batches, progress=False, fill="mean")
    sets = dissect.unit_sets(model, importance, batches, counts=[2, 4], classes=["3", 1], progress=False)
    for at, number in enumerate((3, 1)):
        order = importance.ranking(number)
        for removed, units in (("most", order[:2]), ("least", order[4:])):
            with torch.no_grad(), dissect.ablate(model, "2", units, value=importance.fill[units]):
                scores = model(images)
            tally = ClassTally(1, 5)
            tally.add(scores, labels, torch.arange(40))
            assert sets.curve(removed)[at, 0] == tally.balanced_accuracy()[0, number]
            row = next(row for row in sets.table(number) if (row.removed, row.units) == (removed, 2))
            assert row.auc == pytest.approx(
                float(dissect.classifiers.one_vs_rest_auc(scores, labels)[number]), abs=1e-3
            )
    sets.save(tmp_path / "s")
    assert UnitSets.load(tmp_path / "s").table(1) == sets.table(1)


def test_sets_go_on_with_the_same_importance_only(tmp_path, importance):
    options = {"counts": [1], "progress": False, "resume": tmp_path}
    first = dissect.unit_sets(by_hand(), importance, colors(), **options)
    assert dissect.unit_sets(by_hand(), importance, colors(), **options).table() == first.table()
    importance.train._hits[:, 1:] = 0  # which ranks the units by the logit alone
    with pytest.raises(ValueError, match="had the same importance"):
        dissect.unit_sets(by_hand(), importance, colors(), **options)


def test_another_network_is_refused(importance):
    other = by_hand()
    with torch.no_grad():
        other[0].weight.mul_(2)
    with pytest.raises(ValueError, match="model must be the network whose units were measured, but this Sequential"):
        dissect.unit_sets(other, importance, colors(), counts=[1], progress=False)
    importance.fingerprint = None
    assert dissect.unit_sets(other, importance, colors(), counts=[1], progress=False).counts == (1,)


def test_counts(importance):
    assert default_counts(512) == (4, 20, 256, 492)
    assert default_counts(192) == (2, 7, 96, 185)
    assert default_counts(2) == (1, 2)
    most, least = set_alphas(importance, [1], [3])
    assert most.tolist() == [1, 1, 1, 0]
    assert least.tolist() == [1, 0, 1, 1]
    for counts in ([], [0], [5], [1, 1], [1.5]):
        with pytest.raises(ValueError, match=r"counts must be different integers in \[1, 4\]"):
            dissect.unit_sets(by_hand(), importance, colors(), counts=counts, progress=False)
    wider = nn.Sequential(nn.Conv2d(4, 6, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()
    with pytest.raises(ValueError, match="must have the importance's 4 units, but has 6"):
        dissect.unit_sets(wider, importance, colors(), progress=False)


def test_every_class_is_a_row_of_its_name(importance):
    sets = dissect.unit_sets(by_hand(), importance, colors(), counts=[1, 3], progress=False)
    left, right = plots.plot_by_class(sets, 1).axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert sorted(names) == sorted(sets.classes)
    order = [sets.classes.index(name) for name in names]
    whole, most, least = (torch.tensor(line.get_xdata()) for line in left.lines[:3])
    assert torch.equal(whole, sets.baseline()[order])
    assert whole.tolist() == sorted(whole.tolist())
    assert torch.equal(most, sets.curve("most")[order, 0])
    assert torch.equal(least, sets.curve("least")[order, 0])
    torch.testing.assert_close(torch.tensor(right.lines[0].get_xdata()), 100 * (most - whole))


def test_plots(importance, tmp_path, monkeypatch):
    sets = dissect.unit_sets(by_hand(), importance, colors(), counts=[1, 3], progress=False)
    for figure in (
        importance.plot("a"),
        sets.plot("a"),
        sets.plot(),
        plots.plot_all_classes(sets, 1, 3),
        plots.plot_by_class(sets, 3),
    ):
        figure.savefig(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 5000
    bars = importance.plot("c", 2).axes[0].containers
    assert [bar.get_height() for bar in bars[0]] == [0.5, 0.0]
    with pytest.raises(ValueError, match=r"counts must be among \(1, 3\), but one is 2"):
        plots.plot_all_classes(sets, 1, 2)
    with pytest.raises(ValueError, match=r"count must be among \(1, 3\), but is 2"):
        plots.plot_by_class(sets, 2)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'dissect-units\[report\]'"):
        importance.plot("a")
