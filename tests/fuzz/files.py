"""The library's own files, altered: `python files.py FOLDER BEGIN END` does the alterations of the seeds between.

A file is refused with a ValueError that names it, or what it holds can be used without any other error. The number
that is printed last is the seed of a crash.
"""

import json
import random
import struct
import sys
import warnings
from pathlib import Path

import torch
from kinds import kinds
from safetensors.torch import load, save

from dissect.files.tensors import _digest


def signed(tensors, header):
    """A file as the library writes it, with a right checksum."""
    header = {name: value for name, value in header.items() if name != "sha256"}
    header["sha256"] = _digest(json.dumps(header), tensors)
    return save({name: value.contiguous() for name, value in tensors.items()}, {"dissect": json.dumps(header)})


LEAVES = (None, -1, 0, 1, 2**63, 10**30, 3.5, float("nan"), "", "x", [], {}, [1, 2], True, [[0]], {"x": 1})


def other_leaf(r, value):
    """JSON like the value, with something else at one place."""
    if isinstance(value, dict) and value and r.random() < 0.9:
        name = r.choice(list(value))
        if r.random() < 0.1:
            return {key: entry for key, entry in value.items() if key != name}
        return {**value, name: other_leaf(r, value[name])}
    if isinstance(value, list) and value and r.random() < 0.8:
        at = r.randrange(len(value))
        return [*value[:at], other_leaf(r, value[at]), *value[at + 1 :]]
    return r.choice(LEAVES)


def other_tensor(r, value):
    """A tensor like it, but not it."""
    flat = value.clone().flatten()
    entries = {torch.bool: (True, False), torch.uint8: (0, 255)}.get(value.dtype, (-1, 0, 1, 3, 10**6, 2**31 - 1))
    if value.is_floating_point():
        entries = (float("nan"), float("inf"), -1.0, 0.0, 1e30, 1e-40)
    elif value.dtype == torch.int64:
        entries += (2**62, -(2**63), 2**53 + 1)
    if flat.numel() and r.random() < 0.5:
        flat[r.randrange(len(flat))] = r.choice(entries)
        return flat.view(value.shape)
    if flat.numel() and r.random() < 0.3:
        return torch.full_like(value, r.choice(entries))
    changes = [
        lambda: value[:-1],
        lambda: value[:0],
        lambda: value[None],
        lambda: value.flatten(),
        lambda: value.double(),
        lambda: value.int(),
        lambda: value.long(),
        lambda: torch.cat([value, value]),
        lambda: value.flip(0),
        lambda: value.transpose(0, -1),
        lambda: value[..., :-1],
        lambda: value.half(),
    ]
    return r.choice(changes)()


def altered(r, data):
    """The file's bytes, not as they were."""
    kind = r.choice(["cut", "flip", "swap", "header", "tensor", "tensor", "tensor", "json", "json", "drop"])
    changed = bytearray(data)
    if kind == "cut":
        return data[: r.randrange(len(data))]
    if kind == "flip":
        for _ in range(r.randint(1, 3)):
            changed[r.randrange(len(data))] ^= 1 << r.randrange(8)
        return bytes(changed)
    if kind == "swap":
        one, two, size = r.randrange(len(data)), r.randrange(len(data)), r.randint(1, 64)
        changed[one : one + size], changed[two : two + size] = data[two : two + size], data[one : one + size]
        return bytes(changed)
    length = struct.unpack("<Q", data[:8])[0]
    outer = json.loads(data[8 : 8 + length])
    if kind == "header":
        if r.random() < 0.2:
            return struct.pack("<Q", r.choice([0, 1, length - 1, length + 1, 2**40, 2**63])) + data[8:]
        text = json.dumps(other_leaf(r, outer)).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]
    tensors, header = load(data), json.loads(outer["__metadata__"]["dissect"])
    if kind == "json":
        return signed(tensors, other_leaf(r, header)) if r.random() < 0.2 else signed(
            tensors, {**header, "meta": other_leaf(r, header["meta"])})  # fmt: skip
    name = r.choice(sorted(tensors))
    if kind == "drop":
        del tensors[name]
    else:
        tensors[name] = other_tensor(r, tensors[name])
    return signed(tensors, header)


def main(folder, begin, end):
    """The alterations of the seeds from begin to before end; how many files were refused."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    files, refused = kinds(folder), 0
    for seed in range(begin, end):
        print(seed, flush=True)
        r = random.Random(seed)
        name = r.choice(list(files))
        data, path, use = files[name]
        try:
            changed = altered(r, data)
        except (AttributeError, IndexError, RuntimeError, TypeError):  # there is no such file
            continue
        path.write_bytes(changed)
        try:
            use(path)
        except ValueError as error:
            # What shows later, when the run or the state goes on, is told as of any other.
            told = ("must see the activations of the visits before", "must be the same at every visit",
                    "must be those of the run to resume", "predictions must be finite", "appears at none of",
                    "alpha must be finite", "must hold all", "peaks must be finite",
                    "must be those of the dissection", "must hold a twin of each", "of those before",
                    "those before it", "finds no pixel of", "must see the samples of the first",
                    "it has seen every image",
                    "must be as many as labels", "must come with all images or with none",
                    "is the value one that the units can have", "value must be given where fewer")  # fmt: skip
            later = any(text in str(error) for text in told) or str(error).startswith("dissect: ")
            if str(path) not in str(error) and not later:
                raise AssertionError(f"seed {seed}: the error does not name {path}") from error
            refused += 1
        finally:
            path.write_bytes(data)
    print(f"refused {refused} of {end - begin}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
