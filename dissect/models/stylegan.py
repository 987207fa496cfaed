"""The generator of StyleGAN (Karras et al. 2019), the first of its kind, every step of a layer addressable by name."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.models.generator import PixelNorm
from dissect.models.initial import draw
from dissect.models.styled import StyledGenerator
from dissect.models.stylegan2 import stylegan2_channels
from dissect.models.stylegan_layers import FORMS, ROOT_TWO, ConstantBlock, ScaledConv, ScaledLinear, Synthesis


@speaks
def stylegan_channels(resolution: int) -> tuple[int, ...]:
    """Units at 4x4, 8x8, ...: 512 up to 32x32, then half as many at each, as the published networks have.

    Raises:
        ValueError: the resolution is not a power of two from 8 to 1024.

    Example:
        >>> stylegan_channels(256)
        (512, 512, 512, 512, 256, 128, 64)
    """
    return stylegan2_channels(resolution, 1)


@speaks
class StyleGAN(StyledGenerator):
    """A mapping network z -> w, and convolutions whose statistics are replaced by those that w asks for.

    Modules are called as in the published PyTorch conversion of NVIDIA's network: `g_mapping` (`pixel_norm`, `dense0`,
    `dense0_act`, ..., `dense7_act`) and `g_synthesis` (`blocks.4x4`, `blocks.8x8`, ..., `torgb`). A block is two
    layers, each a convolution and what follows it (section 2 and Figure 1b)::

        x = a learned 4x4 map + b                         const, bias                (in blocks.4x4)
        x = blur(W * upscaled x) + b                      conv0_up  (upscale, intermediate: the blur, taps 1 2 1)
        x = W * x + b                                     conv1, in blocks.4x4 conv
        x = x + strength * noise                          epi1.top_epi.noise, epi2...
        x = max(x, 0.2 x)                                 epi1.top_epi.activation
        x = (x - mean) / sqrt(variance + epsilon)         epi1.top_epi.instance_norm, of each image and unit
        x = x * (1 + s) + t,  (s, t) = A w + c            epi1.style_mod

    Weights are scaled by gain / sqrt(fan in), with the gain sqrt(2) of He's initialisation, 1 for styles and the image.
    Pixels are repeated before the convolution (`upscale`) below 128x128, and by one transposed convolution from there
    on, as in the published code. Images are those of the last resolution alone.

    Args:
        channels: units at 4x4, 8x8, ...; `stylegan_channels` gives the published ones.
        w_channels: length of z and of w.
        mapping_layers: 8 in the published ones.
        truncation: in [0, 1], used where a call gives none. NVIDIA's code uses 0.7.
        truncation_layers: how many layers are truncated, from the coarsest on, 8 in NVIDIA's code; None for all.
        form: "nvidia", or "rosinality" for the other published code, which has other gains, no bias at 4x4 and one
            noise for both layers of a resolution, and adds a bias before the blur.
        epsilon: of the normalisation: by default 1e-8 (NVIDIA's) or 1e-5 (rosinality's); 1e-5 too is what PyTorch
            conversions of NVIDIA's compute with.
        seed: of the initial weights, standard normal (the mapping's over its multiplier; the map 1, biases 0,
            strengths of the noise 0).

    Forward:
        z: [N, w_channels], normal; with `latent="w"`, w [N, w_channels] or, for every layer its own,
            [N, 2 * len(channels), w_channels].
        truncation: `w = latent_avg + truncation * (w - latent_avg)` in the layers that are truncated; 1 leaves w alone.
        noise: int64 [N], noise by seed (`noise_seeds`), which depends on an image's seed and not on its place in the
            batch; None for that of seed 0 in every image, since published files hold none.
        latent: "z" or "w".
        Returns images [N, 3, R, R], R = 4 * 2^(len(channels)-1), unclamped.

    Raises:
        TypeError, ValueError: see the rules above; a truncation below 1 while `latent_avg` is not known.

    Example:
        >>> model = StyleGAN((16, 16, 8), w_channels=16, mapping_layers=2)
        >>> with dissect.Trace(model, "g_synthesis.blocks.8x8.epi1") as trace:
        ...     images = model(dissect.latents(model, 2), noise=dissect.noise_seeds(2))
        >>> tuple(images.shape), tuple(trace["g_synthesis.blocks.8x8.epi1"].shape)
        ((2, 3, 16, 16), (2, 16, 8, 8))
    """

    def __init__(
        self,
        channels: Sequence[int],
        w_channels: int = 512,
        *,
        mapping_layers: int = 8,
        truncation: float = 1.0,
        truncation_layers: int | None = 8,
        form: str = "nvidia",
        epsilon: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(channels, w_channels, truncation)
        mapping_layers = integer("mapping_layers", mapping_layers)
        if form not in FORMS:
            raise refusal(ValueError(f"form must be one of {tuple(FORMS)}, but got {form!r}."))
        if epsilon is not None and not (math.isfinite(epsilon) and epsilon > 0):
            raise refusal(ValueError(f"epsilon must be a positive number, but got {epsilon}."))
        every = 2 * len(self.channels)
        self.truncation_layers = every if truncation_layers is None else integer("truncation_layers", truncation_layers)
        self.form = form
        rules = FORMS[form] if epsilon is None else dataclasses.replace(FORMS[form], epsilon=float(epsilon))
        steps: OrderedDict[str, nn.Module] = OrderedDict(pixel_norm=PixelNorm())
        for number in range(mapping_layers):
            steps[f"dense{number}"] = ScaledLinear(w_channels, w_channels, ROOT_TWO, rules.mapping_multiplier)
            steps[f"dense{number}_act"] = nn.LeakyReLU(0.2)
        self.g_mapping = nn.Sequential(steps)
        self.g_synthesis = Synthesis(self.channels, w_channels, rules)
        if not next(self.parameters()).is_meta:
            self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, module in self.named_modules():
            if isinstance(module, ScaledLinear):
                draw(module.weight, nn.init.normal_, generator, std=1 / module.multiplier)
                if name.endswith("style_mod.lin") and self.form == "rosinality":
                    module.bias[: len(module.bias) // 2] = 1
            elif isinstance(module, ScaledConv):
                draw(module.weight, nn.init.normal_, generator)
            elif isinstance(module, ConstantBlock) and self.form == "rosinality":
                draw(module.const, nn.init.normal_, generator)

    def forward(
        self, z: Tensor, *, truncation: float | None = None, noise: Tensor | None = None, latent: str = "z"
    ) -> Tensor:
        """Images [N, 3, R, R]; see the class."""
        w = self._w_of(z, latent)
        w = w[:, None].expand(-1, 2 * len(self.channels), -1) if w.dim() == 2 else w
        cut = self.truncation_layers
        near = self.truncate(w[:, :cut], self.truncation if truncation is None else truncation)
        images: Tensor = self.g_synthesis(torch.cat([near, w[:, cut:]], 1), self._checked_noise(noise, w))
        return images

    def mapped(self, z: Tensor) -> Tensor:
        """What the mapping network makes of z [N, z_channels]."""
        w: Tensor = self.g_mapping(z)
        return w

    def extra_repr(self) -> str:
        """What changes its images and is no weight."""
        told = super().extra_repr()
        return f"form={self.form}" + (f", {told} of {self.truncation_layers} layers" if told else "")
