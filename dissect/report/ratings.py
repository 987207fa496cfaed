"""What people say of labels, and the tables of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from dissect.arguments import refusal, speaks
from dissect.files.checked import Each, Rule, Text, Whole, require
from dissect.report.rating import RATING
from dissect.report.sheets import read_sheet
from dissect.stats import rater_agreement, wilson_interval
from dissect.table import Table

ANSWERS = ("yes", "no")
#: What stands for every layer, category or method in a table.
ALL = "(all)"


class RatedLabelRow(NamedTuple):
    """What people say of a label.

    Attributes:
        layer: the layer's name.
        unit: its number.
        method: who gave the label.
        label: as people were asked about it.
        category: of the label; "other" where the vocabulary does not have it.
        raters: how many people answered.
        yes: how many of them say that it fits.
        valid: whether more than half do.
    """

    layer: str
    unit: int
    method: str
    label: str
    category: str
    raters: int
    yes: int
    valid: bool


LabelRow = RatedLabelRow  # its earlier name, which callers have


class ValidityRow(NamedTuple):
    """How many labels fit, of a layer, a category and a method.

    Attributes:
        layer: its name; "(all)" for all of them.
        category: likewise.
        method: who gave the labels.
        labels: how many were rated.
        valid: how many of them most raters say that fit.
        share: their share.
        low: the lower end of its 95 % interval (Wilson's), if labels are independent.
        high: the upper end.
        votes: answers.
        yes: how many of them are positive.
        positive: their share, which is what Table 3 of TPAMI 2018 has.
    """

    layer: str
    category: str
    method: str
    labels: int
    valid: int
    share: float
    low: float
    high: float
    votes: int
    yes: int
    positive: float


class AgreementRow(NamedTuple):
    """How far people agree about the labels of a method, or about all that they were asked.

    Attributes:
        method: who gave the labels; "(all)": each question once.
        raters: how many people answered.
        labels: how many labels two people or more answered.
        agreement: the share of pairs of answers to one question that are the same; None without pairs.
        alpha: Krippendorff's, see `dissect.stats.rater_agreement`; None where all answers are the same.
    """

    method: str
    raters: int
    labels: int
    agreement: float | None
    alpha: float | None


@dataclass(frozen=True)
class RatedLabel:
    """A question, and what people answered.

    Attributes:
        layer: the layer's name.
        unit: its number.
        label: as people were asked about it.
        category: of the label.
        methods: who gave it.
        votes: by rater, whether it fits.
    """

    layer: str
    unit: int
    label: str
    category: str
    methods: tuple[str, ...]
    votes: dict[str, bool]

    @property
    def valid(self) -> bool:
        """Whether more than half of the raters say that it fits."""
        return 2 * sum(self.votes.values()) > len(self.votes)


@dataclass(frozen=True)
class Ratings:
    """What people say of labels, as `read_ratings` reads it.

    Attributes:
        questions: those that somebody answered.
    """

    questions: tuple[RatedLabel, ...]

    @property
    def methods(self) -> list[str]:
        """Who gave the labels."""
        return sorted({method for each in self.questions for method in each.methods})

    def labels(self) -> Table[RatedLabelRow]:
        """Each label of each method, as a `Table` of `RatedLabelRow`."""
        return Table(
            RatedLabelRow(each.layer, each.unit, method, each.label, each.category, len(each.votes),
                     sum(each.votes.values()), each.valid)
            for each in sorted(self.questions, key=lambda each: (each.layer, each.unit, each.label))
            for method in each.methods
        )  # fmt: skip

    @speaks
    def validity(self, among: str | None = None) -> Table[ValidityRow]:
        """How many labels fit by layer, category and method, and over all of each, as a `Table` of `ValidityRow`.

        Args:
            among: a method. Then only units count that most raters say a label of it fits, the interpretable ones, by
                the category of that label: its own rows are the counts and the "human consistency" of Table 3 (TPAMI
                2018), if it is people's, and the dissection's rows are what the table has of Network Dissection.

        Raises:
            ValueError: no such method.
        """
        if among is not None and among not in self.methods:
            raise refusal(ValueError(f"among must be one of {self.methods}, but is {among!r}."))
        fits: dict[tuple[str, int], str] = {}
        for each in self.questions:
            if among in each.methods and each.valid:
                fits.setdefault((each.layer, each.unit), each.category)
        groups: dict[tuple[str, str, str], list[RatedLabel]] = defaultdict(list)
        for each in self.questions:
            category = each.category if among is None else fits.get((each.layer, each.unit))
            if category is None:
                continue
            for method in each.methods:
                for layer in (ALL, each.layer):
                    for its in (ALL, category):
                        groups[layer, its, method].append(each)
        first = sorted(groups, key=lambda key: (key[0] != ALL, key[0], key[1] != ALL, key[1], key[2]))
        return Table(_validity(key, groups[key]) for key in first)

    def agreement(self) -> Table[AgreementRow]:
        """How far people agree with each other, over all questions and for each method's labels."""
        rows = [_agreement(ALL, self.questions)]
        rows += [_agreement(name, [each for each in self.questions if name in each.methods]) for name in self.methods]
        return Table(rows)


@speaks
def read_ratings(key: str | Path, *answers: str | Path) -> Ratings:
    """What people say of labels, of the files of answers that they saved from a page of `write_rating`.

    Args:
        key: the file that `write_rating` wrote beside the page.
        answers: files of one or several people; one that is not finished counts as far as it goes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that holds something else, answers to another page, a person's answers twice, or no answer.

    Example:
        >>> ratings = dissect.report.read_ratings("rating.key.json", "a.json", "b.json")  # doctest: +SKIP
        >>> ratings.validity(), ratings.validity(among="people"), ratings.agreement()  # doctest: +SKIP
    """
    rules: dict[str, Rule] = {"layer": Text(), "unit": Whole(), "label": Text(), "category": Text()}
    rules["methods"] = Each(Text(), different=True)
    labels, by_rater = read_sheet(RATING, key, answers, rules, Text(ANSWERS))
    for label in labels:
        taken = ALL in (label["layer"], label["category"], *label["methods"])
        require(str(key), not taken, f"{ALL!r} is no layer, category or method, but all of them")
    questions = []
    for at, label in enumerate(labels):
        votes = {rater: given[at] == "yes" for rater, given in by_rater.items() if at < len(given)}
        if votes:
            own = {name: label[name] for name in ("layer", "unit", "label", "category")}
            questions.append(RatedLabel(**own, methods=tuple(label["methods"]), votes=votes))
    if not questions:
        raise refusal(ValueError("answers must have at least one answer, but have none."))
    return Ratings(tuple(questions))


def _validity(key: tuple[str, str, str], rated: list[RatedLabel]) -> ValidityRow:
    labels, valid = len(rated), sum(each.valid for each in rated)
    votes, yes = (sum(map(count, (each.votes.values() for each in rated))) for count in (len, sum))
    return ValidityRow(*key, labels, valid, valid / labels, *wilson_interval(valid, labels), votes, yes, yes / votes)


def _agreement(method: str, rated: Iterable[RatedLabel]) -> AgreementRow:
    rated = list(rated)
    yes = torch.tensor([[sum(each.votes.values()), len(each.votes)] for each in rated])
    found = rater_agreement(torch.stack([yes[:, 0], yes[:, 1] - yes[:, 0]], 1))
    return AgreementRow(method, len({rater for each in rated for rater in each.votes}), *found)
