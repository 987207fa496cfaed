"""Published classifiers: which there are, how their files call the weights, and how images come to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dissect.arguments import refusal, speaks
from dissect.models.alexnet import AlexNet
from dissect.models.checkpoint import check_fit, counted
from dissect.models.densenet import DenseNet
from dissect.models.efficientnet import EfficientNetLite0
from dissect.models.inception import GoogLeNet
from dissect.models.initial import he_normal, undrawn
from dissect.models.reading import read
from dissect.models.resnet import RESNETS, ResNet
from dissect.models.squeezenet import FIRES, SqueezeNet
from dissect.models.vgg import BLOCKS, classifier_layers, feature_layers

#: ImageNet's, of red, green and blue in [0, 1].
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: By how many classes a network of Places365 is known.
PLACES = 365


@speaks
@dataclass(frozen=True)
class Preprocessing:
    """How images come to a classifier: resized, cropped in the middle, normalised.

    Args:
        resize: the length of the shorter side, or (H, W).
        crop: rows and columns of the crop.
        mean: of red, green and blue in [0, 1].
        std: the same.

    Raises:
        ValueError: a crop that is larger than what is resized to.

    Example:
        >>> Preprocessing((256, 256), 224)(torch.rand(2, 3, 300, 400)).shape
        torch.Size([2, 3, 224, 224])
    """

    resize: int | tuple[int, int]
    crop: int
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def __post_init__(self) -> None:
        least = self.resize if isinstance(self.resize, int) else min(self.resize)
        if not 0 < self.crop <= least:
            raise refusal(ValueError(f"crop must lie in [1, {least}], what is resized to, but is {self.crop}."))

    def __call__(self, images: Tensor) -> Tensor:
        """Images float [N, 3, H, W] in [0, 1] as the network takes them, [N, 3, crop, crop]."""
        size = self.resize
        if isinstance(size, int):
            shorter = min(images.shape[2:])
            size = (size * images.shape[2] // shorter, size * images.shape[3] // shorter)
        if size != tuple(images.shape[2:]):
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        top, left = (round((length - self.crop) / 2) for length in size)
        images = images[:, :, top : top + self.crop, left : left + self.crop]
        mean, std = (
            torch.tensor(v, device=images.device, dtype=images.dtype)[:, None, None] for v in (self.mean, self.std)
        )
        return (images - mean) / std


class VGG16(nn.Module):
    """VGG-16 as it was published; `dissect.models.VGG` is its shape at any width. Layers are called as there.

    Args:
        num_classes: outputs of fc8.
        width: every layer has so many times the published channels.
        seed: of the initial weights (He et al. 2015, normal, biases 0).

    Forward:
        images: float [N, 3, H, W], normalised. Returns logits [N, num_classes].

    Example:
        >>> tuple(VGG16(5, width=Fraction(1, 16))(torch.zeros(2, 3, 64, 64)).shape)
        (2, 5)
    """

    def __init__(self, num_classes: int, *, width: Fraction = Fraction(1), seed: int = 0) -> None:
        super().__init__()
        channels = [int(count * width) for count in (64, 128, 256, 512, 512)]
        with undrawn():
            self.features = nn.Sequential(feature_layers(channels))
            self.avgpool = nn.AdaptiveAvgPool2d(7)
            self.classifier = nn.Sequential(classifier_layers(49 * channels[-1], int(4096 * width), num_classes, 0.5))
        if not next(self.parameters()).is_meta:
            he_normal(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, num_classes] of images [N, 3, H, W]."""
        logits: Tensor = self.classifier(self.avgpool(self.features(images)).flatten(1))
        return logits


def _resnet(name: str) -> Callable[..., nn.Module]:
    depths, bottleneck = RESNETS[name]

    def build(num_classes: int, *, width: Fraction = Fraction(1)) -> nn.Module:
        channels = int(64 * width)
        return ResNet(depths, bottleneck=bottleneck, num_classes=num_classes, width=channels, stem=(channels,))

    return build


def _densenet(num_classes: int, *, width: Fraction = Fraction(1)) -> nn.Module:
    return DenseNet(num_classes, growth=int(48 * width))


@dataclass(frozen=True)
class _Architecture:
    """How to build one, its first weights and their published channels, its last biases, and other names of keys."""

    build: Callable[..., nn.Module]
    first: str
    channels: int
    last: str
    renamed: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = ()
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD


def _vgg_layers() -> dict[str, str]:
    """VGG-16's convolutions in torchvision's and timm's files, by number: a ReLU follows each, a pooling each block."""
    names, number = {}, 0
    for block, depth in enumerate(BLOCKS, start=1):
        for layer in range(1, depth + 1):
            names[str(number)], number = f"conv{block}_{layer}", number + 2
        number += 1
    return names


_VGG_LAYERS = _vgg_layers()
#: The same of a bottleneck in Torch7's files.
_TORCH7 = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3", "7": "bn3"}
_TORCH7_NAMES: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^0\.(?=weight)", "conv1."),
    (r"^1\.(?=\w+$)", "bn1."),
    (r"^([4-7])\.(\d+)\.0\.0\.([013467])\.", lambda m: f"layer{int(m[1]) - 3}.{m[2]}.{_TORCH7[m[3]]}."),
    (r"^([4-7])\.(\d+)\.0\.1\.([01])\.", lambda m: f"layer{int(m[1]) - 3}.{m[2]}.downsample.{m[3]}."),
    (r"^10\.1\.", "fc."),
)
#: SqueezeNet's fire modules in torchvision's files, by number: three poolings and a ReLU stand between them.
_FIRES = dict(zip(("3", "4", "6", "7", "9", "10", "11", "12"), range(2, 2 + len(FIRES))))
#: EfficientNet's layers of a block in files that number their normalisations.
_LITE = ("expand", "depthwise", "project")
_ALEXNET = dict(zip(("0", "3", "6", "8", "10"), ("conv1", "conv2", "conv3", "conv4", "conv5")))

CLASSIFIERS: dict[str, _Architecture] = {
    "alexnet": _Architecture(AlexNet, "conv1.weight", 96, "fc8.bias"),
    "alexnet-torchvision": _Architecture(
        lambda num_classes, **options: AlexNet(num_classes, caffe=False, **options), "conv1.weight", 64, "fc8.bias",
        (
            (r"^features\.(0|3|6|8|10)\.", lambda m: f"{_ALEXNET[m[1]]}."), (r"^classifier\.1\.", "fc6."),
            (r"^classifier\.4\.", "fc7."), (r"^classifier\.6\.", "fc8."),
        ),
    ),
    "vgg16": _Architecture(
        VGG16, "features.conv1_1.weight", 64, "classifier.fc8.bias",
        (
            (r"^features\.(\d+)\.", lambda m: f"features.{_VGG_LAYERS.get(m[1], m[1])}."),
            (r"^(classifier\.0|pre_logits\.fc1)\.", "classifier.fc6."),
            (r"^(classifier\.3|pre_logits\.fc2)\.", "classifier.fc7."),
            (r"^(classifier\.6|classifier\.fc8a|head\.fc)\.", "classifier.fc8."),
        ),
    ),
    "googlenet": _Architecture(GoogLeNet, "conv1.conv.weight", 64, "fc.bias", (), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "resnet18": _Architecture(_resnet("resnet18"), "conv1.weight", 64, "fc.bias", _TORCH7_NAMES),
    "resnet50": _Architecture(_resnet("resnet50"), "conv1.weight", 64, "fc.bias", _TORCH7_NAMES),
    "resnet152": _Architecture(_resnet("resnet152"), "conv1.weight", 64, "fc.bias", _TORCH7_NAMES),
    "densenet161": _Architecture(
        _densenet, "features.conv0.weight", 96, "classifier.bias",
        ((r"\.(norm|relu|conv)\.([12])\.(?=\w+$)", r".\1\2."),),
    ),
    "squeezenet1_1": _Architecture(
        SqueezeNet, "conv1.weight", 64, "conv10.bias",
        (
            (r"^features\.0\.", "conv1."), (r"^classifier\.1\.", "conv10."),
            (r"^features\.(\d+)\.", lambda m: f"fire{_FIRES.get(m[1], m[1])}."), (r"\.squeeze\.", ".squeeze1x1."),
        ),
    ),
    "efficientnet-lite0": _Architecture(
        EfficientNetLite0, "stem.conv.weight", 32, "fc.bias",
        (
            (r"^_conv_(stem|head)\.", r"\1.conv."), (r"^_bn0\.", "stem.bn."), (r"^_bn1\.", "head.bn."),
            (r"^_fc\.", "fc."), (r"^_blocks\.(\d+)\._(expand|depthwise|project)_conv\.", r"blocks.\1.\2.conv."),
            (r"^_blocks\.(\d+)\._bn([012])\.", lambda m: f"blocks.{m[1]}.{_LITE[int(m[2])]}.bn."),
        ),
        (127 / 255,) * 3, (128 / 255,) * 3,
    ),
}  # fmt: skip

#: Weights that only training needs, and that a loaded network does not have.
_TRAINING = re.compile(r"^aux[12]\.")


@speaks
def load_classifier(
    architecture: str, path: str | Path, *, preprocessing: Preprocessing | None = None, device: Any = "cpu"
) -> nn.Module:
    """A classifier with published weights, in evaluation mode; its `preprocessing` is how images come to it.

    Files of the publishing groups (Places365, ImageNet; `module.` prefixes, weights under "state_dict", ResNets
    converted from Torch7), and torchvision's and timm's state dicts are read, once; the network has its weights without
    a copy. Every weight must be there, and none beside, but GoogLeNet's auxiliary classifiers, which are left out. The
    number of classes is the file's; so is the width: a network whose layers are all so many times narrower than
    published is read too.

    Args:
        architecture: "alexnet" (Caffe's), "alexnet-torchvision", "vgg16", "googlenet" (torchvision's), "resnet18",
            "resnet50", "resnet152", "densenet161", "squeezenet1_1" (torchvision's keys, or its own) or
            "efficientnet-lite0" (the keys of lukemelas's EfficientNet-PyTorch, or its own).
        path: a .pth, .pt, .tar or .safetensors file.
        preprocessing: None for the published one: a crop of 224 (Caffe's AlexNet: 227) of images whose shorter side is
            256, or, where there are 365 classes, of 256x256, as Places365's are tested; ImageNet's mean and deviation,
            for GoogLeNet a half each, as its weights were trained, for EfficientNet-Lite0 (x - 127) / 128 of 255.
        device: where the network goes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such architecture; a file that is damaged, holds more than tensors, or another architecture.
    """
    if architecture not in CLASSIFIERS:
        raise refusal(ValueError(f"architecture must be one of {', '.join(CLASSIFIERS)}, but is {architecture!r}."))
    found = CLASSIFIERS[architecture]
    given = read(path, "state_dict")[0]
    if found.build is GoogLeNet:
        given = {key: value for key, value in given.items() if not _TRAINING.match(key)}
    state = _renamed(given, found)
    if len(state) != len(given):
        raise refusal(
            ValueError(f"{path} must hold each weight of {architecture} once, but holds some under two names.")
        )
    first, last = state.get(found.first), state.get(found.last)
    if first is None or last is None or first.dim() != 4 or last.dim() != 1:
        raise _another(path, architecture, given)
    with torch.device("meta"):
        model = found.build(len(last), width=Fraction(len(first), found.channels))
    own = model.state_dict()
    state = counted(state, own)
    if {*state} != {*own}:
        raise _another(path, architecture, given, own)
    for name, value in state.items():
        if value.dim() == 4 and own[name].dim() == 2 and value[0].numel() == own[name].shape[1]:
            state[name] = value.flatten(1)  # timm holds linear layers as convolutions over all places
    check_fit(state, {name: value.shape for name, value in own.items()}, path, architecture)
    model.load_state_dict(state, strict=True, assign=True)
    places = len(last) == PLACES
    model.preprocessing = preprocessing or Preprocessing(
        (256, 256) if places else 256, 227 if architecture == "alexnet" else 224, found.mean, found.std
    )  # type: ignore[assignment]
    return model.eval().to(device)


def _renamed(state: Mapping[str, Tensor], architecture: _Architecture) -> dict[str, Tensor]:
    """The weights by the names that they have here; of two with one name, the last."""
    renamed = {}
    for key, value in state.items():
        name = key
        for pattern, own in architecture.renamed:
            name = re.sub(pattern, own, name)
        renamed[name] = value
    return renamed


def _another(path: str | Path, wanted: str, given: Mapping[str, Tensor], own: Iterable[str] = ()) -> ValueError:
    """The error for weights of another architecture: which it seems to be, and all keys."""
    seems = [name for name, found in CLASSIFIERS.items() if name != wanted and _fits(_renamed(given, found), found)]
    hint = f"; it seems to be {' or '.join(seems)}" if seems else ""
    state = _renamed(given, CLASSIFIERS[wanted])
    missing, extra = sorted({*own} - {*state}), sorted({*state} - {*own})
    told = f"{len(missing)} keys are missing ({', '.join(missing) or 'none'}), {len(extra)} are extra"
    keys = f"{told} ({', '.join(extra) or 'none'})" if own else f"its keys are {', '.join(sorted(given))}"
    return refusal(ValueError(f"{path} must hold {wanted}{hint}, but {keys}."))


def _fits(state: Mapping[str, Tensor], found: _Architecture) -> bool:
    with torch.device("meta"):
        own = found.build(1).state_dict()
    first = state.get(found.first)
    return {*counted(state, own)} == {*own} and first is not None and first.shape[1:] == own[found.first].shape[1:]
