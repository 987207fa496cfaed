"""What a dissection says of how far its labels can be trusted."""

import pytest
import torch
from small_dissection import Scenes, network, run, same
from torch import nn

import dissect

SIZE = 12


def scenes(count, seed=0):
    """Images whose first channel shows where label 1 is, and whose second one label 2, which lies at one place."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, SIZE, SIZE, generator=generator) * 0.1
    planes = torch.zeros(count, 2, SIZE, SIZE, dtype=torch.uint8)
    for n in range(count):
        if n % 2:
            y, x = torch.randint(0, SIZE - 4, (2,), generator=generator).tolist()
            planes[n, 0, y : y + 4, x : x + 4] = 1
        planes[n, 1, -4:] = 2
    images[:, 0] += (planes[:, 0] == 1) * 0.9
    images[:, 1] += torch.linspace(0, 1, SIZE)[:, None]
    return images, planes


def identity():
    """Units 0 to 2 are the channels."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False))
    net[0].weight.data = torch.eye(3)[:, :, None, None]
    return net.eval()


def found(count=80, **options):
    options = {"fraction": 0.05, "concepts": ["thing", "ground"], "batch_size": 7, "progress": False, **options}
    images, planes = scenes(count)
    size = options.pop("batch_size")
    batches = [(images[i : i + size], planes[i : i + size]) for i in range(0, count, size)]
    return dissect.dissect(identity(), "0", batches, **options)


def test_a_detector_is_told_from_place_and_from_noise():
    result = found()
    thing, ground, noise = result.best()
    assert (thing.concept, ground.concept) == ("thing", "ground")
    assert thing.iou == pytest.approx(0.9)  # it fires on 5 %, of the 5.6 % where the thing is
    assert thing.p == pytest.approx(1 / 13)  # of 4 decoys and 3 units none reaches it
    assert thing.low <= thing.iou <= thing.high
    assert thing.shown == 5
    assert thing.same_label is True
    assert thing.held_out > 0.85
    assert thing.precision == pytest.approx(result["0"].intersection[0, 1] / result["0"].unit_area[0])
    assert thing.recall == pytest.approx(result["0"].intersection[0, 1] / result["0"].label_area[1])
    assert thing.place_iou < 0.2 < thing.iou
    # What lies at the same place everywhere is found as well in the planes of any other image.
    assert ground.place_iou == 1.0
    assert ground.p > 0.3
    assert torch.equal(result["0"].evidence.null[:, 1], result["0"].best_iou[1].expand(4))
    assert noise.iou < 0.1


def test_the_null_is_that_of_planes_that_were_permuted_by_hand():
    result = found(count=30, decoys=3, seed=9)
    images, planes = scenes(30)
    moved = dissect.chosen.cycles(3, 30, 9)
    for decoy, order in enumerate(moved):
        again = dissect.dissect(
            identity(), "0", [(images, planes[order])], fraction=0.05, progress=False, decoys=0, resamples=0
        )
        assert torch.equal(result["0"].evidence.null[decoy], again["0"].best_iou)


@pytest.mark.filterwarnings("always::dissect.DoubtfulResultWarning")
def test_detectors_by_chance_are_told():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(6, 3, SIZE, SIZE, generator=generator)
    planes = torch.randint(0, 3, (6, 1, SIZE, SIZE), generator=generator)
    with pytest.warns(dissect.DoubtfulResultWarning, match=r"'0': about 100% of its \d+ .* no cut-off .*6 images"):
        result = dissect.dissect(network(), "0", [(images, planes)], fraction=0.1, progress=False)
    assert result["0"].false_discovery_rate(0.04) == 1.0
    assert result["0"].cutoff_at() is None
    table = result.false_discoveries()
    assert table.columns == ("layer", "cutoff", "units", "by_chance", "rate")
    assert [row.cutoff for row in table] == [round(0.01 * at, 2) for at in range(len(table))]
    for row in table:
        assert row.units == (result["0"].best_iou > row.cutoff).sum()
        assert row.by_chance == (result["0"].evidence.null > row.cutoff).sum() / 4


def test_what_is_not_asked_for_is_not_known_and_changes_no_count(tmp_path):
    result, plain = found(), found(decoys=0, resamples=0)
    assert torch.equal(result["0"].intersection, plain["0"].intersection)
    row = plain.best()[0]
    assert row[:10] == result.best()[0][:10]
    assert row.p is None
    assert (row.low, row.high, row.held_out) == (None, None, None)
    assert row.same_label is None
    assert row.shown == 5
    assert plain["0"].cutoff_at() is None
    assert plain.false_discoveries() == []
    few = dissect.dissect(identity(), "0", [tuple(part[:8] for part in scenes(8))], decoys=1, progress=False)
    assert not any(value != value for row in (*few.best(), *few.detectors(), *few.false_discoveries()) for value in row)
    assert "nan" not in few.best().to_csv(tmp_path / "few.csv").read_text()
    one = run(images=[(Scenes().images[:1], Scenes().planes[:1])])  # planes of other images are not to be had
    assert one["1"].evidence.null.shape == (0, 8)


@pytest.mark.parametrize("scope", ["all", "category"])
def test_evidence_is_the_same_in_any_batches_and_is_kept(scope, tmp_path):
    result = run(scope=scope)
    same(result, run(scope=scope, batch_size=4))
    same(result, run(scope=scope, memory_budget=0))
    loaded = dissect.load(result.save(tmp_path / "a"))
    same(result, loaded)
    assert str(loaded.best()) == str(result.best())
    assert [row[:10] for row in loaded.best()] == [row[:10] for row in result.best()]
    other = run(scope=scope, seed=1)
    assert not torch.equal(result["1"].evidence.null, other["1"].evidence.null)


def test_a_file_of_before_has_no_evidence(tmp_path):
    result = run()
    for layer in result.layers.values():
        layer.evidence = layer.sample = None
    loaded = dissect.load(result.save(tmp_path / "a"))
    assert loaded["1"].evidence is loaded["1"].sample is None
    row = loaded.best()[0]
    assert row.p is None
    assert row.shown is None
    assert row.margin > 0


def test_printed_the_best_comes_first_and_rows_are_those_of_units():
    table = run().best("1")
    assert [row.unit for row in table] == list(range(8))
    lines = str(table).splitlines()
    assert lines[0].split()[:5] == ["layer", "unit", "concept", "category", "iou"]
    assert int(lines[1].split()[1]) == max(table, key=lambda row: row.iou).unit
    assert lines[-1].startswith("more columns: attainable")


def test_images_alone_give_what_needs_no_labels(tmp_path):
    images = Scenes().images
    labelled = run()
    result = run(images=[images[i : i + 5] for i in range(0, 21, 5)])
    assert result.images_only
    assert not labelled.images_only
    for name in ("1", "3"):
        for field in ("thresholds", "unit_area", "peaks", "peak_images", "peak_maps"):
            assert torch.equal(getattr(result[name], field), getattr(labelled[name], field))
        assert result[name].states() == labelled[name].states()
        assert torch.equal(result[name].sample.images, labelled[name].sample.images)
        assert result[name].evidence is None
    row = result.best()[3]
    assert (row.concept, row.iou, row.firing) == ("-", 0.0, labelled.best()[3].firing)
    assert str(result.best()).splitlines()[0].split() == ["layer", "unit", "threshold", "firing", "state"]
    assert result.detectors() == result.unique_detectors() == []
    same(result, dissect.load(result.save(tmp_path / "a")))
    for options in ({"memory_budget": 0}, {"batch_size": 4}, {"images": images}):
        same(result, run(**{"images": images, **options}))
    small = run(images=images, preset="pnas2020", fraction=0.05, layers="3", relu=False)
    assert small["3"].grid.target_shape == (4, 4)


@pytest.mark.parametrize("moment", [1, 6, 12])
def test_images_alone_go_on(tmp_path, monkeypatch, moment):
    images = Scenes().images
    expected = run(images=images)
    add, calls = dissect.dissection.dissection_run.DissectionRun.add, []

    def stopped(self, step):
        calls.append(step)
        if len(calls) == moment:
            raise KeyboardInterrupt
        add(self, step)

    monkeypatch.setattr(dissect.dissection.dissection_run.DissectionRun, "add", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(images=images, resume=tmp_path)
    monkeypatch.undo()
    same(expected, run(images=images, resume=tmp_path))


def test_vectors_are_units_without_a_place():
    images = Scenes().images
    net = nn.Sequential(network(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()
    result = dissect.dissect(net, ["0.0", "3"], images, fraction=0.2, batch_size=5, progress=False)
    with torch.no_grad():
        values = net(images)
    order = values.T.sort(dim=1, descending=True, stable=True)
    assert torch.equal(result["3"].peak_images, order.indices[:, :5])
    assert torch.allclose(result["3"].peaks, order.values[:, :5])
    assert result["3"].states() == ["ok"] * 5
    # Four images of 21 are at most a share of 0.2.
    assert torch.equal(result["3"].unit_area, torch.full((5,), 4 * 16 * 16))
    with pytest.warns(
        UserWarning, match=r"a fraction of 0.01 of 21 samples is less than one, .* of layer '3' can fire"
    ):
        dissect.dissect(net, ["0.0", "3"], images, progress=False)
    for preset in ("pnas2020", "tpami2018"):
        assert dissect.dissect(net, "3", images, preset=preset, fraction=0.2, progress=False)["3"].num_units == 5


def test_a_sample_of_images_is_shown():
    result = run()
    for layer in result.layers.values():
        sample = layer.sample
        assert sample.levels == (0.9, 0.75, 0.5)
        for unit in range(layer.num_units):
            for at in range(3):
                assert result.image(int(sample.images[unit, at])).shape == (3, 16, 16)
                assert sample.maps[unit, at].max() == sample.values[unit, at]
        assert torch.equal(sample.peaks[:, -1], layer.peaks[:, 0])  # of 21 images all are in the sample


class Renumbered(Scenes):
    """The planes' labels by other numbers, as instances have them."""

    concepts = None
    numbers = torch.tensor([0, 2, 26001, 300_000, 2**31 - 1])

    def __getitem__(self, index):
        image, planes = super().__getitem__(index)
        return image, self.numbers[planes]


@pytest.mark.filterwarnings("ignore:.*labels go up to")
def test_large_label_numbers_are_concepts_only_where_they_occur(tmp_path, monkeypatch):
    named = run()
    result = run(images=Renumbered())
    assert result.concepts.names == ("-", "1", "2", "26001", "300000", str(2**31 - 1))
    for layer in ("1", "3"):
        assert torch.equal(result[layer].intersection[:, [0, 2, 3, 4, 5]], named[layer].intersection)
        assert not result[layer].intersection[:, 1].any()
        assert torch.equal(result[layer].evidence.null, named[layer].evidence.null)
    with pytest.warns(UserWarning, match="labels go up to 2147483647, and no names tell what they are"):
        run(images=Renumbered())
    add, calls = dissect.dissection.dissection_run.DissectionRun.add, []

    def stopped(self, step):
        calls.append(self.phase)
        if calls.count(self.phase) == 3 and self.phase != "thresholds":
            raise KeyboardInterrupt
        add(self, step)

    monkeypatch.setattr(dissect.dissection.dissection_run.DissectionRun, "add", stopped)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(images=Renumbered(), resume=tmp_path)
    monkeypatch.undo()
    assert {"survey", "counts"} <= set(calls)
    same(result, run(images=Renumbered(), resume=tmp_path))
