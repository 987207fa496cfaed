"""What Zhou et al. (TPAMI 2018) found of such networks, each finding held against the counts that it is about.

A network has more, or fewer, detectors than what it is held against where the intervals of their means over images do
not meet, and where the difference is larger than between repeats, which a seed alone makes; from every repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pages import paragraph, table

from dissect.dissection import ReplicateCategoryRow

#: All categories together, and trainings that differ by their seed alone: what the others are held against.
ALL, REPEATED, UNTRAINED = "all", "scenes", "untrained-scenes"
#: Fewer detectors than this, by the upper end of the interval, are almost none.
ALMOST_NONE = 1.0


class Count(NamedTuple):
    """A mean over samples of images, and its 95 % interval."""

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        ends = "" if self.low is None or self.high is None else f" ({self.low:.1f} to {self.high:.1f})"
        return f"{self.value:.1f}{ends}"


class Counts(NamedTuple):
    """Of one category: unique detectors, and detectors."""

    unique: Count
    detectors: Count


class Claim(NamedTuple):
    """A finding of the paper.

    Attributes:
        network: the training that it is about.
        said: in the paper's words, or nearly.
        category: of the concepts that are counted.
        way: "more" or "fewer" than `against`; "almost none".
        against: what it is held against.
    """

    network: str
    said: str
    category: str
    way: str
    against: str = REPEATED


#: Sections 3.3, 3.4, 3.6 and 3.8, Fig. 9, 12, 14, 17 and 24.
CLAIMS = (
    Claim("batch-norm", "batch normalisation seems to decrease interpretability significantly (3.6)", ALL, "fewer"),
    Claim("no-dropout", "without dropout more texture detectors (3.6)", "texture", "more"),
    Claim("no-dropout", "without dropout fewer object detectors (3.6)", "object", "fewer"),
    Claim("wide", "many more unique detectors in a wide layer (3.8)", ALL, "more"),
    Claim("residual", "ResNet has more unique detectors than AlexNet (3.3)", ALL, "more"),
    Claim("objects", "object-centric ImageNet gives fewer unique detectors than Places (3.3)", ALL, "fewer"),
    *(
        Claim(name, f"self-supervision: {what} (3.4)", category, way)
        for name in ("rotation", "color", "puzzle")
        for what, category, way in (
            ("fewer unique detectors than scenes", ALL, "fewer"),
            ("many texture detectors", "texture", "more"),
            ("relatively few object detectors", "object", "fewer"),
        )
    ),
    Claim("color", "almost no color detectors emerge (3.4)", "color", "almost none"),
    Claim("puzzle", "some part detectors emerge (3.4)", "part", "more", UNTRAINED),
    Claim("puzzle", "some object detectors emerge (3.4)", "object", "more", UNTRAINED),
)  # fmt: skip
#: Own comparisons, of which the paper says nothing: what is told, one, and the other.
OWN = (
    ("streets alone, against all scenes", "street", REPEATED),
    ("rooms alone, against all scenes", "room", REPEATED),
    ("rooms against streets, of as many images", "room", "street"),
)


def counted(rows: Iterable[ReplicateCategoryRow]) -> dict[str, dict[str, Counts]]:
    """The counts of each network by category, all together first."""
    found: dict[str, dict[str, Counts]] = {}
    for row in rows:
        found.setdefault(row.network, {})[row.category] = Counts(
            Count(row.concepts, row.low, row.high), Count(row.detectors, row.detectors_low, row.detectors_high)
        )
    return found


def way(one: Count, others: Sequence[Count], seed: float | None) -> str:
    """How a count differs from all of the others: "more", "fewer", or "not told apart".

    Args:
        one: of the network.
        others: what it is held against.
        seed: the largest difference that a seed alone makes; None where nothing is known of it.
    """
    if seed is None or not others or any(count.low is None or count.high is None for count in (one, *others)):
        return "not told apart"
    if all(one.low > other.high and one.value - other.value > seed for other in others):
        return "more"
    if all(one.high < other.low and other.value - one.value > seed for other in others):
        return "fewer"
    return "not told apart"


def verdict(claim: Claim, one: Count, others: Sequence[Count], seed: float | None) -> str:
    """Whether a count agrees with a claim."""
    if claim.way == "almost none":
        if one.low is None or one.high is None:
            return "not told apart"
        return "agrees" if one.high < ALMOST_NONE else "differs: more" if one.low >= ALMOST_NONE else "not told apart"
    found = way(one, others, seed)
    return found if found == "not told apart" else "agrees" if found == claim.way else f"differs: {found}"


def of_seed(known: Mapping[str, Mapping[str, Counts]], category: str, at: int) -> float | None:
    """The largest difference between repeats, of unique detectors (0) or detectors (1); None without two repeats."""
    values = [counts[category][at].value for counts in repeats(known, REPEATED).values()]
    return max(values) - min(values) if len(values) > 1 else None


def repeats(known: Mapping[str, Mapping[str, Counts]], name: str) -> dict[str, Mapping[str, Counts]]:
    """The trainings of a name, whatever the seed."""
    return {one: counts for one, counts in known.items() if name in (one, one.rpartition("-")[0])}


def said(known: Mapping[str, Mapping[str, Counts]]) -> str:
    """The repeats first, each claim, and the comparisons of one's own."""
    return _repeated(known) + _claimed(known) + _compared(known)


def _repeated(known: Mapping[str, Mapping[str, Counts]]) -> str:
    own = repeats(known, REPEATED)
    if len(own) < 2:
        return "There is one training of the scenes alone, so nothing tells what a seed makes, nor networks apart.\n\n"
    counts = [one[ALL].unique for one in own.values()]
    told = ", ".join(f"{name} {count}" for name, count in zip(own, counts))
    apart = any(a.low is not None and b.high is not None and a.low > b.high for a in counts for b in counts)
    texts = [f"{name} {of_seed(known, name, 0):.1f}" for name in next(iter(own.values())) if name != ALL]
    seed = of_seed(known, ALL, 0)
    return paragraph(
        f"""**A seed alone makes {seed:.1f} unique detectors**: {told}. These are trained alike but for
        their seed, and the intervals, which are over images, {"do not meet" if apart else "meet"}. By category it
        makes: {", ".join(texts)}. (The paper's repeats "converge to similar levels of interpretability"; it prints no
        numbers. Here the larger is {_ratio(counts):.2f} times the smaller.)"""
    ) + paragraph(
        f"""There is one training each of all others. So one counts as more, or fewer, only where its interval meets
        that of no repeat, and where it is further from every repeat than repeats are from each other; else they are
        not told apart. There are {len(own)} repeats: they tell little about how much a seed makes, and another training
        may reverse any of these."""
    )


def _ratio(counts: Sequence[Count]) -> float:
    return max(count.value for count in counts) / max(min(count.value for count in counts), 1e-9)


def _claimed(known: Mapping[str, Mapping[str, Counts]]) -> str:
    rows, verdicts = [], list[str]()
    for claim in CLAIMS:
        others = repeats(known, claim.against)
        for name, own in repeats(known, claim.network).items():
            if claim.category not in own:
                continue
            cells = []
            for at in (0, 1):
                against = [counts[claim.category][at] for counts in others.values()]
                found = verdict(claim, own[claim.category][at], against, of_seed(known, claim.category, at))
                values = ", ".join(f"{count.value:.1f}" for count in against) or "nothing"
                cells += [f"{own[claim.category][at]}; {values}", found if at else f"**{found}**"]
                if not at:
                    verdicts.append(found.partition(":")[0])
            rows.append([claim.said, name, claim.category, *cells])
    if not rows:
        return ""
    head = ["the paper", "network", "category", "unique detectors; against", "says", "detectors; against", "says"]
    told = ", ".join(f"{one} {verdicts.count(one)}" for one in ("agrees", "differs", "not told apart"))
    return paragraph(
        f"""**What the paper found**, each by the category that it speaks of, held against both trainings of the scenes
        ("some ... emerge": against the untrained network; "almost no": the interval ends below {ALMOST_NONE:g}). The
        paper's figures count unique detectors; all units that detect any stand beside them, which tell little over all
        categories, as nearly all units are detectors with so few images. Of {len(verdicts)} rows, by unique
        detectors: {told}; nothing corrects for their number."""
    ) + table(head, rows) + "\n" + _colors(known)  # fmt: skip


def _colors(known: Mapping[str, Mapping[str, Counts]]) -> str:
    """What stands out where the network that is asked for colors detects them."""
    own = [counts["color"] for counts in repeats(known, "color").values() if "color" in counts]
    others = [
        counts["color"].detectors.value for name, counts in known.items()
        if not name.startswith(("color-", "untrained-")) and "color" in counts
    ]  # fmt: skip
    if not own or not others or own[0].detectors.value <= max(others):
        return ""
    return paragraph(
        f"""Colors are the opposite of the paper: there almost no color detectors emerge, here the network that is asked
        for colors has {own[0].unique} unique ones, {own[0].detectors} units, and no other training more than
        {max(others):.1f} units. It sees grey images too, as the network itself takes the mean of its channels. But its
        answers are one 1x1 convolution away from this layer, which may be why; no other depth was tried."""
    )


def _compared(known: Mapping[str, Mapping[str, Counts]]) -> str:
    lines = []
    for told, one, other in OWN:
        others = [counts[ALL].unique for counts in repeats(known, other).values()]
        for name, own in repeats(known, one).items():
            if others:
                found = way(own[ALL].unique, others, of_seed(known, ALL, 0))
                lines.append(f"- {told}: {name} {own[ALL].unique} against {', '.join(map(str, others))}: {found}.\n")
    head = "Training sets of this world, of which the paper has no counterpart (unique detectors):\n\n"
    return head + "".join(lines) + "\n" if lines else ""


def by_category(known: Mapping[str, Mapping[str, Counts]], at: int) -> str:
    """A table of each network's counts of every category: unique detectors (0) or detectors (1)."""
    categories = list(next(iter(known.values())))
    return table(
        ["network", *categories], ([name, *(own[one][at] for one in categories)] for name, own in known.items())
    )
