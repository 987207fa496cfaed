"""One comparison made with several samples of images, so that numbers of detectors have intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch

from dissect.arguments import refusal, speaks
from dissect.dissection.compared import ALL, LayerCategoryRow, LayerRow
from dissect.dissection.comparison import Comparison
from dissect.stats.bootstrap import drawn_again, interval_of
from dissect.table import Table

#: How often samples are drawn again for an interval.
RESAMPLES = 1000


class ReplicateRow(NamedTuple):
    """A layer of a network over samples of images.

    Attributes:
        network: the network's name.
        layer: the layer's name.
        samples: how many there are.
        images: of each.
        detectors: on average over samples.
        concepts: how many different ones these detect, on average: the unique detectors.
        low: the lower end of the 95 % interval of that mean, over samples drawn again; None for fewer than 10.
        high: the upper end.
        fewest: different concepts in any sample.
        most: the same.
    """

    network: str
    layer: str
    samples: int
    images: int
    detectors: float
    concepts: float
    low: float | None
    high: float | None
    fewest: int
    most: int


class ReplicateCategoryRow(NamedTuple):
    """A category in a layer of a network over samples of images.

    Attributes:
        network, layer, samples, images: as in `ReplicateRow`.
        category: its name; "all" for all together.
        detectors: how many units are detectors of one of its concepts, on average over samples.
        detectors_low: the lower end of that mean's 95 % interval, over samples drawn again; None for fewer than 10.
        detectors_high: the upper end.
        concepts: how many of its concepts have a detector, on average.
        low: the lower end of that mean's interval, from the same draws.
        high: the upper end.
    """

    network: str
    layer: str
    category: str
    samples: int
    images: int
    detectors: float
    detectors_low: float | None
    detectors_high: float | None
    concepts: float
    low: float | None
    high: float | None


@speaks
def replicated(comparisons: Iterable[Comparison]) -> Table[ReplicateRow]:
    """How many detectors each layer has on average over samples of images, and how sure that is.

    The number of unique detectors of one dissection has no interval: it depends on the images, and on how many they
    are (fewer give more detectors by chance). So the same networks are compared again with other images, as many each
    time, and the mean's interval is over those samples.

    Args:
        comparisons: of the same networks, by samples that share no image (which nothing here can see).

    Raises:
        ValueError: fewer than two; other networks or layers; samples of different sizes.

    Example:
        >>> def net(seed):
        ...     torch.manual_seed(seed)
        ...     return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)).eval()
        >>> def compared(seed):
        ...     images, planes = torch.rand(6, 3, 4, 4), torch.randint(0, 3, (6, 1, 4, 4))
        ...     options = {"concepts": ["sky", "tree"], "fraction": 0.2, "progress": False, "decoys": 0}
        ...     return dissect.compare({f"net {at}": dissect.dissect(net(at), "0", [(images, planes)], **options)
        ...                             for at in range(2)})
        >>> [(row.network, row.samples) for row in replicated(map(compared, range(3)))]
        [('net 0', 3), ('net 1', 3)]
    """
    tables, found = _alike([one.summary() for one in comparisons]), []
    for rows in zip(*tables):
        counts = [row.concepts for row in rows]
        detectors, _, _ = _mean(row.detectors for row in rows)
        found.append(ReplicateRow(
            rows[0].network, rows[0].layer, len(rows), rows[0].images, detectors, *_mean(counts), min(counts),
            max(counts),
        ))  # fmt: skip
    return Table(found)


@speaks
def replicated_by_category(comparisons: Iterable[Comparison]) -> Table[ReplicateCategoryRow]:
    """The same as `replicated` for each category of concepts: of which kind the detectors are, and how sure that is.

    Args:
        comparisons: as there.

    Raises:
        ValueError: as there, or other vocabularies.

    Example:
        >>> nets = [torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)).eval() for _ in range(2)]
        >>> def compared(seed):
        ...     torch.manual_seed(seed)
        ...     images, planes = torch.rand(6, 3, 4, 4), torch.randint(0, 3, (6, 1, 4, 4))
        ...     options = {"concepts": ["sky", "tree"], "fraction": 0.2, "progress": False, "decoys": 0}
        ...     return dissect.compare([dissect.dissect(net, "0", [(images, planes)], **options) for net in nets])
        >>> [(row.category, row.samples) for row in replicated_by_category(map(compared, range(3)))]
        [('all', 3), ('concept', 3), ('all', 3), ('concept', 3)]
    """
    given = list(comparisons)
    wholes, tables = _alike([one.summary() for one in given]), [one.by_category() for one in given]
    if any([row[:4] for row in table] != [row[:4] for row in tables[0]] for table in tables):
        raise refusal(ValueError("comparisons must be by one vocabulary, but their categories differ."))
    found = []
    for whole in zip(*wholes):
        place = whole[0].network, whole[0].layer
        parts = [(rows[0].category, rows) for rows in zip(*tables) if (rows[0].network, rows[0].layer) == place]
        counted: list[tuple[str, Sequence[LayerRow | LayerCategoryRow]]] = [(ALL, whole), *parts]
        for category, rows in counted:
            detectors, few, many = _mean(row.detectors for row in rows)
            concepts, low, high = _mean(row.concepts for row in rows)
            found.append(ReplicateCategoryRow(
                *place, category, len(rows), whole[0].images, detectors, few, many, concepts, low, high
            ))  # fmt: skip
    return Table(found)


def _alike(tables: list[Table[LayerRow]]) -> list[Table[LayerRow]]:
    """Summaries of samples, which must be two or more of the same networks, layers and sizes."""
    if len(tables) < 2:
        raise refusal(ValueError(f"comparisons must be two or more, but there is {len(tables)}."))
    places = [[(row.network, row.layer, row.images) for row in table] for table in tables]
    other = next((place for place in places if place != places[0]), None)
    if other is not None:
        differing = next((pair for pair in zip(places[0], other) if pair[0] != pair[1]), (places[0], other))
        raise refusal(ValueError(
            "comparisons must be of the same networks, layers and numbers of images, in one order, but have "
            f"{differing[0]} and {differing[1]}."
        ))  # fmt: skip
    return tables


def _mean(counts: Iterable[int]) -> tuple[float, float | None, float | None]:
    """The mean of the samples' counts, and its interval over samples drawn again, of all rows the same draws."""
    values = torch.tensor(list(counts), dtype=torch.float64)
    weights = drawn_again(len(values), RESAMPLES, seed=0) / len(values)
    low, high = interval_of(weights @ values, len(values)).tolist()
    return float(values.mean()), None if math.isnan(low) else low, None if math.isnan(high) else high
