"""A second discriminator for generators of scenes: it judges what the tiny classifier sees, place by place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from dissect.models import VGG
from dissect.models.initial import undrawn

#: The layers of the classifier that are judged.
LAYERS = ("relu1_2", "relu2_2", "relu3_3")
#: Rows of images from which on it judges; the classifier was not trained on smaller ones.
SMALLEST = 64


class FeatureCritic(nn.Module):
    """Small heads, which are trained, on layers of a classifier, which is not.

    Off-the-shelf networks as further discriminators: Kumari et al. 2022, "Ensembling Off-the-shelf Models for GAN
    Training"; several scales and spectral normalisation: Sauer et al. 2021, "Projected GANs Converge Faster". On each
    of `LAYERS`, with C channels::

        x = lrelu(W x + b), 3x3, to min(64, 2 C) channels, twice, the first time with stride 2; W / its spectral norm
        scores = W x + b, 1x1

    Args:
        network: the classifier; its weights are kept as they are.
        seed: of the heads' initial weights.

    Forward:
        images: [N, 3, R, R] in [-1, 1].
        Returns for each layer the scores of all its places, float32 [N * places]; none if R is less than `SMALLEST`.

    Example:
        >>> from dissect.tiny.training.feature_critic import FeatureCritic
        >>> critic = FeatureCritic(dissect.tiny.vgg())
        >>> [scores.numel() for scores in critic(torch.zeros(2, 3, 64, 64))]
        [2048, 512, 128]
    """

    def __init__(self, network: VGG, seed: int = 0) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        with undrawn():
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would set those of all GPUs too
            self.heads = nn.ModuleDict({layer: _head(_width(network, layer)) for layer in LAYERS})

    def forward(self, images: Tensor) -> list[Tensor]:
        """Scores by layer; see the class."""
        scores: list[Tensor] = []
        if images.shape[-1] < SMALLEST:
            return scores
        x = images * 2  # (p - 0.5) * 4 of p in [0, 1], as the classifier does it
        for name, layer in self.network.features.named_children():
            x = layer(x)
            if name in LAYERS:
                scores.append(self.heads[name](x).float().flatten())
            if name == LAYERS[-1]:
                break
        return scores


def _width(network: VGG, layer: str) -> int:
    conv: Any = network.features.get_submodule(layer.replace("relu", "conv"))
    channels: int = conv.out_channels
    return channels


def _head(width: int) -> nn.Sequential:
    inner = min(64, 2 * width)
    return nn.Sequential(
        spectral_norm(nn.Conv2d(width, inner, 3, stride=2, padding=1)), nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(inner, inner, 3, padding=1)), nn.LeakyReLU(0.2),
        nn.Conv2d(inner, 1, 1),
    )  # fmt: skip
