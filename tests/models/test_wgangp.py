"""WGANGP against its equations written out, and its errors."""

import pytest
import torch

from dissect import Trace, latents
from dissect.models import WGANGP

from . import transcriptions

CHANNELS = (10, 6, 4)


def trained(seed=3):
    """Statistics and affine parameters away from their initial values."""
    model = WGANGP(CHANNELS, z_channels=7)
    generator = torch.Generator().manual_seed(seed)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand(value.shape, generator=generator) * 0.3)
    return model.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@torch.no_grad()
def test_output_is_that_of_the_published_equations(dtype):
    model = trained().to(dtype)
    z = latents(model, 3)
    torch.testing.assert_close(model(z), transcriptions.wgangp(model.state_dict(), z))
    assert model(z).shape == (3, 3, 16, 16)


@torch.no_grad()
def test_an_image_does_not_depend_on_its_neighbours():
    model = trained()
    z = latents(model, 4)
    torch.testing.assert_close(model(z)[3:], model(z[3:]))


@torch.no_grad()
def test_layers_are_addressed_by_name_and_the_default_is_the_published_size():
    model = trained().to(memory_format=torch.channels_last)
    with Trace(model, ["layer1", "layer2", "layer3"]) as trace:
        model(latents(model, 2))
    assert [tuple(trace[f"layer{n}"].shape) for n in (1, 2, 3)] == [(2, 10, 4, 4), (2, 6, 8, 8), (2, 4, 16, 16)]
    with torch.device("meta"):
        assert WGANGP().resolution == 64


def test_seed_decides_the_weights_and_leaves_the_global_stream_alone():
    state = torch.get_rng_state()
    first, same, other = (WGANGP(CHANNELS, seed=seed).layer2.conv1.weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_errors():
    with pytest.raises(ValueError, match=r"WGANGP: channels and the length of z must be positive, but got \(4, -1\)"):
        WGANGP((4, -1))
    with pytest.raises(ValueError, match=r"WGANGP: z must have shape \[N, 7\]"):
        trained()(torch.zeros(2, 128))
