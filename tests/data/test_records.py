"""Images in rows: of webdataset shards that are written here, in a Hugging Face data set's form, as Pillow has them."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import dissect
from dissect.data import Records, TarShards
from dissect.segmentation import store_labels

SIDE = 8


def some(number, shape=(SIDE, SIDE, 3), high=256):
    return np.random.default_rng(number).integers(0, high, shape, dtype=np.uint8)


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def add(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def shards(tmp_path):
    """Two shards of three and two samples."""
    paths = [tmp_path / "a-000000.tar", tmp_path / "a-000001.tar"]
    for path, numbers in zip(paths, ([0, 1, 2], [3, 4])):
        with tarfile.open(path, "w") as archive:
            for number in numbers:
                add(archive, f"val/{number:03d}.png", png(some(number)))
                add(archive, f"val/{number:03d}.seg.PNG", png(some(number + 9, (SIDE, SIDE), 4)))
    return paths


def read(rows, image="png", planes="seg.png", **more):
    return Records(rows, image=image, planes=planes, **{"concepts": ["a", "b", "c"], "size": SIDE} | more)


def test_shards_give_their_samples_in_order_and_again(shards):
    rows = TarShards(shards)
    assert [row["__key__"] for row in rows] == [f"val/{number:03d}" for number in range(5)]
    assert set(rows[4]) == {"__key__", "png", "seg.png"}
    data = read(rows)
    for number in (3, 0, 3):
        image, planes = data[number]
        assert torch.equal(planes, torch.from_numpy(some(number + 9, (SIDE, SIDE), 4)).int()[None])
        assert torch.equal(data.to_pictures(image[None])[0], torch.from_numpy(some(number)).permute(2, 0, 1))
    assert torch.equal(read(rows, ignore=2)[0][1], data[0][1].masked_fill(data[0][1] == 2, 0))


def test_shards_are_dissected_in_workers_and_stored(shards, tmp_path):
    data, model = read(TarShards(shards)), torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1))
    options = {"progress": False, "fraction": 0.1}
    expected = dissect.dissect(model, "0", data, **options)["0"]
    store = store_labels(None, data, tmp_path / "labels", progress=False)
    for images in (DataLoader(data, 2, num_workers=1), store.beside(data)):
        assert torch.equal(dissect.dissect(model, "0", images, **options)["0"].intersection, expected.intersection)


def test_changed_shards_are_another_data_set(shards):
    before = read(TarShards(shards)).fingerprint()
    assert read(TarShards(shards)).fingerprint() == before
    assert read(TarShards(shards[::-1])).fingerprint() != before
    assert read(TarShards(shards), ignore=1).fingerprint() != before
    with tarfile.open(shards[0], "a") as archive:
        add(archive, "more.png", png(some(7)) + bytes(20_000))
    assert read(TarShards(shards)).fingerprint() != before


def test_shards_that_cannot_be_read_are_named(shards, tmp_path):
    data = shards[1].read_bytes()
    with tarfile.open(shards[1]) as archive:
        boundary = archive.getmembers()[1].offset  # cut there, what is left looks like a shorter shard
    for length in (boundary, boundary + 600, 700, 100):
        shards[1].write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"a-000001\.tar"):
            TarShards(shards)
    shards[1].write_bytes(b"no tar")
    with pytest.raises(ValueError, match=r"a-000001\.tar must be a plain tar file"):
        TarShards(shards)
    with tarfile.open(shards[1], "w") as archive:
        add(archive, "1.png", b"1")
        add(archive, "1.png", b"2")
    with pytest.raises(ValueError, match="must have each file once"):
        TarShards(shards)
    with pytest.raises(FileNotFoundError, match=r"none\.tar"):
        TarShards([tmp_path / "none.tar"])
    with pytest.raises(ValueError, match="there are none"):
        TarShards([])


class HuggingFace(list):
    """As `datasets.Dataset` is, as far as it is asked here."""

    _fingerprint = "5f2c"


def tensor(array):
    found = torch.from_numpy(array)
    return found.permute(2, 0, 1) if found.ndim == 3 else found


@pytest.mark.parametrize("form", ["pillow", "bytes", "undecoded", "path", "array", "wide", "tensor"])
def test_rows_hold_pictures_in_any_form(form, tmp_path):
    forms = {"pillow": Image.fromarray, "bytes": png, "array": np.array, "wide": np.int64, "tensor": tensor}
    forms["undecoded"] = lambda array: {"bytes": png(array), "path": None}

    def path(array):
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        file.write_bytes(png(array))
        return {"bytes": None, "path": str(file)}

    forms["path"] = path
    rows = HuggingFace({"image": forms[form](some(n)), "ann": forms[form](some(n, (SIDE, SIDE), 4))} for n in range(3))
    data = read(rows, "image", "ann")
    assert torch.equal(data[1][1][0], torch.from_numpy(some(1, (SIDE, SIDE), 4)).int())
    assert torch.equal(data.to_pictures(data[2][0][None])[0], torch.from_numpy(some(2)).permute(2, 0, 1))
    alone = Records(rows, size=SIDE)
    assert torch.equal(alone[1], data[1][0])
    assert data.fingerprint() != alone.fingerprint() != None  # noqa: E711
    assert Records(list(rows), size=SIDE).fingerprint() is None


def test_rows_that_cannot_be_read_are_skipped_only_when_asked():
    rows = [{"image": png(some(number))} for number in range(3)]
    rows[1] = {"image": rows[1]["image"][:-30]}
    with pytest.raises(ValueError, match="row 1, 'image' cannot be read"):
        Records(rows, size=SIDE)[1]
    with pytest.warns(UserWarning, match="left out, 1 so far: row 1, 'image' cannot be read"):
        data = Records(rows, size=SIDE, skip=True)
    assert (len(data), data.skipped) == (2, [1])


class Decoding(list):
    """Rows whose pictures are decoded when they are asked for, as `datasets` does."""

    def __getitem__(self, number):
        return {"image": Image.open(io.BytesIO(super().__getitem__(number)["image"]))}


def test_rows_that_cannot_be_decoded_or_are_empty_are_named_and_skipped():
    whole = {"image": png(some(0))}
    for rows, told in (
        (Decoding([whole, {"image": b"no picture"}]), "row 1 cannot be read: cannot identify image file"),
        ([whole, {"image": None}], "row 1, 'image' must be a picture, but is empty"),
        ([whole, {"image": {"bytes": None, "path": "none.png"}}], "cannot be read: .*No such file"),
    ):
        with pytest.raises(ValueError, match=told):
            Records(rows, size=SIDE)[1]
        with pytest.warns(UserWarning, match=f"left out, 1 so far: .*{told}"):
            assert Records(rows, size=SIDE, skip=True).skipped == [1]


def test_rows_that_do_not_fit_are_refused():
    rows = [{"image": some(0), "ann": some(1, (SIDE, SIDE + 1), 4)}]
    for make, kind, told in (
        (
            lambda: read(rows, "image", "ann")[0],
            ValueError,
            r"the shape of their image, \[8, 8\], but row 0, 'ann' holds",
        ),
        (
            lambda: read(rows, "image", "none")[0],
            KeyError,
            r"row 0 must have a column 'none', but has \['ann', 'image'\]",
        ),
        (lambda: Records([{"image": 3}], size=SIDE)[0], TypeError, "row 0, 'image' must be a picture, but is a int"),
        (lambda: Records([{"image": [[0]]}], size=SIDE)[0], TypeError, r'is a list; of .* with_format\("numpy"\)'),
        (lambda: Records([{"image": some(0) / 255}], size=SIDE)[0], TypeError, "of integers, but is float64"),
        (lambda: Records([{"image": some(0) * 2.0}], size=SIDE)[0], TypeError, "of integers, but is float64"),
        (lambda: Records([{"image": np.int32(some(0)) * 2}], size=SIDE)[0], ValueError, "from 0 to 255"),
        (lambda: Records([{"image": some(0, (SIDE, SIDE, 4))}], size=SIDE)[0], ValueError, r"but is \[8, 8, 4\]"),
        (
            lambda: Records([{"image": torch.zeros(3, 8, 3, dtype=torch.uint8)}], size=SIDE)[0],
            ValueError,
            "must tell where its colours are",
        ),
        (lambda: Records({"train": rows, "test": rows}), TypeError, r"are a dict of \['test', 'train'\]; give one"),
        (lambda: Records(iter(rows)), TypeError, "rows must have a length"),
        (lambda: Records([]), ValueError, "at least one image that can be read"),
    ):
        with pytest.raises(kind, match=told):
            make()
