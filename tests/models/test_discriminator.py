"""The discriminator against its equations written out, and its laws."""

import math

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, leaky_relu

from dissect.models import Discriminator
from dissect.models.discriminator import with_stddev


def images(count, size, seed=0):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def transcribed(model, x, residual, stddev):
    """The forward at full resolution, from the state dict alone."""
    state = model.state_dict()

    def conv(name, x, padding, gain=2.0):
        weight = state[f"{name}.weight"]
        return conv2d(x, weight * math.sqrt(gain / weight[0].numel()), state[f"{name}.bias"], padding=padding)

    top = len(model.channels) - 1
    x = leaky_relu(conv(f"from_rgb{top}", x, 0), 0.2)
    for level in range(top, 0, -1):
        main = leaky_relu(conv(f"level{level}.conv1", x, 1), 0.2)
        main = avg_pool2d(leaky_relu(conv(f"level{level}.conv2", main, 1), 0.2), 2)
        x = (main + conv(f"level{level}.skip", avg_pool2d(x, 2), 0, 1.0)) / math.sqrt(2) if residual else main
    if stddev:
        x = with_stddev(x)
    x = leaky_relu(conv("conv1", x, 1), 0.2)
    x = leaky_relu(conv("conv2", x, 0), 0.2)
    return conv("score", x, 0, 1.0).flatten()


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("stddev", [False, True])
def test_it_is_its_equations(residual, stddev):
    model = Discriminator((8, 6, 4), residual=residual, minibatch_stddev=stddev, seed=1)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter)
    with torch.no_grad():
        assert torch.allclose(model(images(8, 16)), transcribed(model, images(8, 16), residual, stddev), atol=1e-5)


def test_the_standard_deviation_by_hand():
    x = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 107.0])[:, None, None, None].expand(8, 2, 1, 1)
    plane = with_stddev(x)[:, 2, 0, 0]
    assert with_stddev(x).shape == (8, 3, 1, 1)
    even, odd = torch.tensor([0.0, 2, 4, 6]).std(correction=0), torch.tensor([1.0, 3, 5, 107]).std(correction=0)
    assert torch.allclose(plane, torch.stack([even, odd] * 4))


def test_alike_images_have_no_deviation():
    assert with_stddev(images(1, 4).expand(4, -1, -1, -1))[:, 3].max() < 1e-3


def test_fading_runs_from_the_smaller_image_to_the_larger():
    model = Discriminator((8, 6, 4), minibatch_stddev=False)
    large = images(2, 16)
    with torch.no_grad():
        assert torch.allclose(model(large, fade=0.0), model(avg_pool2d(large, 2)), atol=1e-5)
        assert torch.allclose(model(large, fade=1.0), model(large))
        assert not torch.allclose(model(large, fade=0.5), model(large))


def test_the_seed_alone_decides_the_weights():
    before = torch.random.get_rng_state()
    one, same, other = (Discriminator((4, 4), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize("shape", [(4, 3, 32, 32), (4, 3, 12, 12), (4, 1, 16, 16), (4, 3, 16, 8), (4, 3, 2, 2)])
def test_images_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"must be .N, 3, R, R. with R a power of two from 4 to 16"):
        Discriminator((4, 4, 4))(torch.zeros(shape))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="channels must be positive"):
        Discriminator((4, 0))
    with pytest.raises(ValueError, match=r"fade must be in \[0, 1\], but got 1\.5"):
        Discriminator((4, 4))(torch.zeros(4, 3, 8, 8), 1.5)
    with pytest.raises(ValueError, match="at least one image, but holds none"):
        Discriminator((4, 4))(images(0, 8))
    with pytest.raises(ValueError, match="multiple of 4 images, but got 6"):
        Discriminator((4, 4))(images(6, 8))
