"""EfficientNet-Lite0 (Tan and Le 2019, in the form for phones: no attention over channels, ReLU6)."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from dissect.models.initial import he_normal, undrawn

#: Of each stage: blocks, outputs, how many times a block widens its inputs, size of its kernels, stride of its first.
STAGES = ((1, 16, 1, 3, 1), (2, 24, 6, 3, 2), (2, 40, 6, 5, 2), (3, 80, 6, 3, 2), (3, 112, 6, 5, 1), (4, 192, 6, 5, 2),
          (1, 320, 6, 3, 1))  # fmt: skip
#: Channels of the stem and of the head.
STEM, HEAD = 32, 1280
EPSILON = 1e-3


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's padding: outputs are ceil(inputs / stride), the odd row or column comes last."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, outputs, ceil(h / stride), ceil(w / stride)]."""
        pads: list[int] = []
        for length, size, stride in reversed(list(zip(input.shape[2:], self.kernel_size, self.stride))):
            total = max(0, (-(-length // stride) - 1) * stride + size - length)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(input, pads) if any(pads) else input)


class Block(nn.Module):
    """Widens its inputs, looks at each channel alone, narrows them again; adds its inputs where they fit.

    Args:
        inputs: channels that come in.
        outputs: channels that go out.
        widened: channels between.
        size: of the kernels that look at channels alone.
        stride: of the same.
    """

    def __init__(self, inputs: int, outputs: int, widened: int, size: int, stride: int) -> None:
        super().__init__()
        self.expand = _layer(inputs, widened, 1) if widened != inputs else nn.Identity()
        self.depthwise = _layer(widened, widened, size, stride, groups=widened)
        self.project = _layer(widened, outputs, 1)[:2]
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, outputs, ceil(h / stride), ceil(w / stride)]."""
        inner: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + inner if self.adds else inner


class EfficientNetLite0(nn.Module):
    """A stem, sixteen blocks, a head of 1,280 units and a fully connected layer.

    Layers are called `stem`, `blocks.0`, ..., `blocks.15`, `head` and `fc`; `stem`, `head`, `blocks.1.expand` and
    `blocks.0.depthwise` have `conv`, `bn` and `relu`, a block's `project` the first two.

    Args:
        num_classes: outputs of fc.
        width: every layer has so many times the published channels.
        seed: of the initial weights (He et al. 2015, normal, biases 0).

    Forward:
        images: float [N, 3, H, W], normalised. Returns logits [N, num_classes].

    Example:
        >>> tuple(EfficientNetLite0(5, width=Fraction(1, 16)).eval()(torch.zeros(2, 3, 64, 64)).shape)
        (2, 5)
    """

    def __init__(self, num_classes: int, *, width: Fraction = Fraction(1), seed: int = 0) -> None:
        super().__init__()
        channels, blocks = int(STEM * width), []
        with undrawn():
            self.stem = _layer(3, channels, 3, 2)
            for depth, published, times, size, stride in STAGES:
                outputs = int(published * width)
                widths = [channels, *[outputs] * depth]
                for place, (before, after) in enumerate(pairwise(widths)):
                    blocks.append(Block(before, after, times * before, size, 1 if place else stride))
                channels = outputs
            self.blocks = nn.Sequential(*blocks)
            self.head = _layer(channels, int(HEAD * width), 1)
            self.drop = nn.Dropout(0.2)
            self.fc = nn.Linear(int(HEAD * width), num_classes)
        if not self.fc.weight.is_meta:
            he_normal(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, num_classes] of images [N, 3, H, W]."""
        maps = self.head(self.blocks(self.stem(images)))
        logits: Tensor = self.fc(self.drop(maps.mean((2, 3))))
        return logits


def _layer(inputs: int, outputs: int, size: int, stride: int = 1, *, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv=SameConv2d(inputs, outputs, size, stride, groups=groups, bias=False),
            bn=nn.BatchNorm2d(outputs, EPSILON), relu=nn.ReLU6(inplace=True),
        )
    )  # fmt: skip
