"""TailThreshold: exact order statistics, whatever the split, backend or order."""

import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stats.thresholds import KINDS, maps_of, order_statistic, settle

from dissect import Grid
from dissect.reference import upsample
from dissect.stats import TailThreshold
from dissect.stats.bins import sparse


def test_by_hand(backend):
    maps = torch.arange(1.0, 11.0).view(1, 1, 2, 5)
    for fraction, expected in ((0.1, 9.0), (0.25, 8.0), (0.05, 10.0), (0.99, 1.0), ("0.3", 7.0)):
        state = TailThreshold(fraction, positions="feature", backend=backend)
        settle(state, [maps])
        assert state.threshold().tolist() == [expected]


def test_the_fraction_is_the_decimal_as_written():
    # In binary, 0.29 * 100 is below 29.
    maps = torch.arange(100.0).view(1, 1, 10, 10)
    for fraction in (0.29, "0.29", Decimal("0.29"), Fraction(29, 100)):
        state = TailThreshold(fraction, positions="feature")
        settle(state, [maps])
        assert state.threshold().item() == 70  # 71 ... 99, 29 samples, are above


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("border", ["edge", "zeros"])
def test_pixel_positions_equal_a_sort(kind, border, backend):
    maps = maps_of(kind, (6, 5, 4, 7))
    grid = Grid.half_pixel((4, 7), (15, 22), border=border)
    state = TailThreshold(0.03, grid=grid, backend=backend)
    visits = settle(state, maps.split(2))
    values = (upsample(maps, grid.rows, grid.columns) + 0.0).transpose(0, 1).flatten(1)
    assert torch.equal(state.threshold(), order_statistic(values, 0.03))
    assert ((values > state.threshold()[:, None]).sum(1) <= int(Fraction("0.03") * values.shape[1])).all()
    assert visits <= 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_feature_positions_equal_a_sort(kind, dtype, backend):
    maps = maps_of(kind, (6, 5, 4, 7), dtype)
    state = TailThreshold(0.2, positions="feature", backend=backend)
    visits = settle(state, maps.split(4))
    assert torch.equal(state.threshold(), order_statistic((maps.float() + 0.0).transpose(0, 1).flatten(1), 0.2))
    assert visits == 1 if dtype != torch.float32 else visits <= 4


def test_every_level_takes_the_same_steps(simd):
    maps = maps_of("normal", (3, 35, 6, 6))
    states = [TailThreshold(0.01, size=(40, 40), backend=backend) for backend in ("cpp", "reference")]
    while True:
        for state in states:
            state.add(maps)
        done = [state.advance() for state in states]
        assert all(map(torch.equal, states[0].bracket(), states[1].bracket()))
        if all(done):
            break


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_fuzzed(data):
    values = data.draw(
        st.lists(
            st.floats(-(2.0**126), 2.0**126, exclude_min=True, exclude_max=True, width=32), min_size=1, max_size=40
        )
    )
    fraction = data.draw(st.fractions(Fraction(1, 1000), Fraction(999, 1000)))
    maps = torch.tensor(values).view(1, 1, 1, -1)
    state = TailThreshold(fraction, positions="feature")
    settle(state, [maps])
    rank = int(fraction * len(values)) + 1
    assert state.threshold().item() == sorted(values, reverse=True)[rank - 1]


def test_the_bracket_holds_the_threshold_after_every_visit():
    maps = maps_of("normal", (4, 6, 5, 5))
    state = TailThreshold(0.02, size=(30, 30))
    brackets = []
    while True:
        state.add(maps)
        done = state.advance()
        brackets.append(state.bracket())
        if done:
            break
    for low, high in brackets:
        assert (low <= state.threshold()).all()
        assert (state.threshold() <= high).all()
    assert all((later[0] >= earlier[0]).all() for earlier, later in itertools.pairwise(brackets))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_maps_of_the_segmentations_size_are_not_interpolated(dtype, backend):
    maps = maps_of("normal", (6, 5, 7, 8)).to(dtype)
    maps[:, 2] *= -0.0
    state, cells = (TailThreshold(0.1, positions=at, size=(7, 8), backend=backend) for at in ("pixel", "feature"))
    assert settle(state, maps.split(4)) == settle(cells, maps.split(4)) == (1 if dtype.itemsize == 2 else 3)
    wanted = maps.float().transpose(0, 1).flatten(1).sort(dim=1, descending=True).values[:, 336 // 10]
    assert torch.equal(state.threshold(), wanted)
    assert torch.equal(cells.threshold(), wanted)
    again = TailThreshold(0.1, size=(7, 8), backend=backend)
    again.add(maps[:2])
    again.load_state_dict(again.state_dict())
    rest = TailThreshold(0.1, size=(7, 8), backend=backend)
    rest.add(maps[2:])
    again.merge(rest)
    while not again.advance():
        again.add(maps)
    assert torch.equal(again.threshold(), wanted)


def test_grids_of_the_maps_own_cells():
    assert Grid.half_pixel((3, 4), (3, 4)).is_identity
    assert Grid.half_pixel((3, 4), (3, 4), border="zeros").is_identity
    assert Grid.align_corners((3, 4), (3, 4)).is_identity
    for other in (((3, 4), (3, 5)), ((3, 4), (2, 4)), ((1, 1), (3, 3))):
        assert not Grid.half_pixel(*other).is_identity


@pytest.mark.parametrize("positions", ["pixel", "feature"])
def test_empty_batches_and_zero_units(positions, backend):
    maps = maps_of("normal", (3, 4, 5, 5))
    plain, padded = (TailThreshold(0.1, positions=positions, size=(8, 8), backend=backend) for _ in range(2))
    assert settle(plain, [maps]) == settle(padded, [maps[:0], maps, maps[:0]])
    assert torch.equal(plain.threshold(), padded.threshold())
    nobody = TailThreshold(0.1, positions=positions, size=(8, 8), backend=backend)
    nobody.add(torch.zeros(2, 0, 5, 5))
    nobody.add(torch.zeros(1, 0, 5, 5))
    assert nobody.advance()
    assert nobody.threshold().shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fraction": 0}, "fraction must lie strictly between 0 and 1, but got 0"),
        ({"fraction": 1.0}, "but got 1.0"),
        ({"positions": "cell"}, "positions must be one of .* but got 'cell'"),
        ({}, "must come with a size or a grid"),
    ],
)
def test_constructor_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        TailThreshold(**arguments)


def test_errors_of_use():
    state = TailThreshold(0.1, size=(4, 4))
    with pytest.raises(RuntimeError, match="a visit must end"):
        state.bracket()
    with pytest.raises(ValueError, match="must add at least one sample"):
        state.advance()
    state.add(torch.randn(2, 3, 2, 2))
    with pytest.raises(ValueError, match=r"batch 1 of visit 0: activations must have U=3 units .* but got U=4"):
        state.add(torch.zeros(1, 4, 2, 2))
    with pytest.raises(ValueError, match=r"feature maps of \(3, 3\), but got \(2, 2\)"):
        state.add(torch.zeros(1, 3, 3, 3))
    with pytest.raises(ValueError, match=r"batch 1 of visit 0: .* image 0 of the batch, unit 2, is not"):
        state.add(torch.tensor([0, 0, float("nan")]).view(1, 3, 1, 1).expand(1, 3, 2, 2))
    assert not state.advance()
    with pytest.raises(RuntimeError, match=r"advance\(\) must have returned True"):
        state.threshold()
    state.add(torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match="must see the samples of the first, 32 per unit, but saw 16"):
        state.advance()


def test_units_of_the_edges_take_no_further_visits():
    """A fixed choice of pixels would have a wrong share of them, and so guess wrongly."""
    maps = torch.randn(80, 6, 16, 16).abs()
    for unit, edge in enumerate((maps[:, 0, 0], maps[:, 1, -1], maps[:, 2, :, 0], maps[:, 3, :, -1], maps[:, 4, -3])):
        edge *= 1 + unit + 3 * torch.rand(80, 1)
    batches = maps.split(8)
    state = TailThreshold(0.01, size=(128, 128))
    assert settle(state, batches) == 3
    values = upsample(maps, *(table.to(maps.device) for table in (state.grid.rows, state.grid.columns)))
    assert torch.equal(state.threshold(), order_statistic(values.transpose(0, 1).flatten(1), 0.01))


def test_units_that_the_first_images_mislead_take_one_more():
    maps = torch.randn(60, 4, 8, 8)
    maps[:10, 0] -= 30  # dead at first
    maps[:10, 1] += 30
    maps[10:, 2] = -torch.rand(50, 8, 8)  # silent later
    assert settle(TailThreshold(0.01, size=(50, 50)), maps.split(10)) <= 4


def test_choices_of_pixels_are_all_pixels_together():
    for size in (7, 16, 50, 125, 224, 225):
        grid = Grid.half_pixel((7, 7), (size, size))
        chosen = [sparse(grid, choice) for choice in range(5)]
        assert len({choice.target_shape for choice in chosen}) == 1
        for table, tables in (
            (grid.rows, [choice.rows for choice in chosen]),
            (grid.columns, [choice.columns for choice in chosen]),
        ):
            places = {tuple(row) for part in tables for row in part.tolist()}
            assert len(places) >= 0.95 * len({tuple(row) for row in table.tolist()})


def test_brackets_are_numbers():
    state = TailThreshold(0.3, positions="feature")
    state.add(1 + torch.rand(1, 1, 4, 4))  # opens the window far above the threshold
    state.add(-1e30 * (1 + torch.rand(9, 1, 4, 4)))
    assert not state.advance()
    low, high = state.bracket()
    assert low <= -1e30
    assert -1e30 <= high <= 2


def test_other_activations_at_a_later_visit_are_told():
    state = TailThreshold(0.01, positions="feature")
    state.add(torch.randn(8, 3, 16, 16))
    assert not state.advance()
    with pytest.raises(ValueError, match=r"visit \d must see the activations of the visits before"):  # noqa: PT012
        for _ in range(5):
            state.add(torch.randn(8, 3, 16, 16) + 3)
            state.advance()


def test_fractions_that_are_no_numbers():
    with pytest.raises(ValueError, match=r"fraction must be a number such as 0\.01, but got '1%'"):
        TailThreshold("1%", positions="feature")
