"""The painter: which pixels a shape covers, and what covering does to the planes."""

import numpy as np
import pytest

from dissect.tiny.world.canvas import Canvas, Surface
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.textures import TEXTURE_FUNCTIONS
from dissect.tiny.world.vocabulary import TEXTURES, label

RED = Surface((200, 10, 20), "wood")


def covered(draw, size=16):
    """Where a pen painted, as 0 and 1."""
    canvas = Canvas(size)
    draw(canvas.pen("house", Rng("canvas")))
    return (canvas.labels[0] == label("object", "house")).astype(int)


def test_a_rectangle_takes_the_pixels_whose_centres_it_holds():
    # Pixels are 64 units wide, centres at 32, 96, 160, ...
    mask = covered(lambda pen: pen.rect(32, 33, 160, 161, RED))
    assert np.argwhere(mask).tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]


def test_a_triangle():
    mask = covered(lambda pen: pen.polygon([(0, 0), (256, 0), (0, 256)], RED))
    assert mask[:4, :4].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    assert mask.sum() == 10


def test_a_polygon_that_is_not_convex():
    notch = [(0, 0), (512, 0), (512, 512), (256, 128), (0, 512)]
    mask = covered(lambda pen: pen.polygon(notch, RED))
    assert mask[1].tolist()[:9] == [1] * 8 + [0]
    assert mask[6].tolist()[:9] == [1, 0, 0, 0, 0, 0, 0, 1, 0]


def test_the_direction_of_a_polygon_does_not_matter():
    points = [(40, 70), (700, 100), (900, 640), (300, 990)]
    forward = covered(lambda pen: pen.polygon(points, RED))
    assert np.array_equal(forward, covered(lambda pen: pen.polygon(points[::-1], RED)))


def test_an_ellipse_and_its_halves():
    whole = covered(lambda pen: pen.ellipse(512, 512, 200, 130, RED))
    halves = [covered(lambda pen, h=h: pen.ellipse(512, 512, 200, 130, RED, half=h)) for h in ("upper", "lower")]
    assert np.array_equal(whole, whole[::-1])
    assert np.array_equal(whole, whole[:, ::-1])
    assert np.array_equal(halves[0] + halves[1], whole)


@pytest.mark.parametrize("place", [-400, 1300])
def test_shapes_off_the_canvas_are_cut_off(place):
    def draw(pen):
        pen.rect(place, place, place + 50, place + 50, RED)
        pen.ellipse(place, place, 90, 90, RED)
        pen.polygon([(place, place), (place + 90, place), (place, place + 90)], RED)
        pen.line(place, place, place + 100, place + 20, 10, RED)
        pen.gradient(place, place, place + 20, place + 20, RED, (1, 2, 3))

    assert not covered(draw).any()


def test_what_comes_later_covers_all_planes():
    canvas = Canvas(16)
    canvas.pen("house", Rng("a")).rect(0, 0, 1024, 1024, Surface((9, 9, 9), "brick", "bricked"), "facade")
    canvas.pen("tree", Rng("b")).rect(0, 0, 512, 1024, Surface((0, 90, 0), "foliage"))
    left = [label("object", "tree"), 0, 0, label("material", "foliage"), 0]
    named = [("object", "house"), ("part", "facade"), ("part", ""), ("material", "brick"), ("texture", "bricked")]
    right = [label(category, name) for category, name in named]
    assert canvas.labels[:, 5, 2].tolist() == left
    assert canvas.labels[:, 5, 12].tolist() == right
    assert canvas.rgb[:, 5, 2].tolist() == [0, 90, 0]


def test_a_part_inside_a_part():
    canvas = Canvas(16)
    pen = canvas.pen("house", Rng("a"))
    pen.rect(0, 0, 1024, 1024, RED, "door")
    pen.rect(0, 0, 512, 512, RED, "door/handle")
    pen.rect(0, 512, 512, 1024, RED, "/glow")
    parts = [[("door", "handle"), ("door", "")], [("", "glow"), ("door", "")]]
    for row, line in enumerate(parts):
        for column, names in enumerate(line):
            expected = [label("part", name) for name in names]
            assert canvas.labels[1:3, 4 + 8 * row, 4 + 8 * column].tolist() == expected


def test_a_dress_changes_what_is_painted():
    canvas = Canvas(16, lambda seed, name, surface: Surface((1, 2, 3), "stone" if name == "house" else "wood"))
    canvas.pen("house", Rng("a")).rect(0, 0, 1024, 1024, RED)
    assert canvas.rgb[:, 3, 3].tolist() == [1, 2, 3]
    assert canvas.labels[3, 3, 3] == label("material", "stone")


def test_light_falls_where_the_mask_says():
    canvas = Canvas(16)
    canvas.pen("road", Rng("a")).rect(0, 0, 1024, 1024, Surface((100, 100, 100), "asphalt"))
    mask = np.eye(4, dtype=bool)
    canvas.shine(slice(0, 4), slice(2, 6), mask, "glow", (200, 300, 100), 128)
    assert canvas.rgb[:, 1, 3].tolist() == [150, 200, 100]
    assert canvas.rgb[:, 1, 4].tolist() == [100, 100, 100]
    assert canvas.labels[:4, 1, 3].tolist() == [
        label("object", "road"), 0, label("part", "glow"), label("material", "asphalt"),
    ]  # fmt: skip
    assert (canvas.labels[2] > 0).sum() == 4


def test_shadow_fog_and_weather_leave_the_labels():
    canvas = Canvas(32)
    canvas.pen("grass", Rng("a")).rect(0, 0, 1024, 1024, Surface((80, 120, 60), "foliage"))
    labels, pixels = canvas.labels.copy(), canvas.rgb.copy()
    canvas.pen("car", Rng(1)).shadow(500, 500, 200, 100)
    canvas.fog(100, 400, 800, 120)
    canvas.sprinkle(Rng("rain"), 20, (200, 200, 255), 40)
    assert np.array_equal(canvas.labels, labels)
    assert not np.array_equal(canvas.rgb, pixels)


def test_light_and_mirror():
    canvas = Canvas(16)
    canvas.pen("house", Rng("a")).rect(0, 0, 100, 100, RED)
    image, labels = canvas.finish((128, 256, 5120), True)
    assert image[:, 0, 15].tolist() == [100, 10, 255]
    assert labels[0, 0, 15] == label("object", "house")
    assert not labels[:, :, :8].any()


def test_textures_are_the_vocabularys():
    assert tuple(TEXTURE_FUNCTIONS) == TEXTURES


@pytest.mark.parametrize("name", TEXTURES)
def test_a_texture_varies_about_the_colour(name):
    x = np.arange(4, 1024, 8, dtype=np.int64)
    shades = np.broadcast_to(TEXTURE_FUNCTIONS[name](x, x, 77), (128, 128))
    assert shades.dtype == np.int64
    assert shades.min() < shades.max()
    assert abs(shades.mean()) < 40
    assert -256 < shades.min()
    assert shades.max() < 256
