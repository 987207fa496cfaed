"""The generator of StyleGAN2 (Karras et al. 2020), every step of a layer addressable by name."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaks
from dissect.models.generator import PixelNorm
from dissect.models.initial import draw
from dissect.models.styled import StyledGenerator
from dissect.models.stylegan2_layers import ConstantInput, EqualConv, EqualLinear, Noise, StyledLayer, ToRGB

#: The mapping network learns a hundred times more slowly.
MAPPING_MULTIPLIER = 0.01


@speaks
def stylegan2_channels(resolution: int, multiplier: float = 2) -> tuple[int, ...]:
    """Units at 4x4, 8x8, ...: 512 up to 32x32, then `multiplier` * 256 at 64x64, half of that at 128x128, and so on.

    Raises:
        ValueError: the resolution is not a power of two from 8 to 1024.

    Example:
        >>> stylegan2_channels(256), stylegan2_channels(64, multiplier=0.5)
        ((512, 512, 512, 512, 512, 256, 128), (512, 512, 512, 512, 128))
    """
    if resolution not in (8, 16, 32, 64, 128, 256, 512, 1024):
        raise refusal(ValueError(f"resolution must be a power of two from 8 to 1024, but got {resolution}."))
    levels = range(2, resolution.bit_length())
    return tuple(512 if level <= 5 else int(multiplier * (1 << 14 - level)) for level in levels)


@speaks
class StyleGAN2(StyledGenerator):
    """A mapping network z -> w, and modulated convolutions whose images are summed from coarse to fine.

    Children are `mapping` (`norm`, `fc1`, ..., `fc8`), `layer1` (the constant 4x4 input), `layer2`, ..., `to_rgb1`,
    ...; `layer{n}` works at 2^(ceil(n/2)+1) rows, as the paper on rewriting numbers them, `to_rgb{j}` at 2^(j+1). With
    weights W scaled by 1/sqrt(fan in), a layer is the chain of its children (section 2.2 and Figure 2)::

        style = A w + b                                     style
        x = x * style                                       modulate     (the key of model rewriting)
        x = W * x                                           conv         (transposed with stride 2 in layer3, 5, ...)
        x = x / sqrt(sum of (style W)^2 + 1e-8)             demodulate
        x = blur(x)                                         blur         (layer3, 5, ...; taps 1 3 3 1)
        x = x + weight * noise                              noise
        x = sqrt(2) * max(x + bias, 0.2 (x + bias))         activate     (the value of model rewriting)

    The published PyTorch code scales W per image instead of x, and blurs before it demodulates; both are the same
    function, rounded differently, and this order is that of the rewriting code.

    Args:
        channels: units at 4x4, 8x8, ...; `stylegan2_channels` gives the published ones.
        w_channels: length of z and of w.
        mapping_layers: 8, or 2 as in ADA's automatic configuration.
        truncation: in [0, 1], used where a call gives none. The paper on rewriting uses 0.5.
        seed: of the initial weights and of the fixed noise, all standard normal (the mapping's times 100; biases 0,
            styles' 1, strengths of the noise 0).

    Forward:
        z: [N, w_channels], normal; with `latent="w"`, w [N, w_channels] or, for every layer its own,
            [N, 2 * len(channels), w_channels] (layer2, to_rgb1 and layer3, layer4, to_rgb2 and layer5, ...).
        truncation: `w = latent_avg + truncation * (w - latent_avg)`; 1 leaves w alone.
        noise: None for the fixed buffers, the same in every image; int64 [N] for noise by seed (`noise_seeds`), which
            depends on an image's seed and not on its place in the batch.
        latent: "z" or "w".
        Returns images [N, 3, R, R], R = 4 * 2^(len(channels)-1), unclamped.

    Raises:
        TypeError, ValueError: see the rules above; a truncation below 1 while `latent_avg` is not known.

    Example:
        >>> model = StyleGAN2((16, 16, 8), w_channels=16, mapping_layers=2)
        >>> with dissect.Trace(model, "layer4.modulate") as trace:
        ...     images = model(dissect.latents(model, 2), noise=dissect.noise_seeds(2))
        >>> tuple(images.shape), tuple(trace["layer4.modulate"].shape)
        ((2, 3, 16, 16), (2, 16, 8, 8))
    """

    def __init__(
        self,
        channels: Sequence[int],
        w_channels: int = 512,
        *,
        mapping_layers: int = 8,
        truncation: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(channels, w_channels, truncation)
        if mapping_layers < 1:
            raise refusal(ValueError(f"mapping_layers must be positive, but got {mapping_layers}."))
        layers = [(f"fc{n}", EqualLinear(w_channels, w_channels, multiplier=MAPPING_MULTIPLIER, activate=True))
                  for n in range(1, mapping_layers + 1)]  # fmt: skip
        self.mapping = nn.Sequential(OrderedDict([("norm", PixelNorm()), *layers]))
        widths = [channels[0], *(width for width in channels for _ in range(2))]
        self.layer1 = ConstantInput(channels[0])
        for number in range(2, 2 * len(channels) + 1):
            self.add_module(f"layer{number}", StyledLayer(number, widths[number - 1], widths[number], w_channels))
            if number % 2 == 0:
                self.add_module(f"to_rgb{number // 2}", ToRGB(widths[number], w_channels, first=number == 2))
        if not self.layer1.input.is_meta:
            self._initialise(seed)

    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, EqualLinear):
                draw(module.weight, nn.init.normal_, generator, std=1 / module.multiplier)
            elif isinstance(module, EqualConv):
                draw(module.weight, nn.init.normal_, generator)
            elif isinstance(module, ConstantInput):
                draw(module.input, nn.init.normal_, generator)
            elif isinstance(module, Noise):
                draw(module.get_buffer("fixed"), nn.init.normal_, generator)

    def forward(
        self, z: Tensor, *, truncation: float | None = None, noise: Tensor | None = None, latent: str = "z"
    ) -> Tensor:
        """Images [N, 3, R, R]; see the class."""
        w = self.truncate(self._w_of(z, latent), self.truncation if truncation is None else truncation)
        w = w[:, None].expand(-1, 2 * len(self.channels), -1) if w.dim() == 2 else w
        return deque(self.images(w, self._checked_noise(noise, w)), maxlen=1).pop()

    def mapped(self, z: Tensor) -> Tensor:
        """What the mapping network makes of z [N, z_channels]."""
        w: Tensor = self.mapping(z)
        return w

    def images(self, w: Tensor, seeds: Tensor | None = None) -> Iterator[Tensor]:
        """The images at 4x4, 8x8, ..., each computed when it is asked for.

        Args:
            w: [N, 2 * len(channels), w_channels], truncated already.
            seeds: of the noise, int64 [N]; None for the fixed buffers.

        Yields:
            [N, 3, R, R]; each but the last is what the next is added to, enlarged.
        """
        x = self.layer1(w)
        image: Any = None
        for number in range(2, 2 * len(self.channels) + 1):
            x = self.get_submodule(f"layer{number}")(x, w[:, number - 2], seeds)
            if number % 2 == 0:
                image = self.get_submodule(f"to_rgb{number // 2}")(x, w[:, number - 1], image)
                yield image
