"""advance_all: the ends of several visits, for which a device is waited for once."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dissect.stats import TailThreshold
from dissect.stats.advancing import advance_all

#: Operators whose result the host must know.
WAITS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")


class Watch(TorchDispatchMode):
    """Collects the operators that wait."""

    def __init__(self):
        super().__init__()
        self.waited = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if function.overloadpacket.__name__ in WAITS:
            self.waited.append(str(function))
        return function(*arguments, **(options or {}))


def layers():
    """Maps of three layers: at pixels, at their own cells, and in 16 bits."""
    torch.manual_seed(0)
    return [
        (TailThreshold(0.05, size=(20, 20)), torch.randn(4, 3, 5, 5)),
        (TailThreshold(0.1, positions="feature"), torch.randn(4, 6, 5, 5).relu()),
        (TailThreshold(0.1, positions="feature"), torch.randn(4, 2, 5, 5).bfloat16()),
    ]


def test_states_end_as_one_by_one_and_wait_once(monkeypatch):
    together, alone = layers(), layers()
    read, original = [], torch.Tensor.tolist
    while any(not state.done for state, _ in together):
        for state, maps in together + alone:
            if not state.done:
                state.add(maps)
        here = [(f"layer {at}", state) for at, (state, _) in enumerate(together) if not state.done]
        with monkeypatch.context() as patched, Watch() as watch:
            patched.setattr(torch.Tensor, "tolist", lambda tensor: read.append(tensor) or original(tensor))
            advance_all(here)
        assert len(read) == 1
        assert not watch.waited
        read.clear()
        for state, _ in alone:
            if not state.done:
                state.advance()
        for (one, _), (other, _) in zip(together, alone):
            ours, theirs = one.state_dict(), other.state_dict()
            assert all(torch.equal(ours[name], theirs[name]) for name in ("low", "high", "first", "bins", "spare"))
            assert (one.visit, one.done) == (other.visit, other.done)
    assert together[0][0].visit > 1
    advance_all([])


def test_a_refusal_says_which_and_none_has_advanced():
    (first, maps), (second, _), _ = layers()
    first.add(maps)
    with pytest.raises(ValueError, match=r"^layer 1: a visit must add at least one sample"):
        advance_all([("layer 0", first), ("layer 1", second)])
    assert first.visit == 0


def test_bad_data_is_told_before_anything_is_taken_over():
    (state, maps), _, _ = layers()
    state.add(maps)
    state._status = torch.tensor(1, dtype=torch.int32)  # as a kernel leaves it
    with pytest.raises(ValueError, match=r"^layer 0: .*batch 0 of visit 0"):
        advance_all([("layer 0", state)])
    assert state.visit == 0
