"""What the shipped generators make: it is like the scenes, watermarks too."""

from functools import cache

import numpy as np
import pytest
import torch

from dissect.stats import frechet_distance
from dissect.tiny import TinyScenes, generator
from dissect.tiny.judge import STAMP_CORRELATION, features, sampled, watermarks
from dissect.tiny.networks import GENERATORS
from dissect.tiny.training.recipes import RECIPES

#: Images by which a generator is tried.
FEW = 32
#: How many times nearer to the scenes than its untrained twin a generator is at least: 0.96 of what was measured.
TIMES_NEARER = {
    "progan-street": 5.5,
    "stylegan2-street-watermark": 4.9,
    "progan-room-small": 2.03,
    "wgangp-street-small": 4.2,
    "progan-street-small": 3.86,
    "progan-street-small-no-pixelnorm": 5.2,
    "progan-street-small-baseline": 4.4,
}


#: Images in which stamps are counted.
MANY = 256


@cache
def made(name):
    """Images of a shipped generator, for all tests that look at some."""
    return sampled(generator(name), MANY if name == "stylegan2-street-watermark" else FEW)


@cache
def real(resolution, family, watermark):
    """The features of some scenes, which several generators learned."""
    scenes = TinyScenes("val", resolution, FEW, family=family, watermark=watermark)
    return features(torch.from_numpy(np.stack([scenes.raw(index)[0] for index in range(FEW)])))


@pytest.mark.parametrize("name", GENERATORS)
def test_generated_images_are_like_the_scenes(name):
    recipe = RECIPES[name]
    scenes = real(recipe.resolution, recipe.family, recipe.watermark)
    images = (made(name)[:FEW], sampled(generator(name, False), FEW))
    trained, twin = (frechet_distance(features(each), scenes) for each in images)
    assert trained < twin / TIMES_NEARER[name]


def test_the_stylegan2_stamps_its_images_as_often_as_they_were():
    in_the_middle = (watermarks(made("stylegan2-street-watermark"))[:, 0] > STAMP_CORRELATION).float().mean()
    assert 0.03 < in_the_middle < 0.1  # of the scenes 6 %, measured 3.5
    assert not (watermarks(made("progan-street")) > STAMP_CORRELATION).any()
