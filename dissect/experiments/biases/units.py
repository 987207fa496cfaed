"""Three biases, measured: groups of units, masks out of place, and layers of many units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.dissection import Dissection
from dissect.dissection.presets import GridName
from dissect.experiments.biases.maps import LayerMaps, found, only, spread
from dissect.grid import Grid
from dissect.reference import upsample
from dissect.stats import iou

#: Even images choose, odd ones measure.
EVEN, ODD = slice(0, None, 2), slice(1, None, 2)


class Groups(NamedTuple):
    """How well groups of 1, 2, ... units fit each label, beside single units that fire as widely.

    Attributes:
        groups: by number of units, [C] IoUs on odd images, which had no say in the choice.
        singles: by number of units, [C] IoUs of the unit that fits best where it fires on as many times the share.
        reachable: [C] bool, labels with which an IoU above the cut-off is possible.
    """

    groups: list[Tensor]
    singles: list[Tensor]
    reachable: Tensor


@speaks
def groups(maps: LayerMaps, layer: str, most: int = 3, *, fraction: float = 0.01, cutoff: float = 0.04) -> Groups:
    """For each label the unit, pair, triple, ... whose masks together fit it best, chosen greedily on even images.

    Planes are every second pixel of every second row. A single unit that fires on as large a share as the group is the
    other way to cover more, and is chosen in the same way.

    Args:
        maps: of the layer.
        layer: one of those that it has.
        most: units of a group.
        fraction: of the pixels on which a unit fires.
        cutoff: of the IoU of detectors, for what is in reach.
    """
    planes, own = maps.planes[:, :, 1::2, 1::2], maps.maps[layer]
    masks = _Masks(own, planes, len(maps.concepts))
    levels = [
        only(maps.dissected(layer, fraction=fraction * n, decoys=0, resamples=0)).thresholds for n in range(1, most + 1)
    ]
    singles = [masks.scores(level, ODD, masks.best_with(level, EVEN, [])[None]) for level in levels]
    members: list[Tensor] = []
    measured = []
    for _ in range(most):
        members.append(masks.best_with(levels[0], EVEN, members))
        measured.append(masks.scores(levels[0], ODD, torch.stack(members)))
    share = torch.bincount(planes.flatten().long(), minlength=len(maps.concepts)).double()
    share = share / (len(planes) * planes[0, 0].numel())
    reachable = torch.minimum(share, torch.tensor(fraction)) / share.clamp(min=fraction) > cutoff
    reachable[0] = False
    return Groups(measured, singles, reachable)


class _Masks:
    """Masks of units and of labels, image by image; levels [U] and slices of images are given."""

    def __init__(self, maps: Tensor, planes: Tensor, labels: int) -> None:
        self.maps, self.planes, self.labels = maps, planes, labels
        self.grid = Grid.half_pixel((maps.shape[2], maps.shape[3]), (planes.shape[2], planes.shape[3]))

    def best_with(self, level: Tensor, images: slice, members: list[Tensor]) -> Tensor:
        """[C]: the unit that, together with the members [C] so far, fits each label best."""
        shared = torch.zeros(len(level), self.labels, dtype=torch.float64)
        fires, carries = torch.zeros_like(shared), torch.zeros(self.labels, dtype=torch.float64)
        before = torch.zeros(2, self.labels, dtype=torch.float64)
        for masks, shown in self._each(level, images):
            covered = torch.zeros_like(shown)
            for member in members:
                covered |= masks[member]
            numbers = masks.float()
            shared += numbers @ (shown & ~covered).float().T
            fires += numbers @ (~covered).float().T
            carries += shown.sum(1)
            before += torch.stack([(covered & shown).sum(1), covered.sum(1)])
        return iou(shared + before[0], fires + before[1], carries).argmax(0)

    def scores(self, level: Tensor, images: slice, members: Tensor) -> Tensor:
        """[C]: the IoU of each label with all that its members [n, C] cover."""
        counts = torch.zeros(3, self.labels, dtype=torch.int64)
        for masks, shown in self._each(level, images):
            covered = masks[members].any(0)
            counts += torch.stack([(covered & shown).sum(1), covered.sum(1), shown.sum(1)])
        return iou(counts[0][None], counts[1][None], counts[2])[0]

    def _each(self, level: Tensor, images: slice) -> Iterator[tuple[Tensor, Tensor]]:
        """Of each image the masks of the units [U, P] and of the labels [C, P]."""
        for activations, image in zip(self.maps[images], self.planes[images].long()):
            masks = upsample(activations, self.grid.rows, self.grid.columns) > level[:, None, None]
            shown = torch.zeros(self.labels, image[0].numel(), dtype=torch.bool)
            for plane in image.flatten(1):
                shown[plane, torch.arange(len(plane))] = True
            shown[0] = False
            yield masks.flatten(1), shown


class Placed(NamedTuple):
    """What a layer shows with one kind of grid.

    Attributes:
        layer: its name.
        kind: of grid.
        units: of the layer.
        detectors: of them.
        concepts: that they detect.
        mean: of the units' best IoUs.
        renamed: units whose best label is another one than with "half_pixel".
        largest: the largest change of an IoU against "half_pixel".
    """

    layer: str
    kind: GridName
    units: int
    detectors: int
    concepts: int
    mean: float
    renamed: int
    largest: float


@speaks
def placed(maps: LayerMaps, layer: str) -> list[Placed]:
    """By kind of grid, what a layer shows."""
    rows = []
    base = None
    for kind in get_args(GridName):
        result = maps.dissected(layer, grid=_grid(maps, layer, kind), decoys=0, resamples=0)
        own = only(result)
        base = base or own
        change = float((own.iou - base.iou).abs().amax())
        renamed = int((own.best_label != base.best_label).sum())
        rows.append(Placed(layer, kind, own.num_units, *found(result), float(own.best_iou.mean()), renamed, change))
    return rows


def _grid(maps: LayerMaps, layer: str, kind: GridName) -> Grid:
    source, target = _sizes(maps, layer)
    if kind == "half_pixel":
        return Grid.half_pixel(source, target)
    place = Grid.receptive_field if kind == "receptive_field" else Grid.netdissect
    return place(maps.chains[layer], source, target)


def _sizes(maps: LayerMaps, layer: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Rows and columns of a layer's maps, and of the planes."""
    own, planes = maps.maps[layer], maps.planes
    return (own.shape[2], own.shape[3]), (planes.shape[2], planes.shape[3])


class Shifted(NamedTuple):
    """Masks shifted unit by unit.

    Attributes:
        layer: its name.
        before: [U] IoUs on odd images as they are.
        after: [U] with the shift that even images prefer.
        common: the shift (rows, columns), in cells, that suits all units together best.
        unmoved: how many units prefer none.
    """

    layer: str
    before: Tensor
    after: Tensor
    common: tuple[float, float]
    unmoved: int


@speaks
def shifted(maps: LayerMaps, layer: str, steps: Sequence[float] = (-1, -0.5, 0, 0.5, 1)) -> Shifted:
    """Each unit's mask moved by each pair of steps, in cells; even images choose its label, unmoved, and its shift.

    Raises:
        ValueError: 0 is not among the steps.
    """
    if 0 not in steps:
        raise refusal(ValueError(f"steps must have 0 among them, but are {list(steps)}."))
    source, target = _sizes(maps, layer)
    moves = sorted(((y, x) for y in steps for x in steps), key=lambda move: (abs(move[0]) + abs(move[1]), move))
    scores: list[list[Tensor]] = [[], []]
    label = None
    for move in moves:  # the first is none
        rows, columns = (
            ((torch.arange(wide, dtype=torch.float64) + 0.5) * cells / wide - 0.5 + by).tolist()
            for wide, cells, by in zip(target, source, move)
        )
        grid = Grid.from_centres(rows, columns, source)
        for half, images in enumerate((EVEN, ODD)):
            own = only(maps.dissected(layer, images=images, grid=grid, decoys=0, resamples=0))
            label = own.best_label if label is None else label
            scores[half].append(own.iou.gather(1, label[:, None])[:, 0])
    even, odd = (torch.stack(part) for part in scores)
    chosen = even.argmax(0)
    common = moves[int(even.mean(1).argmax())]
    return Shifted(layer, odd[0], odd.gather(0, chosen[None])[0], common, int((chosen == 0).sum()))


class Rarefied(NamedTuple):
    """Of so many units drawn at random: detectors and concepts, each (mean, 2.5 %, 97.5 %)."""

    units: int
    detectors: tuple[float, float, float]
    concepts: tuple[float, float, float]


@speaks
def rarefied(dissection: Dissection, counts: Iterable[int], *, draws: int = 200, seed: int = 0) -> list[Rarefied]:
    """What so many units of a layer find, drawn without replacement, for each count."""
    rows, cutoff = dissection.best(), dissection.settings["detector_iou"]
    stream = torch.Generator().manual_seed(seed)
    results = []
    for count in counts:
        seen = []
        for _ in range(draws):
            drawn = [rows[at] for at in torch.randperm(len(rows), generator=stream)[:count].tolist()]
            hits = [(row.category, row.concept) for row in drawn if row.iou > cutoff]
            seen.append((len(hits), len(set(hits))))
        detectors, concepts = (spread(part) for part in torch.tensor(seen, dtype=torch.float64).T)
        results.append(Rarefied(count, detectors, concepts))
    return results
