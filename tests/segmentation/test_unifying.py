"""Broden built from sources, on sources written here: names merged, rare labels gone, and what is read back."""

import csv

import numpy as np
import pytest
import torch

from dissect import Concepts
from dissect.data import Broden
from dissect.segmentation import ReaderSource, Renaming, SourceImage, build_broden, category_table
from dissect.segmentation.colors import COLORS
from dissect.tiny import TinyScenes

RENAMING = Renaming({"automobile": "car", "grass field": "grass"}, left_out=("misc",))
RED, BLUE = (200, 20, 20), (20, 20, 200)


def picture(color, size=16):
    return np.broadcast_to(np.array(color, np.uint8), (size, size, 3)).copy()


def halved(left, right, size=16):
    plane = np.zeros((size, size), np.int64)
    plane[:, : size // 2], plane[:, size // 2 :] = left, right
    return plane


def sources():
    """Twelve street images of one source, in which 3 is a car by another name; three of another; two textures."""
    ade = [
        SourceImage(
            f"street/{number}.jpg", picture(RED),
            [("object", halved(3, 5), {3: "Automobile", 5: "misc"}),
             ("part", halved(1 if number < 2 else 0, 2), {1: "left wheel", 2: "right_wheel"})],
            [("scene", "street")],
        )
        for number in range(12)
    ]  # fmt: skip
    pascal = [
        SourceImage(f"{number}.png", picture(BLUE), [("object", halved(7, 8), {7: "car", 8: "rare bird"})])
        for number in range(3)
    ]
    dtd = [SourceImage(f"{number}.png", picture(BLUE), (), [("texture", "striped")]) for number in range(2)]
    return {"ade": ade, "pascal": pascal, "dtd": dtd}


def built(folder, **options):
    return build_broden(sources(), folder, renaming=RENAMING, size=16, progress=False, **options)


def test_what_is_built_is_read_back(tmp_path):
    broden = built(tmp_path / "made", min_samples=3, min_coverage=0)
    assert len(broden) == 17
    assert broden.categories == ("color", "object", "part", "scene")
    # by how many images carry them: car 15, then red, street and wheel 12 each, blue 5, the rare bird 3; no striped
    assert broden.concepts.names == ("-", "car", "red-c", "street-s", "wheel", "blue-c", "rare bird")
    assert broden.concepts.categories[1:] == ("object", "color", "scene", "part", "color", "object")
    image, planes = broden[0]
    assert image.shape == (3, 16, 16)
    assert planes.shape == (4, 8, 8)
    red, car, wheel, street = (broden.concepts.names.index(name) for name in ("red-c", "car", "wheel", "street-s"))
    assert planes[:, 0, 0].tolist() == [red, car, wheel, street]  # "left wheel" and "right_wheel" are one
    assert planes[:, 0, 7].tolist() == [red, 0, wheel, street]  # "misc" is none
    assert broden[5][1][:, 0, 0].tolist() == [red, car, 0, street]
    assert broden[13][1][:, 0, 7].tolist() == [broden.concepts.names.index("blue-c"), 6, 0, 0]
    told = {row.category: row for row in broden.table()}
    assert (told["object"].classes, told["object"].sources, told["object"].average_sample) == (2, "ade, pascal", 9.0)
    assert (told["scene"].classes, told["scene"].sources, told["scene"].average_sample) == (1, "ade", 12.0)
    with (tmp_path / "made/label.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert rows["car"]["syns"] == "Automobile;car"
    assert rows["car"]["category"] == "object(15)"
    assert float(rows["car"]["coverage"]) == 7.5
    assert float(rows["street-s"]["coverage"]) == 12
    splits = [len(Broden(tmp_path / "made", split=split)) for split in ("train", "val")]
    assert sum(splits) == 17
    assert min(splits) > 0


def test_rare_labels_go_by_samples_and_by_coverage(tmp_path):
    assert "rare bird" not in built(tmp_path / "ten").concepts.names
    assert built(tmp_path / "wide", min_samples=1, min_coverage=1.5).concepts.names == (
        "-", "car", "red-c", "street-s", "wheel", "blue-c", "rare bird", "striped")  # fmt: skip
    assert "rare bird" not in built(tmp_path / "wider", min_samples=1, min_coverage=1.6).concepts.names


def test_every_pixel_has_a_colour_and_the_scenes_planes_come_back(tmp_path):
    scenes = TinyScenes("val", size=64, count=6)
    images = []
    for number in range(6):
        image, planes = scenes[number]
        names = {label: name for label, name in enumerate(scenes.concepts.names)}
        shown = [(kind, plane.numpy(), names) for kind, plane in zip(scenes.planes, planes) if kind == "object"]
        images.append(SourceImage(f"{number}.png", (image * 255).round().byte().permute(1, 2, 0).numpy(), shown))
    built = build_broden({"tiny": images}, tmp_path / "b", size=64, min_samples=1, min_coverage=0, progress=False)
    at = built.categories.index("object")
    colors = {f"{name}-c" for name in COLORS}
    for number in range(6):
        planes = built[number][1]
        assert {built.concepts.names[label] for label in planes[0].unique()} <= colors
        expected = scenes[number][1][scenes.planes.index("object")]
        found = np.array(built.concepts.names)[planes[at]]
        wanted = np.array(scenes.concepts.names)[expected[1::2, 1::2]]
        assert (found == wanted).mean() > 0.9  # nearest pixels, at half the size


def test_readers_are_sources(tmp_path):
    class Reader:
        concepts = TinyScenes.concepts
        files = (tmp_path / "a.png",)

        def labels(self, index):
            return np.stack([halved(1, 2), halved(0, 2)])

        def __len__(self):
            return 1

    (item,) = ReaderSource(Reader(), tmp_path)
    assert item.name == "a.png"
    assert {(kind, names[1]) for kind, _, names in item.planes} == {("object", TinyScenes.concepts.names[1])}
    assert len(item.planes) == 2


def test_the_first_table_of_any_data_set():
    scenes = TinyScenes("val", size=32, count=8)
    rows = {row.category: row for row in category_table(scenes, source="tiny")}
    seen = [set(scenes[number][1].unique().tolist()) for number in range(8)]
    own = [label for label, kind in enumerate(scenes.concepts.categories) if kind == "object" and label]
    counts = [count for label in own if (count := sum(label in labels for labels in seen))]
    assert (rows["object"].classes, rows["object"].sources) == (len(counts), "tiny")
    assert rows["object"].average_sample == sum(counts) / len(counts)
    images, planes = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"^category_table: planes must come with images, but batch 0 has none"):
        category_table(images, scenes.concepts)
    with pytest.raises(ValueError, match=r"^category_table: concepts must name the labels"):
        category_table(images)
    with pytest.raises(ValueError, match=r"^category_table: batch 1: .*labels must lie in \[0, 2\), but image 0 .* 9"):
        category_table([(images, planes), (images, planes + 9)], Concepts.of(["tree"]))


def test_what_cannot_be_built_is_refused(tmp_path):
    one = SourceImage("a.png", picture(RED), [("object", halved(1, 2), {1: "car"})])
    options = {"size": 16, "min_samples": 1, "min_coverage": 0, "progress": False}
    for given, error, told, more in (
        ({}, ValueError, "sources must be at least one", {}),
        ({"a/b": [one]}, ValueError, "names as folders have", {}),
        ({"a": iter([one])}, TypeError, "gone through twice", {}),
        ({"a": [one, one._replace(name="a.jpg")]}, ValueError, "names of their own", {}),
        ({"a": [one._replace(name="../a.jpg")]}, ValueError, "names of their own", {}),
        ({"a": [one._replace(planes=[("object", np.zeros((16, 32)), {})])]}, ValueError, "the shape of their", {}),
        ({"a": [one]}, ValueError, "carried by 9 images", {"min_samples": 9}),
        ({"a": [one]}, ValueError, "'b' has a synonym itself", {"renaming": Renaming({"a": "b", "b": "c"})}),
    ):  # fmt: skip
        with pytest.raises(error, match=told):
            build_broden(given, tmp_path / "made", **options | more)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("")
    with pytest.raises(FileExistsError, match="must be new or empty"):
        build_broden({"a": [one]}, tmp_path / "full", **options)
