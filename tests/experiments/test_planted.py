"""The benchmark with planted truth: its units, its scores and the methods it comes with, against numpy."""

import json

import numpy as np
import pytest
import torch

import dissect
from dissect.cli import commands
from dissect.dissection.dissection_run import DissectionRun
from dissect.experiments import (
    Corruption,
    PlantedScores,
    by_formulas,
    by_iou,
    by_similarity,
    plant,
    score_labels,
)
from dissect.experiments.verified import Responses
from dissect.stats.formulas import Formula
from dissect.tiny import twins

CONCEPTS = dissect.Concepts.of([*[(f"thing {n}", "object") for n in range(5)], ("red", "color"), ("blue", "color")])
NAMES = CONCEPTS.names
#: As little noise as may be, so that maps can be told.
EXACT = (Corruption("exact", noise=0.0), Corruption("moved", noise=0.0, shift=1), Corruption("soft", 0.0, 0, 1))


@pytest.fixture(scope="module")
def planes():
    """Blocks of things, half of each coloured."""
    generator = torch.Generator().manual_seed(0)
    things = torch.randint(0, 6, (12, 1, 8, 8), generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)
    colors = torch.randint(0, 3, (12, 1, 16, 16), generator=generator).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return torch.cat([things, colors + 5 * (colors > 0)], 1)


def mask(text, planes):
    """[N, H, W] of a formula of two labels at most, by its text."""

    def one(name):
        return (planes == NAMES.index(name)).any(1).numpy()

    for join, of in ((" AND NOT ", lambda a, b: a & ~b), (" AND ", np.logical_and), (" OR ", np.logical_or)):
        if join in text:
            return of(*map(one, text.split(join)))
    return one(text)


@pytest.fixture(scope="module")
def made(planes):
    return plant(planes, CONCEPTS, size=(8, 8), count=2, corruptions=EXACT, areas=(0.01, 0.5), seed=3)


def test_the_digest_tells_benchmarks_apart(made, planes):
    options = {"size": (8, 8), "count": 2, "corruptions": EXACT, "areas": (0.01, 0.5), "seed": 3}
    assert plant(planes.byte(), CONCEPTS, **options).digest == made.digest  # the same labels as another type
    noisier = (EXACT[0]._replace(noise=0.1), *EXACT[1:])
    changed = planes.clone()
    changed[0, 0, 0, 0] = 1 + changed[0, 0, 0, 0] % 5
    others = [plant(planes, CONCEPTS, **options | other).digest for other in
              ({"size": (4, 4)}, {"seed": 4}, {"corruptions": noisier}, {"count": 1})]  # fmt: skip
    others.append(plant(changed, CONCEPTS, **options).digest)
    assert len({made.digest, *others}) == 6


def test_units_are_where_their_formulas_hold(made, planes):
    assert made.activations.shape == (12, 4 * 2 * 3, 8, 8)
    assert made.kinds == [kind for kind in ("concept", "OR", "AND", "AND NOT") for _ in range(6)]
    for unit in range(0, 24, 3):
        text = made.truth[unit].named(NAMES)
        where = mask(text, planes)
        assert 0.01 <= where.mean() <= 0.5
        cells = where.reshape(12, 8, 4, 8, 4).mean((2, 4))
        exact, moved, soft = made.activations[:, unit : unit + 3].double().numpy().transpose(1, 0, 2, 3)
        assert np.allclose(exact, cells)
        pads = [np.pad(cells, ((0, 0), *pad))[:, a, b] for pad, a, b in (
            (((1, 0), (0, 0)), slice(8), slice(None)), (((0, 1), (0, 0)), slice(1, None), slice(None)),
            (((0, 0), (1, 0)), slice(None), slice(8)), (((0, 0), (0, 1)), slice(None), slice(1, None)),
        )]  # fmt: skip
        assert sum(np.allclose(moved, pad) for pad in pads) == 1
        wide = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
        within = np.pad(np.ones((8, 8)), 1)
        around = [(slice(y, y + 8), slice(x, x + 8)) for y in range(3) for x in range(3)]
        assert np.allclose(
            soft, sum(wide[:, a, b] for a, b in around) / sum(within[a, b] for a, b in around), atol=1e-6
        )


def test_no_single_label_tells_a_formula(made, planes):
    for unit in range(6, 24, 3):
        where = mask(made.truth[unit].named(NAMES), planes)
        for label in range(1, len(NAMES)):
            other = mask(NAMES[label], planes)
            assert (where & other).sum() / (where | other).sum() <= 0.75


def test_draws_depend_on_the_seed_alone(planes):
    options = {"size": (8, 8), "count": 2, "areas": (0.01, 0.5)}
    one, same, other = (plant(planes, CONCEPTS, seed=seed, **options) for seed in (0, 0, 1))
    assert torch.equal(one.activations, same.activations)
    assert one.truth == same.truth != other.truth


def test_scores(made, planes):
    """Of answers that are right, partly right, right in other words, wrong, and none."""
    answers = [Formula((1, 2), ("OR",))] * 24
    answers[0], answers[1], answers[3] = made.truth[0], 0, made.truth[0].labels[0]
    double = made.truth[6].labels
    answers[6] = Formula(double[::-1], ("OR",))
    answers[7] = double[0]
    found = score_labels(made, {"mine": lambda *_: answers})
    rows = list(found.rows())
    for row, answer in zip(rows, answers):
        truth = mask(row.truth, planes)
        said = mask(row.said, planes) if answer else np.zeros_like(truth)
        assert row.iou == pytest.approx((truth & said).sum() / (truth | said).sum(), abs=1e-12)
        assert row.exact == bool((truth == said).all())
        labels = {answer} if isinstance(answer, int) else set(answer.labels)
        own = row.truth.split(" AND NOT ")[0]
        assert row.hit == bool(labels & {NAMES.index(name) for name in own.replace(" AND ", " OR ").split(" OR ")})
    assert rows[0].exact
    assert rows[6].exact
    assert (rows[1].iou, rows[1].said, rows[1].hit) == (0, "", False)
    assert 0 < rows[7].iou < 1
    told = found.summary(by_kind=True)[0]
    assert (told.kind, told.units, told.iou) == ("concept", 6, pytest.approx(np.mean([row.iou for row in rows[:6]])))
    assert told.iou_low is None  # two formulas are too few
    assert [row.corruption for row in found.summary(by_corruption=True)] == ["exact", "moved", "soft"]
    found.plot()


def test_intervals_draw_formulas():
    names = [f"f{n // 2}" for n in range(24)]
    iou = torch.linspace(0, 1, 24, dtype=torch.float64)[None]
    found = PlantedScores(["m"], ["concept"] * 24, ["a", "b"] * 12, names, [names], iou, iou.round(), iou.round())
    told = found.summary()[0]
    draws = np.random.default_rng(0).integers(0, 12, (4000, 12))
    means = iou.view(12, 2).mean(1).numpy()[draws].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert told.iou_low == pytest.approx(low, abs=0.035)  # units drawn alone would give 0.05 more
    assert told.iou_high == pytest.approx(high, abs=0.035)


def test_methods_find_what_is_planted(planes):
    made = plant(planes, CONCEPTS, size=(16, 16), count=4, kinds=["concept", "OR"], areas=(0.02, 0.5),
                 corruptions=[Corruption("clean", 0.01)])  # fmt: skip
    found = score_labels(made, {"iou": by_iou(0.05), "formulas": by_formulas(0.25, length=2)})
    singles, formulas = (list(found.rows(name)) for name in ("iou", "formulas"))
    assert all(row.exact for row in singles[:4])
    assert all(row.hit and not row.exact for row in singles[4:])
    assert sum(row.exact for row in formulas[4:]) >= 3
    again = by_iou(0.05)(made.activations, planes, CONCEPTS)
    same = torch.nn.Sequential(torch.nn.Identity()).eval()
    d = dissect.dissect(same, "0", [(made.activations, planes)], concepts=CONCEPTS, fraction=0.05,
                        progress=False, decoys=0, resamples=0)  # fmt: skip
    assert again == d["0"].best_label.tolist()


def test_by_similarity_against_corrcoef():
    generator = torch.Generator().manual_seed(0)
    maps, similarity = torch.rand(20, 6, 4, 4, generator=generator), torch.rand(20, 8, generator=generator)
    similarity[:, 3] = 1.0  # constant
    labels = by_similarity(similarity)(maps, torch.zeros(20, 1, 4, 4).long(), CONCEPTS)
    rest = [1, 2, 4, 5, 6, 7]
    for unit, label in enumerate(labels):
        r = [np.corrcoef(maps[:, unit].mean((1, 2)), similarity[:, c])[0, 1] for c in rest]
        assert label == rest[int(np.argmax(r))] or (label == 3 and max(r) < 0)


def test_saved(made, tmp_path):
    found = score_labels(made, {"iou": by_iou(0.1)})
    again = dissect.load(found.save(tmp_path / "a"))
    assert list(again.rows()) == list(found.rows())
    assert repr(again) == repr(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ["XOR"]}, r"kinds must be some of .*, but are \['XOR'\]"),
        (
            {"corruptions": [dissect.experiments.Corruption("a", noise=float("nan"))]},
            "corruption 'a' must have a finite noise, 0 or more, but has nan",
        ),
        ({"corruptions": [dissect.experiments.Corruption("a", shift=-1)]}, "corruption 'a': shift must be at least 0"),
        ({"corruptions": []}, "corruptions must hold one at least"),
        ({"areas": (0.9, 1.0)}, "areas must leave formulas of each kind, but there is none of 'concept'"),
        ({"count": 0}, "count must be at least 1, but got 0"),
    ],
)
def test_refusals(planes, options, message):
    with pytest.raises(ValueError, match="^plant: " + message):
        plant(planes, CONCEPTS, **options)


def test_planes_that_are_none(planes):
    for error, given, concepts, message in (
        (TypeError, planes.numpy(), CONCEPTS, "planes must be of type Tensor, but got ndarray"),
        (TypeError, planes, None, "concepts must be of type Concepts, but got NoneType"),
        (ValueError, planes[:0], CONCEPTS, r"planes must be \[N, K, H, W\] integers, one at least"),
        (ValueError, planes + 90, CONCEPTS, "planes must hold labels from 0 to .*, those of concepts, but hold 9"),
    ):
        with pytest.raises(error, match="^plant: " + message):
            plant(given, concepts)
    with pytest.raises(ValueError, match=r"^plant: size must be at least 1, but got 0"):
        plant(planes, CONCEPTS, size=(0, 8))


def test_answers_must_fit(made):
    for answers, message in (
        ([1] * 23, "method 'm' must label U=24 units, but gave 23 answers"),
        ([8] * 24, r"method 'm' must give labels in \[0, 8\), but gave 8"),
    ):
        with pytest.raises(ValueError, match="^score_labels: " + message):
            score_labels(made, {"m": lambda *_, answers=answers: answers})
    with pytest.raises(ValueError, match=r"^score_labels: methods must hold one at least"):
        score_labels(made, {})
    with pytest.raises(ValueError, match=r"similarity must have shape \[12, 8\], but got \[3, 8\]"):
        score_labels(made, {"m": by_similarity(torch.zeros(3, 8))})


def everything_is_one(maps, planes, concepts):
    return [1] * maps.shape[1]


def test_the_command(tmp_path, capsys):
    more = ["--count", "6", "--formulas", "1", "--fractions", "0.1", "--out", str(tmp_path), "--json"]
    assert commands.main(["experiment", "planted", *more, "--method", f"{__name__}:everything_is_one"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = ["IoU, top 0.1", "formulas, top 0.1", f"{__name__}:everything_is_one"]
    assert [row["method"] for row in told["methods"]] == names
    assert (tmp_path / "chart.png").is_file()
    assert dissect.load(tmp_path / "result.planted").methods == names
    assert commands.main(["experiment", "planted", "--method", "nothing"]) == 2
    assert "a name must be MODULE:CALLABLE" in capsys.readouterr().err
    for more, message in (
        (["--formulas", "0"], "--formulas must be at least 1, but got 0"),
        (["--fractions", "0.1", "0.1"], "--fractions must be different, but are [0.1, 0.1]"),
        (["--seed", str(2**70)], "seed must be at most"),
    ):
        assert commands.main(["experiment", "planted", "--count", "1", *more]) == 2
        assert message in capsys.readouterr().err


def test_methods_that_are_none(made):
    for method, message in (
        (
            lambda: [1],
            "method 'm' must take three arguments, activations, planes and concepts, but has ",
        ),
        (3, "method 'm' must be a function, but is 3"),
        (lambda *_: None, "method 'm' must give a label of each unit, but gave None"),
        (lambda *_: ["sky"] * 24, "labels that method 'm' gives must be an integer, but got 'sky'"),
    ):
        with pytest.raises(TypeError, match="^score_labels: " + message):
            score_labels(made, {"m": method})


def test_the_verified_command(tmp_path, capsys, monkeypatch):
    few = twins([("object", "water")], count=10)
    monkeypatch.setattr(dissect.tiny, "twins", lambda count: few)
    more = ["--count", "4", "--pairs", "10", "--layers", "features.conv4_3", "--out", str(tmp_path)]
    assert commands.main(["experiment", "verified", *more]) == 0
    assert "VerifiedLabels by 10 pairs of images" in capsys.readouterr().out
    assert (tmp_path / "chart.png").is_file()
    assert list(dissect.load(tmp_path / "result.verified").layers) == ["features.conv4_3"]


def test_the_verified_command_goes_on_from_either_half(tmp_path, capsys, monkeypatch):
    """Steps that were added before an interruption are not added again, in the dissection nor in the measurement."""
    few = twins([("object", "water")], count=10)
    monkeypatch.setattr(dissect.tiny, "twins", lambda count: few)
    added = []

    def stopped_at(run, step):
        add = run.add

        def counting(self, found):
            if len(added) == step:
                raise KeyboardInterrupt
            add(self, found)
            added.append(run.__name__)

        monkeypatch.setattr(run, "add", counting)
        return lambda: monkeypatch.setattr(run, "add", add)

    more = ["experiment", "verified", "--count", "4", "--batch-size", "2", "--layers", "features.conv4_3"]
    assert commands.main([*more, "--out", str(tmp_path / "whole")]) == 0
    whole = dissect.load(tmp_path / "whole" / "result.verified")
    count = [stopped_at(run, None) for run in (DissectionRun, Responses)]
    assert commands.main([*more, "--out", str(tmp_path / "counted")]) == 0
    for undo in count:
        undo()
    due, out = list(added), ["--out", str(tmp_path / "stopped")]
    dissected = due.count("DissectionRun")
    added.clear()
    for run, step in ((DissectionRun, 1), (DissectionRun, dissected - 1), (Responses, dissected + 3)):
        other = stopped_at(Responses if run is DissectionRun else DissectionRun, None)
        undo = stopped_at(run, step)
        assert commands.main([*more, *out]) == 130
        assert len(added) == step
        undo()
        other()
        assert "the same command goes on from there" in capsys.readouterr().err
    last = [stopped_at(run, None) for run in (DissectionRun, Responses)]
    assert commands.main([*more, *out]) == 0
    for undo in last:
        undo()
    assert added == due
    found = dissect.load(tmp_path / "stopped" / "result.verified")
    assert list(found.units()) == list(whole.units())
    assert found.settings == whole.settings
