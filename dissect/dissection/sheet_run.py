"""Picks the images of a unit's sheet, in one visit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, speaks
from dissect.chosen import rank_keys
from dissect.concepts import MANY_LABELS, label_of
from dissect.data import Batches
from dissect.data.batches import attribute_of
from dissect.data.pictures import signed_pictures, to_pictures
from dissect.devices import to_device
from dissect.dissection.geometry import check_fits
from dissect.dissection.result import Dissection, LayerDissection
from dissect.dissection.sheet import NOWHERE, SHOWN, SOMEWHERE, UnitSheet
from dissect.files.checked import Array, Maybe, Of, fields
from dissect.generated import Generated, paired
from dissect.network.directions import LayerDirections
from dissect.network.identity import check_same_weights, code_of, fingerprint
from dissect.reference import upsample
from dissect.visits.activations import Activations
from dissect.visits.readout import Readout
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

#: Of an image with a large object (PNAS 2020, Fig. 3F).
LEAST = 0.05


class SheetRun(Run):
    """One visit, which keeps the best images of each group.

    Args:
        name: the layer's.
        layer: what the dissection knows of it.
        unit: its number.
        label: of the concept, or None.
        levels: how many.
        each: images of a group to keep.
        least: see `UnitSheet`.
        to_uint8: makes pictures.
    """

    def __init__(
        self, name: str, layer: LayerDissection, unit: int, label: int | None, levels: int, each: int, least: float,
        to_uint8: Callable[[Tensor], Tensor],
    ) -> None:  # fmt: skip
        self._name, self._unit, self._label, self._each, self._least = name, unit, label, each, least
        self._grid, self._to_uint8, self.threshold = layer.grid, to_uint8, _threshold(layer, unit, label)
        self.edges = torch.linspace(self.threshold, float(layer.peaks[unit, 0]), levels + 1, dtype=torch.float64)
        self.level_images = torch.zeros(levels, dtype=torch.int64)
        self.counts = torch.zeros(2, 3, dtype=torch.int64)
        self.kept: list[dict[str, Tensor] | None] = [None] * (levels + (0 if label is None else 2))
        self.done = False

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return None if self.done else Visit("sheet", [self._name], planes=self._label is not None, last=True)

    def add(self, step: Step) -> None:
        """See `Run`."""
        maps = step.activations[self._name][:, self._unit].float().cpu()
        size = None if step.planes is None else step.planes.shape[2:]
        check_fits(f"layer {self._name!r}", self._grid, maps.shape[1:], size)
        fires = upsample(maps, self._grid.rows, self._grid.columns) > self.threshold
        concept = torch.zeros_like(fires)
        if step.planes is not None and self._label is not None:
            concept = (step.planes == self._label).any(1).cpu()
        found = {"numbers": step.numbers, "peaks": maps.flatten(1).amax(1)}
        found["shares"] = concept.flatten(1).double().mean(1)
        fired, shares = fires.flatten(1).any(1), found["shares"]
        shown = torch.where(shares >= self._least, SHOWN, SOMEWHERE).where(shares > 0, NOWHERE)
        self.counts += torch.bincount(3 * fired + shown, minlength=6).view(2, 3)
        level = torch.bucketize(found["peaks"].double(), self.edges[1:-1])
        self.level_images += torch.bincount(level[fired], minlength=len(self.level_images))
        chance = rank_keys(step.numbers).double()
        groups = [(fired & (level == at), chance, fires) for at in range(len(self.level_images))]
        groups += [(~fired & (shown == SHOWN), -shares, concept), (fired & (shown == NOWHERE), -found["peaks"], fires)]
        for at, (own, keys, masks) in enumerate(groups[: len(self.kept)]):
            self._keep(at, own, {**found, "keys": keys.double(), "masks": masks}, step.images)

    def end_visit(self) -> None:
        """See `Run`."""
        self.done = True

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        kept = {str(at): group for at, group in enumerate(self.kept) if group is not None}
        return {"level_images": self.level_images, "counts": self.counts, "done": self.done, "kept": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`."""
        what, levels = "the run", len(self.level_images)
        rules = {"level_images": Array(torch.int64, "L", 0), "counts": Array(torch.int64, "2 3", 0)}
        fields(what, state, rules | {"done": Of(bool), "kept": Of(dict)}, {"L": levels})
        fields(what, state["kept"], {str(at): Maybe(Of(dict)) for at in range(len(self.kept))})
        sizes = {"H": self._grid.target_shape[0], "W": self._grid.target_shape[1]}
        for at in range(len(self.kept)):
            group = state["kept"].get(str(at))
            if group is not None:
                found = fields(f"{what}: group {at}", group, _KEPT, sizes)
                sizes |= {side: found[side] for side in "hw"}  # those of all groups
            self.kept[at] = group
        self.level_images, self.counts = state["level_images"].clone(), state["counts"].clone()
        self.done = state["done"]

    def _keep(self, at: int, own: Tensor, found: dict[str, Tensor], images: Tensor | None) -> None:
        """The first of a group by key, equal ones by number; those of a batch that are `own` are new."""
        new = own.nonzero().flatten()
        new = new[_first(found["keys"][new], found["numbers"][new], self._each)]
        if not len(new) or images is None:
            return
        parts = {name: values[new] for name, values in found.items()}
        parts["pictures"] = self._to_uint8(images[to_device(new, images.device)]).cpu()
        for other in self.kept:
            sizes = [list(each["pictures"].shape[1:]) for each in (other or parts, parts)]
            if sizes[0] != sizes[1]:
                raise refusal(
                    ValueError(
                        f"images must be those of the run to resume, whose pictures are {sizes[0]}, but are {sizes[1]}."
                    )
                )
        known = self.kept[at]
        if known is not None:
            parts = {name: torch.cat([known[name], values]) for name, values in parts.items()}
        kept = _first(parts["keys"], parts["numbers"], self._each)
        self.kept[at] = {name: values[kept] for name, values in parts.items()}


def _first(keys: Tensor, numbers: Tensor, count: int) -> Tensor:
    """Places of the lowest keys, equal ones by number."""
    order = numbers.sort(stable=True).indices
    return order[keys[order].sort(stable=True).indices][:count]


_KEPT = {
    "numbers": Array(torch.int64, "K", 0),
    "peaks": Array(torch.float32, "K", -(2.0**126), 2.0**126),
    "shares": Array(torch.float64, "K", 0, 1),
    "keys": Array(torch.float64, "K", -(2.0**126), 2.0**126),
    "masks": Array(torch.bool, "K H W"),
    "pictures": Array(torch.uint8, "K 3 h w"),
}


@speaks
def unit_sheet(
    model: nn.Module,
    dissection: Dissection,
    layer: str,
    unit: int,
    images: Dataset[Any] | Tensor | Iterable[Any],
    *,
    segmenter: Callable[[Tensor], Tensor] | None = None,
    concept: str | int | None = None,
    levels: int = 4,
    each: int = 8,
    least: float = LEAST,
    batch_size: int = 32,
    directions: Mapping[str, LayerDirections] | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
    pictures: Callable[[Tensor], Tensor] | None = None,
) -> UnitSheet:
    """Images of one unit beyond its top ones, in one more visit: at all levels, and where it and its concept part.

    The range from the unit's threshold to its highest peak is cut into equal levels; of the images where it fires,
    those at each level are counted, and a sample of them is kept, drawn by the hash of their numbers (PNAS 2020, Fig.
    3E: what a unit responds to, or draws, is diverse). Counterexamples (Fig. 3G) are images with the concept on at
    least a share of the pixels where the unit does not fire, those with most of it, and images where the unit fires
    and no pixel carries the concept, those with the highest peaks.

    Args:
        model: the network that was dissected.
        dissection: what `dissect.dissect` found; tells the threshold, and how layers and planes are read.
        layer: one of its layers.
        unit: number of a unit that fires.
        images: the dissection's, or others like them; of a generator z, see `dissect.dissect`.
        segmenter: as for the dissection.
        concept: a label number, a name, or "category/name"; by default the unit's best label. A dissection without
            labels has none, and the sheet no counterexamples.
        levels: how many.
        each: how many images to keep of each level and kind of counterexample.
        least: the share of an image's pixels from which on it shows the concept; PNAS calls 5 % a large window.
        batch_size: of a Dataset or a tensor.
        directions: those along which the dissection has read the layer, see `dissect.dissect`.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.
        pictures: see `dissect.dissect`.

    Returns:
        A `UnitSheet`.

    Raises:
        KeyError: a layer or concept that the dissection does not have.
        TypeError, ValueError: a unit that is not there or never fires; another network than the dissection's; images
            or planes that do not fit.

    Example:
        >>> street, segmenter = dissect.tiny.generator(), dissect.tiny.segmenter(signed=True)
        >>> z = dissect.latents(street, 12, seed=1)
        >>> d = dissect.dissect(street, "layer4", z, segmenter=segmenter, segment="output", decoys=0, progress=False)
        >>> sheet = dissect.unit_sheet(street, d, "layer4", 76, z, segmenter=segmenter, progress=False)
        >>> int(sheet.counts.sum()), int(sheet.level_images.sum()) == int(sheet.counts[1].sum())
        (12, True)
    """
    settings, own = dissection.settings, dissection[layer]
    unit, levels, each = integer("unit", unit, 0), integer("levels", levels), integer("each", each)
    batch_size = integer("batch_size", batch_size)
    _check(model, dissection, own, unit, least)
    label = None if dissection.images_only else int(own.best_label[unit]) or None
    if concept is not None:
        label = label_of(dissection.concepts, concept)
    low, high = _threshold(own, unit, label), float(own.peaks[unit, 0])
    if not -torch.inf < low < high:
        raise refusal(ValueError(f"unit must fire, but {unit} has threshold {low:g} and its highest peak is {high:g}."))
    generated = Generated(model) if settings.get("segment") == "output" else None
    images = images if generated is None else paired(images)
    to_uint8 = pictures or (signed_pictures if generated else attribute_of(images, "to_pictures") or to_pictures)
    batches, readout = Batches(images, batch_size), Readout.of(settings, [layer], directions)
    run = SheetRun(layer, own, unit, label, levels, each, least, to_uint8)
    options = {"layer": layer, "unit": unit, "label": label, "levels": levels, "each": each, "least": least}
    options |= {"directions": {name: along.told for name, along in readout.directions.items()}}
    about = {} if resume is None else _about(model, segmenter, to_uint8, batches, run)
    with Activations(model, [layer], batches, segmenter, readout, 0, 0, label is not None, generated) as steps:
        finish(run, steps, resume=resume, about={**about, **options, "function": "unit_sheet"}, progress=progress)
    name, category = (None, None) if label is None else (
        dissection.concepts.names[label], dissection.concepts.categories[label])  # fmt: skip
    return _sheet(run, layer, unit, name, category, least, {"each": each, "provenance": settings.get("provenance")})


def _check(model: nn.Module, dissection: Dissection, layer: LayerDissection, unit: int, least: float) -> None:
    """Refuses what cannot be shown.

    Raises:
        ValueError: says what.
    """
    check_same_weights(model, dissection.settings)
    if unit >= layer.num_units:
        raise refusal(ValueError(f"unit must be below {layer.num_units}, the units of {layer.name!r}, but is {unit}."))
    if not 0 < least <= 1:
        raise refusal(ValueError(f"least must be a share of an image above 0, at most 1, but is {least}."))
    names = dissection.concepts.names
    if names[-1].isdigit() and int(names[-1]) >= MANY_LABELS:
        raise refusal(ValueError(f"dissection must be of labels below {MANY_LABELS}, but has one of {names[-1]}."))


def _threshold(layer: LayerDissection, unit: int, label: int | None) -> float:
    """Above which the unit fires; where each label has a level of its own, that of the label."""
    own = layer.label_thresholds
    return float(layer.thresholds[unit] if own is None or label is None else own[unit, label])


def _about(
    model: nn.Module, segmenter: Any, to_uint8: Callable[[Tensor], Tensor], batches: Batches, run: SheetRun
) -> dict[str, Any]:
    return {
        "model": [fingerprint(model), code_of(model)],
        "segmenter": [fingerprint(segmenter), code_of(segmenter)],
        "pictures": code_of(to_uint8),
        "images": batches.identity(),
        "edges": run.edges.tolist(),
    }


def _sheet(
    run: SheetRun, layer: str, unit: int, name: str | None, category: str | None, least: float, settings: dict[str, Any]
) -> UnitSheet:
    """The result of a run."""
    held = [(at, group) for at, group in enumerate(run.kept) if group is not None]
    if not held:
        raise refusal(ValueError(f"images must be such that unit {unit} fires in some, but it fires in none of them."))
    parts = {name: torch.cat([group[name] for _, group in held]) for name in _KEPT if name != "keys"}
    groups = torch.cat([torch.full((len(group["numbers"]),), at) for at, group in held])
    return UnitSheet(
        layer, unit, run.threshold, name, category, least, run.edges, run.level_images, run.counts, groups=groups,
        settings=settings, **parts,
    )  # fmt: skip
