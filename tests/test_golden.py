"""Files that were written by earlier versions are read for ever. `golden/write.py` wrote them."""

import importlib.util
from pathlib import Path

import pytest
import torch

import dissect
from dissect.stats import IouTally, Peaks, TailThreshold

GOLDEN = Path(__file__).parent / "golden"


def writer():
    spec = importlib.util.spec_from_file_location("write_golden", GOLDEN / "write.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dissection_1():
    found = dissect.load(GOLDEN / "dissection-1.dissection")
    layer = found["0"]
    # The top quarter of 8 samples: 2 fire, the third largest is the threshold.
    assert layer.thresholds.tolist() == [2.0, 5.0]
    assert layer.unit_area.tolist() == [2, 2]
    assert layer.label_area.tolist() == [0, 3, 3]
    assert layer.intersection.tolist() == [[0, 2, 0], [0, 0, 2]]
    assert layer.peak_images.tolist() == [[1], [1]]
    assert layer.masks(0).tolist() == [[[True, False], [False, False]]]
    assert [(row.concept, row.category, row.state) for row in found.best()] == [
        ("tree", "object", "ok"),
        ("red", "color", "ok"),
    ]
    assert [row.iou for row in found.best()] == [2 / 3, 2 / 3]
    assert found.image_numbers.tolist() == [1]
    assert found.settings["num_images"] == 2


def test_tail_threshold_1():
    state = TailThreshold(0.25, size=(2, 2))
    state.load(GOLDEN / "TailThreshold-1.safetensors")
    maps = writer().MAPS
    while not state.advance():
        state.add(maps)
    assert state.threshold().tolist() == [2.0, 5.0]


def test_peaks_1():
    state = Peaks(1)
    state.load(GOLDEN / "Peaks-1.safetensors")
    assert state.values().tolist() == [[4.0], [7.0]]
    assert state.images().tolist() == [[1], [1]]


def test_iou_tally_1():
    state = IouTally(torch.tensor([1.0, 0.5]), 3)
    state.load(GOLDEN / "IouTally-1.safetensors")
    assert state.intersection().tolist() == [[0, 3, 1], [0, 0, 2]]
    assert state.unit_area().tolist() == [[2, 1], [2, 2]]
    assert state.label_area().tolist() == [[0, 2, 0], [0, 1, 3]]


@pytest.mark.parametrize("kind", ["dissection", "TailThreshold", "Peaks", "IouTally"])
def test_every_version_has_its_file(kind):
    current = {state.__class__.__name__: state.version for state in writer().states()}
    current["dissection"] = writer().DISSECTION[1]
    written = sorted(int(path.stem.rpartition("-")[2]) for path in GOLDEN.glob(f"{kind}-*"))
    assert written == list(range(1, current[kind] + 1))
