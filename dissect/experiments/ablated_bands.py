"""What classes lose when their units are ablated within a band of activation only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.classifiers.visits import class_numbers, first_batch
from dissect.data import Batches
from dissect.devices import device_of, to_device
from dissect.experiments.ablated_bands_result import AblatedBands, BandLossRow
from dissect.files.checked import Array, Of, Text, fields, require
from dissect.files.progress import go_on, versioned
from dissect.interventions.replay import Replays
from dissect.network.graph import edit_first
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption, from_maps, to_maps
from dissect.network.modes import check_evaluating, check_repeatable, noticed_chance
from dissect.network.outputs import first_tensor
from dissect.network.trace import Trace
from dissect.stats import TailThreshold
from dissect.stats.bins import exact_fraction
from dissect.table import Table
from dissect.visits.images import Images, identity
from dissect.visits.passes import Inputs, Passes
from dissect.visits.readout import Readout
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

PHASES = ("levels", "bands", "done")
TITLE = "ablated_bands: images"


@speaks
def ablated_bands(
    model: nn.Module,
    layer: str,
    images: Dataset[Any] | Iterable[Any],
    units: Tensor,
    *,
    shares: Sequence[float] = (0.01, 0.05, 0.2),
    controls: int = 1,
    seed: int = 0,
    layout: LayoutOption | None = None,
    batch_size: int = 32,
    resume: str | Path | None = None,
    progress: bool = True,
) -> AblatedBands:
    """Each class on its own images, with its units set to 0 only where they lie in a band of their activation.

    A unit's level at share q is the (floor(q M) + 1)-th largest of its M cells over all images, so that at most q M lie
    above it (`dissect.stats.TailThreshold`). Bands lie above the first level, between neighbouring ones
    (``low < activation <= high``), and from 0 to the last; at the end the units are ablated whole. A band that is
    empty, as of a unit that is 0 more often, changes nothing. What is edited is the layer's own output, as
    `dissect.ablate(band=...)` does, and what comes before the layer runs once for all bands.

    Beside the classes' units stand controls: as many units for each class, drawn from those that are not its own.

    Args:
        model: a classifier in evaluation mode that gives logits [N, K].
        layer: one of its layers that gives maps.
        images: pairs (image, class number) as a Dataset, or an iterable of batches of such, that can be visited again.
        units: [K, m], of each class those to ablate, as `UnitImportance.top_units(m)`; classes with -1 are left out.
        shares: of the cells, rising.
        controls: how often other units are drawn.
        seed: of these draws.
        layout: see `dissect.dissect`.
        batch_size: images at a time, of a Dataset.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.

    Raises:
        KeyError: no such layer.
        ValueError: shapes or numbers that do not fit; images without class numbers; shares that do not rise within
            (0, 1); no class with images and units; fewer other units than a control needs.

    Example:
        >>> layers = [torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(6, 2)).eval()
        >>> units, task = torch.tensor([[0, 1], [4, 5]]), [(torch.rand(4, 3, 8, 8), torch.tensor([0, 0, 0, 1]))]
        >>> found = dissect.experiments.ablated_bands(model, "0", task, units, shares=[0.1], progress=False)
        >>> [(row.top, row.share, row.classes) for row in found.summary()]
        [(0.0, 0.1, 2), (0.1, None, 2), (None, None, 2)]
    """
    find_layers(model, [layer])
    check_evaluating(model)
    exact = [exact_fraction(share, "shares") for share in shares]
    if not exact or any(not 0 < part < 1 for part in exact) or sorted(set(exact)) != exact:
        raise refusal(ValueError(f"shares must rise within 0 and 1, but are {list(shares)}."))
    controls, seed = integer("controls", controls, 0), seed_number(seed)
    batches = Batches(images, integer("batch_size", batch_size))
    run = Bands(model, layer, first_batch(batches).images, units, shares, Readout(relu=False, layout=layout))
    run.draw(controls, seed)
    about = {} if resume is None else identity(model, [batches])
    about |= {"options": [layer, [str(share) for share in shares], units.tolist(), controls, seed, batch_size]}
    finish(run, Images({TITLE: batches}), resume=resume, about=about if resume is not None else {}, progress=progress)
    return run.result({"seed": seed})


@speaks
def band_losses(
    model: nn.Module,
    layer: str,
    images: Tensor,
    classes: Tensor | Sequence[int],
    units: Tensor,
    *,
    shares: Sequence[float] = (0.01, 0.05, 0.2),
    layout: LayoutOption | None = None,
    batch_size: int = 32,
) -> Table[BandLossRow]:
    """The rows of `ablated_bands`, of images at hand, without controls, a bar and a file.

    Args:
        model: a classifier in evaluation mode that gives logits [N, K].
        layer: one of its layers that gives maps.
        images: [N, 3, H, W].
        classes: [N], their class numbers.
        units: [K, m], of each class those to ablate, as `UnitImportance.top_units(m)`; classes with -1 are left out.
        shares: of the cells, rising.
        layout: see `dissect.dissect`.
        batch_size: images at a time.

    Raises:
        KeyError: no such layer.
        ValueError: see `ablated_bands`.

    Example:
        >>> layers = [torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(6, 2)).eval()
        >>> units = torch.tensor([[0, 1], [4, 5]])
        >>> images, classes = torch.rand(4, 3, 8, 8), [0, 0, 0, 1]
        >>> rows = dissect.experiments.band_losses(model, "0", images, classes, units, shares=[0.1])
        >>> [(row.number, row.top, row.share) for row in rows][:3]
        [(0, 0.0, 0.1), (0, 0.1, None), (0, None, None)]
    """
    find_layers(model, [layer])
    truth = torch.as_tensor(classes).long()
    if not isinstance(images, Tensor) or images.ndim != 4 or truth.shape != images.shape[:1] or not len(images):
        raise refusal(ValueError(f"images must be [N, 3, H, W] and classes [N], but classes are {list(truth.shape)}."))
    size = integer("batch_size", batch_size)
    pairs = list(zip(images.split(size), truth.split(size)))
    found = ablated_bands(
        model, layer, pairs, units, shares=shares, controls=0, layout=layout, batch_size=size, progress=False
    )
    return found.rows()


class Bands(Run):
    """Each unit's levels, by as many visits as these take; and then what the network says without each band.

    Args:
        model: the classifier.
        layer: its layer.
        images: some of those to come.
        units: [K, m].
        shares: of the levels.
        readout: how outputs become maps.
    """

    def __init__(
        self, model: nn.Module, layer: str, images: Tensor, units: Tensor, shares: Sequence[float], readout: Readout
    ) -> None:
        self._model, self._layer, self._device = model, layer, device_of(model)
        self._passes, self._shares, self.phase = Passes(model, [layer], readout), list(map(float, shares)), "levels"
        few = to_device(images, self._device)
        with noticed_chance(self._device) as drawn:
            found = self._passes.run(Inputs(few, {}), [layer], whole=True)
        if drawn:
            check_repeatable(model, few)
        logits = self._logits(found.output)
        self._num_units, self._num_classes = found.maps[layer].shape[1], logits.shape[1]
        self._axes, self._replays = self._passes.layouts[layer][0], Replays(model, layer, few)
        self.units = self._checked(units)[None]
        self._states = [TailThreshold(share, positions="feature") for share in shares]
        #: By batch: class numbers, whether they are named, whether they are without [S, P, N], and falls [S, P, N].
        self._found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def _checked(self, units: Tensor) -> Tensor:
        whole = isinstance(units, Tensor) and not units.is_floating_point() and units.ndim == 2
        if not whole or len(units) != self._num_classes or not units.shape[1] or int(units.max()) >= self._num_units:
            got = (
                f"{list(units.shape)} up to {int(units.max()) if units.numel() else '-'}" if whole else repr(units)[:60]
            )
            size = f"[K={self._num_classes}, m] below {self._num_units}, the layer's units"
            raise refusal(ValueError(f"units must be {size}, but are {got}."))
        return torch.where((units < 0).any(1, keepdim=True), -1, units).long().cpu()

    def draw(self, controls: int, seed: int) -> None:
        """Draws other units for each class."""
        own, generator = self.units[0], torch.Generator().manual_seed(seed)
        size, drawn = own.shape[1], [self.units]
        for _ in range(controls):
            rows = []
            for row in own:
                left = torch.ones(self._num_units, dtype=torch.bool)
                left[row[row >= 0]] = False
                others = left.nonzero().flatten()
                if len(others) < size:
                    raise refusal(ValueError(
                        f"controls must be 0 where a class's {size} units leave fewer than as many of the layer's "
                        f"{self._num_units}, but is {controls}."
                    ))  # fmt: skip
                chosen = others[torch.randperm(len(others), generator=generator)[:size]]
                rows.append(torch.where(row >= 0, chosen, -1))
            drawn.append(torch.stack(rows)[None])
        self.units = torch.cat(drawn)

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        title = "levels of the units" if self.phase == "levels" else "ablated bands"
        return None if self.phase == "done" else Visit(title, images=True, data=TITLE)

    def compute(self, step: Step) -> tuple[Tensor, ...]:
        """Maps of a batch; or its class numbers, and what the network says of it with and without bands."""
        truth = class_numbers(step.planes).cpu()
        if not bool(((truth >= 0) & (truth < self._num_classes)).all()):
            raise refusal(
                ValueError(f"classes must be numbers below {self._num_classes}, the network's, but one is not.")
            )
        images = to_device(step.shown, self._device)
        if self.phase == "levels":
            return (self._passes.run(Inputs(images, {}), [self._layer]).maps[self._layer].float().cpu(),)
        with torch.no_grad():
            return truth, *self._without(images, truth)

    def _without(self, images: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether the network names each image [N], whether it does without each band [S, P, N], and falls."""
        run, tested = self._replays.of(images), (self.units[0] >= 0).all(1)[truth]
        before, number = self._logits(run()), torch.arange(len(truth))
        size = len(self.units), len(self._shares) + 2, len(truth)
        kept, fall = torch.zeros(size, dtype=torch.bool), torch.zeros(size)
        for at, units in enumerate(self.units[:, truth] if bool(tested.any()) else ()):
            for place, (low, high) in enumerate(self._ends(units.clamp(min=0))):
                bounds = [torch.full((len(truth), self._num_units), torch.inf) for _ in range(2)]
                for bound, end in zip(bounds, (low, high)):
                    bound[tested] = bound[tested].scatter(1, units[tested], end[tested])
                edit = partial(self._edited, low=bounds[0].to(images.device), high=bounds[1].to(images.device))
                with Trace(self._model, self._layer, edit=edit, clone=False, detach=False):
                    after = self._logits(run())
                kept[at, place] = (after.argmax(1) == truth) & tested
                fall[at, place] = torch.where(tested, (before - after)[number, truth], 0.0)
        return before.argmax(1) == truth, kept, fall

    def _ends(self, units: Tensor) -> list[tuple[Tensor, Tensor]]:
        """By band the lower and upper ends of units [N, m]; the last one has all that is finite."""
        levels = self.levels().clamp(min=0)[units]
        edges = [torch.full(units.shape, torch.inf), *levels.unbind(2), torch.zeros(units.shape)]
        return [*((low, high) for high, low in pairwise(edges)), (-edges[0], edges[0])]

    def _edited(self, output: Any, layer: str, low: Tensor, high: Tensor) -> Any:
        def cut(first: Tensor) -> Tensor:
            maps = to_maps(first, self._axes)
            spread = [-1 if axis < 2 else 1 for axis in range(maps.ndim)]
            inside = (maps > low.view(*low.shape, *spread[2:])) & (maps <= high.view(*high.shape, *spread[2:]))
            return from_maps(maps.masked_fill(inside, 0), self._axes)

        return edit_first(output, cut)

    def _logits(self, output: Any) -> Tensor:
        """[N, K] float32 on the CPU."""
        logits = first_tensor(output)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            got = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise refusal(ValueError(f"model must give logits [N, K], but gives {got}."))
        if not bool(logits.isfinite().all()):
            raise refusal(ValueError("logits must be finite, but some are not."))
        return logits.float().cpu()

    def levels(self) -> Tensor:
        """[U, B] float32."""
        return torch.stack([state.threshold() for state in self._states], 1)

    def add(self, found: tuple[Tensor, ...]) -> None:
        """Keeps what a batch gave."""
        if self.phase == "bands":
            truth, right, kept, fall = found
            self._found.append((truth, right, kept, fall))
            return
        for state in self._states:
            if not state.done:
                state.add(found[0])

    def end_visit(self) -> None:
        """Goes on to the bands once all levels are known."""
        if self.phase == "bands":
            self.phase = "done"
            return
        for state in self._states:
            if not state.done:
                state.advance()
        if all(state.done for state in self._states):
            self.phase = "bands"

    def _together(self) -> list[Tensor]:
        size = len(self.units), len(self._shares) + 2, 0
        nothing = (torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool),
                   torch.zeros(size, dtype=torch.bool), torch.zeros(size))  # fmt: skip
        return [torch.cat(parts, -1) for parts in zip(nothing, *self._found)]

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        states = {str(at): versioned(state) for at, state in enumerate(self._states)}
        return {"phase": self.phase, "levels": states, **dict(zip(_FOUND, self._together()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same units and shares.

        Raises:
            ValueError: it holds what cannot be.
        """
        what, bands = "the run", f"{len(self.units)} {len(self._shares) + 2} N"
        fields(what, state, {"phase": Text(PHASES), "levels": Of(dict)} | _FOUND | {
            "kept": Array(torch.bool, bands), "fall": Array(torch.float32, bands, -torch.inf, torch.inf)})  # fmt: skip
        fields(what, state["levels"], {str(at): Of(dict) for at in range(len(self._states))})
        for at, own in enumerate(self._states):
            go_on(own, state["levels"][str(at)])
            require(what, own.done or state["phase"] == "levels", "levels are known before bands are cut")
        require(what, not len(state["truth"]) or state["phase"] != "levels", "bands come after levels")
        require(what, bool((state["truth"] < self._num_classes).all()), "classes are the network's")
        self.phase = state["phase"]
        truth, right, kept, fall = (state[name] for name in _FOUND)
        self._found = [(truth, right, kept, fall)]

    def result(self, settings: dict[str, Any]) -> AblatedBands:
        """What was found, when all visits have ended.

        Raises:
            ValueError: no class with images and units.
        """
        truth, right, kept, fall = self._together()
        if not bool((self.units[0] >= 0).all(1)[truth].any()):
            raise refusal(ValueError("units must be of a class that has images, but there is none."))
        settings = settings | {"num_images": len(truth)}
        return AblatedBands(self._layer, self._shares, self.levels(), self.units, truth, right, kept, fall, settings)


_FOUND = {
    "truth": Array(torch.int64, "N", 0), "right": Array(torch.bool, "N"), "kept": Array(torch.bool, "S P N"),
    "fall": Array(torch.float32, "S P N"),
}  # fmt: skip
