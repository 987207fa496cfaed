"""TailThreshold by hot cells from the second visit on: the same thresholds, or it tells that it needs whole maps."""

import pytest
import torch
from stats.thresholds import KINDS, maps_of, settle

from dissect import Grid, ops
from dissect.stats import TailThreshold


def settle_hot(state, batches, floors=None):
    """Visits until done, from the second on by hot cells wherever they will do; the kinds of visits."""
    kinds = []
    for visit in range(12):
        hot = visit > 0 and not state.whole
        reach = 0 if state.grid is None or state.grid.is_identity else 1
        levels = (state.floors() if floors is None else floors) if hot else None
        for batch in batches:
            state.add(ops.hot_cells(batch, levels, reach=reach) if hot else batch)
        kinds.append("hot" if hot else "whole")
        if state.advance():
            return kinds
    raise AssertionError("did not settle")


@pytest.mark.parametrize("border", ["edge", "zeros"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_thresholds(kind, border):
    torch.manual_seed(KINDS.index(kind))
    maps = maps_of(kind, (10, 6, 7, 7))
    for options in ({"grid": Grid.half_pixel((7, 7), (30, 30), border=border)}, {"positions": "feature"}):
        for fraction in (0.01, 0.1, 0.6):
            expected, state = (TailThreshold(fraction, **options) for _ in range(2))
            settle(expected, maps.split(3))
            assert settle_hot(state, maps.split(3))[0] == "whole"
            assert torch.equal(state.threshold(), expected.threshold())


def test_floors_leave_about_twice_the_fraction():
    torch.manual_seed(0)
    maps = maps_of("normal", (40, 8, 9, 9))
    state = TailThreshold(0.02, size=(36, 36))
    settle_hot(state, maps.split(8))
    above = torch.nn.functional.interpolate(maps, (36, 36), mode="bilinear", align_corners=False)
    shares = (above > state.floors()[:, None, None]).float().mean((0, 2, 3))
    assert ((shares > 0.025) & (shares < 0.07)).all()
    assert (state.floors() < state.threshold()).all()


@pytest.mark.parametrize("split", [False, True])
def test_floors_that_are_too_high_are_found_out(split):
    torch.manual_seed(1)
    maps = maps_of("normal", (8, 5, 6, 6))
    expected, state = (TailThreshold(0.05, size=(24, 24)) for _ in range(2))
    settle(expected, [maps])
    floors = expected.threshold() * torch.tensor([1.5, 0.5, 1.0, 0.9, 1.1])
    if not split:
        kinds = settle_hot(state, [maps], floors)
    else:  # floors of one shard alone, which is merged
        state.add(maps)
        state.advance()
        other = TailThreshold(0.05, size=(24, 24))
        other.load_state_dict(state.state_dict())
        state.add(maps[:4])
        other.add(ops.hot_cells(maps[4:], floors))
        state.merge(other)
        kinds = ["whole", "hot"]
        assert not state.advance()
        again = TailThreshold(0.05, size=(24, 24))
        again.load_state_dict(state.state_dict())
        assert again.whole
        kinds += settle_hot_on(again, [maps])
        state = again
    assert kinds[:3] == ["whole", "hot", "whole"]
    assert torch.equal(state.threshold(), expected.threshold())


def settle_hot_on(state, batches):
    kinds = []
    while True:
        kinds.append("whole" if state.whole else "hot")
        for batch in batches:
            state.add(batch)
        if state.advance():
            return kinds


def test_hot_cells_are_refused_where_maps_must_be_whole():
    maps = maps_of("normal", (2, 3, 4, 4))
    state = TailThreshold(0.1, size=(8, 8))
    hot = ops.hot_cells(maps, torch.zeros(3))
    with pytest.raises(ValueError, match=r"batch 0 of visit 0: activations must be whole maps at this visit"):
        state.add(hot)
    with pytest.raises(RuntimeError, match="a visit must end with advance"):
        state.floors()
    state.add(maps)
    state.advance()
    state.add(hot)
    saved = state.state_dict()
    with pytest.raises(ValueError, match="spare"):
        TailThreshold(0.1, size=(8, 8)).load_state_dict(saved | {"spare": saved["spare"] - 2**33})


def sparse_maps(images):
    """Of units that a ReLU silences: everywhere, nearly everywhere, in few images; two that it does not."""
    generator = torch.Generator().manual_seed(5)
    maps = torch.randn(images, 5, 7, 7, generator=generator).relu()
    maps[:, 0] = 0
    maps[:, 1] *= torch.rand(images, 7, 7, generator=generator) < 0.001
    maps[1:, 2] = 0
    maps[:, 4] -= 0.5
    return maps


@pytest.mark.parametrize("border", ["edge", "zeros"])
@pytest.mark.parametrize("size", [(7, 7), (30, 30)])
@pytest.mark.parametrize("shown", [0, 3])
def test_tails_that_end_at_zero_need_no_whole_maps(size, border, shown):
    """Where all cells are at least 0, what is left out is 0: also if some images are kept whole, zeros and all."""
    maps, grid = sparse_maps(40), Grid.half_pixel((7, 7), size, border=border)
    expected, state = (TailThreshold(0.05, grid=grid) for _ in range(2))
    settle(expected, maps.split(8))
    assert (expected.threshold()[:3] == 0).all()
    for visit in range(12):
        for at, batch in enumerate(maps.split(8)):
            if visit == 0:
                state.add(batch)
                continue
            assert not state.whole
            floors = state.floors().expand(8, -1).clone()
            floors[: shown if at == 0 else 0] = -torch.inf
            state.add(ops.hot_cells(batch, floors, reach=0 if grid.is_identity else 1))
        if state.advance():
            break
    assert torch.equal(state.threshold(), expected.threshold())


def test_zeros_below_which_there_is_more_need_whole_maps():
    """A unit whose floor is 0 and whose threshold is below: that no cell is below 0 must be known, not assumed."""
    maps = torch.randn(12, 3, 6, 6)
    expected, state = (TailThreshold(0.8, size=(24, 24)) for _ in range(2))
    settle(expected, [maps])
    assert (expected.threshold() < 0).all()
    state.add(maps)
    state.advance()
    state.add(ops.hot_cells(maps, torch.zeros(3)))
    assert not state.advance()
    assert state.whole
    settle(state, [maps])
    assert torch.equal(state.threshold(), expected.threshold())


@pytest.mark.parametrize("size", [(7, 7), (30, 30)])
def test_floors_rise_while_images_are_seen(size):
    """Those of a part of the images are none that the others would lower: what they keep is enough in the end."""
    maps = sparse_maps(60)
    state, before = TailThreshold(0.05, size=size), torch.full((5,), -torch.inf)
    with pytest.raises(RuntimeError, match="a visit must end with advance"):
        state.floors(0.5)
    for at, batch in enumerate(maps.split(6)):
        state.add(batch)
        floors = state.floors((at + 1) / 10)
        assert (floors >= before).all()
        before = floors
    assert (before[3:] > 0 if size == (30, 30) else before[3:] > -torch.inf).all()
    with pytest.raises(RuntimeError, match="a visit must end with advance"):
        state.floors()
    state.advance()
    assert torch.equal(state.floors(), before)
