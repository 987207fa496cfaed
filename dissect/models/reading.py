"""Files of weights: tensors only, read once, none before its size was looked at."""

from __future__ import annotations

import argparse
import pickle
import re
import struct
import sys
import threading
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from torch import Tensor

from dissect.arguments import refusal
from dissect.files.tensorfile import fill, read_tensors

#: At most so many names appear in a message.
SHOWN = 10

#: Weights may take so many times a file's bytes, as those that several names share do.
MOST_SHARED = 16

#: What else a file holds beside its weights is read up to so many bytes each.
MOST_BESIDE = 1 << 20

#: torch keeps one list of what may be unpickled for the whole process.
_UNPICKLING = threading.Lock()

#: What wrappers put before every key: DataParallel, and torch.compile.
PREFIXES = ("module.", "_orig_mod.")


class _Refused(ValueError):
    """Why a file of torch is not read, in words of our own."""


#: What torch and safetensors raise when the bytes of a file make no sense to them.
DAMAGED = (
    pickle.UnpicklingError, SafetensorError, RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError,
    AttributeError, struct.error, zipfile.BadZipFile,
)  # fmt: skip


def read(path: str | Path, *sections: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights in a .safetensors file, or one that torch.save wrote, and what else it holds.

    Nothing is unpickled but tensors, containers, numbers and text (and the arguments that the training script of
    rosinality's StyleGAN2 saves beside its weights, an argparse.Namespace). The weights are contiguous and have memory
    of their own; what they say of their sizes is compared with the file's before any is read, and only they are read.
    (A file from before PyTorch 1.6 is read at once instead.) A prefix that all keys have from a wrapper, "module.",
    is cut off. Of what else there is, large tensors have no memory (they are on the meta device).

    Args:
        path: of the file.
        sections: names under which the file may hold its weights; the first that it has counts, else the whole file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, is cut while it is read, or holds more than tensors, or tensors that are larger
            than what is stored of them.
    """
    path = Path(path)
    if not path.is_file():
        raise refusal(FileNotFoundError(f"there is no file {path}."))
    with path.open("rb") as file:
        data = _opened(path, file)
        section = next((name for name in sections if name in data), None)
        rest = {} if section is None else {name: value for name, value in data.items() if name != section}
        state = _tensors_of(data, section, path)
        _check_sizes(state, path)
        for name, value in rest.items():
            if isinstance(value, Tensor) and value.numel() * value.element_size() <= MOST_BESIDE:
                rest[name] = _fetched(value, file, name, path)
        return unwrapped({name: _fetched(tensor, file, name, path) for name, tensor in state.items()}), rest


def unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes of wrappers that all their names have."""
    for prefix in PREFIXES * 2:  # one may stand in the other
        if state and all(name.startswith(prefix) and name != prefix for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _opened(path: Path, file: BinaryIO) -> dict[str, Any]:
    """What a file holds; of a zip the tensors are on the meta device, and their storages know where they lie."""
    try:
        if path.suffix == ".safetensors":
            return dict(read_tensors(path)[0])
        zipped = file.read(2) == b"PK"
        file.seek(0)
        if zipped:
            _check_zip(file)
        with _UNPICKLING, torch.serialization.safe_globals([argparse.Namespace]):
            data = torch.load(file, map_location="meta" if zipped else "cpu", weights_only=True)
    except DAMAGED as error:
        if re.search("allocate memory|unable to mmap", str(error)):  # nothing is wrong with the file
            raise
        stranger = re.search(r"GLOBAL ([\w.]+)", str(error)) or re.search("with (TorchScript)", str(error))
        if stranger is None:
            raise refusal(ValueError(f"{path} is damaged or no file of weights{_why(path, error)}.")) from error
        raise refusal(
            ValueError(
                f"{path} holds more than tensors ({stranger[1]}) and is refused, since unpickling Python objects runs "
                "their code. Load it where you trust it, and save its state_dict() alone."
            )
        ) from error
    if not isinstance(data, Mapping):
        raise refusal(ValueError(f"{path} must hold a dictionary of tensors, but holds a {type(data).__name__}."))
    return dict(data)


def _check_zip(file: BinaryIO) -> None:
    """Refuses records that do not lie in the file as they are in memory.

    Raises:
        _Refused, BadZipFile: they are packed, in the byte order of other machines, or no zip's.
    """
    with zipfile.ZipFile(file) as archive:
        if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
            raise _Refused("its records are compressed")
        orders = [record for record in archive.infolist() if record.filename.endswith("/byteorder")]
        if any(record.file_size > 16 or archive.read(record) != sys.byteorder.encode() for record in orders):
            raise _Refused("its numbers have another byte order than this machine's")
    file.seek(0)


def _check_sizes(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuses tensors larger than what the file stores of them, such as those of stride 0.

    Raises:
        ValueError: names them.
    """
    plain = {name: tensor for name, tensor in state.items() if is_plain(tensor)}
    larger = [f"{name} {list(tensor.shape)}" for name, tensor in plain.items() if tensor.numel() > _span(tensor)]
    if larger:
        raise refusal(
            ValueError(
                f"{path}: weights must be stored in full, but {len(larger)} repeat what is stored once: "
                f"{listed(larger)}. Save them after .contiguous()."
            )
        )
    taken, stored = sum(tensor.numel() * tensor.element_size() for tensor in plain.values()), path.stat().st_size
    if taken > MOST_SHARED * stored:
        raise refusal(
            ValueError(
                f"{path}: weights must not take more than {MOST_SHARED} times the file's bytes, {stored}, but those "
                f"that share their memory would take {taken}."
            )
        )


def _span(tensor: Tensor) -> int:
    """How many elements of its storage a tensor reaches over, from its first to its last one."""
    if not tensor.numel():
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride()))


def _fetched(tensor: Tensor, file: BinaryIO, name: str, path: Path) -> Tensor:
    """A tensor of the file in memory; what is no plain weight stays as it is, and is refused later, by name.

    Raises:
        ValueError: the file ends before it.
    """
    if not is_plain(tensor) or tensor.device.type != "meta":
        return tensor.detach().contiguous() if is_plain(tensor) else tensor
    storage: Any = tensor.untyped_storage()
    length, item = _span(tensor), tensor.element_size()
    if (tensor.storage_offset() + length) * item > storage.nbytes():
        raise refusal(ValueError(f"{path} is damaged: {name} reaches over what is stored of it."))
    stored = torch.empty(length, dtype=tensor.dtype)
    begin = int(storage._checkpoint_offset + tensor.storage_offset() * item)
    if not fill(stored, file, begin):
        raise refusal(ValueError(f"{path} is damaged: it ends before {name} does, or was cut while it was read."))
    return stored.as_strided(tensor.shape, tensor.stride()).contiguous()


def _tensors_of(data: Mapping[str, Any], section: str | None, path: Path) -> dict[str, Tensor]:
    """The weights in what a file holds: tensors under texts."""
    weights = data if section is None else data[section]
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
        what = "other keys" if isinstance(weights, Mapping) else f"a {type(weights).__name__}"
        raise refusal(
            ValueError(f"{path} must hold its weights as a dictionary from names to tensors, but holds {what}.")
        )
    others = [f"{name} ({type(value).__name__})" for name, value in weights.items() if not isinstance(value, Tensor)]
    if others:
        hint = ""
        if "g_ema" in weights:
            hint = "; it looks like a StyleGAN2 checkpoint, which load_stylegan2 reads"
        elif "g" in weights and "d" in weights:
            hint = "; a StyleGAN2 checkpoint would have its averaged generator under g_ema, which is missing"
        raise refusal(
            ValueError(f"{path} must hold only tensors among its weights, but also holds {listed(others)}{hint}.")
        )
    return dict(weights)


def listed(names: list[str]) -> str:
    """The names, at most ten of them."""
    if not names:
        return "none"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def is_plain(tensor: Tensor) -> bool:
    """Whether it is dense, and of floats that networks compute with, or of integers or bools, as counters and masks."""
    floats = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    others = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
    return tensor.layout == torch.strided and tensor.dtype in (*floats, *others)


def _why(path: Path, error: Exception) -> str:
    """What is known of the reason; torch's words end in the advice to unpickle the file all the same."""
    if isinstance(error, (SafetensorError, _Refused)):
        return f": {error}"
    with path.open("rb") as file:
        looks = file.read(10)[8:] == b'{"'
    return ": its content is that of a safetensors file, but its name does not end in .safetensors" if looks else ""
