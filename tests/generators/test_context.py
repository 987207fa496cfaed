"""Insertions at every place, against a loop over z, places and labels."""

import numpy as np
import pytest
import torch
from generators.painter import Colours, Painter, pixels

import dissect
from dissect import generators

OPTIONS = {"progress": False, "batch_size": 16}
VALUE = torch.linspace(1, 3, 8)


@pytest.fixture
def model():
    return Painter().eval()


@pytest.fixture
def z():
    return dissect.latents((5,), 30, seed=3)


def by_hand(model, z, units, values, block, colours=None):
    """New red pixels [N, P] and the labels [N, P, 3] at the centres, one insertion at a time."""
    places = 5 - block
    changes = np.zeros((len(z), places * places), dtype=int)
    labels = np.zeros((len(z), places * places, 3), dtype=int)
    with torch.no_grad():
        own, planes, level = model(z), Colours()(model(z)), (colours or Colours()).level
        before = pixels(own, level)[:, 1]
        for n in range(len(z)):
            for p in range(places * places):
                row, column = divmod(p, places)
                maps = model.maps(z[n : n + 1])
                for unit in units:
                    maps[0, unit, row : row + block, column : column + block] = values[n][unit]
                changes[n, p] = pixels(model.paint(maps), level)[0, 1] - before[n]
                # A cell is 2 pixels wide; of even blocks the centre is the first pixel after the middle.
                labels[n, p] = planes[n, :, 2 * row + block, 2 * column + block].numpy()
    return changes, labels, before


@pytest.mark.parametrize("block", [1, 2, 3])
def test_insertions_are_those_of_a_loop(model, z, block):
    found = generators.insertion_context(
        model, "features", [0, 3], z, Colours(), "red", value=VALUE, block=block, least=20, **OPTIONS
    )
    changes, labels, before = by_hand(model, z, [0, 3], [VALUE] * 30, block)
    assert np.array_equal(found.changes.numpy(), changes)
    assert torch.equal(found.before, before)
    assert np.array_equal(found.contexts.numpy(), labels.transpose(0, 2, 1))
    assert found.map.flatten().numpy() == pytest.approx(changes.mean(0) / before.double().mean().item())
    rows = {row.context: row for row in [*found.table, *found.rest]}
    for label, name in ((1, "red"), (2, "green")):
        here = (labels == label).any(2)
        assert rows[name].samples == here.sum()
        if here.sum() >= 20:
            added = changes[here].mean() / before.double().mean().item()
            assert rows[name].added == pytest.approx(added)
            assert rows[name].images == here.any(1).sum()
            assert rows[name].low <= rows[name].added <= rows[name].high
    assert {"red", "green"} == set(rows)


def test_random_units_and_a_second_segmenter_are_those_of_a_loop(model, z):
    found = generators.insertion_context(
        model, "features", [0, 3], z, Colours(), "red", value=VALUE, block=2, least=20, draws=2, seed=5,
        second=Colours(0.7), **OPTIONS,
    )  # fmt: skip
    changes, labels, before = by_hand(model, z, [0, 3], [VALUE] * 30, 2)
    chance = torch.Generator().manual_seed(5)
    assert found.random_units.tolist() == [torch.randperm(8, generator=chance)[:2].tolist() for _ in range(2)]
    random = [by_hand(model, z, units, [VALUE] * 30, 2)[0] for units in found.random_units.tolist()]
    assert np.array_equal(found.random_changes.numpy(), random)
    second, _, second_before = by_hand(model, z, [0, 3], [VALUE] * 30, 2, Colours(0.7))
    assert np.array_equal(found.second_changes.numpy(), second)
    assert torch.equal(found.second_before, second_before)
    assert not np.array_equal(second, changes)
    rows = {row.context: row for row in found.table}
    for label, name in ((1, "red"), (2, "green")):
        here = (labels == label).any(2)  # as the first segmenter sees it
        assert rows[name].added == pytest.approx(changes[here].mean() / before.double().mean().item())
        drawn = np.mean([each[here].mean() for each in random])
        assert rows[name].random == pytest.approx(drawn / before.double().mean().item())
        assert rows[name].second == pytest.approx(second[here].mean() / second_before.double().mean().item())
    alone = generators.insertion_context(
        model, "features", [0, 3], z, Colours(), "red", value=VALUE, block=2, least=20, draws=0, seed=5, **OPTIONS
    )
    assert torch.equal(alone.changes, found.changes)
    assert [row[:7] for row in alone.table] == [row[:7] for row in found.table]  # intervals too
    assert {(row.random, row.second) for row in alone.table} == {(None, None)}


def test_all_that_was_found_is_saved_and_read(model, z, tmp_path):
    options = {"value": VALUE, "least": 20, **OPTIONS}
    for more in ({"second": Colours(0.7)}, {"draws": 0}):
        found = generators.insertion_context(model, "features", [0, 3], z, Colours(), "red", **options, **more)
        read = dissect.load(found.save(tmp_path / "red"))
        assert (read.table, read.rest, read.settings) == (found.table, found.rest, found.settings)
        tensors, meta = found.contents()
        assert ("second_before" in tensors, "random_units" in tensors) == ("second" in more, "second" in more)
    whole, meta = generators.insertion_context(
        model, "features", [0, 3], z, Colours(), "red", second=Colours(0.7), **options
    ).contents()
    for missing in ("random_units", "second_changes"):
        some = {name: tensor for name, tensor in whole.items() if name != missing}
        with pytest.raises(ValueError, match="come together"):
            generators.InsertionContext.from_contents("file", some, meta)


def test_the_default_level_is_the_mean_where_the_class_is_in_the_other_half(model, z):
    found = generators.insertion_context(model, "features", [0, 1], z, Colours(), "red", least=5, **OPTIONS)
    with torch.no_grad():
        maps, red = model.maps(z).double(), (model(z)[:, 0] > 0.5).double()
    presence = red.view(30, 4, 2, 4, 2).mean((2, 4))
    k = [(maps[half::2] * presence[half::2, None]).sum((0, 2, 3)) / presence[half::2].sum() for half in (0, 1)]
    changes, _, _ = by_hand(model, z, [0, 1], [k[1 - n % 2].float() for n in range(30)], 1)
    assert np.array_equal(found.changes.numpy(), changes)
    assert float(found.map.mean()) > 0


def test_few_samples_are_named_and_few_z_have_no_interval(model, z):
    found = generators.insertion_context(
        model, "features", [0], z[:9], Colours(), "red", value=2.0, least=1000, **OPTIONS
    )
    assert len(found.table) == 0
    assert {row.context for row in found.rest} == {"red", "green"}
    assert "0 contexts of at least 1000 samples, 2 of fewer" in repr(found)
    found.least = 1
    assert [(row.low, row.high) for row in found.table] == [(None, None)] * 2
    assert found.rest == []


def test_interval_draws_z_again(model, z):
    found = generators.insertion_context(
        model, "features", [0], z, Colours(), "red", value=2.0, least=1, resamples=100, **OPTIONS
    )
    changes, labels, before = by_hand(model, z, [0], [torch.full((8,), 2.0)] * 30, 1)
    here = (labels == 2).any(2)
    drawn = torch.randint(30, (100, 30), generator=torch.Generator().manual_seed(0)).numpy()
    values = sorted(
        changes[numbers][here[numbers]].mean() / before[numbers].double().mean().item() for numbers in drawn
    )
    (row,) = [row for row in found.table if row.context == "green"]
    assert (row.low, row.high) == pytest.approx((values[2], values[97]))


def test_a_figure_shows_contexts_and_places(model, z):
    found = generators.insertion_context(model, "features", [0], z, Colours(), "red", value=2.0, least=1, **OPTIONS)
    bars, places = found.plot().axes
    assert [text.get_text() for text in bars.get_yticklabels()] == [
        f"{row.context} ({row.category})" for row in found.table
    ]
    assert len(places.texts) == 16
    lines = [lines.get_segments()[0] for lines in bars.collections]
    assert [(line[0][0], line[1][0]) for line in lines] == [(row.low, row.high) for row in found.table]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"block": 5}, ValueError, "block must be at most 4"),
        ({"least": 0}, ValueError, "least must be at least 1"),
        ({"value": torch.zeros(3)}, ValueError, r"shape \[U\] with U=8"),
        ({"concept": "blue"}, ValueError, "finds no pixel of 'color/blue'"),
        ({"units": [9]}, ValueError, "must be below 8"),
        ({"resamples": -1}, ValueError, "resamples must be at least 0"),
        ({"resamples": 1}, ValueError, "^insertion_context: resamples must be at least 2, since one draw"),
    ],
)
def test_what_is_wrong_is_said(model, z, change, error, text):
    arguments = {"units": [0, 1], "z": z, "segmenter": Colours(), "concept": "red"}
    with pytest.raises(error, match=text):
        generators.insertion_context(model, "features", **{**arguments, **OPTIONS, **change})
