"""The optimisation of the average causal effect, against the same written down plainly."""

import pytest
import torch
from generators.painter import Colours, Painter

import dissect
from dissect import generators
from dissect.generators.counting import Counter
from dissect.generators.observing import observe
from dissect.generators.ranking import SampleIou
from dissect.generators.rendering import Renderer

OPTIONS = {"progress": False, "batch_size": 7}
IOU = torch.tensor([0.1, 0.4, 0.2, 0.0, 0.1, 0.1, 0.0, 0.3])


@pytest.fixture
def model():
    return Painter().eval()


@pytest.fixture
def z():
    return dissect.latents((5,), 36, seed=10)


def looked_at(model, z, block):
    """Maps, and the share of each block that is red [N, h', w']."""
    with torch.no_grad():
        maps, red = model.maps(z), (model(z)[:, 0] > 0.5).float()
    cells = red.view(len(z), 4, 2, 4, 2).mean((2, 4))
    blocks = cells.unfold(1, block, 1).unfold(2, block, 1).mean((3, 4))
    return maps, cells, blocks


def objective(model, maps, alpha, k, removals, insertions, block):
    """E s(x_a) - E s(x_i) at P, one image at a time."""
    total = 0
    for places, value, sign in ((removals, torch.zeros(8), 1), (insertions, k, -1)):
        for number, row, column in places.tolist():
            here = torch.zeros(4, 4)
            here[row : row + block, column : column + block] = 1
            blended = alpha[:, None, None] * value[:, None, None] + (1 - alpha[:, None, None]) * maps[number]
            image = model.paint(torch.where(here > 0, blended, maps[number])[None])
            scores = torch.sigmoid(8 * (image[0, 0] - 0.5))
            inside = here.repeat_interleave(2, 0).repeat_interleave(2, 1)
            total = total + sign * (scores * inside).sum() / inside.sum() / len(places)
    return total


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("form", ["published", "thesis"])
def test_alpha_and_losses_are_those_of_a_plain_optimisation(model, z, form, block):
    found = generators.causal_units(
        model, "features", "red", z, Colours(), 3, iou=IOU, form=form, block=block, epochs=4, learning_rate=0.05,
        **OPTIONS,
    )  # fmt: skip
    maps, cells, _ = looked_at(model, z, block)
    k = (maps * cells[:, None]).double().sum((0, 2, 3)) / cells.double().sum()
    assert torch.allclose(found.value, k.float(), rtol=1e-6)
    alpha = (IOU / IOU.max()).requires_grad_()
    assert torch.equal(found.start, alpha.detach())
    optimizer = (torch.optim.Adam if form == "published" else torch.optim.SGD)([alpha], lr=0.05)
    assert 1 < len(found.removals) == len(found.insertions) <= 20  # so each step is over all of them
    losses = []
    for _ in range(4):
        loss = objective(model, maps, alpha, found.value, found.removals, found.insertions, block)
        loss = loss + 0.005 * (alpha.square().sum() if form == "published" else alpha.norm())
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            alpha.clamp_(0, 1)
    assert found.losses.tolist() == pytest.approx(losses, abs=1e-5)
    assert torch.allclose(found.alpha, alpha.detach(), atol=1e-4)
    assert list(found) == found.alpha.argsort(descending=True)[:3].tolist()


def test_places_are_where_the_class_goes_and_where_it_can_come(model, z):
    found = generators.causal_units(model, "features", "red", z, Colours(), iou=IOU, count=2, epochs=1, **OPTIONS)
    maps, _, blocks = looked_at(model, z, 1)
    assert (found.removals[:, 0] % 2 == 0).all()
    assert (found.insertions[:, 0] % 2 == 1).all()
    for number, row, column in found.removals.tolist():
        assert blocks[number, row, column] == blocks[number].max() > 0
    for number, row, column in found.insertions.tolist():
        assert blocks[number, row, column] == 0
        changed = maps[number : number + 1].clone()
        changed[0, :, row, column] = found.value
        with torch.no_grad():
            assert (model.paint(changed)[0, 0, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] > 0.5).any()
    places = [tuple(place) for place in found.insertions.tolist()]
    assert len({*places}) == len(places)


def test_the_units_that_draw_a_colour_are_found_whatever_their_iou(model, z):
    options = {"iou": torch.full((8,), 0.2), "epochs": 25, "learning_rate": 0.05, "weight": 0.05} | OPTIONS
    found, again = (generators.causal_units(model, "features", "red", z, Colours(), 2, **options) for _ in range(2))
    assert set(found) == {0, 1}
    assert float(found.alpha[2:].max()) < float(found.alpha[:2].min())
    assert found.losses[-1] < found.losses[0]
    assert torch.equal(again.alpha, found.alpha)


def test_iou_is_measured_on_the_sample_if_it_is_not_given(model, z):
    found = generators.causal_units(model, "features", "red", z, Colours(), 2, epochs=1, **OPTIONS)
    d = dissect.dissect(model, "features", z, segmenter=Colours(), segment="output", decoys=0, progress=False)
    assert torch.allclose(found.iou, generators.class_iou(d, "features", "red"), rtol=1e-12)
    renderer = Renderer(model, "features", z, Colours(), 5)
    green = SampleIou(renderer, Counter(Colours(), "green"), (8, 8))
    observe(green, renderer, [], {}, None, False)
    assert torch.equal(green.known_iou(), d["features"].iou[:, 2])


def test_causal_units_serve_as_units_on_other_z_and_warn_of_their_own(model, z):
    found = generators.causal_units(model, "features", "red", z, Colours(), 2, iou=IOU, epochs=1, **OPTIONS)
    assert (len(found), found[0], found[:2]) == (2, int(found.ranking[0]), found.ranking[:2].tolist())
    other = dissect.latents((5,), 20, seed=2)
    effect = generators.removed_share(model, "features", found, other, Colours(), "red", draws=1, **OPTIONS)
    assert effect.units == tuple(found)
    curves = generators.removal_curves(model, "features", {"ACE": found}, other, Colours(), "red", draws=0, **OPTIONS)
    assert curves.rankings[0].tolist() == list(found)
    mixed = torch.cat([other, z[:3]])
    with pytest.warns(UserWarning, match="but 3 of 23 are the same"):
        generators.removed_share(model, "features", found, mixed, Colours(), "red", draws=1, **OPTIONS)


def test_a_result_is_saved_and_read(model, z, tmp_path):
    found = generators.causal_units(model, "features", "red", z, Colours(), 2, iou=IOU, epochs=1, **OPTIONS)
    read = dissect.load(found.save(tmp_path / "red"))
    assert (list(read), read.table, read.settings) == (list(found), found.table, found.settings)
    assert [bar.get_height() for bar in found.plot().axes[0].patches[:2]] == pytest.approx(found.alpha[list(found)])
    tensors, meta = found.contents()
    with pytest.raises(ValueError, match="the layer has so many units"):
        generators.CausalUnits.from_contents("file", tensors, {**meta, "number": 9})


class Silent(Colours):
    scores = None


class Frozen(Colours):
    def scores(self, images, concept):
        return super().scores(images, concept).detach()


class Flat(Colours):
    def scores(self, images, concept):
        return super().scores(images, concept).mean((1, 2))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"segmenter": Silent()}, TypeError, r"method scores\(images, concept\).*but Silent has none"),
        ({"segmenter": Frozen()}, TypeError, "but those of Frozen have none"),
        ({"segmenter": Flat()}, ValueError, r"scores of segmenter must be \[N, H, W\]"),
        ({"concept": "blue"}, ValueError, "finds no pixel of 'color/blue'"),
        ({"count": 9}, ValueError, "count must be at most 8"),
        ({"count": 0}, ValueError, "count must be at least 1"),
        ({"form": "adam"}, ValueError, "form must be one of"),
        ({"iou": torch.zeros(3)}, TypeError, r"iou must have shape \[U\] with U=8"),
        ({"iou": IOU + 1}, ValueError, r"iou must lie in \[0, 1\]"),
        ({"weight": -1.0}, ValueError, "weight must be a finite number"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be a finite number"),
        ({"block": 5}, ValueError, "block must be at most 4"),
        ({"value": 0.0}, ValueError, "'color/red' appears at none of [0-9]+ places"),
        ({"layer": "nothing"}, KeyError, "nothing"),
    ],
)
def test_what_is_wrong_is_said(model, z, change, error, text):
    arguments = {
        "generator": model, "layer": "features", "concept": "red", "z": z, "segmenter": Colours(), "count": 2,
        "iou": IOU, "epochs": 1,
    }  # fmt: skip
    with pytest.raises(error, match=text):
        generators.causal_units(**{**arguments, **OPTIONS, **change})
