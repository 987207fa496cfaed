"""How far an edit at one place of a layer goes in the layers that follow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.devices import checksum
from dissect.files.checked import Array, Of, Text, Whole, fields
from dissect.generators.counting import Concept, Counter, Segmenting
from dissect.generators.intervals import RESAMPLES
from dissect.generators.observing import TITLES, ObservationRun, given_value, observe, settings_of, warn_of_shared
from dissect.generators.regions import Region, block_masks, checked_block
from dissect.generators.rendering import Latents, Renderer, UnitEdit
from dissect.generators.tracing_result import EffectTrace
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption, Layouts, to_maps
from dissect.network.outputs import first_tensor
from dissect.network.trace import FirstTensorTrace, Trace
from dissect.network.units import Units
from dissect.stats.bootstrap import enough_draws
from dissect.visits.run import Run, Visit
from dissect.visits.store import Step

#: A visible effect changes more than this share of an image's pixels.
CUT = 0.005


@speaks
def trace_effect(
    generator: nn.Module,
    layer: str,
    units: Units,
    z: Latents,
    *,
    value: Tensor | float | None = None,
    cells: Tensor | None = None,
    block: int = 1,
    layers: Iterable[str] | None = None,
    segmenter: Segmenting | None = None,
    concept: Concept | None = None,
    cut: float = CUT,
    seed: int = 0,
    resamples: int = RESAMPLES,
    batch_size: int = 32,
    layout: LayoutOption | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> EffectTrace:
    """Sets units at one place of a layer, and measures how much every later layer changes (thesis, A.5).

    Each place of the map, or each of some, is tried in each image. A channel's change is told over its own mean L1,
    so that layers can be compared. With a segmenter, edits whose effect is visible are told apart: those where more
    than `cut` of the image's pixels gain or lose the class, or without a class change any label. In the published code
    a person judges that.

    Args:
        generator: see `effect`.
        layer: see `effect`.
        units: see `effect`.
        z: see `effect`; there are as many edits of each as there are places.
        value: the level: a number or [U], all units of the layer. By default the mean of each unit where the class is,
            see `effect`, which takes a segmenter; the published code takes the units' values at one cell of one image.
        cells: [P, 2] int64, different rows and columns of the first cells of the places to try; all by default. The
            published lines, not the heat map, leave out the cells at the border.
        block: rows and columns of a place, in cells.
        layers: names of those to look at; by default `layer` and what runs after it, once, of its siblings and of the
            modules that it lies in and their siblings.
        segmenter: see `effect`; None: nothing is told of what is visible.
        concept: the class that the units belong to; None: any change of the segmenter's labels is looked at.
        cut: the share of an image's pixels that a visible effect exceeds; `EffectTrace.cut` can be set later too.
        seed: of intervals.
        resamples: see `effect`.
        batch_size: see `effect`.
        layout: see `effect`; of all these layers, or by name.
        resume: see `effect`.
        progress: show a bar.

    Returns:
        An `EffectTrace`.

    Raises:
        KeyError, TypeError, ValueError: see `effect`, but the class need not be in these images if a value is given; a
            class without a segmenter; a layer that is 0 in all images.

    Warns:
        UserWarning: units that `causal_units` chose on some of these z.

    Example:
        >>> from dissect import generators, tiny
        >>> street, z = tiny.generator(), dissect.latents(tiny.generator(), 2, seed=3)
        >>> found = generators.trace_effect(
        ...     street, "layer4", [4, 20], z, value=2.0, cells=torch.tensor([[2, 2], [4, 4]]), progress=False
        ... )
        >>> found.layers[:2], found.changes.shape, bool((found.changes > 0).all())
        (('layer4', 'layer5'), torch.Size([8, 2, 2]), True)
    """
    seed, resamples = seed_number(seed), enough_draws(resamples)
    counter = _counter(segmenter, concept, cut)
    batch_size = integer("batch_size", batch_size)
    renderer = Renderer(generator, layer, z, segmenter, batch_size, _layout_of(layer, layout))
    chosen, (h, w) = renderer.units(units), renderer.map_size
    block = checked_block(block, (h, w))
    places = (h - block + 1, w - block + 1)
    firsts = _checked(cells, places)
    level = given_value(value, renderer.num_units)
    warn_of_shared(units, renderer)
    looked = _Looked(renderer, _following(renderer, layers), layout)
    if level is None:
        level = _level(renderer, counter if concept is not None else None, resume, progress)
    edits = [UnitEdit(chosen, level, mask) for mask in block_masks(firsts, block, (h, w))]
    run, counters = _Tracing(looked, edits, counter, concept is not None), [] if counter is None else [counter]
    about = {
        "function": "trace_effect", "units": chosen.tolist(), "value": checksum(level).tolist(),
        "cells": firsts.tolist(), "block": block, "layers": list(looked.layers), "any label": concept is None,
    }  # fmt: skip
    observe(run, renderer, counters, about, resume, progress)
    return run.result(chosen, block, places, firsts, float(cut), settings_of(renderer, seed, resamples, value))


def _layout_of(layer: str, layout: LayoutOption | None) -> LayoutOption | None:
    """What `layout` says of one layer."""
    return layout if layout is None or isinstance(layout, str) else {k: v for k, v in layout.items() if k == layer}


class _Looked:
    """The layers that are looked at.

    Attributes:
        renderer: makes the images.
        layers: L names.
    """

    def __init__(self, renderer: Renderer, layers: tuple[str, ...], layout: LayoutOption | None) -> None:
        self.renderer, self.layers = renderer, layers
        self._layouts = Layouts(renderer.generator, layers, layout)
        if uncertain := self._layouts.may_be_uncertain():
            rows = slice(0, min(2, len(renderer)))
            self._layouts.learn_from(renderer.generator, uncertain, renderer.z[rows], **renderer.extra(rows))

    def features(self, rows: slice) -> tuple[list[Tensor], Tensor]:
        """The layers' maps [n, U, h, w] of some z, and the images, which are looked at."""
        with torch.no_grad(), FirstTensorTrace(self.renderer.generator, self.layers) as trace:
            images = self.renderer.plain(rows)[1]
        return [self._maps(name, trace) for name in self.layers], images

    def edited(self, rows: slice, edits: list[UnitEdit], base: list[Tensor]) -> Iterator[tuple[list[Tensor], Tensor]]:
        """The same with each edit, given the maps without; what ends before the edited layer runs once."""
        generator = self.renderer.generator
        with FirstTensorTrace(generator, self.layers) as trace:
            run = self.renderer.replay(rows)
        ended = {name: maps for name, maps in zip(self.layers, base) if name in trace}  # before the edit
        for edit in edits:  # the trace comes second, to see the edit of the layer itself
            with torch.no_grad(), self.renderer.editing(rows, edit), FirstTensorTrace(generator, self.layers) as trace:
                images = first_tensor(run())
            still = {name: maps for name, maps in ended.items() if name not in trace}  # parts of what runs no more
            yield [still[name] if name in still else self._maps(name, trace) for name in self.layers], images

    def _maps(self, name: str, trace: Trace) -> Tensor:
        return to_maps(trace[name], self._layouts.of(name, trace[name]).axes)


class _Tracing(Run):
    """Two visits to some z: the mean L1 of each layer's channels, then what each edit changes.

    Args:
        looked: the layers.
        edits: P of them.
        counter: sees the images; None: nobody does.
        one_class: look at the counter's class alone, not at all labels.

    Attributes:
        means: per layer [U] float64, once they were measured.
        changes: [L, N, P] float64.
        pixels: [N, P] int64, or [0, P] without a counter: how many change.
        num_pixels: of an image's planes; 0 without a counter.
    """

    def __init__(self, looked: _Looked, edits: list[UnitEdit], counter: Counter | None, one_class: bool) -> None:
        self._looked, self._edits, self._counter, self._one_class = looked, edits, counter, one_class
        number = len(looked.renderer)
        self.phase, self.means, self.num_pixels = "generated", list[Tensor](), 0
        self.changes = torch.zeros(len(looked.layers), number, len(edits), dtype=torch.float64)
        self.pixels = torch.zeros(0 if counter is None else number, len(edits), dtype=torch.int64)

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return Visit(TITLES[self.phase], data="z", last=self.phase == "edited") if self.phase in TITLES else None

    def compute(self, step: Step) -> Any:
        """See `Run`."""
        rows = slice(int(step.numbers[0]), int(step.numbers[-1]) + 1)
        if self.phase == "edited":
            return rows, *self._edited(rows)
        return [maps.double().abs().mean((2, 3)).sum(0).cpu() for maps in self._looked.features(rows)[0]]

    def add(self, found: Any) -> None:
        """See `Run`."""
        if self.phase == "generated":
            self.means = [total + more for total, more in zip(self.means, found)] if self.means else found
            return
        rows, self.changes[:, rows], pixels, self.num_pixels = found
        self.pixels[rows] = pixels

    def end_visit(self) -> None:
        """See `Run`.

        Raises:
            ValueError: a layer has none but silent channels.
        """
        if self.phase == "edited":
            self.phase = "done"
            return
        self.means = [total / len(self._looked.renderer) for total in self.means]
        for name, means in zip(self._looked.layers, self.means):
            if not bool((means != 0).any()):
                raise refusal(ValueError(
                    f"layers must have channels that are not 0 in all images, but {name!r} has none; leave it out."
                ))  # fmt: skip
        self.phase = "edited"

    def result(
        self, units: Tensor, block: int, places: tuple[int, int], firsts: Tensor, cut: float, settings: dict[str, Any]
    ) -> EffectTrace:
        """What was measured, of edits of some units at the places with these first cells."""
        renderer, counter = self._looked.renderer, self._counter
        return EffectTrace(
            renderer.layer, tuple(units.tolist()), renderer.num_units, self._looked.layers,
            torch.tensor([len(means) for means in self.means]),
            torch.tensor([int((means == 0).sum()) for means in self.means]), block, places, firsts, self.changes,
            "" if counter is None or not self._one_class else counter.name, self.num_pixels, self.pixels, cut,
            renderer.keys(), settings,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        own = {name: getattr(self, name) for name in ("phase", "num_pixels", "changes", "pixels")}
        return {**own, "means": {str(at): means for at, means in enumerate(self.means)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`."""
        shapes = {"changes": torch.float64, "pixels": torch.int64}
        rules = {name: Array(dtype, " ".join(map(str, getattr(self, name).shape)), 0) for name, dtype in shapes.items()}
        fields("the run", state, {"phase": Text((*TITLES, "done")), "num_pixels": Whole(), "means": Of(dict), **rules})
        names = [str(at) for at in range(len(self._looked.layers))]
        known = names if state["means"] or state["phase"] != "generated" else []
        fields("the run", state["means"], {name: Array(torch.float64, f"U{name}", 0) for name in known})
        self.means = [state["means"][name].clone() for name in known]
        self.phase, self.num_pixels = state["phase"], state["num_pixels"]
        self.changes, self.pixels = state["changes"].clone(), state["pixels"].clone()

    def _edited(self, rows: slice) -> tuple[Tensor, Tensor, int]:
        """Of some z the changes [L, n, P] and pixels [n, P], and how many pixels planes have."""
        looked, batch = self._looked, rows.start // self._looked.renderer.batch_size
        base, images = looked.features(rows)
        before = self._labels(batch, images)
        changes, pixels = [], []
        for edit, (changed, edited) in zip(self._edits, looked.edited(rows, self._edits, base)):
            found = torch.stack([_change(*part) for part in zip(self.means, base, changed)])
            if not bool(found.isfinite().all()) or not bool(edited.isfinite().all()):
                raise refusal(ValueError(
                    f"layers and images must be finite, but some of batch {batch} are not when {len(edit.units)} units "
                    f"of {looked.renderer.layer!r} are set to a value; is the value one that the units can have?"
                ))  # fmt: skip
            changes.append(found)
            after = self._labels(batch, edited)
            if before is not None and after is not None:
                pixels.append(torch.ne(after, before).any(1).flatten(1).sum(1).cpu())
        size = 0 if before is None else before[0, 0].numel()
        return torch.stack(changes, 2), torch.stack(pixels, 1) if pixels else self.pixels[:0], size

    def _labels(self, batch: int, images: Tensor) -> Tensor | None:
        """What is compared of the images, [n, K, H, W]."""
        if self._counter is None:
            return None
        planes = self._counter.planes(batch, images)
        return self._counter.carries(planes)[:, None] if self._one_class else planes


def _change(means: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """[n] float64: the mean change of a layer in each image, over channels that have a mean."""
    difference = (after.double() - before.double()).abs().mean((2, 3)).cpu()
    return (difference / means)[:, means != 0].mean(1)


def _level(renderer: Renderer, counter: Counter | None, resume: str | Path | None, progress: bool) -> Tensor:
    """[N, U] float32: for every z the mean of each unit where the class is in z of the other half."""
    if counter is None:
        raise refusal(ValueError(
            "value must be given without a segmenter and a concept, which would tell the units' levels where the class "
            "is."
        ))  # fmt: skip
    seen = ObservationRun(renderer, [counter], Region("everywhere", None), lambda _: [])
    about, place = {"function": "trace_effect"}, None if resume is None else Path(resume) / "level"
    observe(seen, renderer, [counter], about, place, progress)
    return seen.inserted(None)


def _following(renderer: Renderer, layers: Iterable[str] | None) -> tuple[str, ...]:
    """The names given, or those of what runs once from the edited layer on, in the order in which they end."""
    generator, layer = renderer.generator, renderer.layer
    if layers is not None:
        given = [layers] if isinstance(layers, str) else list(layers)
        if not given or len(set(given)) < len(given):
            raise refusal(ValueError(f"layers must be different names, at least one, but got {given}."))
        find_layers(generator, given)
        return tuple(given)
    parts = layer.split(".")
    around = [".".join(parts[:depth]) for depth in range(len(parts))]  # of the modules that it lies in
    inside = [(outer, name) for outer in around for name, _ in generator.get_submodule(outer).named_children()]
    names = [f"{outer}.{name}" if outer else name for outer, name in inside]
    ran: list[str] = []

    def note(output: Any, name: str) -> Any:
        ran.append(name)
        return output

    with torch.no_grad(), Trace(generator, names, edit=note, retain=None):
        renderer.render(slice(0, 1))
    return tuple(name for name in ran[ran.index(layer) :] if ran.count(name) == 1)


def _counter(segmenter: Segmenting | None, concept: Concept | None, cut: float) -> Counter | None:
    """What sees the class, or all labels without one; None where nothing shall.

    Raises:
        ValueError: a class without a segmenter, or no cut.
    """
    if isinstance(cut, bool) or not isinstance(cut, (int, float)) or not 0 <= cut < 1:
        raise refusal(ValueError(f"cut must be a share of an image's pixels, from 0 to below 1, but got {cut!r}."))
    if segmenter is None and concept is not None:
        raise refusal(ValueError("segmenter must be given with a concept, but is None."))
    return None if segmenter is None else Counter(segmenter, 1 if concept is None else concept)


def _checked(cells: Any, places: tuple[int, int]) -> Tensor:
    """[P, 2] places to try, which the layer's map has; all of them for None."""
    if cells is None:
        return torch.cartesian_prod(*map(torch.arange, places))
    if not isinstance(cells, Tensor) or cells.dtype != torch.int64 or cells.ndim != 2 or cells.shape[1] != 2:
        got = f"{cells.dtype} {list(cells.shape)}" if isinstance(cells, Tensor) else type(cells).__name__
        raise refusal(TypeError(f"cells must be int64 [P, 2], the same places of every image, but got {got}."))
    found: Tensor = cells.cpu().clone()
    wrong: Tensor = (found < 0).any(1) | (found >= torch.tensor(places)).any(1)
    if bool(wrong.any()) or not len(found) or len(found.unique(dim=0)) < len(found):
        raise refusal(ValueError(
            f"cells must be different first cells of blocks within the map, at least one, rows below {places[0]} and "
            f"columns below {places[1]}, but got {(found[wrong] if bool(wrong.any()) else found).tolist()[:4]}."
        ))  # fmt: skip
    return found
