"""Exemplars for other tools, labels from texts with their null, and labels that came from elsewhere."""

import pytest
import torch
from torch import nn

import dissect
from dissect.dissection import labels_beside, text_labels

WORDS = ("red", "green", "blue")


class Colours:
    """Pictures and texts in a space of three colours."""

    def pictures(self, pictures):
        return torch.stack([picture.float().mean((1, 2)) + 1 for picture in pictures])

    def texts(self, texts):
        return torch.eye(3)[[WORDS.index(text) for text in texts]]


def dissected(units=3, images=30, mixed=False):
    """Units that look at red, green and blue, or at all alike; each image has a square of one colour."""
    photos = torch.full((images, 3, 16, 16), 0.25)
    for number in range(images):
        photos[number, number % 3, 4:8, 6 + number % 5 : 12] = 1
    net = nn.Sequential(nn.Conv2d(3, units, 1, bias=False))
    net[0].weight.data = torch.ones(units, 3, 1, 1) if mixed else 2 * torch.eye(3)[:units, :, None, None] - 1
    planes = torch.ones(images, 1, 16, 16, dtype=torch.int64)
    return dissect.dissect(
        net, "0", [(photos, planes)], concepts=["all"], fraction=0.05, top_images=4, progress=False
    ), photos


def test_exemplars_are_cut_out_where_the_unit_fires():
    found, photos = dissected()
    for unit in range(3):
        shown = found.exemplars(unit)
        assert [exemplar.image for exemplar in shown] == found["0"].peak_images[unit].tolist()
        for exemplar in shown:
            expected = photos[exemplar.image, unit] == 1
            assert torch.equal(exemplar.mask, expected)
            rows, columns = expected.nonzero(as_tuple=True)
            box = exemplar.picture[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert torch.equal(exemplar.crop, box)
            assert exemplar.picture.dtype == torch.uint8
    with pytest.raises(IndexError, match="unit must be below 3, the units of '0', but is 3"):
        found.exemplars(3)
    with pytest.raises(KeyError, match="was not dissected"):
        found.exemplars(0, "1")


def test_a_mask_has_the_pictures_size_and_a_silent_unit_the_whole_picture():
    found, _ = dissected()
    found.images = found.images.repeat_interleave(2, 2).repeat_interleave(2, 3)
    exemplar = found.exemplars(0)[0]
    assert exemplar.mask.shape == (32, 32)
    assert torch.equal(exemplar.mask[::2, ::2], found["0"].masks(0)[0])
    found["0"].thresholds[0] = torch.inf
    exemplar = found.exemplars(0)[0]
    assert not exemplar.mask.any()
    assert torch.equal(exemplar.crop, exemplar.picture)


def test_text_labels_against_the_sums_and_their_null():
    found, _ = dissected()
    rows = text_labels(found, WORDS, Colours(), layer="0")
    assert [row.text for row in rows] == list(WORDS)
    assert all(row.p < 0.02 and row.margin > 0.1 and row.concept == "all" for row in rows)
    crops = [[exemplar.crop for exemplar in found.exemplars(unit)] for unit in range(3)]
    fits = [[(own.float().mean((1, 2)) + 1).double() for own in unit] for unit in crops]
    cosines = torch.stack([torch.stack([one / one.norm() for one in unit]) for unit in fits])
    scores = cosines.mean(1) - cosines.flatten(0, 1).mean(0)
    for unit, row in enumerate(rows):
        assert row.score == pytest.approx(float(scores[unit].max()), abs=1e-6)


def test_units_that_see_all_colours_alike_have_no_text():
    found, _ = dissected(units=8, mixed=True)
    rows = text_labels(found, WORDS, Colours(), layer="0")
    assert all(abs(row.score) < 1e-9 and row.p > 0.05 for row in rows)  # all have the same exemplars


@pytest.mark.parametrize(
    ("texts", "pictures", "told"),
    [
        (["red"], None, "texts must be at least two, all different"),
        (["red", "red"], None, "texts must be at least two, all different"),
        (WORDS, torch.zeros(12, 3), "finite vectors, none of them 0"),
        (WORDS, torch.ones(11, 3), r"embedder.pictures must give floats \[12, D\], but gave"),
        (WORDS, None, None),
    ],
)
def test_what_text_labels_cannot_take_is_refused(texts, pictures, told):
    found, _ = dissected()
    embedder = Colours()
    if pictures is not None:
        embedder.pictures = lambda _: pictures
    if told is None:
        assert len(text_labels(found, texts, embedder, layer="0", draws=9)) == 3
        return
    with pytest.raises(ValueError, match=told):
        text_labels(found, texts, embedder, layer="0")


def test_labels_from_elsewhere_stand_beside_ours(tmp_path):
    found, _ = dissected()
    path = tmp_path / "labels.csv"
    path.write_text("layer,unit,description\n0,2,blue sky\n1,0,else\n0,0,roses\n")
    rows = labels_beside(found, path, layer="0", label="description")
    assert [row.label for row in rows] == ["roses", "", "blue sky"]
    assert [row.iou for row in rows] == [row.iou for row in found.best("0")]
    assert labels_beside(found, {1: "grass"}, layer="0")[1].label == "grass"
    for text, told in (("unit\n0\n", "must have a column 'label'"), ("unit,label\n0,a\n0,b\n", "line 3 .* there twice"),
                       ("unit,label\n3,a\n", "units below 3, .* but one is 3"), ("unit,label\nx,a\n", "line 2 of"),
                       ("layer,unit,label\n9,0,a\n", "but there are none")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ValueError, match=told):
            labels_beside(found, path, layer="0")
