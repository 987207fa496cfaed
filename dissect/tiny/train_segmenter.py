"""Train a segmentation network on the scenes: `python -m dissect.tiny.train_segmenter --out DIR --seed S`.

DIR receives the rendered scenes with their labels, a checkpoint from which a stopped run goes on and, at the end,
`segmenter-S.safetensors`, which `dissect.tiny.networks.load_segmenter` reads, and `segmenter-S.log`, one JSON object
per tenth of the training and one with the IoU of every concept on held-out scenes.

So that the network can be trusted with generated images, a quarter of the training images are blurred, a quarter made
noisy, a quarter made smaller and larger again, independently. Order and chance are functions of the seed and the step:
on a CPU, with as many threads, a run that was killed and goes on ends with the weights of one that was not. Only the
losses in its log are then means over fewer steps.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, cross_entropy, interpolate, pad
from tqdm import tqdm

from dissect.files.tensors import save_tensors
from dissect.models import UNet
from dissect.tiny.dataset import TinyScenes
from dissect.tiny.networks import SEGMENTER_CHANNELS, SEGMENTER_GROUPS, SEGMENTER_PLANES
from dissect.tiny.training.descent import LossTraining, muon_and_adamw
from dissect.tiny.training.run import (
    Checkpoint,
    add_arguments,
    order,
    parsed,
    save_array,
    scenes_version,
    train_for,
)
from dissect.tiny.weight_files import FORMAT, narrowed
from dissect.tiny.world.vocabulary import CONCEPTS

SIZE = 64
COUNTS = {"train": 38_700, "val": 2_150}
BATCH = 32
IMAGES = 128_000
PEAK_RATE, WEIGHT_DECAY = 2e-3, 0.01

#: Shares of the training images that are blurred, made noisy, and made smaller and larger again, independently.
DEGRADED = 0.25
BLUR, NOISE = (0.4, 1.2), (0.01, 0.06)


def rendered(split: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [count, 3, 64, 64] and places in the groups uint8 [count, K, 64, 64]; rendered once, then read."""
    count = COUNTS[split]
    version = scenes_version(SIZE)
    images, places = (folder / f"{split}-{SIZE}-{count}-{version}-{what}.npy" for what in ("images", "places"))
    if not places.exists():
        scenes = TinyScenes(split, SIZE, count)
        lookup = np.zeros((len(SEGMENTER_GROUPS), len(CONCEPTS)), dtype=np.uint8)
        for row, group in zip(lookup, SEGMENTER_GROUPS, strict=True):
            row[list(group)] = np.arange(len(group))
        made = [np.empty((count, 3, SIZE, SIZE), np.uint8), np.empty((count, len(lookup), SIZE, SIZE), np.uint8)]
        for index in tqdm(range(count), desc=f"rendering {split}", disable=None):
            image, planes = scenes.raw(index)
            made[0][index] = image
            made[1][index] = [row[planes[plane]] for row, plane in zip(lookup, SEGMENTER_PLANES, strict=True)]
        for path, array in zip((images, places), made, strict=True):
            save_array(path, array)
    return np.load(images, mmap_mode="r"), np.load(places, mmap_mode="r")


def degraded(images: Tensor, chance: torch.Generator) -> Tensor:
    """Images [N, 3, H, W] in [0, 1], some of them as a generator would give them: see the constants above."""
    count = len(images)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=chance)

    blurred, noisy, coarse = (torch.rand(3, count, generator=chance) < DEGRADED)[:, :, None, None, None]
    images = torch.where(blurred, blur(images, drawn(*BLUR)), images)
    small = interpolate(avg_pool2d(images, 2), scale_factor=2.0, mode="bilinear")
    images = torch.where(coarse, small, images)
    strength = drawn(*NOISE)[:, None, None, None] * noisy
    images = images + strength * torch.randn(images.shape, generator=chance)
    return images.clamp(0, 1).contiguous(memory_format=torch.channels_last)


def blur(images: Tensor, sigmas: Tensor) -> Tensor:
    """Each image [3, H, W] under a Gaussian of its own width, in pixels; edges repeat."""
    taps = torch.exp(-(torch.arange(-3.0, 4.0) ** 2) / (2 * sigmas[:, None] ** 2))
    taps = (taps / taps.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None, None]
    flat = pad(images, (3, 3, 3, 3), mode="replicate").reshape(1, -1, images.shape[2] + 6, images.shape[3] + 6)
    flat = conv2d(conv2d(flat, taps, groups=len(taps)), taps.transpose(2, 3), groups=len(taps))
    return flat.view(images.shape)


@torch.inference_mode()
def ious(network: nn.Module, images: np.ndarray, places: np.ndarray) -> dict[str, float]:
    """IoU of each concept over these images, by "category/name"; those that never appear are left out."""
    network.eval()
    widths = [len(group) for group in SEGMENTER_GROUPS]
    tables = [np.zeros((width, width), np.int64) for width in widths]
    for start in range(0, len(images), BATCH):
        pixels = torch.tensor(images[start : start + BATCH]).float() / 255
        logits = network(pixels.contiguous(memory_format=torch.channels_last)).split(widths, 1)
        for plane, (table, said) in enumerate(zip(tables, logits, strict=True)):
            pairs = places[start : start + BATCH, plane].astype(np.int64) * len(table) + said.argmax(1).numpy()
            table += np.bincount(pairs.ravel(), minlength=table.size).reshape(table.shape)
    result: dict[str, float] = {}
    for number, (group, table) in enumerate(zip(SEGMENTER_GROUPS, tables, strict=True)):
        nested = "nested " if SEGMENTER_PLANES[number] == 2 else ""
        union = table.sum(0) + table.sum(1) - table.diagonal()
        for place, label in enumerate(group):
            if label and table[place].any():
                name = f"{nested}{CONCEPTS.categories[label]}/{CONCEPTS.names[label]}"
                result[name] = float(table[place, place] / union[place])
    return result


class SegmenterTraining(LossTraining):
    """One training run; see `train_gan.GanTraining`.

    Args:
        out: the folder; a run that it holds goes on.
        seed: of the initial weights, the order and the degradations.
        device: where it runs.

    Raises:
        ValueError: the folder holds a run of something else.
    """

    warm_up = 0.03

    def __init__(self, out: Path, seed: int, device: str = "cpu") -> None:
        super().__init__()
        self.name, self.out, self.seed, self.device = f"segmenter-{seed}", out, seed, device
        self.images, self.places = rendered("train", out)
        outputs = sum(len(group) for group in SEGMENTER_GROUPS)
        self.network = UNet(SEGMENTER_CHANNELS, outputs, seed=seed)
        self.network.to(device=device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inner = [p for name, p in self.network.named_parameters() if p.dim() == 4 and "output" not in name]
        self.optimizers = muon_and_adamw(inner[1:], self.network.parameters(), PEAK_RATE, WEIGHT_DECAY)
        self.steps = IMAGES // BATCH
        self.about = {
            "seed": seed, "images": IMAGES, "channels": list(SEGMENTER_CHANNELS), "scenes": scenes_version(SIZE),
        }  # fmt: skip
        self._resume(
            Checkpoint(out / f"{self.name}.checkpoint", {"network": self.network}, self.optimizers, self.about)
        )

    def _train_step(self) -> None:
        epoch, at = divmod(self.step, len(self.images) // BATCH)
        index = np.sort(order(self.seed, epoch, len(self.images))[at * BATCH : (at + 1) * BATCH])
        chance = torch.Generator().manual_seed((self.seed << 32) + self.step)
        pixels = degraded(torch.from_numpy(self.images[index]).float() / 255, chance).to(self.device)
        places = torch.from_numpy(self.places[index]).to(self.device).long()
        self.network.train()
        with torch.autocast(pixels.device.type, torch.bfloat16):
            logits = self.network(pixels).split([len(group) for group in SEGMENTER_GROUPS], 1)
        loss = torch.stack([cross_entropy(said.float(), places[:, plane]) for plane, said in enumerate(logits)]).sum()
        self._descend(loss)
        if self.step % math.ceil(self.steps / 10) == 0:
            self._tell({
                "images": self.step * BATCH, "loss": self._mean_loss(), "minutes": round(self.minutes, 2),
            })  # fmt: skip

    def _finish(self) -> None:
        self.network.cpu()
        halves = narrowed(self.network.state_dict())
        self.network.load_state_dict(halves)
        reached = ious(self.network, *rendered("val", self.out))
        save_tensors(self.out / f"{self.name}.safetensors", *FORMAT, halves, {
            "architecture": "UNet", **self.about, "minutes": self.minutes, "machine": self.machine, "iou": reached,
        })  # fmt: skip
        self._write_log({"iou": reached})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train a segmentation network on the tiny scenes.")
    add_arguments(parser)
    arguments = parsed(parser)
    train_for(SegmenterTraining(arguments.out, arguments.seed, arguments.device), arguments.minutes)


if __name__ == "__main__":
    main()
