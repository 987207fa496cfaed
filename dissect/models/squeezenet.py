"""SqueezeNet 1.1 (Iandola et al. 2016), named as its authors' Caffe network."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction

import torch
from torch import Tensor, nn

from dissect.models.initial import he_normal, undrawn

#: Of fire2 to fire9: channels of the squeezing convolution, and of each of the two expanding ones.
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
#: After which layers cells are pooled.
POOLED = (1, 3, 5)


class Fire(nn.Module):
    """A 1x1 convolution to few channels, and of these a 1x1 and a 3x3 one to many, side by side; all rectified.

    Args:
        inputs: channels that come in.
        squeezed: of the first convolution.
        expanded: of each of the other two.
    """

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1, self.relu_squeeze1x1 = nn.Conv2d(inputs, squeezed, 1), nn.ReLU(inplace=True)
        self.expand1x1, self.relu_expand1x1 = nn.Conv2d(squeezed, expanded, 1), nn.ReLU(inplace=True)
        self.expand3x3, self.relu_expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 2 * expanded, h, w]: what the 1x1 convolution gives, then what the 3x3 one does."""
        inner = self.relu_squeeze1x1(self.squeeze1x1(x))
        return torch.cat([self.relu_expand1x1(self.expand1x1(inner)), self.relu_expand3x3(self.expand3x3(inner))], 1)


class SqueezeNet(nn.Sequential):
    """A convolution, eight fire modules, and a convolution whose maps are averaged into logits.

    Layers are called `conv1`, `relu_conv1`, `pool1`, `fire2`, `fire3`, `pool3`, ..., `fire9`, `drop9`, `conv10`,
    `relu_conv10`, `pool10`, `flatten`; poolings are 3x3 of stride 2 and take cells that hang over the edge (Caffe's,
    `ceil_mode`). As published, conv10's maps are rectified before they are averaged: what pushes a class below 0 is not
    seen in its logit. Where effects of units are measured, ``model.relu_conv10 = nn.Identity()`` leaves that out.

    Args:
        num_classes: outputs.
        width: every layer has so many times the published channels.
        seed: of the initial weights (He et al. 2015, normal, biases 0).

    Forward:
        images: float [N, 3, H, W], normalised. Returns logits [N, num_classes].

    Example:
        >>> model = SqueezeNet(5, width=Fraction(1, 16))
        >>> model.fire9(torch.zeros(1, 32, 13, 13)).shape, tuple(model(torch.zeros(2, 3, 64, 64)).shape)
        (torch.Size([1, 32, 13, 13]), (2, 5))
    """

    def __init__(self, num_classes: int, *, width: Fraction = Fraction(1), seed: int = 0) -> None:
        channels = int(64 * width)
        with undrawn():
            layers: OrderedDict[str, nn.Module] = OrderedDict(
                conv1=nn.Conv2d(3, channels, 3, 2), relu_conv1=nn.ReLU(inplace=True), pool1=_pooling()
            )
            for number, (squeezed, expanded) in enumerate(FIRES, start=2):
                layers[f"fire{number}"] = Fire(channels, int(squeezed * width), int(expanded * width))
                channels = 2 * int(expanded * width)
                if number in POOLED:
                    layers[f"pool{number}"] = _pooling()
            layers["drop9"], layers["conv10"] = nn.Dropout(), nn.Conv2d(channels, num_classes, 1)
            layers["relu_conv10"] = nn.ReLU(inplace=True)
            layers["pool10"], layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        super().__init__(layers)
        if not next(self.parameters()).is_meta:
            he_normal(self, seed)


def _pooling() -> nn.Module:
    return nn.MaxPool2d(3, 2, ceil_mode=True)
