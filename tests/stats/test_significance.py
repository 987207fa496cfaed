import itertools

import pytest
import torch

import dissect
from dissect.chosen import cycles, group_of, half_of, rank_keys
from dissect.devices import DeferredReads
from dissect.dissection.decoys import Decoys, PlanePool, side_by_side
from dissect.stats import IouTally, NullTally
from dissect.stats.places import Places
from dissect.stats.sample import LEVELS, PeakSampling
from dissect.stats.significance import Evidence, halves, resampled

CATEGORIES = ("", "object", "object", "color", "scene")


def data(count=30, seed=0, units=5, size=6):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(count, units, 3, 3, generator=generator)
    planes = torch.randint(0, 3, (count, 2, size, size), generator=generator)
    planes[:, 1] = torch.where(planes[:, 1] > 1, 3, 0) * (torch.arange(count) % 3 > 0)[:, None, None]
    return maps, planes.to(torch.int16)


def tally(maps, planes, numbers=None, groups=0, batch=7):
    found = IouTally(torch.full((maps.shape[1],), 0.7), len(CATEGORIES), groups=groups)
    numbers = torch.arange(len(maps)) if numbers is None else numbers
    for part in torch.arange(len(maps)).split(batch):
        found.add(maps[part], planes[part], numbers[part])
    return found


def test_groups_are_halves_of_groups():
    numbers = torch.arange(5000) + 7
    for groups in (2, 4, 64, 128):
        assert torch.equal(group_of(numbers, groups) // 2, group_of(numbers, groups // 2))
        assert group_of(numbers[:2048], groups).bincount(minlength=groups).max() < 3 * 2048 / groups
    assert torch.equal(half_of(numbers), group_of(numbers, 2))
    assert torch.equal(half_of(numbers), (numbers * -7046029254386353131 < 0).long())
    assert len(rank_keys(numbers).unique()) == len(numbers)
    assert 0.4 < (rank_keys(torch.arange(10000))[1:] > rank_keys(torch.arange(10000))[:-1]).double().mean() < 0.6


@pytest.mark.parametrize("number", [2, 3, 10, 101])
def test_a_cycle_goes_through_all(number):
    for moved in cycles(3, number, 5):
        at, seen = 0, []
        for _ in range(number):
            seen.append(at)
            at = int(moved[at])
        assert (at, sorted(seen)) == (0, list(range(number)))
    assert torch.equal(cycles(3, number, 5), cycles(3, number, 5))


def test_all_cycles_of_four_are_as_likely():
    counts = {}
    for moved in cycles(6000, 4, 1).tolist():
        counts[tuple(moved)] = counts.get(tuple(moved), 0) + 1
    assert len(counts) == 6
    assert all(850 < count < 1150 for count in counts.values())


def pooled(planes, numbers, budget=1 << 20, batch=7):
    pool = PlanePool(budget)
    for part in torch.arange(len(planes)).split(batch):
        pool.add(planes[part], numbers[part], int(planes[part].max()) + 1, DeferredReads())
    return pool


def fields(labels):
    return labels.runs, labels.table, labels.offsets, labels.area


@pytest.mark.parametrize("size", [(6, 6), (1, 9), (400, 400)])
def test_a_pool_gives_the_labels_as_they_were_encoded(size):
    generator = torch.Generator().manual_seed(1)
    planes = torch.randint(0, 4, (5, 3, *size), generator=generator, dtype=torch.uint8)
    planes[2] = 0
    pool = pooled(planes, torch.arange(5) + 10, 1 << 30, 2)
    assert pool.numbers == [10, 11, 12, 13, 14]
    for chosen in ([0, 1, 2, 3, 4], [3, 3, 0], [2]):
        labels = pool.labels([number + 10 for number in chosen], 6)
        for mine, expected in zip(fields(labels), fields(dissect.ops.encode_labels(planes[chosen], 6))):
            assert mine.dtype == expected.dtype
            assert torch.equal(mine, expected)
    again = PlanePool()
    again.load_state_dict(pool.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(fields(again.labels([12, 10], 6)), fields(pool.labels([12, 10], 6))))


def test_a_pool_holds_the_same_images_however_they_come():
    _, planes = data(60)
    numbers = torch.arange(60)
    whole = pooled(planes, numbers)
    budget = whole._held // 3
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    pools = [pooled(planes, numbers, budget, batch) for batch in (1, 7, 60)]
    pools.append(pooled(planes[order], numbers[order], budget, 5))
    keys = rank_keys(numbers)
    for pool in pools:
        assert 10 < len(pool.numbers) < 30
        assert pool.numbers == pools[0].numbers
        assert pool._held <= budget
        outside = [number for number in range(60) if number not in pool.numbers]
        assert keys[pool.numbers].max() < keys[outside].min()


def loaded(state):
    pool = PlanePool()
    pool.load_state_dict(state)
    return pool


def test_a_state_of_a_pool_that_cannot_be_is_refused():
    _, planes = data(4)
    state = pooled(planes, torch.arange(4)).state_dict()
    runs = state["runs"]
    for name, value in {
        "runs": torch.cat([runs[:-1], runs[-1:] + (1 << 17)]),
        "table": state["table"] + 1,
        "rows": [row + 1 for row in state["rows"]],
        "lengths": state["lengths"][:-1],
        "size": [6, 7],
    }.items():
        with pytest.raises(ValueError, match="the run's pool of planes"):
            loaded(state | {name: value}).check(lambda labels: labels, 4)
    more = runs.clone()
    more[0] |= 200  # a row that its table does not have
    with pytest.raises(ValueError, match="name rows of its table"):
        PlanePool().load_state_dict(state | {"runs": more})


def together(planes):
    """Planes of several decoys, encoded as one; label c of decoy k is k (C - 1) + c."""
    parts = [torch.where(part > 0, part + k * (len(CATEGORIES) - 1), 0) for k, part in enumerate(planes)]
    return dissect.ops.encode_labels(torch.cat(parts, 1), 1 + len(parts) * (len(CATEGORIES) - 1))


@pytest.mark.parametrize("size", [(6, 6), (1, 9), (400, 400)])
def test_labels_side_by_side_are_those_of_all_planes_together(size):
    generator = torch.Generator().manual_seed(1)
    planes = torch.randint(0, len(CATEGORIES), (3, 4, 2, *size), generator=generator, dtype=torch.int16)
    planes[0, 1] = planes[1, 1]
    planes[2, 3] = 0
    parts = [dissect.ops.encode_labels(part, len(CATEGORIES)) for part in planes]
    for mine, expected in zip(fields(side_by_side(parts)), fields(together(planes))):
        assert mine.dtype == expected.dtype
        assert torch.equal(mine, expected)


def test_decoys_are_every_other_image_once():
    _, planes = data(30)
    numbers = torch.arange(30)
    decoys = Decoys(pooled(planes, numbers), 30, 3, seed=4)
    assert decoys.count == 3
    own = []
    for places in decoys._places:
        taken = decoys._numbers[places]
        assert sorted(taken.tolist()) == list(range(30))
        assert not bool((taken == numbers).any())
        own.append(planes[taken[[3, 9]]])
    labels = decoys.labels(torch.tensor([3, 9]), len(CATEGORIES))
    assert all(torch.equal(a, b) for a, b in zip(fields(labels), fields(together(own))))
    few = Decoys(pooled(planes, numbers, 9000), 30, 200, seed=4)
    assert len(few._numbers) < 10
    for number in few._numbers.tolist():
        labels = few.labels(torch.tensor([number]), len(CATEGORIES))
        for decoy, found in enumerate(labels.planes[0].split(2)):
            found = torch.where(found > 0, found - decoy * (len(CATEGORIES) - 1), 0)
            assert not torch.equal(found, planes[number].int())
    assert Decoys(pooled(planes[:1], numbers[:1]), 1, 4, 0).count == 0


def test_p_values_rates_and_cutoffs_by_hand():
    nothing = torch.empty(0)
    evidence = Evidence(torch.tensor([[0.1, 0.2, 0.0], [0.3, 0.1, 0.1]]), nothing, nothing, nothing, nothing)
    scores = torch.tensor([0.5, 0.2, 0.1])
    assert evidence.p_values(scores).tolist() == [1 / 7, 3 / 7, 6 / 7]
    # One null value above 0.25, and one more: 2 / 2 decoys for one unit of 0.5; above 0.3 none.
    assert evidence.false_discovery_rate(scores, 0.25) == 1.0
    assert evidence.false_discovery_rate(scores, 0.3) == 0.5
    assert evidence.cutoff_at(scores, 0.5) == pytest.approx(0.3)
    assert evidence.cutoff_at(scores, 0.05) is None
    assert evidence.false_discovery_rate(scores, 0.6) != evidence.false_discovery_rate(scores, 0.6)  # NaN
    without = Evidence(torch.empty(0, 3), nothing, nothing, nothing, nothing)
    assert without.p_values(scores).isnan().all()
    assert without.cutoff_at(scores, 0.05) is None


@pytest.mark.parametrize("scope", ["all", "category"])
def test_groups_add_up_and_intervals_are_those_of_plain_loops(scope):
    maps, planes = data(40)
    labels = torch.tensor([1, 2, 3, 1, 3])
    found = tally(maps, planes, groups=64)
    shared, fires, carries = found.by_group(labels, scope, CATEGORIES)
    units = torch.arange(5)
    assert torch.equal(shared.sum(0), found.intersection()[units, labels])
    assert torch.equal(carries.sum(0), found.label_area().sum(0)[labels])
    area = found.scoped_unit_area(scope, CATEGORIES)
    assert torch.equal(fires.sum(0), area if scope == "all" else area[units, labels])
    # The same images drawn, each group one by one.
    interval = resampled(found, labels, scope, CATEGORIES, 50, seed=3)
    group = group_of(torch.arange(40), 64)
    present = group.unique()
    drawn = torch.randint(len(present), (50, len(present)), generator=torch.Generator().manual_seed(3))
    scores = []
    for row in drawn:
        chosen = torch.cat([(group == present[at]).nonzero().flatten() for at in row])
        again = tally(maps[chosen], planes[chosen])
        scores.append(again.iou(scope, CATEGORIES)[units, labels])
    expected = torch.stack(scores).sort(0).values[[1, 48]].T  # 2.5 % of 49 steps is the first
    assert torch.equal(interval, expected)
    # Folding, and another split into batches, change nothing.
    found.fold(CATEGORIES if scope == "category" else ("",) * len(CATEGORIES))
    assert torch.equal(resampled(found, labels, scope, CATEGORIES, 50, seed=3), interval)
    other = tally(maps, planes, groups=64, batch=11)
    assert torch.equal(resampled(other, labels, scope, CATEGORIES, 50, seed=3), interval)
    assert torch.equal(other.intersection(), tally(maps, planes).intersection())


def test_an_interval_covers_the_true_value_as_often_as_it_says():
    # A unit that fires where its label is in a share of images of its own: the true IoU is known.
    covered = 0
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        right = torch.rand(200, generator=generator) < 0.3
        maps = torch.ones(200, 1, 1, 2)
        maps[..., 1] = 0
        planes = torch.zeros(200, 1, 1, 2, dtype=torch.uint8)
        planes[:, 0, 0, 0] = right
        found = IouTally(torch.tensor([0.5]), 2, groups=128)
        found.add(maps, planes, torch.arange(200))
        low, high = resampled(found, torch.tensor([1]), "all", ("", "a"), 200, seed=0)[0].tolist()
        covered += low <= 0.3 <= high
    assert 88 <= covered <= 99


@pytest.mark.parametrize("scope", ["all", "category"])
def test_halves_are_what_half_of_the_images_gives(scope):
    maps, planes = data(40, seed=2)
    numbers = torch.arange(40) * 3
    labels, held_out = halves(tally(maps, planes, numbers, groups=16), scope, CATEGORIES)
    scores = []
    for half in (0, 1):
        here = half_of(numbers) == half
        scores.append(tally(maps[here], planes[here], numbers[here]).iou(scope, CATEGORIES))
    for half in (0, 1):
        best = [score[:, 1:].argmax(1) + 1 for score in scores]
        assert torch.equal(labels[half], best[half])
        assert torch.equal(held_out[half], scores[half].gather(1, best[1 - half][:, None])[:, 0])


def test_groups_merge_and_go_on_and_must_agree():
    maps, planes = data(20)
    whole, first, second = (tally(maps[part], planes[part], torch.arange(20)[part], groups=8)
                            for part in (slice(0, 20), slice(0, 9), slice(9, 20)))  # fmt: skip
    first.merge(second)
    again = IouTally(first.thresholds, len(CATEGORIES), groups=8)
    again.load_state_dict(whole.state_dict())
    for other in (first, again):
        for a, b in zip(whole.by_group(torch.ones(5).long()), other.by_group(torch.ones(5).long())):
            assert torch.equal(a, b)
        assert torch.equal(whole.images_by_group(), other.images_by_group())
    with pytest.raises(ValueError, match="their groups differs"):
        first.merge(tally(maps, planes))
    with pytest.raises(ValueError, match="must have 4 groups of images"):
        IouTally(first.thresholds, len(CATEGORIES), groups=4).load_state_dict(whole.state_dict())
    for groups in (1, 3, -2):
        with pytest.raises(ValueError, match="groups must be 0 or a power of two"):
            IouTally(first.thresholds, 3, groups=groups)
    state = whole.state_dict()
    state["grouped"] = state["grouped"] + 1
    with pytest.raises(ValueError, match="the groups' intersections add up"):
        again.load_state_dict(state)


def test_too_few_images_give_no_interval_and_no_halves():
    maps, planes = data(3)
    found = tally(maps, planes, groups=16)
    assert resampled(found, torch.ones(5).long(), "all", CATEGORIES, 50, 0).isnan().all()
    one = tally(maps[:1], planes[:1], groups=16)
    labels, held_out = halves(one, "all", CATEGORIES)
    assert (labels == 0).all()
    assert held_out.isnan().all()


@pytest.mark.parametrize("categories", [None, CATEGORIES])
def test_the_null_is_the_best_iou_of_each_decoy(categories):
    maps, planes = data(20)
    others = [planes, planes.roll(1, 0), planes.roll(5, 0)]
    parts = [torch.arange(20), torch.arange(8), torch.arange(8, 20)]
    whole, first, second = (NullTally(torch.full((5,), 0.7), 5, 3, categories=categories) for _ in range(3))
    for null, part in zip((whole, first, second), parts):
        for batch in part.split(7):
            null.add(maps[batch], together([other[batch] for other in others]))
    scope = "all" if categories is None else "category"
    expected = torch.stack([tally(maps, other).iou(scope, CATEGORIES)[:, 1:].amax(1) for other in others])
    assert torch.equal(whole.scores(), expected)
    assert len(set(expected.sum(1).tolist())) == 3
    second.merge(first)
    again = NullTally(torch.full((5,), 0.7), 5, 3, categories=categories)
    again.load_state_dict(second.state_dict())
    assert torch.equal(again.scores(), expected)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("thresholds", lambda value: value + 1, "its thresholds are this state's"),
        ("intersection", lambda value: value + 1, "label 0 is counted nowhere"),
        ("intersection", lambda value: value[:, :-1], "its intersection has this state's shape"),
        ("label_area", lambda value: value * 0, "no intersection exceeds its label's area"),
        ("unit_area", lambda value: value * 0, "no intersection exceeds its unit's area"),
        ("unit_area", lambda value: value.float(), "unit_area"),
        ("grid", lambda value: "another", "its grid is this state's"),
    ],
)
def test_a_state_of_a_null_that_cannot_be_is_refused(name, change, message):
    maps, planes = data(4)
    null = NullTally(torch.full((5,), 0.7), 5, 2)
    null.add(maps, together([planes, planes.roll(1, 0)]))
    state = null.state_dict()
    with pytest.raises(ValueError, match=f"NullTally: the state .*{message}"):
        NullTally(torch.full((5,), 0.7), 5, 2).load_state_dict(state | {name: change(state[name])})
    with pytest.raises(ValueError, match="must agree, but their decoys differs"):
        null.merge(NullTally(torch.full((5,), 0.7), 5, 3))
    with pytest.raises(ValueError, match="num_labels must be the labels' 13"):
        null.add(maps, together([planes] * 3))


@pytest.mark.parametrize("categories", [None, ("", "a", "a", "b")])
def test_place_alone_is_the_best_of_all_masks(categories):
    generator = torch.Generator().manual_seed(0)
    planes = torch.randint(0, 4, (6, 2, 2, 3), generator=generator)
    planes[:3][planes[:3] == 3] = 0
    places = Places(4, categories)
    for part in torch.arange(6).split(4):
        areas = dissect.ops.encode_labels(planes[part], 4).area
        places.add(planes[part], areas)
    found = places.iou(torch.arange(4))
    for label in (1, 2, 3):
        has = (planes == label).any(1).flatten(1)
        members = [at for at in (1, 2, 3) if categories is None or categories[at] == categories[label]]
        seen = torch.stack([(planes == at).flatten(1).any(1) for at in members]).any(0)
        images = torch.ones(6, dtype=torch.bool) if categories is None else seen
        best = 0.0
        for mask in itertools.product([False, True], repeat=6):
            fires = torch.tensor(mask)[None] & images[:, None]
            union = (fires | has).sum()
            best = max(best, float((fires & has).sum() / union) if union else 0.0)
        assert float(found[label]) == pytest.approx(best)
    assert found[0] == 0
    again = Places(4, categories)
    again.load_state_dict(places.state_dict())
    assert torch.equal(again.iou(torch.tensor([3, 0, 1, 1])), found[[3, 0, 1, 1]])


def test_a_sample_is_the_same_in_any_batches_and_its_images_lie_at_their_levels():
    peaks = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0))
    samples = []
    for batch, order in ((7, torch.arange(1000)), (300, torch.arange(1000).flip(0))):
        sampling = PeakSampling()
        for part in order.split(batch):
            sampling.add({"a": peaks[part]}, part)
        samples.append(sampling)
    again = PeakSampling()
    again.load_state_dict(samples[0].state_dict(), ["a"])
    for sampling in (samples[1], again):
        assert torch.equal(sampling.spread("a"), samples[0].spread("a"))
        for a, b in zip(sampling.at_levels("a"), samples[0].at_levels("a")):
            assert torch.equal(a, b)
    images, values = samples[0].at_levels("a")
    shown = samples[0].shown()
    assert samples[0].spread("a").shape == (3, 512)
    assert len(shown) == 64
    for unit in range(3):
        for at, level in enumerate(LEVELS):
            assert peaks[images[unit, at], unit] == values[unit, at]
            assert (peaks[shown, unit] < values[unit, at]).sum() == int(level * 64)
    assert torch.equal(
        samples[0].spread("a"), peaks[rank_keys(torch.arange(1000)).sort().indices[:512]].T.sort(1).values
    )


def test_groups_of_more_pixels_than_int32_holds_are_counted_in_int64():
    maps, planes = data(20)
    expected = tally(maps, planes, groups=4)
    full = IouTally(torch.full((5,), 0.7), len(CATEGORIES), groups=4)
    full._pixels = (1 << 31) - 36 * 8
    for part in torch.arange(20).split(7):
        full.add(maps[part], planes[part], part)
        assert full._grouped.dtype == (torch.int32 if len(part) == 7 and part[0] == 0 else torch.int64)
    empty = IouTally(torch.full((5,), 0.7), len(CATEGORIES), groups=4)
    empty.merge(full)
    assert empty._grouped.dtype == torch.int64
    for found in (full, empty):
        assert torch.equal(found.state_dict()["grouped"], expected.state_dict()["grouped"])
        assert all(torch.equal(a, b) for a, b in zip(found.by_half()[0], expected.by_half()[0]))
