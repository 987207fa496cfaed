"""How often strokes draw and remove what they say, and what they change beside it: writes docs/painting_measured.md.

python docs/scripts/painting.py [--images N]
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import torch
from pages import command_line, folder, table
from painting_text import PAGE
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

import dissect
from dissect import apps, tiny
from dissect.apps import Brush, Mask, Stroke
from dissect.apps.strokes import Action
from dissect.generators.ranking import class_iou
from dissect.stats.bootstrap import drawn_again, interval_of

LAYER = "layer4"
#: Images of seed 2 in which brushes are found, as `dissect paint` does, and the seed of those that are painted on.
FOUND, FOUND_SEED, SEED = 96, 2, 1
CONCEPTS = (
    "object/tree", "object/skyscraper", "object/grass", "object/cloud", "material/water", "part/roof", "part/door",
)  # fmt: skip
CONTEXTS = {
    "sky": ("object/sky",),
    "house": ("object/house", "object/church"),
    "road": ("object/road",),
    "grass": ("object/grass",),
}
#: Cells a side of a stroke; the least share of its pixels that show its context, or what it removes.
SIDE, CONTEXT, REMOVED = 3, 0.5, 0.05
#: Units of the strokes beside those of the default number.
MANY = 20
#: What is painted to be replayed: an action, a concept, and what is there.
MOVIES: dict[str, list[tuple[Action, str, str]]] = {
    "trees_erased": [("remove", "object/tree", "object/tree")] * 3,
    "doors": [
        ("draw", "part/door", "object/house"),
        ("draw", "part/door", "object/road"),
        ("draw", "part/door", "object/sky"),
        ("draw", "object/tree", "object/house"),
        ("draw", "object/tree", "object/road"),
    ],
    "composed": [
        ("draw", "object/skyscraper", "object/sky"),
        ("draw", "object/tree", "object/house"),
        ("draw", "object/cloud", "object/sky"),
        ("draw", "object/grass", "object/road"),
    ],
}
#: A row of fewer places is left empty, and one of more ends; draws of images for intervals.
FEWEST, MOST, RESAMPLES = 10, 32, 1000


class Seen(NamedTuple):
    """What one stroke did.

    Attributes:
        before: share of its pixels that showed the concept.
        done: share of its pixels that show it and did not (drawn), or of those that showed it and no longer do.
        inside: mean absolute change of its pixels, of 255.
        outside: of all others.
        beyond: of those that are more than a cell away.
        labels: share of the others whose object is another one.
        instead: the object that most pixels show from which the concept went, or "".
    """

    before: float
    done: float
    inside: float
    outside: float
    beyond: float
    labels: float
    instead: str


class Pair(NamedTuple):
    """A stroke, one of as many other units at the same place with the same values, and one of `MANY` own units."""

    own: Seen
    other: Seen
    many: Seen


class Studio:
    """The painter, its brushes, and images as they are with what the second network sees."""

    def __init__(self, images: int) -> None:
        generator, self.segmenter = tiny.generator(), tiny.segmenter(1, signed=True)
        z = dissect.latents(generator, FOUND, FOUND_SEED)
        first = tiny.segmenter(0, signed=True)
        d = dissect.dissect(generator, LAYER, z, segmenter=first, segment="output", decoys=0, progress=False)
        own = apps.brushes(d, LAYER)
        self.brushes = {brush.concept: brush for brush in own}
        self.lacking = [concept for concept in CONCEPTS if concept not in self.brushes]
        self.brushes |= {concept: brush_of(d, concept) for concept in self.lacking}
        self.painter = apps.Painter(generator, LAYER, brushes=own, seed=SEED, count=images)
        self.images = [self.painter.render(number) for number in range(images)]
        self.planes = [self.see(image) for image in self.images]
        self.cell = self.painter.image_size[0] // self.painter.map_size[0]

    def see(self, image: Tensor) -> Tensor:
        """[P, H, W]: the labels of an image."""
        planes: Tensor = self.segmenter(image[None])[0]
        return planes

    def shows(self, planes: Tensor, *concepts: str) -> Tensor:
        """[H, W] bool: where any of its planes shows one of the concepts."""
        wanted = torch.tensor([self.segmenter.label(concept) for concept in concepts])
        return torch.isin(planes, wanted.to(planes)).any(0)

    def best(self, where: Tensor, least: float) -> Tensor | None:
        """[h, w]: the cells of the stroke with the largest share of such pixels; None if that is less than `least`."""
        shares = avg_pool2d(where[None].float(), SIDE * self.cell, self.cell)[0]
        place = int(shares.argmax())
        if float(shares.flatten()[place]) < least:
            return None
        top, left = divmod(place, shares.shape[1])
        cells = torch.zeros(self.painter.map_size)
        cells[top : top + SIDE, left : left + SIDE] = 1
        return cells

    def pixels(self, cells: Tensor) -> Tensor:
        """[H, W] bool of cells [h, w]."""
        return cells.bool().repeat_interleave(self.cell, 0).repeat_interleave(self.cell, 1)

    def did(self, number: int, stroke: Stroke, concept: str, cells: Tensor) -> Seen:
        """What a stroke of these cells does to an image."""
        image, inside = self.painter.render(number, [stroke]), self.pixels(cells)
        around = self.pixels(max_pool2d(cells[None], 3, 1, 1)[0])
        planes, change = self.see(image), (image - self.images[number]).abs().mean(0) * 127.5
        was, now = self.shows(self.planes[number], concept)[inside], self.shows(planes, concept)[inside]
        gone = Counter(planes[0][inside][was & ~now].tolist())
        done = (now & ~was).float().mean() if stroke.action == "draw" else (was & ~now).sum() / was.sum()
        return Seen(
            float(was.float().mean()), float(done), float(change[inside].mean()), float(change[~inside].mean()),
            float(change[~around].mean()), float((planes[0] != self.planes[number][0])[~inside].float().mean()),
            self.segmenter.concepts.names[gone.most_common(1)[0][0]] if gone else "",
        )  # fmt: skip

    def pair(self, number: int, action: Action, concept: str, cells: Tensor) -> Pair:
        """A stroke with the concept's brush, and with other units drawn by the image's number."""
        brush, mask = self.brushes[concept], Mask.of(cells)
        stroke, many = (self.painter.stroke(action, brush, mask, units=units) for units in (None, MANY))
        drawn = torch.randperm(self.painter.num_units, generator=torch.Generator().manual_seed(number)).tolist()
        units = [unit for unit in drawn if unit not in stroke.units][: len(stroke.units)]
        other = stroke._replace(units=tuple(units))
        return Pair(*(self.did(number, each, concept, cells) for each in (stroke, other, many)))

    def pairs(self, action: Action, concept: str, places: Sequence[Tensor | None]) -> list[Pair]:
        """Strokes at the first `MOST` places, of images that have one; none if they are too few."""
        there = [(number, cells) for number, cells in enumerate(places) if cells is not None][:MOST]
        return [self.pair(number, action, concept, cells) for number, cells in there] if len(there) >= FEWEST else []


def brush_of(d: dissect.Dissection, concept: str) -> Brush:
    """A concept's units by IoU although it is the best one of none."""
    scores, levels = class_iou(d, LAYER, concept), d.of_units(LAYER).thresholds
    units = scores.sort(descending=True, stable=True).indices[:20].tolist()
    return Brush(concept, "iou", tuple(units), tuple(scores[units].tolist()), tuple(levels[units].tolist()), 0)


def drawn(it: Studio) -> Iterator[tuple[str, str, list[Pair]]]:
    """Each concept drawn in each context, at most once an image."""
    for concept in CONCEPTS:
        for context, labels in CONTEXTS.items():
            if concept not in labels:
                places = [it.best(it.shows(planes[:1], *labels), CONTEXT) for planes in it.planes]
                yield concept, context, it.pairs("draw", concept, places)


def removed(it: Studio) -> Iterator[tuple[str, list[Pair]]]:
    """Each concept removed where an image shows most of it."""
    for concept in CONCEPTS:
        places = [it.best(it.shows(planes, concept), REMOVED) for planes in it.planes]
        yield concept, it.pairs("remove", concept, places)


def composed(it: Studio, plan: Sequence[tuple[Action, str, str]]) -> apps.Painting:
    """Strokes of `MANY` units, each where most of its context is left; on the image that has most of all contexts.

    What is to be painted where next to nothing of its context is left is not.
    """
    labels = {label for *_, label in plan}
    number = max(range(len(it.planes[:MOST])), key=lambda at: fits(it, it.planes[at], labels))
    painting, free = apps.Painting(it.painter, number), torch.ones(it.painter.image_size, dtype=torch.bool)
    for action, concept, label in plan:
        planes = it.see(it.painter.render(number, painting.strokes))
        cells = it.best(it.shows(planes, label) & free, REMOVED)
        if cells is not None:
            free &= ~it.pixels(cells)
            painting.add(it.painter.stroke(action, it.brushes[concept], Mask.of(cells), units=MANY))
    return painting


def fits(it: Studio, planes: Tensor, labels: set[str]) -> float:
    """How much an image shows of the one among some labels of which it shows least."""
    return min(float(it.shows(planes, label).float().mean()) for label in labels)


def movies(it: Studio, out: Path) -> None:
    """The sessions, and what they look like when they are replayed from their files."""
    for name, plan in MOVIES.items():
        session = apps.load_painting(composed(it, plan).save(out / f"{name}.json"))
        for ending in ("png", "gif"):
            apps.write_replay(it.painter, session, out / f"{name}.{ending}")


class Mean(NamedTuple):
    """A mean over images, and its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Images are drawn again; one stroke is of one image."""
        sample = torch.tensor(values, dtype=torch.float64)
        means = drawn_again(len(sample), RESAMPLES, 0) @ sample / len(sample)
        low, high = interval_of(means, len(sample)).tolist()
        return cls(float(sample.mean()), low, high)

    def told(self, times: int = 100) -> str:
        """As "12.0 (8.0 to 17.0)", in percent; of few images there is no interval, nor of what never happens."""
        value, low, high = (round(times * each, 1) + 0.0 for each in self)  # no "-0.0"
        return f"{value:.1f}" + ("" if isnan(low) or value == low == high == 0 else f" ({low:.1f} to {high:.1f})")


def means(pairs: Sequence[Pair], name: str) -> tuple[Mean, Mean, Mean, Mean]:
    """Of strokes, of those with other units, of the differences of both, and of strokes of many units."""
    own, other, many = ([float(getattr(each, name)) for each in side] for side in zip(*pairs))
    return Mean.of(own), Mean.of(other), Mean.of([a - b for a, b in zip(own, other)]), Mean.of(many)


def success(begin: Sequence[object], pairs: Sequence[Pair], more: str) -> list[object]:
    """A row of success; what has too few places stays empty."""
    if not pairs:
        return [*begin, f"under {FEWEST}", *[""] * 6]
    own, other, difference, many = means(pairs, "done")
    before = sum(pair.own.before for pair in pairs) / len(pairs)
    last: object = ", ".join(str(sum(each.done >= 0.5 for each in side)) for side in list(zip(*pairs))[::2])
    if more == "instead":
        last = Counter(pair.own.instead for pair in pairs if pair.own.instead).most_common(1)[0][0] if own.value else ""
    return [
        *begin,
        len(pairs),
        f"{100 * before:.1f}",
        own.told(),
        f"{100 * other.value:.1f}",
        difference.told(),
        many.told(),
        last,
    ]


def locality(begin: Sequence[object], pairs: Sequence[Pair]) -> list[object]:
    """A row of what changed inside and outside."""
    if not pairs:
        return [*begin, *[""] * 6]
    change = [means(pairs, name)[0] for name in ("inside", "outside", "beyond")]
    own, other, *_ = means(pairs, "labels")
    ratio = f"{change[0].value / change[1].value:.1f}" if change[1].value else ""
    return [*begin, *(mean.told(1) for mean in change), ratio, own.told(), f"{100 * other.value:.1f}"]


def short(concept: str) -> str:
    """A concept without its category."""
    return concept.partition("/")[2]


def verdict(rows: Sequence[tuple[str, str, list[Pair]]]) -> str:
    """Which strokes draw more than other units do, in words."""
    beyond: list[tuple[float, str]] = []
    not_beyond: list[tuple[float, str]] = []
    for concept, context, pairs in rows:
        if pairs:
            own, _, difference, _ = means(pairs, "done")
            name = f"{short(concept)} on {context}"
            (beyond if difference.low > 0 else not_beyond).append((own.value, name))
    told = [f"{name} {100 * value:.1f} %" for value, name in sorted(beyond, reverse=True)]
    works = f": {', '.join(told)}" if told else ""
    fails = f": {', '.join(name for _, name in not_beyond)}" if not_beyond else ""
    lines = [
        f"Of {len(beyond) + len(not_beyond)} pairs with enough places, {len(beyond)} draw more of the concept than",
        f"other units do (the difference's interval is above zero){works}. The other {len(not_beyond)} do not{fails}.",
        "The intervals are not widened for so many pairs.",
    ]
    return fill(" ".join(lines), 120)


def text(it: Studio, draws: Sequence[tuple[str, str, list[Pair]]], gone: Sequence[tuple[str, list[Pair]]]) -> str:
    """The page, but for its last line."""
    units = len(it.painter.stroke("draw", it.brushes[CONCEPTS[0]], torch.ones(1, 1)).units)
    lacking = ", ".join(map(short, it.lacking)) or "none of them"
    side = SIDE * it.cell
    drawings = table(
        ["drawn", "where there is", "images", "showed it before, %", "shows it now, %", "other units", "difference",
         f"{MANY} units", "strokes that fill half"],
        [success([short(concept), context], pairs, "half") for concept, context, pairs in draws],
    )  # fmt: skip
    removals = table(
        ["removed", "images", "showed it before, %", "of that gone, %", "other units", "difference", f"{MANY} units",
         "mostly there instead"],
        [success([short(concept)], pairs, "instead") for concept, pairs in gone],
    )  # fmt: skip
    head = ["inside", "outside", "beyond a ring", "ratio", "objects changed outside, %", "by other units"]
    places = table(
        ["stroke", "where", *head],
        [
            *(locality([f"draw {short(concept)}", context], pairs) for concept, context, pairs in draws),
            *(locality([f"remove {short(concept)}", "where it is"], pairs) for concept, pairs in gone),
        ],
    )
    return PAGE.substitute(
        layer=LAYER, units=units, found=FOUND, images=len(it.images), lacking=lacking, side=side, cells=SIDE, many=MANY,
        context=f"{100 * CONTEXT:.0f}", removed=f"{100 * REMOVED:.0f}", most=MOST, fewest=FEWEST, drawings=drawings,
        verdict=verdict(draws), removals=removals, places=places,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=128, help="images to find places in (default 128)")
    options = parser.parse_args(arguments)
    begin = time.process_time()
    it = Studio(options.images)
    movies(it, folder(options.out, "painting"))
    written = text(it, list(drawn(it)), list(removed(it)))
    seconds = time.process_time() - begin
    end = f"\n`python docs/scripts/painting.py` computed for {seconds / 60:.1f} minutes of one processor.\n"
    (options.out / "painting_measured.md").write_text(written + end, encoding="utf-8")


if __name__ == "__main__":
    main()
