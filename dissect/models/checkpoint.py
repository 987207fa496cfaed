"""Weights of a file as a model's: with every key accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Size, Tensor, nn

from dissect.arguments import refusal
from dissect.models.generator import Generator
from dissect.models.reading import is_plain, listed
from dissect.models.reading import read as read  # for loaders, which look here

G = TypeVar("G", bound=Generator)

#: Resolutions from 4x4 on; the largest published network makes images of 1024x1024, at the ninth.
MOST_LEVELS = 12

PROGAN, STYLEGAN2, WGAN_GP = "Progressive GAN generator", "StyleGAN2 generator", "WGAN-GP generator"
STYLEGAN = "StyleGAN generator"
#: Keys by which a file of another architecture is known, and what loads it.
ARCHITECTURES = (
    (("mapping.fc1.weight", "style.1.weight", "g_ema"), STYLEGAN2, "load_stylegan2"),
    (("layer1.conv.weight", "features.0.conv.weight"), PROGAN, "load_progan"),
    (("layer1.linear.weight",), WGAN_GP, "load_wgangp"),
    (("g_mapping.dense0.weight", "style.1.linear.weight_orig", "g_running"), STYLEGAN, "load_stylegan"),
)


@dataclass(frozen=True)
class FileLayout(Generic[G]):
    """How a file holds a generator.

    Args:
        architecture: named in messages.
        levels: how many resolutions from 4x4 on there must be, by the file's keys.
        make: the model of some units by level and some length of z.
        published: for each of a model's keys, the file's key and the shape that it has there.
        telling: the file's keys of the weights that tell the sizes, and how many dimensions each has.
        sizes: units by level and the length of z, from these weights.
    """

    architecture: str
    levels: int
    make: Callable[[Sequence[int], int], G]
    published: Callable[[G], dict[str, tuple[str, Size]]]
    telling: Mapping[str, int]
    sizes: Callable[[list[Tensor]], tuple[tuple[int, ...], int]]


def seems(keys: Iterable[str], wanted: str) -> tuple[str, str] | None:
    """The other architecture whose keys these are, and what loads it."""
    for marks, architecture, loader in ARCHITECTURES:
        if architecture != wanted and any(mark in keys for mark in marks):
            return architecture, loader
    return None


def another_architecture(path: str | Path, wanted: str, keys: Iterable[str]) -> ValueError:
    """The error for a file that does not hold what was wanted, with what it seems to hold."""
    keys = sorted(keys)
    found = seems(keys, wanted)
    if found is not None:
        return refusal(ValueError(f"{path} must hold a {wanted}, but holds a {found[0]}: use {found[1]}."))
    return refusal(ValueError(f"{path} must hold a {wanted}, but its keys are {listed(keys)}."))


def check_names(found: Iterable[str], wanted: Iterable[str], path: str | Path, what: str) -> None:
    """Refuses keys that are missing or too many, whatever the weights' sizes.

    Raises:
        ValueError: names them.
    """
    missing, extra = sorted({*wanted} - {*found}), sorted({*found} - {*wanted})
    if missing or extra:
        raise refusal(
            ValueError(
                f"{path} does not fit {what}: "
                f"{len(missing)} keys are missing ({listed(missing)}), {len(extra)} are extra ({listed(extra)})."
            )
        )


def counted(state: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    """The tensors, and 0 for the batches that each normalisation has seen, in a file of which none tells that.

    None did before PyTorch 0.4.1, and no network in evaluation mode asks. torch's own loading does the same.
    """
    counts = [name for name in wanted if name.rpartition(".")[2] == "num_batches_tracked"]
    return (
        {**state} if any(name in state for name in counts) else {**state, **{name: torch.tensor(0) for name in counts}}
    )


def sized(state: Mapping[str, Tensor], wanted: Mapping[str, int], path: str | Path, what: str) -> list[Tensor]:
    """The weights that tell a model's sizes, all of which are there.

    Args:
        state: the file's tensors by the file's keys.
        wanted: the keys, and how many dimensions each has.
        path: named in messages.
        what: the architecture, named in messages.

    Raises:
        ValueError: some have another number of dimensions; names them.
    """
    bent = [f"{key} {list(state[key].shape)}" for key, dim in wanted.items() if state[key].dim() != dim]
    if bent:
        raise refusal(
            ValueError(f"{path} must hold a {what}, but {len(bent)} weights have another shape: {listed(bent)}.")
        )
    return [state[key] for key in wanted]


def numbered(keys: Iterable[str], pattern: str, first: int) -> int:
    """How many layers there must be, by the numbers that keys have where the pattern has its group.

    They end at the largest number up to which half of all are there: a layer that is missing as a whole is missed, and
    a key of some layer 99 is one too many.
    """
    found = (found for key in keys if (found := re.match(pattern, key)))
    numbers = sorted({int(found[1]) - first + 1 for found in found if len(found[1]) <= 9})
    numbers = [number for number in numbers if number > 0]
    return max((number for place, number in enumerate(numbers, 1) if 2 * place >= number), default=0)


def assemble(
    layout: FileLayout[G], state: Mapping[str, Tensor], path: str | Path, resolution: int | None, device: Any
) -> G:
    """The generator that a file holds, its sizes inferred, in evaluation mode.

    Args:
        layout: of the file.
        state: the file's tensors by the file's keys.
        path: named in messages.
        resolution: of the images, if another one is to be an error.
        device: where the model goes.

    Raises:
        ValueError: the file's resolution is another; or see `fill`.
    """
    if layout.levels > MOST_LEVELS:
        raise refusal(
            ValueError(
                f"{path} must hold a {layout.architecture} of at most {MOST_LEVELS} resolutions, but its keys are of "
                f"{layout.levels}."
            )
        )
    size = 2 << layout.levels
    if resolution not in (None, size):
        raise refusal(
            ValueError(f"{path} must hold a generator of {resolution}x{resolution} images, but makes {size}.")
        )
    with torch.device("meta"):  # no memory for weights that the file's take the place of
        any_widths = layout.make((1,) * layout.levels, 1)
    keys = [key for key, _ in layout.published(any_widths).values()]
    state = counted(state, keys)
    check_names(state, keys, path, f"a {layout.architecture} of {size}x{size} images")
    channels, z_channels = layout.sizes(sized(state, layout.telling, path, layout.architecture))
    with torch.device("meta"):
        model = layout.make(channels, z_channels)
    return fill(model, state, layout.published(model), path, device)


def fill(
    model: G, state: Mapping[str, Tensor], published: Mapping[str, tuple[str, Size]], path: str | Path, device: Any
) -> G:
    """The model with the tensors of the file as its weights, without a copy, in evaluation mode.

    Args:
        model: built without memory for its weights.
        state: the file's tensors by the file's keys.
        published: for each of the model's keys, the file's key and the shape that it has there.
        path: named in messages.
        device: where the model goes.

    Raises:
        ValueError: keys are missing or extra, shapes or dtypes differ, or a weight is NaN or infinite.
    """
    wanted = dict(published.values())
    check_fit(state, wanted, path, f"{type(model).__name__}{model.channels}")
    dtypes = {str(state[key].dtype) for key in wanted if state[key].is_floating_point()}
    if len(dtypes) > 1:
        raise refusal(
            ValueError(f"{path}: all weights must have one dtype, but some are {' and some '.join(sorted(dtypes))}.")
        )
    own = model.state_dict()
    for name, (key, _) in published.items():
        if own[name].is_floating_point() != state[key].is_floating_point():
            raise refusal(ValueError(f"{path}: {key} must hold {own[name].dtype}, but holds {state[key].dtype}."))
    filled = {name: state[key].reshape(own[name].shape) for name, (key, _) in published.items()}
    model.load_state_dict(filled, strict=True, assign=True)
    return model.eval().to(device)


def check_fit(state: Mapping[str, Tensor], wanted: Mapping[str, Size], path: str | Path, model: str) -> None:
    """Refuses tensors that are not the weights of a model.

    Args:
        state: the file's tensors by the file's keys.
        wanted: the keys and shapes that there must be.
        path: named in messages.
        model: named in messages.

    Raises:
        ValueError: keys are missing or extra, shapes differ, or a weight is NaN or infinite.
    """
    check_names(state, wanted, path, model)
    shapes = [f"{key} {list(state[key].shape)} for {list(shape)}" for key, shape in wanted.items()
              if state[key].shape != shape]  # fmt: skip
    if shapes:
        raise refusal(
            ValueError(f"{path}: {len(shapes)} weights have another shape than the layers need: {listed(shapes)}.")
        )
    odd = [f"{key} ({_kind(state[key])})" for key in wanted if not is_plain(state[key])]
    if odd:
        raise refusal(
            ValueError(f"{path}: weights must be dense floats of 16 to 64 bits, but {len(odd)} are not: {listed(odd)}.")
        )
    broken = [key for key in wanted if not _is_finite(state[key])]
    if broken:
        raise refusal(ValueError(f"{path}: {len(broken)} weights are NaN or infinite somewhere: {listed(broken)}."))


def checked_average(average: Any, model: G, path: str | Path) -> Tensor:
    """The average w of a file, as the model's weights are.

    Raises:
        ValueError: it is none; says what it is.
    """
    fits = isinstance(average, Tensor) and average.is_floating_point() and average.numel() == model.z_channels
    if not fits or not bool(average.isfinite().all()):
        what = f"{list(average.shape)} {average.dtype}" if isinstance(average, Tensor) else type(average).__name__
        raise refusal(
            ValueError(
                f"{path}: latent_avg must be {model.z_channels} finite floats, as w has, but is {what}, or NaN "
                "somewhere."
            )
        )
    latent: Tensor = average.detach().flatten().to(next(model.parameters()), copy=True)
    return latent


def unchanged(model: nn.Module) -> dict[str, tuple[str, Size]]:
    """For `fill`: the file has the model's own keys."""
    return {name: (name, value.shape) for name, value in model.state_dict().items()}


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype if tensor.layout == torch.strided else tensor.layout).removeprefix("torch.")


def _is_finite(tensor: Tensor) -> bool:
    """Without a temporary of the tensor's size, as torch.isfinite would make."""
    return tensor.numel() == 0 or all(bool(end.isfinite()) for end in torch.aminmax(tensor))
