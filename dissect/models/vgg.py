"""VGG-16's shape at any width, with the layer names of the published Places365 network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from dissect.arguments import refusal, speaks
from dissect.models.initial import he_normal, undrawn

#: Convolutions in each of the five blocks.
BLOCKS = (2, 2, 3, 3, 3)


@speaks
class VGG(nn.Module):
    """Thirteen convolutions in five blocks and three fully connected layers, without normalisation layers.

    The layers are called `features.conv1_1`, `features.relu1_1`, ..., `features.pool5`, `classifier.fc6`,
    `classifier.relu6`, `classifier.drop6`, ..., `classifier.fc8`. Images of any size that survives five poolings will
    do: what pool5 leaves is averaged to `pooled` x `pooled` cells (nothing happens if it has that size already).

    Args:
        channels: the width of each of the five blocks.
        num_classes: outputs of fc8.
        hidden: outputs of fc6 and fc7.
        pooled: rows and columns that fc6 sees.
        dropout: share of fc6's and fc7's outputs that training drops.
        seed: of the initial weights (He et al. 2015, normal, biases 0).

    Forward:
        images: float [N, 3, H, W] in [0, 1]; centred and scaled inside. Returns logits [N, num_classes].

    Raises:
        ValueError: there are not five channels, or a width is not positive.

    Example:
        >>> model = VGG((4, 4, 8, 8, 8), num_classes=5, hidden=16, pooled=1)
        >>> tuple(model(torch.zeros(2, 3, 32, 32)).shape), tuple(model.features.conv5_3.weight.shape)
        ((2, 5), (8, 8, 3, 3))
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        hidden: int = 256,
        pooled: int = 4,
        dropout: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(channels) != len(BLOCKS):
            raise refusal(ValueError(f"channels must have {len(BLOCKS)} entries, but got {len(channels)}."))
        if min(*channels, num_classes, hidden, pooled) < 1:
            raise refusal(
                ValueError(
                    "channels, num_classes, hidden and pooled must be positive, "
                    f"but got {tuple(channels)}, {num_classes}, {hidden} and {pooled}."
                )
            )
        with undrawn():
            self.features = nn.Sequential(feature_layers(channels))
            self.avgpool = nn.AdaptiveAvgPool2d(pooled)
            self.classifier = nn.Sequential(
                classifier_layers(channels[-1] * pooled * pooled, hidden, num_classes, dropout)
            )
        he_normal(self, seed)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [N, num_classes] of images [N, 3, H, W] in [0, 1]."""
        cells = self.avgpool(self.features((images - 0.5) * 4))
        output: torch.Tensor = self.classifier(cells.flatten(1))
        return output


def feature_layers(channels: Sequence[int]) -> OrderedDict[str, nn.Module]:
    """Five blocks of convolutions, each with its ReLU, and a max pool after each block."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    width_in = 3
    for block, (width, depth) in enumerate(zip(channels, BLOCKS), start=1):
        for layer in range(1, depth + 1):
            layers[f"conv{block}_{layer}"] = nn.Conv2d(width_in, width, kernel_size=3, padding=1)
            layers[f"relu{block}_{layer}"] = nn.ReLU(inplace=True)
            width_in = width
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    return layers


def classifier_layers(inputs: int, hidden: int, num_classes: int, dropout: float) -> OrderedDict[str, nn.Module]:
    """Three fully connected layers, with ReLU and dropout between them."""
    return OrderedDict(
        fc6=nn.Linear(inputs, hidden),
        relu6=nn.ReLU(inplace=True),
        drop6=nn.Dropout(dropout),
        fc7=nn.Linear(hidden, hidden),
        relu7=nn.ReLU(inplace=True),
        drop7=nn.Dropout(dropout),
        fc8=nn.Linear(hidden, num_classes),
    )
