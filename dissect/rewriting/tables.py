"""What changes did to images, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dissect.arguments import speaks
from dissect.rewriting.measuring import RuleChange
from dissect.table import Table


class RuleChangeRow(NamedTuple):
    """A row of Tables 6.1 and 6.2; what was not asked for, and intervals of fewer than ten images, are None.

    Attributes:
        change: its name.
        images: how many were measured.
        changed: of the source's pixels, the share that shows a target after (the code's measure).
        changed_low: the lower end of its 95 % interval (bootstrap over images).
        changed_high: the upper end.
        gone: the share that no longer shows the source (section 6.5.1).
        gone_low: the lower end.
        gone_high: the upper end.
        outside: how far all other pixels moved, in the mean, on the images' own scale.
        perceived: how far images moved perceptually there, in the mean.
        half: in how many images at least half of the source's pixels show a target.
        shown: in how many images the source is.
        effect: the share of images that have the effect.
    """

    change: str
    images: int
    changed: float | None
    changed_low: float | None
    changed_high: float | None
    gone: float | None
    gone_low: float | None
    gone_high: float | None
    outside: float | None
    perceived: float | None
    half: int
    shown: int
    effect: float | None


ChangeRow = RuleChangeRow  # its earlier name, which callers have


@speaks
def change_table(found: Mapping[str, RuleChange]) -> Table[RuleChangeRow]:
    """The figures of what `rule_changes` found, a row each.

    Example:
        >>> from dissect import rewriting
        >>> few = torch.tensor([4, 4])
        >>> change = rewriting.RuleChange(few, few // 2, few, torch.ones(2), torch.empty(0))
        >>> rewriting.change_table({"edit": change})[0].changed
        0.5
    """
    rows = [
        RuleChangeRow(
            name, len(each.source), each.share, *each.interval(), each.gone_share, *each.interval("gone"),
            float(each.outside.double().mean()), float(each.perceived.double().mean()), *each.images(),
            float(each.effect.double().mean()),
        )
        for name, each in found.items()
    ]  # fmt: skip
    return Table(rows, show=["change", "images", "changed", "gone", "outside", "perceived", "half", "shown", "effect"])
