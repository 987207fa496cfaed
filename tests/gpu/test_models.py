"""Generators on a GPU: the CPU's noise to the bit, its images nearly, loaders that put them there, and training."""

from dataclasses import replace

import pytest
import torch

import dissect
from dissect.models import (
    WGANGP,
    Discriminator,
    ProGAN,
    StyleGAN2,
    load_progan,
    load_stylegan2,
    stylegan2_checkpoint,
)
from dissect.models.noise import seeded_noise
from dissect.tiny import segmenter, train_gan, train_segmenter
from dissect.tiny.networks import GENERATORS, load_generator, load_segmenter
from dissect.tiny.training import feature_critic
from dissect.tiny.training.recipes import RECIPES, Recipe


def test_noise_has_the_bits_of_a_cpu(device):
    seeds = dissect.noise_seeds(50)
    for layer in (2, 5, 17):
        assert torch.equal(seeded_noise(seeds.to(device), layer, 33, 64).cpu(), seeded_noise(seeds, layer, 33, 64))


@pytest.mark.parametrize("name", GENERATORS)
@torch.no_grad()
def test_images_are_nearly_those_of_a_cpu(name, device, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = dissect.tiny.generator(name)
    z = dissect.latents(model, 8)
    seeds = {"noise": dissect.noise_seeds(8)} if "stylegan2" in name else {}
    expected, planes = model(z, **seeds), segmenter(signed=True)
    on_device = model.to(device)
    assert dissect.latents(on_device, 8).device == device
    images = on_device(z.to(device), **{key: value.to(device) for key, value in seeds.items()})
    assert (images.cpu() - expected).abs().max() < 1e-3 * expected.abs().max()
    seen = planes.to(device)(images)
    assert seen.device == device
    assert (seen.cpu() == segmenter(signed=True)(expected)).float().mean() > 0.99


def test_loaders_put_them_there(device, tmp_path):
    progan, stylegan2 = (RECIPES[name].generator(3) for name in ("progan-street", "stylegan2-street-watermark"))
    torch.save(progan.state_dict(), tmp_path / "progan.pth")
    torch.save(stylegan2_checkpoint(stylegan2), tmp_path / "stylegan2.pt")
    for model in (
        load_progan(tmp_path / "progan.pth", device=device),
        load_stylegan2(tmp_path / "stylegan2.pt", device=device),
    ):
        assert {value.device for value in model.state_dict().values()} == {device}
        assert model(dissect.latents(model, 2)).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("make", [ProGAN, StyleGAN2, WGANGP, Discriminator])
def test_weights_drawn_there_are_those_of_a_cpu(make, device):
    expected = make((8, 4), seed=3).state_dict()
    with torch.device(device):
        made = make((8, 4), seed=3).state_dict()
        z, seeds = dissect.latents((4,), 2), dissect.noise_seeds(2)
    assert {value.device for value in made.values()} == {device}
    assert all(torch.equal(value.cpu(), expected[name]) for name, value in made.items())
    assert z.device == seeds.device == torch.device("cpu")


@pytest.mark.parametrize(
    "choice",
    [
        {}, {"kind": "stylegan2"}, {"feature_critic": True}, {"loss": "wgan"},
        {"loss": "wgan", "pixel_norm": "none", "after_conv": "batch_norm", "rate": 0.001, "stages": ((16, 3),)},
    ],
)  # fmt: skip
def test_a_training_that_was_stopped_goes_on(choice, device, tmp_path, monkeypatch):
    stages = ((4, 1), (8, 1), (16, 1))
    small = Recipe(channels=(8, 8, 4), critic=(8, 8, 4), z_channels=6, stages=stages, scenes=40)
    monkeypatch.setitem(RECIPES, "small", replace(small, **choice))
    monkeypatch.setattr(feature_critic, "SMALLEST", 16)
    monkeypatch.setattr(Recipe, "images", property(lambda _: 2400))
    assert not train_gan.GanTraining("small", tmp_path, 3, str(device), 16).train(0)
    stopped = train_gan.GanTraining("small", tmp_path, 3, str(device), 16)
    assert stopped.step == 1
    assert stopped.train(10)
    assert torch.cuda.get_device_name(device) in stopped.machine
    model = load_generator(tmp_path / "small.safetensors")
    with torch.no_grad():
        assert model(dissect.latents(model, 2)).isfinite().all()


def test_a_segmenter_is_trained_there(device, tmp_path, monkeypatch):
    monkeypatch.setattr(train_segmenter, "COUNTS", {"train": 24, "val": 12})
    monkeypatch.setattr(train_segmenter, "BATCH", 8)
    monkeypatch.setattr(train_segmenter, "IMAGES", 40)
    monkeypatch.setattr(train_segmenter, "SEGMENTER_CHANNELS", (4, 6))
    assert not train_segmenter.SegmenterTraining(tmp_path, 3, str(device)).train(0)
    assert train_segmenter.SegmenterTraining(tmp_path, 3, str(device)).train(10)
    planes = load_segmenter(tmp_path / "segmenter-3.safetensors").to(device)(torch.zeros(2, 3, 16, 16, device=device))
    assert planes.shape == (2, 4, 16, 16)
