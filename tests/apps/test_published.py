"""What the published interface asks, answered as its server does."""

import base64
import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from dissect import apps
from dissect.apps.published import Published, intervention_of, published_mask


def decoded(url):
    assert url.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def png(pixels, mode):
    buffer = io.BytesIO()
    Image.fromarray(np.array(pixels, dtype=np.uint8)).convert(mode).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def as_published(mask):
    """mask_to_numpy of the published code, for bits, as it walks through the box."""
    result = np.zeros(mask["shape"])
    (top, left), (bottom, right) = mask["bitbounds"][:2], mask["bitbounds"][2:]
    for bit, (row, column) in zip(mask["bitstring"], itertools.product(range(top, bottom), range(left, right))):
        result[row, column] = bit != "0"
    return result


def test_masks_of_bits():
    given = {"shape": [128, 128], "bitbounds": [12, 42, 16, 46], "bitstring": "0110111111110110"}
    assert np.array_equal(published_mask(given).picture().numpy(), as_published(given))
    assert published_mask({"bitstring": "01" * 32768}).shape == (256, 256)
    assert published_mask(None) is None


def test_masks_of_pngs():
    clear = np.zeros((4, 6, 4), np.uint8)
    clear[1, 2:4, 3] = 7
    wanted = torch.zeros(4, 6)
    wanted[1, 2:4] = 1
    assert torch.equal(published_mask({"bitstring": png(clear, "RGBA")}).picture(), wanted)
    white = np.full((4, 6, 3), 255, np.uint8)
    white[1, 2:4, 0] = 200
    assert torch.equal(published_mask({"bitstring": png(white, "RGB")}).picture(), wanted)
    placed = {"shape": [8, 8], "bitbounds": [1, 1, 5, 7], "bitstring": png(white, "RGB")}
    assert published_mask(placed).picture().nonzero().tolist() == [[2, 3], [2, 4]]


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        ({}, "must hold bitstring"),
        ({"shape": [4], "bitstring": "1111"}, "shape"),
        ({"bitstring": "data:image/jpeg;base64,AAAA"}, "must have a mask that begins with"),
        ({"bitstring": "data:image/png;base64,AAAA"}, "must have a mask that is a PNG"),
        ({"bitstring": "data:image/png;base64,?"}, "must have a mask that is a PNG"),
        ({"bitstring": png(np.zeros((1, 1025, 3)), "RGB")}, "1024 rows and columns at most"),
        ({"bitbounds": [0, 0, 2, 2], "bitstring": png(np.zeros((1, 2, 3)), "RGB")}, "as large as its bitbounds"),
        ({"bitbounds": 5, "bitstring": png(np.zeros((1, 2, 3)), "RGB")}, "bitbounds as a list"),
    ],
)
def test_masks_that_are_none(mask, text):
    with pytest.raises(ValueError, match=text):
        published_mask(mask)


def test_generate_with_interventions(painter):
    mask = {"shape": [8, 8], "bitbounds": [0, 0, 2, 8], "bitstring": "1" * 16}
    ablations = [
        {"layer": "layer3", "unit": 2, "value": 1.0},
        {"layer": "layer3", "unit": 2, "alpha": 0.5, "value": 3.5},
        {"layer": "layer3", "unit": 4, "alpha": None},
    ]
    asked = {"interventions": [{"mask": mask, "maskpooling": "mean", "ablations": ablations}, None, {}]}
    published = Published(painter, "street")
    stroke = apps.Stroke("draw", "", (2, 4), (3.5, 0.0), (0.5, 1.0), published_mask(mask), "mean")
    assert intervention_of(asked["interventions"][0], "layer3", 8) == stroke
    found = published.generate({"ids": [3, 0], **asked})
    assert [one["id"] for one in found] == [3, 0]
    assert all(torch.equal(decoded(one["d"]), painter.picture(one["id"], [stroke])) for one in found)
    z = [[0.5, -1.0, 2, 0, 1]]
    (one,) = published.generate({"zs": z, **asked})
    assert torch.equal(decoded(one["d"]), painter.pictures_of(z, [stroke])[0])


def test_features_are_of_what_the_masks_show(painter):
    masks = [{"shape": [8, 8], "bitbounds": [2, 2, 4, 4], "bitstring": "1111"}, None]
    found = Published(painter, "street").features({"ids": [1, 2], "masks": masks})["layer3"]
    maps = [painter.maps(number)[0].numpy() for number in (1, 2)]
    weights = [np.zeros((8, 8)), np.ones((8, 8))]
    weights[0][2:4, 2:4] = 1
    weighed = [map_ * weight for map_, weight in zip(maps, weights)]
    assert found["max"] == pytest.approx(np.maximum(weighed[0].max((1, 2)), weighed[1].max((1, 2))))
    mean = sum(one.sum((1, 2)) for one in weighed) / 68
    assert found["mean"] == pytest.approx(mean, rel=1e-5, abs=1e-6)


def test_levels_and_tables(painter):
    published = Published(painter, "street")
    maps = np.concatenate([painter.maps(number)[0].numpy().reshape(8, -1) for number in range(20)], 1)
    wanted = np.quantile(maps, [0, 0.5, 0.99, 1], axis=1, method="inverted_cdf").T
    assert np.array_equal(np.array(published.levels([0, 0.5, 0.99, 1]), np.float32), wanted.astype(np.float32))
    assert published.layers() == [{"layer": "layer3", "channels": 8, "shape": [8, 8]}]
    assert published.units()[4] == {"unit": 4, "label": "tree"}
    assert published.units()[0] == {"unit": 0, "label": ""}
    ranking = published.rankings()[0]
    assert (ranking["name"], ranking["metric"]) == ("tree-ace", "ace")
    assert np.argsort(ranking["scores"], kind="stable")[:3].tolist() == [1, 4, 0]
    assert published.all_projects()[0]["project"] == "street"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda p: p.generate({}), "either ids or zs"),
        (lambda p: p.generate({"ids": [1], "zs": []}), "either ids or zs"),
        (lambda p: p.generate([]), "but is list"),
        (lambda p: p.generate({"ids": [20]}), "at most 19"),
        (lambda p: p.generate({"ids": [0] * 25}), "at most 24 images"),
        (lambda p: p.generate({"zs": [[0.0]]}), "each z must have 5 values"),
        (lambda p: p.generate({"zs": [[0.0, 1, 2, 3, "a"]]}), "zs must have each from -100 to 100"),
        (lambda p: p.generate({"ids": [0], "interventions": {}}), "interventions as a list"),
        (lambda p: p.generate({"ids": [0], "interventions": [{}] * 101}), "at most 100 interventions"),
        (lambda p: p.generate({"ids": [0], "interventions": [{"ablations": [{"layer": "x", "unit": 0}]}]}), "layer3"),
        (lambda p: p.generate({"ids": [0], "interventions": [{"maskpooling": [], "mask": []}]}), "mask as a dict"),
        (lambda p: p.levels([]), "they are 1 to 64"),
        (lambda p: p.levels([1.5]), "from 0 to 1"),
        (lambda p: p.features({"ids": []}), "1 to 24 images"),
        (lambda p: p.features({"ids": [1], "masks": [None, None]}), "a mask for each image"),
        (lambda p: p.features({"ids": [1], "layers": ["conv"]}), "the layer is the one here"),
    ],
)
def test_what_is_refused(painter, call, text):
    with pytest.raises(ValueError, match=text):
        call(Published(painter, "street"))
