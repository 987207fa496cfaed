"""Artifact units, against the definitions written out in numpy, and against sets ablated by hand."""

import json
import sys
import types

import numpy as np
import pytest
import torch
from generators.painter import Colours, Drawn, Painter
from torch import nn

import dissect
from dissect import generators
from dissect.generators.artifact_repair import maximising

OPTIONS = {"progress": False, "batch_size": 16}


def features(images):
    """Means and deviations of each colour."""
    assert images.dtype == torch.uint8
    deviation, mean = torch.std_mean(images.float() / 255, (2, 3))
    return torch.cat([mean, deviation], 1)


def frechet(one, other):
    """Heusel et al. 2017, equation 6."""
    one, other = (np.asarray(sample, dtype=np.float64) for sample in (one, other))
    s, t = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    roots = np.sqrt(np.clip(np.linalg.eigvals(s @ t).real, 0, None)).sum()  # the trace of (S T)^(1/2)
    return float(((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(s + t) - 2 * roots)


def seen(images):
    return features(((images + 1) / 2).clamp(0, 1).mul(255).round().byte())


@pytest.fixture
def model():
    return Painter().eval()


@pytest.fixture
def z():
    return dissect.latents((5,), 60, seed=3)


@pytest.fixture(scope="module")
def real():
    return torch.rand(50, 3, 8, 8, generator=torch.Generator().manual_seed(7))


def found_in(model, z, real, **options):
    return generators.artifact_units(model, "features", z, real, features=features, top=20, **{**OPTIONS, **options})


def test_distances_are_those_of_the_definition(model, z, real):
    found = found_in(model, z, real, draws=2)
    with torch.no_grad():
        maps = model.maps(z)
        own, others = seen(model.paint(maps)), features(real.mul(255).round().byte())
    order = maps.flatten(2).amax(2).sort(dim=0, descending=True, stable=True).indices
    for unit in range(8):
        expected = frechet(own[order[:20, unit]], others)
        assert float(found.distances[unit]) == pytest.approx(expected, rel=1e-4)
    assert torch.equal(found.top_images, order[:10].T)
    assert (found.top, found.num_images, found.num_real, found.num_features) == (20, 60, 50, 6)
    assert len({round(value, 9) for value in found.random.tolist()}) == 2
    assert found.floor is not None
    assert found.floor < float(found.random.min())
    assert found.ranking.tolist() == sorted(range(8), key=lambda unit: -float(found.distances[unit]))
    assert list(found.worst(3)) == found.ranking[:3].tolist()
    assert [row.rank for row in found.table] == list(range(1, 9))
    assert found.table[0].over_random == pytest.approx(float(found.distances.max() - found.random.mean()))


def test_precision_and_recall_of_flags(model, z, real):
    found = found_in(model, z, real)
    found.distances = torch.tensor([5.0, 1, 9, 2, 7, 3, 0, 4]).double()  # 2, 4, 0, 7, 5, 3, 1, 6
    rows = found.agreement([4, 7, 6], counts=[1, 2, 4, 8])
    assert [tuple(row) for row in rows] == [
        (1, 0, 0, 0, 3 / 8), (2, 1, 1 / 2, 1 / 3, 3 / 8), (4, 2, 1 / 2, 2 / 3, 3 / 8), (8, 3, 3 / 8, 1, 3 / 8)
    ]  # fmt: skip
    assert [row.units for row in found.agreement([4, 7])] == [1, 2, 4]
    assert found.average_precision([4, 7, 6]) == pytest.approx((1 / 2 + 2 / 4 + 3 / 8) / 3)
    assert found.unrealistic(5) == (0, 2, 4)
    figure, every = found.plot([4, 7, 6]), found.agreement([4, 7, 6], range(1, 9))
    assert [len(line.get_xdata()) for line in figure.axes[0].lines][:2] == [8, 3]
    assert figure.axes[1].lines[0].get_ydata().tolist() == [row.precision for row in every]
    assert len(found.plot().axes) == 1


def test_unrealistic_units_have_no_concepts(model, z, real):
    d = dissect.dissect(
        model, "features", z, segmenter=Colours(), segment="output", fraction=0.2, decoys=1, progress=False
    )
    found = found_in(model, z, real)
    units = d["features"].best_iou.sort(descending=True).indices[:2].tolist()
    found.distances[units] = 1e6
    kept = found.withhold(d, 1e6)
    assert kept.settings["withheld"] == {"features": {"limit": 1e6, "units": sorted(units)}}
    for before, after in zip(d.best(), kept.best()):
        if after.unit in units:
            assert (after.concept, after.iou) == ("-", 0)
        else:
            assert str(after) == str(before)
    assert len(d.detectors()) == len(kept.detectors()) + 2
    assert "withheld" not in d.settings
    other = Painter().eval()
    with torch.no_grad():
        other.features.weight.add_(0.1)
    with pytest.raises(ValueError, match="must be of the network"):
        found_in(other, z, real).withhold(d, 1)


def test_repair_is_that_of_units_ablated_by_hand(model, z, real):
    sets = {"known": [0, 1], "other": torch.tensor([5])}
    found = generators.artifact_repair(
        model, "features", sets, z, real, features=features, count=15, draws=2, resamples=40, **OPTIONS
    )
    with torch.no_grad():
        maps, others = model.maps(z), features(real.mul(255).round().byte())
        peaks = maps.flatten(2).amax(2)[:, [0, 1]]
        order = peaks.sort(dim=0, descending=True, stable=True).indices
        chosen = list(dict.fromkeys(order.flatten().tolist()))[:15]
        assert found.chosen.tolist() == [sorted(chosen), list(range(15))]
        assert found.names == ("known", "other", "random", "random")
        assert [len(own) for own in found.sets] == [2, 1, 2, 2]
        for at, rows in enumerate(found.chosen):
            for edit, units in enumerate([(), *found.sets]):
                changed = maps[rows].clone()
                changed[:, list(units)] = 0
                expected = frechet(seen(model.paint(changed)), others)
                assert float(found.distances[at, edit]) == pytest.approx(expected, rel=1e-3, abs=1e-6)
    rows = found.table
    assert [(row.sampling, row.ablated, row.units) for row in rows[:4]] == [
        ("maximising", "-", 0), ("maximising", "known", 2), ("maximising", "other", 1), ("maximising", "random", 2)
    ]  # fmt: skip
    for at, row in enumerate(rows):
        own = found.distances[at // 4, [[0], [1], [2], [3, 4]][at % 4]]
        assert row.distance == pytest.approx(float(own.mean()))
        assert row.low < row.distance < row.high
        if row.ablated != "-":
            assert row.change == pytest.approx(row.distance - float(found.distances[at // 4, 0]))
            assert row.change_low <= row.change <= row.change_high
    assert rows[0].change is None
    assert len(found.plot().axes[0].patches) == 8


def test_intervals_draw_the_same_images_again_for_all_edits(model, z, real):
    """A unit that draws nothing changes no image, so its change is exactly 0 in every sample."""
    found = generators.artifact_repair(
        model, "features", {"idle": [6]}, z, real, features=features, count=15, draws=0, resamples=40, **OPTIONS
    )
    row = found.table[1]
    assert (row.change, row.change_low, row.change_high) == (0, 0, 0)
    again = generators.artifact_repair(
        model, "features", {"idle": [6]}, z, real, features=features, count=15, draws=0, resamples=5, **OPTIONS
    )
    assert (again.table[0].low, again.table[1].change_low) == (None, None)


def test_each_unit_has_as_many_of_the_maximising_images():
    peaks = torch.tensor([[9.0, 0.0], [8.0, 1.0], [7.0, 2.0], [0.0, 6.0], [1.0, 6.0]])
    assert maximising(peaks, 2).tolist() == [0, 3]
    assert maximising(peaks, 4).tolist() == [0, 1, 3, 4]


def test_any_moment_can_be_resumed(model, z, real, tmp_path):
    class Stopping:
        left = 99

        def __call__(self, images):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return features(images)

    def units(**options):
        return generators.artifact_units(model, "features", z, real, features=eye, top=20, **OPTIONS, **options)

    def repair(**options):
        sets = {"known": [0, 1]}
        return generators.artifact_repair(
            model, "features", sets, z, real, features=eye, count=15, draws=1, resamples=12, **OPTIONS, **options
        )

    eye = Stopping()
    # Each goes on where the one before was stopped: 4 batches of real images, 4 of z; or 4, and 2 with 3 edits each.
    for name, call, stops in (("units", units, (1, 3, 4, 2)), ("repair", repair, (1, 3, 2, 4))):
        whole = call().save(tmp_path / f"{name}-whole").read_bytes()
        for stop in stops:
            eye.left = stop
            with pytest.raises(KeyboardInterrupt):
                call(resume=tmp_path / name)
            eye.left = 99
        assert call(resume=tmp_path / name).save(tmp_path / name).read_bytes() == whole
        eye.left = 1  # nothing is left to be seen
        assert call(resume=tmp_path / name).save(tmp_path / name).read_bytes() == whole
        eye.left = 99


def test_results_are_saved_and_loaded(model, z, real, tmp_path):
    found = found_in(model, z, real)
    loaded = dissect.load(found.save(tmp_path / "a"))
    assert repr(loaded) == repr(found)
    assert (loaded.floor, loaded.settings) == (found.floor, found.settings)
    repaired = generators.artifact_repair(
        model,
        "features",
        {"a": [0], "b": [1, 2]},
        z,
        real,
        features=features,
        count=15,
        draws=1,
        resamples=12,
        **OPTIONS,
    )
    loaded = dissect.load(repaired.save(tmp_path / "b"))
    assert str(loaded.table) == str(repaired.table)
    assert repr(loaded) == repr(repaired)


def test_units_are_not_judged_by_the_z_that_chose_them(model, z, real):
    found = found_in(model, z, real)
    options = {"features": features, "count": 15, "draws": 0, "resamples": 0, **OPTIONS}
    with pytest.warns(UserWarning, match="60 of 60 are the same"):
        generators.artifact_repair(model, "features", {"worst": found.worst(2)}, z, real, **options)
    other = dissect.latents((5,), 30, seed=4)
    generators.artifact_repair(model, "features", {"worst": found.worst(2)}, other, real, **options)


def test_noise_belongs_to_its_z(z, real):
    model, seeds = Drawn().eval(), dissect.noise_seeds(20, seed=3)
    z = z[:20]
    found = generators.artifact_units(model, "noise", (z, seeds), real, features=features, top=12, **OPTIONS)
    with torch.no_grad():
        peaks = model.maps(z, seeds).flatten(2).amax(2)
    assert torch.equal(found.top_images, peaks.sort(dim=0, descending=True, stable=True).indices[:10].T)
    options = {"features": features, "count": 8, "draws": 0, "resamples": 0, **OPTIONS}
    repaired = generators.artifact_repair(model, "noise", {"a": [0]}, (z, seeds), real, **options)
    rows, others = repaired.chosen[0], features(real.mul(255).round().byte())
    with torch.no_grad():
        own = seen(model(z[rows], seeds[rows]))
    assert float(repaired.distances[0, 0]) == pytest.approx(frechet(own, others), rel=1e-3)


def with_size(size):
    return torch.rand(20, 3, size, size)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"layer": "x"}, KeyError, "x"),
        ({"z": torch.zeros(60, 4)}, ValueError, "z must have shape"),
        ({"real": with_size(16)}, ValueError, "real images must be .* of the generator's size"),
        ({"real": with_size(8) * 2 - 1}, ValueError, r"must be in \[0, 1\]"),
        ({"real": with_size(8)[:1]}, ValueError, "real must be at least two images"),
        ({"features": 3}, TypeError, "features must be a function"),
        ({"features": lambda images: images}, ValueError, "features must be floats"),
        ({"features": lambda images: features(images) * torch.nan}, ValueError, "features must be finite"),
        ({"top": 1}, ValueError, "artifact_units: top must be from 2 to the 60"),
        ({"top": 61}, ValueError, "top must be from 2"),
        ({"draws": -1}, ValueError, "draws must be at least 0"),
    ],
)
def test_what_is_wrong_is_said(model, z, real, change, error, text):
    arguments = {"layer": "features", "z": z, "real": real, "features": features, "top": 20, **OPTIONS, **change}
    with pytest.raises(error, match=text):
        generators.artifact_units(model, **arguments)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"sets": {}}, ValueError, "sets must be units by name"),
        ({"sets": [0, 1]}, ValueError, "sets must be units by name"),
        ({"sets": {"random": [0]}}, ValueError, "sets must be units by name"),
        ({"sets": {"a": [8]}}, ValueError, "must be below 8"),
        ({"sets": {"a": []}}, ValueError, "must be at least one"),
        ({"by": "b"}, KeyError, "by must be one of"),
        ({"count": 61}, ValueError, "count must be from 2"),
        ({"resamples": -1}, ValueError, "artifact_repair: resamples must be"),
        ({"resamples": 1}, ValueError, "artifact_repair: resamples must be at least 2, since one draw"),
    ],
)
def test_what_is_wrong_with_a_repair_is_said(model, z, real, change, error, text):
    arguments = {"sets": {"a": [0]}, "count": 15, "features": features, **OPTIONS, **change}
    with pytest.raises(error, match=text):
        generators.artifact_repair(model, "features", z=z, real=real, **arguments)


def test_flags_that_cannot_be_are_refused(model, z, real):
    found = found_in(model, z, real)
    flags = generators.UnitFlags([1])
    for layer, weights, text in (("first", None, "same layer"), ("features", "0123", "same weights")):
        flags.layer, flags.weights = layer, weights
        with pytest.raises(ValueError, match=f"ArtifactUnits: flags must be of the {text}"):
            found.agreement(flags)
    for bad in ([], [8]):
        with pytest.raises(ValueError, match="flags must be at least one unit below 8"):
            found.average_precision(bad)
    with pytest.raises(ValueError, match="counts must be from 1 to 8"):
        found.agreement([1], counts=[9])
    with pytest.raises(ValueError, match="count must be at most 8"):
        found.worst(9)


def test_flags_are_read_from_both_kinds_of_files(tmp_path):
    told = {"kind": "dissect unit flags", "layer": "layer4", "weights": "ab", "units": 9, "flags": [7, 2]}
    (tmp_path / "a.json").write_text(json.dumps(told))
    (tmp_path / "a.csv").write_text("layer,weights,unit,flagged\r\nlayer4,ab,2,1\r\nlayer4,ab,3,0\r\nlayer4,ab,7,1\r\n")
    for name in ("a.json", "a.csv"):
        flags = generators.read_flags(tmp_path / name)
        assert (tuple(flags), flags.layer, flags.weights) == ((2, 7), "layer4", "ab")
    assert generators.read_flags(tmp_path / "a.json").num_units == 9


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "a.json"),
        ("a.json", "[1]", "must be an object of the kind"),
        ("a.json", '{"kind": "dissect unit flags"}', "must hold flags"),
        ("a.json", '{"kind": "dissect unit flags", "flags": [1, 1]}', "twice"),
        ("a.json", '{"kind": "dissect unit flags", "flags": [-1]}', "must hold flags"),
        ("a.json", '{"kind": "dissect unit flags", "flags": [9], "units": 9}', "flagged units are there"),
        ("a.csv", "unit\n1\n", 'columns "unit" and "flagged"'),
        ("a.csv", "unit,flagged\n1,yes\n", "0 or 1"),
        ("a.csv", "unit,flagged\n1,1\n1,1\n", "twice"),
        ("a.csv", "layer,unit,flagged\na,1,1\nb,2,1\n", "one layer"),
    ],
)
def test_other_files_are_no_flags(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        generators.read_flags(tmp_path / name)
    assert name in str(caught.value)


def test_inception_is_that_of_torch_fidelity(monkeypatch):
    made = []

    class Extractor(nn.Module):
        def __init__(self, name, wanted, weights):
            super().__init__()
            made.append((name, wanted, weights))

        def forward(self, images):
            return (features(images),)

    package = types.ModuleType("torch_fidelity")
    module = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.FeatureExtractorInceptionV3 = Extractor
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", module)
    images = torch.randint(0, 255, (2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(generators.inception_features(weights="w.pth")(images), features(images))
    assert made == [("inception-v3-compat", ["2048"], "w.pth")]


def test_without_torch_fidelity_the_extra_is_named(model, z, real, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match=r"dissect-units\[fid\]"):
        generators.artifact_units(model, "features", z, real, top=20, **OPTIONS)
