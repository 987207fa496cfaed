"""Files that were written by earlier versions are read for ever. `tests/golden/write.py` wrote them."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

import dissect
from dissect.experiments import AttackResult, CarliniWagner
from dissect.files.results import KINDS
from dissect.stats import (
    AlsoNull,
    GroupedCorrelation,
    IouTally,
    MapCorrelation,
    PairTally,
    Peaks,
    TailThreshold,
)
from dissect.stats.state import Counts, State

GOLDEN = Path(__file__).parents[1] / "golden"


def writer():
    spec = importlib.util.spec_from_file_location("write_golden", GOLDEN / "write.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dissection_1():
    found = dissect.load(GOLDEN / "dissection-1.dissection")
    layer = found["0"]
    # The top quarter of 8 samples: 2 fire, the third largest is the threshold.
    assert layer.thresholds.tolist() == [2.0, 5.0]
    assert layer.unit_area.tolist() == [2, 2]
    assert layer.label_area.tolist() == [0, 3, 3]
    assert layer.intersection.tolist() == [[0, 2, 0], [0, 0, 2]]
    assert layer.peak_images.tolist() == [[1], [1]]
    assert layer.masks(0).tolist() == [[[True, False], [False, False]]]
    assert [(row.concept, row.category, row.state) for row in found.best()] == [
        ("tree", "object", "ok"),
        ("red", "color", "ok"),
    ]
    assert [row.iou for row in found.best()] == [2 / 3, 2 / 3]
    assert found.image_numbers.tolist() == [1]
    assert found.settings["num_images"] == 2


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_tail_threshold(version):
    state = TailThreshold(0.25, size=(2, 2))
    state.load(GOLDEN / f"TailThreshold-{version}.safetensors")
    maps = writer().MAPS
    while not state.advance():
        state.add(maps)
    assert state.threshold().tolist() == [2.0, 5.0]


def test_peaks_1():
    state = Peaks(1)
    state.load(GOLDEN / "Peaks-1.safetensors")
    assert state.values().tolist() == [[4.0], [7.0]]
    assert state.images().tolist() == [[1], [1]]


def test_pair_tally_1():
    state = PairTally(torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.5, 6.5]]), categories=("", "object", "color"), groups=2)
    state.load(GOLDEN / "PairTally-1.safetensors")
    assert state.scoped_unit_area("category").tolist() == [[0, 4, 1], [0, 3, 1]]
    assert state.intersection().tolist() == [[0, 3, 0], [0, 0, 1]]
    assert state.by_half()[1][0].tolist() == [[0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("version", [1, 2])
def test_iou_tally(version):
    state = IouTally(torch.tensor([1.0, 0.5]), 3)
    state.load(GOLDEN / f"IouTally-{version}.safetensors")
    assert state.intersection().tolist() == [[0, 3, 1], [0, 0, 2]]
    assert state.unit_area().tolist() == [[2, 1], [2, 2]]
    assert state.label_area().tolist() == [[0, 2, 0], [0, 1, 3]]


def test_segstats_1():
    found = dissect.load(GOLDEN / "segstats-1.segstats")
    assert (found.planes, found.segmenter, found.source, found.numbers.tolist()) == ((0,), "abc", "def", [2, 7])
    assert found.mean.tolist() == [87.5, 12.5]
    assert found.covariance.tolist() == [[312.5, -312.5], [-312.5, 312.5]]


def test_sweep_1():
    found = dissect.Sweep.load(GOLDEN / "sweep-1.sweep")
    layer = found["0"]
    # The top quarter of 8 samples as above; half the tree's area at 0, where 6 and 3 of 8 pixels fire.
    assert layer.exact.tolist() == [[2.0], [5.0]]
    assert layer.firing.gather(1, layer.level(None)[:, None]).tolist() == [[6 / 8], [3 / 8]]
    assert layer.firing.gather(1, layer.level(0)[:, None]).tolist() == [[2 / 8], [2 / 8]]
    assert [(row.concept, row.iou, row.f1) for row in found.units()] == [("tree", 2 / 3, 0.8), ("red", 2 / 3, 0.8)]
    assert [(row.share, row.concepts, row.units) for row in found.labels() if row.units] == [
        (0.25, 1, 1),
        (0.25, 1, 1),
        (None, 1, 1),
        (None, 1, 1),
    ]


def test_importance_1():
    # Without unit 0 the image of "a" is named "b"; without unit 1 the image of "b" is named "a".
    found = dissect.UnitImportance.load(GOLDEN / "importance-1.importance")
    assert (found.layer, found.classes, found.fill.tolist()) == ("0", ("a", "b"), [0, 0])
    for split in ("train", "val"):
        assert found.tally(split).recall().tolist() == [[1, 1], [0, 1], [1, 0]]
        assert found.drop(split).tolist() == [[0.5, 0.5], [0.5, 0.5]]
        assert found.logit_drop(split).tolist() == [[1.5, 0], [0, 3.25]]
    assert found.top_units(2).tolist() == [[0, 1], [1, 0]]
    assert found.fingerprint is None  # it is of before there were any, and serves with every network


def test_sets_1():
    found = dissect.UnitSets.load(GOLDEN / "sets-1.sets")
    assert (found.classes, found.measured, found.counts, found.num_units) == (("a", "b"), (0, 1), (1,), 2)
    assert found.curve("most").tolist() == found.curve("least").tolist() == [[0.5], [0.5]]
    assert [row.recall for row in found.table("b")] == [1, 0, 1]
    assert [row.auc for row in found.table("b")] == [1, 0.5, 1]


def test_attack_1():
    found = AttackResult.load(GOLDEN / "attack-1.attack")
    assert (found.layer, found.settings, found.seed, found.misnamed) == (
        "0",
        CarliniWagner(3, 40, 5e-3, 3.0, 0.0),
        7,
        1,
    )
    assert found.images.tolist() == [0, 2]
    assert (found.sources.tolist(), found.targets.tolist()) == ([0, 1], [1, 0])
    assert (found.reached.tolist(), found.noise_kept.tolist()) == ([True, False], [True, True])
    assert found.norms.tolist() == [0.75, 0]
    assert (found.after - found.before).tolist() == [[0.5, -1], [0, 0]]
    assert (found.noise - found.before).tolist() == [[0.25, 0.25], [0.25, 0.25]]


def test_effect_1():
    found = dissect.load(GOLDEN / "effect-1.effect")
    assert (found.layer, found.units, found.num_units, found.mode, found.concept) == ("0", (1,), 2, "ablation", "red")
    assert (found.removed, found.random, found.average_effect, found.second) == (2 / 3, 1 / 3, None, None)
    assert [(row.concept, row.before, row.after, row.change) for row in found.others] == [("green", 1 / 8, 3 / 8, 2)]
    assert found.z_keys.tolist() == [5, -7]


def test_comparison_1():
    found = dissect.Comparison.load(GOLDEN / "comparison-1.comparison")
    rows = [(row.network, row.step, row.detectors, row.concepts, row.mean_iou) for row in found.summary()]
    assert rows == [("start", 0, 2, 2, 2 / 3), ("end", 10, 2, 2, 2 / 3)]
    assert (found.detector_iou, found.allow, len(found.notes)) == (0.5, (), 1)


def test_curves_1():
    found = dissect.load(GOLDEN / "curves-1.curves")
    assert (found.layer, found.num_units, found.concept, found.counts) == ("0", 2, "red", (1, 2))
    assert [(row.ranking, row.units, row.removed, row.its_change) for row in found.table] == [
        ("IoU", 1, 2 / 3, 2), ("IoU", 2, 1, 1), ("random", 1, 0, 0), ("random", 2, 1, 1)
    ]  # fmt: skip
    assert found.rankings.tolist() == [[1, 0], [0, 1]]


def test_context_1():
    found = dissect.load(GOLDEN / "context-1.context")
    assert (found.layer, found.units, found.concept, found.block, found.least) == ("0", (1,), "red", 1, 2)
    assert [(row.context, row.samples, row.images, row.added) for row in found.table] == [("green", 2, 2, 1.0)]
    assert [(row.context, row.samples) for row in found.rest] == [("red", 1)]
    assert found.map.tolist() == [[1.0, -0.25]]


def test_causal_1():
    found = dissect.load(GOLDEN / "causal-1.causal")
    assert (found.layer, found.concept, list(found), found.ranking.tolist()) == ("0", "color/red", [2, 0], [2, 0, 1])
    assert [(row.unit, row.alpha, row.iou, row.iou_rank) for row in found.table] == [(2, 1, 0.25, 2), (0, 0.25, 0.5, 1)]
    assert (found.losses.tolist(), found.removals.tolist(), found.z_keys.tolist()) == (
        [0.5, 0.25],
        [[0, 1, 1]],
        [5, -7],
    )


def test_trace_1():
    found = dissect.load(GOLDEN / "trace-1.trace")
    assert (found.layer, found.layers, found.concept, found.cut) == ("0", ("0", "1"), "color/red", 0.25)
    rows = [(row.layer, row.silent, row.change, row.visible, row.unseen, row.low) for row in found.table]
    assert rows == [("0", 0, 0.375, 0.25, 0.5, None), ("1", 1, 0.5625, 1.0, 0.125, None)]
    assert found.visible_map()[0, 1] == 0.5
    assert found.maps(1)[:, 0, 1].tolist() == [0.5, 0.125]


def test_artifacts_1():
    found = dissect.load(GOLDEN / "artifacts-1.artifacts")
    assert [tuple(row) for row in found.table] == [(1, 2, 4, 2.5), (2, 0, 2, 0.5), (3, 1, 1.5, 0)]
    assert (found.worst(1), found.floor, found.top, found.num_images, found.num_real) == ((2,), None, 2, 3, 4)
    assert (found.top_images.tolist(), found.z_keys.tolist()) == ([[0, 1], [1, 0], [1, 2]], [5, -7, 9])


def test_repair_1():
    found = dissect.load(GOLDEN / "repair-1.repair")
    rows = [(row.sampling, row.ablated, row.units, row.distance, row.low, row.high, row.change) for row in found.table]
    assert rows == [
        ("maximising", "-", 0, 4, 3, 5, None), ("maximising", "worst", 1, 3, 2, 4, -1),
        ("maximising", "random", 1, 4, 3, 5, 0), ("uniform", "-", 0, 2, 1, 3, None),
        ("uniform", "worst", 1, 2.25, 1.25, 3.25, 0.25), ("uniform", "random", 1, 2, 1, 3, 0),
    ]  # fmt: skip
    assert (found.chosen.tolist(), found.settings["by"]) == ([[1, 2], [0, 1]], "worst")


def test_sheet_1():
    found = dissect.UnitSheet.load(GOLDEN / "sheet-1.sheet")
    assert (found.layer, found.unit, found.threshold, found.concept, found.least) == ("0", 1, 5.0, "tree", 0.05)
    assert (found.edges.tolist(), found.level_images.tolist()) == ([5, 6, 7], [0, 1])
    assert found.counts.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert (found.numbers.tolist(), found.groups.tolist(), found.shares.tolist()) == ([1, 0, 1], [1, 2, 3], [0, 0.5, 0])
    assert found.masks[:2].tolist() == [[[False, True], [True, False]], [[False, False], [True, True]]]


def test_inverter_1():
    found = dissect.load(GOLDEN / "inverter-1.inverter")
    assert (found.layers, found.settings, found.log) == (("layer1",), [], [{"stage": "e_1", "step": 1, "loss": 0.5}])
    assert found.encoder.shapes == [(2,), (1, 4, 4)]
    assert found.encode(-torch.ones(3, 3, 8, 8)).shape == (3, 2)
    assert len(found.generator) == 16


def test_inversion_1():
    found = dissect.load(GOLDEN / "inversion-1.inversion")
    assert (found.method, found.steps, found.generator) == ("f", 7, "abc")
    assert (found.z.tolist(), found.deltas[0].flatten().tolist()) == ([[0.5], [-1.0]], [0.25, 0.25])
    assert (found.losses.tolist(), found.diverged.tolist()) == ([0.5, 0.25], [False, True])
    assert found.r.shape == (2, 1, 1, 1)
    assert found.images.flatten().tolist() == torch.linspace(-1, 1, 24).tolist()


def test_pairs_1():
    found = dissect.load(GOLDEN / "pairs-1.pairs")
    assert (found.concept, found.label, found.numbers.tolist()) == ("object/tree", 1, [5])
    (row,) = found.table
    assert (row.image, row.method, row.real, row.made) == (5, "d", 75, 25)
    assert row.kept == row.survives == 1 / 3


def test_moment_1():
    found = dissect.load(GOLDEN / "moment-1.moment")
    assert (found.layer, found.count, found.images, found.rank) == ("0", 3, 2, 2)
    assert found.moment.tolist() == [[2.0, 0.5], [0.5, 1.0]]


def test_edit_1():
    found = dissect.load(GOLDEN / "edit-1.edit")
    assert (found.layer, found.shape, found.rank, found.losses.tolist()) == ("0", (3, 2), 1, [0.5, 0.25])
    layer = torch.nn.Linear(2, 3, bias=False)
    torch.nn.init.zeros_(layer.weight)
    found.apply(torch.nn.Sequential(layer).eval())
    assert layer.weight.tolist() == [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]


def test_classifiers_1():
    found = dissect.load(GOLDEN / "classifiers-1.classifiers")
    assert (found.layer, found.num_pixels, found.scope, found.least_area) == ("0", 4, "all", 0.25)
    assert found.concepts.names == ("-", "a", "b")
    assert found.peaks[:, 1].tolist() == [3.0, -1.0, 0.0, 2.0]
    assert found.roles.tolist() == [[-1, 1, 0], [-1, 0, 1], [-1, 0, 1], [-1, -1, 0]]  # one of four pixels: neither
    assert [(row.concept, row.present, row.absent, row.unit) for row in found.table()] == [
        ("a", 1, 2, None), ("b", 2, 2, None)
    ]  # fmt: skip


def test_also_null_1():
    state = AlsoNull(torch.tensor([1.0, 0.5]), torch.tensor([1, 0]), 3, 1)
    state.load(GOLDEN / "AlsoNull-1.safetensors")
    # Unit 0 fires at one pixel without label 1, its own, where the other image has label 1 too, which is no second one;
    # unit 1 fires at three pixels, two of which are label 1 in the other image, as is one more.
    assert state.left().tolist() == [1, 3]
    assert state.scores().tolist() == [[0.0, 0.5]]


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_formulas(version):
    found = dissect.load(GOLDEN / f"formulas-{version}.formulas")
    rows = [(row.unit, row.formula, row.iou, row.held_out) for row in found.rows()]
    assert rows == [(0, "tree", 2 / 3, 0.75), (1, "red", 2 / 3, None)]
    second = [(row.also, row.also_iou, row.also_firing) for row in found.rows()]
    assert second == [("", None, None if version == 1 else 0.0)] * 2
    assert [row.p for row in found.rows()] == [None if version < 4 else 1 / 9] * 2


def test_texture_1():
    found = dissect.load(GOLDEN / "texture-1.texture")
    rows = [(row.iou, row.same_class, row.other_class, row.firing) for row in found.units()]
    assert rows == [(0.5, 1 / 11, None, 6), (0.0, 1 / 4, None, 2)]


def test_discrimination_1():
    found = dissect.load(GOLDEN / "discrimination-1.discrimination")
    rows = [(row.network, row.concepts, row.accuracy, row.trained) for row in found.rows()]
    assert rows == [("a", 0, 0.5, False), ("b", 2, pytest.approx(1 / 2), False), ("c", 5, 1.0, True)]


def test_bands_1():
    found = dissect.load(GOLDEN / "bands-1.bands")
    rows = [(row.top, row.share, row.lost, row.fall, row.control) for row in found.summary()]
    assert rows == [(0.0, 0.25, 0.25, 0.5, 0.0), (0.25, None, 0.0, 0.0, 0.0), (None, None, 0.75, 2.0, 0.0)]


def test_verified_1():
    found = dissect.load(GOLDEN / "verified-1.verified")
    rows = [(row.concept, row.iou, row.auc, row.auc_low, row.difference, row.verified) for row in found.units()]
    assert rows == [("tree", 0.5, 1.0, 0.75, 2.0, True), ("red", None, None, None, None, None)]


def test_explanations_1():
    found = dissect.load(GOLDEN / "explanations-1.explanations")
    rows = [(row.correct, row.unit, row.concept, row.weighs, row.score) for row in found.table()]
    assert rows[:2] == [(True, 3, "tree", 1.0, 1.5), (True, 1, "", 0.25, 1.5)]
    assert rows[2:] == [(False, 0, "red", 0.5, 0.75), (False, 3, "tree", 0.5, 0.75)]
    assert found.masks.flatten(1).sum(1).tolist() == [1, 6]


def test_tops_1():
    found = dissect.load(GOLDEN / "tops-1.tops")
    assert [(row.features, row.accuracy) for row in found.summary()] == [
        ("as they are", 0.625), ("rotated", 0.5), ("difference", -0.125),
    ]  # fmt: skip


def test_planted_1():
    found = dissect.load(GOLDEN / "planted-1.planted")
    assert [(row.truth, row.said, row.iou, row.hit) for row in found.rows()] == [
        ("tree OR sky", "tree", 0.5, True), ("tree OR sky", "", 0.0, False)
    ]  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
def test_rosetta(version):
    found = dissect.load(GOLDEN / f"rosetta-{version}.rosetta")
    rows = [(row.other, row.correlation, row.mutual) for row in found.rows()]
    assert rows == [(2, 0.75, True), (None, None, False)]
    known = [(row.low, row.high, row.stays) for row in found.rows()]
    assert known == [(None, None, None) if version == 1 else (0.5, 0.875, 0.5), (None, None, None)]


def test_grouped_correlation_1():
    state = GroupedCorrelation()
    state.load(GOLDEN / "GroupedCorrelation-1.safetensors")
    second = -0.7560227046477787  # as of `MapCorrelation`
    expected = torch.tensor([[second, 1, 1], [1, second, second]], dtype=torch.float64)
    torch.testing.assert_close(state.correlation(), expected, rtol=0, atol=1e-14)
    assert (state.groups, state.resampled(4, 0)) == (16, None)


def test_map_correlation_1():
    state = MapCorrelation()
    state.load(GOLDEN / "MapCorrelation-1.safetensors")
    second = -0.7560227046477787
    expected = torch.tensor([[second, 1, 1], [1, second, second]], dtype=torch.float64)
    torch.testing.assert_close(state.correlation(), expected, rtol=0, atol=1e-14)


def test_alignment_1():
    found = dissect.load(GOLDEN / "alignment-1.alignment")
    assert [tuple(row) for row in found.rows()] == [(0.0, 0, 2, 2), (1.0, 0, 1, 1)]
    assert [(row.concept, row.unit, row.direction_iou) for row in found.best()] == [("sky", 0, 0.0), ("red", 1, 0.125)]


def test_every_version_has_its_file():
    current = {state.__class__.__name__: state.version for state in writer().states()}
    states = [kind for base in (State, Counts) for kind in base.__subclasses__()]
    assert {*current} == {kind.__name__ for kind in states if kind.__module__.startswith("dissect.")} - {"Counts"}
    own = [kind for kind in KINDS.values() if kind.__module__.startswith("dissect.")]
    own = [kind for kind in own if hasattr(sys.modules[kind.__module__], kind.__name__)]  # not those of examples
    current |= {kind.suffix[1:]: kind.version for kind in own}
    written = {path.stem for path in GOLDEN.iterdir() if path.suffix != ".py"} - {"__pycache__"}
    assert written == {f"{kind}-{version}" for kind in current for version in range(1, current[kind] + 1)}
