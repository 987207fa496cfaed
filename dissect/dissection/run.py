"""dissect(): images -> model -> activations -> thresholds -> counts -> concepts, in as few visits as it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, seed_number, speaks
from dissect.concepts import Concepts
from dissect.data.batches import attribute_of
from dissect.data.pictures import signed_pictures, to_pictures
from dissect.dissection.dissection_run import DissectionRun
from dissect.dissection.geometry import GivenGrid
from dissect.dissection.given import check_labels, given_thresholds, told_thresholds
from dissect.dissection.informative import check_batches, check_others, digest_of, informative_levels
from dissect.dissection.plan import Segment, planned
from dissect.dissection.presets import GridName, Levels, Match, PresetName
from dissect.dissection.provenance import provenance, tell_doubts, tell_untrained
from dissect.dissection.result import Dissection
from dissect.dissection.significance import Doubt, Gathering
from dissect.grid import Border
from dissect.network.directions import LayerDirections
from dissect.network.identity import code_of
from dissect.network.layouts import LayoutOption
from dissect.network.modes import tell_training
from dissect.stats.bootstrap import enough_draws
from dissect.stats.iou import Scope
from dissect.stats.threshold_state import Positions
from dissect.visits.run import finish

GIB = 2**30


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
    grid: GridName | GivenGrid | None = None,
    scope: Scope | None = None,
    detector_iou: float | None = None,
    relu: bool | None = None,
    levels: Levels | None = None,
    match: Match | None = None,
    thresholds_from: Dataset[Any] | Tensor | Iterable[Any] | None = None,
    tokens: tuple[int, int] | Mapping[str, tuple[int, int]] | None = None,
    layout: LayoutOption | None = None,
    directions: Mapping[str, LayerDirections] | None = None,
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
            integer label planes [K, H, W] with 0 for "no label", or what `dissect.segmentation.LabelStore` puts beside
            images. Every visit must give the same; this is checked.
            Each batch needs memory of its own: a GPU may still read the one before. Images alone, without a segmenter
            and names of concepts, give what needs no labels: thresholds, top images and masks, densities, dead units;
            layers may then give vectors [N, U] too.
        segmenter: makes planes [N, K, H, W] of a batch of images; its attribute `concepts` names the labels. Where it
            says which images it takes (`input`, see `dissect.segmentation.ImageInput`; or `signed`) and `images` how
            they were normalised (`normalisation`, as all of `dissect.data` do), they are brought there for it, which
            the result's settings tell ("segmenter_sees"); where the images do not say it, the first are held against
            what it takes; where it does not say it, it gets them as the model does.
        segment: what the segmenter sees. "input": what goes into the model. "output": what comes out, of a generator:
            `images` are then z, or pairs of z and noise seeds [N] for its argument `noise` (`dissect.latents`,
            `dissect.noise_seeds`), and the model makes images [N, 3, H, W] in [-1, 1] of them, always the same of the
            same z, which is tried on the first batch. Pictures are (x + 1) / 2, clipped.
        concepts: names, (name, category) pairs or `Concepts` of the labels 1, 2, ...; by default those of the
            segmenter or of `images` (attribute `concepts`), and the numbers themselves where there are none.
        ignore: a label, or several, that stand for "no label" in the planes, 255 for example; they become 0. None may
            be one that the concepts name, unless the name says as much ("void").
        preset: the rules, all of which the arguments that follow can change: "default", or those of a paper,
            "pnas2020", "tpami2018" or "iclr2019" (`dissect.dissection.presets` says what they are).
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
        levels: how thresholds are found. "fraction"; "label_information": for each unit and label the level of the
            highest information quality ratio I/H on `thresholds_from` (thesis, equation 4.2; candidates as in
            `dissect.dissection.informative`); "unit_information": for each unit that of the label with the highest one,
            for all labels, as the published code has it.
        match: what a detector must have beside its IoU. "iou": nothing; "information": I/H above 0.01 (the published
            code); "accuracy": a pixel accuracy above 0.75 (thesis, Figure 4-5).
        thresholds_from: other images, of the kind of `images`, on which the most informative thresholds are found.
        tokens: (h, w) of the grid of tokens, for layers that give tokens [N, T, U] as a vision transformer's do; the
            last h * w tokens are taken, row by row, so that class and register tokens before them are left out; what a
            followed pass tells to be in another order is refused. Of layers with grids of different sizes a mapping
            {layer: (h, w)}.
        layout: a letter for each axis of a layer's output, as "NUHW", "NHWU" (Swin's blocks), "NTU" or "TNU" (tokens;
            N images, U units), or a mapping {layer: letters}. By default it is what the kind of layer says, or what
            following the units through a forward pass of two images tells (`dissect.network.layouts`); the result's
            settings say which. What is not certain is refused.
        directions: layers that are read along directions in the place of their units: a mapping {layer: [V, U]},
            float32, where row v gives the map sum over u of V[v, u] a_u, of the activations after the ReLU with
            relu=True, before it (the layer's own) without. Or an encoder, which makes maps [N, V, h, w] of maps
            [N, U, h, w]: `dissect.models.SparseEncoder` or any callable. All that is said of units is of directions
            then, thresholds too; they may be any number and dependent on each other, since each is read alone. Results
            say a digest. More than have room in `memory_budget`, or a GiB, at 128 bytes per direction and concept are
            refused.
        top_images: how many images to keep per unit.
        batch_size: of a Dataset or a tensor.
        memory_budget: bytes of activations and planes to keep between visits. Where they do not suffice, those layers
            stay that save the most seconds per byte (`dissect.visits.store.Store`); the others go through the model
            again. On a CPU the second visit then keeps `dissect.ops.hot_cells` in the place of activations.
        disk_budget: bytes to keep in temporary files beyond the memory's, unless computing again proves faster.
        resume: a folder for what an interrupted run needs to go on: every 30 seconds, and when a visit ends, all that
            is known goes into one file there. Called again with the same arguments the run goes on where it was, and a
            finished one returns at once; the result has the same bits. Delete the folder to begin anew.
        progress: show a bar.
        pictures: makes uint8 [N, 3, H, W] for people of images as the model takes them; by default the data set's
            `to_pictures`, as `dissect.data.ImageFolder` has one that undoes its normalisation, or else
            `dissect.data.pictures.to_pictures`, which stretches what is not in [0, 1]; of a generator's (x + 1) / 2.
        decoys: how often units are also counted against planes that are permuted among the images, for p-values and
            false discovery rates (docs/trust.md); 0 for none.
        resamples: how often images are drawn anew for the intervals of the IoUs; 0 leaves out intervals and halves.
        seed: of the permutations and the draws.

    Returns:
        A `Dissection`. Where `thresholds_from` was given its settings hold, under that name, how many images it has, a
        digest of them, and one of those that were counted.

    Warns:
        UserWarning: the model draws random numbers in evaluation mode too, and a second pass gives other activations;
            or images are normalised, and the segmenter does not say which it takes.
        dissect.DoubtfulResultWarning: the model's weights look as they are drawn before any training; or more than 5 %
            of a layer's detectors could be there by chance.
        UserWarning: a generator's images look as if they were in [0, 1], or reach far beyond [-1, 1], at least ten
            times as often as those of the shipped generators (`dissect.data.signed`).

    Raises:
        KeyError: a layer that the model does not have, or that does not run.
        RuntimeError: a layer that runs twice.
        TypeError, ValueError: images, planes or outputs that do not fit; each message names what and which batch. An
            unknown preset, or options that break its rules (told before anything is computed); a folder to resume from
            that holds a run of another model, data or options (says which).
        OSError: a folder to resume from that cannot be made or written to, or a full disk.

    Example: see `Dissection`.
    """
    plan = planned(
        model, layers, images, segmenter=segmenter, segment=segment, concepts=concepts, ignore=ignore, preset=preset,
        tokens=tokens, layout=layout, batch_size=batch_size, memory_budget=memory_budget, disk_budget=disk_budget,
        grid=grid, border=border, relu=relu, fraction=fraction, positions=positions, scope=scope,
        detector_iou=detector_iou, levels=levels, match=match, directions=directions,
    )  # fmt: skip
    top_images = integer("top_images", top_images)
    doubt = Doubt(integer("decoys", decoys, 0), enough_draws(resamples), seed_number(seed))
    given = given_thresholds(plan.names, thresholds)
    if plan.vocabulary is not None:
        check_labels(given, plan.vocabulary)
    check_others(plan, images, thresholds_from, given)
    tell_training(model)
    doubts = tell_untrained(model)
    found_on: dict[str, Any] = {}
    others: set[tuple[int, ...]] = set()
    if thresholds_from is not None:
        folder = None if resume is None else Path(resume) / "levels"
        given, found_on, others = informative_levels(plan, thresholds_from, folder, progress)
    to_uint8 = pictures or (signed_pictures if plan.generated else attribute_of(images, "to_pictures") or to_pictures)
    gathering = Gathering(doubt, plan.rules.scope, plan.names)
    run = DissectionRun(plan.names, plan.rules, top_images, plan.geometry, to_uint8, plan.vocabulary, gathering, given)
    batches = plan.batches(images)
    settings = {**plan.settings, **dataclasses.asdict(doubt), **plan.told, **told_thresholds(given), **found_on}
    about = {} if resume is None else {**plan.about(batches), "pictures": code_of(to_uint8)}
    about |= {"layers": plan.names, "options": {**settings, **plan.options, "top_images": top_images}}
    with plan.steps(batches, encoded=True) as steps:
        finish(run, steps, resume=resume, about=about, progress=progress)
        check_batches(steps.checksums, others)
    if found_on:
        found_on["thresholds_from"] |= {"counted": digest_of(steps.checksums)}
    origin = provenance(model, images, batches.identity(), run.date)
    found = run.result({**settings, **found_on, **doubts, "provenance": origin, "layouts": steps.layouts})
    tell_doubts(found)
    return found
