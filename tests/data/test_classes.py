"""A folder with a subfolder of images per class."""

import re

import pytest
from PIL import Image

from dissect.data import Batches, ClassFolder


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(["b/2.png", "a/x/1.png", "a/0.png", "c d/3.jpg"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (60 * number, 0, 0)).save(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_items_and_classes(folder):
    images = ClassFolder(folder, size=4, mean=(0, 0, 0), std=(1, 1, 1))
    assert images.classes == ("a", "b", "c d")
    places = [path.relative_to(folder).as_posix() for path in images.files]
    assert places == ["a/0.png", "a/x/1.png", "b/2.png", "c d/3.jpg"]
    batches = list(Batches(images, batch_size=3))
    assert [batch.planes.tolist() for batch in batches] == [[0, 0, 1], [2]]
    assert batches[0].images.shape == (3, 3, 4, 4)
    red = batches[0].images[:, 0, 0, 0] * 255
    assert red.tolist() == pytest.approx([120, 60, 0], abs=1e-3)
    assert images.to_pictures(batches[0].images)[:, 0, 0, 0].tolist() == [120, 60, 0]


def test_classes_that_are_given_number_the_folders(folder):
    images = ClassFolder(folder, ["none", "c d", "b", "a"], size=4)
    assert [images[at][1] for at in range(4)] == [3, 3, 2, 1]
    assert ClassFolder(folder, size=4).fingerprint() != images.fingerprint() == images.fingerprint()


def test_what_is_refused(folder, tmp_path_factory):
    def told(message, classes=None, where=folder):
        with pytest.raises(ValueError, match=message):
            ClassFolder(where, classes)

    told("must be one of the 2 classes, but not 'c d'.", ["a", "b"])
    told("classes must be named once each", ["a", "b", "c d", "a"])
    Image.new("RGB", (4, 4)).save(folder / "lost.png")
    told(re.escape(f"but 1 lie in {folder} itself, lost.png among them."))
    told("must hold images", where=tmp_path_factory.mktemp("empty"))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ClassFolder(folder / "nowhere")
