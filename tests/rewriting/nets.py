"""Small networks with memories of each kind, and what is shared by the tests of rewriting."""

import torch
from torch import nn

from dissect.models import ProGAN, StyleGAN2, latents, noise_seeds

TORCH = torch.Generator()


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=TORCH.manual_seed(seed))


def one(layer):
    """A network of one layer, with weights that do not depend on other tests."""
    with torch.no_grad():
        for number, weight in enumerate(layer.parameters()):
            weight.copy_(randn(*weight.shape, seed=number))
    return nn.Sequential(layer).eval()


#: By name: a convolution or linear layer, and the shape of an input.
LAYERS = {
    "conv": (lambda: nn.Conv2d(4, 3, 3, padding=1), (2, 4, 6, 5)),
    "conv without bias": (lambda: nn.Conv2d(4, 3, 3, padding=1, bias=False), (2, 4, 6, 6)),
    "pointwise": (lambda: nn.Conv2d(4, 3, 1), (2, 4, 6, 6)),
    "oblong": (lambda: nn.Conv2d(4, 3, (1, 3), padding=(0, 1)), (2, 4, 6, 6)),
    "stride": (lambda: nn.Conv2d(4, 3, 3, stride=2, padding=1), (2, 4, 7, 6)),
    "pointwise stride": (lambda: nn.Conv2d(4, 3, 1, stride=2), (2, 4, 7, 6)),
    "dilation": (lambda: nn.Conv2d(4, 3, 3, dilation=2, padding=(2, 1)), (2, 4, 7, 6)),
    "same": (lambda: nn.Conv2d(4, 3, (3, 5), padding="same"), (2, 4, 7, 6)),
    "reflect": (lambda: nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"), (2, 4, 7, 6)),
    "circular": (lambda: nn.Conv2d(4, 3, 3, padding=(2, 1), padding_mode="circular"), (2, 4, 7, 6)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1), (2, 4, 5, 6)),
    "transposed, wide": (lambda: nn.ConvTranspose2d(4, 3, (2, 3), stride=(3, 1), dilation=(1, 2)), (2, 4, 5, 6)),
    "linear": (lambda: nn.Linear(4, 3), (5, 4)),
    "tokens": (lambda: nn.Linear(4, 3), (2, 7, 4)),
}


def progan():
    return ProGAN((6, 6, 4), z_channels=6, seed=2).eval()


def stylegan2():
    model = StyleGAN2((6, 6, 4), w_channels=8, mapping_layers=2, seed=3).eval()
    with torch.no_grad():
        for number in range(2, 7):
            layer = model.get_submodule(f"layer{number}")
            layer.noise.weight.fill_(0.3)
            layer.activate.bias.copy_(randn(*layer.activate.bias.shape, seed=number))
    return model


def z_of(model, count=4):
    z = latents(model, count)
    return (z, noise_seeds(count)) if isinstance(model, StyleGAN2) else z
