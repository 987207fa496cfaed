"""What the page on omissions measures of inversion: six methods on generated images whose z are known."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

import dissect
from dissect.files.tensors import load_tensors, save_tensors
from dissect.omissions import Inversion, LayerInverter, OmissionPairs, SegmentationStatistics, omission_pairs
from dissect.tiny import TinyScenes, generator, segmenter, vgg

NAME = "progan-street"
#: The first z of seed 1, the steps of each optimisation, and Adam's rate at the start.
IMAGES, STEPS, RATE_OF_IMAGES = 100, 400, 0.1
#: How each of the thesis's methods is done: with which encoder, and by which method of `LayerInverter.invert`.
METHODS = {
    "a": ("layers", "a"), "b": ("reconstruction", "d"), "c": ("reconstruction", "e"), "d": ("joint", "d"),
    "e": ("joint", "e"), "f": ("joint", "f"), "d, not tuned": ("layers", "d"),
}  # fmt: skip
#: The generator's layers that are inverted, and how long encoders are trained, in epochs of 100 batches of 32 z.
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
EPOCHS, IMAGE_EPOCHS, JOINT_EPOCHS, RECONSTRUCTION_EPOCHS = 10, 6, 20, 10
#: Adam's rates of the layers and the image's encoder, and of all together.
RATE, JOINT_RATE = 3e-3, 3e-3


def trained(work: Path) -> dict[str, Path]:
    """Encoders by name: of the layers alone, tuned together, and trained on reconstruction alone; kept in files."""
    paths = {name: work / f"street-{name}.inverter" for name in ("layers", "joint", "reconstruction")}
    model, quiet = generator(NAME), {"progress": False}
    if not paths["layers"].exists():
        LayerInverter.train(
            model, LAYERS, epochs=EPOCHS, image_epochs=IMAGE_EPOCHS, rate=RATE, image_rate=RATE, resume=work / "layers",
            **quiet,
        ).save(paths["layers"])  # fmt: skip
    if not paths["joint"].exists():
        LayerInverter.load(paths["layers"], model).fine_tune(
            epochs=JOINT_EPOCHS, rate=JOINT_RATE, seed=1, resume=work / "joint", **quiet
        ).save(paths["joint"])  # fmt: skip
    if not paths["reconstruction"].exists():
        LayerInverter.untrained(model, LAYERS).fine_tune(
            objective="reconstruction", epochs=RECONSTRUCTION_EPOCHS, rate=JOINT_RATE, seed=1,
            resume=work / "reconstruction", **quiet,
        ).save(paths["reconstruction"])  # fmt: skip
    return paths


def features() -> Any:
    """V: the embedded classifier up to conv4_2 and its ReLU, on images in [-1, 1], as published."""
    return vgg().features[:21]


def inverted(work: Path, name: str) -> tuple[Inversion, float]:
    """The inversion of generated images by a method, and the seconds of processor time that it took; kept in files."""
    path, (encoder, method) = work / f"{name.replace(', ', '-')}.inversion", METHODS[name]
    took = path.with_suffix(".seconds")
    if not path.exists():
        model = generator(NAME)
        inverter = LayerInverter.load(trained(work)[encoder], model)
        images = model(dissect.latents(model, IMAGES)).detach()
        begin = time.process_time()
        found = inverter.invert(
            images, method, steps=STEPS, rate=RATE_OF_IMAGES, features=features(), batch_size=8, progress=False
        )
        took.write_text(str(time.process_time() - begin), encoding="utf-8")
        found.save(path)
    return Inversion.load(path), float(took.read_text(encoding="utf-8"))


def truth() -> torch.Tensor:
    """The z of the images."""
    return dissect.latents(generator(NAME), IMAGES)


#: Real images with most of a class; images of each of four kinds; and the steps of their inversion.
EACH, KIND_EACH, SHEET_STEPS = 10, 10, 200
DOMAINS = {
    "training set": ("train", "street"), "held out": ("val", "street"), "rooms": ("val", "room"),
    "landscapes": ("val", "landscape"),
}  # fmt: skip


def domains(work: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], float]:
    """Images by kind, what (f) makes of each, and the seconds of processor time; kept in a file."""
    path = work / "domains.tensors"
    if not path.exists():
        inverter = LayerInverter.load(trained(work)["joint"], generator(NAME))
        real = {name: _scenes(*where) for name, where in DOMAINS.items()}
        begin = time.process_time()
        made = inverter.invert(
            torch.cat(list(real.values())),
            "f",
            steps=SHEET_STEPS,
            rate=RATE_OF_IMAGES,
            features=features(),
            progress=False,
        )
        save_tensors(path, "domains", 1, {"real": torch.cat(list(real.values())), "made": made.images}, {
            "seconds": time.process_time() - begin,
        })  # fmt: skip
    tensors, about = load_tensors(path, "domains", 1)
    real, found = (dict(zip(DOMAINS, tensors[name].split(KIND_EACH))) for name in ("real", "made"))
    return real, found, about["seconds"]


def _scenes(split: str, family: str) -> torch.Tensor:
    scenes = TinyScenes(split, 64, KIND_EACH, family=family)
    return torch.stack([scenes[number][0] for number in range(KIND_EACH)]) * 2 - 1


def pairs(work: Path, real: SegmentationStatistics, concept: str) -> OmissionPairs:
    """The real images with most of a class, and what (d) and (f) make of them; kept in a file."""
    path = work / f"{concept.replace('/', '-')}.pairs"
    if not path.exists():
        inverter = LayerInverter.load(trained(work)["joint"], generator(NAME))
        scenes = TinyScenes("val", 64, len(real), family="street")
        omission_pairs(
            inverter, scenes, real, segmenter(signed=True), concept, count=EACH, steps=SHEET_STEPS, rate=RATE_OF_IMAGES,
            features=features(), progress=False,
        ).save(path)  # fmt: skip
    return OmissionPairs.load(path)


#: A StyleGAN2 and how it is split; how many of its images are inverted, and how little its encoders are trained.
STYLE, STYLE_LAYERS, STYLE_IMAGES = "stylegan2-street-watermark", ["layer2", "layer3", "layer4"], 4
STYLE_TRAINING = {"width": 16, "epochs": 2, "image_epochs": 2, "batch_size": 16, "rate": RATE, "image_rate": RATE}


def styled(work: Path) -> tuple[LayerInverter, dict[str, Inversion]]:
    """An inverter of the StyleGAN2, and by method what it makes of images whose z are known; kept in files."""
    path, model = work / "style.inverter", generator(STYLE)
    if not path.exists():
        resume = work / "style"
        LayerInverter.train(model, STYLE_LAYERS, **STYLE_TRAINING, resume=resume, progress=False).save(path)
    inverter, found = LayerInverter.load(path, model), {}
    with torch.no_grad():
        images = model(dissect.latents(model, STYLE_IMAGES))
    for method in ("a", "d", "e", "f"):
        kept = work / f"style-{method}.inversion"
        if not kept.exists():
            inverter.invert(
                images, method, steps=SHEET_STEPS, rate=RATE_OF_IMAGES, features=features(), progress=False
            ).save(kept)  # fmt: skip
        found[method] = Inversion.load(kept)
    return inverter, found
