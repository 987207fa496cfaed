"""Three biases of dissection, measured: groups of units, masks out of place, and layers of many units."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from trust_world import CUTOFF, FRACTION, LAYERS, SEED, World, found, only, spread

from dissect import Dissection, Grid
from dissect.reference import upsample
from dissect.stats import iou


class Groups(NamedTuple):
    """By number of units, [C] IoUs on images that had no say in the choice; and those of single units as large."""

    groups: list[Tensor]
    singles: list[Tensor]
    reachable: Tensor


def groups(world: World, most: int = 3) -> Groups:
    """For each concept the unit, pair, triple, ... whose masks together fit it best, chosen greedily on even images.

    Planes are every second pixel of every second row. A single unit that fires on as large a share as the group is the
    other way to cover more, and is chosen in the same way.
    """
    planes, maps = world.planes[:, :, 1::2, 1::2], world.maps[LAYERS[0], True]
    grid = Grid.half_pixel(tuple(maps.shape[2:]), tuple(planes.shape[2:]))
    levels = [
        only(world.dissected(fraction=FRACTION * n, decoys=0, resamples=0)).thresholds for n in range(1, most + 1)
    ]
    singles = []
    for level in levels:
        chosen = _step(maps, planes, grid, level, slice(0, None, 2), len(world.concepts), [])
        singles.append(_scores(maps, planes, grid, level, slice(1, None, 2), chosen[None]))
    members: list[Tensor] = []
    measured = []
    for _ in range(most):
        members.append(_step(maps, planes, grid, levels[0], slice(0, None, 2), len(world.concepts), members))
        measured.append(_scores(maps, planes, grid, levels[0], slice(1, None, 2), torch.stack(members)))
    share = torch.bincount(planes.flatten().long(), minlength=len(world.concepts)).double()
    share = share / (len(planes) * planes[0, 0].numel())
    reachable = torch.minimum(share, torch.tensor(FRACTION)) / share.clamp(min=FRACTION) > CUTOFF
    reachable[0] = False
    return Groups(measured, singles, reachable)


def _each(
    maps: Tensor, planes: Tensor, grid: Grid, level: Tensor, images: slice, labels: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Image by image the masks of the units [U, P] and of the labels [C, P]."""
    for activations, image in zip(maps[images], planes[images].long()):
        masks = upsample(activations, grid.rows, grid.columns) > level[:, None, None]
        shown = torch.zeros(labels, image[0].numel(), dtype=torch.bool)
        for plane in image.flatten(1):
            shown[plane, torch.arange(len(plane))] = True
        shown[0] = False
        yield masks.flatten(1), shown


def _step(
    maps: Tensor, planes: Tensor, grid: Grid, level: Tensor, images: slice, labels: int, members: list[Tensor]
) -> Tensor:
    """[C]: the unit that, together with the members [C] so far, fits each label best."""
    shared = torch.zeros(len(level), labels, dtype=torch.float64)
    fires, carries = torch.zeros_like(shared), torch.zeros(labels, dtype=torch.float64)
    before = torch.zeros(2, labels, dtype=torch.float64)
    for masks, shown in _each(maps, planes, grid, level, images, labels):
        covered = torch.zeros_like(shown)
        for member in members:
            covered |= masks[member]
        numbers = masks.float()
        shared += numbers @ (shown & ~covered).float().T
        fires += numbers @ (~covered).float().T
        carries += shown.sum(1)
        before += torch.stack([(covered & shown).sum(1), covered.sum(1)])
    shared, fires = shared + before[0], fires + before[1]
    return iou(shared, fires, carries).argmax(0)


def _scores(maps: Tensor, planes: Tensor, grid: Grid, level: Tensor, images: slice, members: Tensor) -> Tensor:
    """[C]: the IoU of each label with all that its members [n, C] cover."""
    counts = torch.zeros(3, members.shape[1], dtype=torch.int64)
    for masks, shown in _each(maps, planes, grid, level, images, members.shape[1]):
        covered = masks[members].any(0)
        counts += torch.stack([(covered & shown).sum(1), covered.sum(1), shown.sum(1)])
    return iou(counts[0][None], counts[1][None], counts[2])[0]


class Placed(NamedTuple):
    """What a layer shows with one kind of grid; `renamed` units and the `largest` change of an IoU are against another.

    That other is "half_pixel".
    """

    layer: str
    kind: str
    units: int
    detectors: int
    concepts: int
    mean: float
    renamed: int
    largest: float


def placed(world: World, layers: Iterable[str] = LAYERS) -> list[Placed]:
    """By layer and kind of grid; changes are against "half_pixel"."""
    rows = []
    for layer in layers:
        base = None
        for kind in ("half_pixel", "receptive_field", "netdissect"):
            result = world.dissected(layer, grid=_grid(world, layer, kind), decoys=0, resamples=0)
            own = only(result)
            base = base or own
            change = (own.iou - base.iou).abs().amax()
            renamed = int((own.best_label != base.best_label).sum())
            mean = float(own.best_iou.mean())
            rows.append(Placed(layer, kind, own.num_units, *found(result), mean, renamed, float(change)))
    return rows


def _grid(world: World, layer: str, kind: str) -> Grid:
    source, target = tuple(world.maps[layer, True].shape[2:]), tuple(world.planes.shape[2:])
    if kind == "half_pixel":
        return Grid.half_pixel(source, target)
    return getattr(Grid, kind)(world.chains[layer], source, target)


class Shifted(NamedTuple):
    """Masks shifted unit by unit: IoUs [U] on odd images as they are, and with the shift that even images prefer.

    `common`, the shift (rows, columns) that suits all units together best, in cells; `unmoved`, how many units prefer
    none.
    """

    layer: str
    before: Tensor
    after: Tensor
    common: tuple[float, float]
    unmoved: int


def shifted(world: World, layer: str, steps: tuple[float, ...] = (-1, -0.5, 0, 0.5, 1)) -> Shifted:
    """Each unit keeps the label that is its best on even images, unshifted."""
    source, target = tuple(world.maps[layer, True].shape[2:]), tuple(world.planes.shape[2:])
    moves = sorted(((y, x) for y in steps for x in steps), key=lambda move: (abs(move[0]) + abs(move[1]), move))
    scores: list[list[Tensor]] = [[], []]
    label = None
    for move in moves:  # the first is none
        centres = [
            (torch.arange(wide, dtype=torch.float64) + 0.5) * cells / wide - 0.5 + by
            for wide, cells, by in zip(target, source, move)
        ]
        grid = Grid.from_centres(*(axis.tolist() for axis in centres), source)
        for half in (0, 1):
            own = only(world.dissected(layer, images=slice(half, None, 2), grid=grid, decoys=0, resamples=0))
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


def rarefied(dissection: Dissection, sizes: Iterable[int], draws: int = 200) -> list[Rarefied]:
    """Units drawn without replacement."""
    rows = dissection.best()
    stream = torch.Generator().manual_seed(SEED)
    results = []
    for size in sizes:
        counts = []
        for _ in range(draws):
            drawn = [rows[at] for at in torch.randperm(len(rows), generator=stream)[:size].tolist()]
            hits = [(row.category, row.concept) for row in drawn if row.iou > CUTOFF]
            counts.append((len(hits), len(set(hits))))
        results.append(Rarefied(size, *(spread(part) for part in torch.tensor(counts, dtype=torch.float64).T)))
    return results
