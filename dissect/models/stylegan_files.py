"""The published files of StyleGAN's generators (v1), and those that `state_dict` makes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Size, Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.models import checkpoint
from dissect.models.checkpoint import STYLEGAN, FileLayout, assemble, checked_average
from dissect.models.stylegan import StyleGAN
from dissect.models.stylegan_layers import FORMS, FUSED_FROM, Blur

_PROGRESSION = r"generator\.progression\.(\d+)\."


@speaks
def load_stylegan(
    path: str | Path,
    *,
    truncation: float = 1.0,
    truncation_layers: int | None = 8,
    latent_avg_samples: int = 4096,
    resolution: int | None = None,
    mapping_layers: int | None = None,
    form: str | None = None,
    epsilon: float | None = None,
    device: str | torch.device = "cpu",
) -> StyleGAN:
    """The StyleGAN (v1) in a file, in evaluation mode; sizes and the number of mapping layers are inferred.

    Layouts: that of the PyTorch conversions of NVIDIA's networks (`g_mapping.dense0.weight`, ...,
    `g_synthesis.blocks.4x4.const`, ..., `g_synthesis.torgb.bias`), which is `StyleGAN.state_dict()` too, plain or under
    `state_dict`; and rosinality's (`style.1.linear.weight_orig`, `generator.progression.0.conv1.input`, ...), plain or
    as `g_running` among what its training script saves. The latter holds layers up to 1024x1024 whatever it was trained
    for, so `resolution` must say it; those beyond are left out. .pt, .pth (tensors only) or .safetensors.

    Args:
        path: of the file.
        truncation: see `StyleGAN`.
        truncation_layers: see `StyleGAN`.
        latent_avg_samples: where the file has no `latent_avg`, it is measured on so many z (seed 0).
        resolution: of the images. Needed for rosinality's layout; else, if another one is to be an error.
        mapping_layers: if another number is to be an error.
        form: whose code the weights are for; by default the one whose layout the file has.
        epsilon: see `StyleGAN`.
        device: where the model goes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: see `load_progan`; rosinality's layout without `resolution`, with other blurs than the published
            one, or in another form; truncation outside [0, 1]; samples not positive.
        TypeError: samples is no integer.

    Example:
        >>> import tempfile, os
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "small.pt")
        ...     torch.save(StyleGAN((8, 8), w_channels=4, mapping_layers=2).state_dict(), path)
        ...     model = load_stylegan(path)
        >>> model.resolution, model.latent_avg.shape
        (8, torch.Size([4]))
    """
    latent_avg_samples = integer("latent_avg_samples", latent_avg_samples)
    state, rest = checkpoint.read(path, "g_running", "state_dict")
    average = state.pop("latent_avg", rest.get("latent_avg"))
    theirs = any(key.startswith("generator.progression.") for key in state)
    form = _checked_form(form, theirs, path)
    depth = _depth(state, theirs)
    if not depth:
        raise checkpoint.another_architecture(path, STYLEGAN, state)
    if mapping_layers not in (None, depth):
        raise refusal(
            ValueError(f"{path} must hold a {STYLEGAN} of {mapping_layers} mapping layers, but holds {depth}.")
        )
    levels = _levels(state, theirs, resolution, path)
    if theirs:
        state = _rosinality_state(state, levels, path)

    def made(channels: Sequence[int], w_channels: int) -> StyleGAN:
        return StyleGAN(
            channels, w_channels, mapping_layers=depth, truncation=truncation, truncation_layers=truncation_layers,
            form=form, epsilon=epsilon,
        )  # fmt: skip

    def named(model: StyleGAN) -> dict[str, tuple[str, Size]]:
        return _rosinality(model) if theirs else checkpoint.unchanged(model)

    def sizes(weights: list[Tensor]) -> tuple[tuple[int, ...], int]:
        mapping, constant, *others = weights
        return (constant.shape[1], *(len(weight) for weight in others)), len(mapping)

    layout = FileLayout(STYLEGAN, levels, made, named, _telling(levels, theirs), sizes)
    model = assemble(layout, state, path, resolution, device)
    if average is None:
        model.measure_latent_avg(latent_avg_samples)
    else:
        model.latent_avg = checked_average(average, model, path)
    return model


def _checked_form(form: str | None, theirs: bool, path: str | Path) -> str:
    """Whose code the weights are for.

    Raises:
        ValueError: unknown, or NVIDIA's for a file of the other's layout.
    """
    found = "rosinality" if theirs else "nvidia"
    if form is not None and form not in FORMS:
        raise refusal(ValueError(f"form must be one of {tuple(FORMS)}, but got {form!r}."))
    if theirs and form not in (None, found):
        raise refusal(ValueError(f"form must be {found!r}, whose layout {path} has, but got {form!r}."))
    return form or found


def _depth(state: dict[str, Tensor], theirs: bool) -> int:
    """How many mapping layers there must be; rosinality counts their activations too."""
    if theirs:
        return (checkpoint.numbered([*state, *_even(state)], r"style\.(\d+)\.linear\.", 1) + 1) // 2
    return checkpoint.numbered(state, r"g_mapping\.dense(\d+)\.", 0)


def _even(state: dict[str, Tensor]) -> list[str]:
    """Keys of the activations between rosinality's mapping layers, which have no weights."""
    found = (re.match(r"style\.(\d{1,4})\.linear\.", key) for key in state)
    return [f"style.{int(match[1]) - 1}.linear." for match in found if match]


def _levels(state: dict[str, Tensor], theirs: bool, resolution: int | None, path: str | Path) -> int:
    """How many resolutions there must be.

    Raises:
        ValueError: rosinality's layout, and nothing says which.
    """
    if not theirs:
        sides = [int(found[1]) for key in state if (found := re.match(r"g_synthesis\.blocks\.(\d{1,9})x\1\.", key))]
        return max((side.bit_length() - 2 for side in sides), default=1)
    most = checkpoint.numbered(state, _PROGRESSION, 0)
    sides = [4 << level for level in range(1, most)]
    if resolution not in sides:
        got = "is not given" if resolution is None else f"is {resolution}"
        raise refusal(
            ValueError(
                f"resolution must say for which of {sides} {path} was trained, since its layers are there for all of "
                f"them, but {got}."
            )
        )
    return sides.index(resolution) + 2


def _telling(levels: int, theirs: bool) -> dict[str, int]:
    """The keys of the weights that tell the sizes, and how many dimensions each has."""
    if theirs:
        blocks = {f"generator.progression.{level}.conv2.conv.weight_orig": 4 for level in range(1, levels)}
        return {"style.1.linear.weight_orig": 2, "generator.progression.0.conv1.input": 4} | blocks
    sides = [4 << level for level in range(1, levels)]
    blocks = {f"g_synthesis.blocks.{side}x{side}.conv0_up.weight": 4 for side in sides}
    return {"g_mapping.dense0.weight": 2, "g_synthesis.blocks.4x4.const": 4} | blocks


def _rosinality_state(state: dict[str, Tensor], levels: int, path: str | Path) -> dict[str, Tensor]:
    """The tensors up to a resolution, those of transposed convolutions as of others.

    Raises:
        ValueError: a blur that is not the published one.
    """
    found = {}
    taps = Blur().get_buffer("kernel")
    for key, value in state.items():
        block, image = re.match(_PROGRESSION, key), re.match(r"generator\.to_rgb\.(\d+)\.", key)
        if (block and int(block[1]) >= levels) or (image and int(image[1]) != levels - 1):
            continue
        if block and int(block[1]) and re.search(r"\.conv1\.[12]\.weight(_flip)?$", key):
            if value.shape[1:] != taps.shape[1:] or not torch.equal(value.float(), taps.expand_as(value)):
                raise refusal(ValueError(f"{path}: {key} must hold the blur's taps 1 2 1, but holds others."))
            if key.endswith("_flip"):  # for gradients, the same taps
                continue
            value = value[:1]
        if block and key.endswith(".conv1.0.weight") and value.dim() == 4:
            value = value.transpose(0, 1).contiguous()
        found[key] = value
    return found


def _rosinality(model: StyleGAN) -> dict[str, tuple[str, Size]]:
    """For each of the model's keys, rosinality's key and the shape that it has there (`_rosinality_state`)."""
    names = {}
    for name, value in model.state_dict().items():
        if name == "latent_avg":
            continue
        part, shape = name.rpartition(".")[2], value.shape
        kind = {"weight": "weight_orig"}.get(part, part)
        if name.startswith("g_mapping."):
            number = int("".join(filter(str.isdigit, name)))
            names[name] = f"style.{2 * number + 1}.linear.{kind}", shape
        elif name.startswith("g_synthesis.torgb."):
            names[name] = f"generator.to_rgb.{len(model.channels) - 1}.conv.{kind}", shape
        else:
            _, _, side, *rest = name.split(".")
            rows = int(side.partition("x")[0])
            key, shape = _rosinality_block(".".join(rest), kind, rows, shape)
            names[name] = f"generator.progression.{rows.bit_length() - 3}.{key}", shape
    return names


def _rosinality_block(name: str, kind: str, rows: int, shape: Size) -> tuple[str, Size]:
    """Rosinality's key, and the shape there, of a tensor in the block of some resolution."""
    fused = rows >= FUSED_FROM
    if name == "const":
        return "conv1.input", shape
    if name.startswith("epi"):
        which = name[3]
        if ".noise." in name:
            return f"noise{which}.weight_orig", Size((1, *shape, 1, 1))
        return f"adain{which}.style.linear.{kind}", shape
    if name == "conv0_up.intermediate.kernel":
        return f"conv1.{1 if fused else 2}.weight", shape
    if name.startswith("conv0_up."):
        return (f"conv1.0.{name.rpartition('.')[2]}" if fused else f"conv1.1.conv.{kind}"), shape
    return f"conv2.conv.{kind}", shape
