"""The scenes: the same bytes everywhere, exact and complete labels, classes that only their objects tell."""

import hashlib
import pickle
from itertools import combinations

import numpy as np
import pytest
import torch

from dissect.tiny import TinyScenes
from dissect.tiny.world.scenes import LAYOUTS
from dissect.tiny.world.vocabulary import (
    CONCEPTS,
    FAMILIES,
    FAMILY_OF,
    FEW_COLORS,
    FEW_MATERIALS,
    GROUNDS,
    NEAR_TWINS,
    OBJECTS,
    PLANES,
    SCENES,
    SIGNATURES,
    label,
)

# (split, index, size, options): the first 16 digits of sha256 of the image and of the planes. They must never change.
HASHES = {
    ("train", 0, 128, ()): ("a7fe99d5179587f8", "f783dd3e181fd41e"),
    ("train", 1, 128, ()): ("4a06f930f800b9f6", "d3e16026706c1442"),
    ("train", 2, 128, ()): ("aaf2f32862f06336", "c4868b6f250d8d9e"),
    ("train", 3, 128, ()): ("35985f9b5da2230e", "5f7e7309c8c850aa"),
    ("train", 4, 128, ()): ("8cd0f0c1a42588d7", "60ed706f411f62dc"),
    ("train", 5, 128, ()): ("d4a0a1dc0863ff08", "004c9a0cb06edda6"),
    ("train", 6, 128, ()): ("c2d4f4a1b4d7738b", "b917a83665da510a"),
    ("train", 7, 128, ()): ("f4e40f142d1984be", "fba6cb4e1bc5fd3d"),
    ("train", 8, 128, ()): ("9db5cca20e85f3c8", "a81af654497d838d"),
    ("train", 9, 128, ()): ("5e78f58a5fc0e37e", "98ff1c06c6c15b7f"),
    ("train", 10, 128, ()): ("a2119238a71dcf90", "2be450e0aaf4a6a1"),
    ("train", 11, 128, ()): ("61d8bf23d26dbd31", "45037c8a36c2f2d6"),
    ("train", 12, 128, ()): ("a8c6d94977707d6b", "59058b303a2c6240"),
    ("train", 13, 128, ()): ("65536ebcff7c6981", "4534858bf8e27432"),
    ("train", 14, 128, ()): ("2f72a0296446e6aa", "ab3c3dfa1560812e"),
    ("train", 15, 128, ()): ("26875a766493b2d6", "fe7f8ab14185d16c"),
    ("train", 16, 128, ()): ("25becbb43324b03b", "1dab982d5e38ba3e"),
    ("train", 17, 128, ()): ("176ea00fa26e2258", "3804def0accb0133"),
    ("train", 18, 128, ()): ("f83757c5a96ff099", "5fd2c6539b29754b"),
    ("train", 19, 128, ()): ("7207ada5f3e28f78", "22940dd3c0e983c8"),
    ("train", 20, 128, ()): ("997b8cb22e1b080a", "a1e8c1ac357249ef"),
    ("train", 21, 128, ()): ("f2c9c46e23eb78b1", "6fc1d07764905fcc"),
    ("train", 22, 128, ()): ("838b3713b1292d86", "bc7d2a921276cddd"),
    ("train", 23, 128, ()): ("452fd1f08d6869c9", "343048331cc55e12"),
    ("train", 24, 128, ()): ("7d7e828bda9d7133", "10d33dc5def5299a"),
    ("train", 25, 128, ()): ("03be7e7af4fd690b", "e4b8610712879630"),
    ("train", 26, 128, ()): ("8ffc4b1096692f8d", "7177a58918d7e20b"),
    ("train", 27, 128, ()): ("bd4bf49e6e83e3fa", "50b67b582424c0bf"),
    ("train", 28, 128, ()): ("2962b15d58de50d3", "7f63266f7ba4e5cf"),
    ("train", 29, 128, ()): ("74224ba27bb1a1b8", "37a130812a23ea8d"),
    ("train", 30, 128, ()): ("af630eb0bb6b2626", "c517e4f4c5880ce6"),
    ("train", 31, 128, ()): ("9179b2056fe6b405", "103fed1377a9fc56"),
    ("train", 32, 128, ()): ("ed153552f0e34de7", "1ec727f0b9f77691"),
    ("train", 33, 128, ()): ("e12a02b0a9c6320f", "402d57ada6bbffd6"),
    ("train", 34, 128, ()): ("248321db0e141e99", "cc8f289bd9819043"),
    ("train", 35, 128, ()): ("5b4164eefeda28e9", "96a8dbd73f76ff57"),
    ("train", 36, 128, ()): ("f029c5427a8a56cf", "1fe1ad0a80e5891e"),
    ("train", 37, 128, ()): ("6947343dc444d806", "ad9e2cabead283fd"),
    ("train", 38, 128, ()): ("7c022b0e64d22160", "282f78caecc79d20"),
    ("train", 39, 128, ()): ("9ace8d7a37a376ab", "c3352636f42b0563"),
    ("train", 40, 128, ()): ("998c777e78c6d978", "f9c9b8aee1dcaebe"),
    ("train", 41, 128, ()): ("c2fae645766b5f48", "7b980cdaf6437149"),
    ("train", 42, 128, ()): ("9f833a7bd098e1ba", "b552bc68b4d1ed0a"),
    ("val", 0, 128, ()): ("e9ac8832e2d7fad3", "fdde17909eb98254"),
    ("val", 8599, 128, ()): ("b2e2dc0c1ff48825", "a36d3578a25d224f"),
    ("val", 7, 64, ()): ("3a88e2fd2b7054b6", "588022b14dca5d9c"),
    ("train", 25799, 64, ()): ("aea5866b49dab91d", "8b14e23daa6a2c08"),
    ("val", 12, 200, ()): ("c59c38d4034dd892", "82511c971ce45a13"),
    ("train", 3, 16, ()): ("a8c89a5c1cbf22a0", "0d9f320adb74ade1"),
    ("train", 9, 1024, ()): ("8cd6472d46a3602f", "f328265754eceab3"),
    ("train", 21, 128, (("family", "street"),)): ("afe8d330807a1456", "52de594a55685ebf"),
    ("val", 40, 96, (("family", "room"),)): ("c3c2c28a506ec043", "2d0c10e610ea872f"),
    ("val", 77, 64, (("family", "landscape"),)): ("eac19ac6c695599c", "ef9f84eaa0b8dee9"),
    ("train", 5, 128, (("restyle", 1),)): ("9bf4140bc0e6042f", "73e4b4217c5ad219"),
    ("train", 20, 128, (("restyle", 1),)): ("e26979d34e24f836", "698e95b50951ae4d"),
    ("val", 35, 64, (("restyle", -7),)): ("97c3a62902ae5baf", "fcadebf58263aa66"),
    ("val", 9, 128, (("watermark", True),)): ("4e9305bdabe51b0b", "580b76650be6ccba"),
    ("val", 12, 128, (("watermark", True),)): ("0e5e8ef3b9583b41", "eb972960e8d9ec30"),
}

OBJECT, PART, INNER, MATERIAL, TEXTURE, COLOR, SCENE = range(7)
SAMPLE = 10 * len(SCENES)


def digests(arrays):
    return tuple(hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in arrays)


@pytest.fixture(scope="module")
def sample():
    """Images uint8 and planes of the first scenes of the training split."""
    scenes = TinyScenes("train", size=128)
    pairs = [scenes.raw(index) for index in range(SAMPLE)]
    return np.stack([image for image, _ in pairs]), np.stack([planes for _, planes in pairs])


@pytest.mark.parametrize("key", HASHES, ids=str)
def test_bytes(key):
    split, index, size, options = key
    image, planes = TinyScenes(split, size=size, **dict(options)).raw(index)
    assert planes.astype("<i2").tobytes() == planes.tobytes()
    assert digests((image, planes)) == HASHES[key]


def test_items():
    image, planes = TinyScenes("val", size=96)[5]
    assert (image.dtype, tuple(image.shape)) == (torch.float32, (3, 96, 96))
    assert (planes.dtype, tuple(planes.shape)) == (torch.int16, (7, 96, 96))
    assert float(image.min()) >= 0
    assert float(image.max()) <= 1


def test_an_item_is_its_raw_bytes_over_255():
    scenes = TinyScenes("train", size=32)
    image, planes = scenes[3]
    pixels, numbers = scenes.raw(3)
    assert torch.equal(image, torch.from_numpy(pixels).float() / 255)
    assert np.array_equal(planes.numpy(), numbers)


def test_an_item_does_not_depend_on_what_was_drawn_before():
    scenes = TinyScenes("train", size=48, restyle=4)
    first = digests(scenes.raw(20))
    for index in range(10):
        scenes.raw(index)
    assert digests(scenes.raw(20)) == first == digests(TinyScenes("train", size=48, restyle=4).raw(20))


def test_each_plane_holds_labels_of_its_category(sample):
    categories = np.array(CONCEPTS.categories)
    for plane, category in enumerate(PLANES):
        numbers = np.unique(sample[1][:, plane])
        assert numbers.min() >= 0
        assert numbers.max() < len(CONCEPTS)
        assert set(categories[numbers[numbers > 0]]) == {category}


def test_no_pixel_names_a_part_twice(sample):
    outer, inner = sample[1][:, PART], sample[1][:, INNER]
    assert not ((outer == inner) & (outer > 0)).any()


def test_the_scene_is_one_label_and_follows_the_index(sample):
    scenes = TinyScenes("train")
    for index in range(SAMPLE):
        (number,) = np.unique(sample[1][index, SCENE])
        assert CONCEPTS.names[number] == scenes.classes[scenes.scene(index)] == SCENES[index % len(SCENES)]


def test_every_pixel_has_an_object_and_a_colour(sample):
    assert (sample[1][:, OBJECT] > 0).all()
    assert (sample[1][:, COLOR] > 0).all()


def test_every_concept_appears(sample):
    seen = np.unique(sample[1])
    assert [CONCEPTS.names[number] for number in range(1, len(CONCEPTS)) if number not in seen] == []


def test_signatures_share_at_most_one_object_and_each_serves_three_classes():
    for classes in FAMILIES.values():
        for one, other in combinations(classes, 2):
            assert len(set(SIGNATURES[one]) & set(SIGNATURES[other])) <= 1
        used = [name for scene in classes for name in SIGNATURES[scene]]
        assert min(used.count(name) for name in used) >= 3


def test_a_scene_shows_two_signatures_of_its_class_and_of_no_other(sample):
    for index in range(SAMPLE):
        scene = SCENES[index % len(SCENES)]
        names, pixels = np.unique(sample[1][index, OBJECT], return_counts=True)
        shown = {CONCEPTS.names[name] for name in names}
        visible = {CONCEPTS.names[name] for name, count in zip(names, pixels) if count >= 30}
        assert len(visible & set(SIGNATURES[scene])) >= 2, (index, scene, shown)
        for other in FAMILIES[FAMILY_OF[scene]]:
            assert other == scene or len(shown & set(SIGNATURES[other])) < 2, (index, scene, other, shown)


def test_what_is_declared_is_in_the_vocabulary():
    assert set(FEW_COLORS) | set(FEW_MATERIALS) | set(GROUNDS) <= set(OBJECTS)
    assert all(label(category, name) for pair in NEAR_TWINS for category, name in pair)


def test_scenes_of_a_class_differ(sample):
    first = sample[0][:: len(SCENES)]
    assert len({image.tobytes() for image in first}) == len(first)


def test_splits_share_no_scene():
    train, val = TinyScenes("train", size=32), TinyScenes("val", size=32)
    images = [{scenes.raw(index)[0].tobytes() for index in range(200)} for scenes in (train, val)]
    assert len(images[0] | images[1]) == 400


@pytest.mark.parametrize("index", range(0, 40, 5))
def test_sizes_show_the_same_scene(index):
    small, large = (TinyScenes("val", size=size).raw(index)[1][OBJECT] for size in (64, 192))
    assert (small == large[1::3, 1::3]).mean() > 0.97


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_shows_the_full_sets_scenes(family):
    every, some = TinyScenes("val", size=32), TinyScenes("val", size=32, family=family)
    assert some.classes == FAMILIES[family]
    for index in (0, 5, len(some.classes) + 3, 2 * len(some.classes)):
        number, place = divmod(index, len(some.classes))
        same = number * len(SCENES) + SCENES.index(some.classes[place])
        assert digests(some.raw(index)) == digests(every.raw(same))
        assert some.classes[some.scene(index)] == every.classes[every.scene(same)]


def test_families_make_up_the_classes():
    assert tuple(LAYOUTS) == tuple(FAMILIES)
    assert tuple(name for names in FAMILIES.values() for name in names) == SCENES
    assert len(SCENES) >= 40
    assert min(map(len, FAMILIES.values())) >= 13


def test_another_look_keeps_the_shapes():
    plain, looks = TinyScenes("val", size=64), [TinyScenes("val", size=64, restyle=seed) for seed in (1, 2)]
    changed = np.zeros((2, 7))
    for index in range(60):
        image, planes = plain.raw(index)
        for row, scenes in enumerate(looks):
            other, others = scenes.raw(index)
            assert np.array_equal(planes[[OBJECT, PART, INNER, SCENE]], others[[OBJECT, PART, INNER, SCENE]])
            assert not np.array_equal(image, other)
            changed[row] += (planes != others).mean((1, 2)) / 60
    assert changed[:, [MATERIAL, TEXTURE, COLOR]].min() > 0.4
    assert digests(looks[0].raw(3)) != digests(looks[1].raw(3))


def test_watermarks():
    plain, marked = TinyScenes("train", size=32), TinyScenes("train", size=32, watermark=True)
    count, middle, bottom = 1000, 0, 0
    for index in range(count):
        (image, planes), (other, others) = plain.raw(index), marked.raw(index)
        assert np.array_equal(planes[:COLOR], others[:COLOR])
        rows = np.flatnonzero((image != other).any((0, 2)))
        middle += bool(len(rows)) and rows.max() < 20
        bottom += bool(len(rows)) and rows.min() >= 27
    assert (abs(middle / count - 0.06) < 0.015, abs(bottom / count - 0.03) < 0.012) == (True, True)


def test_the_sun_over_water_is_reflected_below_it(sample):
    seen = 0
    for planes in sample[1]:
        sun, water = (planes[OBJECT] == label("object", name) for name in ("sun", "water"))
        glints = planes[INNER] == label("part", "reflection")
        assert not (glints & ~water).any()
        if not glints.any() or not sun.any():
            continue
        seen += 1
        columns = np.flatnonzero(sun.any(0))
        middle = np.average(np.flatnonzero(glints.any(0)))
        assert columns.min() - 6 <= middle <= columns.max() + 6
        assert np.flatnonzero(glints.any(1)).min() > np.flatnonzero(sun.any(1)).max()
    assert seen >= 8


def test_without_a_sun_nothing_is_reflected():
    scenes, reflection = TinyScenes("train", size=64), label("part", "reflection")
    both = {True: [0, 0], False: [0, 0]}
    for index in range(8 * len(SCENES)):
        planes = scenes.raw(index)[1]
        if (planes[OBJECT] == label("object", "water")).any():
            sun = bool((planes[OBJECT] == label("object", "sun")).any())
            both[sun][int((planes[INNER] == reflection).any())] += 1
    assert both[True][1] > 0.9 * sum(both[True])
    assert both[False][1] < 0.1 * sum(both[False])


def test_lit_windows_make_the_ground_before_them_glow(sample):
    seen, grounds = 0, [label("object", name) for name in GROUNDS]
    for image, planes in zip(*sample):
        glow = planes[INNER] == label("part", "glow")
        if not glow.any():
            continue
        seen += 1
        assert np.isin(planes[OBJECT][glow], grounds).all()
        panes = (planes[OBJECT] == label("object", "house")) & (planes[INNER] == label("part", "pane"))
        lit = panes & (image[0].astype(int) > image[2] + 40)
        if lit.any():
            assert np.flatnonzero(glow.any(1)).max() > np.flatnonzero(lit.any(1)).min()
    assert seen >= 8


def test_lengths():
    counts = [len(TinyScenes("train")), len(TinyScenes("val")), len(TinyScenes("val", count=7))]
    assert counts == [600 * len(SCENES), 200 * len(SCENES), 7]
    assert len(TinyScenes("val", family="room")) == 200 * len(FAMILIES["room"])


def test_negative_indices_count_from_the_end():
    scenes = TinyScenes("val", size=16, count=30)
    assert np.array_equal(scenes.raw(-1)[1], scenes.raw(29)[1])
    assert scenes.scene(-1) == 29


def test_class_targets_for_training():
    scenes = TinyScenes("val", size=32, count=45, target="class")
    _, numbers = next(iter(torch.utils.data.DataLoader(scenes, batch_size=45)))
    assert numbers.tolist() == [index % len(SCENES) for index in range(45)]


def test_the_main_object_is_the_largest_that_tells_classes():
    scenes = TinyScenes("val", size=64, target="object")
    names = [scenes.objects[scenes[index][1]] for index in range(2 * len(SCENES))]
    assert len(set(names)) > 20
    for index, name in enumerate(names):
        planes = scenes.raw(index)[1][OBJECT]
        telling = {other for scene in FAMILIES[FAMILY_OF[SCENES[index % len(SCENES)]]] for other in SIGNATURES[scene]}
        assert name in telling
        assert (planes == label("object", name)).any()
        assert scenes.main_object(index) == scenes.objects.index(name)


def test_the_data_set_can_be_sent_to_workers():
    scenes = pickle.loads(pickle.dumps(TinyScenes("val", size=32, family="street", restyle=3)))
    assert torch.equal(scenes[4][1], TinyScenes("val", size=32, family="street", restyle=3)[4][1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "x"}, r"TinyScenes: split must be one of \('train', 'val'\), but got 'x'\."),
        ({"target": "y"}, r"TinyScenes: target must be one of \('planes', 'class', 'object'\), but got 'y'\."),
        ({"size": 15}, r"TinyScenes: size must be an integer in \[16, 1024\], but got 15\."),
        ({"size": 64.0}, r"TinyScenes: size must be an integer in \[16, 1024\], but got 64\.0\."),
        ({"count": -1}, r"TinyScenes: count must not be negative, but got -1\."),
        (
            {"family": "sea"},
            r"TinyScenes: family must be None or one of \('street', 'room', 'landscape'\), but got 'sea'\.",
        ),
        ({"restyle": "a"}, r"TinyScenes: restyle must be None or an integer, but got 'a'\."),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        TinyScenes(**arguments)


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_out_of_range(index):
    with pytest.raises(IndexError, match=rf"TinyScenes: index must be in \[-3, 3\), but got {index}\."):
        TinyScenes("val", count=3)[index]
