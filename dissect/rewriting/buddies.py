"""Neural best buddies: which places of two images correspond, in the feature maps of any network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad, unfold

from dissect.arguments import integer, refusal, speaks

#: By level, the finest first: the side of the patches that are compared, and how far around its parent a place is
#: looked for (the published code's).
PATCHES, RADII = (5, 5, 3, 3, 3), (3, 3, 2, 2, 2)
#: Of the strongest response of a map: places with less are nobody's buddies.
ACTIVE = 0.05
#: Pairs of a level that go on to the next, the strongest ones.
MOST = 64


class Buddies(NamedTuple):
    """Places of two images that correspond.

    Attributes:
        first: [M, 2] float32, row and column in the one, as shares of its height and width.
        second: [M, 2] the same in the other.
        strength: [M] float32, how strongly the features respond there, summed over levels; the strongest first.
    """

    first: Tensor
    second: Tensor
    strength: Tensor


@speaks
def best_buddies(first: Sequence[Tensor], second: Sequence[Tensor], count: int = 10) -> Buddies:
    """Sparse correspondences of two images (Aberman et al. 2018), by which the papers carry an edit to other images.

    From the coarsest level to the finest: within each pair of regions both maps get the regions' mean and deviation in
    common, patches are compared by the products of their normalised features, places that are each other's nearest are
    kept where both respond, and each of the 64 strongest becomes the middle of a pair of regions of the next level. A
    level that leaves none ends the search at the one before. At last places are clustered, and each cluster's strongest
    is kept.

    Args:
        first: maps [C, h, w] of the one image, at most five, the finest first, each half as large as the one before.
        second: the same of the other.
        count: of clusters.

    Returns:
        `Buddies`, at most `count`; none where no places are each other's nearest.

    Raises:
        ValueError: no maps, more than five, or of other shapes.

    Example:
        >>> from dissect.rewriting import best_buddies
        >>> fine = torch.zeros(2, 8, 8)
        >>> fine[0, 1, 2] = fine[1, 6, 5] = 9
        >>> coarse = torch.nn.functional.avg_pool2d(fine, 2)
        >>> found = best_buddies([fine, coarse], [fine.roll(1, 2), coarse], count=2)
        >>> ((found.second - found.first) * 8).tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """
    count = integer("count", count)
    _check(first, second)
    parents, strength = torch.zeros(1, 2, 2, dtype=torch.int64), torch.zeros(1)
    found, size = parents[:0], (1, 1)
    for level in reversed(range(len(first))):
        maps = first[level].float(), second[level].float()
        here = (maps[0].shape[1], maps[0].shape[2])
        radius = max(here) if level == len(first) - 1 else RADII[level]
        places, of = _mutual(maps, 2 * parents, radius, PATCHES[level])
        response = torch.stack([_response(each)[places[:, at, 0], places[:, at, 1]] for at, each in enumerate(maps)])
        kept = (response >= ACTIVE).all(0)
        if not bool(kept.any()):
            break
        strength, parents = _unique(places[kept], (strength[of] + response.mean(0))[kept], here)
        strength, parents = strength[:MOST], parents[:MOST]
        found, size = parents, here
    kept = _spread(found[:, 0].float(), strength, count) if len(found) else torch.empty(0, dtype=torch.int64)
    shares = (found[kept].float() + 0.5) / torch.tensor(size)
    return Buddies(shares[:, 0], shares[:, 1], strength[kept] if len(found) else strength[:0])


def _check(first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
    shapes = [[tuple(each.shape) for each in maps] for maps in (first, second)]
    halved = all(
        len(b) == 3 and len(a) == 3 and (b[1], b[2]) == (a[1] // 2, a[2] // 2) for a, b in zip(shapes[0], shapes[0][1:])
    )
    if shapes[0] != shapes[1] or not 0 < len(first) <= len(PATCHES) or not halved or len(shapes[0][0]) != 3:
        raise refusal(
            ValueError(
                f"features must give 1 to {len(PATCHES)} maps [C, h, w], the finest first, each half as large as the "
                f"one before, of both images alike, but are of shapes {shapes[0]} and {shapes[1]}."
            )
        )


def _mutual(maps: tuple[Tensor, Tensor], middles: Tensor, radius: int, patch: int) -> tuple[Tensor, Tensor]:
    """Places [M, 2 images, 2] that are each other's nearest in pairs of regions, and the number of the region."""
    height, width = maps[0].shape[1:]
    sides = min(2 * radius + 1, height), min(2 * radius + 1, width)
    corners = (middles - radius).clamp_min(0).minimum(torch.tensor([height - sides[0], width - sides[1]]))
    rows = []
    windows = [_windows(each, corners[:, at], sides, patch // 2) for at, each in enumerate(maps)]
    moments = [(each.mean((2, 3), keepdim=True), each.std((2, 3), keepdim=True)) for each in windows]
    mean, deviation = (sum(parts) / 2 for parts in zip(*moments))
    for window, (own_mean, own_deviation) in zip(windows, moments):
        common = (window - own_mean) / own_deviation.clamp_min(1e-6) * deviation + mean
        rows.append(unfold(normalize(common, dim=1), patch))
    alike = rows[0].transpose(1, 2) @ rows[1]
    there, back = alike.argmax(2), alike.argmax(1)
    region, place = (back.gather(1, there) == torch.arange(there.shape[1])).nonzero(as_tuple=True)
    both = torch.stack([place, there[region, place]], 1)
    return torch.stack([both // sides[1], both % sides[1]], 2) + corners[region], region


def _windows(features: Tensor, corners: Tensor, sides: tuple[int, int], border: int) -> Tensor:
    """Regions [M, C, h, w] of a map, with a border around each."""
    wide = pad(features[None], (border,) * 4, "replicate")[0]
    rows, columns = (corners[:, at, None] + torch.arange(side + 2 * border) for at, side in enumerate(sides))
    return wide[:, rows[:, :, None], columns[:, None]].transpose(0, 1)


def _response(features: Tensor) -> Tensor:
    """The squared length of the features at each place, stretched to [0, 1]."""
    squares = features.square().sum(0)
    low, high = squares.aminmax()
    return (squares - low) / (high - low).clamp_min(1e-12)


def _unique(places: Tensor, strength: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The strongest of the pairs of each place of the first image, the strongest first."""
    order = strength.sort(descending=True, stable=True).indices
    numbers = places[order, 0, 0] * size[1] + places[order, 0, 1]
    seen: dict[int, int] = {}
    for at, number in enumerate(numbers.tolist()):
        seen.setdefault(number, at)
    kept = order[list(seen.values())]
    return strength[kept], places[kept]


def _spread(points: Tensor, strength: Tensor, count: int) -> Tensor:
    """The numbers of the strongest of each of some clusters (k-means, begun at the farthest points)."""
    chosen = [0]
    while len(chosen) < min(count, len(points)):
        chosen.append(int(torch.cdist(points, points[chosen]).amin(1).argmax()))
    centres = points[chosen]
    for _ in range(10):
        of = torch.cdist(points, centres).argmin(1)
        centres = torch.stack(
            [points[of == at].mean(0) if bool((of == at).any()) else centre for at, centre in enumerate(centres)]
        )
    best = [int((strength * (of == at)).argmax()) for at in range(len(centres)) if bool((of == at).any())]
    return torch.tensor(sorted(best))
