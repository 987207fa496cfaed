"""What the page on omissions measures of inversion: six methods on generated images whose z are known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

import dissect
from dissect.files.tensors import load_tensors, save_tensors
from dissect.omissions import Inversion, LayerInverter
from dissect.tiny import generator, vgg

NAME = "progan-street"
#: The first z of seed 1, and the steps of each optimisation.
IMAGES, STEPS = 12, 400
#: How each of the thesis's methods is done: with which encoder, and by which method of `LayerInverter.invert`.
METHODS = {
    "a": ("layers", "a"), "b": ("reconstruction", "d"), "c": ("reconstruction", "e"), "layers alone": ("layers", "d"),
    "d": ("joint", "d"), "e": ("joint", "e"), "f": ("joint", "f"),
}  # fmt: skip
FIELDS = ("z", "r", "images", "losses", "diverged")


def features() -> Any:
    """V: the embedded classifier up to conv4_2 and its ReLU, on images in [-1, 1], as published."""
    return vgg().features[:21]


def inverted(work: Path, encoders: Path, name: str) -> tuple[Inversion, float]:
    """The inversion of generated images by a method, and the seconds of processor time that it took; kept in a file."""
    path, (encoder, method) = work / f"inverted-{name.replace(' ', '-')}.tensors", METHODS[name]
    if not path.exists():
        model = generator(NAME)
        inverter = LayerInverter.load(encoders / f"street-{encoder}", model)
        images = model(dissect.latents(model, IMAGES)).detach()
        begin = time.process_time()
        found = inverter.invert(images, method, steps=STEPS, features=features(), progress=False)
        tensors = {field: getattr(found, field) for field in FIELDS}
        tensors |= {f"delta{at}": delta for at, delta in enumerate(found.deltas)}
        about = {"steps": found.steps, "seconds": time.process_time() - begin, "method": method}
        save_tensors(path, "inverted", 1, tensors, about)
    tensors, about = load_tensors(path, "inverted", 1)
    deltas = tuple(tensors[key] for key in sorted(tensors) if key.startswith("delta"))
    z, r, images, losses, diverged = (tensors[field] for field in FIELDS)
    return Inversion(name, z, deltas, r, images, losses, diverged, about["steps"]), about["seconds"]


def truth() -> torch.Tensor:
    """The z of the images."""
    return dissect.latents(generator(NAME), IMAGES)
