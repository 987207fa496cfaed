"""GoogLeNet (Szegedy et al. 2015) with batch normalisation, with the layer names of the published weights."""

from __future__ import annotations

from fractions import Fraction

import torch
from torch import Tensor, nn

from dissect.models.initial import he_normal, undrawn

#: Of each inception: outputs of the 1x1 branch; of the second branch's 1x1 and 3x3; of the third's; of the last one.
INCEPTIONS = {
    "inception3a": (64, (96, 128), (16, 32), 32),
    "inception3b": (128, (128, 192), (32, 96), 64),
    "inception4a": (192, (96, 208), (16, 48), 64),
    "inception4b": (160, (112, 224), (24, 64), 64),
    "inception4c": (128, (128, 256), (24, 64), 64),
    "inception4d": (112, (144, 288), (32, 64), 64),
    "inception4e": (256, (160, 320), (32, 128), 128),
    "inception5a": (256, (160, 320), (32, 128), 128),
    "inception5b": (384, (192, 384), (48, 128), 128),
}


class Convolution(nn.Module):
    """A convolution without biases, batch normalisation, and ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        output: Tensor = self.relu(self.bn(self.conv(x)))
        return output


class Inception(nn.Module):
    """Four branches side by side; the third has 3x3 where the paper has 5x5, as the published weights do."""

    def __init__(self, inputs: int, one: int, second: tuple[int, int], third: tuple[int, int], pooled: int) -> None:
        super().__init__()
        self.branch1 = Convolution(inputs, one, 1)
        self.branch2 = nn.Sequential(Convolution(inputs, second[0], 1), Convolution(*second, 3))
        self.branch3 = nn.Sequential(Convolution(inputs, third[0], 1), Convolution(*third, 3))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), Convolution(inputs, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The branches' outputs, one after another."""
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    """GoogLeNet without its auxiliary classifiers, which only training needs.

    Layers are called `conv1`, `maxpool1`, `conv2`, `conv3`, `maxpool2`, `inception3a`, ..., `inception5b`, `avgpool`,
    `dropout`, `fc`.

    Args:
        num_classes: outputs of fc.
        width: every layer has so many times the published channels.
        seed: of the initial weights (He et al. 2015, normal).

    Forward:
        images: float [N, 3, H, W], normalised. Returns logits [N, num_classes].

    Example:
        >>> tuple(GoogLeNet(5, width=Fraction(1, 8)).eval()(torch.zeros(2, 3, 64, 64)).shape)
        (2, 5)
    """

    def __init__(self, num_classes: int, *, width: Fraction = Fraction(1), seed: int = 0) -> None:
        super().__init__()

        def wide(channels: int) -> int:
            return int(channels * width)

        with undrawn():
            self.conv1 = Convolution(3, wide(64), 7, 2)
            self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
            self.conv2 = Convolution(wide(64), wide(64), 1)
            self.conv3 = Convolution(wide(64), wide(192), 3)
            self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
            inputs = wide(192)
            for name, (one, second, third, pooled) in INCEPTIONS.items():
                if name == "inception4a":
                    self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
                if name == "inception5a":
                    self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
                own = (wide(one), (wide(second[0]), wide(second[1])), (wide(third[0]), wide(third[1])), wide(pooled))
                self.add_module(name, Inception(inputs, *own))
                inputs = own[0] + own[1][1] + own[2][1] + own[3]
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.dropout = nn.Dropout(0.2)
            self.fc = nn.Linear(inputs, num_classes)
        if not self.fc.weight.is_meta:
            he_normal(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, num_classes] of images [N, 3, H, W]."""
        x = images
        for name, layer in self.named_children():
            x = layer(torch.flatten(x, 1) if name == "dropout" else x)
        return x
