"""Trace: retains, edits, stops, and leaves nothing behind."""

import threading
from collections import namedtuple

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


def test_a_models_own_handler_does_not_take_the_stop():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.ran_on = network(), False

        def forward(self, images):
            try:
                output = self.body(images)
            except Exception:
                output = None
            self.ran_on = True
            return output

    model, images = Careful().eval(), torch.randn(2, 3, 5, 5)
    with Trace(model, "body.0", stop=True) as trace:
        assert trace.run(images) is None
    assert not model.ran_on
    assert torch.equal(trace["body.0"], model.body[0](images))


def test_several_layers_and_nothing_left_behind():
    model, images = network(), torch.randn(2, 3, 5, 5)
    with Trace(model, ["0", "2"]) as trace:
        assert "2" not in trace
        output = model(images)
    assert torch.equal(trace["2"], output)
    assert "2" in trace
    assert "1" not in trace
    assert not trace["0"].requires_grad
    assert hooks(model) == 0


def test_what_was_taken_is_forgotten():
    model, images = network(), torch.randn(2, 3, 5, 5)
    with Trace(model, ["0", "2"]) as trace:
        output = model(images)
        assert torch.equal(trace.pop("2"), output)
        with pytest.raises(KeyError, match="'2' has not run"):
            trace.pop("2")
        model(images)
        assert torch.equal(trace["2"], output)


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


class Scaled(nn.Module):
    def forward(self, x, *, scale=1.0, shift=None):
        return x * scale + (0 if shift is None else shift)


class UsesKeywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.scaled = Scaled()

    def forward(self, x):
        return self.scaled(x, scale=3.0, shift=x.add(1)).relu_()


def test_what_a_layer_was_called_with():
    model, images = UsesKeywords(), torch.randn(1, 2, 3, 3)
    with Trace(model, "scaled", inputs=True) as trace:
        model(images)
    positional, keywords = trace.inputs("scaled")
    assert torch.equal(positional[0], images)
    assert keywords["scale"] == 3.0
    assert torch.equal(keywords["shift"], images + 1)
    with Trace(model, "scaled") as trace:
        model(images)
        with pytest.raises(KeyError, match="no inputs of layer 'scaled'; trace it with inputs=True"):
            trace.inputs("scaled")


class Named(nn.Module):
    Result = namedtuple("Result", "maps extra")

    def forward(self, x):
        return self.Result(x, {"twice": x * 2})


def test_named_tuples_and_dicts_are_retained():
    model, images = nn.Sequential(Named()), torch.randn(1, 2, 3, 3)
    with Trace(model, "0") as trace:
        model(images)
    assert torch.equal(trace["0"].maps, images)
    assert torch.equal(trace["0"].extra["twice"], images * 2)


def test_other_threads_are_not_traced():
    model, images = network(), torch.randn(1, 3, 5, 5)
    plain = model(images)
    with Trace(model, "0", edit=lambda output, _: output * 0) as trace:
        found = []
        thread = threading.Thread(target=lambda: found.append(model(images)))
        thread.start()
        thread.join()
        with pytest.raises(KeyError, match="has not run"):
            trace["0"]
        edited = model(images)
    assert torch.equal(found[0], plain)
    assert not torch.equal(edited, plain)
    assert hooks(model) == 0


def test_models_in_threads_of_their_own_are_refused():
    model = nn.DataParallel(nn.Sequential(nn.ReLU()))
    Trace(model, "module.0")  # on one device it runs in the thread that calls it
    model.device_ids = [0, 1]
    with pytest.raises(TypeError, match=r"it is an nn\.DataParallel over several GPUs, .* give its `\.module`"):
        Trace(model, "module.0")


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
def test_compiled_models_are_refused():
    inner = torch.compile(network(), backend="eager")
    for model in (inner, nn.Sequential(inner)):
        with pytest.raises(TypeError, match=r"was compiled by torch\.compile"):
            Trace(model, "0")
    in_place = network()
    in_place[2].compile(backend="eager")
    with pytest.raises(TypeError, match=r"its part '2' was compiled by torch\.compile"):
        Trace(in_place, "0")
    scripted = nn.Sequential(torch.jit.trace(network(), torch.zeros(1, 3, 5, 5)))
    with pytest.raises(TypeError, match="its part '0' is a TorchScript module"):
        Trace(scripted, "0")


@pytest.mark.filterwarnings("ignore")
def test_what_is_never_called_is_refused():
    program = torch.export.export(network(), (torch.zeros(1, 3, 5, 5),))
    with pytest.raises(TypeError, match=r"nn\.Module whose hooks fire, but got ExportedProgram"):
        Trace(program, "0")
    with pytest.raises(TypeError, match=r"layer '0' must be one that is called, .* an exported program"):
        Trace(program.module(), "0")
    with pytest.raises(TypeError, match=r"layer '0' must be one that is called, but is a ModuleList"):
        Trace(nn.Sequential(nn.ModuleList([nn.ReLU()])), "0")


def test_errors():
    model = network()
    with pytest.raises(KeyError, match=r"no layer '00'; the nearest are \['0'\]"):
        Trace(model, "00")
    with pytest.raises(KeyError, match=r"no layer 'qqqq'; it has \['0', '1', '2'\]\."):
        Trace(model, "qqqq")
    with pytest.raises(KeyError, match=r"no layer '0'; it has none, for it consists of no modules"):
        Trace(nn.Identity(), "0")
    with pytest.raises(KeyError, match=r"no layer 'qqqq'; it has \['0', '1', '2', '3', '4'\] and 3 more\."):
        Trace(nn.Sequential(*(nn.Identity() for _ in range(8))), "qqqq")
    with pytest.raises(KeyError, match="no layer ''"):
        Trace(model, "")
    with pytest.raises(TypeError, match=r"layers must be names, .* but 2 of them are no text but list\.$"):
        Trace(model, [[torch.zeros(1)], [torch.zeros(1)]])
    with pytest.raises(ValueError, match="at least one layer"):
        Trace(model, [])
    with pytest.raises(ValueError, match="retain must be 'before', 'after' or None, but got 'both'"):
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
