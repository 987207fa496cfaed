"""Receptive fields against the support of gradients, in networks of the papers' geometry, thin; and what has none."""

import pytest
import torch
from other_networks import ConvNeXt
from torch import nn
from torch.nn import functional as F

import dissect
from dissect.network.receptive_field import receptive_field


def conv(inside, out, kernel, **options):
    return nn.Sequential(nn.Conv2d(inside, out, kernel, bias=False, **options), nn.BatchNorm2d(out), nn.ReLU())


class Bottleneck(nn.Module):
    def __init__(self, inside, out, stride):
        super().__init__()
        self.one, self.three, self.last = conv(inside, 2, 1), conv(2, 2, 3, stride=stride, padding=1), conv(2, out, 1)
        self.shortcut = conv(inside, out, 1, stride=stride)

    def forward(self, x):
        return F.relu_(self.last(self.three(self.one(x))) + self.shortcut(x))


class Inception(nn.Module):
    """GoogLeNet's four ways, and Inception-v3's kernels of 1x7 and 7x1."""

    def __init__(self, inside):
        super().__init__()
        self.one, self.three, self.five = (
            conv(inside, 2, 1),
            conv(inside, 2, 3, padding=1),
            conv(inside, 2, 5, padding=2),
        )
        self.row, self.column = conv(inside, 2, (1, 7), padding=(0, 3)), conv(2, 2, (7, 1), padding=(3, 0))

    def forward(self, x):
        pooled = F.max_pool2d(x, 3, 1, 1)
        return torch.cat([self.one(x), self.three(x), self.five(x), self.column(self.row(x)), pooled], 1)


class Dense(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.one, self.two = conv(inside, 2, 3, padding=1), conv(inside + 2, 2, 3, padding=1)

    def forward(self, x):
        x = torch.cat([x, self.one(x)], 1)
        return torch.cat([x, self.two(x)], 1)


class Gated(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, inside):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(inside, 1, 1), nn.Conv2d(1, inside, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))


def stem():
    return [conv(3, 2, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, 1)]


NETWORKS = {
    "alexnet": lambda: [
        conv(3, 2, 11, stride=4, padding=2), nn.MaxPool2d(3, 2), conv(2, 2, 5, padding=2), nn.MaxPool2d(3, 2),
        conv(2, 2, 3, padding=1), conv(2, 2, 3, padding=1),
    ],
    "vgg16": lambda: [
        part
        for count, inside in ((2, 3), (2, 2), (3, 2))
        for part in (*(conv(inside if n == 0 else 2, 2, 3, padding=1) for n in range(count)), nn.MaxPool2d(2))
    ],
    "googlenet": lambda: [*stem()[:1], nn.MaxPool2d(3, 2, ceil_mode=True), conv(2, 2, 3, padding=1), Inception(2)],
    "resnet": lambda: [*stem(), Bottleneck(2, 4, 1), Bottleneck(4, 4, 2), Bottleneck(4, 4, 2)],
    "densenet": lambda: [*stem(), Dense(2), conv(6, 2, 1), nn.AvgPool2d(2), Dense(2)],
    "dilated": lambda: [*stem(), conv(2, 2, 3, padding=2, dilation=2), nn.ZeroPad2d((2, 0, 1, 3)), conv(2, 2, 3)],
    "same": lambda: [nn.Conv2d(3, 2, 4, padding="same"), nn.PixelUnshuffle(2), nn.AdaptiveAvgPool2d((32, 32))],
    "gated": lambda: [*stem(), Gated(2), conv(2, 2, 3, padding=1)],
}  # fmt: skip


def support(model, images, row, column):
    """First and last row and column of the pixels on which a cell depends, by gradients of positive weights."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)) and module.weight is not None:
            nn.init.ones_(module.weight)
    images = images.clone().requires_grad_()
    model(images)[0, :, row, column].sum().backward()
    seen = images.grad[0].abs().sum(0) > 0
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    return rows[0].item(), rows[-1].item(), columns[0].item(), columns[-1].item()


def averaging(model):
    """A maximum has a gradient at one place only: an average of the same window shows all of it."""
    for parent in model.modules():
        for name, module in parent.named_children():
            if isinstance(module, nn.MaxPool2d):
                sizes = module.kernel_size, module.stride, module.padding, module.ceil_mode
                setattr(parent, name, nn.AvgPool2d(*sizes))
    return model


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", NETWORKS)
def test_fields_are_the_support_of_gradients(name):
    torch.manual_seed(0)
    model = nn.Sequential(*NETWORKS[name]()).eval()
    images = torch.rand(1, 3, 256, 256) + 1
    rows, columns = receptive_field(model, str(len(model) - 1), images)
    height, width = model(images).shape[2:]
    row, column = height // 2, width // 2
    if name == "gated":  # the gate sees all; beside it
        model[2] = nn.Identity()
    top, bottom, left, right = support(averaging(model), images, row, column)
    assert (rows.offset + row * rows.step, rows.offset + row * rows.step + rows.size - 1) == (top, bottom)
    assert (columns.offset + column * columns.step, columns.size) == (left, right - left + 1)


def test_by_hand():
    vgg = dissect.tiny.vgg(trained=False)
    assert receptive_field(vgg, "features.conv2_2", torch.zeros(1, 3, 32, 32)) == ((14, -6, 2), (14, -6, 2))
    inception = receptive_field(nn.Sequential(Inception(3)).eval(), "0", torch.zeros(1, 3, 16, 16))
    assert inception == ((7, -3, 1), (7, -3, 1))
    wide = nn.Sequential(nn.Conv2d(3, 2, (1, 4), (1, 2), (0, 1)), nn.Conv2d(2, 2, (3, 1)))
    assert receptive_field(wide, "1", torch.zeros(1, 3, 16, 16)) == ((3, 0, 1), (4, -1, 2))


def test_channels_last_layers():
    """A Linear, a norm and a convolution at the same places; and what is sliced."""
    model = ConvNeXt().eval()
    block = [receptive_field(model, f"stages.0.{part}", torch.zeros(1, 3, 64, 64)) for part in ("norm", "fc1", "fc2")]
    assert block == [((28, -12, 4), (28, -12, 4))] * 3

    class Sliced(nn.Module):
        def forward(self, x):
            return F.conv2d(x[:, :, 1:, ::2], torch.ones(1, 3, 3, 3))

    assert receptive_field(nn.Sequential(Sliced()), "0", torch.zeros(1, 3, 9, 9)) == ((3, 1, 1), (5, 0, 2))


class Lopsided(nn.Module):
    """ResNet-D's shortcut lies half a pixel beside the way through the convolution."""

    def __init__(self):
        super().__init__()
        self.stem, self.three = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 3, 2, 1)
        self.average, self.last = nn.AvgPool2d(2), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.last(self.three(x) + self.average(x))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.attend = nn.Conv2d(3, 4, 4, 4), nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x):
        x = self.patches(x).flatten(2).mT
        return self.attend(x, x, x)[0].mT.reshape(len(x), 4, 4, 4)


@pytest.mark.parametrize(
    ("model", "layer", "told"),
    [
        (Lopsided(), "last", r"other centres of the cells' rows: by 'three' they lie at 0 .* 0\.5 \+ 2 i"),
        (nn.Sequential(Attention()), "0", "flatten|view.* has no receptive fields"),
        (nn.Sequential(nn.ConvTranspose2d(3, 3, 2, stride=2)), "0", "convolution in '0' has no receptive fields"),
        (nn.Sequential(nn.Upsample(scale_factor=2)), "0", "upsample_nearest2d in '0' has no receptive fields"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 2, 1)), "1", "its output is an average over all places"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(5)), "0", "_adaptive_avg_pool2d in '0' has no"),
    ],
)  # fmt: skip
def test_without_fields(model, layer, told):
    with pytest.raises(ValueError, match=f"^layer {layer!r} must have cells with receptive fields .*{told}"):
        receptive_field(model.eval(), layer, torch.zeros(1, 3, 16, 16))


def test_a_residual_network_is_dissected_as_in_2017():
    """The preset's places, which depend on the field alone, and an error that is dissect's."""
    torch.manual_seed(0)
    model = nn.Sequential(*stem(), Bottleneck(2, 4, 2)).eval()
    images, planes = torch.rand(4, 3, 64, 64), torch.randint(0, 3, (4, 1, 32, 32))
    options = {"concepts": ["a", "b"], "preset": "tpami2018", "decoys": 0, "resamples": 0, "progress": False}
    found = dissect.dissect(model, "2", [(images, planes)], **options)
    chain = [(7, 2, 3), (3, 2, 1), (1, 1, 0), (3, 2, 1)]
    grid = dissect.Grid.netdissect(chain, (8, 8), (32, 32), image=(64, 64))
    same = dissect.dissect(model, "2", [(images, planes)], **options, grid=grid)
    assert torch.equal(found["2"].intersection, same["2"].intersection)
    with pytest.raises(ValueError, match=r"^dissect: layer 'last' must have cells with receptive fields"):
        dissect.dissect(Lopsided().eval(), "last", [(images, planes)], **options)
