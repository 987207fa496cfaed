"""AlexNet, as Caffe has it (groups, local response normalisation) and as torchvision has it, named as in the papers."""

from __future__ import annotations

from collections import OrderedDict
from fractions import Fraction

from torch import nn

from dissect.models.initial import he_normal, undrawn

#: Channels of conv1 to conv5, groups, and conv1's padding.
CAFFE = ((96, 256, 384, 384, 256), (1, 2, 1, 2, 2), 0)
TORCHVISION = ((64, 192, 384, 256, 256), (1, 1, 1, 1, 1), 2)


class AlexNet(nn.Sequential):
    """Five convolutions and three fully connected layers.

    Layers are called `conv1`, `relu1`, `pool1`, `lrn1`, ..., `conv5`, `relu5`, `pool5`, `flatten`, `fc6`, ..., `fc8`.

    Args:
        num_classes: outputs of fc8.
        caffe: with groups and local response normalisation (after the pooling), for images of 227x227, as the networks
            of Places365 and ImageNet that were dissected; otherwise torchvision's, for 224x224.
        width: every layer has so many times the published channels.
        seed: of the initial weights (He et al. 2015, normal, biases 0).

    Forward:
        images: float [N, 3, H, W], normalised. Returns logits [N, num_classes].

    Example:
        >>> model = AlexNet(5, width=Fraction(1, 16))
        >>> [name for name, _ in model.named_children()][:5], tuple(model(torch.zeros(2, 3, 227, 227)).shape)
        (['conv1', 'relu1', 'pool1', 'lrn1', 'conv2'], (2, 5))
    """

    def __init__(self, num_classes: int, *, caffe: bool = True, width: Fraction = Fraction(1), seed: int = 0) -> None:
        published, groups, padding = CAFFE if caffe else TORCHVISION
        channels, hidden = [int(count * width) for count in published], int(4096 * width)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        with undrawn():
            for number, (outputs, group) in enumerate(zip(channels, groups), start=1):
                inputs = 3 if number == 1 else channels[number - 2]
                size, stride, pad = {1: (11, 4, padding), 2: (5, 1, 2)}.get(number, (3, 1, 1))
                layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, size, stride, pad, groups=group)
                layers[f"relu{number}"] = nn.ReLU(inplace=True)
                if number in (1, 2, 5):
                    layers[f"pool{number}"] = nn.MaxPool2d(3, 2)
                if caffe and number in (1, 2):
                    layers[f"lrn{number}"] = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
            if not caffe:
                layers["avgpool"] = nn.AdaptiveAvgPool2d(6)
            layers["flatten"] = nn.Flatten()
            for number, inputs in ((6, 36 * channels[-1]), (7, hidden)):
                layers[f"fc{number}"] = nn.Linear(inputs, hidden)
                layers[f"relu{number}"] = nn.ReLU(inplace=True)
                layers[f"drop{number}"] = nn.Dropout()
            layers["fc8"] = nn.Linear(hidden, num_classes)
        super().__init__(layers)
        if not next(self.parameters()).is_meta:
            he_normal(self, seed)
