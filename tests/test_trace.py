"""Trace: retains, edits, stops, and leaves nothing behind."""

import pytest
import torch
from torch import nn

from dissect import Trace


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1)).eval()


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_a_layers_own_output_even_if_an_in_place_operation_follows():
    model, images = network(), torch.randn(2, 3, 5, 5)
    with Trace(model, "0") as trace:
        model(images)
    assert torch.equal(trace["0"], model[0](images))
    assert (trace["0"] < 0).any()


def test_several_layers_and_nothing_left_behind():
    model, images = network(), torch.randn(2, 3, 5, 5)
    with Trace(model, ["0", "2"]) as trace:
        output = model(images)
    assert torch.equal(trace["2"], output)
    assert not trace["0"].requires_grad
    assert hooks(model) == 0


def test_stops_as_soon_as_all_layers_ran():
    model = network()
    ran = []
    model[2].register_forward_hook(lambda *_: ran.append(1))
    with Trace(model, ["0", "1"], stop=True) as trace:
        assert trace.run(torch.randn(1, 3, 5, 5)) is None
        assert trace.run(torch.randn(2, 3, 5, 5)) is None
    assert not ran
    assert len(trace["1"]) == 2
    with Trace(model, "0", stop=True) as trace:
        model(torch.randn(1, 3, 5, 5))
    assert trace["0"].shape == (1, 4, 5, 5)


def test_edits_and_what_is_retained():
    model, images = network(), torch.randn(1, 3, 5, 5)
    plain = model(images)

    def double(output, layer):
        assert layer == "2"
        return output * 2

    for retain, factor in (("before", 1), ("after", 2)):
        with Trace(model, "2", edit=double, retain=retain) as trace:
            assert torch.equal(model(images), plain * 2)
        assert torch.equal(trace["2"], plain * factor)
    assert torch.equal(model(images), plain)


def test_keeps_the_graph_if_asked():
    model = network()
    with Trace(model, "0", detach=False) as trace:
        model(torch.randn(1, 3, 5, 5))
    trace["0"].sum().backward()
    assert model[0].weight.grad is not None


def test_nothing_left_behind_after_an_exception():
    model = network()
    with pytest.raises(RuntimeError), Trace(model, "0"):
        model(torch.randn(1, 7, 5, 5))
    assert hooks(model) == 0


def test_keyword_inputs_and_tuple_outputs():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.LSTM(3, 4, batch_first=True)

        def forward(self, *, sequence):
            return self.inner(sequence)[0]

    model = Pair()
    with Trace(model, "inner") as trace:
        model(sequence=torch.randn(1, 2, 3))
    assert trace["inner"][0].shape == (1, 2, 4)


def test_errors():
    model = network()
    with pytest.raises(KeyError, match=r"no layer '00'; the nearest are \['0'\]"):
        Trace(model, "00")
    with pytest.raises(KeyError, match="no layer ''"):
        Trace(model, "")
    with pytest.raises(ValueError, match="at least one layer"):
        Trace(model, [])
    with pytest.raises(ValueError, match="retain must be 'before' or 'after', but got 'both'"):
        Trace(model, "0", retain="both")
    with pytest.raises(TypeError, match=r"nn.Module whose hooks fire, but got str"):
        Trace("model", "0")
    with Trace(model, "0") as trace:
        with pytest.raises(KeyError, match="has not run"):
            trace["0"]
        with pytest.raises(KeyError, match="is not traced"):
            trace["2"]


def test_a_layer_that_runs_twice_is_refused():
    shared = nn.Conv2d(3, 3, 1)
    model = nn.Sequential(shared, nn.Sequential(shared))
    with pytest.raises(RuntimeError, match="layer '0' ran twice"), Trace(model, "0"):
        model(torch.randn(1, 3, 2, 2))
