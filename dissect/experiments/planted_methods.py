"""Ways to label units that `score_labels` can score: by IoU, by formulas, and by what an embedding says of images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.concepts import Concepts
from dissect.dissection import formulas
from dissect.dissection.exemplars import Embedder, similarity
from dissect.dissection.given_activations import as_network, dissect_activations
from dissect.dissection.result import Dissection
from dissect.experiments.planted import LabellingMethod
from dissect.stats.formulas import Formula


def _dissected(maps: Tensor, planes: Tensor, concepts: Concepts, fraction: float) -> Dissection:
    return dissect_activations(maps, planes, concepts, fraction=fraction, decoys=0, resamples=0, progress=False)


@speaks
def by_iou(fraction: float = 0.01) -> LabellingMethod:
    """Each unit's label with the highest IoU, as `dissect.dissect` gives it.

    Args:
        fraction: of the pixels on which a unit fires.

    Example:
        >>> planes = torch.arange(64).view(1, 1, 8, 8) // 22
        >>> method = dissect.experiments.by_iou(0.3)
        >>> method(torch.arange(64.0).view(1, 1, 8, 8), planes, dissect.Concepts.of(["a", "b"]))
        [2]
    """

    def method(maps: Tensor, planes: Tensor, concepts: Concepts) -> Sequence[Formula | int]:
        labels: list[Formula | int] = _dissected(maps, planes, concepts, fraction)["activations"].best_label.tolist()
        return labels

    return method


@speaks
def by_formulas(fraction: float = 0.01, *, length: int = 3, beam: int = 5) -> LabellingMethod:
    """Each unit's best formula, as `dissect.formulas` finds it.

    Args:
        fraction: of the pixels on which a unit fires.
        length: the most labels of a formula.
        beam: of the search.

    Example:
        >>> planes = torch.arange(64).view(1, 1, 8, 8) // 16
        >>> method = dissect.experiments.by_formulas(0.5)
        >>> found = method(torch.arange(64.0).view(1, 1, 8, 8), planes, dissect.Concepts.of(["a", "b", "c"]))
        >>> found[0].labels, found[0].joins
        ((2, 3), ('OR',))
    """

    def method(maps: Tensor, planes: Tensor, concepts: Concepts) -> Sequence[Formula | int]:
        d = _dissected(maps, planes, concepts, fraction)
        model, images = as_network({"activations": maps}, planes)
        found = formulas.formulas(model, d, images, length=length, beam=beam, decoys=0, progress=False)
        layer = found.layers["activations"]
        return [layer.formula(unit) for unit in range(len(layer.labels))]

    return method


@speaks
def by_similarity(similarity: Tensor) -> LabellingMethod:
    """Each unit's label by how its mean activation goes with what an embedding says of whole images.

    Of an embedding of images and texts, as CLIP, `similarity` is the product of the images' and the concepts' vectors;
    the label is the one whose column correlates most (Pearson) with the means of the unit's maps over the images. No
    planes are looked at. (CLIP-Dissect, Oikarinen & Weng 2023, with its similarity exchanged for the correlation.)

    Args:
        similarity: [N, C] of the planted images and all labels, label 0 included, which is never given.

    Raises:
        ValueError: another shape than the images and concepts have, when it is called.

    Example:
        >>> method = dissect.experiments.by_similarity(torch.tensor([[0.0, 0, 1], [0, 1, 0], [0, 2, 0]]))
        >>> maps = torch.tensor([0.0, 1, 2])[:, None, None, None]
        >>> method(maps, torch.zeros(3, 1, 4, 4).long(), dissect.Concepts.of(["a", "b"]))
        [1]
    """

    def method(maps: Tensor, planes: Tensor, concepts: Concepts) -> Sequence[Formula | int]:
        if similarity.shape != (len(maps), len(concepts)):
            due = [len(maps), len(concepts)]
            raise refusal(ValueError(f"similarity must have shape {due}, but got {list(similarity.shape)}."))
        means = _standard(maps.double().mean((2, 3)))
        score = means.T @ _standard(similarity.double())
        score[:, 0] = -torch.inf
        labels: list[Formula | int] = score.argmax(1).tolist()
        return labels

    return method


@speaks
def by_texts(embedder: Embedder, pictures: Sequence[Tensor]) -> LabellingMethod:
    """`by_similarity` of an embedding of pictures and texts: the concepts' names are the texts.

    Args:
        embedder: see `dissect.dissection.Embedder`; `dissect.dissection.HuggingFaceEmbedder` is CLIP or SigLIP.
        pictures: the N planted images, [3, H, W] uint8 each.

    Raises:
        ValueError: other numbers of pictures than there are images, or vectors that are none, when it is called.

    Example:
        >>> class Redness:  # a space of one colour; CLIP's has hundreds of directions
        ...     def pictures(self, pictures):
        ...         return torch.stack([picture.float().mean((1, 2)) for picture in pictures])
        ...     def texts(self, texts):
        ...         return torch.eye(3)[["red green blue".split().index(text) for text in texts]]
        >>> pictures = torch.eye(3).mul(255).byte()[:, :, None, None].expand(3, 3, 4, 4)
        >>> method, maps = dissect.experiments.by_texts(Redness(), pictures), torch.eye(3)[:, 1:, None, None]
        >>> method(maps, torch.zeros(3, 1, 4, 4).long(), dissect.Concepts.of(["red", "green", "blue"]))
        [2, 3]
    """

    def method(maps: Tensor, planes: Tensor, concepts: Concepts) -> Sequence[Formula | int]:
        if len(pictures) != len(maps):
            raise refusal(ValueError(f"pictures must be of the {len(maps)} images, but are {len(pictures)}."))
        found = similarity(embedder, pictures, concepts.names[1:])
        return by_similarity(torch.cat([found.new_zeros(len(found), 1), found], 1))(maps, planes, concepts)

    return method


def _standard(values: Tensor) -> Tensor:
    """Columns less their mean, of length 1; 0 where they are constant."""
    centred = values - values.mean(0)
    lengths: Tensor = centred.norm(dim=0)
    return centred / lengths.clamp(min=1e-30)
