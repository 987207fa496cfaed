"""The rule of the colour names."""

import numpy as np
import pytest

from dissect.tiny.world.colors import color_labels, color_name
from dissect.tiny.world.vocabulary import COLORS, CONCEPTS

TABLE = [
    ((0, 0, 0), "black"), ((52, 40, 30), "black"), ((255, 255, 255), "white"), ((200, 196, 190), "white"),
    ((128, 128, 128), "grey"), ((90, 88, 96), "grey"), ((199, 199, 199), "grey"), ((200, 200, 200), "white"),
    ((220, 30, 30), "red"), ((150, 42, 52), "red"), ((240, 130, 30), "orange"), ((120, 70, 30), "brown"),
    ((178, 150, 112), "brown"), ((240, 220, 40), "yellow"), ((100, 96, 20), "green"), ((60, 140, 50), "green"),
    ((66, 118, 48), "green"), ((40, 80, 200), "blue"), ((90, 150, 220), "blue"), ((122, 60, 160), "purple"),
    ((240, 150, 180), "pink"), ((220, 60, 140), "pink"), ((236, 160, 150), "pink"),
]  # fmt: skip


@pytest.mark.parametrize(("rgb", "name"), TABLE)
def test_names(rgb, name):
    assert color_name(*rgb) == name


def test_every_name_occurs_in_the_table():
    assert {name for _, name in TABLE} == set(COLORS)


def test_pixels_follow_the_rule():
    pixels = np.array([rgb for rgb, _ in TABLE], dtype=np.uint8).T.reshape(3, 1, -1)
    assert [CONCEPTS.names[number] for number in color_labels(pixels)[0]] == [name for _, name in TABLE]


def test_every_pixel_has_a_colour():
    levels = np.arange(0, 256, 5, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels)).reshape(3, len(levels), -1)
    numbers = np.unique(color_labels(grid))
    assert {CONCEPTS.categories[number] for number in numbers} == {"color"}
