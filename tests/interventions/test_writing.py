"""write(): exactly what the intervention gives, or refused, where something beside the weights determines the units."""

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils import parametrize, prune

import dissect


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, 4, 1)).eval()


def hooked(layer, register, hook):
    model = network()
    getattr(model[layer], register)(hook)
    return model


def exchanged(part):
    model = network()
    module = model[int(part)] if part else model
    forward = module.forward
    module.forward = lambda x: forward(x) + 1
    return model


def pruned(name):
    model = network()
    prune.l1_unstructured(model[0], name, 2)
    return model


class Halved(nn.Module):
    def forward(self, bias):
        return bias / 2


def parametrized():
    model = network()
    parametrize.register_parametrization(model[0], "bias", Halved())
    return model


def one_bias():
    model = network()
    model[3].bias = model[0].bias
    return model


def one_memory():
    model = network()
    model[3].weight = nn.Parameter(model[0].weight.data.flatten()[4:20].view(4, 4, 1, 1))
    return model


def without_parameter():
    model = network()
    bias = model[0].bias.data
    del model[0].bias
    model[0].bias = bias
    return model


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)

    def forward(self, x):
        return self.attention(x, x, x)[0]


REFUSED = {
    "hook": (lambda: hooked(0, "register_forward_hook", lambda m, a, o: o + 1), "0", "'0' has forward hooks"),
    "hook on the ReLU": (lambda: hooked(1, "register_forward_hook", lambda m, a, o: o + 1), "1", "'1' has forward"),
    "pre-hook on the ReLU": (lambda: hooked(1, "register_forward_pre_hook", lambda m, a: a[0] + 1), "2", "'1' has"),
    "pre-hook": (lambda: hooked(0, "register_forward_pre_hook", lambda m, a: None), "2", "'0' has forward hooks"),
    "pruned weight": (lambda: pruned("weight"), "0", "'0' has forward hooks"),
    "pruned bias": (lambda: pruned("bias"), "2", "'0' has forward hooks"),
    "parametrized bias": (parametrized, "0", "the biases of '0' are computed from others"),
    "bias that is no parameter": (without_parameter, "0", "the biases of '0' are computed from others"),
    "shared bias": (one_bias, "0", r"weights of '0' are shared by \['0', '3'\]"),
    "shared memory": (one_memory, "0", r"weights of '0' are shared by \['0', '3'\]"),
    "exchanged forward": (lambda: exchanged("0"), "0", "'0' has another forward than its class"),
    "exchanged forward of the ReLU": (lambda: exchanged("1"), "1", "'1' has another forward than its class"),
    "exchanged forward around": (lambda: exchanged(""), "1", "what feeds '1' is not known"),
    "attention": (lambda: Attention().eval(), "attention.out_proj", "'attention.out_proj' is never called"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_weights_alone_do_not_determine_is_not_written(case):
    make, layer, told = REFUSED[case]
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"Intervention: .*{told}"):
        dissect.ablate(model, layer, [1]).write()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("register", [register_module_forward_hook, register_module_forward_pre_hook])
def test_global_hooks(register):
    handle = register(lambda *_: None)
    try:
        with pytest.raises(ValueError, match="'0' runs under global forward hooks"):
            dissect.ablate(network(), "0", [1]).write()
    finally:
        handle.remove()


def test_an_alpha_per_unit_must_be_one_of_each():
    with pytest.raises(ValueError, match="alpha must have one entry per unit, 2, but has 3"):
        dissect.ablate(network(), "0", [1, 2], alpha=torch.ones(3)).write()


@pytest.mark.parametrize("make", [network, lambda: hooked(3, "register_forward_hook", lambda m, a, o: o + 1)])
def test_written_within_blocks_and_beside_hooks_elsewhere(make):
    model, images = make(), torch.randn(2, 3, 5, 5)
    edit = dissect.insert(model, "2", [1, 3], value=[0.5, 2.0])
    with torch.no_grad(), edit, dissect.Trace(model, ["0", "2"]):
        expected = model(images)
        edit.write()
    with torch.no_grad():
        assert torch.equal(model(images), expected)


def test_after_pruning_was_made_permanent():
    model, images = pruned("bias"), torch.randn(2, 3, 5, 5)
    prune.remove(model[0], "bias")
    edit = dissect.insert(model, "0", [1], value=3.0)
    with torch.no_grad(), edit:
        expected = model(images)
    edit.write()
    with torch.no_grad():
        assert torch.equal(model(images), expected)
