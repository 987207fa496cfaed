"""A page on which people say what units that changed in a training still have in common with what they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.dissection.histories import NONE, likenesses
from dissect.dissection.result import Dissection
from dissect.files.checked import Rule, Text, Whole
from dissect.report.content import check_dissection
from dissect.report.embedded import json_inside
from dissect.report.html import check_extras
from dissect.report.pictures import encode_pictures
from dissect.report.rating import SHOWN, chosen_units, drawn_order, pictures_of
from dissect.report.sheets import PairsPage, Sheet, read_sheet, write_sheet
from dissect.stats import rater_agreement, wilson_interval
from dissect.stats.raters import RaterAgreement
from dissect.table import Table

CHANGES = Sheet("changes", "unit", "changes", "changes.html", ("pictures.js", "patches.js", "changes.js"))
QUESTION = "What do the patches before and after have in common?"
#: The paper's types of similarity, as people are asked for them.
TYPES = {"shape": "Shape", "texture": "Texture", "color": "Color", "object": "Type of object", "none": "Nothing clear"}
#: Which of them a category of concepts stands for, in which a unit is like what it was; "shape" is none's.
_OF_CATEGORY = {"object": "object", "part": "object", "scene": "object", "material": "texture", "texture": "texture",
                "color": "color"}  # fmt: skip


class ChangedUnitRow(NamedTuple):
    """A unit whose concept changed, and what people say of it.

    Attributes:
        layer: the layer's name.
        unit: its number.
        before: its concept before.
        after: its concept after.
        proxy: the type by what it fires on, see `write_changes`.
        raters: how many people answered.
        people: the type that more than half of them chose; None where there is none.
        votes: how many chose that type, or the most frequent one.
    """

    layer: str
    unit: int
    before: str
    after: str
    proxy: str
    raters: int
    people: str | None
    votes: int


class ChangeTypeRow(NamedTuple):
    """A type of similarity: how many units people and the proxy sort there (TPAMI 2018, 3.7).

    Attributes:
        type: "shape", "texture", "color", "object" or "none".
        people: units of which most raters say so.
        proxy: units of which the proxy says so, among those that most raters agree on.
        both: units of which both do.
    """

    type: str
    people: int
    proxy: int
    both: int


class ProxyAgreement(NamedTuple):
    """How often people and the proxy sort units alike.

    Attributes:
        units: of which more than half of the raters say the same.
        same: of how many of these the proxy says that too.
        low, high: 95 % of their share by Wilson, which takes units to be independent; None without units.
        by_chance: the share that would be the same if the proxy's answers were dealt to the units anew; None likewise.
    """

    units: int
    same: int
    low: float | None
    high: float | None
    by_chance: float | None


@dataclass(frozen=True)
class ChangeRatings:
    """What people say of changed units, as `read_changes` reads it.

    Attributes:
        units: a row each (`ChangedUnitRow`), of those that somebody answered.
        raters: how far people agree with each other.
    """

    units: Table[ChangedUnitRow]
    raters: RaterAgreement

    def types(self) -> Table[ChangeTypeRow]:
        """A row per type (`ChangeTypeRow`), of units on which most raters agree."""
        agreed = [row for row in self.units if row.people is not None]
        return Table(
            ChangeTypeRow(
                kind, sum(row.people == kind for row in agreed), sum(row.proxy == kind for row in agreed),
                sum(row.people == row.proxy == kind for row in agreed),
            )
            for kind in TYPES
        )  # fmt: skip

    def proxy_agreement(self) -> ProxyAgreement:
        """On how many units people and the proxy say the same, beside chance (`ProxyAgreement`)."""
        agreed = [row for row in self.units if row.people is not None]
        same = sum(row.people == row.proxy for row in agreed)
        if not agreed:
            return ProxyAgreement(0, 0, None, None, None)
        chance = sum(row.people * row.proxy for row in self.types()) / len(agreed) ** 2
        return ProxyAgreement(len(agreed), same, *wilson_interval(same, len(agreed)), chance)


@speaks
def write_changes(
    before: Dissection,
    after: Dissection,
    path: str | Path,
    *,
    seed: int,
    units: Mapping[str, Iterable[int]] | None = None,
    images: int = SHOWN,
    question: str = QUESTION,
) -> PairsPage:
    """Writes a page on which people sort units that changed their concept by what stays similar (TPAMI 2018, 3.7).

    Of 117 units of AlexNet's conv5 whose concept changed from ImageNet to Places, the paper's people found 47 of a
    similar shape, 31 of a similar texture, 18 of similar colors, 13 of a similar type of object and 8 of no clear
    similarity. Here each question has the images that excite a unit most before and after, and these five answers; no
    concept is told. The key has a proxy for each unit: the category in which what it fires on is still like what it was
    (`dissect.dissection.histories.likenesses`), objects, parts and scenes as "object", materials and textures as
    "texture", colors as "color", and otherwise "none". No count tells a shape, so the proxy never says "shape".

    Args:
        before: with its top images (``dissect.dissect(..., top_images=15)``).
        after: the same layers later in the training, with the same concepts and images of the same size.
        path: see `write_rating`; the page is "changes.html".
        seed: of the order.
        units: by layer, which; all by default. Those whose concept is the same, or that have none, are left out.
        images: see `write_rating`.
        question: what people are asked.

    Returns:
        A `PairsPage`.

    Raises:
        ImportError: jinja2, matplotlib or pillow is not installed.
        KeyError: a layer that was not dissected.
        TypeError, ValueError: no dissections, of other layers, units or concepts, without top images or labels, with
            labels' own thresholds or a single unit (the proxy cannot tell), images of other sizes, or no unit whose
            concept changed.

    Example:
        >>> before, after = dissect.load("scenes"), dissect.load("scenes-to-objects")  # doctest: +SKIP
        >>> dissect.report.write_changes(before, after, "out/", seed=1)  # doctest: +SKIP
        PairsPage(page=PosixPath('out/changes.html'), key=PosixPath('out/changes.key.json'))
    """
    _check_same(before, after)
    found = _changed(before, after, chosen_units(before, units))
    if not found:
        raise refusal(ValueError("units must have one whose concept changed, but none of these has."))
    check_extras()
    key = [found[at] for at in drawn_order(len(found), seed)]
    asked = [(each["layer"], each["unit"]) for each in key]
    integer("images", images)
    shown: list[dict[str, Any]] = [{} for _ in key]
    pictures: dict[str, Tensor] = {}
    for when, dissection in (("before", before), ("after", after)):
        groups, own = pictures_of(dissection, asked, images, f"{when}-{{}}".format)
        pictures |= own
        for each, group in zip(shown, groups):
            each[when] = group
    media, texts = encode_pictures(torch.stack([*pictures.values()]))
    return write_sheet(
        CHANGES, path, [*range(len(key))], key, seed=seed, question=question, sheet={"units": shown},
        types=[*TYPES.items()], aspect="{} / {}".format(*reversed(before.images.shape[-2:])),
        pictures=json_inside({"type": media, "data": dict(zip(pictures, texts))}),
    )  # fmt: skip


@speaks
def read_changes(key: str | Path, *answers: str | Path) -> ChangeRatings:
    """What people say of changed units, of the files of answers that they saved from a page of `write_changes`.

    Args:
        key: the file that `write_changes` wrote beside the page.
        answers: files of one or several people; one that is not finished counts as far as it goes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that holds something else, answers to another page, a person's answers twice, or no answer.

    Example:
        >>> found = dissect.report.read_changes("changes.key.json", "a.json", "b.json")  # doctest: +SKIP
        >>> found.units, found.types(), found.proxy_agreement(), found.raters  # doctest: +SKIP
    """
    rules: dict[str, Rule] = {"layer": Text(), "unit": Whole(), "before": Text(), "after": Text()}
    rules["proxy"] = Text(tuple(TYPES))
    items, by_rater = read_sheet(CHANGES, key, answers, rules, Text(tuple(TYPES)))
    rows, counts = [], []
    for at, item in enumerate(items):
        votes = Counter(given[at] for given in by_rater.values() if at < len(given))
        if not votes:
            continue
        first, most = votes.most_common(1)[0]
        named = first if 2 * most > votes.total() else None
        own = {name: item[name] for name in ("layer", "unit", "before", "after", "proxy")}
        rows.append(ChangedUnitRow(**own, raters=votes.total(), people=named, votes=most))
        counts.append([votes[kind] for kind in TYPES])
    if not rows:
        raise refusal(ValueError("answers must have at least one answer, but have none."))
    return ChangeRatings(Table(sorted(rows, key=lambda row: row[:2])), rater_agreement(torch.tensor(counts)))


def _check_same(before: Dissection, after: Dissection) -> None:
    for dissection in (before, after):
        check_dissection(dissection)
        if dissection.images_only:
            raise refusal(ValueError("before and after must have labels, but one was made of images alone."))
        for name in dissection:
            if dissection[name].label_thresholds is not None or dissection[name].num_units < 2:
                raise refusal(
                    ValueError(
                        f"before and after must have layers of two units or more, whose labels share a threshold (the "
                        f"proxy needs both), but {name!r} is none."
                    )
                )
    sizes = [{name: one[name].num_units for name in one} for one in (before, after)]
    if sizes[0] != sizes[1]:
        raise refusal(ValueError(f"before and after must have the same layers, but have units {sizes[0]}, {sizes[1]}."))
    if before.concepts != after.concepts:
        raise refusal(ValueError("before and after must have the same concepts, but have others."))
    shapes = [list(one.images.shape[1:]) for one in (before, after)]
    if shapes[0] != shapes[1]:
        raise refusal(ValueError(f"before and after must have images of one size, but have {shapes[0]}, {shapes[1]}."))


def _changed(before: Dissection, after: Dissection, units: Mapping[str, set[int]]) -> list[dict[str, Any]]:
    """The key's items: units with a concept before and another one after."""
    found = []
    for name, those in units.items():
        alike = likenesses(before[name], after[name], before.concepts)
        pairs = [sorted(one.best(name), key=lambda row: row.unit) for one in (before, after)]
        for one, other in zip(*pairs):
            named = (one.concept, one.category), (other.concept, other.category)
            if one.unit in those and named[0] != named[1] and NONE not in (one.concept, other.concept):
                proxy = _OF_CATEGORY.get(alike[one.unit] or "", "none")
                found.append({"layer": name, "unit": one.unit, "before": one.concept, "after": other.concept,
                              "proxy": proxy})  # fmt: skip
    return found
