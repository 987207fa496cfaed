"""Importance where hooks, exchanged forwards and autocast change what layers give: as ablating by hand."""

import warnings
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

import dissect
from dissect.interventions.fanout import _kernels_with_vmap
from dissect.interventions.flow import follow

IMAGES, CLASSES = torch.rand(12, 3, 8, 8), torch.arange(12) % 3
CHANGES = {
    "softmax": lambda x: x.softmax(1),
    "tanh": lambda x: x.tanh(),
    "half": lambda x: x * 0.5,
    "flipped": lambda x: x.flip(1),
    "centred": lambda x: x - x.mean(1, keepdim=True),
}


def network():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        nn.Linear(32, 3),
    ).eval()  # fmt: skip


def check(model, layer, tolerance=1e-5):
    """Importance is what ablating each unit by hand gives."""
    found = dissect.unit_importance(model, layer, [(IMAGES, CLASSES)], [(IMAGES, CLASSES)], progress=False)
    for unit in range(8):
        with torch.no_grad(), dissect.ablate(model, layer, [unit]):
            own = model(IMAGES)[torch.arange(12), CLASSES].double()
        expected = torch.stack([own[CLASSES == number].mean() for number in range(3)])
        torch.testing.assert_close(found.mean_logit()[unit], expected, rtol=tolerance, atol=tolerance)


def test_the_short_cut_is_taken_where_nothing_is_changed():
    assert follow(network(), "0", IMAGES).linear == "4"
    check(network(), "0")


@pytest.mark.filterwarnings("ignore:.*the output of layer '0' is read by")
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", ["0", "1", "2", "3", "3.0", "3.1", "4"])
def test_forward_hooks(place, change):
    act = CHANGES[change]
    after, before = network(), network()
    after.get_submodule(place).register_forward_hook(lambda m, a, o: act(o))
    before.get_submodule(place).register_forward_pre_hook(lambda m, a: act(a[0]))
    for model in (after, before):
        check(model, "0")
        if place == "4":
            assert follow(model, "0", IMAGES).linear is None


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", ["1", "2", "3", "3.0", "4"])
def test_exchanged_forwards(place, change):
    model = network()
    module, act = model.get_submodule(place), CHANGES[change]
    forward = module.forward
    module.forward = lambda x: act(forward(x))
    assert follow(model, "0", IMAGES).linear is None
    check(model, "0")
    assert "forward" in vars(module)


def test_global_hooks():
    handle = register_module_forward_hook(lambda m, a, o: o.softmax(1) if isinstance(m, nn.Linear) else None)
    try:
        check(network(), "0")
    finally:
        handle.remove()


def test_fused_attention_comes_back_when_the_last_one_is_done():
    first, second = (_kernels_with_vmap(network(), torch.device("cpu")) for _ in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not torch.backends.mha.get_fastpath_enabled()
    second.__exit__(None, None, None)
    assert torch.backends.mha.get_fastpath_enabled()


class OverTheBatch(nn.BatchNorm2d):
    """In evaluation mode too it looks at all images of a batch, as copies of a set must not be seen by another."""

    def forward(self, x):
        return super().forward(x) - x.mean()


@pytest.mark.filterwarnings("ignore:.*the output of layer '0' is read by")
def test_a_batch_normalisation_that_computes_something_else():
    model = network()
    model[1] = OverTheBatch(8).eval()
    check(model, "0")


class Inside(nn.Module):
    def __init__(self, model, parts):
        super().__init__()
        self.model, self.parts = model, parts

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16) if self.parts == "all" else nullcontext():
            x = self.model[:4](x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.model[4](x)


@pytest.mark.parametrize("layer", ["0", "1", "2"])
@pytest.mark.parametrize("where", ["around", "all", "the linear layer"])
def test_autocast(where, layer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if where == "around":
            with torch.autocast("cpu", dtype=torch.bfloat16):
                check(network(), layer, 1e-2)
        else:
            check(Inside(network(), where).eval(), f"model.{layer}", 1e-2)
