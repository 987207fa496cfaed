"""Published checkpoints of generators, and those that `state_dict` makes of the models here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Size, Tensor

from dissect.models import checkpoint
from dissect.models.progan import ProGAN
from dissect.models.stylegan2 import StyleGAN2
from dissect.models.wgangp import WGANGP

PROGAN, STYLEGAN2, WGAN_GP = "Progressive GAN generator", "StyleGAN2 generator", "WGAN-GP generator"


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
    only) or .safetensors. The file is read once, nothing is copied, and the weights stay mapped to it: replace the file
    as a whole (`os.replace`) or not at all while the model is in use. (A file from before PyTorch 1.6 cannot be mapped:
    all of it is read into memory.)

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
    data = checkpoint.read(path)
    state = checkpoint.tensors_of(data.get("state_dict", data), path)
    old = any(key.startswith("features.") for key in state)
    first = "features.0" if old else "layer1"
    layers = checkpoint.numbered(state, r"(?:features\.|layer)(\d+)\.(?:conv|wscale)\.", 0 if old else 1)
    if not layers or checkpoint.seems(state, PROGAN):
        raise checkpoint.another_architecture(path, PROGAN, state)
    keys = [f"features.{n}.conv.weight" if old else f"layer{n + 1}.conv.weight" for n in range(layers)]
    weights = checkpoint.sized(state, dict.fromkeys(keys, 4), path, PROGAN)
    after_conv = _after_conv(state, first)
    choice = {"wscale": "every", "bias": "first", "batch_norm": "none"}.get(after_conv) or ""
    if not (pixel_norm or choice):
        raise ValueError(
            f"{path} stores wscale.scale, and no key tells where pixels are normalised; pass pixel_norm='every' "
            "(pixelwise-normalization, or a complete network) or 'ends' (equalized-learning-rate)."
        )
    channels = tuple(len(weight) for weight in weights[::2])
    model = checkpoint.build(
        lambda: ProGAN(
            channels, weights[0].shape[1], pixel_norm=pixel_norm or choice, after_conv=after_conv, clamp=clamp
        ),
        path,
        2 << len(channels),
        resolution,
    )
    published = {name: (_old_key(name) if old else name, value.shape) for name, value in model.state_dict().items()}
    for _, (key, _) in published.items():
        if key.endswith("num_batches_tracked"):  # files from before PyTorch 0.4.1 do not count them
            state.setdefault(key, torch.tensor(0))
    return checkpoint.fill(model, state, published, path, device)


def load_stylegan2(
    path: str | Path,
    *,
    truncation: float = 1.0,
    latent_avg_samples: int = 4096,
    resolution: int | None = None,
    device: str | torch.device = "cpu",
) -> StyleGAN2:
    """The StyleGAN2 in a file, in evaluation mode; sizes and the number of mapping layers are inferred.

    Layouts: rosinality's, that is `g_ema` and `latent_avg` (converted networks), `g_ema` among what the training script
    saves, or the tensors of `g_ema` alone; and `StyleGAN2.state_dict()`; .pt, .pth (tensors only) or .safetensors. The
    file is read once, nothing is copied, and the weights stay mapped to it: replace the file as a whole (`os.replace`)
    or not at all while the model is in use. (A file from before PyTorch 1.6 cannot be mapped: all of it is read into
    memory, in a training checkpoint also what is not `g_ema`.)

    Args:
        path: of the file.
        truncation: see `StyleGAN2`.
        latent_avg_samples: where the file has no `latent_avg`, it is measured on so many z (seed 0).
        resolution: of the images, if another one is to be an error.
        device: where the model goes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: see `load_progan`; truncation outside [0, 1]; samples not positive.

    Example:
        >>> import tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "small.pt")
        ...     torch.save(stylegan2_checkpoint(StyleGAN2((8, 8), w_channels=4, mapping_layers=2)), path)
        ...     model = load_stylegan2(path)
        >>> model.resolution, model.latent_avg.shape
        (8, torch.Size([4]))
    """
    data = checkpoint.read(path)
    state = checkpoint.tensors_of(data.get("g_ema", data), path)
    own = any(key.startswith("mapping.") for key in state)
    depth = checkpoint.numbered(state, r"(?:mapping\.fc|style\.)(\d+)\.", 1)
    if not depth:
        raise checkpoint.another_architecture(path, STYLEGAN2, state)
    first, pattern = (3, r"layer(\d+)\.") if own else (0, r"convs\.(\d+)\.")
    numbers = range(first, first + checkpoint.numbered(state, pattern, first))
    keys = {f"mapping.fc{n}.weight" if own else f"style.{n}.weight": 2 for n in range(1, depth + 1)}
    keys["layer1.input" if own else "input.input"] = 4
    keys |= {f"layer{n}.conv.weight": 4 for n in numbers} if own else {f"convs.{n}.conv.weight": 5 for n in numbers}
    found = checkpoint.sized(state, keys, path, STYLEGAN2)
    mapping, constant, layers = found[:depth], found[depth], found[depth + 1 :]
    average = state.pop("latent_avg", data.get("latent_avg"))
    channels = (constant.shape[1], *(weight.shape[-4] for weight in layers[::2]))
    model = checkpoint.build(
        lambda: StyleGAN2(channels, len(mapping[0]), mapping_layers=len(mapping), truncation=truncation),
        path,
        2 << len(channels),
        resolution,
    )
    model = checkpoint.fill(model, state, checkpoint.unchanged(model) if own else _rosinality(model), path, device)
    if average is None:
        model.measure_latent_avg(latent_avg_samples)
    else:
        model.latent_avg = _checked_average(average, model, path)
    return model


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
    data = checkpoint.read(path)
    state = checkpoint.tensors_of(data.get("state_dict", data), path)
    layers = checkpoint.numbered(state, r"layer(\d+)\.(?:linear|norm|conv1|conv2|norm1|norm2)\.", 1)
    if not layers or checkpoint.seems(state, WGAN_GP):
        raise checkpoint.another_architecture(path, WGAN_GP, state)
    keys = {"layer1.linear.weight": 2, **{f"layer{n}.conv2.weight": 4 for n in range(2, layers + 1)}}
    linear, *blocks = checkpoint.sized(state, keys, path, WGAN_GP)
    channels = (len(linear) // 16, *(len(weight) for weight in blocks))
    model = checkpoint.build(lambda: WGANGP(channels, linear.shape[1]), path, 2 << len(channels), resolution)
    return checkpoint.fill(model, state, checkpoint.unchanged(model), path, device)


def stylegan2_checkpoint(model: StyleGAN2) -> dict[str, Any]:
    """What torch.save needs to make a file that rosinality's code, and `load_stylegan2`, read.

    Returns:
        `g_ema`, tensors by the published keys, and `latent_avg` if it is known. They share memory with the model.
    """
    state = model.state_dict()
    tensors = {key: state[name].view(shape) for name, (key, shape) in _rosinality(model).items()}
    average = {} if model.latent_avg is None else {"latent_avg": model.latent_avg}
    return {"g_ema": tensors, **average}


def _after_conv(state: Mapping[str, Tensor], first: str) -> str:
    for suffix, choice in (("wscale.scale", "stored_wscale"), ("norm.weight", "batch_norm"), ("conv.bias", "bias")):
        if f"{first}.{suffix}" in state:
            return choice
    return "wscale"


def _old_key(name: str) -> str:
    layer, rest = name.split(".", 1)
    return f"output.{rest}" if layer.startswith("output") else f"features.{int(layer.removeprefix('layer')) - 1}.{rest}"


def _rosinality(model: StyleGAN2) -> dict[str, tuple[str, Size]]:
    """For each of the model's keys, rosinality's key and the shape that it has there."""
    names = {}
    for name, value in model.state_dict().items():
        if name == "latent_avg":
            continue
        layer, rest = name.split(".", 1)
        number = int("".join(filter(str.isdigit, layer)) or 0)
        shape = value.shape
        if layer == "mapping":
            key = f"style.{rest.removeprefix('fc')}"
        elif layer == "layer1":
            key = "input.input"
        elif rest == "noise.fixed":
            key = f"noises.noise_{number - 2}"
        else:
            if layer.startswith("layer"):
                block = "conv1" if number == 2 else f"convs.{number - 3}"
            else:
                block = "to_rgb1" if number == 1 else f"to_rgbs.{number - 2}"
            key = f"{block}.{rest.replace('style.', 'conv.modulation.').replace('blur.', 'conv.blur.')}"
            if rest == "conv.weight":
                shape = Size((1, *shape))
            elif rest == "bias":
                shape = Size((1, *shape, 1, 1))
        names[name] = (key, shape)
    return names


def _checked_average(average: Any, model: StyleGAN2, path: str | Path) -> Tensor:
    if not isinstance(average, Tensor) or average.numel() != model.z_channels or not bool(average.isfinite().all()):
        what = list(average.shape) if isinstance(average, Tensor) else type(average).__name__
        raise ValueError(
            f"{path}: latent_avg must be {model.z_channels} finite numbers, as w has, but is {what}, or NaN somewhere."
        )
    return average.detach().flatten().to(model.layer1.input)
