"""What `files.py` alters: the files of all states and results, and of runs that were stopped.

Images and weights are multiples of 1/64, whose sums of products every processor gets exactly, so that a seed gives
the same file on all.
"""

import torch
from torch import nn

import dissect
import dissect.generators
from dissect import ops
from dissect.classifiers import ClassTally
from dissect.data import Batches
from dissect.experiments import (
    AttackResult,
    CarliniWagner,
    Discrimination,
    RetrainedTops,
    ablated_bands,
    axis_alignment,
    by_iou,
    explain_predictions,
    peak_correlation,
    plant,
    retrained_tops,
    rosetta,
    score_labels,
    texture_sensitivity,
    verified_labels,
)
from dissect.experiments.discrimination import PARTS, FeaturesRun
from dissect.experiments.explanations_fitted import Pooled
from dissect.files import progress as resume
from dissect.models import ProGAN
from dissect.omissions import (
    Inversion,
    LayerInverter,
    OmissionPairs,
    SegmentationStatistics,
    omission_table,
    segmentation_statistics,
)
from dissect.rewriting import Edit, Memory, SecondMoment, insert
from dissect.stats import IouTally, Peaks, TailThreshold
from dissect.visits.images import Images
from dissect.visits.readout import Readout
from dissect.visits.run import finish


def simple(values):
    """The nearest multiples of 1/64."""
    return (values * 64).round() / 64


def plain(network):
    """The network with such weights."""
    with torch.no_grad():
        for weights in network.parameters():
            weights.copy_(simple(weights))
    return network.eval()


torch.manual_seed(0)
MAPS, PLANES = simple(torch.randn(6, 3, 4, 4)), torch.randint(0, 3, (6, 1, 8, 8))
NUMBERS = torch.arange(6)
BATCHES = [(MAPS, PLANES), (MAPS.flip(0), PLANES.flip(0))]
NET = plain(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)))
CLASSIFIER, PAIRS = nn.Sequential(NET, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), [(MAPS, NUMBERS % 4)]


class Named(list):
    """Batches whose labels have names."""

    concepts = ("a", "b")


class Stop(BaseException):
    """Ends a run in its middle."""


def dissected(**options):
    """A small dissection."""
    return dissect.dissect(NET, "0", BATCHES, progress=False, fraction=0.1, top_images=2, **options)


def interrupted(folder, saves, call):
    """The file of a run that was stopped after so many saves, and how it goes on."""
    resume.EVERY = resume.TIMES = 0
    save_before, count = resume.Progress.save, [0]

    def stopping(self, run, now=False):
        save_before(self, run, now)
        count[0] += 1
        if count[0] == saves:
            raise Stop

    resume.Progress.save = stopping
    try:
        call(folder)
    except Stop:
        pass
    resume.Progress.save = save_before
    return folder / resume.FILE, lambda path: call(path.parent)


def use_state(empty, add):
    """How a state of this kind is read and gone on with."""

    def use(path):
        state = empty()
        state.load(path)
        add(state)
        return state.state_dict()

    return use


def use_dissection(path):
    d = dissect.load(path)
    layer = next(iter(d.layers.values()))  # whose name may be another
    return str(d.best()), str(d.unique_detectors()), layer.states(), layer.masks(0).shape, repr(d)


def swept(**options):
    return dissect.sweep(NET, "0", BATCHES, concepts=["a", "b"], shares=[0.1], levels=4, progress=False, **options)


def use_sweep(path):
    found = dissect.Sweep.load(path)
    return f"{found.units()}{found.labels()}{found.curve(0)}{found.bands()}"


class Bright:
    """A segmenter of two classes, with scores."""

    concepts = (("bright", "color"), ("dark", "color"))

    def __call__(self, images):
        return 2 - (images[:, :1] > 0).long()

    def scores(self, images, concept):
        return torch.sigmoid(images[:, 0])


def searched(**options):
    """Units that a class depends on, of a small generator."""
    model = plain(ProGAN((3, 3), z_channels=2))
    z = dissect.latents(model, 12, seed=1)
    return dissect.generators.causal_units(
        model, "layer1", "bright", z, Bright(), 2, epochs=2, batch_size=6, progress=False, **options
    )


def inserted(**options):
    """Where units can be put in, in a small generator."""
    model = plain(ProGAN((3, 3), z_channels=2))
    return dissect.generators.insertion_context(
        model, "layer1", [0], dissect.latents(model, 12, seed=1), Bright(), "bright", least=1, draws=1, resamples=2,
        batch_size=6, progress=False, **options,
    )  # fmt: skip


def told(**options):
    """Units as classifiers, of enough images for rows."""
    images = simple(torch.randn(80, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
    batches = Named([(part, (part[:, :1] > 0.5).long()) for part in images.split(40)])
    return dissect.unit_classifiers(NET, "0", batches, least_area=0.1, progress=False, **options)


def use_told(path):
    found = dissect.UnitClassifiers.load(path)
    return repr(found), str(found.table()), [str(found.top(1)) for _ in range({0, 1} <= {*found.roles[:, 1].tolist()})]


def traced(**options):
    """How far an edit of a small generator goes."""
    generator = plain(nn.Sequential(NET, nn.Conv2d(4, 3, 1), nn.Tanh()))
    return dissect.generators.trace_effect(
        generator, "0", [1], MAPS, value=1.0, cells=torch.tensor([[0, 0], [1, 2]]), segmenter=Bright(),
        concept="bright", resamples=5, batch_size=3, progress=False, **options,
    )  # fmt: skip


def use_trace(path):
    found = dissect.generators.EffectTrace.load(path)
    return repr(found), str(found.table), found.maps(), found.visible_map()


def use_sheet(path):
    found = dissect.UnitSheet.load(path)
    return repr(found), [*found.levels, found.without_unit, found.without_concept]


def use_importance(path):
    found = dissect.UnitImportance.load(path)
    return [str(found.top(number)) for number in found.measured_classes()], found.split_half(), repr(found)


def explained(**options):
    """Why images are of their classes, by a linear classifier of the network's units."""
    weights = simple(torch.linspace(-1, 1, 3 * len(NET(MAPS)[0])).view(3, -1))
    return explain_predictions(
        NET, "0", MAPS, weights, truth=NUMBERS % 3, units=2, batch_size=4, progress=False, **options
    )


def learned(folder):
    """What a linear classifier sees of images, in two batches, and their classes."""
    run = Pooled(NET, "0", Readout(), "sum")
    data = Batches([(MAPS, NUMBERS % 2), (MAPS, NUMBERS % 2)], 6)
    finish(run, Images({"explain_by_svm: training images": data}), resume=folder, about={}, progress=False)
    return str([run.x, run.classes])


def verified(**options):
    units = {"0": torch.ones(len(NET(MAPS)[0]), dtype=torch.int64)}
    return verified_labels(NET, "0", MAPS, MAPS.flip(3), [1] * len(MAPS), units, concepts=dissect.Concepts.of(["a"]),
                           resamples=20, batch_size=4, progress=False, **options)  # fmt: skip


def banded(**options):
    units = torch.tensor([[0], [1], [2], [3]])
    return ablated_bands(CLASSIFIER, "0", PAIRS * 2, units, shares=[0.25], progress=False, **options)


def features(folder):
    """The features of a layer for six training images and as many others."""
    run = FeaturesRun(NET, "0", 2, Readout())
    data = {f"discrimination: {part}": Batches([(MAPS, NUMBERS % 2), (MAPS, NUMBERS % 2)], 6) for part in PARTS}
    finish(run, Images(data), resume=folder, about={}, progress=False)
    return str([run.features, run.classes])


def tops(folder):
    """Tops trained anew on three places of a layer."""
    maps, classes = NET(MAPS), NUMBERS % 2
    found = retrained_tops(Top(maps.shape[1]), (maps, classes), (maps, classes), repeats=2, epochs=1, resume=folder,
                           progress=False)  # fmt: skip
    return str(found.accuracy)


class Top:
    """Gives tops of a seed."""

    def __init__(self, units):
        self.units = units

    def __call__(self, seed):
        torch.manual_seed(seed)
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(self.units, 2))


def same_units(**options):
    return rosetta(NET, "0", NET, "0", MAPS, batch_size=4, progress=False, **options)


def planted():
    concepts = dissect.Concepts.of(["a", "b"])
    return score_labels(plant(PLANES, concepts, size=(2, 2), count=1, kinds=["concept"], areas=(0, 1)), {"m": by_iou()})


def states(folder):
    """Of each state its file, and how that is used."""
    threshold, peaks, tally = TailThreshold(0.1, size=(8, 8)), Peaks(2), IouTally(torch.zeros(3), 3)
    threshold.add(MAPS)
    peaks.add(MAPS, NUMBERS)
    tally.add(MAPS, ops.encode_labels(PLANES, 3), NUMBERS)
    classes, memory = ClassTally(2, 3), Memory(NET, "0")
    classes.add(torch.randn(2, 6, 3), NUMBERS % 3, NUMBERS)
    memory.second_moment(MAPS, progress=False)
    return {
        "moment": (memory.moment.save(folder / "a"), lambda path: str(SecondMoment.load(path))),
        "threshold": (threshold.save(folder / "threshold"),
                      use_state(lambda: TailThreshold(0.1, size=(8, 8)), lambda s: (s.add(MAPS), s.advance()))),
        "peaks": (peaks.save(folder / "peaks"), use_state(lambda: Peaks(2), lambda s: s.add(MAPS, NUMBERS + 10))),
        "tally": (tally.save(folder / "tally"),
                  use_state(lambda: IouTally(torch.zeros(3), 3),
                            lambda s: (s.add(MAPS, PLANES, NUMBERS + 10), s.iou()))),
        "classes": (classes.save(folder / "classes"),
                    use_state(lambda: ClassTally(2, 3), lambda s: s.balanced_accuracy())),
    }  # fmt: skip


def classified(folder):
    """The same of classifiers' results."""
    importance = dissect.unit_importance(CLASSIFIER, "0", PAIRS, PAIRS, progress=False)
    sets, before = dissect.unit_sets(CLASSIFIER, importance, PAIRS, counts=[1, 2], progress=False), torch.rand(2, 3)
    attack = AttackResult("0", CarliniWagner(), 1, 0, NUMBERS[:2], NUMBERS[:2], NUMBERS[1:3], torch.ones(2).bool(),
                          torch.rand(2), torch.ones(2).bool(), before, before, before)  # fmt: skip
    return {
        "importance": (importance.save(folder / "a"), use_importance),
        "told": (told().save(folder / "a"), use_told),
        "sets": (sets.save(folder / "a"), lambda path: str(dissect.UnitSets.load(path).table())),
        "attack": (attack.save(folder / "a"), lambda path: AttackResult.load(path).success_rate()),
    }  # fmt: skip


def generated(folder):
    """The same of generators' results, and of edits."""
    statistics = segmentation_statistics(Named([(MAPS.clamp(0, 1), PLANES)]), None, count=6, progress=False)
    inverter = LayerInverter.untrained(plain(ProGAN((1, 1), z_channels=2)), ["layer1"], width=1)
    plain(inverter.encoder)
    shown, one, plane = dissect.Concepts.of([("a", "object")]), MAPS[:1], (PLANES[:1, 0] > 0).int()
    pair = OmissionPairs("object/a", shown, 1, NUMBERS[:1], -one, plane, {"d": one}, {"d": 1 - plane})
    memory, maps = Memory(NET, "0"), MAPS[:1]
    memory.second_moment(MAPS, progress=False)
    edit = insert(memory, maps, memory.values(memory.keys(maps)) + 1, memory.direction(maps), "closed")
    return {
        "edit": (edit.save(folder / "a"), lambda path: str(Edit.load(path))),
        "trace": (traced().save(folder / "a"), use_trace),
        "statistics": (statistics.save(folder / "a"),
                       lambda path: omission_table(*[SegmentationStatistics.load(path)] * 2)),
        "inverter": (inverter.save(folder / "a"),
                     lambda path: LayerInverter.load(path).encode(-torch.ones(1, 3, 8, 8))),
        "inversion": (inverter.invert(-torch.ones(2, 3, 8, 8), "e", steps=1, progress=False).save(folder / "a"),
                      lambda path: repr(Inversion.load(path))),
        "pairs": (pair.save(folder / "a"),
                  lambda path: str(OmissionPairs.load(path).table)),
    }  # fmt: skip


def found(folder):
    """The same of dissections, and of what is made of them."""
    seen = dissected()
    return {
        "dissection": (dissected().save(folder / "a"), use_dissection),
        "comparison": (dissect.compare([dissected(), dissected()], steps=[0, 1]).save(folder / "a"),
                       lambda path: str(dissect.Comparison.load(path).summary())),
        "sheet": (dissect.unit_sheet(NET, seen, "0", 1, BATCHES, progress=False).save(folder / "a"), use_sheet),
        "formulas": (dissect.formulas(NET, seen, BATCHES, progress=False).save(folder / "a"),
                     lambda path: str(dissect.UnitFormulas.load(path).rows())),
        "sweep": (swept(decoys=1, resamples=20).save(folder / "a"), use_sweep),
        "texture": (texture_sensitivity(NET, "0", MAPS, MAPS.flip(3), progress=False).save(folder / "a"),
                    lambda path: str(dissect.load(path).units())),
        "discrimination": (Discrimination(
            ["a", "b"], ["0"] * 2, ["b"], [4, 4], [1, 3], NUMBERS.expand(2, -1) % 2, NUMBERS % 3,
            {"category": "object", "penalty": 1.0, "cells": None, "num_train": 6, "detector_iou": 0.04},
            ).save(folder / "a"), lambda path: str([dissect.load(path).rows(), dissect.load(path).correlations()])),
        "verified": (verified().save(folder / "a"), lambda path: str(dissect.load(path).summary())),
        "ablated bands": (banded().save(folder / "a"), lambda path: str(dissect.load(path).summary())),
        "explanations": (explained().save(folder / "a"), lambda path: str(dissect.load(path).table())),
        "tops": (RetrainedTops(torch.tensor([[0.5, 0.75], [0.25, 0.5]]).double()).save(folder / "a"),
                 lambda path: str(dissect.load(path).summary())),
        "planted": (planted().save(folder / "a"),
                    lambda path: [dissect.load(path).rows(), dissect.load(path).summary()]),
        "rosetta": (same_units().save(folder / "a"),
                    lambda path: [dissect.load(path).rows(), dissect.load(path).summary()]),
        "alignment": (axis_alignment(NET, "0", BATCHES, alphas=[1.0], repeats=1, progress=False).save(folder / "a"),
                      lambda path: [dissect.load(path).summary(), dissect.load(path).best()]),
    }  # fmt: skip


def runs(importance):
    """Of each run at how many of its saves it is stopped, and the run, given a folder for its progress."""
    seen, options = dissected(), {"progress": False}
    return {
        "sweeping": ((1, 3, 5), lambda folder: str(swept(resume=folder, decoys=1, resamples=20).bands())),
        "run": ((1, 3, 4, 6), lambda folder: str(dissected(resume=folder).best())),
        "ranking": ((1, 3, 4), lambda folder: dissect.unit_importance(
            CLASSIFIER, "0", PAIRS * 2, PAIRS, fill="mean", resume=folder, **options).top_units()),
        "search": ((1, 4, 8, 15, 18), lambda folder: str(searched(resume=folder).table)),
        "inserting": ((1, 2, 3), lambda folder: repr(inserted(resume=folder))),
        "telling": ((1, 2), lambda folder: str(told(resume=folder).table())),
        "tracing": ((1, 3), lambda folder: str(traced(resume=folder).table)),
        "sheet": ((1, 2), lambda folder: repr(dissect.unit_sheet(
            NET, seen, "0", 1, BATCHES, resume=folder, **options))),
        "combinations": ((1, 2, 4), lambda folder: str(dissect.formulas(
            NET, seen, BATCHES, decoys=1, resume=folder, **options).rows())),
        "pairs": ((1, 3, 9), lambda folder: str(texture_sensitivity(
            NET, "0", MAPS, MAPS.flip(3), [0, 1] * 3, batch_size=4, resume=folder, **options).units())),
        "features": ((1, 3), features),
        "explained": ((1, 3), lambda folder: str(explained(resume=folder).table())),
        "pooled": ((1, 2), learned),
        "trainings": ((1, 3), tops),
        "peaks of units": ((1, 2), lambda folder: str(peak_correlation(
            CLASSIFIER, "0", PAIRS * 2, resume=folder, **options))),
        "correlations": ((1, 2), lambda folder: str(same_units(resume=folder).rows())),
        "responses": ((1, 3), lambda folder: str(verified(resume=folder).units())),
        "bands": ((1, 2, 3), lambda folder: str(banded(resume=folder).summary())),
        "removal": ((1, 2), lambda folder: str(dissect.unit_sets(
            CLASSIFIER, importance, PAIRS * 2, counts=[1, 2], resume=folder, **options).table())),
    }  # fmt: skip


def kinds(folder):
    """Per kind of file its bytes, the place where it is read, and how."""
    saved = states(folder) | classified(folder) | generated(folder) | found(folder)
    importance = dissect.UnitImportance.load(saved["importance"][0])
    for name, (moments, call) in runs(importance).items():
        saved |= {f"{name}{saves}": interrupted(folder / f"{name}{saves}", saves, call) for saves in moments}
    return {name: (path.read_bytes(), path, use) for name, (path, use) in saved.items()}
