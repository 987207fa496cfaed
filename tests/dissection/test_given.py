"""dissect() at thresholds that are given."""

import pytest
import torch
from small_dissection import CONCEPTS, Scenes, network
from torch import nn

import dissect

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")


def run(layers="3", **options):
    options = {"concepts": CONCEPTS, "progress": False, "batch_size": 5} | options
    return dissect.dissect(network(), layers, Scenes(), **options)


def differing(a, b):
    tensors = {name: value for name, value in vars(a).items() if isinstance(value, torch.Tensor)}
    assert len(tensors) > 5
    return [name for name, value in tensors.items() if not torch.equal(value, getattr(b, name))]


def test_those_that_were_found_give_the_same_counts():
    found = run()
    again = run(thresholds=found["3"].thresholds, fraction=0.5)
    assert not differing(found["3"], again["3"])
    assert torch.equal(found["3"].evidence.null, again["3"].evidence.null)
    assert list(again.settings["thresholds"]) == ["3"]
    assert "thresholds" not in found.settings


def test_others_count_what_exceeds_them():
    found = run()
    levels = found["3"].thresholds + torch.tensor([0.0, 0.1, -0.1, 0.2, float("inf"), -float("inf")])
    given = run(thresholds={"3": levels})["3"]
    assert torch.equal(given.thresholds, levels)
    assert given.unit_area[0] == found["3"].unit_area[0]
    assert given.unit_area[1] <= found["3"].unit_area[1] <= given.unit_area[2] * 2
    assert given.unit_area[4] == 0
    assert given.unit_area[5] == given.num_pixels


def test_layers_without_are_found_as_ever():
    layers = [name for name, module in network().named_modules() if isinstance(module, nn.Conv2d)][:2]
    both = run(layers)
    mixed = run(layers, thresholds={layers[0]: both[layers[0]].thresholds * 2})
    assert not differing(both[layers[1]], mixed[layers[1]])
    assert differing(both[layers[0]], mixed[layers[0]])


def test_a_run_goes_on_at_the_same_thresholds_only(tmp_path):
    found = run(thresholds=torch.zeros(6), resume=tmp_path)
    assert not differing(found["3"], run(thresholds=torch.zeros(6), resume=tmp_path)["3"])
    with pytest.raises(ValueError, match="had the same options"):
        run(thresholds=torch.ones(6), resume=tmp_path)


def test_a_threshold_of_zero_by_wish_is_no_sparse_unit(tmp_path):
    """As a ReLU's zero would be, below which a unit cannot go."""
    found = run(thresholds=torch.tensor([0.0, 0, 0, 0, 0, float("inf")]))
    assert [row.state for row in found.best()] == ["dead" if area == 0 else "ok" for area in found["3"].unit_area]
    assert int((found["3"].unit_area > 0).sum()) >= 3
    assert dissect.load(found.save(tmp_path / "d"))["3"].states() == found["3"].states()
    rectified = nn.Sequential(network(), nn.ReLU()).eval()
    own = dissect.dissect(rectified, "1", Scenes(), fraction=0.9, progress=False)
    assert "sparse" in {row.state for row in own.best()}


def test_the_page_says_so(tmp_path):
    page = dissect.write_report(run(thresholds=torch.zeros(6)), tmp_path).read_text()
    assert "Thresholds given" in page
    assert "Top fraction" not in page
    assert "Thresholds given" not in dissect.write_report(run(), tmp_path).read_text()


@pytest.mark.parametrize(
    ("thresholds", "error", "message"),
    [
        (torch.zeros(5), ValueError, r"must have shape \[U\] with U=6, but got \[5\]"),
        (torch.zeros(6, 4), ValueError, r"must have shape \[U\], one for each unit"),
        (torch.zeros(6).double(), TypeError, "must be a float32 tensor"),
        ([0.0] * 6, TypeError, "must be a float32 tensor.* but got list"),
        (torch.full((6,), float("nan")), ValueError, "must not be NaN, but unit 0's is"),
        ({"nope": torch.zeros(6)}, ValueError, r"must be of layers \['3'\], but name 'nope'"),
    ],
)
def test_what_are_no_thresholds_is_refused(thresholds, error, message):
    with pytest.raises(error, match=message):
        run(thresholds=thresholds)


def test_one_tensor_is_of_one_layer():
    with pytest.raises(ValueError, match="must be a mapping"):
        run(["0", "3"], thresholds=torch.zeros(6))
