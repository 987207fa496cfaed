"""Biases of dissection, on maps that are as large as their planes, so that masks can be counted by hand."""

import math

import pytest
import torch
from torch import nn

from dissect import Concepts, Grid
from dissect.experiments import biases
from dissect.experiments.biases.units import EVEN, ODD
from dissect.experiments.biases.vocabulary import combined
from dissect.reference import upsample

CONCEPTS = Concepts.of([("car", "object"), ("tree", "object"), ("red", "color"), ("green", "color"), ("wheel", "part")])
FRACTION = 0.25
OPTIONS = {"fraction": FRACTION, "decoys": 0, "resamples": 0}

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")


@pytest.fixture(autouse=True, scope="module")
def _uncollected():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dissect.experiments.biases.maps.gc.collect", lambda: 0)  # most of the time, of so little
        yield


@pytest.fixture(scope="module")
def maps():
    """Six images, four units that are planes of the images, two planes of labels."""
    stream = torch.Generator().manual_seed(0)
    images = torch.rand(6, 4, 8, 8, generator=stream)
    planes = torch.stack([torch.randint(0, 3, (6, 8, 8), generator=stream), torch.randint(3, 6, (6, 8, 8))], 1)
    planes[:, 1][torch.rand(6, 8, 8, generator=stream) < 0.5] = 0
    images[:, 0] += (planes[:, 0] == 1).float()  # unit 0 sees cars
    return biases.LayerMaps(nn.Sequential(nn.Identity()), ["0"], [(images, planes)], CONCEPTS, batch_size=4)


def masks_of(maps, level, images):
    """[N, U, H, W] bool, and [N, C, H, W] of the labels."""
    shown = torch.stack([(maps.planes[images] == label).any(1) for label in range(len(CONCEPTS))], 1)
    return maps.maps["0"][images] > level[:, None, None], shown


def iou_of(one, other):
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 0.0


def test_maps_are_those_of_the_network(maps):
    assert maps.maps["0"].shape == (6, 4, 8, 8)
    assert maps.planes.shape == (6, 2, 8, 8)
    found = maps.dissected("0", images=EVEN, **OPTIONS)
    layer = biases.only(found)
    masks, shown = masks_of(maps, layer.thresholds, EVEN)
    for unit in range(4):
        for label in range(1, len(CONCEPTS)):
            assert layer.iou[unit, label] == pytest.approx(iou_of(masks[:, unit], shown[:, label]), abs=1e-6)
    rows = [row for row in found.best() if row.iou > 0.04]
    assert biases.found(found) == (len(rows), len({row.concept for row in rows}))


def test_images_alone_are_refused():
    with pytest.raises(ValueError, match=r"^LayerMaps: images must be \(image, planes\) pairs"):
        biases.LayerMaps(nn.Sequential(nn.Identity()), ["0"], [torch.rand(2, 3, 8, 8)], CONCEPTS)


def test_no_images_are_refused_and_training_mode_is_told():
    with pytest.raises(ValueError, match=r"^LayerMaps: images must be at least one, but there are none"):
        biases.LayerMaps(nn.Sequential(nn.Identity()), ["0"], [], CONCEPTS)
    scenes = [(torch.rand(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.int64))]
    with pytest.warns(UserWarning, match=r"^LayerMaps: the model is in training mode"):
        biases.LayerMaps(nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)), ["0"], scenes, CONCEPTS)


def test_intervals():
    values = torch.arange(100.0)
    mean, low, high = biases.mean_interval(values)
    error = values.std(correction=0) / 10
    assert mean == 49.5
    assert low == pytest.approx(49.5 - 1.96 * error, abs=1)
    assert high == pytest.approx(49.5 + 1.96 * error, abs=1)
    with pytest.raises(ValueError, match=r"^mean_interval: draws must be at least 2, since one draw has no interval"):
        biases.mean_interval(values, draws=1)


def test_without_its_concept(maps):
    whole = maps.dissected("0", **OPTIONS)
    rows = biases.removed(maps, "0", whole)
    assert {(row.category, row.concept) for row in rows} == {(r.category, r.concept) for r in whole.detectors()}
    for row in rows:
        label = CONCEPTS.names.index(row.concept)
        planes = torch.where(maps.planes == label, 0, maps.planes)
        again = maps.dissected("0", planes=planes, **OPTIONS | {"fraction": 0.01}).best()
        for before, after, overlap in zip(row.before, row.after, row.overlaps):
            assert (after.unit, after.concept) == (before.unit, again[before.unit].concept)
            assert after.concept != row.concept
            other = CONCEPTS.names.index(after.concept) if after.iou > 0 else -1
            own, its = ((maps.planes == number).any(1) for number in (label, other))
            assert overlap == pytest.approx(iou_of(own, its))
    assert [row.concept for row in biases.removed(maps, "0", whole, most=1)] == [rows[0].concept]


def test_a_unit_that_nothing_fits_any_more(maps):
    planes = torch.where(maps.planes == 1, 1, 0)
    alone = biases.LayerMaps(nn.Sequential(nn.Identity()), ["0"], [(maps.maps["0"], planes)], CONCEPTS)
    (car,) = biases.removed(alone, "0", alone.dissected("0", **OPTIONS))
    assert (car.concept, {row.iou for row in car.after}, set(car.overlaps)) == ("car", {0.0}, {0.0})


def test_separation():
    assert biases.separation([1, 2], [2, 3]) == 3.5 / 4
    assert biases.separation([0, 1], [2]) == 1
    assert biases.separation([2], [1]) == 0
    assert math.isnan(biases.separation([], [1]))


def test_reach(maps):
    whole = maps.dissected("0", fraction=FRACTION, resamples=0, detector_iou=0.3)
    row = biases.reach("a quarter", whole)
    shares = [float((maps.planes == label).any(1).double().mean()) for label in range(1, len(CONCEPTS))]
    bounds = [min(share, FRACTION) / max(share, FRACTION) for share in shares]
    assert row[:4] == ("a quarter", 5, sum(bound > 0.3 for bound in bounds), len(whole.detectors()))
    assert row.by_chance == biases.only(whole).evidence.by_chance(0.3)
    with pytest.raises(ValueError, match=r"^reach: dissection must have been counted with decoys"):
        biases.reach("none", maps.dissected("0", **OPTIONS))


def test_combinations(maps):
    count, order = len(CONCEPTS), torch.tensor([5, 0, 1, 2, 3, 4])
    planes, concepts = combined(maps, "color", order, 0.05)
    assert torch.equal(planes[:, :2], maps.planes)
    for label in range(count, len(concepts)):
        first, second = (CONCEPTS.names.index(name) for name in concepts.names[label].split(", "))
        assert (concepts.categories[label], CONCEPTS.categories[second]) == ("combination", "color")
        both = (maps.planes[:, 0] == first) & (maps.planes[order, 1] == second)
        assert torch.equal(planes[:, 2] == label, both)
        assert both.float().mean() >= 0.05
    rare, same = combined(maps, "color", order, 0.9)
    assert len(same) == count
    assert not rare[:, 2].any()


def test_many_combinations_need_wider_planes():
    names = [(f"o{n}", "object") for n in range(15)] + [(f"c{n}", "color") for n in range(15)]
    places = torch.arange(225).view(1, 15, 15)
    planes = torch.stack([places // 15 + 1, places % 15 + 16], 1).to(torch.uint8)
    own = biases.LayerMaps(
        nn.Sequential(nn.Identity()), ["0"], [(torch.rand(1, 3, 15, 15), planes)], Concepts.of(names)
    )
    wider, concepts = combined(own, "color", torch.tensor([0]), 0.0)
    assert wider[0, 2].unique().tolist() == list(range(31, 256)) == list(range(31, len(concepts)))


def test_what_prefers_combinations(maps):
    whole = maps.dissected("0", **OPTIONS)
    seen = biases.finer(maps, "0", whole, "color")
    planes, concepts = combined(maps, "color", torch.arange(6), 0.04 * FRACTION)
    rows = [
        row for row in maps.dissected("0", planes=planes, concepts=concepts).best() if row.category == "combination"
    ]
    assert seen[:3] == ("color", len(concepts) - len(CONCEPTS), len(rows))
    assert seen.detectors <= seen.units
    other = biases.finer(maps, "0", whole, "color", elsewhere=True, seed=1)
    assert other != biases.finer(maps, "0", whole, "color", elsewhere=True, seed=2)


def test_sizes(maps):
    layer = biases.only(whole := maps.dissected("0", **OPTIONS))
    share, best = biases.sizes(whole)[0]
    assert share == float((maps.planes == 1).any(1).double().mean())
    assert best == float(layer.iou[:, 1].max())


def test_groups_are_the_best_at_each_step(maps):
    found = biases.groups(maps, "0", 2, fraction=FRACTION, cutoff=0.04)
    wide = biases.LayerMaps(nn.Sequential(nn.Identity()), ["0"], [(maps.maps["0"], maps.planes)], CONCEPTS)
    level = biases.only(wide.dissected("0", **OPTIONS)).thresholds
    grid = Grid.half_pixel((8, 8), (4, 4))
    fires = torch.stack([upsample(each, grid.rows, grid.columns) for each in maps.maps["0"]]) > level[:, None, None]
    shown = torch.stack([(maps.planes[:, :, 1::2, 1::2] == label).any(1) for label in range(len(CONCEPTS))], 1)
    for label in range(1, len(CONCEPTS)):
        scores = [iou_of(fires[EVEN, unit], shown[EVEN, label]) for unit in range(4)]
        first = scores.index(max(scores))
        pairs = [iou_of(fires[EVEN, first] | fires[EVEN, unit], shown[EVEN, label]) for unit in range(4)]
        second = pairs.index(max(pairs))
        assert found.groups[0][label] == pytest.approx(iou_of(fires[ODD, first], shown[ODD, label]), abs=1e-6)
        both = fires[ODD, first] | fires[ODD, second]
        assert found.groups[1][label] == pytest.approx(iou_of(both, shown[ODD, label]), abs=1e-6)
    assert torch.equal(found.singles[0], found.groups[0])
    assert not found.reachable[0]
    assert found.reachable[1:].all()


def test_places_of_cells():
    stream = torch.Generator().manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.MaxPool2d(2)).eval()
    scenes = [(torch.rand(4, 3, 8, 8, generator=stream), torch.randint(0, 3, (4, 1, 8, 8), generator=stream))]
    own = biases.LayerMaps(net, ["1"], scenes, Concepts.of(["car", "tree"]))
    half, exact, whole = biases.placed(own, "1")
    assert [row.kind for row in (half, exact, whole)] == ["half_pixel", "receptive_field", "netdissect"]
    assert (half.units, half.renamed, half.largest) == (3, 0, 0.0)
    assert exact[2:] == half[2:]  # of padded convolutions and poolings of two
    assert whole.largest > 0


def test_a_mask_beside_what_it_is_named_for():
    planes = torch.zeros(4, 1, 20, 20, dtype=torch.int64)
    planes[:, :, 2, 2:4] = 1
    fires = torch.zeros(4, 3, 20, 20)
    fires[:, :, 2, 3:5] = 1.0  # half a percent, a cell to the right
    own = biases.LayerMaps(nn.Sequential(nn.Identity()), ["0"], [(fires, planes)], Concepts.of(["car"]))
    found = biases.shifted(own, "0", (-1, 0, 1))
    assert found.common == (0, 1)
    assert found.unmoved == 0
    assert (found.before[0], found.after[0]) == (1 / 3, 1)
    with pytest.raises(ValueError, match=r"^shifted: steps must have 0 among them"):
        biases.shifted(own, "0", (1,))


def test_fewer_units(maps):
    whole = maps.dissected("0", **OPTIONS)
    one, every = biases.rarefied(whole, (1, 4), draws=50)
    detectors, concepts = biases.found(whole)
    assert every == (4, (detectors,) * 3, (concepts,) * 3)
    assert one.detectors[0] == pytest.approx(detectors / 4, abs=0.2)
