"""DenseNet (Huang et al. 2017), with the layer names of the published weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dissect.models.initial import he_normal, undrawn

#: DenseNet-161's layers in each of the four blocks.
DENSENET161 = (6, 12, 36, 24)


class DenseLayer(nn.Module):
    """Its input, and after it the output of a 1x1 and a 3x3 convolution of that."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs + growth, h, w]."""
        inner = self.conv1(self.relu1(self.norm1(x)))
        return torch.cat([x, self.conv2(self.relu2(self.norm2(inner)))], 1)


class DenseNet(nn.Module):
    """A DenseNet; DenseNet-161 by default.

    Layers are called `features.conv0`, ..., `features.denseblock1.denselayer1.conv1`, ..., `features.transition1.conv`,
    ..., `features.norm5`, `features.relu5`, `classifier`.

    Args:
        num_classes: outputs of the classifier.
        blocks: layers of each block.
        growth: channels that a layer adds; the stem has twice as many.
        seed: of the initial weights (He et al. 2015, normal).

    Forward:
        images: float [N, 3, H, W], normalised. Returns logits [N, num_classes].

    Example:
        >>> tuple(DenseNet(5, blocks=(1, 2), growth=2).eval()(torch.zeros(2, 3, 64, 64)).shape)
        (2, 5)
    """

    def __init__(
        self, num_classes: int, *, blocks: Sequence[int] = DENSENET161, growth: int = 48, seed: int = 0
    ) -> None:
        super().__init__()
        channels = 2 * growth
        with undrawn():
            layers: OrderedDict[str, nn.Module] = OrderedDict(
                conv0=nn.Conv2d(3, channels, 7, 2, 3, bias=False), norm0=nn.BatchNorm2d(channels),
                relu0=nn.ReLU(inplace=True), pool0=nn.MaxPool2d(3, 2, 1),
            )  # fmt: skip
            for number, depth in enumerate(blocks, start=1):
                block: OrderedDict[str, nn.Module] = OrderedDict(
                    (f"denselayer{place + 1}", DenseLayer(channels + place * growth, growth)) for place in range(depth)
                )
                layers[f"denseblock{number}"] = nn.Sequential(block)
                channels += depth * growth
                if number < len(blocks):
                    layers[f"transition{number}"] = _transition(channels)
                    channels //= 2
            layers["norm5"], layers["relu5"] = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
            self.features = nn.Sequential(layers)
            self.classifier = nn.Linear(channels, num_classes)
        if not self.classifier.weight.is_meta:
            he_normal(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, num_classes] of images [N, 3, H, W]."""
        logits: Tensor = self.classifier(self.features(images).mean((2, 3)))
        return logits


def _transition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(channels, channels // 2, 1, bias=False), pool=nn.AvgPool2d(2),
        )
    )  # fmt: skip
