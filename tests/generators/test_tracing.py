"""Changes of later layers, against a loop over z and places in plain torch."""

from functools import partial

import pytest
import torch
from altered import altered
from generators.painter import Colours, Drawn, Painter
from torch import nn

import dissect
from dissect import generators
from dissect.generators.rendering import Renderer

OPTIONS = {"progress": False, "batch_size": 7}
VALUE = torch.linspace(1, 3, 8)


@pytest.fixture
def model():
    return Painter().eval()


@pytest.fixture
def z():
    return dissect.latents((5,), 20, seed=3)


def painted(model, maps):
    """What `up` gives of the maps, and the red pixels."""
    up = model.up(torch.stack([maps[:, 0] + maps[:, 1], maps[:, 2], torch.full_like(maps[:, 0], -2.0)], 1))
    return up, torch.tanh(up)[:, 0] > 0.5


def by_hand(model, z, units, values, cells, block):
    """Changes of both layers [2, N, P], and the pixels [N, P] that gain or lose red, one edit at a time."""
    changes, pixels = torch.zeros(2, len(z), len(cells), dtype=torch.float64), torch.zeros(len(z), len(cells))
    with torch.no_grad():
        maps = model.maps(z)
        up, red = painted(model, maps)
        means = [each.abs().mean((0, 2, 3), dtype=torch.float64) for each in (maps, up)]
        for n in range(len(z)):
            for p, (row, column) in enumerate(cells):
                edited = maps[n].clone()
                for unit in units:
                    edited[unit, row : row + block, column : column + block] = values[n][unit]
                now, now_red = painted(model, edited[None])
                for at, (base, changed) in enumerate([(maps[n], edited), (up[n], now[0])]):
                    per_channel = (changed.double() - base.double()).abs().mean((1, 2)) / means[at]
                    changes[at, n, p] = per_channel.mean()
                pixels[n, p] = (now_red[0] ^ red[n]).sum()
    return changes, pixels


@pytest.mark.parametrize("block", [1, 3])
def test_changes_are_those_of_a_loop(model, z, block):
    found = generators.trace_effect(
        model, "features", [0, 3], z, value=VALUE, block=block, segmenter=Colours(), concept="red", cut=0.04, **OPTIONS
    )
    side = 5 - block
    cells = [(row, column) for row in range(side) for column in range(side)]
    changes, pixels = by_hand(model, z, [0, 3], [VALUE] * 20, cells, block)
    assert found.layers == ("features", "up")
    assert found.channels.tolist() == [8, 3]
    assert torch.allclose(found.changes, changes, rtol=1e-6, atol=0)
    assert torch.equal(found.pixels, pixels.long())
    assert found.num_pixels == 64
    visible = pixels > 0.04 * 64
    assert 0 < visible.sum() < visible.numel()
    assert torch.equal(found.visible, visible)
    assert torch.allclose(found.maps(), changes.mean(1).view(2, side, side))
    assert torch.allclose(found.maps(4), changes[:, 4].view(2, side, side))
    assert torch.allclose(found.visible_map(), visible.double().mean(0).view(side, side))
    for row, own in zip(found.table, changes):
        assert row.change == pytest.approx(own.mean().item())
        assert row.visible == pytest.approx(own[visible].mean().item())
        assert row.unseen == pytest.approx(own[~visible].mean().item())
        assert (row.visible_edits, row.unseen_edits) == (visible.sum(), (~visible).sum())


def test_the_layer_itself_changes_only_in_its_units(model, z):
    found = generators.trace_effect(model, "features", [5], z, value=2.0, **OPTIONS)
    assert bool((found.changes[0] > 0).all())
    assert found.table[1].change == 0  # unit 5 paints nothing


def test_given_cells_alone_are_tried(model, z):
    cells = torch.tensor([[3, 1], [0, 2]])
    found = generators.trace_effect(model, "features", [0], z, value=VALUE, cells=cells, **OPTIONS)
    changes, _ = by_hand(model, z, [0], [VALUE] * 20, cells.tolist(), 1)
    assert torch.allclose(found.changes, changes, rtol=1e-6, atol=0)
    heat = found.maps()
    assert heat[1, 3, 1] == pytest.approx(changes[1, :, 0].mean().item())
    assert int(heat.isfinite().sum()) == 4
    assert found.visible is None
    assert found.visible_map() is None
    assert [(row.visible, row.visible_edits, row.unseen) for row in found.table] == [(None, None, None)] * 2


def test_the_default_level_is_the_mean_where_the_class_is_in_the_other_half(model, z):
    found = generators.trace_effect(model, "features", [0, 1], z, segmenter=Colours(), concept="red", **OPTIONS)
    with torch.no_grad():
        maps = model.maps(z).double()
        presence = painted(model, model.maps(z))[1].double().view(20, 4, 2, 4, 2).mean((2, 4))
    k = [(maps[half::2] * presence[half::2, None]).sum((0, 2, 3)) / presence[half::2].sum() for half in (0, 1)]
    cells = [(row, column) for row in range(4) for column in range(4)]
    changes, _ = by_hand(model, z, [0, 1], [k[1 - n % 2].float() for n in range(20)], cells, 1)
    assert torch.allclose(found.changes, changes, rtol=1e-5, atol=0)


def test_interval_draws_z_again(model, z):
    found = generators.trace_effect(
        model, "features", [0], z, value=VALUE, segmenter=Colours(), concept="red", cut=0.02, resamples=100, **OPTIONS
    )
    drawn = torch.randint(20, (100, 20), generator=torch.Generator().manual_seed(0))
    visible = found.visible
    row = found.table[1]
    for which, ends in ((visible | True, (row.low, row.high)), (visible, (row.visible_low, row.visible_high))):
        values = sorted(found.changes[1][numbers][which[numbers]].mean().item() for numbers in drawn)
        assert ends == pytest.approx((values[2], values[97]))
    found.cut = 0.999
    assert (found.table[1].visible, found.table[1].visible_low, found.table[1].visible_edits) == (None, None, 0)


def test_without_a_class_any_change_of_labels_counts(model, z):
    options = {"value": VALUE, "segmenter": Colours(), **OPTIONS}
    any_label = generators.trace_effect(model, "features", [0, 2], z, **options)
    red, green = (
        generators.trace_effect(model, "features", [0, 2], z, concept=name, **options) for name in ("red", "green")
    )
    assert bool((any_label.pixels >= torch.maximum(red.pixels, green.pixels)).all())
    assert bool((any_label.pixels <= red.pixels + green.pixels).all())
    assert bool((any_label.pixels > red.pixels).any())
    assert bool((any_label.pixels > green.pixels).any())
    assert any_label.concept == ""
    assert "visible in some label" in repr(any_label)
    assert any_label.table[0].visible is not None


class Nested(nn.Module):
    """Layers within modules; the last channel of the inner one is always 0."""

    z_shape = (2, 4, 4)

    def __init__(self):
        super().__init__()
        self.before = nn.Identity()
        self.inner = nn.Sequential(nn.Identity(), nn.Conv2d(2, 3, 1), nn.ReLU())
        self.late = nn.Tanh()
        with torch.no_grad():
            self.inner[1].weight[2], self.inner[1].bias[2] = 0, -1
        self.never, self.twice = nn.Identity(), nn.Identity()

    def forward(self, z):
        return self.late(self.twice(self.twice(self.inner(self.before(z)))) - 1)


def test_what_follows_is_found_through_nested_modules_and_silent_channels_are_left_out():
    z = torch.randn(12, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    model = Nested().eval()
    found = generators.trace_effect(model, "inner.1", [0, 2], z, value=2.0, progress=False)
    assert found.layers == ("inner.1", "inner.2", "inner", "late")
    assert found.silent.tolist() == [0, 1, 1, 0]
    with torch.no_grad():
        base = model.inner(z)[:, :2].double()  # of two channels that are not silent, the second is not edited
    change = (2 - base[:, 0]).abs().flatten(1) / 16 / base[:, 0].mean() / 2
    assert torch.allclose(found.changes[1], change, rtol=1e-5)
    chosen = generators.trace_effect(model, "inner.1", [0], z, value=2.0, layers=["late"], progress=False)
    assert chosen.layers == ("late",)


def test_what_ends_before_the_layer_runs_once_whatever_the_places(model, z, monkeypatch):
    seen, numbers = [], []
    monkeypatch.setattr(model.features, "forward", noting(model.features.forward, seen))
    for cells in (torch.tensor([[0, 0]]), None):
        seen.clear()
        found = generators.trace_effect(model, "features", [0, 3], z, value=VALUE, cells=cells, **OPTIONS)
        numbers.append(len(seen))
    assert numbers[0] == numbers[1]
    monkeypatch.setattr(Renderer, "replay", lambda self, rows: partial(self.render, rows))
    whole = generators.trace_effect(model, "features", [0, 3], z, value=VALUE, **OPTIONS)
    assert len(seen) > numbers[1]
    assert torch.equal(found.changes, whole.changes)


def noting(forward, seen):
    """A forward that notes that it is called."""
    return lambda *given: seen.append(1) or forward(*given)


def test_layers_that_end_before_the_edit_do_not_change():
    z = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    layers = ["before", "inner.1", "inner", "late"]
    options = {"layers": layers, "layout": dict.fromkeys(layers, "NUHW"), "progress": False}
    found = generators.trace_effect(Nested().eval(), "inner", [0], z, value=2.0, **options)
    assert not bool(found.changes[:2].any())
    assert bool((found.changes[2:] > 0).all())


def test_noise_of_each_image_is_the_same_with_the_edit(z):
    seeds = dissect.noise_seeds(20)
    found = generators.trace_effect(Drawn().eval(), "noise", [5], (z, seeds), value=2.0, **OPTIONS)
    assert found.layers == ("noise", "up")
    assert not bool(found.changes[1].any())


def test_a_figure_shows_layers_and_places(model, z):
    options = {"value": VALUE, "segmenter": Colours(), "concept": "red", "cut": 0.02}
    found = generators.trace_effect(model, "features", [0], z, **options, **OPTIONS)
    figure = found.plot("features")
    lines, places = figure.axes[:2]
    row = found.table[0]
    labels = [f"visible ({row.visible_edits} edits)", f"unseen ({row.unseen_edits} edits)"]
    assert [line.get_label() for line in lines.lines] == labels
    assert lines.lines[0].get_ydata().tolist() == [each.visible for each in found.table]
    assert torch.equal(torch.tensor(places.images[0].get_array().data), found.maps()[0])
    with pytest.raises(KeyError, match="EffectTrace: layer must be one of"):
        found.plot("first")


@pytest.mark.parametrize("cut", [1.5, 10**18, 10**30])
def test_a_file_with_a_cut_that_is_no_share_is_refused(model, z, cut, tmp_path):
    options = {"value": VALUE, "segmenter": Colours(), "concept": "red"}
    path = generators.trace_effect(model, "features", [0], z, **options, **OPTIONS).save(tmp_path / "a")
    altered(path, lambda tensors, meta: meta.update(cut=cut))
    with pytest.raises(ValueError, match=f"{path} must hold cut as a number of at least 0 and at most 1"):
        dissect.load(path)


class Dark(Painter):
    """The layer "nothing" gives 0 alone."""

    def __init__(self):
        super().__init__()
        self.nothing = nn.Threshold(1e9, 0.0)

    def paint(self, maps):
        return super().paint(maps + self.nothing(maps))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"value": None}, ValueError, "value must be given without a segmenter and a concept"),
        ({"segmenter": Colours(), "value": None}, ValueError, "value must be given without a segmenter and a concept"),
        ({"concept": "red"}, ValueError, "^trace_effect: segmenter must be given with a concept"),
        ({"segmenter": Colours(), "concept": "grey"}, KeyError, "grey"),
        ({"segmenter": Colours(), "concept": "blue", "value": None}, ValueError, "finds no pixel of 'color/blue'"),
        ({"cut": 1.0}, ValueError, "cut must be a share"),
        ({"block": 5}, ValueError, "block must be at most 4"),
        ({"cells": torch.tensor([[0, 4]])}, ValueError, r"rows below 4 and columns below 4, but got \[\[0, 4\]\]"),
        ({"cells": torch.tensor([[1, 2], [1, 2]])}, ValueError, "cells must be different"),
        ({"cells": [[0, 0]]}, TypeError, r"cells must be int64 \[P, 2\]"),
        ({"layers": []}, ValueError, "at least one"),
        ({"layers": ["upp"]}, KeyError, "upp"),
        ({"layers": ["nothing"]}, ValueError, "'nothing' has none"),
        ({"value": 3e38}, ValueError, "layers and images must be finite"),
        ({"units": [9]}, ValueError, "must be below 8"),
        ({"value": torch.zeros(3)}, ValueError, r"shape \[U\] with U=8"),
        ({"resamples": 1}, ValueError, "^trace_effect: resamples must be at least 2, since one draw"),
    ],
)
def test_what_is_wrong_is_said(z, change, error, text):
    arguments = {"units": [0, 1], "z": z, "value": 1.0, "layers": ["features", "up"]}
    with pytest.raises(error, match=text):
        generators.trace_effect(Dark().eval(), "features", **{**arguments, **OPTIONS, **change})


def test_files_that_cannot_be_are_refused(model, z, tmp_path):
    found = generators.trace_effect(model, "features", [0], z, value=2.0, **OPTIONS)
    again = generators.EffectTrace.load(found.save(tmp_path / "x"))
    assert repr(again) == repr(found)
    assert [tuple(row) for row in again.table] == [tuple(row) for row in found.table]
    found.cells = found.cells + 1
    with pytest.raises(ValueError, match="cells are places"):
        generators.EffectTrace.load(found.save(tmp_path / "y"))
