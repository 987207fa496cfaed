"""StyleGAN2 against its equations written out; noise, truncation, names and errors."""

import math

import numpy as np
import pytest
import torch

from dissect import Trace, latents, noise_seeds
from dissect.models import StyleGAN2, stylegan2_channels
from dissect.models.noise import seeded_noise

from . import transcriptions

CHANNELS = (10, 8, 6)


def disturbed(dtype=torch.float32, **arguments):
    """Every parameter and buffer away from its initial value, as training would leave it, and an average."""
    model = StyleGAN2(CHANNELS, w_channels=7, mapping_layers=2, **arguments).eval()
    generator = torch.Generator().manual_seed(5)
    for value in model.state_dict().values():
        value.add_(torch.rand(value.shape, generator=generator) * 0.2)
    model.measure_latent_avg(64)
    return model.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seeded", [False, True])
@torch.no_grad()
def test_output_is_that_of_the_published_equations(dtype, seeded):
    model = disturbed(dtype)
    state, z, seeds = model.state_dict(), latents(model, 3), noise_seeds(3)

    def noise_of(number):
        size = 2 ** (math.ceil(number / 2) + 1)
        return seeded_noise(seeds, number, size, size).to(dtype) if seeded else state[f"layer{number}.noise.fixed"]

    w = transcriptions.stylegan2_mapping(state, z)
    torch.testing.assert_close(model.mapping(z), w)
    w = state["latent_avg"] + 0.7 * (w - state["latent_avg"])
    expected = transcriptions.stylegan2(state, w[:, None].repeat(1, 6, 1), noise_of)
    assert expected.shape == (3, 3, 16, 16)
    torch.testing.assert_close(model(z, truncation=0.7, noise=seeds if seeded else None), expected)


@torch.no_grad()
def test_a_w_for_every_layer():
    model = disturbed()
    state, ws = model.state_dict(), torch.randn(2, 6, 7)
    expected = transcriptions.stylegan2(state, ws, lambda number: state[f"layer{number}.noise.fixed"])
    torch.testing.assert_close(model(ws, latent="w"), expected)
    torch.testing.assert_close(model(ws[:, 0], latent="w"), model(ws[:, :1].expand(-1, 6, -1), latent="w"))


@torch.no_grad()
def test_an_image_and_its_noise_do_not_depend_on_the_place_in_the_batch():
    model = disturbed()
    z, seeds = latents(model, 5), noise_seeds(5)
    whole, alone, turned = model(z, noise=seeds), model(z[3:4], noise=seeds[3:4]), model(z.flip(0), noise=seeds.flip(0))
    torch.testing.assert_close(whole[3:4], alone)
    torch.testing.assert_close(whole.flip(0), turned)
    for layer, size in ((2, 4), (6, 16)):
        noise = seeded_noise(seeds, layer, size, size)
        assert torch.equal(noise[3:4], seeded_noise(seeds[3:4], layer, size, size))
        assert torch.equal(noise.flip(0), seeded_noise(seeds.flip(0), layer, size, size))


@torch.no_grad()
def test_noise_changes_the_image_and_the_fixed_one_does_not_vary():
    model = disturbed()
    z = latents(model, 1).repeat(2, 1)
    same = model(z)
    assert torch.equal(same, model(z))
    torch.testing.assert_close(same[0], same[1])
    varied = model(z, noise=noise_seeds(2))
    assert (varied[0] - varied[1]).abs().max() > 0.01


@torch.no_grad()
def test_truncation_zero_is_the_average_and_one_does_nothing():
    model = disturbed()
    z = latents(model, 3)
    average = model(model.latent_avg[None], latent="w")
    torch.testing.assert_close(model(z, truncation=0.0), average.expand(3, -1, -1, -1))
    assert torch.equal(model.truncate(model.mapping(z), 0.0), model.latent_avg.expand(3, -1))
    assert torch.equal(model(z, truncation=1.0), model(model.mapping(z), latent="w"))
    assert torch.equal(model(z, truncation=0), model(z, truncation=0.0))


@torch.no_grad()
def test_the_average_goes_with_the_weights():
    model, twin = disturbed(), StyleGAN2(CHANNELS, 7, mapping_layers=2)
    twin.load_state_dict(model.state_dict())
    z = latents(model, 2)
    assert torch.equal(model(z, truncation=np.float32(0.5)), twin(z, truncation=0.5))

    half = StyleGAN2(CHANNELS, 7, mapping_layers=2).half()
    half.load_state_dict(model.state_dict())
    assert half.latent_avg.dtype == torch.float16
    with pytest.raises(RuntimeError, match="size mismatch for latent_avg"):
        StyleGAN2(CHANNELS, 7, mapping_layers=2).load_state_dict(model.state_dict() | {"latent_avg": torch.zeros(1)})


def test_truncation_of_the_model_serves_where_a_call_gives_none():
    half, full = disturbed(truncation=0.5), disturbed()
    z = latents(half, 2)
    assert torch.equal(half(z), full(z, truncation=0.5))
    assert torch.equal(half(z, truncation=1.0), full(z))


@torch.no_grad()
def test_the_average_is_that_of_the_stated_samples():
    model = disturbed()
    model.measure_latent_avg(300, seed=4)
    torch.testing.assert_close(model.latent_avg, model.mapping(latents(model, 300, seed=4)).mean(0))
    assert "latent_avg" in model.state_dict()
    assert "latent_avg" not in StyleGAN2((4,), w_channels=4).state_dict()


@torch.no_grad()
def test_steps_are_addressed_by_name():
    model = disturbed()
    steps = ["style", "modulate", "conv", "demodulate", "blur", "noise", "activate"]
    names = [f"layer5.{step}" for step in steps]
    with Trace(model, ["layer4", "layer5", *names, "mapping", "to_rgb3"]) as trace:
        images = model(latents(model, 2))
    shapes = [(2, 8), (2, 8, 8, 8), (2, 6, 17, 17), (2, 6, 17, 17), (2, 6, 16, 16), (2, 6, 16, 16), (2, 6, 16, 16)]
    assert [tuple(trace[name].shape) for name in names] == shapes
    torch.testing.assert_close(trace["layer5.modulate"], trace["layer4"] * trace["layer5.style"][:, :, None, None])
    assert torch.equal(trace["layer5"], trace["layer5.activate"])
    assert torch.equal(trace["to_rgb3"], images)


@torch.no_grad()
def test_demodulation_follows_an_edited_weight():
    model = disturbed()
    z = latents(model, 2)
    before = model(z)
    model.layer4.conv.weight.mul_(2)
    torch.testing.assert_close(model(z), before)


def test_gradients_reach_every_parameter_even_after_inference():
    model = disturbed().train()
    with torch.inference_mode():
        model(latents(model, 2), noise=noise_seeds(2))
    model(latents(model, 2), truncation=0.8, noise=noise_seeds(2)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize("seeded", [False, True])
@torch.no_grad()
def test_autocast_stays_in_16_bits_from_the_first_convolution_on(seeded):
    model = disturbed()
    children = ("modulate", "conv", "demodulate", "noise", "activate")
    steps = [f"layer{number}.{child}" for number in range(2, 7) for child in children]
    z, noise = latents(model, 3), noise_seeds(3) if seeded else None
    expected = model(z, noise=noise)
    with torch.autocast("cpu", torch.bfloat16), Trace(model, steps) as trace:
        images = model(z, noise=noise)
    assert {trace[step].dtype for step in steps[1:]} == {torch.bfloat16}
    assert (images - expected).norm() < 0.03 * expected.norm()


def test_channels_last():
    model = disturbed()
    z = latents(model, 2)
    expected = model(z)
    torch.testing.assert_close(model.to(memory_format=torch.channels_last)(z), expected)


def test_seed_decides_the_weights_and_leaves_the_global_stream_alone():
    state = torch.get_rng_state()
    first, same, other = (StyleGAN2(CHANNELS, w_channels=7, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["layer3.conv.weight"], other["layer3.conv.weight"])
    assert not torch.equal(first["layer3.noise.fixed"], other["layer3.noise.fixed"])
    assert torch.equal(state, torch.get_rng_state())


@torch.no_grad()
def test_initial_weights_keep_the_signal():
    model = StyleGAN2((64, 64, 64, 64), w_channels=64)
    with Trace(model, ["mapping", "layer8"]) as trace:
        model(latents(model, 8))
    assert 0.3 < float(trace["mapping"].square().mean()) < 3
    # The blur takes the high frequencies, and the borders lack neighbours.
    assert 0.01 < float(trace["layer8"].square().mean()) < 3


def test_the_published_networks_have_the_published_sizes():
    with torch.device("meta"):
        model = StyleGAN2(stylegan2_channels(256))
    assert sum(p.numel() for p in model.parameters()) == 30_034_338
    assert [f"layer{n}" for n in range(1, 15)] == [n for n, _ in model.named_children() if n.startswith("layer")]
    assert stylegan2_channels(1024) == (512, 512, 512, 512, 512, 256, 128, 64, 32)
    assert stylegan2_channels(64, multiplier=0.5) == (512, 512, 512, 512, 128)


def test_wrong_inputs():
    model = disturbed()
    z = latents(model, 2)
    with pytest.raises(ValueError, match=r"StyleGAN2: z must have shape \[N, 7\] .* but got \[2, 9\]"):
        model(torch.zeros(2, 9))
    with pytest.raises(ValueError, match=r"w must have shape \[N, 7\], or \[N, 6, 7\] .* but got \[2, 5, 7\]"):
        model(torch.zeros(2, 5, 7), latent="w")
    with pytest.raises(TypeError, match=r"z must be a tensor of torch.float32, .* but got torch.float16"):
        model(z.half())
    with pytest.raises(ValueError, match="z must be on cpu, as the weights are, but is on meta"):
        model(z.to("meta"))
    with pytest.raises(ValueError, match=r"latent must be 'z' or 'w', but got 's'"):
        model(z, latent="s")
    for value in (-0.1, 1.5, math.nan):
        with pytest.raises(ValueError, match=rf"truncation must be in \[0, 1\], but got {value}"):
            model(z, truncation=value)
    with pytest.raises(TypeError, match="truncation must be a number, but got str"):
        model(z, truncation="0.5")
    with pytest.raises(TypeError, match=r"noise must be None or a tensor of int64 seeds, but got torch.float32"):
        model(z, noise=torch.zeros(2))
    with pytest.raises(TypeError, match="but got int"):
        model(z, noise=3)
    with pytest.raises(ValueError, match=r"noise must have shape \[2\], as z has, but got \[3\]"):
        model(z, noise=noise_seeds(3))


def test_wrong_arguments():
    with pytest.raises(ValueError, match=r"truncation must be in \[0, 1\], but got 2"):
        StyleGAN2((4,), truncation=2)
    with pytest.raises(ValueError, match="mapping_layers must be positive, but got 0"):
        StyleGAN2((4,), mapping_layers=0)
    with pytest.raises(ValueError, match="StyleGAN2: samples must be at least 1, but got 0"):
        StyleGAN2((4,)).measure_latent_avg(0)
    with pytest.raises(TypeError, match=r"StyleGAN2: samples must be an integer, but got 1\.5"):
        StyleGAN2((4,)).measure_latent_avg(1.5)
    with pytest.raises(ValueError, match=r"needs latent_avg, which is not known; call measure_latent_avg\(\) first"):
        StyleGAN2((4,), w_channels=4)(torch.zeros(1, 4), truncation=0.5)
    with pytest.raises(ValueError, match="resolution must be a power of two from 8 to 1024, but got 100"):
        stylegan2_channels(100)
