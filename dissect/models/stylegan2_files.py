"""The published files of StyleGAN2's generators, and those that `state_dict` makes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Size, Tensor

from dissect.arguments import integer, refusal, speaks, tell
from dissect.models import checkpoint
from dissect.models.checkpoint import STYLEGAN2, FileLayout, assemble
from dissect.models.noise import seeded_noise
from dissect.models.stylegan2 import StyleGAN2

#: The published ones have 8.
MOST_MAPPING_LAYERS = 64


@speaks
def load_stylegan2(
    path: str | Path,
    *,
    truncation: float = 1.0,
    latent_avg_samples: int = 4096,
    resolution: int | None = None,
    mapping_layers: int | None = None,
    device: str | torch.device = "cpu",
) -> StyleGAN2:
    """The StyleGAN2 in a file, in evaluation mode; sizes and the number of mapping layers are inferred.

    Layouts: rosinality's, that is `g_ema` and `latent_avg` (converted networks), `g_ema` among what the training script
    saves, or the tensors of `g_ema` alone; and `StyleGAN2.state_dict()`, plain or under `state_dict`; .pt, .pth
    (tensors only) or .safetensors. The file is read once, in a training checkpoint only what is needed of it. (Of a
    file from before PyTorch 1.6 everything is read into memory first.)

    Args:
        path: of the file.
        truncation: see `StyleGAN2`.
        latent_avg_samples: where the file has no `latent_avg`, it is measured on so many z (seed 0).
        resolution: of the images, if another one is to be an error.
        mapping_layers: if another number is to be an error. Only a training checkpoint tells by itself that the last
            ones are missing.
        device: where the model goes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: see `load_progan`; truncation outside [0, 1]; samples not positive.
        TypeError: samples is no integer.

    Example:
        >>> import tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "small.pt")
        ...     torch.save(stylegan2_checkpoint(StyleGAN2((8, 8), w_channels=4, mapping_layers=2)), path)
        ...     model = load_stylegan2(path)
        >>> model.resolution, model.latent_avg.shape
        (8, torch.Size([4]))
    """
    latent_avg_samples = integer("latent_avg_samples", latent_avg_samples)
    state, rest = checkpoint.read(path, "g_ema", "state_dict")
    average = state.pop("latent_avg", rest.get("latent_avg"))
    own = any(key.startswith("mapping.") for key in state)
    depth = checkpoint.numbered(state, r"(?:mapping\.fc|style\.)(\d+)\.", 1)
    if not depth:
        raise checkpoint.another_architecture(path, STYLEGAN2, state)
    depth = _checked_depth(depth, getattr(rest.get("args"), "n_mlp", None), mapping_layers, path)
    levels = _stylegan2_levels(state, own)
    drawn = _drawn_noise(state, levels, own)

    def made(channels: Sequence[int], w_channels: int) -> StyleGAN2:
        return StyleGAN2(channels, w_channels, mapping_layers=depth, truncation=truncation)

    def named(model: StyleGAN2) -> dict[str, tuple[str, Size]]:
        return checkpoint.unchanged(model) if own else _rosinality(model)

    def sizes(weights: list[Tensor]) -> tuple[tuple[int, ...], int]:
        mapping, constant, *others = weights
        return (constant.shape[1], *(weight.shape[-4] for weight in others)), len(mapping)

    layout = FileLayout(STYLEGAN2, levels, made, named, _telling(levels, own), sizes)
    model = assemble(layout, state | drawn, path, resolution, device)
    if drawn:
        tell(
            f"{path} holds no fixed noise, as files of before its code stored any; new noise was drawn "
            "(seed 0), so images differ in detail from those of another draw."
        )
    if average is None:
        model.measure_latent_avg(latent_avg_samples)
    else:
        model.latent_avg = checkpoint.checked_average(average, model, path)
    return model


def stylegan2_checkpoint(model: StyleGAN2) -> dict[str, Any]:
    """What torch.save needs to make a file that rosinality's code, and `load_stylegan2`, read.

    Returns:
        `g_ema`, tensors by the published keys, and `latent_avg` if it is known. They share memory with the model.
    """
    state = model.state_dict()
    tensors = {key: state[name].view(shape) for name, (key, shape) in _rosinality(model).items()}
    average = {} if model.latent_avg is None else {"latent_avg": model.latent_avg}
    return {"g_ema": tensors, **average}


def _checked_depth(found: int, trained: Any, wanted: int | None, path: str | Path) -> int:
    """How many mapping layers there must be: by the keys, by what a training script says of itself, and as wanted."""
    if isinstance(trained, int) and trained > MOST_MAPPING_LAYERS:
        raise refusal(
            ValueError(
                f"{path} must hold a {STYLEGAN2} of at most {MOST_MAPPING_LAYERS} mapping layers, but its arguments "
                f"say n_mlp={trained}."
            )
        )
    depth = max(found, trained) if isinstance(trained, int) else found
    if wanted not in (None, depth):
        raise refusal(ValueError(f"{path} must hold a {STYLEGAN2} of {wanted} mapping layers, but holds {depth}."))
    return depth


def _telling(levels: int, own: bool) -> dict[str, int]:
    """The keys of the weights that tell the sizes, and how many dimensions each has."""
    if own:
        return {"mapping.fc1.weight": 2, "layer1.input": 4} | {
            f"layer{n}.conv.weight": 4 for n in range(3, 2 * levels, 2)
        }
    return {"style.1.weight": 2, "input.input": 4} | {f"convs.{n}.conv.weight": 5 for n in range(0, 2 * levels - 2, 2)}


def _stylegan2_levels(state: Iterable[str], own: bool) -> int:
    """How many resolutions there must be, by every kind of layer that each has."""
    patterns = (r"layer(\d+)\.", r"to_rgb(\d+)\.") if own else (r"convs\.(\d+)\.", r"to_rgbs\.(\d+)\.")
    layers, images = (checkpoint.numbered(state, pattern, int(own)) for pattern in patterns)
    if own:
        return max(1, (layers + 1) // 2, images)
    noises = checkpoint.numbered(state, r"noises\.noise_(\d+)$", 0)
    return 1 + max((layers + 1) // 2, images, noises // 2)


def _drawn_noise(state: Mapping[str, Tensor], levels: int, own: bool) -> dict[str, Tensor]:
    """Fixed noise, always the same, for a file that holds none at all; where some of it is missing, it is damaged."""
    pattern = r"layer\d+\.noise\.fixed$" if own else r"noises\."
    if any(re.match(pattern, key) for key in state) or levels > checkpoint.MOST_LEVELS:
        return {}
    like = state.get("layer1.input" if own else "input.input", torch.empty(0))
    noise = {}
    for number in range(2, 2 * levels + 1):
        size = 2 << (number + 1) // 2
        fixed = seeded_noise(torch.zeros(1, dtype=torch.int64), number, size, size)
        noise[f"layer{number}.noise.fixed" if own else f"noises.noise_{number - 2}"] = fixed.to(like)
    return noise


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
