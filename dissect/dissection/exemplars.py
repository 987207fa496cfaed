"""What other tools make of units: exemplars to take away, labels from texts, and labels that came from elsewhere."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.dissection.rows import unit_rows
from dissect.table import Table
from dissect.text import printable, shown

if TYPE_CHECKING:
    from dissect.dissection.result import Dissection

#: Scores that differ by less are equal.
ROUNDING = 1e-9

#: Draws of exemplars that the null is made of.
DRAWS = 999


class Exemplar(NamedTuple):
    """A unit's place in one of its top images.

    Attributes:
        image: number of the image in the data set.
        activation: the unit's highest in it.
        picture: [3, H, W] uint8, the whole image.
        mask: [H, W] bool, where the unit fires; a pixel of it is the nearest of the planes' size.
        crop: [3, h, w] uint8, of the picture the least box around the mask; all of it where the unit does not fire.
    """

    image: int
    activation: float
    picture: Tensor
    mask: Tensor
    crop: Tensor


class Embedder(Protocol):
    """What puts pictures and texts into one space, as CLIP and SigLIP do; see `text_labels`."""

    def pictures(self, pictures: Sequence[Tensor]) -> Tensor:
        """[n, D] of pictures [3, h, w] uint8 of any sizes."""

    def texts(self, texts: Sequence[str]) -> Tensor:
        """[T, D] of texts."""


class TextRow(NamedTuple):
    """A unit's label from texts, beside that from the planes.

    Attributes:
        layer: the layer's name.
        unit: number within the layer.
        concept: its best concept by IoU; "-" without one.
        iou: with it.
        text: the text that fits its exemplars best.
        score: how well: the mean cosine of its crops with the text, less that of all crops of the layer.
        margin: by how much the score exceeds that of the second best text.
        p: how probable so high a best score is for as many crops drawn from those of all units of the layer.
    """

    layer: str
    unit: int
    concept: str
    iou: float
    text: str
    score: float
    margin: float
    p: float


class LabelRow(NamedTuple):
    """A unit's label from elsewhere, beside its own.

    Attributes:
        layer: the layer's name.
        unit: number within the layer.
        concept: its best concept by IoU; "-" without one.
        iou: with it.
        label: what the file calls it; "" where it says nothing.
    """

    layer: str
    unit: int
    concept: str
    iou: float
    label: str


def exemplars(dissection: Dissection, layer: str, unit: int) -> list[Exemplar]:
    """See `Dissection.exemplars`."""
    found = dissection[layer]
    number = integer("unit", unit, least=0)
    if number >= found.num_units:
        raise refusal(IndexError(f"unit must be below {found.num_units}, the units of {layer!r}, but is {number}."))
    made = []
    for image, value, mask in zip(
        found.peak_images[number].tolist(), found.peaks[number].tolist(), found.masks(number)
    ):
        picture = dissection.image(image)
        rows, columns = (spread_back(size, mask.shape[axis]) for axis, size in enumerate(picture.shape[1:]))
        mask = mask[rows][:, columns]
        across, down = mask.any(0).nonzero().flatten(), mask.any(1).nonzero().flatten()
        box = picture
        if len(down):
            box = picture[:, int(down[0]) : int(down[-1]) + 1, int(across[0]) : int(across[-1]) + 1]
        made.append(Exemplar(image, value, picture, mask, box))
    return made


def spread_back(size: int, of: int) -> Tensor:
    """[size]: for each pixel of an axis the one of a smaller or larger axis in which its middle lies."""
    return (torch.arange(size) * 2 + 1) * of // (2 * size)


@speaks
def text_labels(
    dissection: Dissection,
    texts: Sequence[str],
    embedder: Embedder,
    *,
    layer: str,
    draws: int = DRAWS,
    seed: int = 0,
) -> Table[TextRow]:
    """Labels units with the texts that fit the crops of their exemplars best, each with its null and its margin.

    With unit vectors, and the mean over all crops of the layer taken off, which a text that fits everything would win::

        score(u, t) = mean over crops of u of <crop, t>  -  mean over all crops of the layer of <crop, t>

    For the null as many crops as a unit has are drawn at random, without replacement, from those of all units of the
    layer, `draws` times, and each time the best score is taken, over all texts as for a unit:
    ``p = (1 + number of draws that reach the unit's best score) / (1 + draws)``. It says whether the crops agree on a
    text more than any others would, not whether the text is true of the unit.

    Args:
        dissection: the result.
        texts: at least two, all different.
        embedder: see `Embedder`; `HuggingFaceEmbedder` is one.
        layer: whose units.
        draws: of the null.
        seed: of the draws.

    Raises:
        KeyError: a layer that was not dissected.
        TypeError, ValueError: texts that are not two or more different ones; an embedder that gives something else.

    Example:
        >>> class Redness:  # a space of one colour; CLIP's has hundreds of directions
        ...     def pictures(self, pictures):
        ...         return torch.stack([picture.float().mean((1, 2)) for picture in pictures])
        ...     def texts(self, texts):
        ...         return torch.eye(3)[["red green blue".split().index(text) for text in texts]]
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1)).eval()
        >>> d = dissect.dissect(net, "0", [torch.rand(9, 3, 8, 8)], fraction=0.1, progress=False)
        >>> len(text_labels(d, ["red", "blue"], Redness(), layer="0"))
        2
    """
    texts, draws = list(texts), integer("draws", draws)
    if len(texts) < 2 or len(set(texts)) < len(texts):
        raise refusal(ValueError(f"texts must be at least two, all different, but are {texts[:5]}."))
    found = dissection[layer]
    crops = [exemplar.crop for unit in range(found.num_units) for exemplar in exemplars(dissection, layer, unit)]
    fits = similarity(embedder, crops, texts)
    fits = fits - fits.mean(0)
    count = len(crops) // found.num_units
    scores = fits.view(found.num_units, count, -1).mean(1)
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randperm(len(crops), generator=generator)[:count] for _ in range(draws))
    null = torch.stack([fits[rows].mean(0).max() for rows in drawn]).sort().values
    best = scores.topk(2).values
    p = (1 + draws - torch.searchsorted(null, best[:, 0] - ROUNDING)).double() / (1 + draws)
    rows = []
    for row, label, (first, second), chance in zip(
        unit_rows(dissection, found), scores.argmax(1).tolist(), best.tolist(), p.tolist()
    ):
        rows.append(TextRow(layer, row.unit, row.concept, row.iou, texts[label], first, first - second, chance))
    return Table(rows, by="score")


@speaks
def labels_beside(
    dissection: Dissection,
    labels: str | Path | Mapping[int, str],
    *,
    layer: str,
    unit: str = "unit",
    label: str = "label",
) -> Table[LabelRow]:
    """Labels of a layer's units that another tool gave, as CLIP-Dissect and MILAN do, beside those by IoU.

    Args:
        dissection: the result.
        labels: a CSV file with a line per unit, or labels by unit.
        layer: whose units. If the file has a column `layer`, its other lines are left out.
        unit: the column of the units' numbers, 0 on.
        label: the column of the labels.

    Raises:
        KeyError: a layer that was not dissected.
        FileNotFoundError: no such file.
        ValueError: a file without these columns, that says nothing of the layer, or with a unit that is not there or is
            there twice; names the line.

    Example: ``labels_beside(d, "descriptions.csv", layer="layer4", label="description")``
    """
    count = dissection[layer].num_units
    given = dict(labels) if isinstance(labels, Mapping) else _read(Path(labels), layer, unit, label)
    strange = [number for number in given if number not in range(count)]
    if strange or not given:
        got = f"one is {strange[0]}" if strange else "there are none"
        raise refusal(ValueError(f"labels must be of units below {count}, those of layer {layer!r}, but {got}."))
    return Table(
        LabelRow(layer, row.unit, row.concept, row.iou, given.get(row.unit, ""))
        for row in unit_rows(dissection, dissection[layer])
    )


def _read(path: Path, layer: str, unit: str, label: str) -> dict[int, str]:
    if not path.is_file():
        raise refusal(FileNotFoundError(f"there is no file {shown(path)}."))
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in (unit, label) if name not in (reader.fieldnames or ())]
        if missing:
            raise refusal(
                ValueError(f"{shown(path)} must have a column {missing[0]!r}, but has {list(reader.fieldnames or ())}.")
            )
        found: dict[int, str] = {}
        for line, row in enumerate(reader, start=2):
            if row.get("layer") not in (None, layer):
                continue
            text, number = row[label], row[unit] or ""
            if not number.strip().isdecimal() or text is None:
                raise refusal(
                    ValueError(f"line {line} of {shown(path)} must have a unit's number and a label, but has "
                               f"{printable(number)!r}.")
                )  # fmt: skip
            if int(number) in found:
                raise refusal(
                    ValueError(f"line {line} of {shown(path)} must name another unit: {number} is there twice.")
                )
            found[int(number)] = text
    return found


def similarity(embedder: Embedder, pictures: Sequence[Tensor], texts: Sequence[str]) -> Tensor:
    """[n, T] float64: the cosine of every picture with every text.

    Raises:
        ValueError: an embedder that gives something else than vectors.
    """
    shown, said = embedder.pictures(pictures), embedder.texts(texts)
    own, others = _unit("pictures", shown, len(pictures)), _unit("texts", said, len(texts))
    if own.shape[1] != others.shape[1]:
        sizes = f"{own.shape[1]} and {others.shape[1]}"
        raise refusal(ValueError(f"embedder must put pictures and texts into one space, but gave {sizes} numbers."))
    return own @ others.T


def _unit(name: str, vectors: Tensor, count: int) -> Tensor:
    """[count, D] float64 of length 1."""
    if not isinstance(vectors, Tensor) or vectors.ndim != 2 or len(vectors) != count or not vectors.is_floating_point():
        got = f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, Tensor) else type(vectors).__name__
        raise refusal(ValueError(f"embedder.{name} must give floats [{count}, D], but gave {got}."))
    lengths = vectors.double().norm(dim=1, keepdim=True)
    if not bool((lengths > 0).all() and lengths.isfinite().all()):
        raise refusal(ValueError(f"embedder.{name} must give finite vectors, none of them 0, but did not."))
    unit: Tensor = (vectors.double() / lengths).detach().cpu()
    return unit
