"""What an adversarial attack did to a classifier's units: the result of `attack`, and how groups of units changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.classifiers import UnitImportance
from dissect.experiments.carlini_wagner import CarliniWagner
from dissect.files.checked import Array, Maybe, Number, Of, Text, Whole, fields, require
from dissect.files.results import Result
from dissect.table import Table

#: Which images are attacked: those named right, or those whose class and answer both differ from the target.
CANDIDATES = ("correct", "non_target")
#: Two-sided 99 % of a normal distribution, which the mean of many images nearly has.
Z99 = 2.576


class GroupRow(NamedTuple):
    """How the peak activations of a group of units change.

    Attributes:
        units: "target" or "source" (the k units most important to that class), or "other" (all the rest).
        cause: "attack", or "noise": random noise of the same L2 norm.
        change: mean absolute change of the peak activation.
        interval: half the width of its 99 % confidence interval.
        rise: mean change with its sign, so below 0 where peaks fall.
        scaled: as `change`, in standard deviations of each unit's peak over the unchanged images.
        scaled_interval: half the width of its 99 % confidence interval.
    """

    units: str
    cause: str
    change: float
    interval: float | None
    rise: float
    scaled: float | None
    scaled_interval: float | None


@speaks
@dataclass(eq=False)  # tensors have no one truth value
class AttackResult(Result):
    """Peak activations of a layer's U units before and after attacks on N images.

    Attributes:
        layer: the layer's name.
        settings: of the attack.
        seed: of targets and noise.
        misnamed: how many images `candidates` left out: those whose class the network does not name, or those whose
            class or answer is the target already.
        images: [N] int64, numbers of the images in the data set.
        sources: [N] int64, each image's class (which the network names, for candidates "correct").
        targets: [N] int64, the class that it was attacked to.
        reached: [N] bool, whether the network then names the target.
        norms: [N] float32, L2 norm of the change of the image; 0 where the target was not reached.
        noise_kept: [N] bool, whether the network still gives the answer that it gave, under noise of that norm.
        before: [N, U] float32, peak activations of the unchanged images.
        after: [N, U] float32, of the attacked ones; of the unchanged one where the target was not reached.
        noise: [N, U] float32, of the images with noise.
        fingerprint: of the network that was attacked; None is unknown, as in files of before there were any.
        candidates: "correct" or "non_target": which images were attacked, see `attack`.
    """

    kind = "attack"
    suffix = ".attack"

    layer: str
    settings: CarliniWagner
    seed: int
    misnamed: int
    images: Tensor
    sources: Tensor
    targets: Tensor
    reached: Tensor
    norms: Tensor
    noise_kept: Tensor
    before: Tensor
    after: Tensor
    noise: Tensor
    fingerprint: str | None = None
    candidates: str = "correct"

    def success_rate(self) -> float:
        """The share of attacks that reached their target; NaN without attacks."""
        return float(self.reached.double().mean())

    def changes(self, importance: UnitImportance, k: int = 4) -> Table[GroupRow]:
        """How much the units most important to the target, to the source, and all others change: rows of `GroupRow`.

        Over the n attacks that reached their target. An image counts with the mean over the units of a group; a unit
        among the k of both classes counts for both. An interval is ``2.576 * s / sqrt(n)``, too narrow where n is less
        than about 30. Units whose peak never varies over the unchanged images have no standard deviation and are left
        out of what is scaled (NaN where too few images are left).

        Raises:
            ValueError: an importance of another network, layer or of other units, a class that it knows nothing about,
                k below 1 or so large that no other units may be left (2 k >= U), or fewer than two attacks that reached
                their target.
        """
        won = self.reached
        groups = {name: members[won] for name, members in self._groups(importance, k).items()}
        if int(won.sum()) < 2:
            raise refusal(
                ValueError(f"intervals need two attacks that reached their target, but there are {int(won.sum())}.")
            )
        spread = self.before.double().std(0)
        rows = []
        for cause, peaks in (("attack", self.after), ("noise", self.noise)):
            change = (peaks - self.before)[won].double()
            for name, members in groups.items():
                rise, _ = _mean_interval(change, members)
                plain = _mean_interval(change.abs(), members)
                scaled = _mean_interval(change.abs() / spread.clamp_min(1e-300), members & (spread > 0))
                rows.append(GroupRow(name, cause, *plain, rise, *scaled))
        return Table(rows)

    def typical(self, count: int = 2) -> list[int]:
        """Places of the attacks whose norms are nearest to the median of those that reached their target.

        No two have a class in common, be it a source or a target; so there may be fewer than asked for.
        """
        won = self.reached.nonzero().flatten()
        order = won[(self.norms[won] - self.norms[won].median()).abs().argsort(stable=True)] if len(won) else won
        chosen: list[int] = []
        seen: set[int] = set()
        for at in order.tolist():
            ends = {int(self.sources[at]), int(self.targets[at])}
            if not ends & seen and len(chosen) < count:
                chosen.append(at)
                seen |= ends
        return chosen

    def _groups(self, importance: UnitImportance, k: int) -> dict[str, Tensor]:
        """[N, U] bool each: which units belong to a group for an image."""
        units = self.before.shape[1]
        if (importance.layer, importance.num_units) != (self.layer, units):
            raise refusal(
                ValueError(
                    f"importance must be of the {units} units of {self.layer!r}, but is of the "
                    f"{importance.num_units} units of {importance.layer!r}."
                )
            )
        if None not in (self.fingerprint, importance.fingerprint) and self.fingerprint != importance.fingerprint:
            raise refusal(
                ValueError(
                    "importance must be of the network that was attacked, but is of one with other modules, "
                    "hooks or weights; measure this one with unit_importance."
                )
            )
        if not 1 <= k <= most_important(units):
            raise refusal(
                ValueError(f"k must be in [1, {most_important(units)}], less than half the {units} units, but got {k}.")
            )
        top, groups = importance.top_units(k), {}
        for name, classes in (("target", self.targets), ("source", self.sources)):
            chosen = top[classes]
            if bool((chosen < 0).any()):
                unknown = importance.classes[int(classes[(chosen < 0).any(1)][0])]
                raise refusal(ValueError(f"importance must know every {name} class, but not {unknown!r}."))
            groups[name] = torch.zeros_like(self.before, dtype=torch.bool).scatter_(1, chosen, True)
        groups["other"] = ~(groups["target"] | groups["source"])
        return groups

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        meta = {"layer": self.layer, "settings": self.settings._asdict(), "seed": self.seed, "misnamed": self.misnamed,
                "fingerprint": self.fingerprint, "candidates": self.candidates}  # fmt: skip
        return tensors, meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> AttackResult:
        """See `Result`."""
        fields(what, meta, _META)
        fields(f"{what}: settings", meta["settings"], _SETTINGS)
        check_found(what, tensors)
        known = {name: meta.get(name) for name in _META} | {name: tensors[name] for name in _FOUND}
        settings = CarliniWagner(**{name: meta["settings"][name] for name in _SETTINGS})
        # Of before there was a choice.
        values: dict[str, Any] = {**known, "settings": settings, "candidates": known["candidates"] or CANDIDATES[0]}
        return cls(**values)


_META = {"layer": Text(), "settings": Of(dict), "seed": Whole(), "misnamed": Whole(), "fingerprint": Maybe(Text()),
         "candidates": Maybe(Text(CANDIDATES))}  # fmt: skip
_SETTINGS = {
    "binary_search_steps": Whole(1),
    "steps": Whole(1),
    "stepsize": Number(0),
    "initial_const": Number(0),
    "confidence": Number(0),
}
_FOUND = {
    **{name: Array(torch.int64, "N", 0) for name in ("images", "sources", "targets")},
    **{name: Array(torch.bool, "N") for name in ("reached", "noise_kept")},
    "norms": Array(torch.float32, "N", 0, math.inf),
    **{name: Array(torch.float32, "N U", -math.inf, math.inf) for name in ("before", "after", "noise")},
}


def check_found(what: str, tensors: dict[str, Tensor]) -> None:
    """Refuses the tensors of an `AttackResult` that cannot be.

    Raises:
        ValueError: says which.
    """
    fields(what, tensors, _FOUND)
    require(what, tensors["sources"] != tensors["targets"], "no target is the image's own class")
    require(what, len(tensors["images"].unique()) == len(tensors["images"]), "images come once each")


@speaks
def most_important(units: int) -> int:
    """The largest k with which some unit is among the k most important ones of neither of two classes."""
    return (units - 1) // 2


def _mean_interval(values: Tensor, members: Tensor) -> tuple[float, float]:
    """Mean over images of the mean over their members [n, U], if any, and half the width of its 99 % interval."""
    some = members.any(1)
    means = (values * members)[some].sum(1) / members[some].sum(1)
    deviation = float(means.std()) if len(means) > 1 else math.nan
    return float(means.mean()), Z99 * deviation / max(1, len(means)) ** 0.5
