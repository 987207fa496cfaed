"""Writes one file of each format, at the version that the code has now: `python tests/golden/write.py`.

Run it when a format's version grows, and add the new file; files of older versions stay, and are never written again.
"""

from pathlib import Path

import torch
from torch import nn

import dissect
from dissect import ops
from dissect.experiments import (
    AblatedBands,
    AttackResult,
    AxisAlignment,
    CarliniWagner,
    Discrimination,
    Explanations,
    PlantedScores,
    RetrainedTops,
    Rosetta,
    TextureSensitivity,
    VerifiedLabels,
)
from dissect.experiments.texture_result import LayerTexture
from dissect.experiments.verified_result import LayerVerified
from dissect.generators import (
    ArtifactRepair,
    ArtifactUnits,
    CausalUnits,
    Effect,
    EffectTrace,
    InsertionContext,
    RemovalCurves,
)
from dissect.omissions import Inversion, LayerInverter, OmissionPairs
from dissect.rewriting import Edit, SecondMoment
from dissect.stats import (
    AlsoNull,
    CombinationTally,
    GroupedCorrelation,
    IouTally,
    MapCorrelation,
    NullTally,
    PairTally,
    Peaks,
    TailThreshold,
    ThresholdSweep,
)
from dissect.stats.classes import ClassTally
from dissect.stats.places import Places
from dissect.stats.state import State

HERE = Path(__file__).parent
MAPS = torch.tensor(
    [[[[0.0, 1.0], [2.0, 3.0]], [[5.0, 0.0], [0.0, 0.0]]], [[[4.0, 0.5], [0.0, 1.5]], [[0.0, 6.0], [7.0, 0.0]]]]
)
PLANES = torch.tensor([[[[0, 0], [1, 1]]], [[[1, 2], [2, 2]]]])


def states() -> list[State]:
    """A state of each kind, in the middle of its work."""
    threshold = TailThreshold(0.25, size=(2, 2))
    threshold.add(MAPS)
    peaks = Peaks(1)
    peaks.add(MAPS, torch.tensor([0, 1]))
    tally = IouTally(torch.tensor([1.0, 0.5]), 3)
    tally.add(MAPS, ops.encode_labels(PLANES, 3), torch.tensor([0, 1]))
    pairs = PairTally(torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.5, 6.5]]), categories=("", "object", "color"), groups=2)
    pairs.add(MAPS, ops.encode_labels(PLANES, 3), torch.tensor([0, 1]))
    combinations = CombinationTally(torch.tensor([1.0, 0.5]), 3)
    combinations.add(MAPS, ops.encode_labels(PLANES, 3), torch.tensor([0, 1]))
    correlation = MapCorrelation()
    correlation.add(MAPS, MAPS[:, [1, 0, 0]])
    also = AlsoNull(torch.tensor([1.0, 0.5]), torch.tensor([1, 0]), 3, 1)
    also.add(MAPS, *(ops.encode_labels(planes, 3) for planes in (PLANES, PLANES.flip(0))))
    grouped = GroupedCorrelation(budget=16 * 8 * 17)
    grouped.add(MAPS, MAPS[:, [1, 0, 0]], torch.tensor([0, 1]))
    return [threshold, peaks, tally, pairs, combinations, correlation, also, grouped, *other_states()]


def other_states() -> list[State]:
    """Those that runs and results hold."""
    sweep = ThresholdSweep(torch.tensor([[0.5, 2.5], [0.5, 5.5]]), 3)
    sweep.add(MAPS, ops.encode_labels(PLANES, 3))
    null = NullTally(torch.tensor([1.0, 0.5]), 3, 1)
    null.add(MAPS, ops.encode_labels(PLANES.flip(0), 3))
    classes = ClassTally(1, 3)
    classes.add(torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [3.0, 0.0, 1.0]]), torch.arange(3), torch.arange(3))
    places = Places(2)
    places.add(torch.tensor([[[[1, 0], [0, 0]]], [[[1, 1], [0, 0]]]]), torch.tensor([[0, 1], [0, 2]]))
    return [sweep, null, classes, places]


def dissection() -> dissect.Dissection:
    """Of a network that passes its maps through."""
    options = {"fraction": 0.25, "top_images": 1, "progress": False, "concepts": [("tree", "object"), ("red", "color")]}
    return dissect.dissect(nn.Sequential(nn.Identity()).eval(), "0", [(MAPS, PLANES)], **options)


def statistics() -> dissect.omissions.SegmentationStatistics:
    """Of two images of four pixels, one of which is a tree in the second."""
    concepts, counts = dissect.Concepts.of([("tree", "object")]), torch.tensor([[4, 0], [3, 1]], dtype=torch.int32)
    numbers, settings = torch.tensor([2, 7]), {"seed": 1, "size": None}
    return dissect.omissions.SegmentationStatistics(concepts, (0,), 4, counts, numbers, "abc", "def", settings)


def sweep() -> dissect.Sweep:
    """Of the same network: its two units at the level of a quarter of the pixels, 0, and two more."""
    options = {"shares": [0.25], "levels": 2, "progress": False, "concepts": [("tree", "object"), ("red", "color")]}
    return dissect.sweep(nn.Sequential(nn.Identity()).eval(), "0", [(MAPS, PLANES)], **options)


def importance() -> tuple[dissect.UnitImportance, dissect.UnitSets]:
    """Of a classifier whose logits are the means of its two units, over an image of each class."""
    model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    batches = [(MAPS, torch.tensor([0, 1]))]
    found = dissect.unit_importance(model, "0", batches, batches, classes=["a", "b"], progress=False)
    return found, dissect.unit_sets(model, found, batches, counts=[1], progress=False)


def attack() -> AttackResult:
    """Two attacks on two units, the second of which fails."""
    before = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    after, noise = before + torch.tensor([[0.5, -1.0], [0.0, 0.0]]), before + 0.25
    images, sources, targets = torch.tensor([0, 2]), torch.tensor([0, 1]), torch.tensor([1, 0])
    reached, norms, kept = torch.tensor([True, False]), torch.tensor([0.75, 0.0]), torch.tensor([True, True])
    return AttackResult(
        "0", CarliniWagner(), 7, 1, images, sources, targets, reached, norms, kept, before, after, noise
    )


def effect() -> Effect:
    """Without unit 1 two of three red pixels are gone, and a random unit takes one; k is not known."""
    before, after = torch.tensor([[0, 2, 1], [0, 1, 0]]), torch.tensor([[0, 1, 1], [0, 0, 2]])
    concepts = dissect.Concepts.of([("red", "color"), ("green", "color")])
    random = torch.tensor([[0]]), torch.tensor([[1, 1]]), torch.tensor([[0, 2, 3]])
    none, keys = torch.empty(3, 0, dtype=torch.int64), torch.tensor([5, -7])
    settings = {"seed": 0, "resamples": 100}
    return Effect("0", (1,), 2, "ablation", concepts, 1, 4, before, after, none, *random, keys, settings)


def comparison() -> dissect.Comparison:
    """Two steps of a training that has not changed its network."""
    return dissect.compare({"start": dissection(), "end": dissection()}, steps=[0, 10], detector_iou=0.5)


def curves() -> RemovalCurves:
    """Unit 1, then both, beside a random order: of three red pixels two and three are gone, or none and three."""
    concepts = dissect.Concepts.of([("red", "color"), ("green", "color")])
    before = torch.tensor([[0, 2, 1], [0, 1, 0]])
    pixels = torch.tensor([[[1, 0], [0, 0]], [[2, 1], [0, 0]]])
    totals = torch.tensor([[[0, 1, 3], [0, 0, 2]], [[0, 3, 1], [0, 0, 2]]])
    rankings, keys = torch.tensor([[1, 0], [0, 1]]), torch.tensor([5, -7])
    names, settings = ("IoU", "random"), {"seed": 0, "resamples": 100}
    return RemovalCurves(
        "0", 2, concepts, 1, 4, names, (1, 2), rankings, before, pixels, totals, keys, settings
    )  # fmt: skip


def context() -> InsertionContext:
    """Unit 1 at two places of two z: two more red pixels where green was, one less where nothing was."""
    concepts = dissect.Concepts.of([("red", "color"), ("green", "color")])
    before, changes = torch.tensor([3, 1]), torch.tensor([[2, -1], [2, 0]], dtype=torch.int32)
    contexts = torch.tensor([[[2, 0]], [[2, 1]]], dtype=torch.int32)
    keys, settings = torch.tensor([5, -7]), {"seed": 0, "resamples": 100}
    return InsertionContext(
        "0", (1,), 2, concepts, 1, 4, 1, (1, 2), before, changes, contexts, 2, keys, settings
    )  # fmt: skip


def causal() -> CausalUnits:
    """Of three units the last takes part most, the first by its IoU before the second."""
    alpha, start = torch.tensor([0.25, 0.25, 1.0]), torch.tensor([1.0, 0.0, 0.5])
    iou, value, losses = start.double() / 2, torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 0.25]).double()
    removals, insertions, keys = torch.tensor([[0, 1, 1]]), torch.tensor([[1, 0, 1]]), torch.tensor([5, -7])
    return CausalUnits("0", "color/red", 2, alpha, start, iou, value, losses, removals, insertions, keys, {"seed": 0})


def trace() -> EffectTrace:
    """Unit 1 at one of two places of two z, through two layers; of the first z it adds three of four pixels."""
    channels, silent, cells = torch.tensor([2, 3]), torch.tensor([0, 1]), torch.tensor([[0, 1]])
    changes, pixels = torch.tensor([[[0.25], [0.5]], [[1.0], [0.125]]]).double(), torch.tensor([[3], [1]])
    keys, settings = torch.tensor([5, -7]), {"seed": 0, "resamples": 100}
    return EffectTrace(
        "0", (1,), 2, ("0", "1"), channels, silent, 1, (1, 2), cells, changes, "color/red", 4, pixels, 0.25, keys,
        settings,
    )  # fmt: skip


def artifacts() -> ArtifactUnits:
    """Of three units the last is the worst; it was best at z 1. There were too few real images for a floor."""
    distances, random = torch.tensor([2.0, 1.5, 4.0]).double(), torch.tensor([1.0, 2.0]).double()
    top_images, keys = torch.tensor([[0, 1], [1, 0], [1, 2]]), torch.tensor([5, -7, 9])
    return ArtifactUnits("0", distances, random, None, 2, 3, 4, 6, top_images, keys, {"seed": 0, "weights": "ab"})


def repair() -> ArtifactRepair:
    """Without unit 2 the images that maximise it are nearer, those of any z are not, and a random unit does nothing."""
    distances = torch.tensor([[4.0, 3.0, 4.0], [2.0, 2.25, 2.0]]).double()
    resampled = distances[:, :, None] + torch.arange(-8, 9).double() / 8
    chosen, keys, settings = torch.tensor([[1, 2], [0, 1]]), torch.tensor([5, -7, 9]), {"seed": 0, "by": "worst"}
    return ArtifactRepair(
        "0", 3, ("worst", "random"), ((2,), (0,)), chosen, distances, resampled, 3, 4, keys, settings
    )  # fmt: skip


def sheet() -> dissect.UnitSheet:
    """Unit 1 of the dissection, which fires in the second image alone, and without a tree; the first is one half."""
    pairs = [(MAPS, torch.tensor([[[[0, 0], [1, 1]]], [[[2, 2], [2, 2]]]]))]
    model = nn.Sequential(nn.Identity()).eval()
    return dissect.unit_sheet(model, dissection(), "0", 1, pairs, levels=2, concept="tree", progress=False)


def inverter() -> LayerInverter:
    """Of the first layer of a generator of 8x8 images, not trained."""
    found = LayerInverter.untrained(dissect.models.ProGAN((1, 1), z_channels=2).eval(), ["layer1"], width=1)
    found.log = [{"stage": "e_1", "step": 1, "loss": 0.5}]
    return found


def inversion() -> Inversion:
    """Of two images of four pixels, by a delta; the loss of the second did not stay finite."""
    z, delta, r = torch.tensor([[0.5], [-1.0]]), torch.full((2, 1, 1, 1), 0.25), torch.ones(2, 1, 1, 1)
    images, losses = torch.linspace(-1, 1, 24).view(2, 3, 2, 2), torch.tensor([0.5, 0.25])
    return Inversion("f", z, (delta,), r, images, losses, torch.tensor([False, True]), 7, "abc")


def pairs() -> OmissionPairs:
    """An image of four pixels, three of which are a tree; (d) keeps one of them."""
    concepts, images = dissect.Concepts.of([("tree", "object")]), torch.linspace(-1, 1, 12).view(1, 3, 2, 2)
    planes, made = torch.tensor([[[1, 1], [1, 0]]]).short(), torch.tensor([[[1, 0], [0, 0]]]).short()
    return OmissionPairs("object/tree", concepts, 1, torch.tensor([5]), images, planes, {"d": -images}, {"d": made})


def moment() -> SecondMoment:
    """Of two channels over three locations of two images."""
    return SecondMoment("0", torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double(), 3, 2, {"network": "a"})


def edit() -> Edit:
    """Of a layer of three outputs, whose first channel alone adds 1, 2 and 3 more."""
    directions, lambdas = torch.tensor([[1.0], [0.0]]).double(), torch.tensor([[1.0], [2.0], [3.0]]).double()
    settings = {"mode": "projected", "order": [0, 2, 3, 1]}
    losses = torch.tensor([0.5, 0.25]).double()
    return Edit("0", directions, lambdas, losses, (3, 2), "eaeb5c6bb125762b", "0123456789abcdef", settings)


def formulas() -> dissect.UnitFormulas:
    """Of a network that passes its maps through, over an image in either half."""
    model = nn.Sequential(nn.Identity()).eval()
    return dissect.formulas(model, dissection(), [(MAPS, PLANES)], progress=False)


def classifiers() -> dissect.UnitClassifiers:
    """Two units and two labels in four images: one with "a", one with a little of it, all of which unit 1 knows."""
    peaks = torch.tensor([[0.5, 3.0], [0.25, -1.0], [0.75, 0.0], [0.5, 2.0]])
    areas = torch.tensor([[2, 2, 0], [4, 0, 4], [0, 0, 4], [3, 1, 0]]).int()
    concepts = dissect.Concepts.of([("a", "object"), ("b", "scene")])
    return dissect.UnitClassifiers("0", concepts, peaks, areas, 4, "all", 0.25, {"whole": False})


def texture() -> TextureSensitivity:
    """Of two units in six images and twins: the first keeps half of its places, the second none."""
    shared, own, others = torch.tensor([[[4, 0], [1, 1]], [[6, 2], [6, 2]], [[6, 3], [6, 3]]])
    layer = LayerTexture(torch.tensor([[0.5, 1.0], [0.25, 1.0]]), shared, own, others)
    settings = {"thresholds": "own", "fraction": 0.01, "relu": True, "seed": 0, "num_images": 6}
    return TextureSensitivity({"0": layer}, settings)


def discrimination() -> Discrimination:
    """Three networks by twelve images of two classes: the first names half of them right, the last all."""
    truth = torch.arange(12) // 6
    said = torch.stack([torch.zeros(12, dtype=torch.int64), torch.arange(12) // 4 % 2, truth])
    settings = {"category": "object", "penalty": 0.001, "cells": None, "scaled": False, "relu": True, "num_train": 8,
                "detector_iou": 0.04}  # fmt: skip
    return Discrimination(["a", "b", "c"], ["0"] * 3, ["c"], [4, 4, 8], [0, 2, 5], said, truth, settings)


def bands() -> AblatedBands:
    """One unit of each of two classes; the first is lost with the highest band, and with another unit it is not."""
    units, truth = torch.tensor([[[0], [1]], [[2], [0]]]), torch.tensor([0, 0, 1, 1])
    kept = torch.ones(2, 3, 4, dtype=torch.bool)
    kept[0, [0, 2], 0], kept[0, 2, 1:3] = False, False
    fall = torch.zeros(2, 3, 4)
    fall[0, 0], fall[0, 2] = 0.5, 2.0
    levels = torch.tensor([[1.0], [2.0], [0.0]])
    right, settings = torch.ones(4, dtype=torch.bool), {"seed": 0, "num_images": 4}
    return AblatedBands("0", [0.25], levels, units, truth, right, kept, fall, settings)


def verified() -> VerifiedLabels:
    """Two units by twelve pairs of trees and three of red things: the first sees trees, the second says nothing."""
    concepts = dissect.Concepts.of([("tree", "object"), ("red", "color")])
    nothing = [torch.nan, torch.nan]
    auc = torch.tensor([nothing, [1.0, 0.5], [0.25, 0.5]], dtype=torch.float64)
    ends = torch.tensor([[nothing] * 2, [[0.75, 1.0], [0.25, 0.75]], [nothing] * 2], dtype=torch.float64)
    iou, pairs = torch.tensor([0.5, torch.nan], dtype=torch.float64), torch.tensor([0, 12, 3])
    layer = LayerVerified(torch.tensor([1, 2]), iou, pairs, auc, ends, auc * 2, ends / 4)
    settings = {"response": "peak", "resamples": 10, "seed": 0, "relu": True, "num_pairs": 15}
    return VerifiedLabels({"0": layer}, concepts, settings)


def planted() -> PlantedScores:
    """Two units of one formula: a method that names one of its concepts, and nothing of the noisy one."""
    iou = torch.tensor([[0.5, 0.0]], dtype=torch.float64)
    said, hits = [["tree", ""]], torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    return PlantedScores(["m"], ["OR"] * 2, ["clean", "noise"], ["tree OR sky"] * 2, said, iou, iou * 0, hits)


def rosetta() -> Rosetta:
    """Two units and three others: 0 and 2 are best buddies, unit 1 is constant."""
    same = torch.tensor([[0.25, 0.0, 0.75], [0.0, 0.0, 0.0]], dtype=torch.float64)
    found = Rosetta(["a", "b"], same, same / -2, {"num_images": 4, "seed": 0, "generated": False, "resamples": 2})
    found.resampled, found.resampled_mutual = torch.tensor([[0.5, 0.0], [0.875, 0.0]]).double(), torch.tensor([1, 0])
    return found


def alignment() -> AxisAlignment:
    """Two units, and one full rotation of them, with two labels: the units detect both, the directions one."""
    concepts = dissect.Concepts.of([("sky", "object"), ("red", "color")])
    labels, ious = torch.tensor([[1, 2], [2, 2]]), torch.tensor([[0.5, 0.25], [0.125, 0.0]], dtype=torch.float64)
    tops = torch.tensor([[0.0, 0.5, 0.25], [0.0, 0.0, 0.125]], dtype=torch.float64)
    whose = torch.tensor([[0, 0, 1], [0, 0, 0]])
    settings = {"detector_iou": 0.04, "num_images": 6, "seed": 0}
    return AxisAlignment("0", concepts, [(0.0, 0), (1.0, 0)], labels, ious, tops, whose, settings)


def explanations() -> Explanations:
    """Two images of two classes by the two units that weigh most; the first is named right."""
    masks = torch.zeros(2, 2, 2, 3, dtype=torch.bool)
    masks[0, 0, 0, 1], masks[1, 1] = True, True
    scores = torch.tensor([[1.5, -0.5], [0.25, 0.75]], dtype=torch.float64)
    weighs = torch.tensor([[1.0, 0.25], [0.5, 0.5]], dtype=torch.float64)
    images = torch.arange(36).view(2, 3, 2, 3).byte()
    truth, units = torch.tensor([0, 0]), torch.tensor([[3, 1], [0, 3]])
    return Explanations(images, scores, torch.tensor([0, 1]), truth, units, weighs, masks, {3: "tree", 0: "red"})


def tops() -> RetrainedTops:
    """Two tops of each kind."""
    return RetrainedTops(torch.tensor([[0.5, 0.75], [0.25, 0.75]], dtype=torch.float64))


if __name__ == "__main__":
    for state in states():
        state.save(HERE / f"{type(state).__name__}-{state.version}.safetensors")
    statistics().save(HERE / "segstats-1")
    generators = effect(), curves(), context(), causal(), trace(), artifacts(), repair()
    rules = moment(), edit()
    for result in (
        dissection(),
        *importance(),
        attack(),
        comparison(),
        sheet(),
        sweep(),
        inverter(),
        inversion(),
        pairs(),
        formulas(),
        classifiers(),
        texture(),
        verified(),
        discrimination(),
        bands(),
        planted(),
        rosetta(),
        alignment(),
        explanations(),
        tops(),
        *generators,
        *rules,
    ):
        result.save(HERE / f"{result.suffix[1:]}-{result.version}")
