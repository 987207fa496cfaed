"""Painting: strokes stay within their masks, compose as published, and come back to the bit."""

import json

import numpy as np
import pytest
import torch
from apps.conftest import BRUSHES, some_strokes

import dissect
from dissect import apps


def box(top, left, bottom, right, side=8):
    painted = torch.zeros(side, side)
    painted[top:bottom, left:right] = 1
    return painted


def grown(region, by):
    return torch.nn.functional.max_pool2d(region[None].float(), 2 * by + 1, 1, by)[0].bool()


def test_a_stroke_changes_nothing_beyond_its_receptive_field(painter):
    mask = box(0, 0, 2, 2)
    plain, painted = painter.maps(3), painter.maps(3, [painter.stroke("draw", "tree", mask, units=2)])
    inside = mask.bool()
    assert torch.equal(painted[0][:, ~inside], plain[0][:, ~inside])
    others = [unit for unit in range(8) if unit not in (1, 4)]
    assert torch.equal(painted[0][others], plain[0][others])
    assert painted[0][1][inside].eq(2).all()
    assert painted[0][4][inside].eq(3).all()
    # A 3x3 convolution, then twice as large, then two more.
    seen = grown(grown(inside, 1).repeat_interleave(2, 0).repeat_interleave(2, 1), 2)
    before = painter.render(3)
    after = painter.render(3, [painter.stroke("draw", "tree", mask, units=2)])
    assert 0 < int((~seen).sum()) < 256
    assert torch.equal(before[:, ~seen], after[:, ~seen])
    changed = (before != after).any(0)
    assert changed[:4, :4].any()


def published(maps, strokes, size):
    """decode_intervention_array and edit_layer of the published code, in numpy and double precision."""
    units = maps.shape[0]
    a, v = np.zeros((units, *size)), np.zeros((units, *size))
    for stroke in strokes:
        alpha, value = np.zeros((units, *size)), np.zeros((units, *size))
        for unit, level, share in zip(stroke.units, stroke.values, stroke.alphas):
            alpha[unit], value[unit] = share, level
        if stroke.mask is not None:
            picture = stroke.mask.picture().numpy()
            tiles = picture.reshape(size[0], picture.shape[0] // size[0], size[1], picture.shape[1] // size[1])
            alpha *= tiles.max((1, 3)) if stroke.pooling == "max" else tiles.mean((1, 3))
        together = 1 - (1 - alpha) * (1 - a)
        v = (v * a * (1 - alpha) + value * alpha) / (together + 1e-40)
        a = together
    return a * v + (1 - a) * maps


def test_strokes_compose_as_published(painter, plain_maps):
    strokes = some_strokes(painter, 8)
    wanted = published(plain_maps(2)[0].double().numpy(), strokes, (8, 8))
    found = painter.maps(2, strokes)[0].double().numpy()
    assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(found - plain_maps(2)[0].double().numpy()).max() > 1


def test_images_are_what_the_rest_of_the_generator_makes_of_the_maps(painter, follows, plain_maps):
    strokes = some_strokes(painter, 6, seed=1)
    for cut in range(len(strokes) + 1):
        assert torch.equal(painter.render(5, strokes[:cut]), follows(painter.maps(5, strokes[:cut])))
    assert torch.equal(painter.maps(5), plain_maps(5))
    z = dissect.latents(painter.generator, 1, start=5).tolist()
    (picture,) = painter.pictures_of(z, strokes)  # whole runs within nested blocks
    assert (picture.int() - painter.picture(5, strokes).int()).abs().max() <= 1


def test_undo_and_redo_are_exact(painter):
    painting, images = apps.Painting(painter, 4), []
    for stroke in some_strokes(painter, 5):
        images.append(painting.image)
        painting.add(stroke)
    last = painting.image
    painter._composed.clear()  # what was kept is no part of the result
    for image in reversed(images):
        assert painting.undo()
        assert torch.equal(painting.image, image)
    assert not painting.undo()
    assert torch.equal(painting.image, painting.before)
    for image in [*images[1:], last]:
        assert painting.redo()
        assert torch.equal(painting.image, image)
    assert not painting.redo()
    assert [torch.equal(one, other) for one, other in zip(painting.history, [*images, last])] == [True] * 6


def test_deleting_and_resetting_can_be_undone(painter):
    painting = apps.Painting(painter, 1)
    first, second = painting.draw("tree", box(0, 0, 3, 3)), painting.remove("object/water", box(4, 4, 8, 8))
    both = painting.image
    assert (first.action, first.concept, first.units, first.values) == ("draw", "tree-ace", (1,), (2.0,))
    assert (second.action, second.concept, second.values) == ("remove", "water-iou", (0.0,))
    assert painting.delete(0) is first
    assert torch.equal(painting.image, apps.Painting(painter, 1, [second]).image)
    painting.reset()
    assert painting.strokes == ()
    assert painting.undo()
    assert painting.undo()
    assert torch.equal(painting.image, both)
    assert painting.redo()
    painting.draw("tree-iou", box(1, 1, 2, 2))
    assert not painting.redo()  # another gesture was made since
    assert "2 strokes" in repr(painting)


def test_a_replayed_session_gives_the_same_bits(generator, painter, tmp_path):
    painting = apps.Painting(painter, 7, some_strokes(painter, 6, seed=3))
    painting.remove("tree", box(2, 2, 5, 5, side=16), units=3, neutral=(0.1, -0.2, 1 / 3), pooling="mean")
    path = painting.save(tmp_path / "a" / "session.json")
    again = apps.Painter(generator, "layer3", count=8)
    session = apps.load_painting(path)
    assert session == painting.session
    replayed = apps.Painting.of(again, session)
    assert torch.equal(again.render(7, replayed.strokes), painter.render(7, painting.strokes))
    assert json.loads(path.read_text())["z"] == {"seed": 1, "number": 7}


def test_sessions_of_something_else_are_refused(generator, painter):
    session = apps.Painting(painter, 7).session
    for other, text in (
        (apps.Painter(generator, "layer2", count=20), "layer 'layer3', but this is layer 'layer2'"),
        (apps.Painter(generator, "layer3", count=20, seed=2), "seed 1, but this is seed 2"),
        (apps.Painter(generator, "layer3", count=5), "number must be at most 4, but got 7"),
        (apps.Painter(dissect.models.ProGAN((8, 8, 6), z_channels=5, seed=9).eval(), "layer3"), "generator '"),
    ):
        with pytest.raises(ValueError, match=text):
            apps.Painting.of(other, session)


def test_what_comes_before_the_layer_runs_once_for_each_image(painter, monkeypatch):
    ran, forward = [], torch.nn.Conv2d.forward
    painter.render(0)
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, x: ran.append(self) or forward(self, x))
    for number in (3, 6, 3, 6, 3):
        painter.render(number, some_strokes(painter, 3, seed=len(ran)))
    convolution = painter.generator.layer2.conv
    assert ran.count(convolution) <= 4  # the maps, and the first run of what is replayed
    assert ran.count(painter.generator.layer4.conv) == 5


def test_masks():
    painted = torch.rand(13, 9, generator=torch.Generator().manual_seed(0)) < 0.1
    mask = apps.Mask.of(painted)
    assert torch.equal(mask.picture().bool(), painted)
    assert apps.Mask.of(torch.zeros(3, 4)) == apps.Mask((3, 4), (0, 0, 0, 0), "")
    assert torch.equal(apps.Mask.of(torch.zeros(3, 4)).picture(), torch.zeros(3, 4))
    rows, columns = np.array_split(np.arange(12), 4), np.array_split(np.arange(8), 2)
    picture = torch.rand(12, 8, generator=torch.Generator().manual_seed(1)) < 0.2
    for pooling in ("max", "mean"):
        found = apps.Mask.of(picture).pooled((4, 2), pooling)
        wanted = [[getattr(picture.float()[np.ix_(r, c)], pooling)().item() for c in columns] for r in rows]
        assert found.tolist() == pytest.approx(torch.tensor(wanted), abs=1e-6)


@pytest.mark.parametrize(
    ("gesture", "text"),
    [
        (lambda p: p.draw("moon", box(0, 0, 1, 1)), "there is no brush 'moon'; there are tree-ace, tree-iou"),
        (lambda p: p.draw("water", box(0, 0, 1, 1)), "object/water-iou or material/water-iou"),
        (lambda p: p.draw("tree", box(0, 0, 0, 0)), "mask must be painted somewhere"),
        (lambda p: p.draw("tree", torch.zeros(3)), r"mask must have 1 to 1024 rows and columns.* shape \[3\]"),
        (lambda p: p.draw("tree", torch.zeros(2, 2) / 0), "mask must be finite"),
        (lambda p: p.draw("tree", box(0, 0, 1, 1), units=4), "units must be at most 3, but got 4"),
        (lambda p: p.draw("tree", box(0, 0, 1, 1), pooling="sum"), r"pooling as one of \['max', 'mean'\]"),
        (lambda p: p.remove("tree", box(0, 0, 1, 1), neutral=float("nan")), "values from"),
        (lambda p: p.add(apps.Stroke("draw", "", (8,), (1.0,), (1.0,))), "at most 7, but holds 8"),
        (lambda p: p.add(apps.Stroke("draw", "", (1, 1), (1.0, 1.0), (1.0, 1.0))), "some entry twice"),
        (lambda p: p.add(apps.Stroke("draw", "", (1,), (1.0,), (1.5,))), "alphas from 0 to 1, but one is 1.5"),
        (lambda p: p.add(apps.Stroke("draw", "", (1,), (1.0, 2.0), (1.0,))), "entries where K is 1"),
        (lambda p: p.add("a stroke"), "strokes must be Strokes, but one is a str"),
        (lambda p: p.delete(0), "there is no stroke to delete"),
        (lambda p: p.painter.render(20), "number must be at most 19, but got 20"),
        (lambda p: p.painter.stroke("erase", "tree", box(0, 0, 1, 1)), "action must be one of draw, remove"),
    ],
)
def test_what_cannot_be_painted_is_refused(painter, gesture, text):
    with pytest.raises((KeyError, TypeError, ValueError), match=text) as told:
        gesture(apps.Painting(painter))
    assert told.value.args[0].startswith(("Painting: ", "Painter: ", "Mask: "))


def test_painters_refuse_changed_weights_and_foreign_brushes():
    generator = dissect.models.ProGAN((8, 8, 6), z_channels=5).eval()
    painter = apps.Painter(generator, "layer3", brushes=BRUSHES, count=4)
    painter.render(0)
    with torch.no_grad():
        generator.layer5.conv.weight.mul_(2)
    with pytest.raises(RuntimeError, match="Painter: the generator's weights have changed"):
        painter.render(0)
    with pytest.raises(ValueError, match=r"the 6 units of layer 'layer5', but 'broad-iou' has unit 7"):
        apps.Painter(generator, "layer5", brushes=[apps.Brush("object/broad", "iou", (7,), (1.0,), (1.0,), 1)])
    with pytest.raises(KeyError, match="no layer 'nope'"):
        apps.Painter(generator, "nope")


def test_a_generator_with_noise(tmp_path):
    generator = dissect.models.StyleGAN2((8, 8, 6), w_channels=5, mapping_layers=2).eval()
    painter = apps.Painter(generator, "layer3", count=6)
    stroke = apps.Stroke("draw", "", (1, 2), (3.0, -1.0), (1.0, 0.5), apps.Mask.of(box(0, 0, 4, 8)))
    found = painter.render(4, [stroke])
    z, noise = dissect.latents(generator, 6)[4:5], dissect.noise_seeds(6)[4:5]
    mask = stroke.mask.pooled(painter.map_size)
    edit = dissect.insert(generator, "layer3", [1, 2], value=[3.0, -1.0], alpha=[1.0, 0.5], mask=mask)
    with torch.no_grad(), edit:
        assert torch.equal(found, generator(z, noise=noise)[0])
    with pytest.raises(ValueError, match="this generator takes noise"):
        painter.pictures_of(z.tolist())


def test_brushes_of_a_dissection_and_an_optimisation(street_dissection):
    d = street_dissection
    found = {brush.full_name: brush for brush in apps.brushes(d, "layer4", most=7)}
    rows = [row for row in d.detectors("layer4") if (row.category, row.concept) == ("object", "tree")]
    tree = found["object/tree-iou"]
    assert tree.detectors == len(rows) > 0
    wanted = dissect.generators.units_by_iou(d, "layer4", "object/tree")[:7].tolist()
    assert list(tree.units) == wanted
    assert list(tree.levels) == [float(d["layer4"].thresholds[unit]) for unit in wanted]
    assert list(tree.scores) == sorted(tree.scores, reverse=True)
    with pytest.raises(KeyError, match="layer5"):
        apps.brushes(d, "layer5")
    alpha = torch.zeros(128).index_fill(0, torch.tensor([9]), 1).index_fill(0, torch.tensor([2]), 0.5)
    numbers, none = torch.zeros(0, 3, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    ace = dissect.generators.CausalUnits(
        "layer4", "object/tree", 2, alpha, alpha, alpha.double(), alpha * 3, none.double(), numbers, numbers, none, {}
    )
    (alone,) = apps.brushes(None, "layer4", causal=[ace])
    assert (alone.name, alone.units, alone.levels, alone.detectors) == ("tree-ace", (9, 2), (3.0, 1.5), 0)
    first = apps.brushes(d, "layer4", causal=[ace])[0]
    assert first.levels == tuple(float(d["layer4"].thresholds[unit]) for unit in (9, 2))
    with pytest.raises(ValueError, match=r"brushes: causal must be what causal_units found in layer 'layer4'"):
        apps.brushes(d, "layer4", causal=[dissect])
    with pytest.raises(ValueError, match="must have a detector"):
        apps.brushes(None, "layer4")
