"""Folders of images and planes: what is read, in which order, and what cannot be."""

import json
import os
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from dissect.data import ImageFolder

PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}


def picture(path, width=6, height=4, color=(255, 0, 51)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), color).save(path)
    return path


def test_all_images_in_the_order_of_their_paths(tmp_path):
    for name in ("b.png", "a/z.PNG", "a/c.bmp", "c.jpg"):
        picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    folder = ImageFolder(tmp_path, size=4)
    assert [str(path.relative_to(tmp_path)) for path in folder.files] == ["a/c.bmp", "a/z.PNG", "b.png", "c.jpg"]
    assert folder[0].shape == (3, 4, 4)
    assert folder.concepts is None


def test_scaled_cut_and_normalised(tmp_path):
    picture(tmp_path / "a.png")
    image = ImageFolder(tmp_path, size=2, mean=(0.5, 0, 0), std=(2, 1, 0.1))[0]
    assert torch.allclose(image[:, 0, 0], torch.tensor([0.25, 0.0, 2.0]))
    wide = np.zeros((2, 6, 3), dtype=np.uint8)
    wide[:, 2:4] = 255  # the middle square
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert (ImageFolder(tmp_path, size=2, **PLAIN)[0] == 1).all()


def test_grey_palette_and_transparent_images_become_rgb(tmp_path):
    Image.new("L", (4, 4), 255).save(tmp_path / "grey.png")
    Image.new("RGBA", (4, 4), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    Image.new("P", (4, 4), 0).save(tmp_path / "palette.gif")
    assert [tuple(image.shape) for image in ImageFolder(tmp_path, size=4)] == [(3, 4, 4)] * 3


def test_planes_take_the_nearest_label(tmp_path):
    picture(tmp_path / "images/a/one.jpg", 8, 8)
    picture(tmp_path / "images/two.jpg", 8, 8)
    labels = np.arange(2 * 8 * 8).reshape(2, 8, 8).astype(np.int16) * 7
    (tmp_path / "planes/a").mkdir(parents=True)
    np.save(tmp_path / "planes/a/one.npy", labels)
    Image.fromarray(labels[0].astype(np.uint16)).save(tmp_path / "planes/two.png")
    (tmp_path / "planes/concepts.json").write_text(json.dumps(["tree", ["red", "color"]]))
    folder = ImageFolder(tmp_path / "images", tmp_path / "planes", size=8)
    assert torch.equal(folder[0][1], torch.from_numpy(labels).long())
    assert torch.equal(folder[1][1], torch.from_numpy(labels[:1]).long())
    small = ImageFolder(tmp_path / "images", tmp_path / "planes", size=4)[0][1]
    assert set(small.flatten().tolist()) <= set(labels.flatten().tolist())
    assert folder.concepts.names == ("-", "tree", "red")
    assert folder.concepts.categories == ("", "concept", "color")


def test_files_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    good = picture(tmp_path / "a.png", 64, 64)
    whole = good.read_bytes()
    broken = tmp_path / "b.png"
    for content in (b"", b"no image", whole[: len(whole) // 2]):
        broken.write_bytes(content)
        with pytest.raises(ValueError, match=r"b\.png cannot be read"):
            ImageFolder(tmp_path)[1]
        with pytest.warns(UserWarning, match=r"left out: .*b\.png cannot be read"):
            folder = ImageFolder(tmp_path, skip=True)
        assert folder.files == [good]
    broken.unlink()
    for limit in (2000, 4000):  # half of what is an error for Pillow, and what is one
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match=r"a\.png cannot be read: Image size \(4096 pixels\) exceeds"):
            ImageFolder(tmp_path)[0]


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ImageFolder(tmp_path / "nothing")
    with pytest.raises(ValueError, match="holds none"):
        ImageFolder(tmp_path)
    picture(tmp_path / "images/one.png")
    with pytest.raises(ValueError, match="size must be positive, but got 0"):
        ImageFolder(tmp_path / "images", size=0)
    planes = tmp_path / "planes"
    planes.mkdir()
    with pytest.raises(FileNotFoundError, match=r"one\.png has no label planes; there is no .*one\.npy, nor \.png"):
        ImageFolder(tmp_path / "images", planes)
    np.save(planes / "one.npy", np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"must be integers .* but .*one\.npy holds float64 \[4, 4\]"):
        ImageFolder(tmp_path / "images", planes)[0]
    for wrong in (2**32, -1):
        np.save(planes / "one.npy", np.full((4, 6), wrong))
        with pytest.raises(ValueError, match=rf"must hold numbers from 0 to 2\^31 - 1, but .*one\.npy holds {wrong}"):
            ImageFolder(tmp_path / "images", planes)[0]
    (planes / "one.npy").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"ImageFolder: .*one\.npy cannot be read"):
        ImageFolder(tmp_path / "images", planes)[0]
    (planes / "concepts.json").write_text("{")
    with pytest.raises(ValueError, match=r"concepts\.json must be a list of names"):
        ImageFolder(tmp_path / "images", planes)


def test_planes_of_another_shape_are_refused(tmp_path):
    images, planes = tmp_path / "images", tmp_path / "planes"
    picture(images / "one.png", 96, 80)
    planes.mkdir()
    folder_of = partial(ImageFolder, images, planes, size=16)
    for array in (np.zeros((96, 80)), np.zeros((80, 96, 2)), np.zeros((2, 96, 80))):
        np.save(planes / "one.npy", array.astype(np.int32))
        with pytest.raises(ValueError, match=r"the shape of their image, 80 x 96 rows and columns .*one\.npy holds"):
            folder_of()[0]
    for array in (np.zeros((2, 80, 96)), np.zeros((20, 24)), np.zeros((27, 32)), np.zeros((160, 192))):
        np.save(planes / "one.npy", array.astype(np.int32))
        assert folder_of()[0][1].shape[1:] == (16, 16)
    (planes / "one.npy").unlink()
    Image.new("RGB", (96, 80)).save(planes / "one.png")
    with pytest.raises(ValueError, match=r"must be integers \[H, W\], but .*one\.png holds uint8 \[80, 96, 3\]"):
        folder_of()[0]


def test_sixteen_bits_are_a_scale_of_grey_and_pictures_have_their_colours(tmp_path):
    ramp = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(colours).save(tmp_path / "b.png")
    Image.fromarray(ramp.astype(np.int32)).save(tmp_path / "c.tiff")
    folder = ImageFolder(tmp_path, size=16)
    with pytest.raises(ValueError, match=r"must have 8 or 16 bits per channel, but .*c\.tiff has 32 \(mode I\)"):
        folder[2]
    shown = folder.to_pictures(torch.stack([folder[0], folder[1]]))
    assert np.array_equal(shown[0, 1].numpy(), np.arange(256).reshape(16, 16))
    assert np.array_equal(shown[1].permute(1, 2, 0).numpy(), colours)


def test_the_fingerprint_tells_whether_files_changed(tmp_path):
    picture(tmp_path / "a.png")
    before = ImageFolder(tmp_path).fingerprint()
    assert ImageFolder(tmp_path).fingerprint() == before
    assert ImageFolder(tmp_path, mean=(0, 0, 0)).fingerprint() != before
    os.utime(tmp_path / "a.png", (1, 1))
    assert ImageFolder(tmp_path).fingerprint() != before


def folders(tmp_path, planes=None, width=8, height=8, name="a.png", **save):
    """An image, and planes of it."""
    images, labels = tmp_path / "images", tmp_path / "planes"
    images.mkdir(exist_ok=True)
    labels.mkdir(exist_ok=True)
    Image.new("RGB", (width, height)).save(images / name, **save)
    if planes is not None:
        np.save(labels / "a.npy", planes)
    return images, labels


def test_hidden_files_are_left_out_and_linked_folders_are_entered_once(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    for name in ("a.png", "b/c.png", ".ipynb_checkpoints/a-checkpoint.png", "b/.hidden.png"):
        picture(root / name)
    picture(elsewhere / "d.png")
    (root / "._a.jpg").write_bytes(b"a resource fork")
    (root / "linked").symlink_to(elsewhere)
    (root / "again").symlink_to(root / "b")
    (root / "b" / "loop").symlink_to(root)
    (root / "one.png").symlink_to(elsewhere / "d.png")
    os.mkfifo(root / "pipe.png")
    found = [str(path.relative_to(root)) for path in ImageFolder(root).files]
    assert found == ["a.png", "b/c.png", "linked/d.png", "one.png"]
    (root / "gone.png").symlink_to(elsewhere / "nothing.png")
    with pytest.raises(ValueError, match=r"gone\.png cannot be read: .*No such file"):
        list(ImageFolder(root))


def test_suffixes_of_planes_in_any_case(tmp_path):
    images, planes = folders(tmp_path)
    Image.fromarray(np.full((8, 8), 3, np.uint8)).save(planes / "a.PNG", format="PNG")
    assert (ImageFolder(images, planes, size=8)[0][1] == 3).all()
    (planes / "a.png").write_bytes((planes / "a.PNG").read_bytes())
    with pytest.raises(ValueError, match=r"a\.png must have one file of label planes, but has .*a\.PNG.*a\.png"):
        ImageFolder(images, planes)


def test_images_without_planes_where_others_have_some_are_counted_apart(tmp_path):
    images, planes = folders(tmp_path, np.ones((8, 8), int))
    for name in "bcdef":
        picture(images / f"{name}.jpg")
    with pytest.warns(
        UserWarning, match=r"5 of 6 images have no label planes and are left out .*b\.jpg, .*d\.jpg, \.\.\."
    ):
        folder = ImageFolder(images, planes, size=8)
    assert [path.name for path in folder.files] == ["a.png"]
    assert [path.name for path in folder.unlabelled] == ["b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"]
    assert len(list(folder)) == 1


@pytest.mark.parametrize("tag", range(1, 9))
def test_orientation_tags_are_applied(tmp_path, tag):
    upright = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12) * 2
    shown = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T,
        6: upright[:, ::-1].T[:, :], 7: upright[::-1, ::-1].T, 8: upright[::-1].T,
    }  # fmt: skip
    # Row 0 and column 0 of what is stored, as EXIF says where they are seen.
    stored = {**shown, 6: np.rot90(upright, 1), 8: np.rot90(upright, -1)}[tag]
    exif = Image.Exif()
    exif[0x0112] = tag
    images, planes = folders(tmp_path, upright.astype(np.int32))
    Image.fromarray(stored).convert("RGB").save(images / "a.png", exif=exif)
    folder = ImageFolder(images, planes, size=8, **PLAIN)
    if tag in (2, 3, 4):
        with pytest.warns(
            UserWarning, match=rf"orientation tag {tag} says; the planes.* are taken to be drawn on it upright"
        ):
            image, labels = folder[0]
    else:
        image, labels = folder[0]
    assert torch.equal((image[0] * 255).round().long(), labels[0])
    assert torch.equal(labels[0], torch.from_numpy(upright[:, 2:10]).long())
    folder[0]  # told once
    Image.fromarray(stored).save(planes / "a.png", exif=exif)  # planes turned by their own tag
    (planes / "a.npy").unlink()
    turned = ImageFolder(images, planes, size=8, **PLAIN)
    turned._told = True
    assert torch.equal(turned[0][1], labels)


def test_planes_of_stored_pixels_are_refused_and_can_be_had(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    images, planes = folders(tmp_path, np.arange(8 * 12).reshape(8, 12), width=12, name="a.jpg", exif=exif)
    with pytest.raises(
        ValueError, match=r"12 x 8 rows and columns .* 8 x 12\. It is that of the image as it is stored"
    ):
        ImageFolder(images, planes)[0]
    asis = ImageFolder(images, planes, size=8, orientation=False)
    assert asis[0][1][0, 0, 0] == 2
    assert asis.fingerprint() != ImageFolder(images, planes, size=8).fingerprint()


def test_labels_to_ignore_and_planes_of_bools(tmp_path):
    labels = np.full((8, 8), 255)
    labels[:4] = 7
    images, planes = folders(tmp_path, labels)
    assert ImageFolder(images, planes, size=8, ignore=255)[0][1].unique().tolist() == [0, 7]
    assert ImageFolder(images, planes, size=8, ignore=[7, 255])[0][1].unique().tolist() == [0]
    with pytest.raises(TypeError, match="ignore must be a label or several, integers, but got '255'"):
        ImageFolder(images, planes, ignore="255")
    np.save(planes / "a.npy", np.where(labels == 255, -1, 7))
    with pytest.raises(ValueError, match=r"holds -1 to 7; ignore= takes those"):
        ImageFolder(images, planes, size=8)[0]
    assert ImageFolder(images, planes, size=8, ignore=-1)[0][1].unique().tolist() == [0, 7]
    np.save(planes / "a.npy", labels == 7)
    assert ImageFolder(images, planes, size=8)[0][1].unique().tolist() == [0, 1]
    (planes / "a.npy").unlink()
    Image.fromarray(labels == 7).save(planes / "a.png")
    assert torch.equal(ImageFolder(images, planes, size=8)[0][1][0], torch.from_numpy(labels == 7).long())


def test_planes_of_colours(tmp_path):
    images, planes = folders(tmp_path)
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[:4], colours[4:, :2] = (128, 64, 128), (1, 2, 3)
    Image.fromarray(colours).save(planes / "a.png")
    table = {(128, 64, 128): 300, (1, 2, 3): 2, (0, 0, 0): 0}
    labels = ImageFolder(images, planes, size=8, colors=table)[0][1]
    wanted = torch.zeros(1, 8, 8, dtype=torch.int64)
    wanted[0, :4], wanted[0, 4:, :2] = 300, 2
    assert torch.equal(labels, wanted)
    with pytest.raises(ValueError, match=r"the label of every color, but .*a\.png has \(0, 0, 0\), \(1, 2, 3\);"):
        ImageFolder(images, planes, colors={(128, 64, 128): 1})[0]
    with pytest.raises(ValueError, match=r"holds uint8 \[8, 8, 3\] \(colors= says which label each color is\)"):
        ImageFolder(images, planes)[0]
    Image.fromarray(np.dstack([colours, np.zeros((8, 8), np.uint8)])).save(planes / "a.png")
    with pytest.raises(ValueError, match=r"must be opaque, but .*a\.png has transparent pixels"):
        ImageFolder(images, planes, colors=table)[0]
    for wrong in ({(1, 2): 3}, {(1, 2, 256): 3}, {"abc": 3}, {}):
        with pytest.raises(ValueError, match="colors must"):
            ImageFolder(images, planes, colors=wrong)
    with pytest.raises(TypeError, match="colors must give integer labels"):
        ImageFolder(images, planes, colors={(1, 2, 3): "sky"})


def test_damaged_label_planes_are_refused(tmp_path):
    images, planes = folders(tmp_path, width=64, height=64)
    Image.fromarray(np.random.default_rng(0).integers(0, 9, (64, 64), dtype=np.uint8)).save(planes / "a.png")
    whole = (planes / "a.png").read_bytes()
    for at in range(whole.index(b"IDAT") + 6, whole.index(b"IEND") - 8, 37):
        (planes / "a.png").write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"a\.png cannot be read"):
            ImageFolder(images, planes)[0]


def header(shape, dtype="<i4"):
    from io import BytesIO

    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header((10**6, 10**6)) + bytes(64), r"it says that it holds int32 \[1000000, 1000000\], .* but has 64"),
        (header((4, 4)) + bytes(63), "64 bytes, but has 63"),
        (header((2,), "|O") + bytes(64), "Object arrays cannot be loaded"),
        (header((0, 8, 8)), r"must have 1 to 256 label planes, but .* holds \[0, 8, 8\]"),
        (header((2000, 1, 1), "|u1") + bytes(2000), r"must have 1 to 256 label planes, but .* holds \[2000, 1, 1\]"),
        (header((0, 0), "|u1"), r"must have 1 to 256 label planes"),
        (b"\x93NUMPY\x09\x00" + bytes(20), "cannot be read"),
        (b"PK\x03\x04", "it does not begin as an .npy file does"),
        (header((4, 4), "<f4") + bytes(64), r"must be integers .* float32 \[4, 4\]"),
    ],
)
def test_arrays_that_say_something_else_than_they_hold(tmp_path, content, message):
    images, planes = folders(tmp_path, np.zeros((8, 8), int))
    (planes / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        ImageFolder(images, planes)[0]


def test_damaged_pictures_are_named(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    random = np.random.default_rng(1)
    for suffix in ("jpg", "png", "gif", "bmp", "tiff", "webp", "ppm"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(pixels).save(path)
        whole, errors = path.read_bytes(), []
        for _ in range(30):
            data = bytearray(whole)
            for at in random.integers(0, min(400, len(data)), 4):
                data[at] = random.integers(0, 256)
            path.write_bytes(data)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    ImageFolder(tmp_path)[0]
            except ValueError as error:
                errors.append(str(error))
        assert all(f"a.{suffix}" in error for error in errors)
        path.unlink()


def test_file_names_that_are_no_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    picture(tmp_path / name)
    folder = ImageFolder(tmp_path)
    assert len(folder.fingerprint()) == 16
    assert folder[0].shape == (3, 224, 224)
    (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"caf\\xe9\.png cannot be read"):
        ImageFolder(tmp_path)[0]


def test_concepts_by_number(tmp_path):
    images, planes = folders(tmp_path, np.zeros((8, 8), int))
    (planes / "concepts.json").write_text('{"0": "void", "2": "sky"}')
    assert ImageFolder(images, planes).concepts.names == ("-", "1", "sky")
    for content in ('{"1": "sky", "1": "tree"}', '{"0": "wall"}', "[" * 100_000, b"\xff", '["a\\ud800"]', "7"):
        (planes / "concepts.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValueError, match=r"concepts\.json must be a list of names"):
            ImageFolder(images, planes)
