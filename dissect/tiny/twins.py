"""Scenes that show a concept beside the same scenes drawn without it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, speaks
from dissect.tiny.dataset import OMISSIBLE, TinyScenes
from dissect.tiny.world.vocabulary import CONCEPTS, label

#: An area below which a concept hardly shows.
LEAST = 0.01


@dataclass(frozen=True)
class Twins:
    """M pairs of images, alike but for a concept; made by `twins`.

    Attributes:
        images: [3, size, size] each, a data set of M.
        without: their twins.
        labels: [M] int64, the concept by which they differ.
        scenes: [M] int64, the scenes' indices.
        concepts: of the labels.
    """

    images: Dataset[Tensor]
    without: Dataset[Tensor]
    labels: Tensor
    scenes: Tensor

    concepts = CONCEPTS


class TwinScenes(Dataset[Tensor]):
    """Scenes of these indices, without these concepts; drawn when they are asked for."""

    def __init__(self, split: str, size: int, scenes: list[int], concepts: list[tuple[str, str] | None]) -> None:
        self._scenes, self._concepts = scenes, concepts
        self._sets = {concept: TinyScenes(split, size, without=concept) for concept in set(concepts)}

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Tensor:
        """Image number `index`."""
        return torch.from_numpy(self._sets[self._concepts[index]].raw(self._scenes[index])[0]).float() / 255


@speaks
def twins(
    concepts: Iterable[tuple[str, str]] | None = None,
    *,
    count: int = 32,
    split: str = "val",
    size: int = 128,
    least: float = LEAST,
    among: int = 1720,
) -> Twins:
    """The first scenes that show each concept, and the same scenes without it.

    A scene counts if the concept covers at least `least` of it, and if something lies behind it everywhere: so there
    are no twins of the sky or of walls. A concept may have fewer pairs than asked for, or none.

    Args:
        concepts: (category, name) of objects, parts and textures; all of them by default.
        count: of pairs of each concept, at most.
        split: of the scenes.
        size: of the images.
        least: share of the pixels.
        among: how many scenes are looked through.

    Raises:
        ValueError: concepts that scenes cannot be drawn without, or counts below 1.

    Example:
        >>> found = dissect.tiny.twins([("object", "tree")], count=2, size=32, among=50)
        >>> found.labels.tolist() == [dissect.tiny.TinyScenes.concepts.names.index("tree")] * 2
        True
        >>> bool((found.images[0] != found.without[0]).any())
        True
    """
    count, among = integer("count", count), integer("among", among)
    if not 0 < least <= 1:
        raise refusal(ValueError(f"least must lie between 0 and 1, but is {least!r}."))
    if concepts is None:
        concepts = [pair for pair in zip(CONCEPTS.categories, CONCEPTS.names) if pair[0] in OMISSIBLE]
    sets = {concept: TinyScenes(split, size, without=concept) for concept in concepts}
    whole = TinyScenes(split, size)
    found: dict[tuple[str, str], list[int]] = {concept: [] for concept in sets}
    for scene in range(min(among, len(whole))):
        open_ones = [concept for concept, scenes in found.items() if len(scenes) < count]
        if not open_ones:
            break
        planes = whole.raw(scene)[1]
        for concept in open_ones:
            shown = (planes == label(*concept)).any(0).mean()
            if shown >= least and sets[concept].raw(scene)[1][0].all():
                found[concept].append(scene)
    pairs = [(concept, scene) for concept, scenes in found.items() for scene in scenes]
    scenes = [scene for _, scene in pairs]
    return Twins(
        TwinScenes(split, size, scenes, [None] * len(pairs)),
        TwinScenes(split, size, scenes, [concept for concept, _ in pairs]),
        torch.tensor([label(*concept) for concept, _ in pairs], dtype=torch.int64),
        torch.tensor(scenes, dtype=torch.int64),
    )
