"""Records of real data sets of Hugging Face's `datasets`, where it is installed; no extra of the tests has it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import dissect
from dissect.data import Records

datasets = pytest.importorskip("datasets")
SIDE = 8


@pytest.fixture(autouse=True)
def _numbered(monkeypatch):
    """Fingerprints that count: the library's own fails with versions of pyarrow whose tables dill cannot hash."""
    numbers = iter(range(1000))
    monkeypatch.setattr("datasets.arrow_dataset.generate_fingerprint", lambda _: f"{next(numbers):016x}")


def arrays(count=3):
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (SIDE, SIDE + 2, 3), dtype=np.uint8) for _ in range(count)]
    return pictures, [random.integers(0, 3, (SIDE, SIDE + 2), dtype=np.uint8) for _ in range(count)]


def made(**columns):
    features = datasets.Features(dict.fromkeys(columns, datasets.Image()))
    return datasets.Dataset.from_dict(columns, features=features)


@pytest.fixture
def rows():
    pictures, planes = arrays()
    return made(image=[*map(Image.fromarray, pictures)], annotation=[*map(Image.fromarray, planes)])


def test_every_format_gives_the_same_items(rows):
    options = {"planes": "annotation", "concepts": ["a", "b"], "size": SIDE}
    expected = Records(rows, **options)
    assert torch.equal(expected[1][1][0], torch.from_numpy(arrays()[1][1][:, 1:-1]).int())
    undecoded = rows
    for column in ("image", "annotation"):
        undecoded = undecoded.cast_column(column, datasets.Image(decode=False))
    for other in (rows.with_format("numpy"), rows.with_format("torch"), undecoded):
        found = Records(other, **options)
        for number in range(3):
            assert all(map(torch.equal, found[number], expected[number]))
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1)).eval()
    results = [
        dissect.dissect(model, "0", images, fraction=0.1, progress=False)["0"].intersection
        for images in (expected, DataLoader(expected, 2, num_workers=1), Records(undecoded, **options))
    ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_the_order_of_rows_is_part_of_the_fingerprint(rows):
    prints = {Records(rows.select(numbers), size=SIDE).fingerprint() for numbers in ([0, 1], [1, 0], [0, 2])}
    assert len(prints) == 3
    assert None not in prints


def test_broken_and_empty_rows_are_named_and_skipped(tmp_path):
    picture = Image.fromarray(arrays()[0][0])
    for broken, told in (
        ({"bytes": b"no picture", "path": None}, "row 1 cannot be read: cannot identify"),
        (str(tmp_path / "none.png"), "row 1 cannot be read: .*No such file"),
        (None, "row 1, 'image' must be a picture, but is empty"),
    ):
        rows = made(image=[picture, broken])
        with pytest.raises(ValueError, match=told):
            Records(rows, size=SIDE)[1]
        with pytest.warns(UserWarning, match="left out, 1 so far"):
            assert len(Records(rows, size=SIDE, skip=True)) == 1


def test_what_is_no_rows_of_pictures_is_refused(rows):
    with pytest.raises(TypeError, match=r"are a DatasetDict of \['train'\]; give one of its parts"):
        Records(datasets.DatasetDict({"train": rows}))
    with pytest.raises(TypeError, match="rows must have a length and numbers, but are a IterableDataset"):
        Records(rows.to_iterable_dataset())
    with pytest.raises(KeyError, match=r"must have a column 'img', but has \['annotation', 'image'\]"):
        Records(rows, image="img", size=SIDE)[0]
    with pytest.raises(ValueError, match="must be integers of the shape of their image"):
        Records(rows, planes="image", size=SIDE)[0]
    lists = datasets.Dataset.from_dict({"image": [array.tolist() for array in arrays()[0]]})
    with pytest.raises(TypeError, match=r'is a list; of .* with_format\("numpy"\)'):
        Records(lists, size=SIDE)[0]
    assert Records(lists.with_format("numpy"), size=SIDE)[0].shape == (3, SIDE, SIDE)
