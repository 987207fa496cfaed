"""Folders of images and planes: what is read, in which order, and what cannot be."""

import json
import os
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
