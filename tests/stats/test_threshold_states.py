"""States of TailThreshold: split, merged, resumed, and after a failure."""

import pytest
import torch
from stats.thresholds import maps_of, order_statistic, settle

from dissect import ops
from dissect.stats import TailThreshold


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


def test_goes_on_from_a_state_whose_first_visit_binned_bounds_too():
    """As that of version 3 did: bounds in its first two histograms, few pixels in the third."""
    maps, own = maps_of("normal", (4, 3, 5, 5)), ("first", "last", "shift", "bins", "above")
    straight, before, again = (TailThreshold(0.1, size=(9, 9)) for _ in range(3))
    settle(straight, maps.split(1))
    before.add(maps[:3])
    state = before.state_dict()
    again.load_state_dict(state | {name: torch.cat([torch.ones_like(state[name])] * 2 + [state[name]]) for name in own})
    again.add(maps[3:])
    again.advance()
    settle(again, maps.split(1))
    assert torch.equal(again.threshold(), straight.threshold())


def test_a_state_that_counted_where_there_are_no_keys_is_refused():
    """Its bracket would begin beyond the largest key."""
    state = TailThreshold(0.1, size=(4, 4))
    state.add(maps_of("normal", (4, 3, 2, 2)))
    saved = state.state_dict()
    assert ((saved["last"] - saved["first"]) >> saved["shift"])[0, 1] < saved["bins"].shape[2] - 1
    saved["bins"][0, 1, -1] = 1
    with pytest.raises(ValueError, match="bins beyond last are empty"):
        TailThreshold(0.1, size=(4, 4)).load_state_dict(saved)


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


@pytest.mark.parametrize("batches", [0, 1])
def test_a_state_of_which_a_part_is_missing_is_refused(batches):
    state = TailThreshold(0.1, size=(4, 4))
    for _ in range(batches):
        state.add(torch.randn(2, 3, 3, 3))
    saved = state.state_dict()
    since = {"shift", "at_cells", "spare", "least"}  # which files of before lack
    of_nothing = {"dtype", "source", "rows", "columns"}  # None or missing before the first batch
    for name in saved.keys() - since - (of_nothing if not batches else set()):
        part = {key: value for key, value in saved.items() if key != name}
        with pytest.raises(ValueError, match=rf"without a dtype|come with a grid|\b{name}\b"):
            TailThreshold(0.1, size=(4, 4)).load_state_dict(part)
