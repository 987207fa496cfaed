"""TailThreshold: exact order statistics, whatever the split, backend or order."""

import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dissect import Grid, ops
from dissect.reference import upsample
from dissect.stats import TailThreshold
from dissect.stats.bins import sparse

KINDS = ("normal", "relu", "ties", "constant", "tiny", "huge", "subnormal")


def maps_of(kind, shape, dtype=torch.float32):
    maps = torch.randn(shape)
    maps = {
        "normal": maps,
        "relu": (maps - 1).relu(),
        "ties": maps.round(),
        "constant": torch.full(shape, -0.0),
        "tiny": maps * 1e-30,
        "huge": maps * 1e37,
        "subnormal": maps * 1e-42,
    }[kind]
    return maps.clamp(-60000, 60000).to(dtype) if dtype == torch.float16 else maps.to(dtype)


def settle(state, batches):
    """Visits until done; returns the number of visits."""
    for visit in range(1, 12):
        for batch in batches:
            state.add(batch)
        if state.advance():
            return visit
    raise AssertionError("did not settle")


def order_statistic(values, fraction):
    """[U] from [U, M]: the (floor(q * M) + 1)-th largest, by sorting."""
    rank = int(Fraction(str(fraction)) * values.shape[1]) + 1
    return values.sort(1, descending=True).values[:, rank - 1]


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


def test_splits_orders_and_merges_do_not_matter():
    maps = maps_of("relu", (8, 4, 5, 5))
    whole = TailThreshold(0.02, size=(20, 20))
    settle(whole, [maps])
    left, right = TailThreshold(0.02, size=(20, 20)), TailThreshold(0.02, size=(20, 20))
    while True:
        left.add(maps[5:])
        right.add(maps[2:5])
        right.add(maps[:2])
        left.merge(right)
        if left.advance():
            break
        right = TailThreshold(0.02, size=(20, 20))
        right.load_state_dict(left.state_dict())
    assert torch.equal(left.threshold(), whole.threshold())


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


def test_resumes_from_a_state_dict_in_the_middle_of_a_visit():
    maps = maps_of("normal", (4, 3, 5, 5))
    straight, resumed = TailThreshold(0.1, size=(9, 9)), TailThreshold(0.1, size=(9, 9))
    settle(straight, maps.split(1))
    resumed.add(maps[:3])
    again = TailThreshold(0.1, size=(9, 9))
    again.load_state_dict(resumed.state_dict())
    again.add(maps[3:])
    again.advance()
    settle(again, maps.split(1))
    assert torch.equal(again.threshold(), straight.threshold())


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


def test_states_that_do_not_fit_do_not_merge():
    def fresh(fraction=0.1, size=(4, 4)):
        state = TailThreshold(fraction, size=size)
        state.add(torch.randn(2, 3, 2, 2))
        return state

    with pytest.raises(ValueError, match="their fraction differs"):
        fresh().merge(fresh(0.2))
    with pytest.raises(ValueError, match="their grid differs"):
        fresh().merge(fresh(size=(5, 5)))
    ahead = fresh()
    ahead.advance()
    with pytest.raises(ValueError, match="their visit differs"):
        fresh().merge(ahead)
    with pytest.raises(ValueError, match="state's fraction must be 1/10, but is 1/5"):
        fresh().load_state_dict(fresh(0.2).state_dict())
    other = fresh(size=(5, 5))
    with pytest.raises(ValueError, match="the state's grid must be this one's, but they differ"):
        fresh().load_state_dict(other.state_dict())
    unused = TailThreshold(0.1, size=(4, 4))
    for take in (unused.merge, lambda other: unused.load_state_dict(other.state_dict())):
        with pytest.raises(ValueError, match=r"the state's size must be \(4, 4\), but is \(5, 5\)"):
            take(other)
    unused.merge(fresh())


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
        chosen = [sparse(grid, phase) for phase in range(5)]
        assert len({choice.target_shape for choice in chosen}) == 1
        for table, tables in (
            (grid.rows, [choice.rows for choice in chosen]),
            (grid.columns, [choice.columns for choice in chosen]),
        ):
            places = {tuple(row) for part in tables for row in part.tolist()}
            assert len(places) >= 0.95 * len({tuple(row) for row in table.tolist()})


def test_shards_whose_windows_open_elsewhere_merge_and_go_on():
    shards, batches = [], []
    for low in (-3.0, 0.0, 1.0, 100.0):
        batches.append(low * (1 + torch.rand(4, 2, 8, 8)))
        shards.append(TailThreshold(0.01, positions="feature"))
        shards[-1].add(batches[-1])
    for shard in shards[1:]:
        shards[0].merge(shard)
    batches.append(5 + torch.rand(4, 2, 8, 8))
    shards[0].add(batches[-1])
    assert not shards[0].advance()
    assert settle(shards[0], batches) <= 3
    values = torch.cat(batches).transpose(0, 1).flatten(1)
    assert torch.equal(shards[0].threshold(), order_statistic(values, 0.01))


def test_states_of_before_do_not_merge_where_their_bins_do_not_meet():
    """Their windows ended after 2^27 keys."""
    states = [TailThreshold(0.01, positions="feature") for _ in range(2)]
    for state, low in zip(states, (1.0, 1e9), strict=True):
        state.add(low * (1 + torch.rand(4, 1, 8, 8)))
        state._last = state._first + (1 << 27) - 1
    with pytest.raises(ValueError, match="their bins do not meet"):
        states[0].merge(states[1])


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


def test_a_visit_that_cannot_begin_for_want_of_memory_can_be_tried_again(monkeypatch):
    batches = torch.randn(12, 3, 5, 6).split(4)
    expected, state = TailThreshold(0.05, size=(20, 22)), TailThreshold(0.05, size=(20, 22))
    begin, failures = TailThreshold._bin, []

    def short_of_memory(self, *windows):
        if self is state and len(failures) < 2 * (state.visit + 1):  # twice at each visit
            failures.append(state.visit)
            raise torch.OutOfMemoryError
        begin(self, *windows)

    monkeypatch.setattr(TailThreshold, "_bin", short_of_memory)

    def tried(call, *arguments):
        for _ in range(3):
            try:
                return call(*arguments)
            except torch.OutOfMemoryError:
                pass
        raise AssertionError("it fails for good")

    visits = settle(expected, batches)
    for visit in range(1, visits + 1):
        for batch in batches:
            tried(state.add, batch)
        assert tried(state.advance) == (visit == visits)
    assert len(failures) >= 4
    assert torch.equal(state.threshold(), expected.threshold())


def test_a_batch_that_was_counted_in_part_poisons_the_state(monkeypatch):
    state, maps = TailThreshold(0.05, size=(20, 22)), torch.randn(4, 3, 5, 6)
    state.add(maps)
    counting, calls = ops.tail_histogram, []

    def failing(*arguments, **options):
        if len(calls) == 2:
            raise RuntimeError("the launch failed")
        calls.append(1)
        counting(*arguments, **options)

    monkeypatch.setattr(ops, "tail_histogram", failing)
    with pytest.raises(RuntimeError, match="the launch failed"):
        state.add(maps)
    monkeypatch.undo()
    for reader in (state.advance, state.state_dict, state.bracket):
        with pytest.raises(ValueError, match="batch 1 of visit 0 are not; its counts are worthless"):
            reader()


def test_a_state_that_is_done_holds_no_more_bins():
    for positions, dtype in (("pixel", torch.float32), ("feature", torch.bfloat16)):
        state = TailThreshold(0.05, positions=positions, size=(9, 9))
        settle(state, [torch.randn(4, 3, 5, 6).to(dtype)])
        assert state.state_dict()["bins"].numel() == 3
