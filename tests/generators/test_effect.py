"""Effects of sets of units, against the same computed directly from the maps of a generator that is known."""

import numpy as np
import pytest
import torch
from generators.painter import Colours, Drawn, Painter, pixels

import dissect
from dissect import generators, tiny

OPTIONS = {"progress": False, "batch_size": 7}


@pytest.fixture
def model():
    return Painter().eval()


@pytest.fixture
def z():
    return dissect.latents((5,), 40, seed=3)


def edited(model, z, units, value, mask=None):
    """Images with units set to values [K] or [N, K], where a mask [N, h, w] says."""
    with torch.no_grad():
        maps = model.maps(z)
        filled = maps.clone()
        filled[:, units] = torch.as_tensor(value).expand(len(z), len(units))[:, :, None, None].expand(-1, -1, 4, 4)
        return model.paint(maps if mask is None and not units else filled if mask is None else torch.where(
            mask[:, None] > 0, filled, maps
        ))  # fmt: skip


def test_removed_share_is_that_of_a_direct_computation(model, z):
    found = generators.removed_share(model, "features", [0, 1], z, Colours(), "red", draws=3, **OPTIONS)
    before, after = pixels(model(z)), pixels(edited(model, z, [0, 1], 0.0))
    assert torch.equal(found.before, before)
    assert torch.equal(found.after, after)
    assert found.removed == 1 - int(after[:, 1].sum()) / int(before[:, 1].sum()) == 1.0
    assert found.added == -1.0
    assert found.num_pixels == 64
    assert (found.units, found.num_units, found.concept, found.mode) == ((0, 1), 8, "red", "ablation")


def test_one_of_two_units_removes_what_a_direct_computation_says(model, z):
    found = generators.removed_share(model, "features", [0], z, Colours(), "red", draws=2, **OPTIONS)
    before, after = pixels(model(z))[:, 1].numpy(), pixels(edited(model, z, [0], 0.0))[:, 1].numpy()
    assert found.removed == (before.sum() - after.sum()) / before.sum()
    assert 0 < abs(found.removed) < 1


def test_random_units_are_as_many_and_measured_alike(model, z):
    found = generators.removed_share(model, "features", [0, 1], z, Colours(), "red", draws=4, seed=5, **OPTIONS)
    assert found.random_units.shape == (4, 2)
    base = int(pixels(model(z))[:, 1].sum())
    for units, after, total, removed in zip(
        found.random_units.tolist(), found.random_after, found.random_totals, found.random_removed
    ):
        expected = pixels(edited(model, z, units, 0.0))
        assert torch.equal(after, expected[:, 1])
        assert torch.equal(total, expected.sum(0))
        assert removed == (base - int(expected[:, 1].sum())) / base
    assert found.random == pytest.approx(sum(found.random_removed) / 4)
    assert len({tuple(sorted(units)) for units in found.random_units.tolist()}) > 1
    again = generators.removed_share(model, "features", [0, 1], z, Colours(), "red", draws=4, seed=5, **OPTIONS)
    assert torch.equal(again.random_units, found.random_units)
    assert again.interval == found.interval


def test_without_draws_there_is_no_control(model, z):
    found = generators.removed_share(model, "features", [0], z, Colours(), "red", draws=0, **OPTIONS)
    assert found.random is None
    assert found.others[0].random is None


def cross_value(model, z):
    """[N, U]: k of each z, from the z of the other half, as a loop."""
    with torch.no_grad():
        maps, red = model.maps(z).double().numpy(), (model(z)[:, 0] > 0.5).double().numpy()
    presence = red.reshape(len(z), 4, 2, 4, 2).mean((2, 4))
    k = np.zeros((2, 8))
    for half in (0, 1):
        weight = presence[half::2]
        for unit in range(8):
            k[half, unit] = (maps[half::2, unit] * weight).sum() / weight.sum()
    return torch.tensor(np.stack([k[1 - number % 2] for number in range(len(z))]), dtype=torch.float32)


@pytest.mark.parametrize("mode", ["ablation", "insertion"])
def test_average_causal_effect_is_equation_4_4_with_both_halves_at_the_same_cells(model, z, mode):
    found = generators.effect(
        model, "features", [0, 1], z, Colours(), "red", mode=mode, cells="uniform", block=2, seed=2, draws=1, **OPTIONS
    )
    firsts = torch.randint(9, (40,), generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(40, 4, 4)
    for number, first in enumerate(firsts.tolist()):
        mask[number, first // 3 : first // 3 + 2, first % 3 : first % 3 + 2] = 1
    inside = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    k = cross_value(model, z)[:, [0, 1]]
    inserted, ablated = edited(model, z, [0, 1], k, mask), edited(model, z, [0, 1], 0.0, mask)
    expected = [((images[:, 0] > 0.5) * inside).sum((1, 2)) for images in (model(z), inserted, ablated)]
    assert torch.equal(found.at_cells, torch.stack(expected).long())
    base, with_units, without = (int(part.sum()) for part in expected)
    assert found.average_effect == (with_units - without) / base > 0
    assert torch.equal(found.after, pixels(inserted if mode == "insertion" else ablated))


def test_given_cells_and_a_given_value(model, z):
    cells = torch.stack([torch.arange(40) % 4, torch.arange(40) // 10], 1)
    mask = torch.zeros(40, 4, 4)
    mask[range(40), cells[:, 0], cells[:, 1]] = 1
    value = torch.linspace(1, 3, 8)
    found = generators.effect(
        model, "features", [1, 2], z, Colours(), "green", mode="insertion", cells=cells, value=value, **OPTIONS
    )
    assert torch.equal(found.after, pixels(edited(model, z, [1, 2], value[[1, 2]], mask)))
    assert found.added > 0
    assert found.settings["value"] == "given"


def test_interval_is_a_bootstrap_over_z(model, z):
    found = generators.removed_share(model, "features", [0], z, Colours(), "red", draws=1, resamples=200, **OPTIONS)
    before, after = found.before[:, 1].numpy(), found.after[:, 1].numpy()
    drawn = torch.randint(40, (200, 40), generator=torch.Generator().manual_seed(0)).numpy()
    shares = sorted(1 - after[numbers].sum() / before[numbers].sum() for numbers in drawn)
    assert found.interval == pytest.approx((shares[4], shares[195]))
    assert found.interval[0] < found.removed < found.interval[1]


def test_every_other_class_is_in_the_table(model, z):
    found = generators.removed_share(model, "features", [2], z, Colours(), "red", draws=2, **OPTIONS)
    assert found.removed == 0
    (row,) = found.others
    assert (row.concept, row.category, row.after, row.change) == ("green", "color", 0.0, -1.0)
    assert row.before == int(found.before[:, 2].sum()) / (40 * 64)
    assert found.row.most_changed == "green"
    assert generators.effects_table([found, found]).columns == generators.EffectRow._fields


def test_a_second_segmenter_says_the_same_or_not(model, z):
    found = generators.removed_share(
        model, "features", [0], z, Colours(), "red", second=Colours(0.7), draws=1, **OPTIONS
    )
    before, after = pixels(model(z), 0.7), pixels(edited(model, z, [0], 0.0), 0.7)
    assert torch.equal(found.second.before, before)
    assert torch.equal(found.second.after, after)
    assert found.row.second == found.second.removed != found.removed


def test_few_z_have_no_interval_and_no_table_has_nan(model, z):
    found = generators.removed_share(model, "features", [0], z[:9], Colours(), "red", draws=1, **OPTIONS)
    assert all(end != end for end in (*found.interval, *found.average_effect_interval))
    assert "no interval: 10 z must show it" in repr(found)
    for row in (*found.others, found.row):
        assert not any(isinstance(value, float) and value != value for value in row)
    assert found.row.low is None


def test_noise_belongs_to_a_z_and_not_to_its_place_in_a_batch(z):
    model, seeds = Drawn().eval(), dissect.noise_seeds(40, seed=4)
    results = [
        generators.removed_share(
            model, "noise", [0], (z, seeds), Colours(), "red", draws=1, progress=False, batch_size=size
        )
        for size in (3, 16)
    ]
    assert torch.equal(results[0].before, results[1].before)
    assert torch.equal(results[0].after, results[1].after)
    with torch.no_grad():
        assert torch.equal(results[0].before, pixels(model(z, seeds)))
    other = generators.removed_share(
        model, "noise", [0], (z, dissect.noise_seeds(40, seed=5)), Colours(), "red", draws=1, **OPTIONS
    )
    assert not torch.equal(other.before, results[0].before)


def test_a_class_that_is_never_there_is_told_before_any_edit(model, z):
    segmenter = Colours()
    with pytest.raises(ValueError, match=r"finds no pixel of 'color/blue' in 40; it finds (red|green), (red|green)\."):
        generators.removed_share(model, "features", [0], z, segmenter, "blue", **OPTIONS)
    assert segmenter.seen == 40


class Scales(Painter):
    """Normalises z where they are, which a second time changes nothing."""

    def forward(self, z, noise=None):
        return super().forward(z.div_(z.norm(dim=1, keepdim=True)), noise)


class Nan(Painter):
    """Diverges at the last of 40 z."""

    def forward(self, z, noise=None):
        fine = z[:, 0] != dissect.latents((5,), 40, seed=3)[-1, 0]
        return super().forward(z).where(fine[:, None, None, None], torch.nan)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"z": dissect.latents((6,), 4)}, ValueError, r"z must have shape \[N, 5\] with N from 1 on, but got \[4, 6\]"),
        ({"z": dissect.latents((5,), 4).double()}, TypeError, r"z must be a tensor of torch\.float32"),
        ({"z": dissect.latents((5,), 4).to("meta")}, ValueError, "z must be on cpu, as the generator's weights are"),
        ({"z": torch.zeros(0, 5)}, ValueError, r"z must have shape \[N, 5\] with N from 1 on"),
        ({"z": torch.full((3, 5), torch.inf)}, ValueError, "z must be finite, but z number 0 is not"),
        ({"z": (torch.zeros(3, 5), dissect.noise_seeds(2))}, ValueError, r"noise seeds must have shape \[N\] with N=3"),
        ({"generator": Painter(scale=127.5).eval()}, ValueError, r"must be in \[-1, 1\].*batch 0"),
        ({"generator": Nan().eval()}, ValueError, r"must be in \[-1, 1\].*batch 5 are in \[nan"),
        ({"generator": Painter(chance=True).eval()}, ValueError, "same images of the same z"),
        ({"generator": Scales().eval()}, ValueError, "leave its z as they are"),
        ({"generator": Painter()}, ValueError, "must be in evaluation mode"),
        ({"layer": "nothing"}, KeyError, "nothing"),
        ({"units": [3, 8]}, ValueError, "units of layer 'features' must be below 8, but one is 8"),
        ({"units": []}, ValueError, "at least one"),
        ({"units": [1, 1]}, ValueError, "named once"),
        ({"segmenter": lambda images: images.long()}, TypeError, "an attribute concepts"),
        ({"concept": "tree"}, KeyError, "tree"),
        ({"concept": 4}, KeyError, r"concept must be in \[1, 4\), but got 4"),
        ({"concept": 1.5}, TypeError, "a label number or a name"),
        ({"mode": "removal"}, ValueError, "mode must be one of"),
        ({"cells": "all"}, ValueError, "cells must be None"),
        ({"cells": torch.zeros(3, 2)}, TypeError, r"cells must be int64 \[N, 2\] with N=40"),
        ({"cells": torch.full((40, 2), 3), "block": 2}, ValueError, r"rows below 3 and columns below 3.*\[3, 3\]"),
        ({"block": 2}, ValueError, "block must come with cells"),
        ({"block": 5, "cells": "uniform"}, ValueError, "block must be at most 4"),
        ({"value": torch.zeros(3)}, ValueError, r"value must be a number or have shape \[U\] with U=8"),
        ({"value": float("nan")}, ValueError, "value must be finite"),
        ({"value": "high"}, TypeError, "value must be a number"),
        ({"draws": -1}, ValueError, "draws must be at least 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"resamples": 1}, ValueError, "^effect: resamples must be at least 2, since one draw has no interval, or 0"),
    ],
)
def test_what_is_wrong_is_said(model, z, change, error, text):
    arguments = {
        "generator": model, "layer": "features", "units": [0], "z": z, "segmenter": Colours(), "concept": "red",
        "draws": 1,
    }  # fmt: skip
    with pytest.raises(error, match=text):
        generators.effect(**{**arguments, **OPTIONS, **change})


@pytest.mark.parametrize("function", [generators.effect, generators.removed_share])
def test_the_function_that_was_called_speaks(model, z, function):
    for units, concept, message in (
        ([8], "red", "units of layer 'features' must be below 8"),
        ([0], "blue", "concept must be a class that the segmenter finds"),
    ):
        with pytest.raises(ValueError, match=f"^{function.__name__}: {message}"):
            function(model, "features", units, z, Colours(), concept, **OPTIONS)
    with pytest.raises(KeyError, match=f"^.{function.__name__}: concept must be in "):
        function(model, "features", [0], z, Colours(), 9, **OPTIONS)


def test_a_name_in_several_categories_must_say_which(model, z):
    segmenter = Colours()
    segmenter.concepts = (("red", "color"), ("red", "material"), ("blue", "color"))
    with pytest.raises(KeyError, match="'color/red', 'material/red'"):
        generators.effect(model, "features", [0], z, segmenter, "red", **OPTIONS)
    assert generators.effect(model, "features", [2], z, segmenter, "material/red", draws=1, **OPTIONS).removed == 1


@pytest.mark.parametrize("name", ["segmenter", "second"])
def test_a_segmenter_of_unsigned_images_is_refused(model, z, name):
    unsigned = Colours()
    unsigned.signed = False
    arguments = {"segmenter": Colours()} | {name: unsigned}
    with pytest.raises(ValueError, match=r"segmenter must take images in \[-1, 1\]"):
        generators.effect(model, "features", [0], z, concept="red", **arguments, **OPTIONS)


def test_a_figure_has_the_class_first_and_random_units_beside_it(model, z):
    found = generators.removed_share(model, "features", [0], z, Colours(), "red", draws=2, **OPTIONS)
    axes = found.plot().axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["red (color)", "green (color)"]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths == pytest.approx([-found.removed, 0, -found.random, found.others[0].random])
    alone = generators.removed_share(model, "features", [0], z, Colours(), "red", draws=0, **OPTIONS)
    assert len(alone.plot(most=1).axes[0].patches) == 1


def test_an_insertion_that_diverges_is_told():
    class Diverging(Painter):
        def paint(self, maps):
            return super().paint(maps) / (maps[:, 3:4].amax((2, 3), keepdim=True) < 100)

    with pytest.raises(ValueError, match="images must be finite, but those of batch 0 are not when 1 units"):
        generators.effect(
            Diverging().eval(), "features", [3], dissect.latents((5,), 8), Colours(), "red", mode="insertion",
            value=1000.0, **OPTIONS,
        )  # fmt: skip


def test_a_value_that_cannot_be_told_leaves_the_average_effect_unknown(model, z):
    with torch.no_grad():
        highest = model(z)[:, 0].amax((1, 2))
    segmenter, chosen = Colours(float(highest.median())), z[[int(highest.argmax()), int(highest.argmin())]]
    found = generators.effect(model, "features", [0, 1], chosen, segmenter, "red", draws=1, **OPTIONS)
    assert (found.removed, found.average_effect, found.row.average_effect) == (1.0, None, None)
    with pytest.raises(ValueError, match="value must be given where fewer than 2 z show the class"):
        generators.effect(model, "features", [0, 1], chosen, segmenter, "red", mode="insertion", **OPTIONS)


def test_a_result_is_saved_and_read(model, z, tmp_path):
    found = generators.removed_share(
        model, "features", [0], z, Colours(), "red", second=Colours(0.7), draws=2, **OPTIONS
    )
    read = dissect.load(found.save(tmp_path / "red"))
    assert isinstance(read, generators.Effect)
    assert (read.row, read.others, read.settings) == (found.row, found.others, found.settings)
    assert (read.interval, read.second.interval) == (found.interval, found.second.interval)
    tensors, meta = found.contents()
    for change in ({"label": 4}, {"units": [8]}, {"mode": "other"}, {"second": {}}):
        with pytest.raises(ValueError, match="file"):
            generators.Effect.from_contents("file", tensors, {**meta, **change})
    with pytest.raises(ValueError, match="some z shows the class"):
        generators.Effect.from_contents("file", tensors, {**meta, "label": 3})


def test_tree_units_of_the_street_remove_trees_and_random_units_do_not():
    street, segmenter = tiny.generator(), tiny.segmenter(signed=True)
    units = [76, 54, 84, 40, 86]  # of layer4 the five of highest IoU with trees, over z of seed 1
    found = generators.removed_share(
        street, "layer4", units, dissect.latents(street, 24, seed=3), segmenter, "object/tree", draws=1, progress=False
    )
    assert found.removed > 0.6
    assert abs(found.random) < 0.3
    assert found.average_effect > 0.6
    change = {(row.category, row.concept): row.change for row in found.others}
    assert change["part", "crown"] < -0.6
    assert abs(change["object", "sky"]) < 0.2
