"""What people call units, and how that compares with a dissection's labels."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dissect.arguments import refusal, speaks
from dissect.dissection.result import Dissection
from dissect.dissection.rows import is_detector
from dissect.files.checked import Rule, Text, Whole
from dissect.report.content import check_dissection
from dissect.report.rating import LONGEST, NAMING, plain_label
from dissect.report.sheets import read_sheet
from dissect.table import Table

#: Words that name nothing on their own.
EMPTY = frozenset(("a", "an", "the", "of", "and", "or", "with", "in", "on"))


@dataclass(frozen=True)
class Letters(Rule):
    """A text of some letters at most."""

    most: int

    def __str__(self) -> str:
        return f"a text of at most {self.most} letters"

    def wrong(self, value: object, sizes: object) -> str | None:
        """See `Rule`."""
        found = Text().wrong(value, {})
        return found or (None if len(str(value)) <= self.most else f"{len(str(value))} letters")


class NameRow(NamedTuple):
    """What people call a unit.

    Attributes:
        layer: the layer's name.
        unit: its number.
        name: the word, or words, that most answers have; "-" where no answer has any.
        answers: how many people answered, those who saw nothing in common included.
        agreeing: how many of the answers have the name.
        share: their share.
        agreed: whether it is large enough.
    """

    layer: str
    unit: int
    name: str
    answers: int
    agreeing: int
    share: float
    agreed: bool


class NamingRow(NamedTuple):
    """Units that people and a dissection name, in one layer (thesis, A.2).

    Attributes:
        layer: its name.
        units: how many people were asked about.
        named: how many they agree on.
        labelled: how many of these are detectors of something by the dissection.
        same: how many of these have the same label by both; as a text, so "picture" is no "painting".
        unlabelled: how many people agree on without the dissection.
        unnamed: how many are detectors on which people do not agree.
    """

    layer: str
    units: int
    named: int
    labelled: int
    same: int
    unlabelled: int
    unnamed: int


@speaks
def read_names(key: str | Path, *answers: str | Path, share: float = 0.5) -> Table[NameRow]:
    """What people call units, of the files of answers that they saved from a page of `write_naming`.

    Each answer counts once for each of its words, and for all of them together, without the likes of "a" and "of" and
    in lower case; forms of a word, such as its plural, are different words. The most frequent is the name, and of
    equally frequent ones that with most words, then the first by the alphabet. Published are names of which at least
    half of the answers have the word (thesis, A.2).

    Args:
        key: the file that `write_naming` wrote beside the page.
        answers: files of one or several people; one that is not finished counts as far as it goes.
        share: of the answers that must have the name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a share outside (0, 1], a file that holds something else, answers to another page, or a person's
            answers twice.

    Example:
        >>> names = dissect.report.read_names("naming.key.json", "a.json", "b.json")  # doctest: +SKIP
        >>> labels = {"people": {(row.layer, row.unit): row.name for row in names if row.agreed}}  # doctest: +SKIP
        >>> dissect.report.write_rating(d, "out/", seed=1, labels=labels)  # doctest: +SKIP
    """
    if not 0 < share <= 1:
        raise refusal(ValueError(f"share must be above 0 and at most 1, but is {share}."))
    rules: dict[str, Rule] = {"layer": Text(), "unit": Whole()}
    units, by_rater = read_sheet(NAMING, key, answers, rules, Letters(LONGEST))
    rows = []
    for at, unit in enumerate(units):
        given = [those[at] for those in by_rater.values() if at < len(those)]
        if given:
            name, agreeing = _name(given)
            part = agreeing / len(given)
            rows.append(NameRow(unit["layer"], unit["unit"], name, len(given), agreeing, part, part >= share))
    return Table(sorted(rows))


@speaks
def compare_names(
    names: Table[NameRow], dissection: Dissection, *, detector_iou: float | None = None
) -> Table[NamingRow]:
    """How many units people, a dissection, and both name, and how many the same, layer by layer (thesis, A.2).

    Args:
        names: what `read_names` gave.
        dissection: whose units these are.
        detector_iou: the dissection names a unit above it; as it was dissected by default. Published is 0.05.

    Raises:
        KeyError: names of a layer that was not dissected.
        TypeError, ValueError: no dissection, or names of units that it has not.

    Example:
        >>> names = [dissect.report.NameRow("layer4", 3, "sofa", 5, 4, 0.8, True)]
        >>> dissect.report.compare_names(names, dissect.load("out/result"))  # doctest: +SKIP
    """
    check_dissection(dissection)
    counts: dict[str, Counter[str]] = {}
    for row in names:
        best = dissection[row.layer].num_units
        if row.unit >= best:
            raise refusal(ValueError(f"names must be of the {best} units of {row.layer!r}, but has {row.unit}."))
    for layer in dict.fromkeys(row.layer for row in names):
        own, count = dissection.best(layer), counts.setdefault(layer, Counter())
        for row in (row for row in names if row.layer == layer):
            found = own[row.unit]
            labelled = is_detector(found, dissection.settings, detector_iou)
            count["units"] += 1
            count["named"] += row.agreed
            count["labelled"] += row.agreed and labelled
            same = " ".join(_words(plain_label(found.concept, found.category))) == row.name
            count["same"] += row.agreed and labelled and same
            count["unlabelled"] += row.agreed and not labelled
            count["unnamed"] += labelled and not row.agreed
    fields = NamingRow._fields[1:]
    return Table(NamingRow(layer, *(count[field] for field in fields)) for layer, count in counts.items())


def _name(given: list[str]) -> tuple[str, int]:
    """The most frequent word, or words, of some answers, and how many have it."""
    found: Counter[str] = Counter()
    for text in given:
        words = _words(text)
        found.update({*words, " ".join(words)} - {""})
    if not found:
        return "-", 0
    return min(found.items(), key=lambda each: (-each[1], -each[0].count(" "), each[0]))


def _words(text: str) -> list[str]:
    """What may name something."""
    return [word for word in re.findall(r"[^\W_]+(?:[-'][^\W_]+)*", text.casefold()) if word not in EMPTY]
