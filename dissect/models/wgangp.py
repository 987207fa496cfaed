"""The residual generator of WGAN-GP (Gulrajani et al. 2017), and its files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from dissect.arguments import speaks
from dissect.models import checkpoint
from dissect.models.checkpoint import WGAN_GP, FileLayout, assemble
from dissect.models.generator import Generator
from dissect.models.initial import he_normal, undrawn

#: Units at 4x4, 8x8, ... of the published network of 64x64 images.
WGANGP_CHANNELS = (512, 512, 256, 128, 64)


@speaks
class WGANGP(Generator):
    """A linear layer to 4x4, residual blocks that double the resolution, and a convolution to RGB.

    Children are `layer1` (linear), `layer2`, ... (a block each) and `output`::

        block(x) = conv2(relu(norm2(conv1(up(relu(norm1(x))))))) + shortcut(up(x))
        images = tanh(conv(relu(norm(x))))

    where `up` repeats each pixel twice each way, `conv1` (no bias) and `conv2` are 3x3, `shortcut` is 1x1 and the norms
    are batch norms. Source: the paper's appendix F and its code (GoodGenerator of gan_64x64.py). Differs: the code
    normalises with the statistics of the very batch even when it samples; here that is so in training mode only, so
    that in evaluation mode an image does not depend on its neighbours.

    The "WGAN-GP" that the thesis dissects (section 5.2, Figure A-5) is another network: the baseline of Karras et
    al. 2018, a `ProGAN(..., **PROGAN_VARIANTS["wgangp"])`, which `load_progan` loads.

    Args:
        channels: units at 4x4, 8x8, ...
        z_channels: length of z.
        seed: of the initial weights (He et al. 2015, normal, biases 0).

    Forward:
        z: [N, z_channels], normal. Returns images [N, 3, R, R] in (-1, 1), R = 4 * 2^(len(channels)-1).

    Raises:
        ValueError: widths that are not positive.

    Example:
        >>> model = WGANGP((16, 8, 4), z_channels=8).eval()
        >>> tuple(model(dissect.latents(model, 2)).shape)
        (2, 3, 16, 16)
    """

    def __init__(self, channels: Sequence[int] = WGANGP_CHANNELS, z_channels: int = 128, *, seed: int = 0) -> None:
        super().__init__(channels, z_channels)
        with undrawn():
            self.layer1 = nn.Sequential(
                OrderedDict(linear=nn.Linear(z_channels, 16 * channels[0]), cells=nn.Unflatten(1, (channels[0], 4, 4)))
            )
            for number, (inputs, outputs) in enumerate(pairwise(channels), start=2):
                self.add_module(f"layer{number}", ResidualBlock(inputs, outputs))
            self.output = nn.Sequential(
                OrderedDict(
                    norm=nn.BatchNorm2d(channels[-1]),
                    relu=nn.ReLU(),
                    conv=nn.Conv2d(channels[-1], 3, 3, padding=1),
                    tanh=nn.Tanh(),
                )
            )
        if not next(self.parameters()).is_meta:
            he_normal(self, seed)

    def forward(self, z: Tensor) -> Tensor:
        """Images [N, 3, R, R] of z [N, z_channels]."""
        x = self.layer1(self.checked(z))
        for number in range(2, len(self.channels) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        output: Tensor = self.output(x)
        return output


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside a 1x1 shortcut, at twice the resolution of the input."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """X [N, inputs, h, w] to [N, outputs, 2h, 2w]."""
        inner = self.conv1(interpolate(relu(self.norm1(x)), scale_factor=2, mode="nearest"))
        # A 1x1 convolution sees one pixel, so it may as well run before they are repeated.
        shortcut = interpolate(self.shortcut(x), scale_factor=2, mode="nearest")
        output: Tensor = self.conv2(relu(self.norm2(inner))) + shortcut
        return output


@speaks
def load_wgangp(path: str | Path, *, resolution: int | None = None, device: str | torch.device = "cpu") -> WGANGP:
    """The WGAN-GP in a file that holds `WGANGP.state_dict()`, in evaluation mode; sizes are inferred.

    The network that the thesis calls WGAN-GP is one of the ablations that `load_progan` loads.

    Args:
        path: of the file: .pt, .pth (tensors only) or .safetensors.
        resolution: of the images, if another one is to be an error.
        device: where the model goes.

    Raises:
        FileNotFoundError, ValueError: see `load_progan`.

    Example:
        >>> import tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(WGANGP((8, 4), z_channels=4).state_dict(), os.path.join(folder, "small.pt"))
        ...     model = load_wgangp(os.path.join(folder, "small.pt"))
        >>> model.channels
        (8, 4)
    """
    state, _ = checkpoint.read(path, "state_dict")
    levels = checkpoint.numbered(state, r"layer(\d+)\.(?:linear|norm|conv1|conv2|norm1|norm2)\.", 1)
    if not levels or checkpoint.seems(state, WGAN_GP):
        raise checkpoint.another_architecture(path, WGAN_GP, state)

    def sizes(weights: list[Tensor]) -> tuple[tuple[int, ...], int]:
        linear, *blocks = weights
        return (len(linear) // 16, *(len(weight) for weight in blocks)), linear.shape[1]

    keys = {"layer1.linear.weight": 2, **{f"layer{n}.conv2.weight": 4 for n in range(2, levels + 1)}}
    layout = FileLayout(WGAN_GP, levels, WGANGP, checkpoint.unchanged, keys, sizes)
    return assemble(layout, state, path, resolution, device)
