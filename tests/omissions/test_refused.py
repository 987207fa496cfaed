"""What a call of the room does not take is told in its own words, never in those of torch, numpy or Python."""

import functools

import pytest
import torch
from altered import altered
from torch import nn

import dissect
from dissect import omissions
from dissect.models import ProGAN
from dissect.omissions import LayerInverter, fsd, omission_chart, omission_pairs, omission_table, recovery
from dissect.omissions import segmentation_statistics as statistics

LAYERS = ["layer1", "layer2"]
PHOTOS = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Bright(nn.Module):
    """A where images are bright."""

    concepts, signed = dissect.Concepts.of([("a", "object"), ("b", "object")]), None

    def forward(self, images):
        return (images.mean(1, keepdim=True) > 0.5).to(torch.int16)


@functools.cache
def made():
    """A generator, an inverter of it, its images, their inversion, statistics."""
    model = ProGAN((4, 4, 4), z_channels=4).eval()
    inverter = LayerInverter.untrained(model, LAYERS, width=2)
    images = model(dissect.latents(model, 3)).detach()
    found = inverter.invert(images, "d", progress=False)
    return model, inverter, images, found, statistics(PHOTOS, Bright(), count=6, progress=False)


@pytest.mark.parametrize(("options", "error", "text"), [
    ({"size": (0, 8)}, ValueError, "size must be at least 1"),
    ({"size": 8}, TypeError, "size must be two integers"),
    ({"size": "ab"}, TypeError, "size must be an integer"),
    ({"size": (4, 4, 4)}, TypeError, "size must be two integers"),
    ({"seed": 2**40}, ValueError, "seed must be at most 4294967295"),
    ({"plane": None}, TypeError, "plane must be an integer"),
    ({"plane": 1.5}, TypeError, "plane must be an integer"),
    ({"images": PHOTOS[:0]}, ValueError, "count must be at most the number of images, 0"),
    ({"images": []}, ValueError, "images"),
    ({"images": (PHOTOS * 255).byte()}, TypeError, "images must be floats, but those of batch 0 are torch.uint8"),
])  # fmt: skip
def test_statistics(options, error, text):
    given = {"images": PHOTOS, "count": 3, "progress": False, **options}
    with pytest.raises(error, match=text):
        statistics(given.pop("images"), Bright(), **given)


@pytest.mark.parametrize("call", [
    lambda a: fsd(a, None), lambda a: fsd(None, a), lambda a: fsd(a, a, 3), lambda a: omission_table(a, None),
    lambda a: omission_table(None, a), lambda a: omission_table(a, a, truth=3), lambda a: omission_chart(None, a),
    lambda a: omission_table(a, a, second=(a, 3)), lambda a: a.merge(None),
])  # fmt: skip
def test_samples(call):
    with pytest.raises(TypeError, match="samples must be SegmentationStatistics, but one is"):
        call(made()[4])
    with pytest.raises(TypeError, match="omission_table: second must be two samples"):
        omission_table(made()[4], made()[4], second=(made()[4],))


@pytest.mark.parametrize(("layers", "options", "error", "text"), [
    ("layer1", {}, TypeError, "layers must be a list of names, but got 'layer1'"),
    (None, {}, TypeError, "layers must be a list of names, but got None"),
    (LAYERS, {"seed": 2**30}, ValueError, "seed must be at most 8388607"),
    (LAYERS, {"batch_size": 1}, ValueError, "batch_size must be at least 2"),
    (LAYERS, {"rate": True}, ValueError, "rate must be a positive number"),
])  # fmt: skip
def test_trainings(layers, options, error, text):
    with pytest.raises(error, match=f"^LayerInverter: {text}"):
        LayerInverter.train(made()[0], layers, width=2, epochs=1, batches=1, progress=False, **options)
    linear = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    with pytest.raises(ValueError, match=r"LayerInverter: generator must make images \[N, 3, H, W\] of z, but makes"):
        LayerInverter.train(linear, ["0"])


@pytest.mark.parametrize(("options", "error", "text"), [
    ({"lambda_v": "a"}, ValueError, "lambda_v must be a positive number"),
    ({"lambda_reg": -1.0}, ValueError, "lambda_reg must be a positive number"),
    ({"lambda_v": float("nan")}, ValueError, "lambda_v must be a positive number"),
    ({"features": 3}, TypeError, "features must be a function of images, but got int"),
    ({"features": lambda x: None}, ValueError, "features must give a tensor .* but gave NoneType"),
    ({"features": lambda x: x.mean()}, ValueError, r"features must give a tensor \[N=3, ...\] of images"),
    ({"optimiser": ["adam"]}, ValueError, "optimiser must be one of"),
    ({"method": "a", "seed": 2**40}, ValueError, "seed must be at most"),
])  # fmt: skip
def test_inversions(options, error, text):
    with pytest.raises(error, match=f"^LayerInverter: {text}"):
        made()[1].invert(made()[2], **{"steps": 1, "progress": False, **options})


def test_gradients_are_there_where_they_are_needed():
    _, inverter, images, *_ = made()
    options = {"steps": 3, "progress": False}
    with torch.no_grad():
        assert torch.equal(inverter.invert(images, **options).images, inverter.invert(images, **options).images)
        inverter.fine_tune(epochs=1, batches=1, batch_size=2, progress=False)
    with torch.inference_mode(), pytest.raises(ValueError, match=r"LayerInverter: torch.inference_mode must be off"):
        inverter.invert(images, **options)


def test_measures():
    model, inverter, _, found, real = made()
    z = dissect.latents(model, 3)
    for given in ((None, z, found), (inverter, [1], found), (inverter, z, None)):
        with pytest.raises(TypeError, match=r"^recovery: \w+ must be a "):
            recovery(*given)
    with pytest.raises(ValueError, match=r"^recovery: z must have shape \[3, 4\] and torch.float32"):
        recovery(inverter, z.double(), found)
    with pytest.raises(ValueError, match=r"^recovery: plane must be one of those of segmenter \[3, 1, 16, 16\]"):
        recovery(inverter, z, found, segmenter=Bright(), plane=4)
    for given in ((None, PHOTOS, real), (inverter, PHOTOS, None)):
        with pytest.raises(TypeError, match=r"^omission_pairs: \w+ must be a "):
            omission_pairs(*given, Bright(), "a", count=1)
    with pytest.raises(ValueError, match=r"^omission_pairs: methods must name one at least"):
        omission_pairs(inverter, PHOTOS, real, Bright(), "a", count=1, methods=[])
    with pytest.raises(ValueError, match=r"images must have shape \[3, 3, 16, 16\], but got list"):
        found.plot([1])
    assert {"Inversion", "OmissionPairs", "load_encoder"} <= {*omissions.__all__}


def test_what_has_no_name_or_no_number():
    _, inverter, _, _, real = made()
    broken = ProGAN((4, 4, 4), z_channels=4).eval()
    broken.layer1.conv.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"^LayerInverter: generator must make finite images, but some are NaN"):
        LayerInverter.train(broken, LAYERS)
    beyond = Bright()
    beyond.forward = lambda images: 9 * (images.mean(1, keepdim=True) > 0.5).long()
    with pytest.raises(ValueError, match=r"^segmentation_statistics: planes must hold labels from 0 to 2, .* hold 9"):
        statistics(PHOTOS, beyond, count=6, progress=False)
    with pytest.raises(ValueError, match=r"^omission_pairs: methods must name one at least, and each once, but are"):
        omission_pairs(inverter, PHOTOS, real, Bright(), "a", count=1, methods=["d", "d"])
    with pytest.raises(KeyError, match=r"no concept is called 'aa'; the nearest are \['a'\]\."):
        omission_pairs(inverter, PHOTOS, real, Bright(), "aa", count=1)
    for call in (lambda: real.split(2**70), lambda: fsd(*real.split(), seed=-1)):
        with pytest.raises(ValueError, match=r"^\w+: seed must be at "):
            call()


def test_a_sample_is_at_no_distance_from_itself():
    assert fsd(made()[4], made()[4], resamples=0).distance == pytest.approx(0, abs=1e-3)


def test_one_image_has_no_covariance():
    alone = made()[4].first(1)
    assert alone.mean.sum() == pytest.approx(100)
    with pytest.raises(ValueError, match=r"^SegmentationStatistics: a covariance needs at least two images, but there"):
        _ = alone.covariance


def test_pairs_of_images_that_are_not_as_large_as_the_generators():
    small = PHOTOS[:, :, :8, :8]
    real = statistics(small, Bright(), count=6, progress=False)
    with pytest.raises(ValueError, match=r"images must have shape \[N, 3, 16, 16\], as the generator's have, with N"):
        omission_pairs(made()[1], small, real, Bright(), "a", count=1, methods=["d"])


@pytest.mark.parametrize("shape", [[4], [4, 4], [4, 4, 4, 4]])
@pytest.mark.parametrize("at", [1, 2])
def test_a_file_of_layers_that_make_no_maps_is_refused(at, shape, tmp_path):
    path = made()[1].save(tmp_path / "a")
    altered(path, lambda tensors, meta: meta["made"]["shapes"].__setitem__(at, shape))
    with pytest.raises(ValueError, match=f"{path}.*layers must (begin|end) with one"):
        LayerInverter.load(path)


def test_a_file_of_planes_of_several_sizes_is_refused(tmp_path):
    _, inverter, _, _, real = made()
    path = omission_pairs(inverter, PHOTOS, real, Bright(), "a", count=1, methods=["d"]).save(tmp_path / "a")
    altered(path, lambda tensors, meta: tensors.update(made_planes0=tensors["made_planes0"][:, :, 1:].clone()))
    with pytest.raises(ValueError, match=f"{path} must hold made_planes0 as int"):
        dissect.load(path)


def test_a_loss_that_is_never_finite_leaves_the_start():
    _, inverter, images, plain, _ = made()
    with pytest.warns(UserWarning, match=r"image 0 did not stay finite \(of 3 of 3 images\)"):
        found = inverter.invert(images, "e", steps=2, features=lambda x: x.flatten(1) * torch.nan, progress=False)
    assert torch.equal(found.z, plain.z)
    assert found.images.isfinite().all()
    assert found.diverged.all()
