"""Broden's published layout, on a folder that is written here; counts and unions against the paper's sums, in loops."""

import csv
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader

import dissect
from dissect.data import Broden
from dissect.ops import encode_labels
from dissect.segmentation import store_labels

CATEGORIES = ("color", "object", "part", "scene")
#: Names and coverages by category: "wheel" is primarily a part, "gate" as much an object as a part, so a part.
LABELS = [
    ("red-c", {"color": 5.0}), ("blue-c", {"color": 4.5}), ("car", {"object": 3.0}),
    ("wheel", {"object": 0.5, "part": 2.0}), ("gate", {"object": 1.5, "part": 1.5}), ("street-s", {"scene": 7.0}),
    ("field-s", {"scene": 2.0}),
]  # fmt: skip
COUNT, SIZE = 7, (12, 16)


def save_labels(path, labels):
    pixels = np.zeros((*labels.shape, 3), dtype=np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = labels % 256, labels // 256
    Image.fromarray(pixels).save(path)


def write_table(path, head, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of seven images, and their planes [7, 5, 6, 8] worked out beside it."""
    folder = tmp_path_factory.mktemp("broden")
    draw = np.random.default_rng(0)
    (folder / "images" / "ade").mkdir(parents=True)
    (folder / "images" / "pascal").mkdir()
    write_table(folder / "category.csv", ["name", "first", "last", "count", "frequency"],
                [[name, 1, 7, 2, 7] for name in CATEGORIES])  # fmt: skip
    for name in CATEGORIES:
        own = [(at, label, cover[name]) for at, (label, cover) in enumerate(LABELS, 1) if name in cover]
        rows = [[code, number, label, 10 * code, coverage] for code, (number, label, coverage) in enumerate(own, 1)]
        write_table(folder / f"c_{name}.csv", ["code", "number", "name", "frequency", "coverage"], rows)
    rows = [
        [at, label, ";".join(f"{name}(5)" for name in cover), 5, 1, ""] for at, (label, cover) in enumerate(LABELS, 1)
    ]
    write_table(folder / "label.csv", ["number", "name", "category", "frequency", "coverage", "syns"], rows)
    planes, rows = np.zeros((COUNT, 5, 6, 8), dtype=np.int64), []
    for image in range(COUNT):
        name = f"{'ade' if image % 2 else 'pascal'}/{image}"
        Image.fromarray(draw.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(folder / "images" / f"{name}.png")
        planes[image, 0] = draw.integers(1, 3, (6, 8))
        planes[image, 1] = draw.choice([0, 3, 4, 5], (6, 8)) if image != 2 else 0
        parts = [draw.choice([0, 4], (6, 8)), draw.choice([0, 5], (6, 8))][: image % 3]
        planes[image, 2 : 2 + len(parts)] = np.array(parts).reshape(len(parts), 6, 8)
        planes[image, 4] = 6 if image % 2 else 0
        files = [f"{name}_color.png", f"{name}_object.png", *(f"{name}_part_{at}.png" for at in range(len(parts)))]
        for file, plane in zip(files, planes[image, : len(files)]):
            save_labels(folder / "images" / file, plane)
        rows.append([f"{name}.png", "val" if image in (1, 4) else "train", *SIZE, 6, 8, files[0],
                     files[1] if image != 2 else "", ";".join(files[2:]), "6" if image % 2 else ""])  # fmt: skip
    write_table(folder / "index.csv", ["image", "split", "ih", "iw", "sh", "sw", *CATEGORIES], rows)
    return folder, torch.from_numpy(planes)


def test_items(made):
    folder, planes = made
    broden = Broden(folder)
    assert broden.concepts.names == ("-", *(label for label, _ in LABELS))
    assert broden.concepts.categories == ("", "color", "color", "object", "part", "part", "scene", "scene")
    assert len(broden) == COUNT
    assert torch.equal(torch.stack([labels for _, labels in broden]).long(), planes)
    picture = np.array(Image.open(broden.files[3]))
    assert torch.equal(broden.to_pictures(broden[3][0][None])[0], torch.from_numpy(picture).permute(2, 0, 1))
    assert [path.name for path in Broden(folder, "val").files] == ["1.png", "4.png"]
    scenes = Broden(folder, categories=["scene", "object"])
    assert torch.equal(scenes[3][1].long(), planes[3, [4, 1]])
    assert len({broden.fingerprint(), scenes.fingerprint(), Broden(folder, "val").fingerprint()}) == 3


def test_table_1(made):
    rows = Broden(made[0]).table()
    assert rows == [
        ("color", 2, "ade, pascal", 15.0), ("object", 1, "ade, pascal", 10.0), ("part", 2, "ade, pascal", 15.0),
        ("scene", 2, "ade", 15.0),
    ]  # fmt: skip


class Maps(nn.Module):
    """Images as maps of six units, half as large."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.relu = nn.Conv2d(3, 6, 2, stride=2), nn.ReLU(inplace=True)

    def forward(self, images):
        return self.relu(self.conv(images))


def test_tpami2018_against_the_papers_sums(made):
    """Intersections, and unions over the images that have a label of the concept's primary category, in loops."""
    folder, planes = made
    broden, model = Broden(folder), Maps().eval()
    options = {"preset": "tpami2018", "fraction": 0.1, "decoys": 0, "resamples": 0, "progress": False}
    found = dissect.dissect(model, "conv", DataLoader(broden, 3), **options)["conv"]
    with torch.no_grad():
        maps = torch.cat([model(images) for images, _ in DataLoader(broden, 3)])
    upsampled = torch.nn.functional.interpolate(maps, (6, 8))  # of the same size: cells are pixels
    categories = broden.concepts.categories
    for unit in range(6):
        fires = upsampled[:, unit] > found.thresholds[unit]
        for label in range(1, 8):
            carried = (planes == label).any(1)
            own = [at for at, name in enumerate(categories) if name == categories[label]]
            present = torch.isin(planes, torch.tensor(own)).flatten(1).any(1)
            both = int((fires & carried).sum())
            union = int(fires[present].sum()) + int(carried.sum()) - both
            assert found.intersection[unit, label] == both
            assert found.iou[unit, label] == (both / union if union else 0)


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "broden")


def change(path, old, new, count=1):
    path.write_text(path.read_text().replace(old, new, count))


def test_what_is_wrong_is_named(copied, made):
    read = {
        "no folder": (lambda: Broden(copied / "none"), "there is no folder"),
        "split": (lambda: Broden(copied, "test"), r"split must be one of \('train', 'val'\), or None, but got 'test'"),
        "categories": (lambda: Broden(copied, categories=["sky"]), r"categories must be some of .* but got \['sky'\]"),
    }
    for call, told in read.values():
        with pytest.raises((FileNotFoundError, ValueError), match=f"^Broden: {told}"):
            call()
    tables = [
        (
            "index.csv",
            "ade/1_object.png",
            "ade/1_nothing.png",
            "there is no file .*1_nothing.png, which index.csv names",
        ),
        ("index.csv", ",6,8,", ",6,9,", r"must have the size \(6, 9\) of index.csv, but has \(6, 8\)"),
        ("index.csv", ",12,", ",x,", "'ih' must be a whole number in line 2 of .*index.csv, but is 'x'"),
        ("index.csv", ",6\n", ",9\n", "labels must be at most 7, the last of label.csv, but line 3 of index.csv has 9"),
        ("index.csv", "color", "colour", "it has no column 'color'"),
        ("label.csv", "3,car", "9,car", r"the numbers 1, 2, \.\.\. in label.csv, but line 4 has 9 where 3 is due"),
        ("label.csv", "7,field-s,scene(5),5,1,", "7,field-s", "line 8 has others; is the file cut short"),
        ("c_scene.csv", "2,7,field-s,20,2.0", "", r"label 7 \('field-s'\) must be in a table c_<category>.csv"),
        ("c_color.csv", "5.0", "nan", "'coverage' must be a number from 0 on in line 2"),
    ]
    for name, old, new, told in tables:
        for line_end in ("\r\n", "\n"):
            if name == "index.csv" and new.endswith("9\n"):
                change(copied / name, old.replace("\n", line_end), new.replace("\n", line_end))
            elif line_end == "\n":
                change(copied / name, old, new)
        with pytest.raises((FileNotFoundError, ValueError), match=f"^Broden: .*{told}"):
            [item for item in Broden(copied)]
        shutil.copy(made[0] / name, copied / name)
    path = next((copied / "images" / "ade").glob("*_object.png"))
    save_labels(path, np.full((6, 8), 300))
    with pytest.raises(ValueError, match=r"^Broden: labels must be at most 7, .*_object.png has 300"):
        [item for item in Broden(copied)]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"^Broden: .*_object.png cannot be read"):
        [item for item in Broden(copied)]
    (copied / "c_part.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"^Broden: there is no file .*c_part.csv"):
        Broden(copied)


def test_labels_are_kept_in_a_store_and_read_without_the_planes_files(copied, tmp_path):
    broden = Broden(copied)
    store = store_labels(None, broden, tmp_path / "labels", batch_size=2, progress=False)
    planes = torch.stack([planes for _, planes in broden])
    assert torch.equal(store.labels(range(len(broden))).area, encode_labels(planes, len(broden.concepts)).area)
    assert store.concepts == broden.concepts
    images = [image for image, _ in broden]
    for path in copied.rglob("*_*.png"):
        path.unlink()
    assert all(torch.equal(item[0], image) for item, image in zip(store.beside(broden), images))
