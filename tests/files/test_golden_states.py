"""The same of states that runs and results hold."""

from pathlib import Path

import torch

from dissect.stats import NullTally, ThresholdSweep
from dissect.stats.classes import ClassTally
from dissect.stats.places import Places

GOLDEN = Path(__file__).parents[1] / "golden"


def test_threshold_sweep_1():
    state = ThresholdSweep(torch.tensor([[0.5, 2.5], [0.5, 5.5]]), 3)
    state.load(GOLDEN / "ThresholdSweep-1.safetensors")
    found = state.agreement()
    assert found.unit_area[:, 0].tolist() == [[5, 2], [3, 2]]
    assert found.label_area.flatten().tolist() == [0, 3, 3]
    assert found.intersection.tolist() == [[[0, 0], [3, 2], [1, 0]], [[0, 0], [0, 0], [2, 2]]]


def test_null_tally_1():
    state = NullTally(torch.tensor([1.0, 0.5]), 3, 1)
    state.load(GOLDEN / "NullTally-1.safetensors")
    assert state.scores().tolist() == [[2 / 5, 2 / 4]]


def test_class_tally_1():
    state = ClassTally(1, 3)
    state.load(GOLDEN / "ClassTally-1.safetensors")
    assert state.recall().tolist() == [[1.0, 1.0, 0.0]]
    assert state.balanced_accuracy().tolist() == [[0.75, 1.0, 0.5]]


def test_places_1():
    state = Places(2)
    state.load(GOLDEN / "Places-1.safetensors")
    assert state.iou(torch.tensor([1])).tolist() == [3 / 4]  # of two places
