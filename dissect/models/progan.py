"""The generator of a Progressive GAN (Karras et al. 2018), layers named as in the papers, and its published files."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Size, Tensor, nn

from dissect.arguments import refusal, speaks, tell
from dissect.models import checkpoint
from dissect.models.checkpoint import PROGAN, FileLayout, assemble
from dissect.models.generator import Generator, PixelNorm
from dissect.models.initial import draw, undrawn

PIXEL_NORMS = ("every", "ends", "first", "none")
AFTER_CONV = ("wscale", "stored_wscale", "bias", "batch_norm")

#: The published ablations (Karras et al. 2018, Table 1), by the names of their files, as arguments of `ProGAN`.
PROGAN_VARIANTS = {
    "wgangp": {"pixel_norm": "none", "after_conv": "batch_norm"},
    "progressive-training": {"pixel_norm": "none", "after_conv": "batch_norm"},
    "small-minibatch": {"pixel_norm": "none", "after_conv": "batch_norm"},
    "minibatch-discrimination": {"pixel_norm": "first", "after_conv": "bias"},
    "minibatch-stddev": {"pixel_norm": "first", "after_conv": "bias"},
    "equalized-learning-rate": {"pixel_norm": "ends", "after_conv": "stored_wscale"},
    "pixelwise-normalization": {"pixel_norm": "every", "after_conv": "stored_wscale"},
}


@speaks
def progan_channels(resolution: int) -> tuple[int, ...]:
    """Units at 4x4, 8x8, ... of the published networks: min(512, B / rows), B 8192 up to 256x256, 16384 above.

    Raises:
        ValueError: no published network has this resolution.

    Example:
        >>> progan_channels(256)
        (512, 512, 512, 256, 128, 64, 32)
    """
    if resolution not in (32, 64, 128, 256, 512, 1024):
        raise refusal(ValueError(f"resolution must be a power of two from 32 to 1024, but got {resolution}."))
    budget = 8192 if resolution <= 256 else 16384
    return tuple(min(512, budget >> level) for level in range(2, resolution.bit_length()))


@speaks
class ProGAN(Generator):
    """Pairs of convolutions at 4x4, 8x8, ..., and a 1x1 convolution to RGB.

    The layers are called `layer1`, `layer2`, ..., `output_64x64` (for 64x64), as in the papers and their files (the
    output of 256x256 is the papers' layer15), where `layer{2j-1}` and `layer{2j}` work at 4 * 2^(j-1) rows. Each is a
    chain of children `norm`, `up`, `conv`, `wscale`, `relu`, those of which it has::

        x = x / sqrt(mean over channels of x^2 + 1e-8)            norm  (section 4.2)
        x = x, each pixel repeated twice each way                 up    (layer3, layer5, ...)
        x = W * x                                                 conv  (4x4, padding 3, in layer1: z -> 4x4; else 3x3)
        x = x * sqrt(2 / (channels in * k^2)) + b                 wscale (section 4.1; gain 1 in the output)
        x = max(x, 0.2 x)                                         relu

    Args:
        channels: units at 4x4, 8x8, ...; `progan_channels` gives the published ones.
        z_channels: length of z.
        pixel_norm: before which convolutions it stands: "every" (published), "ends" (the first and the output's),
            "first", "none".
        after_conv: "wscale" (published), "stored_wscale" (its factor is a parameter), "bias" (unscaled), "batch_norm"
            (and ReLU). `PROGAN_VARIANTS` has those of the published ablations.
        clamp: cut the output to [-1, 1]. The code of dissection does not, that of the papers on inversion and
            rewriting does.
        seed: of the initial weights: normal, of variance 1 where wscale follows, else He et al. 2015.

    Forward:
        z: [N, z_channels] or [N, z_channels, 1, 1], normal. Returns images [N, 3, R, R], R = 4 * 2^(len(channels)-1).

    Raises:
        ValueError: widths that are not positive, an unknown choice, or pixel normalisation beside "batch_norm".

    Example:
        >>> model = ProGAN((16, 16, 8), z_channels=16)
        >>> with dissect.Trace(model, "layer4") as trace:
        ...     images = model(dissect.latents(model, 2))
        >>> tuple(images.shape), tuple(trace["layer4"].shape)
        ((2, 3, 16, 16), (2, 16, 8, 8))
    """

    def __init__(
        self,
        channels: Sequence[int],
        z_channels: int = 512,
        *,
        pixel_norm: str = "every",
        after_conv: str = "wscale",
        clamp: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(channels, z_channels)
        if pixel_norm not in PIXEL_NORMS or after_conv not in AFTER_CONV:
            raise refusal(
                ValueError(
                    f"pixel_norm must be one of {PIXEL_NORMS} and after_conv one of {AFTER_CONV}, "
                    f"but got {pixel_norm!r} and {after_conv!r}."
                )
            )
        if after_conv == "batch_norm" and pixel_norm != "none":
            raise refusal(ValueError(f"after_conv='batch_norm' needs pixel_norm='none', but got {pixel_norm!r}."))
        self.pixel_norm, self.after_conv, self.clamp = pixel_norm, after_conv, clamp
        with undrawn():
            self._build()
        if not next(self.parameters()).is_meta:
            self._initialise(seed)

    def _build(self) -> None:
        widths = [self.z_channels, *(width for width in self.channels for _ in range(2))]
        for number in range(1, len(widths)):
            normed = self.pixel_norm == "every" or (number == 1 and self.pixel_norm != "none")
            upsampled = number > 1 and number % 2 == 1
            kernel, padding = (4, 3) if number == 1 else (3, 1)
            layer = _before(normed, upsampled)
            layer |= _convolution(widths[number - 1], widths[number], kernel, padding, self.after_conv)
            layer["relu"] = nn.ReLU() if self.after_conv == "batch_norm" else nn.LeakyReLU(0.2)
            self.add_module(f"layer{number}", nn.Sequential(layer))
        output = _before(self.pixel_norm in ("every", "ends"), False)
        after = "bias" if self.after_conv == "batch_norm" else self.after_conv
        output |= _convolution(widths[-1], 3, 1, 0, after, gain=1.0)
        if self.clamp:
            output["clamp"] = nn.Hardtanh()
        self.add_module(f"output_{self.resolution}x{self.resolution}", nn.Sequential(output))

    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if self.after_conv in ("wscale", "stored_wscale"):
                    draw(module.weight, nn.init.normal_, generator)
                else:
                    draw(module.weight, nn.init.kaiming_normal_, generator, a=0.2)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Images [N, 3, R, R] of z [N, z_channels] or [N, z_channels, 1, 1]."""
        x = self.checked(z)[:, :, None, None]
        for layer in self.children():
            x = layer(x)
        return x


class WScale(nn.Module):
    """`x * scale + b`: the equalized learning rate's factor gain / sqrt(fan_in), and a bias per channel."""

    def __init__(self, channels: int, scale: float, stored: bool) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((1,), scale)) if stored else scale
        self.b = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """X [N, C, h, w], scaled and shifted."""
        return x * self.scale + self.b[:, None, None]


def _before(normed: bool, upsampled: bool) -> OrderedDict[str, nn.Module]:
    layer: OrderedDict[str, nn.Module] = OrderedDict()
    if normed:
        layer["norm"] = PixelNorm()
    if upsampled:
        layer["up"] = nn.Upsample(scale_factor=2, mode="nearest")
    return layer


def _convolution(
    inputs: int, outputs: int, kernel: int, padding: int, after: str, gain: float = math.sqrt(2)
) -> OrderedDict[str, nn.Module]:
    layer: OrderedDict[str, nn.Module] = OrderedDict()
    layer["conv"] = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=after == "bias")
    if after in ("wscale", "stored_wscale"):
        layer["wscale"] = WScale(outputs, gain / math.sqrt(inputs * kernel * kernel), after == "stored_wscale")
    elif after == "batch_norm":
        layer["norm"] = nn.BatchNorm2d(outputs)
    return layer


@speaks
def load_progan(
    path: str | Path,
    *,
    clamp: bool = False,
    pixel_norm: str | None = None,
    resolution: int | None = None,
    device: str | torch.device = "cpu",
) -> ProGAN:
    """The Progressive GAN in a file, in evaluation mode; sizes and kind are inferred from the weights.

    Layouts: `layer1.conv.weight`, `layer1.wscale.b`, ..., `output_256x256.*` (published), `features.0.*`, ...,
    `output.*` (older, and the published ablations), either of them plain or under `state_dict`; .pt, .pth (tensors
    only) or .safetensors. The file is read once.

    Args:
        path: of the file.
        clamp: cut the output to [-1, 1]; see `ProGAN`.
        pixel_norm: where pixel normalisation stands (see `ProGAN`), which leaves no trace in a file. Not needed for
            published networks and for those ablations of which no two share their keys; needed where a
            `wscale.scale` is stored: "every" for pixelwise-normalization and complete older networks, "ends" for
            equalized-learning-rate.
        resolution: of the images, if another one is to be an error.
        device: where the model goes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds more than tensors, another architecture or resolution, misses keys, has
            extra ones or ones of another shape, NaN or infinite weights; or `pixel_norm` is needed.

    Example:
        >>> import tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save(ProGAN((16, 8), z_channels=4).state_dict(), os.path.join(folder, "small.pth"))
        ...     model = load_progan(os.path.join(folder, "small.pth"))
        >>> model.resolution, model.channels
        (8, (16, 8))
    """
    state, _ = checkpoint.read(path, "state_dict")
    old = any(key.startswith("features.") for key in state)
    after_conv = _after_conv(state)
    levels = _progan_levels(state, old)
    if not levels or checkpoint.seems(state, PROGAN):
        raise checkpoint.another_architecture(path, PROGAN, state)
    choice = {"wscale": "every", "bias": "first", "batch_norm": "none"}.get(after_conv) or ""
    _check_pixel_norm(pixel_norm, choice, after_conv, path)

    def made(channels: Sequence[int], z_channels: int) -> ProGAN:
        norm = pixel_norm or choice or "every"
        return ProGAN(channels, z_channels, pixel_norm=norm, after_conv=after_conv, clamp=clamp)

    def named(model: ProGAN) -> dict[str, tuple[str, Size]]:
        return {name: (_old_key(name) if old else name, value.shape) for name, value in model.state_dict().items()}

    def sizes(weights: list[Tensor]) -> tuple[tuple[int, ...], int]:
        if not (pixel_norm or choice):
            raise refusal(
                ValueError(
                    f"{path} stores wscale.scale, and no key tells where pixels are normalised; pass "
                    "pixel_norm='every' (pixelwise-normalization, or a complete network) or 'ends' "
                    "(equalized-learning-rate)."
                )
            )
        return tuple(len(weight) for weight in weights[::2]), weights[0].shape[1]

    keys = [f"features.{n}.conv.weight" if old else f"layer{n + 1}.conv.weight" for n in range(2 * levels)]
    layout = FileLayout(PROGAN, levels, made, named, dict.fromkeys(keys, 4), sizes)
    return assemble(layout, state, path, resolution, device)


def _after_conv(state: Iterable[str]) -> str:
    """What follows the convolutions, by any layer that tells."""
    for choice, suffixes in (
        ("stored_wscale", (".wscale.scale",)),
        ("wscale", (".wscale.b",)),
        ("batch_norm", (".norm.weight", ".norm.bias", ".norm.running_mean", ".norm.running_var")),
        ("bias", (".conv.bias",)),
    ):
        if any(key.endswith(suffixes) for key in state):
            return choice
    return "wscale"


def _check_pixel_norm(given: str | None, published: str, after_conv: str, path: str | Path) -> None:
    """Compares the option on pixel normalisation with the published networks that have such keys.

    Raises:
        ValueError: it is no choice, or stands beside batch normalisation.

    Warns:
        UserWarning: it is another choice than theirs.
    """
    if given is None:
        return
    if given not in PIXEL_NORMS:
        raise refusal(ValueError(f"pixel_norm must be one of {PIXEL_NORMS}, but got {given!r}."))
    if after_conv == "batch_norm" and given != "none":
        raise refusal(
            ValueError(
                f"{path} has batch normalisation, beside which pixel_norm must be 'none' (or left out), but got "
                f"{given!r}."
            )
        )
    if published and given != published:
        tell(
            f"pixel_norm={given!r} is taken as given, but published networks with the keys of {path} have "
            f"{published!r}; leave it out if this is one of them."
        )


def _progan_levels(state: Iterable[str], old: bool) -> int:
    """How many resolutions there must be: by the layers, and by the name of the output where it tells."""
    layers = checkpoint.numbered(state, r"(?:features\.|layer)(\d+)\.(?:conv|wscale|norm)\.", 0 if old else 1)
    outputs = [int(found[1]) for key in state if (found := re.match(r"output_(\d{1,4})x\1\.", key))]
    return max([(layers + 1) // 2, *(size.bit_length() - 2 for size in outputs)]) if layers else 0


def _old_key(name: str) -> str:
    layer, rest = name.split(".", 1)
    return f"output.{rest}" if layer.startswith("output") else f"features.{int(layer.removeprefix('layer')) - 1}.{rest}"
