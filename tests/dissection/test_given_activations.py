"""Activations at hand are dissected as the network that gave them."""

import pytest
import torch
from torch import nn

import dissect

CONCEPTS = ["a", "b", "c"]
TENSORS = ("thresholds", "intersection", "unit_area", "union_area", "label_area", "peaks", "peak_images", "q_values")


@pytest.fixture(scope="module")
def made():
    """A network, images, planes, and what its layers give."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)).eval()
    images, planes = torch.rand(12, 3, 16, 16), torch.randint(0, 4, (12, 2, 16, 16))
    with dissect.Trace(model, ["1", "2"]) as trace:
        model(images)
    return model, images, planes, {name: trace[name].detach() for name in ("1", "2")}


def assert_equal(ours, expected):
    for name in TENSORS:
        one, other = getattr(ours, name, None), getattr(expected, name, None)
        assert (one is None) == (other is None), name
        assert one is None or torch.equal(torch.as_tensor(one), torch.as_tensor(other)), name


@pytest.mark.parametrize(
    "options", [{}, {"positions": "feature", "batch_size": 5}, {"preset": "pnas2020", "relu": False}]
)
def test_as_the_network_that_gave_them(made, options):
    model, images, planes, maps = made
    batches = [(images[:7], planes[:7]), (images[7:], planes[7:])]
    common = {"fraction": 0.05, "progress": False, "resamples": 20, **options}
    expected = dissect.dissect(model, ["1", "2"], batches, concepts=CONCEPTS, **common)
    renamed = {"features.relu": maps["1"], "features.pool": maps["2"]}
    ours = dissect.dissect_activations(renamed, planes, CONCEPTS, **common)
    assert list(ours.layers) == ["features.relu", "features.pool"]
    assert_equal(ours["features.relu"], expected["1"])
    assert_equal(ours["features.pool"], expected["2"])
    assert [row.iou for row in ours.best("features.relu")] == [row.iou for row in expected.best("1")]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_of_sixteen_bits_along_directions(made, dtype):
    _, _, planes, maps = made
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q.contiguous()
    given, options = maps["2"].to(dtype), {"fraction": 0.05, "progress": False, "decoys": 0, "resamples": 0}
    ours = dissect.dissect_activations(given, planes, CONCEPTS, directions={"activations": rotation}, **options)
    whole = torch.einsum("vu,nuhw->nvhw", rotation, given.float())
    expected = dissect.dissect_activations(whole, planes, CONCEPTS, **options)
    torch.testing.assert_close(ours["activations"].thresholds, expected["activations"].thresholds)


def test_its_page_shows_the_pictures(made, tmp_path):
    _, _, planes, maps = made
    pictures = torch.arange(12, dtype=torch.uint8)[:, None, None, None].expand(12, 3, 4, 4)
    options = {"fraction": 0.05, "progress": False}
    d = dissect.dissect_activations(maps["2"], planes, CONCEPTS, pictures=pictures, **options)
    assert len(d.image_numbers) > 4
    for number, picture in zip(d.image_numbers.tolist(), d.images):
        assert bool((picture == number).all())
    d.save(tmp_path / "kept")
    assert_equal(dissect.load(tmp_path / "kept")["activations"], d["activations"])
    page = dissect.write_report(d, tmp_path / "out")
    assert page.exists()
    without = dissect.dissect_activations(maps["2"], planes, CONCEPTS, **options)
    assert_equal(without["activations"], d["activations"])


def test_others_do_not_go_on_from_a_folder(made, tmp_path):
    _, _, planes, maps = made
    options = {"fraction": 0.05, "progress": False, "resume": tmp_path}
    first = dissect.dissect_activations(maps["2"], planes, CONCEPTS, **options)
    again = dissect.dissect_activations(maps["2"], planes, CONCEPTS, **options)
    assert_equal(again["activations"], first["activations"])
    with pytest.raises(ValueError, match="another"):
        dissect.dissect_activations(maps["2"] + 1, planes, CONCEPTS, **options)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"activations": {}}, "activations must be of at least one layer"),
        ({"activations": torch.zeros(12, 8)}, r"must be floats \[N, U, h, w\], but those of 'activations' are"),
        ({"activations": torch.zeros(11, 8, 4, 4)}, "must be of the 12 images of planes, but 'activations' has 11"),
        ({"planes": torch.zeros(12, 1, 8, 8)}, r"planes must be integers \[N, K, H, W\], but are torch.float32"),
        ({"pictures": torch.zeros(12, 1, 8, 8, dtype=torch.uint8)}, r"pictures must be uint8 \[12, 3, H, W\]"),
        ({"segmenter": len}, "segmenter must not be given, since there is no network"),
        ({"layout": "NUHW"}, "layout must not be given"),
    ],
)
def test_what_is_refused(made, changed, told):
    _, _, planes, maps = made
    given = {"activations": maps["2"], "planes": planes, "concepts": CONCEPTS, **changed}
    with pytest.raises(ValueError, match=f"^dissect_activations: .*{told}"):
        dissect.dissect_activations(given.pop("activations"), given.pop("planes"), progress=False, **given)
