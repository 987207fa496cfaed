"""The generators that grow: at their full size they are the generator itself."""

import pytest
import torch
from torch.nn.functional import interpolate

from dissect.models import ProGAN, StyleGAN2, latents, noise_seeds
from dissect.tiny.training.growing import Growing


@pytest.mark.parametrize(
    "options",
    [
        {}, {"pixel_norm": "none"}, {"after_conv": "bias", "pixel_norm": "ends"},
        {"after_conv": "stored_wscale"}, {"after_conv": "batch_norm", "pixel_norm": "none"},
    ],
)  # fmt: skip
def test_a_grown_progan_is_the_progan(options):
    full = ProGAN((8, 6, 4), z_channels=5, seed=1, **options).eval()
    for parameter in full.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter)
    z = latents(full, 3)
    with torch.no_grad():
        assert torch.allclose(Growing(full)(z, 16), full(z), atol=1e-5)


def test_a_grown_stylegan2_is_the_stylegan2():
    full = StyleGAN2((8, 6, 4), w_channels=5, mapping_layers=2, seed=1)
    z, seeds = latents(full, 3), noise_seeds(3)
    with torch.no_grad():
        assert torch.equal(Growing(full)(z, 16, seeds=seeds), full(z, noise=seeds))


@pytest.mark.parametrize("kind", [ProGAN, StyleGAN2])
def test_fading_starts_from_the_smaller_image(kind):
    full = kind((8, 6, 4), 5)
    growing, z, seeds = Growing(full), latents(full, 3), noise_seeds(3)
    with torch.no_grad():
        small, start = growing(z, 8, seeds=seeds), growing(z, 16, 0.0, seeds)
        half, end = growing(z, 16, 0.5, seeds), growing(z, 16, 1.0, seeds)
    assert torch.allclose(start, interpolate(small, scale_factor=2.0), atol=1e-5)
    assert torch.allclose(half, (start + end) / 2, atol=1e-5)


@pytest.mark.parametrize("kind", [ProGAN, StyleGAN2])
@pytest.mark.parametrize("resolution", [4, 8, 16])
def test_a_generator_of_a_smaller_size_is_given_its_weights(kind, resolution):
    full = kind((8, 6, 4), 5, seed=1)
    growing, z, seeds = Growing(full, seed=2), latents(full, 3), noise_seeds(3)
    smaller = kind((8, 6, 4)[: {4: 1, 8: 2, 16: 3}[resolution]], 5, seed=3)
    growing.give(smaller)
    with torch.no_grad():
        images = smaller(z, noise=seeds) if kind is StyleGAN2 else smaller(z)
        assert torch.allclose(images, growing(z, resolution, seeds=seeds), atol=1e-5)


@pytest.mark.parametrize("kind", [ProGAN, StyleGAN2])
def test_the_smallest_image_has_nothing_to_fade_from(kind):
    full = kind((8, 6), 5)
    growing, z, seeds = Growing(full), latents(full, 2), noise_seeds(2)
    assert torch.equal(growing(z, 4, 0.5, seeds), growing(z, 4, 1.0, seeds))


def test_the_seed_decides_all_weights():
    one, other = (Growing(ProGAN((4, 4, 4), 4, seed=seed), seed) for seed in (1, 2))
    for name, value in one.named_parameters():
        if name.endswith("conv.weight"):
            assert not torch.equal(value, other.get_parameter(name)), name


def test_only_what_a_size_needs_is_trained():
    growing = Growing(ProGAN((8, 6, 4), 5))
    growing(latents(growing.full, 2), 8).sum().backward()
    trained = {name for name, parameter in growing.named_parameters() if parameter.grad is not None}
    layers = {name.split(".")[1] for name in trained}
    assert layers == {"layer1", "layer2", "layer3", "layer4", "output_8x8"}
