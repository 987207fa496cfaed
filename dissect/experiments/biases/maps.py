"""Maps that are computed once, and dissections of them under other rules."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts
from dissect.data import Batches
from dissect.dissection import Dissection, LayerDissection
from dissect.dissection.given_activations import dissect_activations
from dissect.network.modes import tell_training
from dissect.network.receptive_field import receptive_field
from dissect.network.trace import Trace
from dissect.stats.bootstrap import enough_draws


class LayerMaps:
    """Maps of layers over a data set, computed once, to be dissected as often as wanted.

    All is kept in memory: planes, and maps as float32. The one pass that makes them is no run (`dissect.visits.run`):
    what it would have to write so as to go on is all of the maps. Each dissection of them is one.

    Args:
        model: in evaluation mode.
        layers: names of modules that give maps [N, U, h, w].
        images: a data set, or batches, of (image, planes).
        concepts: of the labels.
        batch_size: images at a time.

    Attributes:
        planes: [N, K, H, W] label planes.
        concepts: of the labels.
        maps: by layer, [N, U, h, w].
        chains: by layer, (kernel, stride, padding) of the one convolution that has its receptive fields.

    Warns:
        UserWarning: the model is in training mode, or looks at the batch.

    Raises:
        ValueError: no images, or images that come without planes.
        KeyError: a layer that the model does not have.

    Example:
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1)).eval()
        >>> scenes = [(torch.rand(4, 3, 8, 8), torch.randint(0, 3, (4, 1, 8, 8)))]
        >>> maps = LayerMaps(net, ["0"], scenes, dissect.Concepts.of(["sky", "tree"]))
        >>> dissection = maps.dissected("0", fraction=0.1, decoys=0)
        >>> only(dissection).iou.shape
        torch.Size([2, 3])
    """

    @speaks
    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        images: Dataset[Any] | Iterable[Any],
        concepts: Concepts,
        *,
        batch_size: int = 86,
    ) -> None:
        self.concepts, self._batch_size = concepts, batch_size
        tell_training(model)
        seen: dict[str, list[Tensor]] = {layer: [] for layer in layers}
        planes = []
        with torch.no_grad(), Trace(model, list(layers)) as trace:
            for batch in Batches(images, batch_size):
                model(batch.images)
                if batch.planes is None:
                    raise refusal(ValueError("images must be (image, planes) pairs, but come without label planes."))
                planes.append(batch.planes)
                for layer in layers:
                    seen[layer].append(trace[layer].clone())
        if not planes:
            raise refusal(ValueError("images must be at least one, but there are none."))
        one = batch.images[:1]
        self.planes = torch.cat(planes)
        self.maps = {layer: torch.cat(parts) for layer, parts in seen.items()}
        self.chains = {layer: [receptive_field(model, layer, one).layer] for layer in layers}

    def dissected(
        self,
        layer: str,
        *,
        planes: Tensor | None = None,
        concepts: Concepts | None = None,
        images: slice | None = None,
        **options: Any,
    ) -> Dissection:
        """A dissection of one layer: the same counts as of the network, many times as fast.

        Args:
            layer: one of those whose maps were kept.
            planes: label planes in the place of the data set's.
            concepts: of their labels.
            images: some of them.
            **options: of `dissect.dissect`.

        Returns:
            It has the layer's units under the name "0", and no pictures.
        """
        images = images or slice(None)
        planes = (self.planes if planes is None else planes)[images]
        unseen = torch.tensor(128, dtype=torch.uint8).expand(len(planes), 3, 8, 8)
        gc.collect()  # what was read by the dissection before is freed by this alone
        return dissect_activations(
            {"0": self.maps[layer][images]}, planes, concepts or self.concepts, pictures=unseen, progress=False,
            memory_budget=0, batch_size=self._batch_size, **options,
        )  # fmt: skip


@speaks
def only(dissection: Dissection) -> LayerDissection:
    """The one layer that was dissected."""
    return next(iter(dissection.layers.values()))


@speaks
def found(dissection: Dissection) -> tuple[int, int]:
    """How many units detect something, and how many concepts they detect."""
    rows = dissection.detectors()
    return len(rows), len({(row.category, row.concept) for row in rows})


def spread(values: Tensor) -> tuple[float, float, float]:
    """The mean of values [N], and where 95 % of them lie (interpolated quantiles)."""
    low, high = torch.quantile(values, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return float(values.mean()), low, high


@speaks
def mean_interval(values: Tensor, draws: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """The mean of values [N] and its 95 % bootstrap interval: values are drawn again with replacement.

    Example:
        >>> mean_interval(torch.ones(10))
        (1.0, 1.0, 1.0)
    """
    draws = enough_draws(draws, "draws", none=False)
    drawn = torch.randint(len(values), (draws, len(values)), generator=torch.Generator().manual_seed(seed))
    _, low, high = spread(values.double()[drawn].mean(1))
    return float(values.mean()), low, high
