"""ClassTally and one_vs_rest_auc: hand-made tables, other libraries, laws, bad input."""

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, precision_score, recall_score, roc_auc_score

from dissect.classifiers import ClassTally, one_vs_rest_auc
from dissect.stats.classes import half_of, mean_ranks

#: Six images of classes 0 0 0 1 1 2, predicted as 0 0 1 1 2 2.
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
SCORES = torch.eye(3)[[0, 0, 1, 1, 2, 2]] * 4 + torch.tensor([0.5, 0.25, 0.0])


def tally_of(scores, labels, classes=3, sets=1):
    tally = ClassTally(sets, classes)
    tally.add(scores, labels, torch.arange(len(labels)))
    return tally


def test_by_hand():
    tally = tally_of(SCORES, LABELS)
    assert tally.images().tolist() == [3, 2, 1]
    assert tally.recall()[0].tolist() == [2 / 3, 1 / 2, 1]
    assert tally.precision()[0].tolist() == [1, 1 / 2, 1 / 2]
    assert tally.true_negative_rate()[0].tolist() == [1, 3 / 4, 4 / 5]
    assert tally.accuracy()[0].tolist() == pytest.approx([5 / 6, 4 / 6, 5 / 6])
    assert tally.balanced_accuracy()[0].tolist() == pytest.approx([5 / 6, 5 / 8, 9 / 10])
    assert tally.all_class_accuracy().tolist() == [4 / 6]
    assert tally.mean_logit()[0].tolist() == pytest.approx([(4.5 + 4.5 + 0.5) / 3, (4.25 + 0.25) / 2, 4.0])


def test_against_another_library():
    labels, scores = torch.randint(0, 4, (200,)), torch.randn(200, 4)
    tally, predicted = tally_of(scores, labels, 4), scores.argmax(1)
    for number in range(4):
        truth, guess = labels == number, predicted == number
        assert tally.balanced_accuracy()[0, number] == pytest.approx(balanced_accuracy_score(truth, guess))
        assert tally.precision()[0, number] == pytest.approx(precision_score(truth, guess))
        assert tally.recall()[0, number] == pytest.approx(recall_score(truth, guess))


def test_several_sets_at_once_are_each_alone():
    labels, scores = torch.randint(0, 3, (50,)), torch.randn(4, 50, 3)
    together = tally_of(scores, labels, sets=4)
    for at in range(4):
        alone = tally_of(scores[at], labels)
        assert torch.equal(together.balanced_accuracy()[at], alone.balanced_accuracy()[0])
        assert torch.equal(together.mean_logit()[at], alone.mean_logit()[0])


def test_any_split_and_order_has_the_same_bits():
    labels, scores, numbers = torch.randint(0, 3, (60,)), torch.randn(2, 60, 3) * 100, torch.arange(60) * 7
    whole, first, second = ClassTally(2, 3), ClassTally(2, 3), ClassTally(2, 3)
    whole.add(scores, labels, numbers)
    order = torch.randperm(60)
    for part, tally in zip(order.split(23), (first, second, second)):
        tally.add(scores[:, part], labels[part], numbers[part])
    first.merge(second)
    for name, value in whole.state_dict().items():
        assert torch.equal(torch.as_tensor(first.state_dict()[name]), torch.as_tensor(value))


def test_halves_are_even_disjoint_and_belong_to_the_numbers():
    for step in (1, 2, 43, 44, 1000):
        assert half_of(torch.arange(1000) * step).sum().item() == pytest.approx(500, abs=20)
    tally = tally_of(SCORES.repeat(20, 1), LABELS.repeat(20))
    assert torch.equal(tally.images(0) + tally.images(1), tally.images())
    assert (tally.images(0) > 0).all()


def test_a_class_without_images_and_one_never_predicted():
    tally = tally_of(SCORES[:3], LABELS[:3])
    assert tally.recall()[0].isnan().tolist() == [False, True, True]
    assert tally.balanced_accuracy()[0].isnan().tolist() == [True, True, True]  # of class 0, no others either
    tally = tally_of(torch.eye(3)[[0, 0, 1]], torch.tensor([0, 1, 1]))
    assert tally.precision()[0].tolist() == [0.5, 1, 0]


def test_saved_and_loaded(tmp_path):
    tally = tally_of(SCORES, LABELS)
    tally.save(tmp_path / "tally")
    again = ClassTally(1, 3)
    again.load(tmp_path / "tally")
    assert torch.equal(again.balanced_accuracy(), tally.balanced_accuracy())
    with pytest.raises(ValueError, match="num_sets and num_classes must be 2 and 3, but are 1 and 3"):
        ClassTally(2, 3).load(tmp_path / "tally")


@pytest.mark.parametrize(
    ("scores", "labels", "told"),
    [
        (torch.zeros(6), LABELS, r"shape \[N, classes\] with N=6, classes=3, but got \[6\]"),
        (torch.zeros(6, 4), LABELS, r"but got \[6, 4\]"),
        (torch.zeros(5, 3), LABELS, r"but got \[5, 3\]"),
        ("scores", LABELS, "but got str"),
        (SCORES * float("nan"), LABELS, "must be finite"),
        (SCORES * 2.0**21, LABELS, "at most 2\\^22"),
        (SCORES, LABELS + 1, r"classes in \[0, 3\), but have shape \[6\] and go from 1 to 3"),
        (SCORES, LABELS - 1, "go from -1 to 1"),
    ],
)
def test_bad_input(scores, labels, told):
    tally = ClassTally(1, 3)
    with pytest.raises(ValueError, match=told):
        tally.add(scores, labels, torch.arange(6))
    assert not tally.images().any()


def test_bad_sizes():
    with pytest.raises(ValueError, match="num_classes at least 2, but got 1 and 1"):
        ClassTally(1, 1)
    with pytest.raises(ValueError, match="must be 1 and 3, but are 2 and 3"):
        ClassTally(1, 3).merge(ClassTally(2, 3))


def test_auc_by_hand_and_against_another_library():
    scores = torch.tensor([[1.0, 0.0], [2.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    # Of class 0's images (1 and 2) against the others' (2 and 3): one tie in four pairs.
    assert one_vs_rest_auc(scores, torch.tensor([0, 0, 1, 1])).tolist() == [0.125, 0.5]
    labels, scores = torch.randint(0, 3, (300,)), torch.randn(300, 3).mul(3).round()  # many ties
    for number, area in enumerate(one_vs_rest_auc(scores, labels).tolist()):
        assert area == pytest.approx(roc_auc_score(labels == number, scores[:, number]), abs=1e-12)
    assert one_vs_rest_auc(scores, torch.zeros(300, dtype=torch.int64)).isnan().all()
    with pytest.raises(ValueError, match=r"\[N, classes\], but got \[3\]"):
        one_vs_rest_auc(torch.zeros(3), torch.zeros(3))


def test_auc_is_not_moved_by_rivals_though_balanced_accuracy_is():
    labels = torch.tensor([0, 0, 1, 1])
    scores = torch.tensor([[1.0, 2.0], [3.0, 2.0], [0.0, 5.0], [0.5, 5.0]])
    damaged = scores - torch.tensor([0.0, 1.5])  # the rival loses
    before, after = tally_of(scores, labels, 2), tally_of(damaged, labels, 2)
    assert before.balanced_accuracy()[0, 0] < after.balanced_accuracy()[0, 0]
    assert torch.equal(one_vs_rest_auc(scores, labels), one_vs_rest_auc(damaged, labels))


def test_mean_ranks():
    assert mean_ranks(torch.tensor([5.0, 1.0, 5.0, 9.0])).tolist() == [2.5, 1, 2.5, 4]
