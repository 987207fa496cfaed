"""Counts at many thresholds per unit, in two visits or, where some are exact shares of the pixels, a few more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.dissection.band_evidence import BandGathering
from dissect.dissection.geometry import check_fits
from dissect.dissection.plan import Plan
from dissect.dissection.significance import Doubt
from dissect.files.checked import Array, Each, Maybe, Of, Text, Whole, fields, require
from dissect.files.progress import go_on, of_version, versioned
from dissect.grid import Grid
from dissect.ops.encode_labels import encode_labels
from dissect.stats import TailThreshold, ThresholdSweep
from dissect.stats.advancing import advance_all
from dissect.stats.levels import LevelSample
from dissect.visits.run import Run, Visit
from dissect.visits.store import Step


class Sweeping(Run):
    """A sweep over thresholds under way.

    The visits are "survey" (a sample of each unit's values), "thresholds" as long as some exact level is open, and
    "sweep" (the counts at all levels).

    Args:
        plan: of the data set; its vocabulary is known.
        fractions: top fractions, falling, of a sample of the pixels, which give levels.
        exact: top fractions of all pixels, which give exact ones.
        zero: whether 0 is a level too, and no level below it (as a ReLU has it).
        floor: no level below 0.
        doubt: what to compute of the bands between the exact levels; nothing by default.
    """

    def __init__(
        self, plan: Plan, fractions: Sequence[float], exact: Sequence[float] = (), *, zero: bool = False,
        floor: bool = False, doubt: Doubt | None = None,
    ) -> None:  # fmt: skip
        self._plan, self._fractions, self._exact, self._zero, self._floor = plan, fractions, exact, zero, floor
        self.phase, self.num_images = "survey", 0
        self.date = datetime.now(timezone.utc).date().isoformat()  # of the run's begin
        self.grids: dict[str, Grid] = {}
        self._samples: dict[str, LevelSample] = {}
        self._levels: dict[str, list[TailThreshold]] = {}
        self.sweeps: dict[str, ThresholdSweep] = {}
        self.bands = None if doubt is None else BandGathering(doubt, plan.names)

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        if self.phase == "done":
            return None
        survey, last = self.phase == "survey", self.phase == "sweep"
        layers = self._open() if self.phase == "thresholds" else self._plan.names
        return Visit(f"levels: {self.phase}", layers, survey or last, last=last, images=survey)

    def _open(self) -> list[str]:
        return [name for name, states in self._levels.items() if not all(state.done for state in states)]

    def add(self, step: Step) -> None:
        """One batch of the visit under way."""
        if self.phase == "sweep":
            labels = encode_labels(step.label_planes, self._num_labels)
            for name, maps in step.activations.items():
                self.sweeps[name].add(maps, labels)
            if self.bands is not None:
                self.bands.count(step, labels)
            return
        if self.phase == "survey":
            self._survey(step)
        for name in self._open():
            for state in self._levels[name]:
                if not state.done:
                    state.add(step.activations[name])

    @property
    def _num_labels(self) -> int:
        return len(self._plan.vocabulary or ())

    def _survey(self, step: Step) -> None:
        images, planes = step.shown, step.label_planes
        size = (planes.shape[2], planes.shape[3])
        for name, maps in step.activations.items():
            if name not in self.grids:
                source = (maps.shape[2], maps.shape[3])
                self._begin(name, self._plan.geometry.grid(name, source, size, images))
            check_fits(f"layer {name!r}", self.grids[name], maps.shape[2:], size)
            self._samples[name].add(maps, step.numbers)
        if self.bands is not None:
            self.bands.survey(planes, step.numbers, self._num_labels)
        self.num_images += len(step.numbers)

    def _begin(self, name: str, grid: Grid) -> None:
        self.grids[name], self._samples[name] = grid, LevelSample(grid)
        self._levels[name] = [TailThreshold(share, grid=grid) for share in self._exact]

    def end_visit(self) -> None:
        """Chooses what the next visit does."""
        found = [(f"layer {name!r}", state) for name, states in self._levels.items() for state in states]
        advance_all([(name, state) for name, state in found if not state.done])
        if self.phase == "sweep":
            self.phase = "done"
        elif self._open():
            self.phase = "thresholds"
        else:
            self.phase = "sweep"
            self._begin_sweep()

    def _begin_sweep(self) -> None:
        edges = {name: self._edges(name) for name in self._plan.names}
        size, most = sum(8 * part.numel() * self._num_labels for part in edges.values()), self._plan.budgets[0]
        if size > most:
            raise refusal(
                ValueError(
                    f"memory_budget must hold the counts of each unit and label at every level, {size / 2**30:.1f}"
                    f" GiB of layers {self._plan.names}, but is {most / 2**30:.1f} GiB; take fewer layers at a time."
                )
            )
        scoped = self._plan.vocabulary is not None and self._plan.rules.scope == "category"
        categories = self._plan.vocabulary.categories if scoped and self._plan.vocabulary else None
        self.sweeps = {
            name: ThresholdSweep(part, self._num_labels, categories=categories, grid=self.grids[name])
            for name, part in edges.items()
        }
        if self.bands is not None and self._plan.vocabulary is not None:
            levels = {name: torch.cat([own, own.new_zeros(len(own), 1)], 1) for name, own in self._exact_levels()}
            self.bands.begin(levels, self.grids, self._plan.vocabulary, self.num_images)

    def _exact_levels(self) -> list[tuple[str, Tensor]]:
        """By layer, the levels of the exact fractions, the smallest first."""
        order = sorted(range(len(self._exact)), key=lambda at: self._exact[at])
        return [(name, self.exact_levels(name)[:, order]) for name in self._plan.names]

    def _edges(self, name: str) -> Tensor:
        """[U, B] rising."""
        parts = [self._samples[name].levels(self._fractions)] if self._fractions else []
        parts += [level[:, None] for level in self.exact_levels(name).unbind(1)]
        if self._zero:
            parts.append(torch.zeros(len(parts[0]), 1))
        edges = torch.cat([part.cpu() for part in parts], 1)
        return (edges.clamp(min=0) if self._floor else edges).sort(1).values

    def exact_levels(self, name: str) -> Tensor:
        """[U, E] float32: the level of each exact top fraction."""
        levels = [state.threshold().cpu() for state in self._levels[name]]
        return torch.stack(levels, 1) if levels else torch.empty(0, 0)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        layers = {}
        for index, name in enumerate(self.grids):
            grid = self.grids[name]
            layers[str(index)] = {
                "rows": grid.rows,
                "columns": grid.columns,
                "source": list(grid.source_shape),
                "sample": self._samples[name].state_dict(),
                "levels": {str(at): versioned(state) for at, state in enumerate(self._levels[name])},
                "sweep": versioned(self.sweeps[name]) if name in self.sweeps else None,
            }
        state = {"phase": self.phase, "num_images": self.num_images, "date": self.date, "layers": layers}
        return state if self.bands is None else {**state, "bands": versioned(self.bands)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same plan and levels.

        Raises:
            ValueError: it holds what cannot be.
        """
        fields("the run", state, _STATE)
        names, swept = self._plan.names, state["phase"] in ("sweep", "done")
        layers = [state["layers"].get(str(at)) for at in range(len(state["layers"]))]
        whole = len(layers) == len(names) or (state["phase"] == "survey" and not layers)
        require("the run", whole and None not in layers, "no layer is missing")
        for name, layer in zip(names, layers):
            fields("the run", layer, _LAYER)
            require("the run", (layer["sweep"] is not None) == swept, "each layer is counted, in its phase")
            require("the run", set(layer["levels"]) == {*map(str, range(len(self._exact)))}, "every level is there")
            self._begin(name, Grid(layer["rows"], layer["columns"], tuple(layer["source"])))
            self._plan.geometry.check_same(name, self.grids[name])
            self._samples[name].load_state_dict(layer["sample"])
            for at, level in enumerate(self._levels[name]):
                go_on(level, layer["levels"][str(at)])
                require("the run", level.done or not swept, "levels are found before they are counted")
        self.phase, self.num_images, self.date = state["phase"], state["num_images"], state["date"]
        if swept:
            self._begin_sweep()
            for name, layer in zip(names, layers):
                go_on(self.sweeps[name], layer["sweep"])
        if self.bands is not None and self._plan.vocabulary is not None:
            fields("the run", state, {"bands": Of(dict)})
            saved = of_version(self.bands, state["bands"])
            self.bands.load_state_dict(saved, self._plan.vocabulary, self.num_images)


_STATE = {
    "phase": Text(("survey", "thresholds", "sweep", "done")),
    "num_images": Whole(),
    "date": Text(),
    "layers": Of(dict),
}
_LAYER = {
    "rows": Array(torch.int32, "H 3"),
    "columns": Array(torch.int32, "W 3"),
    "source": Each(Whole(1), 2),
    "sample": Of(dict),
    "levels": Of(dict),
    "sweep": Maybe(Of(dict)),
}
