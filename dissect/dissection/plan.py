"""What is known before an image is looked at: the layers, the rules, and where planes and maps come from."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor, nn

from dissect.arguments import ignored_labels, integer, num_bytes, refusal
from dissect.concepts import Concepts
from dissect.data import Batches
from dissect.data.batches import attribute_of
from dissect.data.planes import check_ignored
from dissect.dissection.geometry import Geometry, named_or_given
from dissect.dissection.presets import Preset, PresetName, preset_with
from dissect.generated import Generated, paired
from dissect.network.directions import LayerDirections, given_directions
from dissect.network.identity import code_of, fingerprint
from dissect.network.layers import find_layers, layer_names
from dissect.network.layouts import LayoutOption, Layouts
from dissect.stats.bins import exact_fraction
from dissect.visits.activations import Activations
from dissect.visits.readout import Readout

#: What a segmenter sees.
Segment = Literal["input", "output"]
SEGMENTS: tuple[Segment, ...] = get_args(Segment)

#: Numbers of 8 bytes per unit and label that a dissection holds at once, about: counts, decoys', by groups, IoUs.
TABLES = 16

#: Bytes that tables of directions and labels may take, whatever is kept of activations.
ROOM = 2**30


@dataclass(frozen=True)
class Plan:
    """What a run over a data set is made of, checked. See `dissect.dissect` for what its fields mean.

    Attributes:
        model: the network.
        names: of the layers.
        rules: by which they are read and counted.
        geometry: where maps are sampled.
        vocabulary: the concepts; None where nothing names the labels.
        segmenter: makes planes, or None.
        generated: whether the model makes images, which the segmenter sees.
        readout: how outputs and planes are read.
        budgets: bytes to keep in memory and on the disk.
        batch_size: of a data set or a tensor.
        settings: what a result says of the rules.
        told: what it says of labels to ignore and of what the segmenter sees, where that is not as usual.
        options: what a run that goes on compares beside them.
    """

    model: nn.Module
    names: list[str]
    rules: Preset
    geometry: Geometry
    vocabulary: Concepts | None
    segmenter: Callable[[Tensor], Tensor] | None
    generated: bool
    readout: Readout
    budgets: tuple[int, int]
    batch_size: int
    settings: dict[str, Any]
    told: dict[str, Any]
    options: dict[str, Any]

    def batches(self, images: Any) -> Batches:
        """Of a data set; of z and noise seeds, if that is what these are."""
        return Batches(paired(images) if self.generated else images, self.batch_size)

    def steps(self, batches: Batches, **more: Any) -> Activations:
        """Where steps come from; `more` are its other options."""
        labelled = self.segmenter is not None or self.vocabulary is not None
        generated = Generated(self.model) if self.generated else None
        made = (self.segmenter, self.readout, *self.budgets, labelled, generated)
        return Activations(self.model, self.names, batches, *made, **more)

    def about(self, batches: Batches) -> dict[str, Any]:
        """What a run that goes on must have in common with the one that was interrupted, beside layers and options."""
        concepts = self.vocabulary
        return {
            "model": fingerprint(self.model),
            "concepts": concepts and [list(concepts.names), list(concepts.categories)],
            "segmenter": fingerprint(self.segmenter),
            "code": [code_of(self.model), code_of(self.segmenter)],
            "images": batches.identity(),
        }


def planned(
    model: nn.Module,
    layers: str | Iterable[str],
    images: Any,
    *,
    segmenter: Callable[[Tensor], Tensor] | None,
    segment: Segment,
    concepts: Any,
    ignore: int | Iterable[int],
    preset: PresetName,
    tokens: Any,
    layout: LayoutOption | None,
    batch_size: int,
    memory_budget: int,
    disk_budget: int,
    grid: Any,
    directions: Mapping[str, LayerDirections] | None = None,
    **changes: Any,
) -> Plan:
    """Checks what `dissect.dissect` was asked for; `changes` are of the preset's fields.

    Raises:
        KeyError, TypeError, ValueError: see `dissect.dissect`.
    """
    from dissect.segmentation.protocol import told_conversion

    names = layer_names(model, layers)
    find_layers(model, names)
    budgets = num_bytes("memory_budget", memory_budget), num_bytes("disk_budget", disk_budget)
    batch_size = integer("batch_size", batch_size)
    grids = _token_grids(tokens, names)
    Layouts(model, names, layout)  # refuses what is none
    kind, given = named_or_given(grid, changes["border"])
    shares = {name: _share(name, changes.get(name)) for name in ("fraction", "detector_iou")}
    rules = preset_with(preset, **changes | shares | {"grid": kind})
    _check_levels(rules, changes)
    geometry = Geometry(model, names, rules, given)
    concepts = concepts if concepts is not None else attribute_of(segmenter or images, "concepts")
    vocabulary = None if concepts is None else Concepts.of(concepts)
    ignored = ignored_labels(ignore)
    check_ignored(ignored, vocabulary)
    stored = attribute_of(images, "labels_of_made")
    generated = _is_generated(segmenter if stored is None else stored, segment, rules.grid, vocabulary)
    along = given_directions(directions, names)
    readout = Readout(
        rules.relu, rules.step, grids, rules.relu and changes["relu"] is None, layout, ignored, along,
        _most_directions(budgets[0], vocabulary),
    )  # fmt: skip
    settings = _settings(preset, rules, _told_tokens(tokens, grids), along)
    told: dict[str, Any] = ({"ignore": list(ignored)} if ignored else {}) | ({"segment": segment} if generated else {})
    seen = told_conversion(segmenter, images, generated=generated) if stored is None else stored.sees
    told |= {"segmenter_sees": seen} if seen else {}
    return Plan(
        model, names, rules, geometry, vocabulary, segmenter, generated, readout, budgets, batch_size,
        settings | geometry.settings(), told, {**_told_layout(layout), "batch_size": batch_size},
    )  # fmt: skip


def _settings(preset: PresetName, rules: Preset, tokens: Any, along: Mapping[str, Any]) -> dict[str, Any]:
    """What a result says of a preset's fields, of tokens, and of the directions that are there instead of units."""
    settings = {"preset": preset, **dataclasses.asdict(rules), "tokens": tokens}
    if rules.levels != "fraction":
        settings["fraction"] = None
    return settings | ({"directions": {name: found.told for name, found in along.items()}} if along else {})


def _most_directions(budget: int, vocabulary: Concepts | None) -> int:
    """How many directions have room in the tables of a layer; see `TABLES`."""
    return max(budget, ROOM) // (TABLES * 8 * (1 if vocabulary is None else len(vocabulary)))


def _check_levels(rules: Preset, changes: Mapping[str, Any]) -> None:
    """Refuses rules of shares where thresholds are not found by a share."""
    if rules.levels == "fraction":
        return
    for name, usual in (("fraction", None), ("positions", "pixel")):
        if changes.get(name) not in (None, usual):
            raise refusal(
                ValueError(
                    f'{name} must not be given with levels "{rules.levels}", whose thresholds are the most '
                    f"informative ones of upsampled pixels, but is {changes[name]!r}."
                )
            )


def _is_generated(
    segmenter: Any,
    segment: Segment,
    grid: str,
    vocabulary: Concepts | None,
) -> bool:
    """Whether the model makes images of z, so that the segmenter sees its output."""
    if segment not in SEGMENTS:
        raise refusal(ValueError(f"segment must be one of {SEGMENTS}, but got {segment!r}."))
    if segment == "input":
        return False
    if grid != "half_pixel":
        raise refusal(
            ValueError(
                f'grid must be "half_pixel" or a Grid with segment="output", but is {grid!r}: a generator\'s maps '
                "come before its images, so no receptive fields say where they lie."
            )
        )
    if vocabulary is not None and segmenter is None:
        raise refusal(
            ValueError(
                'segmenter must be given with concepts and segment="output", since planes do not come with z, but for '
                "those of a dissect.segmentation.LabelStore."
            )
        )
    return True


def _token_grids(tokens: Any, layers: list[str]) -> dict[str, tuple[int, int]]:
    """The grid of tokens of each layer that has one."""
    if tokens is None:
        return {}
    if not isinstance(tokens, Mapping):
        return dict.fromkeys(layers, _grid_of(tokens))
    unknown = [name for name in tokens if name not in layers]
    if unknown:
        raise refusal(ValueError(f"tokens must be of layers {layers}, but names {unknown[0]!r}."))
    return {name: _grid_of(grid) for name, grid in tokens.items()}


def _told_tokens(tokens: Any, grids: dict[str, tuple[int, int]]) -> Any:
    """What a result says of them."""
    if isinstance(tokens, Mapping):
        return {name: list(grid) for name, grid in grids.items()}
    return list(next(iter(grids.values()))) if grids else None


def _told_layout(layout: LayoutOption | None) -> dict[str, Any]:
    """What a resumed run compares of it."""
    return {} if layout is None else {"layout": layout if isinstance(layout, str) else dict(layout)}


def _grid_of(tokens: Iterable[int]) -> tuple[int, int]:
    try:
        sides = tuple(operator.index(side) for side in tokens)
    except TypeError:
        raise refusal(TypeError(f"tokens must be the (h, w) of a grid, two integers, but got {tokens!r}.")) from None
    if len(sides) != 2 or min(sides) < 1:
        raise refusal(ValueError(f"tokens must be the (h, w) of a grid of at least one token, but got {sides}."))
    return sides


def _share(name: str, value: float | None) -> float | None:
    """Any number from 0 to 1 as a float."""
    if value is None:
        return None
    exact = exact_fraction(value, name)
    if not 0 <= exact <= 1:
        raise refusal(ValueError(f"{name} must be from 0 to 1, but got {value}."))
    if exact_fraction(float(exact)) != exact:
        raise refusal(ValueError(f"{name} must be a number that a float is written as, but {value!r} is not."))
    return float(exact)
