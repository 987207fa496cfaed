"""Residual networks, with the layer names of the published ones: conv1, layer1 ... layer4, fc."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from dissect.models.initial import he_normal, undrawn

#: Blocks in each of the four layers, and whether a block is a bottleneck.
RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


class Block(nn.Module):
    """Two or three convolutions beside a shortcut: ``relu(convolutions(x) + shortcut(x))``.

    Args:
        inputs: channels of x.
        width: channels of the convolutions within.
        stride: of the 3x3 convolution, or of the first of two, and of the shortcut.
        bottleneck: 1x1, 3x3 and 1x1 to four times the width, instead of 3x3 and 3x3.
    """

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = width * (4 if bottleneck else 1)
        sizes = ((1, 1), (3, stride), (1, 1)) if bottleneck else ((3, stride), (3, 1))
        channels = (inputs, *[width] * (len(sizes) - 1), outputs)
        for number, (size, step) in enumerate(sizes, start=1):
            convolution = nn.Conv2d(channels[number - 1], channels[number], size, step, size // 2, bias=False)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", nn.BatchNorm2d(channels[number]))
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self._last = len(sizes)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        inner = x
        for number in range(1, self._last + 1):
            inner = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(inner))
            if number < self._last:
                inner = self.relu(inner)
        output: Tensor = self.relu(inner + (x if self.downsample is None else self.downsample(x)))
        return output


class ResNet(nn.Module):
    """A residual network: a stem, four layers of blocks, an average and a linear layer.

    Layers are called `conv1`, `bn1`, `relu`, `maxpool`, `layer1.0.conv1`, ..., `layer4`, `avgpool`, `fc`.

    Args:
        depths: blocks in each of the four layers.
        bottleneck: of three convolutions each.
        num_classes: outputs of fc; None for no avgpool and no fc, and then the result is that of layer4.
        width: of layer1; each further layer has twice as many.
        stem: channels of the stem's convolutions: one of 7x7 (published: 64), or three of 3x3 (64, 64, 128), conv1 to
            conv3.
        seed: of the initial weights (He et al. 2015, normal).

    Forward:
        images: float [N, 3, H, W], normalised. Returns logits [N, num_classes].

    Example:
        >>> model = ResNet((1, 1, 1, 1), bottleneck=False, num_classes=5, width=4, stem=(4,))
        >>> tuple(model(torch.zeros(2, 3, 64, 64)).shape), tuple(model.layer4[0].conv1.weight.shape)
        ((2, 5), (32, 16, 3, 3))
    """

    def __init__(
        self,
        depths: Sequence[int],
        *,
        bottleneck: bool,
        num_classes: int | None,
        width: int = 64,
        stem: Sequence[int] = (64,),
        seed: int = 0,
    ) -> None:
        super().__init__()
        size = 7 if len(stem) == 1 else 3
        with undrawn():
            for number, (inputs, outputs) in enumerate(zip((3, *stem), stem), start=1):
                step = 2 if number == 1 else 1
                self.add_module(f"conv{number}", nn.Conv2d(inputs, outputs, size, step, size // 2, bias=False))
                self.add_module(f"bn{number}", nn.BatchNorm2d(outputs))
            self.relu = nn.ReLU(inplace=True)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            inputs = stem[-1]
            for number, depth in enumerate(depths, start=1):
                own = width * 2 ** (number - 1)
                blocks = []
                for place in range(depth):
                    blocks.append(Block(inputs, own, 2 if number > 1 and place == 0 else 1, bottleneck))
                    inputs = own * (4 if bottleneck else 1)
                self.add_module(f"layer{number}", nn.Sequential(*blocks))
            if num_classes is not None:
                self.avgpool = nn.AdaptiveAvgPool2d(1)
                self.fc = nn.Linear(inputs, num_classes)
        self._stem, self._classifies = len(stem), num_classes is not None
        if not next(self.parameters()).is_meta:
            he_normal(self, seed)

    def features(self, images: Tensor) -> list[Tensor]:
        """What each of the four layers gives."""
        x = images
        for number in range(1, self._stem + 1):
            x = self.relu(self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(x)))
        x, outputs = self.maxpool(x), []
        for number in range(1, 5):
            x = cast(Tensor, self.get_submodule(f"layer{number}")(x))
            outputs.append(x)
        return outputs

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, num_classes], or layer4's output."""
        x = self.features(images)[-1]
        if not self._classifies:
            return x
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits
