"""The scenes and maps on which docs/scripts/trust_biases.py measures."""

from __future__ import annotations

import gc
from typing import Any

import torch
from torch import Tensor, nn

import dissect
from dissect import Concepts, Dissection
from dissect.dissection import LayerDissection
from dissect.network.receptive_field import receptive_field
from dissect.tiny import TinyScenes, vgg

#: The layers that are looked at: of each block the last, from the third on; the first one is the page's own.
LAYERS = ("conv5_3", "conv4_3", "conv3_3")
CUTOFF, FRACTION, SEED = 0.04, 0.01, 0
BATCH = 86


class World:
    """Scenes, and the maps that the embedded VGG and its untrained twin give of them.

    Attributes:
        planes: [N, K, H, W] label planes.
        concepts: of the labels.
        maps: by (layer, trained), [N, U, h, w].
        chains: by layer, (kernel, stride, padding) of the one convolution with its receptive fields.
    """

    def __init__(self, images: int) -> None:
        scenes = TinyScenes("val", count=images)
        items = [scenes[at] for at in range(images)]
        pictures = torch.stack([image for image, _ in items])
        self.planes, self.concepts = torch.stack([planes for _, planes in items]), scenes.concepts
        self.categories, self.maps = scenes.planes, {}
        names = [f"features.{layer}" for layer in LAYERS]
        for trained in (True, False):
            model = vgg(trained)
            found: dict[str, list[Tensor]] = {name: [] for name in names}
            with torch.no_grad(), dissect.Trace(model, names) as trace:
                for batch in pictures.split(BATCH):
                    model(batch)
                    for name in names:
                        found[name].append(trace[name].clone())
            for layer, name in zip(LAYERS, names):
                self.maps[layer, trained] = torch.cat(found[name])
        self.chains = {layer: [receptive_field(model, name, pictures[:1]).layer] for layer, name in zip(LAYERS, names)}

    def dissected(
        self, layer: str = LAYERS[0], trained: bool = True, planes: Tensor | None = None,
        concepts: Concepts | None = None, images: slice | None = None, **options: Any,
    ) -> Dissection:  # fmt: skip
        """A layer's maps, once computed, are dissected as if they were images: the same counts, many times as fast."""
        images = images or slice(None)
        planes = (self.planes if planes is None else planes)[images]
        batches = list(zip(self.maps[layer, trained][images].split(BATCH), planes.split(BATCH)))
        gc.collect()  # what the one before read is freed by this alone
        return dissect.dissect(
            _Given(layer), layer, batches, concepts=concepts or self.concepts, layout="NUHW", pictures=_grey,
            progress=False, memory_budget=0, **options,
        )  # fmt: skip


class _Given(nn.Sequential):
    """Gives what it gets, as the output of a layer of some name."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.add_module(layer, nn.Identity())


def _grey(maps: Tensor) -> Tensor:
    """Pictures that nobody looks at."""
    return torch.full((len(maps), 3, 8, 8), 128, dtype=torch.uint8)


def only(dissection: Dissection) -> LayerDissection:
    """The one layer that was dissected."""
    return next(iter(dissection.layers.values()))


def found(dissection: Dissection) -> tuple[int, int]:
    """How many units detect something, and how many concepts they detect."""
    rows = dissection.detectors()
    return len(rows), len({(row.category, row.concept) for row in rows})


def spread(values: Tensor) -> tuple[float, float, float]:
    """The mean, and where 95 % lie."""
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return float(values.mean()), low, high


def mean_interval(values: Tensor, draws: int = 2000) -> tuple[float, float, float]:
    """The mean and its 95 % bootstrap interval."""
    drawn = torch.randint(len(values), (draws, len(values)), generator=torch.Generator().manual_seed(SEED))
    _, low, high = spread(values.double()[drawn].mean(1))
    return float(values.mean()), low, high
