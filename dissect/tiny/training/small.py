"""Small classifiers that are trained alike but for one thing, to be compared: their shapes and their tasks."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from dissect.arguments import refusal, speaks
from dissect.models.initial import he_normal, undrawn
from dissect.models.resnet import Block
from dissect.tiny.weight_files import widened
from dissect.tiny.world.vocabulary import FAMILIES, FAMILY_OF, MAIN_OBJECTS, SCENES

#: Height and width of the images, and rows and columns of the last convolution's maps.
SIZE, CELLS = 64, 8
#: The widths of the convolutions, that of the last one in a wide network, and that of the hidden layer.
CHANNELS, WIDE = (16, 32, 64, 64, 64), 192
HIDDEN = 128
#: The orders of an image's four quarters.
ORDERS = tuple(permutations(range(4)))
#: Where the shades of a cell's mean color are parted, in each of two differences of colors.
SHADES = (-0.15, -0.04, 0.04, 0.15)

ARCHITECTURES = ("plain", "residual", "wide")
#: The tasks and how many answers each has.
TASKS = {
    "scenes": len(SCENES), "objects": len(MAIN_OBJECTS), "rotation": 4, "puzzle": len(ORDERS),
    "color": (len(SHADES) + 1) ** 2,
}  # fmt: skip


@speaks
@dataclass(frozen=True)
class SmallRecipe:
    """One training; its seed is given on the command line.

    Args:
        task: "scenes", "objects" (see `TinyScenes.main_object`), or without labels: "rotation" by quarter turns,
            "puzzle", in which of 24 orders the image's quarters stand, "color", of each cell of a grey image.
        architecture: "plain", five convolutions and two fully connected layers, in the way of AlexNet; "residual",
            three blocks with batch normalisation; "wide", plain without fully connected layers but the last one, and
            with three times the units in conv5 (Zhou et al. 2018, AlexNet-GAP-Wide).
        batch_norm: normalise after each convolution of "plain" and "wide".
        dropout: share of fc6's outputs that training drops.
        start: the recipe whose weights of the same seed it begins with, but for the last layer.
        images: how many are shown.
        pace: the rates over those of a training from scratch.
        family: show, and ask of, scenes of this family alone, "street", "room" or "landscape"; None: of all.
    """

    task: str = "scenes"
    architecture: str = "plain"
    batch_norm: bool = False
    dropout: float = 0.3
    start: str | None = None
    images: int = 24_000
    pace: float = 1.0
    family: str | None = None

    def __post_init__(self) -> None:
        """Raises a ValueError where a choice is none of those above."""
        families = (None, *FAMILIES)
        for name, choices in (("task", tuple(TASKS)), ("architecture", ARCHITECTURES), ("family", families)):
            if getattr(self, name) not in choices:
                raise refusal(ValueError(f"{name} must be one of {choices}, but got {getattr(self, name)!r}."))

    def network(self, seed: int) -> SmallNet:
        """The network before its training."""
        return SmallNet(self.task, self.architecture, self.batch_norm, self.dropout, seed=seed)


#: What is trained.
SMALL_RECIPES = {
    "scenes": SmallRecipe(),
    "residual": SmallRecipe(architecture="residual"),
    "wide": SmallRecipe(architecture="wide"),
    "no-dropout": SmallRecipe(dropout=0.0),
    "batch-norm": SmallRecipe(batch_norm=True),
    "objects": SmallRecipe("objects"),
    "rotation": SmallRecipe("rotation"),
    "puzzle": SmallRecipe("puzzle"),
    "color": SmallRecipe("color"),
    "street": SmallRecipe(family="street"),
    "room": SmallRecipe(family="room"),
    "scenes-to-objects": SmallRecipe("objects", start="scenes", images=12_000),
    "objects-to-scenes": SmallRecipe("scenes", start="objects", images=12_000),
    "scenes-to-objects-slowly": SmallRecipe("objects", start="scenes", images=12_000, pace=0.1),
    "objects-to-scenes-slowly": SmallRecipe("scenes", start="objects", images=12_000, pace=0.1),
}


class SmallNet(nn.Module):
    """A small classifier of 64x64 images; see `SmallRecipe` for its arguments.

    Its last convolutional features are what `SmallNet.last` names: [N, 64, 8, 8] after the ReLU ("wide": 192 units).

    Forward:
        images: float [N, 3, H, W] in [0, 1]. Returns logits [N, answers], of the task "color" [N, answers, 8, 8].

    Example:
        >>> model = SmallNet("scenes", "plain")
        >>> tuple(model(torch.zeros(2, 3, 64, 64)).shape), model.last
        ((2, 43), 'features.relu5')
    """

    def __init__(
        self, task: str, architecture: str, batch_norm: bool = False, dropout: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        self.task = task
        with undrawn():
            residual = architecture == "residual"
            wide = WIDE if architecture == "wide" else CHANNELS[-1]
            self.features = nn.Sequential(_blocks() if residual else _convolutions(wide, batch_norm))
            self.last = "features.block3" if residual else "features.relu5"
            self.head = nn.Sequential(_head(task, wide, architecture == "plain", dropout))
        he_normal(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images [N, 3, H, W] in [0, 1]."""
        if self.task == "color":
            images = images.mean(1, keepdim=True).expand_as(images)
        output: Tensor = self.head(self.features((images - 0.5) * 4))
        return output


def _convolutions(last: int, batch_norm: bool) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 3
    for number, width in enumerate((*CHANNELS[:-1], last), 1):
        size, stride = (5, 2) if number == 1 else (3, 1)
        layers[f"conv{number}"] = nn.Conv2d(inputs, width, size, stride, size // 2)
        if batch_norm:
            layers[f"bn{number}"] = nn.BatchNorm2d(width)
        layers[f"relu{number}"] = nn.ReLU()
        if number in (2, 3):
            layers[f"pool{number}"] = nn.MaxPool2d(2)
        inputs = width
    return layers


def _blocks() -> OrderedDict[str, nn.Module]:
    stem, *widths = CHANNELS[:4]
    return OrderedDict(
        conv1=nn.Conv2d(3, stem, 5, 2, 2, bias=False),
        bn1=nn.BatchNorm2d(stem),
        relu1=nn.ReLU(),
        block1=Block(stem, widths[0], 2, bottleneck=False),
        block2=Block(widths[0], widths[1], 2, bottleneck=False),
        block3=Block(widths[1], widths[2], 1, bottleneck=False),
    )


def _head(task: str, inputs: int, hidden: bool, dropout: float) -> OrderedDict[str, nn.Module]:
    if task == "color":
        return OrderedDict(fc7=nn.Conv2d(inputs, TASKS[task], 1))
    layers: OrderedDict[str, nn.Module] = OrderedDict(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    if task == "puzzle":  # where things stand is all that it asks
        layers["pool"] = nn.AdaptiveAvgPool2d(2)
        inputs *= 4
    if hidden:
        layers |= {"fc6": nn.Linear(inputs, HIDDEN), "relu6": nn.ReLU(), "drop6": nn.Dropout(dropout)}
        inputs = HIDDEN
    layers["fc7"] = nn.Linear(inputs, TASKS[task])
    return layers


def posed(task: str, images: Tensor, labels: dict[str, np.ndarray], seed: int) -> tuple[Tensor, Tensor]:
    """Images [N, 3, H, W] as a task shows them, and its answers; what is by chance is by the seed.

    Args:
        task: of `TASKS`.
        images: in [0, 1].
        labels: of these images, int [N], for "scenes" and "objects".
        seed: of a stream of its own.
    """
    chance = np.random.default_rng(seed)
    if task == "rotation":
        turns = chance.integers(4, size=len(images))
        turned = torch.stack([image.rot90(int(turn), (1, 2)) for image, turn in zip(images, turns)])
        return turned, torch.from_numpy(turns)
    if task == "puzzle":
        chosen = chance.integers(len(ORDERS), size=len(images))
        rows = images.unflatten(2, (2, -1)).unflatten(4, (2, -1)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        mixed = torch.stack([tiles[list(ORDERS[at])] for tiles, at in zip(rows, chosen)])
        shown = mixed.unflatten(1, (2, 2)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        return shown.contiguous(), torch.from_numpy(chosen)
    if task == "color":
        red, green, blue = adaptive_avg_pool2d(images, CELLS).unbind(1)
        edges = torch.tensor(SHADES)
        shades = [torch.bucketize(part.contiguous(), edges) for part in (red - green, blue - (red + green) / 2)]
        return images, shades[0] * (len(SHADES) + 1) + shades[1]
    return images, torch.from_numpy(labels[task].astype(np.int64))


def of_family(scenes: np.ndarray, family: str | None) -> np.ndarray:
    """The numbers of those scenes, int [N] by their class, that are of a family; of all where it is None."""
    return np.flatnonzero([family in (None, FAMILY_OF[SCENES[at]]) for at in scenes])


def loss(logits: Tensor, answers: Tensor) -> Tensor:
    """The mean cross-entropy of [N, answers, ...] with [N, ...]."""
    return cross_entropy(logits.float(), answers, label_smoothing=0.05)


def load_small(path: str | Path) -> SmallNet:
    """A network that `python -m dissect.tiny.train_small` wrote, in eval mode: its weights or one of its snapshots.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds something else.
    """
    states, about = widened(path, "SmallNet")
    recipe: dict[str, Any] = about["recipe"]
    model = SmallRecipe(**recipe).network(about["seed"])
    model.load_state_dict(states)
    return model.eval()


def trained_in(folder: str | Path) -> dict[str, list[Path]]:
    """The snapshots of each training in a folder that came to its end, in their order, by "NAME-SEED".

    Raises:
        FileNotFoundError: there is none.
    """
    found = {path.stem: sorted((path.parent / path.stem).glob("*.safetensors")) for path in Path(folder).glob("*.log")}
    found = {name: snapshots for name, snapshots in sorted(found.items()) if snapshots}
    if not found:
        raise FileNotFoundError(f"{folder} must hold trainings of dissect.tiny.train_small, but has none at its end.")
    return found
