"""Scenes drawn without a concept: nothing else changes."""

import numpy as np
import pytest
import torch

from dissect.tiny import TinyScenes, twins
from dissect.tiny.world.vocabulary import CONCEPTS, PLANES, label

OBJECT, PART, INNER, MATERIAL, TEXTURE, COLOR, SCENE = range(7)
LIGHT = [label("part", "reflection"), label("part", "glow")]
SCENES = 43 * 2


@pytest.fixture(scope="module")
def sample():
    scenes = TinyScenes("val", size=64)
    return [scenes.raw(index) for index in range(SCENES)]


def shown(planes, concept):
    number = label(*concept)
    if concept[0] == "part":  # a part inside a part goes with it
        return (planes[PART] == number) | (planes[INNER] == number)
    return planes[PLANES.index(concept[0])] == number


def pairs(sample, concept):
    """The scenes that show it, each with its twin."""
    scenes = TinyScenes("val", size=64, without=concept)
    found = [(index, *sample[index]) for index in range(SCENES) if shown(sample[index][1], concept).any()]
    assert found, concept
    return [(image, planes, *scenes.raw(index)) for index, image, planes in found[:2]]


@pytest.mark.parametrize(
    "concept", [("object", name) for name in ("tree", "car", "streetlight", "bed", "sofa", "house", "fence", "person")]
    + [("part", name) for name in ("door", "wheel", "window", "handle")], ids=str,
)  # fmt: skip
def test_only_the_concepts_pixels_change(sample, concept):
    """And its shadow, which is darker than what it falls on, and the light of its windows."""
    for image, planes, other, changed in pairs(sample, concept):
        assert not shown(changed, concept).any()
        outside = ~shown(planes, concept)
        lit = outside & np.isin(planes[INNER], LIGHT)
        labels = (planes[:COLOR] != changed[:COLOR]).any(0)
        assert not (labels & outside & ~lit).any()
        altered = (image != other).any(0) & outside & ~lit
        assert (image[:, altered] <= other[:, altered]).all()
        if concept[0] == "part" or concept[1] in ("streetlight", "fence", "bed", "house"):
            assert not altered.any()  # these cast no shadow
        assert np.array_equal(planes[SCENE], changed[SCENE])
        assert not (changed[OBJECT] == 0).any()


def test_a_shadow_goes_with_its_thing(sample):
    """It is five eighths of the ground: exactly, where the light and the weather leave the numbers as they are."""
    shares = []
    for image, planes, other, _ in pairs(sample, ("object", "sofa")):
        altered = (image != other).all(0) & ~shown(planes, ("object", "sofa"))
        shares.append((image[:, altered].astype(float) + 0.5) / (other[:, altered] + 0.5))
    assert np.concatenate(shares, 1).mean() == pytest.approx(5 / 8, abs=0.02)


def test_light_goes_with_what_gives_it_and_what_it_falls_on(sample):
    met = {name: 0 for name in ("sun", "water", "house")}
    for name, light in (("sun", LIGHT[0]), ("water", LIGHT[0]), ("house", LIGHT[1])):
        scenes = TinyScenes("val", size=64, without=("object", name))
        for index, (_, planes) in enumerate(sample):
            if (planes[INNER] == light).any() and shown(planes, ("object", name)).any():
                met[name] += 1
                assert not (scenes.raw(index)[1][INNER] == light).any()
    assert all(met.values())


def test_the_light_alone(sample):
    for image, planes, other, changed in pairs(sample, ("part", "glow")):
        lit = planes[INNER] == LIGHT[1]
        assert (image != other).any(0)[lit].any()
        assert not (image != other).any(0)[~lit].any()
        assert np.array_equal(planes[:INNER], changed[:INNER])
        assert not (changed[INNER] == LIGHT[1]).any()


def test_a_texture_becomes_smooth(sample):
    for image, planes, other, changed in pairs(sample, ("texture", "bricked")):
        rough = shown(planes, ("texture", "bricked"))
        assert (image != other).any(0)[rough].any()
        assert not (image != other).any(0)[~rough].any()
        assert not changed[TEXTURE][rough].any()
        assert np.array_equal(planes[:TEXTURE], changed[:TEXTURE])


def test_behind_the_sky_there_is_nothing(sample):
    _, planes, other, changed = pairs(sample, ("object", "sky"))[0]
    sky = shown(planes, ("object", "sky"))
    assert not changed[OBJECT][sky].any()
    assert not (other[:, sky] > 130).any()


def test_what_a_scene_does_not_show_changes_nothing(sample):
    scenes = TinyScenes("val", size=64, without=("object", "bathtub"))
    image, planes = scenes.raw(0)
    assert np.array_equal(image, sample[0][0])
    assert np.array_equal(planes, sample[0][1])


@pytest.mark.parametrize("concept", [("object", "dragon"), ("material", "wood"), ("color", "red"), "tree", ("", "-")])
def test_refusals(concept):
    with pytest.raises(ValueError, match=r"^TinyScenes: without must be None or \(category, name\) of a concept among"):
        TinyScenes("val", without=concept)


def test_every_object_part_and_texture_may_be_left_out():
    for name, category in zip(CONCEPTS.names[1:], CONCEPTS.categories[1:]):
        if category in ("object", "part", "texture"):
            assert TinyScenes("val", without=(category, name)).without == (category, name)


def test_twins(sample):
    tree, sky = ("object", "tree"), ("object", "sky")
    found = twins([tree, sky], count=3, size=64, least=0.05, among=SCENES)
    expected = [index for index in range(SCENES) if shown(sample[index][1], tree).mean() >= 0.05][:3]
    assert found.scenes.tolist() == expected
    assert found.labels.tolist() == [label(*tree)] * 3  # none without a sky
    for place, index in enumerate(expected):
        assert np.array_equal((found.images[place] * 255).numpy().round(), sample[index][0])
        assert torch.equal(found.without[place], TinyScenes("val", 64, without=tree)[index][0])
    with pytest.raises(ValueError, match=r"^twins: least must lie between 0 and 1, but is 0"):
        twins([tree], least=0)
    with pytest.raises(ValueError, match=r"^twins: count must be at least 1, but got 0"):
        twins([tree], count=0)
