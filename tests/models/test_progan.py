"""ProGAN against its equations written out, its names, its variants and its errors."""

import pytest
import torch
from torch.nn.functional import conv2d

from dissect import Trace, latents
from dissect.models import PROGAN_VARIANTS, ProGAN, progan_channels

from . import transcriptions

CHANNELS = (12, 10, 6)
VARIANTS = {"published": {}, **{name: PROGAN_VARIANTS[name] for name in sorted(PROGAN_VARIANTS)}}


def disturbed(model):
    """Every parameter and buffer away from its initial value, as training would leave it."""
    generator = torch.Generator().manual_seed(5)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.add_(torch.rand(value.shape, generator=generator) * (0.5 if "running" in name else 0.1))
    return model.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_output_is_that_of_the_published_equations(variant, dtype):
    choices = VARIANTS[variant]
    model = disturbed(ProGAN(CHANNELS, z_channels=9, **choices)).to(dtype)
    z = latents(model, 3)
    after = choices.get("after_conv", "wscale")
    expected = transcriptions.progan(model.state_dict(), z, choices.get("pixel_norm", "every"), after)
    assert expected.shape == (3, 3, 16, 16)
    torch.testing.assert_close(model(z), expected)


@torch.no_grad()
def test_z_may_be_a_map_of_one_pixel():
    model = ProGAN(CHANNELS, z_channels=9)
    z = latents(model, 2)
    assert torch.equal(model(z), model(z[:, :, None, None]))


@torch.no_grad()
def test_channels_last():
    model = ProGAN(CHANNELS, z_channels=9)
    z = latents(model, 2)
    expected = model(z)
    torch.testing.assert_close(model.to(memory_format=torch.channels_last)(z), expected)


@torch.no_grad()
def test_clamped_output():
    plain, clamped = ProGAN(CHANNELS, z_channels=9), ProGAN(CHANNELS, z_channels=9, clamp=True)
    z = latents(plain, 20)
    images = plain(z)
    assert images.abs().max() > 1
    assert torch.equal(clamped(z), images.clamp(-1, 1))
    assert plain.state_dict().keys() == clamped.state_dict().keys()


def test_the_published_networks_have_the_published_sizes():
    with torch.device("meta"):
        model = ProGAN(progan_channels(256))
    assert [name for name, _ in model.named_children()] == [f"layer{n}" for n in range(1, 15)] + ["output_256x256"]
    assert sum(p.numel() for p in model.parameters()) == 18_344_995
    assert progan_channels(32) == (512, 512, 512, 256)
    assert progan_channels(1024) == (512, 512, 512, 512, 256, 128, 64, 32, 16)


@torch.no_grad()
def test_layers_and_their_steps_are_addressed_by_name():
    model = ProGAN(CHANNELS, z_channels=9)
    sizes = {1: 4, 2: 4, 3: 8, 4: 8, 5: 16, 6: 16}
    names = [f"layer{n}" for n in sizes] + ["layer3.norm", "layer3.up", "layer3.conv", "layer3.wscale", "layer3.relu"]
    with Trace(model, names) as trace:
        model(latents(model, 2))
    for number, size in sizes.items():
        assert trace[f"layer{number}"].shape == (2, CHANNELS[(number - 1) // 2], size, size)
    assert torch.equal(trace["layer3.norm"].square().mean(1) > 0.99, torch.ones(2, 4, 4, dtype=torch.bool))
    key = trace["layer3.up"]
    torch.testing.assert_close(trace["layer3.conv"], conv2d(key, model.layer3.conv.weight, padding=1))
    assert torch.equal(trace["layer3"], trace["layer3.relu"])


@torch.no_grad()
def test_an_ablated_layer_changes_the_image():
    model = ProGAN(CHANNELS, z_channels=9)
    z = latents(model, 2)
    with Trace(model, "layer4", edit=lambda x, _: x * 0):
        ablated = model(z)
    assert torch.equal(ablated[0], ablated[1])
    assert not torch.equal(ablated, model(z))


def test_seed_decides_the_weights_and_leaves_the_global_stream_alone():
    state = torch.get_rng_state()
    first, same, other = (ProGAN(CHANNELS, z_channels=9, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["layer3.conv.weight"], other["layer3.conv.weight"])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("variant", VARIANTS)
@torch.no_grad()
def test_initial_weights_keep_the_signal(variant):
    model = ProGAN((64, 64, 64, 64), z_channels=64, **VARIANTS[variant]).train()
    with Trace(model, "layer8") as trace:
        model(latents(model, 8))
    # Of layer1's 16 taps one sees z, so that its power is below 1 where no pixel norm mends it.
    assert 0.005 < float(trace["layer8"].square().mean()) < 10


def test_gradients_reach_every_parameter():
    model = ProGAN(CHANNELS, z_channels=9, after_conv="stored_wscale")
    model(latents(model, 2)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@torch.no_grad()
def test_bfloat16_autocast_stays_near():
    model = ProGAN((32, 32, 32), z_channels=32)
    z = latents(model, 4)
    expected = model(z)
    with torch.autocast("cpu", torch.bfloat16):
        images = model(z)
    assert (images.float() - expected).square().mean().sqrt() < 0.03 * expected.std()


def test_wrong_z():
    model = ProGAN(CHANNELS, z_channels=9)
    with pytest.raises(ValueError, match=r"ProGAN: z must have shape \[N, 9\] or .* but got \[2, 8\]; dissect.latents"):
        model(torch.zeros(2, 8))
    with pytest.raises(ValueError, match=r"but got \[2, 9, 4, 4\]"):
        model(torch.zeros(2, 9, 4, 4))
    with pytest.raises(ValueError, match=r"but got \[9\]"):
        model(torch.zeros(9))
    with pytest.raises(TypeError, match=r"z must be a tensor of torch.float32, .* but got torch.float64"):
        model(torch.zeros(2, 9, dtype=torch.float64))
    with pytest.raises(TypeError, match="but got list"):
        model([[0.0] * 9])


def test_wrong_arguments():
    with pytest.raises(ValueError, match="channels must name at least the units at 4x4, but got none"):
        ProGAN(())
    with pytest.raises(ValueError, match=r"must be positive, but got \(4, 0\) and 512"):
        ProGAN((4, 0))
    with pytest.raises(ValueError, match=r"pixel_norm must be one of .* but got 'all' and 'wscale'"):
        ProGAN((4,), pixel_norm="all")
    with pytest.raises(ValueError, match=r"but got 'every' and 'layer_norm'"):
        ProGAN((4,), after_conv="layer_norm")
    with pytest.raises(ValueError, match="after_conv='batch_norm' needs pixel_norm='none', but got 'every'"):
        ProGAN((4,), after_conv="batch_norm")
    with pytest.raises(ValueError, match="resolution must be a power of two from 32 to 1024, but got 48"):
        progan_channels(48)
