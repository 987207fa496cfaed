"""The preset iclr2019: the most informative threshold of each unit and label, found on images of their own."""

import math

import numpy as np
import pytest
import torch
from small_dissection import CONCEPTS, Scenes, network
from torch import nn

import dissect
from dissect.dissection.informative import FRACTIONS
from dissect.dissection.rows import is_detector
from dissect.reference import upsample
from dissect.stats.levels import LevelSample

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")


class Others(Scenes):
    """Scenes that are not among those of `Scenes`."""

    def __init__(self, count=24):
        super().__init__(count)
        self.images = self.images.flip(0, 3).contiguous()
        self.planes = self.planes.flip(0, 3).contiguous()


def run(**options):
    options = {"preset": "iclr2019", "thresholds_from": Others(), "progress": False, "batch_size": 5} | options
    return dissect.dissect(network(), options.pop("layers", "3"), options.pop("images", Scenes()), **options)


def quality(fires, carries):
    """I/H of two masks, written out."""
    table = np.array([[(a & b).sum() for b in (carries, ~carries)] for a in (fires, ~fires)]) / fires.size
    rows, columns = table.sum(1, keepdims=True), table.sum(0, keepdims=True)
    inside = table > 0
    shared = (table[inside] * np.log(table[inside] / (rows * columns)[inside])).sum()
    joint = -(table[inside] * np.log(table[inside])).sum()
    return max(0.0, shared / joint) if joint else 0.0


def test_thresholds_against_the_equation_written_out():
    """Equation 4.2, by the published rules: candidates, agreement, shares, and images that show the category."""
    found, others = run()["3"], Others()
    maps = network()(others.images).detach()
    grid = dissect.Grid.half_pixel((8, 8), (8, 8))
    planes = others.planes[:, :, 1::2, 1::2]
    values = upsample(maps, grid.rows, grid.columns)
    sample = LevelSample(grid)
    sample.add(maps, torch.arange(len(maps)))
    candidates = sample.levels(FRACTIONS).clamp(min=0)
    for label, category in enumerate([None, "object", "object", "color", "scene"]):
        if label == 0:
            continue
        members = [at for at, (_, its) in enumerate(CONCEPTS, 1) if its == category]
        shows = torch.isin(planes, torch.tensor(members)).flatten(1).any(1)
        carries = (planes == label).any(1)[shows].numpy().reshape(-1)
        for unit in range(6):
            best, level = 0.0, math.inf
            for candidate in candidates[unit]:
                fires = (values[shows, unit] > candidate).numpy().reshape(-1)
                agree = (fires == carries).mean()
                if candidate > 0 and agree > 0.8 and carries.mean() >= 1e-3:
                    measured = quality(fires, carries)
                    if measured > best + 1e-12:
                        best, level = measured, float(candidate)
            assert float(found.label_thresholds[unit, label]) == level


@pytest.mark.parametrize("change", [lambda kept: kept / 0, lambda kept: kept[..., 1:], lambda kept: kept[1:]])
def test_a_sample_that_no_activations_give_is_refused(change):
    """What would end in levels that are NaN, or of other pixels."""
    grid = dissect.Grid.half_pixel((4, 4), (8, 8))
    sample, again = LevelSample(grid), LevelSample(grid)
    again.load_state_dict(sample.state_dict())
    sample.add(torch.randn(3, 2, 4, 4), torch.arange(3))
    state = sample.state_dict()
    again.load_state_dict(state)
    assert torch.equal(again.levels([0.5, 0.1]), sample.levels([0.5, 0.1]))
    with pytest.raises(ValueError, match="the run's sample of levels must hold values as float32"):
        again.load_state_dict({**state, "values": change(state["values"])})


def test_what_is_measured_is_of_the_images_that_are_counted():
    found = run(match="iou", decoys=0)
    levels = found["3"].label_thresholds
    same = run(preset="default", thresholds_from=None, thresholds=levels, scope="category", detector_iou=0.05,
               images=[(s, p[:, :, 1::2, 1::2]) for s, p in zip(Scenes().images.split(5), Scenes().planes.split(5))],
               concepts=CONCEPTS, decoys=0)  # fmt: skip
    for name in ("intersection", "union_area", "label_area", "unit_area", "thresholds"):
        assert torch.equal(getattr(found["3"], name), getattr(same["3"], name)), name
    told = found.settings["thresholds_from"]
    assert told["images"] == 24
    assert told["digest"] != told["counted"]
    assert found.settings["label_thresholds"] == ["3"]
    assert found.settings["fraction"] is None


def test_the_published_code_takes_one_level_per_unit():
    by_label, by_unit = run()["3"].label_thresholds, run(levels="unit_information")["3"].label_thresholds
    assert torch.equal(by_unit, by_unit[:, :1].expand_as(by_unit))
    assert all(level in row.tolist() for level, row in zip(by_unit[:, 0].tolist(), by_label))


def test_what_is_a_detector():
    found = {match: run(match=match, detector_iou=0.001) for match in ("iou", "information", "accuracy")}
    assert len({tuple(row.unit for row in one.detectors()) for one in found.values()}) > 1
    for match, one in found.items():
        expected = [
            row.unit for row in one.best() if row.iou > 0.001
            and {"iou": True, "information": row.information_quality > 0.01, "accuracy": row.accuracy > 0.75}[match]
        ]  # fmt: skip
        assert [row.unit for row in one.detectors()] == expected
        assert [is_detector(row, one.settings) for row in one.best()] == [u in expected for u in range(6)]
        assert not any(is_detector(row, one.settings, 1.0) for row in one.best())
    with pytest.raises(ValueError, match="the same rules, but match is 'information' in 'a', 'iou' in 'b'"):
        dissect.compare({"a": found["information"], "b": found["iou"]})


def test_a_run_is_saved_resumed_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr("dissect.files.progress.EVERY", 0.0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)
    expected = run()

    class Stops(Others):
        left = 30  # in the middle of the sweep

        def __getitem__(self, index):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    options = {"resume": tmp_path, "memory_budget": 1 << 20}
    monkeypatch.setattr("dissect.visits.store.Store.keep", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        run(thresholds_from=Stops(), **options)
    found = run(**options)
    assert torch.equal(found["3"].label_thresholds, expected["3"].label_thresholds)
    assert torch.equal(found["3"].intersection, expected["3"].intersection)
    assert found.settings == expected.settings
    again = dissect.load(found.save(tmp_path / "d"))
    assert repr(again.detectors()) == repr(found.detectors())
    page = " ".join(dissect.write_report(again, tmp_path).read_text().split())
    assert "was found on 24 other images, as the one that tells most about a concept" in page
    assert "whose information quality ratio with it exceeds 0.01 is a" in page
    monkeypatch.undo()
    with pytest.raises(ValueError, match="had the same"):
        run(thresholds_from=Others(15), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thresholds_from": None}, "thresholds_from must hold other images, on which .* but is not given"),
        ({"thresholds": torch.zeros(6)}, "thresholds_from must hold other images, .* but thresholds are given too"),
        ({"preset": "default"}, 'thresholds_from must come with levels "label_information" or "unit_information"'),
        ({"fraction": 0.1}, 'fraction must not be given with levels "label_information"'),
        ({"positions": "feature"}, 'positions must not be given with levels "label_information"'),
        ({"levels": "best"}, "levels must be one of"),
        ({"match": "good"}, "match must be one of"),
        ({"preset": "tpami2018", "match": "accuracy", "thresholds_from": None}, 'match must be "iou" with scope'),
        ({"memory_budget": 1000}, "memory_budget must hold the counts of each unit and label at every level"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_images_that_are_counted_choose_no_thresholds():
    scenes = Scenes()
    z = torch.randn(8, 3, 16, 16)
    for images, others in ((scenes, scenes), (scenes, Scenes())):
        with pytest.raises(ValueError, match="thresholds_from must hold other images than those that are counted"):
            run(images=images, thresholds_from=others)
    with pytest.raises(ValueError, match="some image is in both"):
        run(images=z, thresholds_from=torch.cat([torch.randn(3, 3, 16, 16), z[7:]]), concepts=CONCEPTS)
    with pytest.raises(ValueError, match="concepts must name the labels"):
        run(images=z, thresholds_from=z + 1)


def test_of_generators():
    first, shown = nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 3, 1, bias=False)  # unit 0 is how red the image is
    for conv in (first, shown):
        nn.init.dirac_(conv.weight)
    grown = nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False)
    model = nn.Sequential(nn.Unflatten(1, (3, 2, 2)), first, grown, shown, nn.Tanh()).eval()

    def segmenter(images):
        return (images[:, :1] > 0.5).long()

    segmenter.concepts = ["red"]
    z, others = dissect.latents((12,), 20, seed=1), dissect.latents((12,), 20, seed=2)
    options = {"segmenter": segmenter, "segment": "output", "preset": "iclr2019", "progress": False}
    found = dissect.dissect(model, "1", z, thresholds_from=others, **options)
    assert found["1"].label_thresholds.shape == (4, 2)
    assert found.best()[0].concept == "red"
    assert found.best()[0].information_quality > 0.3
    with pytest.raises(ValueError, match="some image is in both"):
        dissect.dissect(model, "1", z, thresholds_from=z.flip(0), **options)
