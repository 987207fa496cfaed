"""What is measured of a sample of scenes: tables worked out by hand, on planes of four by four cells."""

from types import SimpleNamespace

import numpy as np
import pytest

from dissect.concepts import Concepts
from dissect.tiny import TinyScenes
from dissect.tiny.survey import _shared, coverage, intersection_over_union, limits, logistic_accuracy, survey
from dissect.tiny.world import vocabulary

CONCEPTS = Concepts.of([("house", "object"), ("tree", "object"), ("roof", "part"), ("wood", "material"),
                        ("red", "color"), ("blue", "color")])  # fmt: skip
HOUSE, TREE, ROOF, WOOD, RED, BLUE = range(1, 7)


class Drawn:
    """Two scenes of 16x16, each plane given by the label in each of 4x4 cells."""

    size, split, concepts, classes = 16, "val", CONCEPTS, ("village", "forest")
    cells = np.array([
        # A red wooden house whose roof lies in both part planes, and nothing else.
        [[[HOUSE] * 4] * 4, [[ROOF] * 4] + [[0] * 4] * 3, [[ROOF] * 2 + [0] * 2] * 2 + [[0] * 4] * 2,
         [[WOOD] * 4] * 4, [[RED] * 4] * 4],
        # Above a house, red and blue, below a tree, blue; two cells of wood on the house.
        [[[HOUSE] * 4] * 2 + [[TREE] * 4] * 2, [[0] * 4] * 4, [[0] * 4] * 4, [[WOOD] * 2 + [0] * 2] + [[0] * 4] * 3,
         [[RED] * 4] + [[BLUE] * 4] * 3],
    ])  # fmt: skip

    def __len__(self):
        return len(self.cells)

    def raw(self, index):
        image = np.full((3, 16, 16), 40 + 100 * index, dtype=np.uint8)
        image[0, :, 8:] = 255
        return image, self.cells[index].repeat(4, 1).repeat(4, 2).astype(np.int16)

    def scene(self, index):
        return index


@pytest.fixture
def seen():
    return survey(Drawn())


def test_areas_count_a_pixel_once_though_two_planes_say_so(seen):
    cells = [[0, 16, 0, 6, 16, 16, 0], [0, 8, 8, 0, 2, 4, 12]]
    assert (seen.areas / 16).tolist() == cells
    assert seen.numbers.tolist() == [0, 1]


def test_shared_pixels(seen):
    assert seen.shared[HOUSE, RED] == 16 * (16 + 4)
    assert seen.shared[ROOF, WOOD] == seen.shared[WOOD, ROOF] == 16 * 6
    assert np.array_equal(seen.shared.diagonal(), seen.areas.sum(0))
    assert not seen.shared[0].any()


def counted(planes):
    """The labels of a scene's planes, and the pixels that two of them share, each pair by its own masks."""
    present = [label for label in np.unique(planes) if label > 0]
    masks = [(planes == label).any(0) for label in present]
    return present, [[int((one & other).sum()) for other in masks] for one in masks]


@pytest.mark.parametrize("planes", [
    np.zeros((2, 16, 16)),  # nothing is known
    np.full((1, 1, 1), 5),
    np.full((3, 16, 16), 7),  # one run, and the same label in each plane
    np.arange(256).reshape(1, 16, 16),  # no two pixels alike
    np.stack([np.arange(256).reshape(16, 16) % 3, np.arange(256).reshape(16, 16) // 128]),  # in one plane only a change
])  # fmt: skip
def test_shared_pixels_by_hand(planes):
    found = _shared(planes.astype(np.int16))
    assert [part.tolist() for part in found] == [*counted(planes)]


@pytest.mark.parametrize("seed", range(8))
def test_shared_pixels_of_random_planes_and_of_scenes(seed):
    chance = np.random.default_rng(seed)
    random = chance.integers(0, chance.integers(1, 9), (5, 12, 20)).repeat(chance.integers(1, 5), 2)
    for planes in (random.astype(np.int16), TinyScenes("val", 64, 8).raw(seed)[1]):
        present, pixels = _shared(planes)
        assert pixels.dtype == np.int64
        assert (present.tolist(), pixels.tolist()) == counted(planes)


def test_intersection_over_union(seen):
    iou = intersection_over_union(seen)
    assert iou[HOUSE, WOOD] == pytest.approx(18 / 24)
    assert iou[TREE, BLUE] == pytest.approx(8 / 12)
    assert iou[TREE, ROOF] == 0


def test_guises_take_a_third_of_a_color_and_a_tenth_of_a_material(seen):
    # In the second scene 4 of the house's 8 cells are red, 4 blue, 2 of wood; the tree is blue.
    assert seen.guises[HOUSE, [RED, BLUE, WOOD]].tolist() == [2, 1, 2]
    assert seen.guises[TREE, [RED, BLUE, WOOD]].tolist() == [0, 1, 0]


def test_views_of_the_image(seen):
    assert seen.histograms.sum(1) == pytest.approx(1)
    assert seen.histograms[0, [1 * 64 + 1 * 8 + 1, 7 * 64 + 1 * 8 + 1]].tolist() == [0.5, 0.5]
    assert seen.thumbnails[1].reshape(3, 16, 16)[0, 3, [7, 8]].tolist() == [140, 255]


def test_coverage(seen):
    roof = coverage(seen)[ROOF - 1]
    assert (roof.concept, roof.category, roof.images) == ("roof", "part", 0.5)
    assert roof.pixels == pytest.approx(6 / 32)
    assert roof.attainable == pytest.approx(0.01 / (6 / 32))
    assert coverage(seen, top_fraction=0.5)[ROOF - 1].attainable == pytest.approx(6 / 32 / 0.5)


@pytest.fixture
def _nothing_declared(monkeypatch):
    for name in ("NEAR_TWINS", "FEW_COLORS", "FEW_MATERIALS"):
        monkeypatch.setattr(vocabulary, name, ())


@pytest.mark.usefixtures("_nothing_declared")
def test_limits_name_the_worst_cases(seen):
    rows = {row.figure: row for row in limits(seen, seen)}
    assert rows["one object's presence, best balanced accuracy"].worst == "village by tree 1.00, forest by tree 1.00"
    assert rows["two concepts' masks, largest IoU"].worst == (
        "material wood / color red 0.90, object house / color red 0.83, object house / material wood 0.75"
    )
    assert rows["colors of an object, fewest"].worst == "house 1, tree 0"
    assert (rows["concepts"].value, rows["concepts"].met) == (6, False)


@pytest.mark.usefixtures("_nothing_declared")
def test_what_the_vocabulary_declares_is_exempt(seen, monkeypatch):
    monkeypatch.setattr(vocabulary, "NEAR_TWINS", ((("color", "red"), ("material", "wood")),))
    monkeypatch.setattr(vocabulary, "FEW_COLORS", ("house",))
    rows = {row.figure: row for row in limits(seen, seen)}
    assert rows["two concepts' masks, largest IoU"].value == pytest.approx(20 / 24)
    assert rows["colors of an object, fewest"].worst == "tree 0"
    assert rows["materials of an object, fewest"].worst == "house 1, tree 0"


def test_a_line_is_learned_and_noise_is_not():
    chance = np.random.default_rng(0)
    inputs = chance.normal(size=(600, 3))
    line = (inputs @ [1.0, -2.0, 0.5] > 0).astype(np.int64)
    noise = chance.integers(0, 2, 600)
    assert logistic_accuracy(inputs[:400], line[:400], inputs[400:], line[400:]) > 0.96
    assert logistic_accuracy(inputs[:400], noise[:400], inputs[400:], noise[400:]) < 0.6


def test_inputs_that_never_vary_do_no_harm():
    inputs = np.stack([np.ones(40), np.arange(40.0)], axis=1)
    classes = np.arange(40) // 20
    assert logistic_accuracy(inputs, classes, inputs, classes) == 1


@pytest.mark.parametrize(("size", "count"), [(100, 3), (128, 0)])
def test_scenes_that_cannot_be_surveyed(size, count):
    with pytest.raises(ValueError, match=rf"survey: scenes must .* got size {size} and {count} items\."):
        survey(TinyScenes("val", size, count))


def test_limits_need_each_class():
    lonely = SimpleNamespace(numbers=np.zeros(3, dtype=np.int64), scenes=Drawn())
    with pytest.raises(ValueError, match=r"limits: train must show each of the 2 classes, but shows 1\."):
        limits(lonely, lonely)
