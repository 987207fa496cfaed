"""The scenes: the same bytes everywhere, exact and complete labels."""

import hashlib
import pickle

import numpy as np
import pytest
import torch

from dissect.concepts import CATEGORIES
from dissect.tiny import TinyScenes
from dissect.tiny.scenes import LAYOUTS
from dissect.tiny.vocabulary import CONCEPTS, PLANES, SCENES

# (split, index, size): sha256 of the image's and of the planes' bytes, first 16 digits. They must never change.
HASHES = {
    ("train", 0, 128): ("42b9b5c679bbac2e", "b4856e85ef6f3700"),
    ("train", 1, 128): ("87c23e63a274c222", "5545fd52082b666b"),
    ("train", 2, 128): ("4dfa1bff40042c11", "783f5d30a8cdaeb1"),
    ("train", 3, 128): ("8d5ddfd64d096deb", "6214a888aa0b061a"),
    ("train", 4, 128): ("5d986dfb2f9efa0c", "b20f6b7d568551c5"),
    ("train", 5, 128): ("b6983f2185cf4d4e", "3568fcce7bda268d"),
    ("train", 6, 128): ("19527ce94edbf686", "6e43972e9732d0f3"),
    ("train", 7, 128): ("bcdf643cc404c108", "3d563db9bfda7c91"),
    ("train", 8, 128): ("4c9e556dc25caf65", "a1738be2f91243e2"),
    ("train", 9, 128): ("72577b363c0f152e", "80fdd89c24ae312e"),
    ("train", 10, 128): ("196d08784def355a", "a6634dc56f7411ce"),
    ("train", 11, 128): ("e816ed7687643d76", "486ecc18889f3194"),
    ("train", 12, 128): ("4225f74bce09de57", "73887ee483c0c40f"),
    ("train", 13, 128): ("82dbfcba2d42dfab", "ac013df932924b51"),
    ("train", 14, 128): ("cbf8dfdb5047c26c", "cab90a95d86c018c"),
    ("train", 15, 128): ("0e045361ae047348", "207288c3a84be090"),
    ("train", 16, 128): ("dcb427dda028a9e7", "e574850f73b4ebcd"),
    ("train", 17, 128): ("a802e0d6d9b79988", "c6188cd2782f977e"),
    ("train", 18, 128): ("26bd0c2855510641", "c668a6c5f8c76c80"),
    ("train", 19, 128): ("3e7abe74dd71bc1f", "0d4343c98937b5e2"),
    ("val", 0, 128): ("fbe22bc9152bd790", "6ece35c8adeae4db"),
    ("val", 1599, 128): ("02c850a70f98cc53", "7ddbc91ffeb8f786"),
    ("val", 7, 64): ("e71c18c5742db350", "41df64190cb332fc"),
    ("train", 15999, 64): ("73b236275e91b862", "f90e74b1e76e3b06"),
    ("val", 12, 200): ("272ffc58d8566be5", "a2bb3b376f156bdf"),
    ("train", 3, 16): ("6e3735db489ae31d", "97a3b0031326d3b4"),
    ("train", 9, 1024): ("7d0ef209b96b9d8b", "3d00cf807e725096"),
}

SAMPLE = 240


@pytest.fixture(scope="module")
def sample():
    """Images uint8 and planes of the first scenes of the training split."""
    scenes = TinyScenes("train", size=128)
    pairs = [scenes.raw(index) for index in range(SAMPLE)]
    return np.stack([image for image, _ in pairs]), np.stack([planes for _, planes in pairs])


@pytest.mark.parametrize("key", HASHES, ids=str)
def test_bytes(key):
    split, index, size = key
    image, planes = TinyScenes(split, size=size).raw(index)
    assert planes.astype("<i2").tobytes() == planes.tobytes()
    digests = tuple(hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in (image, planes))
    assert digests == HASHES[key]


def test_items():
    image, planes = TinyScenes("val", size=96)[5]
    assert (image.dtype, tuple(image.shape)) == (torch.float32, (3, 96, 96))
    assert (planes.dtype, tuple(planes.shape)) == (torch.int16, (6, 96, 96))
    assert float(image.min()) >= 0
    assert float(image.max()) <= 1


def test_an_item_is_its_raw_bytes_over_255():
    scenes = TinyScenes("train", size=32)
    image, planes = scenes[3]
    pixels, numbers = scenes.raw(3)
    assert torch.equal(image, torch.from_numpy(pixels).float() / 255)
    assert np.array_equal(planes.numpy(), numbers)


def test_each_plane_holds_labels_of_its_category(sample):
    assert PLANES == CATEGORIES
    categories = np.array(CONCEPTS.categories)
    for plane, category in enumerate(PLANES):
        numbers = np.unique(sample[1][:, plane])
        assert numbers.min() >= 0
        assert numbers.max() < len(CONCEPTS)
        assert set(categories[numbers[numbers > 0]]) == {category}


def test_the_scene_is_one_label_and_follows_the_index(sample):
    scenes = TinyScenes("train")
    plane = sample[1][:, PLANES.index("scene")]
    for index in range(SAMPLE):
        (number,) = np.unique(plane[index])
        assert CONCEPTS.names[number] == scenes.classes[scenes.scene(index)] == SCENES[index % len(SCENES)]


def test_every_pixel_has_an_object_and_a_colour(sample):
    assert (sample[1][:, PLANES.index("object")] > 0).all()
    assert (sample[1][:, PLANES.index("color")] > 0).all()


def test_every_concept_appears(sample):
    seen = np.unique(sample[1])
    assert [CONCEPTS.names[number] for number in range(1, len(CONCEPTS)) if number not in seen] == []


def test_no_object_gives_its_class_away():
    scenes = TinyScenes("train", size=64)
    objects = [np.unique(scenes.raw(index)[1][PLANES.index("object")]) for index in range(800)]
    shown = {(number, index % len(SCENES)) for index, numbers in enumerate(objects) for number in numbers}
    alone = [CONCEPTS.names[n] for n in {n for n, _ in shown} if len({scene for m, scene in shown if m == n}) == 1]
    assert alone == []


def test_scenes_of_a_class_differ(sample):
    boathouses = sample[0][:: len(SCENES)]
    assert len({image.tobytes() for image in boathouses}) == len(boathouses)


def test_splits_share_no_scene():
    train, val = TinyScenes("train", size=32), TinyScenes("val", size=32)
    digests = [{scenes.raw(index)[0].tobytes() for index in range(200)} for scenes in (train, val)]
    assert len(digests[0] | digests[1]) == 400


def test_sizes_show_the_same_scene():
    small, large = (TinyScenes("val", size=size).raw(8)[1][0] for size in (64, 192))
    assert (small == large[1::3, 1::3]).mean() > 0.97


def test_lengths():
    assert (len(TinyScenes("train")), len(TinyScenes("val")), len(TinyScenes("val", count=7))) == (16000, 1600, 7)


def test_negative_indices_count_from_the_end():
    scenes = TinyScenes("val", size=16, count=30)
    assert np.array_equal(scenes.raw(-1)[1], scenes.raw(29)[1])
    assert scenes.scene(-1) == 9


def test_class_targets_for_training():
    scenes = TinyScenes("val", size=32, count=45, target="class")
    images, numbers = next(iter(torch.utils.data.DataLoader(scenes, batch_size=45)))
    assert tuple(images.shape) == (45, 3, 32, 32)
    assert numbers.tolist() == [index % 20 for index in range(45)]


def test_the_data_set_can_be_sent_to_workers():
    scenes = pickle.loads(pickle.dumps(TinyScenes("val", size=32)))
    assert torch.equal(scenes[4][1], TinyScenes("val", size=32)[4][1])


def test_every_class_has_its_layout():
    assert tuple(LAYOUTS) == SCENES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "x"}, r"TinyScenes: split must be one of \('train', 'val'\), but got 'x'\."),
        ({"target": "y"}, r"TinyScenes: target must be one of \('planes', 'class'\), but got 'y'\."),
        ({"size": 15}, r"TinyScenes: size must be an integer in \[16, 1024\], but got 15\."),
        ({"size": 64.0}, r"TinyScenes: size must be an integer in \[16, 1024\], but got 64\.0\."),
        ({"count": -1}, r"TinyScenes: count must not be negative, but got -1\."),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        TinyScenes(**arguments)


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_out_of_range(index):
    with pytest.raises(IndexError, match=rf"TinyScenes: index must be in \[-3, 3\), but got {index}\."):
        TinyScenes("val", count=3)[index]
