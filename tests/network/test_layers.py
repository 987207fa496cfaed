"""Layers by name: modules in place of names, second names, and models whose hooks or weights are not there."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import dissect
from dissect import Trace


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)


def network():
    return nn.Sequential(Block(), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()


IMAGES, PLANES = torch.rand(4, 3, 8, 8), torch.randint(0, 3, (4, 1, 8, 8))
DATA, CLASSES = [(IMAGES, PLANES)], [(IMAGES, torch.tensor([0, 1, 0, 1]))]
#: All that takes a layer.
USES = {
    "trace": lambda model, layer: Trace(model, layer),
    "of several": lambda model, layer: Trace(model, ["1", layer]),
    "dissect": lambda model, layer: dissect.dissect(model, layer, DATA, fraction=0.1, progress=False),
    "ablate": lambda model, layer: dissect.ablate(model, layer, [0]),
    "ablate several": lambda model, layer: dissect.ablate(model, {layer: [0]}),
    "importance": lambda model, layer: dissect.unit_importance(model, layer, CLASSES, CLASSES, progress=False),
}


@pytest.mark.parametrize("use", USES)
def test_a_module_in_place_of_a_name_is_refused_with_its_name(use):
    model = network()
    with pytest.raises(TypeError, match=r"layers must be names, .* got a module, Block; its name is '0'\."):
        USES[use](model, model[0])
    with pytest.raises(TypeError, match="got a module, ReLU; the model has no such part"):
        USES[use](model, nn.ReLU())
    with pytest.raises(TypeError, match="got a module, Sequential; it is the whole model"):
        USES[use](model, model)


def test_what_is_neither_a_name_nor_several():
    with pytest.raises(TypeError, match=r"layers must be names, .* but 1 of them are no text but int"):
        Trace(network(), 3)


class Named(nn.Module):
    """One layer by two names, the second of which `named_modules` does not tell."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.again = nn.ModuleDict({"body": self.body})
        self.flatten, self.fc = nn.Flatten(), nn.Linear(144, 2)

    def forward(self, x):
        return self.fc(self.flatten(self.body(x)))


def test_a_second_name_of_a_layer_will_do():
    torch.manual_seed(0)
    model = Named().eval()
    with torch.no_grad(), Trace(model, ["body.0", "again.body.0"]) as trace:
        model(IMAGES)
    assert torch.equal(trace["body.0"], trace["again.body.0"])
    outputs = []
    for layer in ("body.1", "again.body.1"):
        with torch.no_grad(), dissect.ablate(model, layer, [1]):
            outputs.append(model(IMAGES))
    assert torch.equal(*outputs)
    first, second = (
        dissect.dissect(model, layer, DATA, fraction=0.1, progress=False).best() for layer in ("body.1", "again.body.1")
    )
    assert [row.iou for row in first] == [row.iou for row in second]
    first, second = (
        dissect.unit_importance(model, layer, CLASSES, CLASSES, progress=False) for layer in ("body.1", "again.body.1")
    )
    torch.testing.assert_close(first.mean_logit(), second.mean_logit())
    with pytest.raises(KeyError, match=r"no layer 'again\.body\.2'"):
        Trace(model, "again.body.2")


def test_a_compiled_forward_is_refused():
    class CompiledForward(nn.Module):
        @torch.compile(backend="eager")  # takes a second: not while tests are collected, by each worker
        def forward(self, x):
            return x

    model = network()
    model.forward = torch.compile(model.forward, backend="eager")
    with pytest.raises(TypeError, match=r"whose hooks fire, but it was compiled by torch\.compile"):
        Trace(model, "0")
    model = network()
    model[0].forward = torch.compile(model[0].forward, backend="eager")
    with pytest.raises(TypeError, match=r"its part '0' was compiled by torch\.compile"):
        Trace(model, "1")
    with pytest.raises(TypeError, match=r"its part '1' was compiled by torch\.compile"):
        Trace(nn.Sequential(nn.ReLU(), CompiledForward()), "0")
    model = network()
    model.compile(backend="eager")
    with pytest.raises(TypeError, match=r"but it was compiled by torch\.compile"):
        Trace(model, "0")


@pytest.mark.parametrize("use", USES)
def test_weights_without_values_are_refused(use):
    whole, part, buffer = network().to("meta"), network(), nn.Sequential(nn.BatchNorm2d(3), *network()).eval()
    part[3] = nn.Linear(144, 2, device="meta")
    buffer[0].running_mean = buffer[0].running_mean.to("meta")
    for model, told in (
        (whole, r"'weight' of its part '0\.conv' is on the meta device; load its weights first"),
        (part, "'weight' of its part '3' is on the meta device"),
        (buffer, "'running_mean' of its part '0' is on the meta device"),
    ):
        with pytest.raises(ValueError, match=told):
            USES[use](model, "0")
    with FakeTensorMode():
        fake = network()
    with pytest.raises(ValueError, match=r"'weight' of its part '0\.conv' is a fake tensor"):
        USES[use](fake, "0")


class Gives(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(x)


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor:DeprecationWarning", "ignore:.*quantized:UserWarning")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8), r"quantized numbers, torch\.quint8"),
        (lambda x: x.to_sparse(), r"a tensor of layout torch\.sparse_coo"),
    ],
)
def test_layers_that_give_no_ordinary_tensors_are_refused_by_name(change, told):
    model = nn.Sequential(Gives(change), Gives(lambda x: x.dequantize() if x.is_quantized else x.to_dense())).eval()
    with pytest.raises(TypeError, match=f"layer '0' must give an ordinary tensor, but gives {told}"):
        dissect.dissect(model, "0", DATA, fraction=0.1, progress=False)
    with pytest.raises(TypeError, match=f"layer '0' must give an ordinary tensor, but gives {told}"):
        with dissect.ablate(model, "0", [0]):
            model(IMAGES)


def test_z_is_no_batch_of_images():
    model = nn.Sequential(nn.ConvTranspose2d(5, 4, 4)).eval()
    planes = torch.zeros(3, 1, 4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"batch 0 is \[3, 5, 1, 1\], one pixel each\. To dissect a generator, say"):
        dissect.dissect(model, "0", [(torch.randn(3, 5, 1, 1), planes)], progress=False)
