"""Files of weights: tensors only, read once, with every key accounted for."""

from __future__ import annotations

import argparse
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Size, Tensor, nn

from dissect.models.generator import Generator

G = TypeVar("G", bound=Generator)

#: At most so many names appear in a message.
SHOWN = 10

#: A mapped file is copied in so many parts, one of which is in memory twice.
PARTS = 10

#: What torch and safetensors raise when the bytes of a file make no sense to them.
DAMAGED = (
    pickle.UnpicklingError, SafetensorError, RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError,
    AttributeError, struct.error,
)  # fmt: skip

PROGAN, STYLEGAN2, WGAN_GP = "Progressive GAN generator", "StyleGAN2 generator", "WGAN-GP generator"
#: Keys by which a file of another architecture is known, and what loads it.
ARCHITECTURES = (
    (("mapping.fc1.weight", "style.1.weight", "g_ema"), STYLEGAN2, "load_stylegan2"),
    (("layer1.conv.weight", "features.0.conv.weight"), PROGAN, "load_progan"),
    (("layer1.linear.weight",), WGAN_GP, "load_wgangp"),
)


@dataclass(frozen=True)
class Layout(Generic[G]):
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


def read(path: str | Path, *sections: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights in a .safetensors file, or one that torch.save wrote, and what else it holds.

    Nothing is unpickled but tensors, containers, numbers and text (and the arguments that the training script of
    rosinality's StyleGAN2 saves beside its weights, an argparse.Namespace). The weights are contiguous and have memory
    of their own, so that the file can be written again; hardly more is needed to read them. What else there is stays
    mapped to the file. (A file from before PyTorch 1.6 is read at once instead.)

    Args:
        path: of the file.
        sections: names under which the file may hold its weights; the first that it has counts, else the whole file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    data = _opened(path, zipped)
    section = next((name for name in sections if name in data), None)
    rest = {} if section is None else {name: value for name, value in data.items() if name != section}
    state = _tensors_of(data, section, path)
    if path.suffix == ".safetensors" or zipped:
        sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in state.items()}
        del state, data
        return _copied(lambda: _tensors_of(_opened(path, zipped), section, path), sizes), rest
    return {name: tensor.contiguous() for name, tensor in state.items()}, rest


def _opened(path: Path, zipped: bool) -> dict[str, Any]:
    """What a file holds, its tensors mapped to it if it is a zip or a safetensors file."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}
        with torch.serialization.safe_globals([argparse.Namespace]):
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except DAMAGED as error:
        if re.search("allocate memory|unable to mmap", str(error)):  # nothing is wrong with the file
            raise
        stranger = re.search(r"GLOBAL ([\w.]+)", str(error)) or re.search("with (TorchScript)", str(error))
        if stranger is None:
            raise ValueError(f"{path} is damaged or no file of weights{_why(path, error)}.") from error
        raise ValueError(
            f"{path} holds more than tensors ({stranger[1]}) and is refused, since unpickling Python objects runs "
            "their code. Load it where you trust it, and save its state_dict() alone."
        ) from error
    if not isinstance(data, Mapping):
        raise ValueError(f"{path} must hold a dictionary of tensors, but holds a {type(data).__name__}.")
    return dict(data)


def _tensors_of(data: Mapping[str, Any], section: str | None, path: Path) -> dict[str, Tensor]:
    """The weights in what a file holds: tensors under texts."""
    weights = data if section is None else data[section]
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
        what = "other keys" if isinstance(weights, Mapping) else f"a {type(weights).__name__}"
        raise ValueError(f"{path} must hold its weights as a dictionary from names to tensors, but holds {what}.")
    others = [f"{name} ({type(value).__name__})" for name, value in weights.items() if not isinstance(value, Tensor)]
    if others:
        hint = ""
        if "g_ema" in weights:
            hint = "; it looks like a StyleGAN2 checkpoint, which load_stylegan2 reads"
        elif "g" in weights and "d" in weights:
            hint = "; a StyleGAN2 checkpoint would have its averaged generator under g_ema, which is missing"
        raise ValueError(f"{path} must hold only tensors among its weights, but also holds {listed(others)}{hint}.")
    return dict(weights)


def _copied(opened: Callable[[], dict[str, Tensor]], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Copies of mapped tensors, of so many bytes; the file is mapped anew for each of `PARTS`.

    What was read of a mapping stays in memory until it is given up, and a mapped file must not be written to.
    """
    copies: dict[str, Tensor] = {}
    names, limit = list(sizes), sum(sizes.values()) // PARTS
    while len(copies) < len(names):
        mapped, taken = opened(), 0
        for name in names[len(copies) :]:
            plain = mapped[name].layout == torch.strided
            copies[name] = mapped[name].clone(memory_format=torch.contiguous_format) if plain else mapped[name]
            taken += sizes[name]
            if taken > limit:
                break
        del mapped
    return copies


def seems(keys: Iterable[str], wanted: str) -> tuple[str, str] | None:
    """Another architecture than the wanted one that the keys are of, and what loads it."""
    for marks, architecture, loader in ARCHITECTURES:
        if architecture != wanted and any(mark in keys for mark in marks):
            return architecture, loader
    return None


def another_architecture(path: str | Path, wanted: str, keys: Iterable[str]) -> ValueError:
    """The error for a file that does not hold what was wanted, with what it seems to hold."""
    keys = sorted(keys)
    found = seems(keys, wanted)
    if found is not None:
        return ValueError(f"{path} must hold a {wanted}, but holds a {found[0]}: use {found[1]}.")
    return ValueError(f"{path} must hold a {wanted}, but its keys are {listed(keys)}.")


def check_names(found: Iterable[str], wanted: Iterable[str], path: str | Path, what: str) -> None:
    """Refuses keys that are missing or too many, whatever the weights' sizes.

    Raises:
        ValueError: names them.
    """
    missing, extra = sorted({*wanted} - {*found}), sorted({*found} - {*wanted})
    if missing or extra:
        raise ValueError(
            f"{path} does not fit {what}: "
            f"{len(missing)} keys are missing ({listed(missing)}), {len(extra)} are extra ({listed(extra)})."
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
        raise ValueError(f"{path} must hold a {what}, but {len(bent)} weights have another shape: {listed(bent)}.")
    return [state[key] for key in wanted]


def numbered(keys: Iterable[str], pattern: str, first: int) -> int:
    """How many layers there must be, by the numbers that keys have where the pattern has its group.

    They end at the largest number up to which half of all are there: a layer that is missing as a whole is missed, and
    a key of some layer 99 is one too many.
    """
    numbers = sorted({int(found[1]) - first + 1 for key in keys if (found := re.match(pattern, key))})
    numbers = [number for number in numbers if number > 0]
    return max((number for place, number in enumerate(numbers, 1) if 2 * place >= number), default=0)


def assemble(
    layout: Layout[G], state: Mapping[str, Tensor], path: str | Path, resolution: int | None, device: Any
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
    size = 2 << layout.levels
    if resolution not in (None, size):
        raise ValueError(f"{path} must hold a generator of {resolution}x{resolution} images, but makes {size}.")
    with torch.device("meta"):  # no memory for weights that the file's take the place of
        any_widths = layout.make((1,) * layout.levels, 1)
    keys = [key for key, _ in layout.published(any_widths).values()]
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
        raise ValueError(f"{path}: all weights must have one dtype, but some are {' and some '.join(sorted(dtypes))}.")
    own = model.state_dict()
    for name, (key, _) in published.items():
        if own[name].is_floating_point() != state[key].is_floating_point():
            raise ValueError(f"{path}: {key} must hold {own[name].dtype}, but holds {state[key].dtype}.")
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
        raise ValueError(f"{path}: {len(shapes)} weights have another shape than the layers need: {listed(shapes)}.")
    odd = [f"{key} ({_kind(state[key])})" for key in wanted if not _is_plain(state[key])]
    if odd:
        raise ValueError(
            f"{path}: weights must be dense floats of 16 to 64 bits, but {len(odd)} are not: {listed(odd)}."
        )
    broken = [key for key in wanted if not _is_finite(state[key])]
    if broken:
        raise ValueError(f"{path}: {len(broken)} weights are NaN or infinite somewhere: {listed(broken)}.")


def unchanged(model: nn.Module) -> dict[str, tuple[str, Size]]:
    """For `fill`: the file has the model's own keys."""
    return {name: (name, value.shape) for name, value in model.state_dict().items()}


def listed(names: list[str]) -> str:
    """The names, at most ten of them."""
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _is_plain(tensor: Tensor) -> bool:
    """Whether it is dense, and of floats that networks compute with, or of integers or bools, as counters and masks."""
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    others = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
    return tensor.layout == torch.strided and tensor.dtype in (*floats, *others)


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype if tensor.layout == torch.strided else tensor.layout).removeprefix("torch.")


def _is_finite(tensor: Tensor) -> bool:
    """Without a temporary of the tensor's size, as torch.isfinite would make."""
    return tensor.numel() == 0 or all(bool(end.isfinite()) for end in torch.aminmax(tensor))


def _why(path: Path, error: Exception) -> str:
    """What is known of the reason; torch's words end in the advice to unpickle the file all the same."""
    if isinstance(error, SafetensorError):
        return f": {error}"
    with path.open("rb") as file:
        looks = file.read(10)[8:] == b'{"'
    return ": its content is that of a safetensors file, but its name does not end in .safetensors" if looks else ""
