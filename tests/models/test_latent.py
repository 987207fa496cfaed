"""z sets and noise seeds: the published numbers, prefixes and shards."""

import numpy as np
import pytest
import torch
from torch import nn

from dissect import latents, noise_seeds
from dissect.models import WGANGP, ProGAN, StyleGAN2
from dissect.models.noise import seeded_noise


def test_the_published_sets():
    published = np.random.RandomState(1).standard_normal(600 * 5).reshape(600, 5)
    assert torch.equal(latents((5,), 600), torch.from_numpy(published).float())
    published = np.random.RandomState(2).standard_normal(3 * 5).reshape(3, 5)
    assert torch.equal(latents((5,), 3, seed=2), torch.from_numpy(published).float())


@pytest.mark.parametrize("start", [0, 1, 255, 256, 257, 600])
def test_prefixes_and_shards(start):
    whole = latents((7,), 700)
    assert torch.equal(latents((7,), 50, start=start), whole[start : start + 50])
    assert latents((7,), 0, start=start).shape == (0, 7)


def test_the_shape_is_the_generators():
    assert latents(ProGAN((4,), z_channels=6), 2).shape == (2, 6)
    assert latents(StyleGAN2((4,), w_channels=6), 2).shape == (2, 6)
    assert latents(WGANGP((4,), z_channels=6), 2).shape == (2, 6)
    assert latents(nn.Sequential(nn.ConvTranspose2d(6, 3, 4), nn.Conv2d(3, 3, 1)), 2).shape == (2, 6, 1, 1)
    assert latents(nn.Sequential(nn.ReLU(), nn.Linear(6, 3)), 2).shape == (2, 6)
    assert latents((6, 1, 1), 2).shape == (2, 6, 1, 1)

    def generator(z):
        return z

    generator.z_shape = [6]
    assert latents(generator, 2).shape == (2, 6)


def test_the_dtype_is_the_generators_and_the_numbers_are_not():
    z = latents(ProGAN((4,), z_channels=6).double(), 3)
    assert z.dtype == torch.float64
    assert torch.equal(z, latents((6,), 3).double())


def test_noise_seeds_are_distinct_stable_and_shardable():
    whole = noise_seeds(100, seed=3)
    assert torch.equal(noise_seeds(30, seed=3, start=50), whole[50:80])
    assert len({*whole.tolist(), *noise_seeds(100, seed=4).tolist()}) == 200
    assert noise_seeds(1, seed=2**31 - 1, start=2**32 - 1).tolist() == [2**63 - 1]
    assert torch.equal(noise_seeds(30, seed=np.uint8(3), start=np.int32(50)), whole[50:80])


def test_the_defaults_of_torch_change_nothing():
    z, seeds, model = latents((4,), 2), noise_seeds(2), StyleGAN2((4,), w_channels=4, mapping_layers=1)
    with torch.device("meta"):
        assert torch.equal(latents((4,), 2), z)
        assert torch.equal(noise_seeds(2), seeds)
        model.measure_latent_avg(5)
    assert model.latent_avg.isfinite().all()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(latents((4,), 2), z)
    finally:
        torch.set_default_dtype(torch.float32)


def splitmix(bits):
    """The published finaliser on Python's integers."""
    bits &= 2**64 - 1
    bits = ((bits ^ bits >> 30) * 0xBF58476D1CE4E5B9) % 2**64
    bits = ((bits ^ bits >> 27) * 0x94D049BB133111EB) % 2**64
    return bits ^ bits >> 31


def test_noise_is_splitmix_through_the_normal_quantiles():
    step, seeds = 0x9E3779B97F4A7C15, [0, 7, 2**63 - 1, -5]
    noise = seeded_noise(torch.tensor(seeds), layer=6, height=2, width=3)
    assert noise.shape == (4, 1, 2, 3)
    for seed, image in zip(seeds, noise.flatten(1)):
        key = splitmix(seed + step * 7)
        levels = [splitmix(key + step * pixel) >> 48 for pixel in range(1, 7)]
        quantiles = torch.special.ndtri((torch.tensor(levels, dtype=torch.float64) + 0.5) / 65536)
        assert torch.equal(image, quantiles.float())


def test_noise_is_normal_and_uncorrelated():
    noise = seeded_noise(noise_seeds(64), layer=3, height=32, width=32).flatten(1)
    other = seeded_noise(noise_seeds(64), layer=4, height=32, width=32).flatten(1)
    total = noise.numel()
    assert abs(float(noise.mean())) < 4 / total**0.5
    assert abs(float(noise.square().mean()) - 1) < 4 * (2 / total) ** 0.5
    assert abs(float(noise.pow(4).mean()) - 3) < 4 * (96 / total) ** 0.5
    for pair in ((noise, other), (noise[1:], noise[:-1]), (noise[:, 1:], noise[:, :-1])):
        assert abs(float((pair[0] * pair[1]).mean())) < 4 / total**0.5


def test_errors():
    with pytest.raises(ValueError, match=r"^latents: count must be at least 0, but got -1"):
        latents((4,), -1)
    with pytest.raises(ValueError, match=r"^noise_seeds: start must be at least 0, but got -2"):
        noise_seeds(1, start=-2)
    with pytest.raises(ValueError, match=r"latents: seed must be in \[0, 4294967296\), but got -1"):
        latents((4,), 1, seed=-1)
    with pytest.raises(ValueError, match=r"noise_seeds: seed must be in \[0, 2147483648\), but got 2147483648"):
        noise_seeds(1, seed=2**31)
    with pytest.raises(ValueError, match=r"start \+ count must be at most 2\^32"):
        noise_seeds(1, start=2**32)
    with pytest.raises(TypeError, match=r"generator must have an attribute z_shape, .* but got function"):
        latents(lambda z: z, 1)
    with pytest.raises(TypeError, match=r"latents: count must be an integer, but got 2\.5"):
        latents((4,), 2.5)
    with pytest.raises(TypeError, match=r"noise_seeds: seed must be an integer, but got 1\.5"):
        noise_seeds(1, 1.5)
    for shape in ((-4,), (4.0,), (0,)):
        with pytest.raises(ValueError, match=r"shape of one z must be a tuple of positive integers, but got \("):
            latents(shape, 1)
    with pytest.raises(TypeError, match="but got ReLU"):
        latents(nn.ReLU(), 1)
