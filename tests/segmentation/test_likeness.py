"""What tells images apart in a label store, whatever their files are called."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import dissect
from dissect.data import ImageFolder
from dissect.segmentation import LabelStore, store_labels
from dissect.segmentation.likeness import likeness, unlike
from dissect.tiny import TinyScenes


def photos(folder, numbers, size=64):
    folder.mkdir()
    scenes = TinyScenes("val", size=size)
    for at, number in enumerate(numbers):
        pixels = (scenes[number][0] * 255).round().byte().permute(1, 2, 0).numpy()
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{at}.png")
    return folder


def stored(folder, images):
    planes = torch.ones(len(images), 1, 4, 4, dtype=torch.int64)
    pictures = torch.stack([images[number] for number in range(len(images))])
    data = TensorDataset(pictures, planes)
    data.files = images.files
    return store_labels(None, data, folder, concepts=["a"], batch_size=2, progress=False)


def test_other_pictures_of_the_same_names_are_refused(tmp_path):
    own, others = photos(tmp_path / "own", [0, 1, 2, 3]), photos(tmp_path / "others", [0, 1, 7, 3])
    store = stored(tmp_path / "store", ImageFolder(own, size=64))
    for good in (ImageFolder(own, size=64), ImageFolder(own, size=32, mean=(0, 0, 0), std=(1, 1, 1)),
                 ImageFolder(photos(tmp_path / "larger", [0, 1, 2, 3], 96), size=96)):  # fmt: skip
        assert len([item for item in store.beside(good)]) == 4
        list(store.beside([torch.stack([good[number] for number in range(4)])]))
    strange = ImageFolder(others, size=64)
    beside = store.beside(strange)  # the names are those of the store
    assert len([beside[number] for number in (0, 1, 3)]) == 3
    with pytest.raises(ValueError, match="image 2 shows something else"):
        beside[2]
    with pytest.raises(ValueError, match="image 2 shows something else"):
        list(store.beside([torch.stack([strange[number] for number in range(4)])]))
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3)).eval()
    with pytest.raises(ValueError, match="image 2 shows something else"):
        dissect.dissect(model, "0", beside, progress=False, batch_size=2)


def test_likeness_is_of_what_is_shown():
    images = torch.stack([TinyScenes("val", size=48)[number][0] for number in range(12)])
    mean, std = torch.tensor([0.4, 0.5, 0.3])[:, None, None], torch.tensor([0.2, 0.3, 0.1])[:, None, None]
    kept = likeness(images)
    assert not unlike(kept, likeness((images - mean) / std)).any()
    assert not unlike(kept, likeness((images * 255).round() / 255)).any()
    for number in range(1, 12):
        assert unlike(kept, likeness(images.roll(number, 0))).all()
    assert unlike(kept, likeness(images.flip(3))).all()
    assert not unlike(likeness(torch.zeros(1, 3, 9, 9)), likeness(torch.ones(1, 3, 20, 20))).any()
    assert unlike(kept, likeness(torch.full_like(images, 0.3))).all()


def test_z_are_told_apart_to_the_bit():
    z = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    near = z.clone()
    near[1, 3] = near[1, 3].nextafter(torch.tensor(9.0))
    assert unlike(likeness(z), likeness(near)).tolist() == [False, True, False]
    assert unlike(likeness(z), likeness(torch.rand(3, 3, 8, 8))).all()


def test_stores_of_earlier_versions_are_read(tmp_path, monkeypatch):
    images = ImageFolder(photos(tmp_path / "own", [0, 1, 2]), size=64)
    with monkeypatch.context() as earlier:
        from dissect.segmentation import storing

        def bare(folder, kind, version, tensors, meta):
            tensors = {name: part for name, part in tensors.items() if name != "likeness"}
            return save(folder, kind, 1, tensors, meta)

        save, called = storing.save_tensors, storing.name_of
        earlier.setattr(storing, "save_tensors", bare)
        earlier.setattr(storing, "name_of", lambda place, packed, seen, identity: called(place, packed, None, identity))
        stored(tmp_path / "store", images)
    store = LabelStore(tmp_path / "store")
    store.verify()
    assert len([item for item in store.beside(images)]) == 3
