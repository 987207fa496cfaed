"""Networks that invert a generator's layers one by one, and the first of them, which sees the image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from dissect.arguments import refusal
from dissect.models.generator import PixelNorm
from dissect.models.initial import draw, undrawn

#: Where a ResNet-18 halves its maps, in the order in which they are left out where fewer halvings are needed.
_HALVING = ("maxpool", "layer4", "layer3", "layer2", "conv1")


class Encoder(nn.Module):
    """``E = e_1(e_2(... e_n(e_f(x))))``, from images to z (thesis, equation 5.4).

    ::

        e_f:     a ResNet-18 whose pooling and classifier are a 1x1 convolution and LeakyReLU .2: image -> r_n
        e_i:     pixel norm; twice 3x3 convolution, batch norm, LeakyReLU .2; 1x1 convolution: r_i -> r_(i-1)
        e_1:     pixel norm; convolution over the whole map, batch norm, LeakyReLU .2; 1x1 convolution; pixel norm

    where the 1x1 convolution of e_i has the stride by which g_i enlarges.

    Args:
        shapes: of one r_0 = z, r_1, ..., r_n.
        image_shape: of one image.
        width: of the ResNet's first maps; 64 is published, for r_n of 512 channels.
        seed: of the initial weights, normal (He et al. 2015); biases are 0.

    Forward:
        images: [N, 3, H, W] in [-1, 1]. Returns z [N, ...].

    Raises:
        ValueError: maps that are not the image, or the layer after, made smaller by a power of two, by a whole number.

    Example:
        >>> encoder = Encoder([(8,), (16, 4, 4), (16, 8, 8)], (3, 32, 32), width=2).eval()
        >>> r = encoder.image(torch.zeros(5, 3, 32, 32))
        >>> [tuple(part.shape) for part in encoder.layers_of(r)]
        [(5, 8), (5, 16, 4, 4), (5, 16, 8, 8)]
    """

    def __init__(
        self, shapes: Sequence[tuple[int, ...]], image_shape: tuple[int, ...], width: int, seed: int = 0
    ) -> None:
        super().__init__()
        self.shapes = [tuple(shape) for shape in shapes]
        with undrawn():
            self.image = ImageEncoder(image_shape, self.shapes[-1], width)
            layers: list[nn.Module] = [_FirstLayer(self.shapes[0], self.shapes[1])]
            layers += [_layer(inner, outer) for inner, outer in zip(self.shapes[1:], self.shapes[2:])]
            self.layers = nn.ModuleList(layers)
        stream = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                draw(module.weight, nn.init.kaiming_normal_, stream, a=0.2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def layers_of(self, r: Tensor) -> list[Tensor]:
        """``r_0, ..., r_n`` as the encoders of the layers have them, of r_n."""
        found = [r]
        for layer in reversed(self.layers):
            found.append(layer(found[-1]))
        return found[::-1]

    def forward(self, images: Tensor) -> Tensor:
        """E(x), [N, ...]."""
        return self.layers_of(self.image(images))[0]


class ImageEncoder(nn.Module):
    """e_f, from images to r_n.

    Args:
        image_shape: of one image.
        shape: of one r_n.
        width: of the first maps; those of the four blocks are 1, 2, 4 and 8 times as wide.
    """

    def __init__(self, image_shape: tuple[int, ...], shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        ratio = image_shape[1] // max(1, shape[1]) if len(shape) == 3 else 1
        halvings = ratio.bit_length() - 1
        if len(shape) != 3 or (shape[1] << halvings, shape[2] << halvings) != image_shape[1:] or halvings > 5:
            raise refusal(
                ValueError(
                    f"layers must end with one whose maps are the image's size over 1, 2, 4, 8, 16 or 32, but those of "
                    f"the last are {list(shape)}, and images {list(image_shape)}."
                )
            )
        halved = _HALVING[len(_HALVING) - halvings :]
        stride = {name: 2 if name in halved else 1 for name in _HALVING}
        self.conv1 = nn.Conv2d(image_shape[0], width, 7, stride["conv1"], padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if "maxpool" in halved else nn.Identity()
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        for number in range(1, 5):
            inputs, outputs = widths[number - 1], widths[number]
            first = _Block(inputs, outputs, stride.get(f"layer{number}", 1))
            self.add_module(f"layer{number}", nn.Sequential(first, _Block(outputs, outputs)))
        self.conv5, self.relu5 = nn.Conv2d(widths[-1], shape[0], 1), nn.LeakyReLU(0.2)

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, h, w] of images [N, 3, H, W]."""
        x = self.maxpool(relu(self.bn1(self.conv1(images))))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        found: Tensor = self.relu5(self.conv5(x))
        return found


class _Strided(nn.Conv2d):
    """A 1x1 convolution with a stride, which is given only the pixels that it uses.

    Left to PyTorch, its gradient with AVX2 writes beyond its memory where channels-last maps have less than eight
    channels (2.13.0, oneDNN).
    """

    def __init__(self, inputs: int, outputs: int, step: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """[N, outputs, h / step, w / step]."""
        return super().forward(x[..., :: self.step, :: self.step])


class _Block(nn.Module):
    """The basic block of a ResNet (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        same = inputs == outputs and stride == 1
        short = nn.Sequential(_Strided(inputs, outputs, stride, bias=False), nn.BatchNorm2d(outputs))
        self.downsample = nn.Identity() if same else short

    def forward(self, x: Tensor) -> Tensor:
        """[N, outputs, h / stride, w / stride]."""
        return relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))) + self.downsample(x))


def _layer(inner: tuple[int, ...], outer: tuple[int, ...]) -> nn.Sequential:
    """e_i, from r_i of shape `outer` to r_(i-1) of shape `inner`."""
    stride = outer[1] // inner[1] if len(inner) == len(outer) == 3 else 0
    if not stride or (inner[1] * stride, inner[2] * stride) != outer[1:]:
        raise refusal(
            ValueError(
                f"layers must each give maps as large as those of the layer before, or larger by a whole number, but "
                f"one makes {list(outer)} of {list(inner)}."
            )
        )
    width = outer[0]
    parts: OrderedDict[str, nn.Module] = OrderedDict(pnorm=PixelNorm())
    for number, inputs in ((1, outer[0]), (2, width)):
        parts[f"conv{number}"] = nn.Conv2d(inputs, width, 3, padding=1)
        parts[f"bn{number}"], parts[f"relu{number}"] = nn.BatchNorm2d(width), nn.LeakyReLU(0.2)
    parts["conv3"] = _Strided(width, inner[0], stride)
    return nn.Sequential(parts)


class _FirstLayer(nn.Sequential):
    """e_1, from r_1 to z."""

    def __init__(self, z_shape: tuple[int, ...], outer: tuple[int, ...]) -> None:
        if len(outer) != 3:
            raise refusal(ValueError(f"layers must begin with one that gives maps, but it gives {list(outer)}."))
        width, length = outer[0], torch.Size(z_shape).numel()
        super().__init__(
            OrderedDict(
                pnorm=PixelNorm(),
                conv1=nn.Conv2d(outer[0], width, outer[1:]),
                bn1=nn.BatchNorm2d(width),
                relu1=nn.LeakyReLU(0.2),
                conv2=nn.Conv2d(width, length, 1),
                pnormout=PixelNorm(),
            )
        )
        self.z_shape = z_shape

    def forward(self, r: Tensor) -> Tensor:
        """Z of r_1 [N, C, h, w]."""
        for part in self:
            r = part(r)
        return r.view(len(r), *self.z_shape)
