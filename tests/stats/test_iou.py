"""IoU from counts, both scopes, by hand and against a plain loop."""

import pytest
import torch

from dissect import ops
from dissect.grid import Grid
from dissect.reference import upsample
from dissect.stats import IouTally, best_labels, iou


def test_iou_by_hand():
    scores = iou(torch.tensor([[0, 2, 0, 4]]), torch.tensor([4]), torch.tensor([0, 6, 0, 4]))
    assert scores.tolist() == [[0.0, 0.25, 0.0, 1.0]]
    assert iou(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([0]), torch.tensor([0])).tolist() == [[0.0]]


def test_best_label_is_the_smallest_of_equals_and_never_zero():
    assert best_labels(torch.tensor([[9.0, 0.5, 0.7, 0.7], [9.0, 0.0, 0.0, 0.0]])).tolist() == [2, 1]


def test_category_scope_by_hand():
    # Image 0 carries an object (label 1) and no colour; image 1 a colour (label 2) and no object.
    maps = torch.tensor([[[[1.0, 1.0]]], [[[1.0, 0.0]]]])
    planes = torch.tensor([[[[1, 0]]], [[[2, 2]]]])
    tally = IouTally(torch.tensor([0.5]), 3)
    tally.add(maps, ops.encode_labels(planes, 3), torch.arange(2))
    assert tally.iou().tolist() == [[0.0, 1 / 3, 1 / 4]]
    assert tally.iou("category", ("", "object", "color")).tolist() == [[0.0, 1 / 2, 1 / 2]]
    assert tally.scoped_unit_area("category", ("", "object", "color")).tolist() == [[0, 2, 1]]


def test_against_a_plain_loop():
    maps, planes = torch.randn(5, 4, 3, 3), torch.randint(0, 6, (5, 2, 10, 11))
    categories = ("", "a", "a", "b", "b", "c")
    planes[1][planes[1] == 5] = 0
    tally = IouTally(torch.zeros(4), 6)
    for part in ([3, 4], [0], [1, 2]):
        tally.add(maps[part], ops.encode_labels(planes[part], 6), torch.tensor(part))
    from dissect import Grid

    grid = Grid.half_pixel((3, 3), (10, 11))
    fires = upsample(maps, grid.rows, grid.columns) > 0
    for label in range(1, 6):
        carries = (planes == label).any(1)[:, None]
        members = torch.tensor([c for c in range(6) if categories[c] == categories[label]])
        present = torch.isin(planes, members).flatten(1).any(1)
        intersection = (fires & carries).sum((0, 2, 3)).double()
        expected = intersection / (fires | carries).sum((0, 2, 3))
        assert torch.equal(tally.iou()[:, label], expected)
        within = fires[present].sum((0, 2, 3)) + carries.sum() - intersection
        assert torch.equal(tally.iou("category", categories)[:, label], intersection / within)
    assert torch.equal(tally.unit_area(), fires.sum((2, 3)))


def test_states_merge_and_load():
    maps, planes = torch.randn(6, 4, 3, 3), torch.randint(0, 6, (6, 2, 10, 11))
    whole, left, right, loaded = (IouTally(torch.zeros(4), 6) for _ in range(4))
    whole.add(maps, ops.encode_labels(planes, 6), torch.arange(6))
    left.add(maps[3:], ops.encode_labels(planes[3:], 6), torch.arange(3, 6))
    right.add(maps[:3], ops.encode_labels(planes[:3], 6), torch.arange(3))
    left.merge(right)
    loaded.load_state_dict(left.state_dict())
    for tally in (left, loaded):
        assert torch.equal(tally.intersection(), whole.intersection())
        assert torch.equal(tally.unit_area(), whole.unit_area())
        assert torch.equal(tally.label_area(), whole.label_area())


def test_a_state_of_another_grid_is_refused():
    edge, zeros = (Grid.half_pixel((3, 3), (6, 6), border=border) for border in ("edge", "zeros"))
    state = IouTally(torch.zeros(4), 6, grid=edge).state_dict()
    IouTally(torch.zeros(4), 6, grid=edge).load_state_dict(state)
    for other in (zeros, None):
        with pytest.raises(ValueError, match="the state's grid must be this tally's, but they differ"):
            IouTally(torch.zeros(4), 6, grid=other).load_state_dict(state)


def test_planes_count_as_their_encoding_does():
    maps, planes = torch.randn(3, 4, 3, 3), torch.randint(0, 6, (3, 2, 10, 11))
    encoded, raw = IouTally(torch.zeros(4), 6), IouTally(torch.zeros(4), 6)
    encoded.add(maps, ops.encode_labels(planes, 6), torch.arange(3))
    raw.add(maps, planes, torch.arange(3))
    assert torch.equal(raw.iou(), encoded.iou())


def test_errors():
    tally = IouTally(torch.zeros(1), 2)
    with pytest.raises(ValueError, match=r"scope must be one of .* but got 'some'"):
        tally.iou("some")
    with pytest.raises(ValueError, match="must come with the category of each label"):
        tally.iou("category")
    with pytest.raises(TypeError, match="planes must be uint8, int16, int32 or int64"):
        tally.add(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.arange(1))
    with pytest.raises(ValueError, match="num_labels must be the labels' 3, but got 2"):
        tally.add(torch.zeros(1, 1, 2, 2), ops.encode_labels(torch.ones(1, 1, 2, 2).byte(), 3), torch.arange(1))
    with pytest.raises(ValueError, match="IouTally: images must be added once each, but 5 came twice in a batch"):
        tally.add(torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2).byte(), torch.tensor([5, 5]))
    with pytest.raises(ValueError, match="must agree, but their thresholds differs"):
        tally.merge(IouTally(torch.ones(1), 2))
    with pytest.raises(ValueError, match="must agree, but their number of labels differs"):
        tally.merge(IouTally(tally.thresholds, 3))
    with pytest.raises(ValueError, match="must agree, but their grid differs"):
        tally.merge(IouTally(tally.thresholds, 2, grid=Grid.half_pixel((2, 2), (4, 4))))
    with pytest.raises(ValueError, match="must count 2 labels, but counts 3"):
        tally.load_state_dict(IouTally(tally.thresholds, 3).state_dict())
    with pytest.raises(ValueError, match="thresholds must be this tally's"):
        tally.load_state_dict(IouTally(torch.ones(1), 2).state_dict())


def test_folded_images_give_the_same_ious():
    generator = torch.Generator().manual_seed(3)
    categories = ("", "object", "object", "color")
    whole, folded = (IouTally(torch.tensor([0.2, 0.7]), 4) for _ in range(2))
    for begin in range(0, 40, 8):
        maps = torch.rand(8, 2, 3, 3, generator=generator)
        planes = torch.randint(0, 4, (8, 1, 3, 3), generator=generator) * torch.randint(0, 2, (8, 1, 1, 1))
        planes[::3] = planes[::3].clamp(max=2)
        labels = ops.encode_labels(planes, 4)
        for tally in (whole, folded):
            tally.add(maps, labels, torch.arange(begin, begin + 8))
        folded.fold(categories)
        assert len(folded.unit_area()) <= 4  # with objects or without, with colours or without
    assert len(whole.unit_area()) == 40
    for scope in ("all", "category"):
        assert torch.equal(whole.iou(scope, categories), folded.iou(scope, categories))
    assert torch.equal(whole.label_area().sum(0), folded.label_area().sum(0))
    empty = IouTally(torch.tensor([0.2]), 4)
    empty.fold(categories)
    assert empty.iou().sum() == 0
