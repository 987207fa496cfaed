"""One comparison made with several samples of images, so that numbers of detectors have intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch

from dissect.arguments import refusal, speaks
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
    tables = [one.summary() for one in comparisons]
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
    weights, found = drawn_again(len(tables), RESAMPLES, seed=0) / len(tables), []
    for rows in zip(*tables):
        counts = torch.tensor([row.concepts for row in rows], dtype=torch.float64)
        low, high = interval_of(weights @ counts, len(rows)).tolist()
        found.append(ReplicateRow(
            rows[0].network, rows[0].layer, len(rows), rows[0].images, sum(row.detectors for row in rows) / len(rows),
            float(counts.mean()), None if math.isnan(low) else low, None if math.isnan(high) else high,
            int(counts.min()), int(counts.max()),
        ))  # fmt: skip
    return Table(found)
