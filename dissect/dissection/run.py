"""dissect(): images -> model -> activations -> thresholds -> counts -> concepts, in as few visits as it takes."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import ignored_labels, integer, num_bytes, speaks
from dissect.concepts import Concepts
from dissect.data import Batches
from dissect.data.batches import attribute_of
from dissect.data.pictures import signed_pictures, to_pictures
from dissect.data.planes import check_ignored
from dissect.dissection.findings import Findings
from dissect.dissection.geometry import Geometry, Given, named_or_given
from dissect.dissection.given import check_labels, given_thresholds, told_thresholds
from dissect.dissection.presets import GridName, PresetName, preset_with
from dissect.dissection.provenance import provenance, tell_doubts, tell_untrained
from dissect.dissection.result import Dissection
from dissect.dissection.significance import Doubt, Gathering
from dissect.grid import Border
from dissect.network.identity import code_of, fingerprint
from dissect.network.layers import find_layers, layer_names
from dissect.network.layouts import LayoutOption, Layouts
from dissect.network.modes import tell_training
from dissect.stats.bins import exact_fraction
from dissect.stats.iou import Scope
from dissect.stats.threshold_state import Positions
from dissect.visits.generated import Generated, paired
from dissect.visits.reading import Reading
from dissect.visits.run import finish
from dissect.visits.source import Source

GIB = 2**30

#: What a segmenter sees.
Segment = Literal["input", "output"]
SEGMENTS: tuple[Segment, ...] = get_args(Segment)


@speaks
def dissect(
    model: nn.Module,
    layers: str | Iterable[str],
    images: Dataset[Any] | Tensor | Iterable[Any],
    *,
    segmenter: Callable[[Tensor], Tensor] | None = None,
    segment: Segment = "input",
    concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]] | None = None,
    ignore: int | Iterable[int] = (),
    preset: PresetName = "default",
    fraction: float | None = None,
    thresholds: Tensor | Mapping[str, Tensor] | None = None,
    positions: Positions | None = None,
    border: Border | None = None,
    grid: GridName | Given | None = None,
    scope: Scope | None = None,
    detector_iou: float | None = None,
    relu: bool | None = None,
    tokens: tuple[int, int] | Mapping[str, tuple[int, int]] | None = None,
    layout: LayoutOption | None = None,
    top_images: int = 5,
    batch_size: int = 32,
    memory_budget: int = 4 * GIB,
    disk_budget: int = 0,
    resume: str | Path | None = None,
    progress: bool = True,
    pictures: Callable[[Tensor], Tensor] | None = None,
    decoys: int = 4,
    resamples: int = 200,
    seed: int = 0,
) -> Dissection:
    """Finds the concept that each unit of some layers detects (Bau et al. 2020, "Emergence of Object Detectors").

    For unit u with upsampled activation a_u, threshold t_u and concept c with segmentation s_c, over all pixels p of
    all images x (equation 1)::

        IoU = |s_c(x, p) and a_u(x, p) > t_u| / |s_c(x, p) or a_u(x, p) > t_u|

    and a unit is labelled with the concept of the highest IoU. Counts are integers and thresholds exact, so the same
    activations give the same result in any batches.

    Args:
        model: any nn.Module that takes a batch of images; put it in evaluation mode.
        layers: one name or several, as in ``model.named_modules()``; all are probed in one forward pass, each on its
            own output [N, U, h, w] (the first one, of several), before any in-place operation that follows it.
        images: a Dataset, a tensor or an iterable of batches, of images or of (images, planes), where planes are
            integer label planes [K, H, W] with 0 for "no label". Every visit must give the same; this is checked.
            Each batch needs memory of its own: a GPU may still read the one before. Images alone, without a segmenter
            and names of concepts, give what needs no labels: thresholds, top images and masks, densities, dead units;
            layers may then give vectors [N, U] too.
        segmenter: makes planes [N, K, H, W] of a batch of images; its attribute `concepts` names the labels.
        segment: what the segmenter sees. "input": what goes into the model. "output": what comes out, of a generator:
            `images` are then z, or pairs of z and noise seeds [N] for its argument `noise` (`dissect.latents`,
            `dissect.noise_seeds`), and the model makes images [N, 3, H, W] in [-1, 1] of them, always the same of the
            same z, which is tried on the first batch. Pictures are (x + 1) / 2, clipped.
        concepts: names, (name, category) pairs or `Concepts` of the labels 1, 2, ...; by default those of the
            segmenter or of `images` (attribute `concepts`), and the numbers themselves where there are none.
        ignore: a label, or several, that stand for "no label" in the planes, 255 for example; they become 0. None may
            be one that the concepts name, unless the name says as much ("void").
        preset: the rules, all of which the seven arguments that follow can change: "default", or those of a paper,
            "pnas2020" or "tpami2018" (`dissect.dissection.presets` says what they are).
        fraction: the share of samples on which a unit fires.
        thresholds: levels [U] float32 above which units fire, in the place of those that `fraction` gives: of one layer
            a tensor, of several a mapping {layer: [U]}, which may leave out layers. They come from other images, for
            example, or from the layer as it was before an edit. Levels [U, C], one for each unit and label, count each
            label (column 0 is "no label") at its own; NaN asks for no count of it. Masks, areas and what is shown of a
            unit are then at the threshold of its best label, and decoys are counted at each label's.
        positions: thresholds over "pixel" (upsampled maps) or "feature" (raw maps) samples.
        border: "edge", or "zeros" as the PNAS 2020 code.
        grid: where maps are sampled. "half_pixel"; where only convolutions and poolings move cells, by whatever ways,
            also "receptive_field" (the exact centres) or "netdissect" (its whole pixels); or the `Grid` itself, without
            `border`: one for all layers, a mapping {layer: Grid}, or a function (layer, size of its maps, size of the
            planes) -> Grid.
        scope: of the union: "all" images, or "category": those that carry a label of the concept's category.
        detector_iou: a unit is a detector if its best IoU exceeds this.
        relu: True reads layers after the ReLU that follows them (negative activations are 0), False before it.
        tokens: (h, w) of the grid of tokens, for layers that give tokens [N, T, U] as a vision transformer's do; the
            last h * w tokens are taken, row by row, so that class and register tokens before them are left out. Of
            layers with grids of different sizes a mapping {layer: (h, w)}.
        layout: a letter for each axis of a layer's output, as "NUHW", "NHWU" (Swin's blocks), "NTU" or "TNU" (tokens;
            N images, U units), or a mapping {layer: letters}. By default it is what the kind of layer says, or what
            following the units through a forward pass of two images tells (`dissect.network.layouts`); the result's
            settings say which. What is not certain is refused.
        top_images: how many images to keep per unit.
        batch_size: of a Dataset or a tensor.
        memory_budget: bytes of activations and planes to keep between visits. Where they do not suffice, those layers
            stay that save the most seconds per byte (`dissect.visits.store.Store`); the others go through the model
            again.
        disk_budget: bytes to keep in temporary files beyond the memory's, unless computing again proves faster.
        resume: a folder for what an interrupted run needs to go on: every 30 seconds, and when a visit ends, all that
            is known goes into one file there. Called again with the same arguments the run goes on where it was, and a
            finished one returns at once; the result has the same bits. Delete the folder to begin anew.
        progress: show a bar.
        pictures: makes uint8 [N, 3, H, W] for people of images as the model takes them; by default the data set's
            `to_pictures`, as `dissect.data.ImageFolder` has one that undoes its normalisation, or else
            `dissect.data.to_pictures`, which stretches what is not in [0, 1]; of a generator's (x + 1) / 2.
        decoys: how often units are also counted against planes that are permuted among the images, for p-values and
            false discovery rates (docs/trust.md); 0 for none.
        resamples: how often images are drawn anew for the intervals of the IoUs; 0 leaves out intervals and halves.
        seed: of the permutations and the draws.

    Returns:
        A `Dissection`.

    Warns:
        dissect.DoubtfulResultWarning: the model's weights look as they are drawn before any training; or more than 5 %
            of a layer's detectors could be there by chance.

    Raises:
        KeyError: a layer that the model does not have, or that does not run.
        RuntimeError: a layer that runs twice.
        TypeError, ValueError: images, planes or outputs that do not fit; each message names what and which batch. An
            unknown preset, or options that break its rules (told before anything is computed); a folder to resume from
            that holds a run of another model, data or options (says which).
        OSError: a folder to resume from that cannot be made or written to, or a full disk.

    Example: see `Dissection`.
    """
    names = layer_names(model, layers)
    find_layers(model, names)
    memory_budget = num_bytes("memory_budget", memory_budget)
    disk_budget = num_bytes("disk_budget", disk_budget)
    top_images, batch_size = integer("top_images", top_images), integer("batch_size", batch_size)
    doubt = Doubt(*(integer(name, value, least=0) for name, value in
                    (("decoys", decoys), ("resamples", resamples), ("seed", seed))))  # fmt: skip
    grids = _token_grids(tokens, names)
    told = _told_tokens(tokens, grids)
    Layouts(model, names, layout)  # refuses what is none
    levels = given_thresholds(names, thresholds)
    tell_training(model)
    doubts = tell_untrained(model)
    kind, given = named_or_given(grid, border)
    rules = preset_with(
        preset, fraction=_share("fraction", fraction), positions=positions, border=border, scope=scope,
        grid=kind, detector_iou=_share("detector_iou", detector_iou), relu=relu,
    )  # fmt: skip
    geometry = Geometry(model, names, rules, given)
    concepts = concepts if concepts is not None else attribute_of(segmenter or images, "concepts")
    vocabulary = None if concepts is None else Concepts.of(concepts)
    ignored = ignored_labels(ignore)
    check_ignored(ignored, vocabulary)
    if vocabulary is not None:
        check_labels(levels, vocabulary)
    generated = _generated(model, segmenter, segment, rules.grid, vocabulary)
    images = images if generated is None else paired(images)
    to_uint8 = pictures or (signed_pictures if generated else attribute_of(images, "to_pictures") or to_pictures)
    run = Findings(
        names, rules, top_images, geometry, to_uint8, vocabulary, Gathering(doubt, rules.scope, names), levels
    )
    batches = Batches(images, batch_size)
    settings = {"preset": preset, **dataclasses.asdict(rules), "tokens": told, **geometry.settings()}
    settings |= dataclasses.asdict(doubt) | ({"ignore": list(ignored)} if ignored else {})
    settings |= told_thresholds(levels) | ({} if generated is None else {"segment": segment})
    options = {**settings, **_told_layout(layout), "top_images": top_images, "batch_size": batch_size}
    about = {} if resume is None else _about(model, segmenter, vocabulary, to_uint8, batches)
    about |= {"layers": names, "options": options}
    reading = Reading(rules.relu, rules.step, grids, rules.relu and relu is None, layout, ignored)
    labelled = segmenter is not None or vocabulary is not None
    with Source(model, names, batches, segmenter, reading, memory_budget, disk_budget, labelled, generated) as source:
        finish(run, source, resume=resume, about=about, progress=progress)
    origin = provenance(model, images, batches.identity(), run.date)
    found = run.result({**settings, **doubts, "provenance": origin, "layouts": source.layouts})
    tell_doubts(found)
    return found


def _generated(
    model: nn.Module,
    segmenter: Callable[[Tensor], Tensor] | None,
    segment: Segment,
    grid: str,
    vocabulary: Concepts | None,
) -> Generated | None:
    """What makes images of z, if the segmenter sees the model's output."""
    if segment not in SEGMENTS:
        raise ValueError(f"dissect: segment must be one of {SEGMENTS}, but got {segment!r}.")
    if segment == "input":
        return None
    if grid != "half_pixel":
        raise ValueError(
            f'dissect: grid must be "half_pixel" or a Grid with segment="output", but is {grid!r}: a generator\'s maps '
            "come before its images, so no receptive fields say where they lie."
        )
    if vocabulary is not None and segmenter is None:
        raise ValueError(
            'dissect: segmenter must be given with concepts and segment="output", since planes do not come with z.'
        )
    return Generated(model, segmenter)


def _about(
    model: nn.Module,
    segmenter: Callable[[Tensor], Tensor] | None,
    concepts: Concepts | None,
    to_uint8: Callable[[Tensor], Tensor],
    batches: Batches,
) -> dict[str, Any]:
    """What a run that goes on must have in common with the one that was interrupted, beside layers and options."""
    return {
        "model": fingerprint(model),
        "concepts": concepts and [list(concepts.names), list(concepts.categories)],
        "segmenter": fingerprint(segmenter),
        "code": [code_of(model), code_of(segmenter)],
        "pictures": code_of(to_uint8),
        "images": batches.identity(),
    }


def _token_grids(tokens: Any, layers: list[str]) -> dict[str, tuple[int, int]]:
    """The grid of tokens of each layer that has one."""
    if tokens is None:
        return {}
    if not isinstance(tokens, Mapping):
        return dict.fromkeys(layers, _grid_of(tokens))
    unknown = [name for name in tokens if name not in layers]
    if unknown:
        raise ValueError(f"dissect: tokens must be of layers {layers}, but names {unknown[0]!r}.")
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
        raise TypeError(f"dissect: tokens must be the (h, w) of a grid, two integers, but got {tokens!r}.") from None
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(f"dissect: tokens must be the (h, w) of a grid of at least one token, but got {sides}.")
    return sides


def _share(name: str, value: float | None) -> float | None:
    """Any number from 0 to 1 as a float."""
    if value is None:
        return None
    exact = exact_fraction(value, name)
    if not 0 <= exact <= 1:
        raise ValueError(f"dissect: {name} must be from 0 to 1, but got {value}.")
    if exact_fraction(float(exact)) != exact:
        raise ValueError(f"dissect: {name} must be a number that a float is written as, but {value!r} is not.")
    return float(exact)
