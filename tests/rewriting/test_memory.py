"""A layer as a memory: its matrix, keys and values are what the layer itself has and gives."""

import pytest
import torch
from rewriting import nets
from torch import nn
from torch.nn.utils import parametrizations

import dissect
from dissect import Trace
from dissect.rewriting import Memory


@pytest.mark.parametrize("name", nets.LAYERS)
def test_values_are_what_the_layer_gives(name):
    make, shape = nets.LAYERS[name]
    model, inputs = nets.one(make()), nets.randn(*shape, seed=9)
    memory = Memory(model, "0")
    keys = memory.keys(inputs)
    values, given = memory.values(keys), model(inputs).detach()
    if isinstance(model[0], nn.Linear):
        given = given.reshape(len(inputs), -1, 3).transpose(1, 2)[:, :, None]
    assert memory.linear
    assert values.shape == given.shape == (len(inputs), 3, *memory.value_size(keys))
    torch.testing.assert_close(values, given, atol=1e-5, rtol=0)


def test_the_matrix_is_read_as_the_paper_says():
    model = nets.one(nn.Conv2d(4, 3, (3, 2)))
    memory, weight = Memory(model, "0"), model[0].weight
    assert torch.equal(memory.matrix(), weight.permute(0, 2, 3, 1).reshape(3 * 3 * 2, 4))
    for name, (make, _) in nets.LAYERS.items():
        memory = Memory(nets.one(make()), "0")
        assert torch.equal(memory.form.weight(memory.matrix(), memory.weight.shape), memory.weight), name
        assert memory.matrix().shape == (3 * memory.form.taps, 4)


@pytest.mark.parametrize("layer", ["layer2", "layer3.conv", "layer6"])
@pytest.mark.parametrize("seeds", [False, True])
def test_stylegan2_is_nonlinear(layer, seeds):
    model = nets.stylegan2()
    z = nets.z_of(model)
    memory = Memory(model, layer)
    keys = memory.keys(z if seeds else z[0])
    styled = layer.partition(".")[0]
    with torch.no_grad(), Trace(model, [f"{styled}.modulate", f"{styled}.activate"]) as trace:
        model(z[0], noise=z[1] if seeds else None)
    assert torch.equal(keys.maps, trace[f"{styled}.modulate"])
    assert not memory.linear
    assert memory.value_layer == f"{styled}.activate"
    torch.testing.assert_close(memory.values(keys), trace[memory.value_layer], atol=1e-5, rtol=1e-5)
    changed = memory.matrix() * 1.5 + 0.1  # demodulation follows the weight, so this is not 1.5 times as much
    with torch.no_grad():
        memory.weight.copy_(memory.form.weight(changed, memory.weight.shape))
    before = memory.values(keys)
    with torch.no_grad(), Trace(model, memory.value_layer) as trace:
        model(z[0], noise=z[1] if seeds else None)
    torch.testing.assert_close(before, trace[memory.value_layer], atol=1e-5, rtol=1e-5)


def test_colours_of_stylegan2_are_linear():
    model = nets.stylegan2()
    memory = Memory(model, "to_rgb2")
    keys = memory.keys(nets.z_of(model))
    with torch.no_grad(), Trace(model, "to_rgb2.conv") as trace:
        model(nets.z_of(model)[0], noise=nets.z_of(model)[1])
    assert memory.linear
    assert memory.layer == "to_rgb2.conv"
    torch.testing.assert_close(memory.values(keys), trace["to_rgb2.conv"])


def test_progan_gives_the_bare_convolution_and_both_numberings():
    model = nets.progan()
    memory = Memory(model, "layer3")
    assert (memory.layer, memory.linear, memory.numbering) == ("layer3.conv", True, "convolution 3, feature map 3")
    with torch.no_grad(), Trace(model, ["layer3.up", "layer3.conv"]) as trace:
        model(nets.z_of(model))
    keys = memory.keys(nets.z_of(model))
    assert torch.equal(keys.maps, trace["layer3.up"])
    torch.testing.assert_close(memory.values(keys), trace["layer3.conv"], atol=1e-5, rtol=1e-5)
    assert Memory(nets.stylegan2(), "layer5").numbering == "convolution 4, feature map 5"
    assert Memory(nets.stylegan2(), "to_rgb2").numbering is None
    assert Memory(nets.one(nn.Linear(2, 2)), "0").numbering is None


def test_crops_have_the_values_of_their_own_noise():
    model = nets.stylegan2()
    memory = Memory(model, "layer5")
    keys = memory.keys(nets.z_of(model))
    assert memory.factor(keys) == 2
    some = keys[1:3].crop(slice(2, 5), slice(1, 6), 2)
    assert (some.maps.shape[2:], some.noise.shape[2:], len(some)) == ((3, 5), (6, 10), 2)
    assert torch.equal(some.noise, keys.noise[1:3, :, 4:10, 2:12])
    inner = memory.values(some)[:, :, 2:-2, 2:-2]  # those that see no border
    torch.testing.assert_close(inner, memory.values(keys)[1:3, :, 6:8, 4:10], atol=1e-5, rtol=1e-5)


def shared():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).eval()
    model[1].weight = model[0].weight
    return model


def hooked():
    model = nets.one(nn.Linear(3, 3))
    model[0].register_forward_hook(lambda *_: None)
    return model


REFUSED = {
    "groups": (lambda: nets.one(nn.Conv2d(4, 4, 3, groups=2)), ValueError, "'0' has groups=2, each a memory of"),
    "no memory": (lambda: nets.one(nn.BatchNorm2d(4)), TypeError, "of keys and values, but '0' is a BatchNorm2d"),
    "shared": (shared, ValueError, r"\['0', '1'\] share that of '0'"),
    "computed": (
        lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 3))).eval(), ValueError,
        "that of '0' is computed from others",
    ),
    "hooked": (hooked, ValueError, "'0' has forward hooks; remove that first"),
    "training": (lambda: nn.Sequential(nn.Linear(3, 3)), ValueError, "must be in evaluation mode, but it"),
    "half": (lambda: nets.one(nn.Linear(3, 3)).half(), TypeError, "float32 or 64, but those of '0' are torch.float16"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    make, kind, text = REFUSED[name]
    with pytest.raises(kind, match=text):
        Memory(make(), "0")


def test_no_such_layer():
    with pytest.raises(KeyError, match=r"Memory: the model has no layer 'layer99'"):
        dissect.rewriting.Memory(nets.progan(), "layer99")


def test_keys_that_are_not_finite():
    memory = Memory(nets.one(nn.Linear(2, 2)), "0")
    with pytest.raises(ValueError, match=r"^Memory: keys must be finite, but those of '0' are not"):
        memory.keys(torch.full((1, 2), torch.inf))


@pytest.mark.parametrize("inputs", [3, [torch.ones(1, 2)], (torch.ones(1, 2),) * 3, ["a", None]])
def test_inputs_that_are_no_batch(inputs):
    with pytest.raises(TypeError, match=r"^Memory: inputs must be a batch, a tensor, or \(z, noise seeds\), but got"):
        Memory(nets.one(nn.Linear(2, 2)), "0").keys(inputs)


def test_no_factor_with_a_stride():
    memory = Memory(nets.one(nn.Conv2d(2, 2, 3)), "0")
    with pytest.raises(ValueError, match=r"values must have as many rows and columns as keys.*\[4, 4\] for \[6, 6\]"):
        memory.factor(memory.keys(torch.ones(1, 2, 6, 6)))


def test_training_mode_is_refused_after_the_memory_was_made():
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)).eval()
    memory, kept = Memory(model, "1"), model[0].running_mean.clone()
    model.train()
    for look in (memory.keys, lambda inputs: memory.second_moment(inputs, progress=False)):
        with pytest.raises(ValueError, match="the network must be in evaluation mode"):
            look(nets.randn(9, 4) + 3)
    assert torch.equal(model[0].running_mean, kept)


def test_two_batches_are_no_batch():
    batches = [nets.randn(3, 2), nets.randn(3, 2, seed=1)]
    with pytest.raises(
        TypeError, match=r"^Memory: inputs must be a batch, a tensor, or \(z, noise seeds\), but got a l"
    ):
        Memory(nets.one(nn.Linear(2, 2)), "0").keys(batches)


class Twice(nn.Module):
    """A layer whose keys are of two places."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(self.inner(x))


def test_a_layer_that_runs_twice_or_never():
    memory = Memory(Twice().eval(), "inner")
    with pytest.raises(RuntimeError, match="layer 'inner' ran twice in one forward pass"):
        memory.second_moment(nets.randn(9, 4), progress=False)
    block = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval()
    with pytest.raises(ValueError, match=r"layer must run when the model does, but 'self_attn.out_proj' is not called"):
        Memory(block, "self_attn.out_proj").keys(nets.randn(2, 3, 4))
