"""Readers of ADE20K, Pascal VOC, Cityscapes and COCO, on files that the tests write in the published layouts."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import dissect
from dissect.data import Ade20k, Cityscapes, Coco, CocoPanoptic, SceneParsing, Voc
from dissect.segmentation import store_labels

#: As large as the images, so that no pixel is moved.
SIDE = 8
SIZE = {"size": SIDE}


def some(seed, labels, shape=(SIDE, SIDE)):
    return np.random.default_rng(seed).choice(labels, shape)


def save(path, array, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(array, dtype=np.uint8))
    if palette:
        picture = Image.frombytes("P", picture.size, picture.tobytes())
        picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    picture.save(path)


def photo(path, seed=0, shape=(SIDE, SIDE)):
    save(path, some(seed, 256, (*shape, 3)))


def scene_parsing(root):
    planes = {name: some(seed, 151) for seed, name in enumerate(("ADE_val_00000001", "ADE_val_00000002"))}
    for name, plane in planes.items():
        photo(root / "images" / "validation" / f"{name}.jpg")
        save(root / "annotations" / "validation" / f"{name}.png", plane)
    lines = [f"{number}\t0.1\t10\t2\tname{number}, other" for number in range(1, 151)]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *lines]) + "\n")
    return list(planes.values())


def test_scene_parsing(tmp_path):
    planes, data = scene_parsing(tmp_path), SceneParsing(tmp_path, **SIZE)
    assert len(data) == 2
    assert len(data.concepts) == 151
    assert data.concepts.names[150] == "name150, other"
    for (image, found), plane in zip(data, planes):
        assert image.shape == (3, SIDE, SIDE)
        assert torch.equal(found, torch.from_numpy(plane).int()[None])
    before = data.fingerprint()
    os.utime(tmp_path / "annotations" / "validation" / "ADE_val_00000002.png", (1, 1))
    assert SceneParsing(tmp_path, **SIZE).fingerprint() != before
    (tmp_path / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n1\t0\t0\t0\twall\n3\t0\t0\t0\tsky")
    with pytest.raises(ValueError, match="where 2 is due there is '3 0 0 0 sky'"):
        SceneParsing(tmp_path)


def test_items_are_middle_squares_of_the_same_pixels(tmp_path):
    scene_parsing(tmp_path)
    plane = some(3, 5, (SIDE, 2 * SIDE))
    photo(tmp_path / "images" / "validation" / "ADE_val_00000001.jpg", shape=(SIDE, 2 * SIDE))
    save(tmp_path / "annotations" / "validation" / "ADE_val_00000001.png", plane)
    _, found = SceneParsing(tmp_path, **SIZE)[0]
    assert torch.equal(found[0], torch.from_numpy(plane[:, SIDE // 2 : SIDE // 2 + SIDE]).int())
    save(tmp_path / "annotations" / "validation" / "ADE_val_00000001.png", plane[:, :9])
    with pytest.raises(ValueError, match=r"the shape of their image, 8 x 16, but those of .* have 8 x 9"):
        SceneParsing(tmp_path, **SIZE)[0]


def test_full_ade20k_has_objects_and_levels_of_parts(tmp_path):
    numbers = {"x_seg": some(0, 3000), "x_parts_1": some(1, 3000), "y_seg": some(2, 3000)}
    for name, plane in numbers.items():
        coded = np.stack([plane // 256 * 10 + some(5, 10), plane % 256, some(6, 256)], 2)
        save(tmp_path / "a" / "abbey" / f"{name}.png", coded)
    for name in ("x", "y"):
        photo(tmp_path / "a" / "abbey" / f"{name}.jpg")
    data = Ade20k(tmp_path, [f"n{number}" for number in range(1, 3000)], **SIZE)
    expected = [[numbers["x_seg"], numbers["x_parts_1"]], [numbers["y_seg"], np.zeros((SIDE, SIDE))]]
    for (_, found), planes in zip(data, expected):
        assert torch.equal(found, torch.from_numpy(np.stack(planes)).int())
    with pytest.raises(ValueError, match=r"labels must be at most 2, the last that has a name, but those of .* reach"):
        Ade20k(tmp_path, ["one", "two"], **SIZE)[0]
    (tmp_path / "a" / "abbey" / "y_seg.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"y_seg.png"):
        Ade20k(tmp_path, ["one"])


def test_voc_reads_places_in_the_palette(tmp_path):
    plane = some(0, [*range(21), 255])
    photo(tmp_path / "JPEGImages" / "2007_000033.jpg")
    save(tmp_path / "SegmentationClass" / "2007_000033.png", plane, palette=True)
    listed = tmp_path / "ImageSets" / "Segmentation" / "val.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("2007_000033\n")
    data = Voc(tmp_path, **SIZE)
    assert data.concepts.names[15] == "person"
    assert torch.equal(data[0][1][0], torch.from_numpy(np.where(plane == 255, 0, plane)).int())
    save(tmp_path / "SegmentationClass" / "2007_000033.png", some(1, 256, (SIDE, SIDE, 3)))
    with pytest.raises(ValueError, match=r"of one channel of numbers, or of a palette, but .* has mode RGB"):
        Voc(tmp_path, **SIZE)[0]
    with pytest.raises(FileNotFoundError, match=r"train\.txt"):
        Voc(tmp_path, "train")


def test_cityscapes_counts_the_classes_that_are_evaluated(tmp_path):
    plane = some(0, 34)
    plane[0] = [0, 6, 7, 8, 29, 31, 33, 255]
    photo(tmp_path / "leftImg8bit" / "val" / "ulm" / "ulm_000000_000019_leftImg8bit.png")
    path = tmp_path / "gtFine" / "val" / "ulm" / "ulm_000000_000019_gtFine_labelIds.png"
    save(path, plane)
    data = Cityscapes(tmp_path, **SIZE)
    assert data[0][1][0, 0].tolist() == [0, 0, 1, 2, 0, 17, 19, 0]
    assert data.concepts.names[1:3] == ("road", "sidewalk")
    assert data.concepts.names[19] == "bicycle"
    save(path, plane + 1)
    with pytest.raises(ValueError, match=r"labelIds must be from 0 to 33, or 255, but .* has 34"):
        Cityscapes(tmp_path, **SIZE)[0]


def coco_file(path, annotations, categories=(18, 3, 90), images=(42,)):
    listed = [{"id": number, "file_name": f"{number:012d}.jpg", "height": SIDE, "width": SIDE} for number in images]
    named = [{"id": number, "name": f"n{number}", "supercategory": "thing"} for number in categories]
    path.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": named}))
    return path


def test_coco_panoptic_takes_the_category_of_each_segment(tmp_path):
    photo(tmp_path / "val" / "000000000042.jpg")
    segments = some(0, [0, 7, 70_000])
    coded = np.stack([segments % 256, segments // 256 % 256, segments // 65536], 2)
    save(tmp_path / "panoptic_val" / "000000000042.png", coded)
    infos = [{"id": 7, "category_id": 90}, {"id": 70_000, "category_id": 3}]
    annotation = {"image_id": 42, "file_name": "000000000042.png", "segments_info": infos}
    file = coco_file(tmp_path / "panoptic_val.json", [annotation])
    data = CocoPanoptic(tmp_path / "val", file, **SIZE)
    assert data.concepts.names == ("-", "n3", "n18", "n90")
    expected = np.select([segments == 7, segments == 70_000], [3, 1])
    assert torch.equal(data[0][1][0], torch.from_numpy(expected).int())
    coco_file(file, [annotation | {"segments_info": infos[:1]}])
    with pytest.raises(ValueError, match=r"segments must be listed, but .* has 70000"):
        CocoPanoptic(tmp_path / "val", file, **SIZE)[0]
    for wrong, told in (([], "has 0"), ([annotation] * 2, "has 2"), ([{"image_id": 42}], "must hold file_name"),
                        ([annotation | {"image_id": 43}], "one is of 43")):  # fmt: skip
        coco_file(file, wrong)
        with pytest.raises(ValueError, match=told):
            CocoPanoptic(tmp_path / "val", file)
    file.write_text(file.read_text()[:-9])
    with pytest.raises(ValueError, match=r"panoptic_val\.json must be JSON, but is not"):
        CocoPanoptic(tmp_path / "val", file)


def test_coco_polygons_run_lengths_and_crowds_overlap(tmp_path, missing):
    try:
        import pycocotools  # noqa: F401
    except ImportError as error:
        missing("pycocotools", str(error))
    photo(tmp_path / "val" / "000000000042.jpg")
    polygon = [[2, 0, 6, 0, 6, 4, 2, 4]]  # x y: columns 2 to 5, rows 0 to 3
    crowd = {"size": [SIDE, SIDE], "counts": [0, 3 * SIDE, 5 * SIDE]}  # column by column: 0, 1 and 2
    objects = coco_file(tmp_path / "i.json", [{"image_id": 42, "category_id": 18, "segmentation": polygon},
                                              {"image_id": 42, "category_id": 18, "segmentation": crowd}])  # fmt: skip
    stuff = {"size": [SIDE, SIDE], "counts": [0, SIDE * SIDE]}
    more = coco_file(tmp_path / "s.json", [{"image_id": 42, "category_id": 3, "segmentation": stuff}])
    data = Coco(tmp_path / "val", [objects, more], planes=2, **SIZE)
    _, planes = data[0]
    covered = torch.zeros(SIDE, SIDE, dtype=torch.int32)
    covered[:4, 2:6] = 2
    covered[:, :3] = 2
    assert torch.equal(planes[0], torch.ones(SIDE, SIDE, dtype=torch.int32))  # n3 is everywhere
    assert torch.equal(planes[1], covered)
    with pytest.raises(ValueError, match="planes must be as many as a pixel has categories at most, but 1 are too few"):
        Coco(tmp_path / "val", [objects, more], planes=1, **SIZE)[0]
    coco_file(more, [{"image_id": 42, "category_id": 5, "segmentation": stuff}])
    with pytest.raises(ValueError, match=r"category 5, of .*, must be listed"):
        Coco(tmp_path / "val", more, **SIZE)[0]
    coco_file(more, [{"image_id": 42, "category_id": 3, "segmentation": {"size": [4, 4], "counts": [0, 16]}}])
    with pytest.raises(ValueError, match="annotations must have the size of their image"):
        Coco(tmp_path / "val", more, **SIZE)[0]


def test_broken_images_are_skipped_only_when_asked_named_and_counted(tmp_path):
    scene_parsing(tmp_path)
    broken = tmp_path / "images" / "validation" / "ADE_val_00000001.jpg"
    broken.write_bytes(broken.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"ADE_val_00000001\.jpg cannot be read"):
        SceneParsing(tmp_path, **SIZE)[0]
    with pytest.warns(UserWarning, match=r"left out, 1 so far: .*ADE_val_00000001\.jpg cannot be read"):
        data = SceneParsing(tmp_path, skip=True, **SIZE)
    assert [path.name for path in data.files] == ["ADE_val_00000002.jpg"]
    assert data.skipped == [broken]


def test_published_data_is_dissected_in_workers_and_stored(tmp_path):
    scene_parsing(tmp_path / "ade")
    data, model = SceneParsing(tmp_path / "ade", **SIZE), torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))
    options = {"progress": False, "fraction": 0.1}
    expected = dissect.dissect(model, "0", data, **options)["0"]
    store = store_labels(None, data, tmp_path / "labels", progress=False)
    for images in (DataLoader(data, 2, num_workers=1), DataLoader(store.beside(data), 2, num_workers=1)):
        assert torch.equal(dissect.dissect(model, "0", images, **options)["0"].intersection, expected.intersection)
    for path in (tmp_path / "ade" / "annotations" / "validation").iterdir():
        path.write_bytes(b"")  # not read again
    assert torch.equal(
        dissect.dissect(model, "0", store.beside(data), **options)["0"].intersection, expected.intersection
    )
