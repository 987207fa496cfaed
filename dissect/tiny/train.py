"""Train the small VGG on the scenes: `python -m dissect.tiny.train --out DIR --minutes M --seed S`.

DIR receives the rendered images (.npy), the log (`vgg.log`, one JSON object per epoch), a checkpoint from which a
stopped run goes on, and at the end `vgg.safetensors`, the file that `dissect.tiny.vgg` reads.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dissect.cache import load_tensors, save_tensors
from dissect.models import VGG
from dissect.tiny.dataset import DEFAULT_COUNTS, SPLITS, TinyScenes
from dissect.tiny.networks import CHANNELS, FORMAT, HIDDEN

BATCH = 64
PEAK_RATE = 1e-3
WEIGHT_DECAY = 0.05
WARM_UP = 0.04
LABEL_SMOOTHING = 0.05


def rendered(split: str, size: int, count: int, folder: Path) -> np.ndarray:
    """The images of a split, uint8 [count, 3, size, size]; rendered once, then read from the folder."""
    path = folder / f"{split}-{size}-{count}.npy"
    if not path.exists():
        scenes = TinyScenes(split, size, count)
        images = np.empty((count, 3, size, size), dtype=np.uint8)
        for index in tqdm(range(count), desc=f"rendering {split}"):
            images[index] = scenes.raw(index)[0]
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, images)
        os.replace(part, path)
    return np.load(path, mmap_mode="r")


def batches(images: np.ndarray, classes: int, order: np.ndarray) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images float32 [N, 3, size, size] and class numbers int64 [N] in this order."""
    for start in range(0, len(order), BATCH):
        index = np.sort(order[start : start + BATCH])
        pixels = torch.from_numpy(images[index]).to(memory_format=torch.channels_last)
        yield pixels.float() / 255, torch.from_numpy(index % classes)


def augmented(images: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Mirror half of the images, shift all by up to 8 pixels, vary brightness and contrast; may reuse their memory."""
    flip = torch.rand(len(images), generator=chance) < 0.5
    images[flip] = images[flip].flip(-1)
    shift_y, shift_x = torch.randint(-8, 9, (2,), generator=chance).tolist()
    images = images.roll((shift_y, shift_x), (-2, -1))
    gain = 0.85 + 0.3 * torch.rand(len(images), 1, 1, 1, generator=chance)
    offset = 0.1 * torch.rand(len(images), 1, 1, 1, generator=chance) - 0.05
    return (images * gain + offset).clamp_(0, 1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def accuracy(model: nn.Module, images: np.ndarray, classes: int) -> float:
    """The share of images whose largest logit is their class's, computed in float32."""
    model.eval()
    right = 0
    for pixels, numbers in batches(images, classes, np.arange(len(images))):
        right += int((model(pixels).argmax(1) == numbers).sum())
    return right / len(images)


class Run:
    """One training run: the network, its optimiser, the clock, and their checkpoint."""

    def __init__(self, out: Path, epochs: int, minutes: float, seed: int, size: int) -> None:
        self.out, self.epochs, self.seconds, self.seed, self.size = out, epochs, minutes * 60, seed, size
        self.images = {split: rendered(split, size, DEFAULT_COUNTS[split], out) for split in SPLITS}
        self.classes = TinyScenes.classes
        self.model = VGG(CHANNELS, len(self.classes), HIDDEN, dropout=0.3, seed=seed).to(
            memory_format=torch.channels_last
        )
        self.optimizer = torch.optim.AdamW(self.model.parameters(), PEAK_RATE, weight_decay=WEIGHT_DECAY)
        self.epoch, self.elapsed, self.step = 0, 0.0, 0
        self._resume()

    def metadata(self, reached: float) -> dict[str, object]:
        """What the weights' file says about itself."""
        return {
            "architecture": "VGG", "channels": list(CHANNELS), "hidden": HIDDEN, "classes": list(self.classes),
            "seed": self.seed, "size": self.size, "epochs": self.epoch, "val_accuracy": reached,
        }  # fmt: skip

    def _resume(self) -> None:
        path = self.out / "checkpoint.safetensors"
        if not path.exists():
            return
        states, about = load_tensors(path, *FORMAT)
        self.model.load_state_dict({name[6:]: value for name, value in states.items() if name.startswith("model.")})
        for name, parameter in self.model.named_parameters():
            self.optimizer.state[parameter] = {
                key: states[f"{key}.{name}"].clone() for key in ("exp_avg", "exp_avg_sq", "step")
            }
        self.epoch, self.elapsed, self.step = about["epoch"], about["elapsed"], about["step"]

    def _save(self) -> None:
        states = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimizer.state[parameter].items():
                states[f"{key}.{name}"] = value
        save_tensors(
            self.out / "checkpoint.safetensors",
            *FORMAT,
            states,
            {"epoch": self.epoch, "elapsed": self.elapsed, "step": self.step},
        )

    def _rate(self) -> float:
        """Warm-up, then half a cosine; whichever of epochs and minutes is further on counts."""
        steps = self.epochs * math.ceil(len(self.images["train"]) / BATCH)
        done = min(1.0, max(self.step / steps, self.elapsed / self.seconds))
        if done < WARM_UP:
            return PEAK_RATE * max(done, 1 / steps) / WARM_UP
        return PEAK_RATE * (0.5 + 0.5 * math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))

    def train_epoch(self) -> dict[str, float]:
        """One pass over the training images, or what the time allows of it."""
        self.model.train()
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.images["train"]))
        chance = torch.Generator().manual_seed(self.seed * 1000 + self.epoch)
        torch.manual_seed(self.seed * 1000 + self.epoch)
        started, losses, seen = time.monotonic(), [], 0
        before = self.elapsed
        steps = tqdm(
            batches(self.images["train"], len(self.classes), order),
            desc=f"epoch {self.epoch}",
            total=math.ceil(len(order) / BATCH),
            mininterval=5,
        )
        for pixels, numbers in steps:
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate()
            with torch.autocast("cpu", torch.bfloat16):
                logits = self.model(augmented(pixels, chance))
            loss = nn.functional.cross_entropy(logits.float(), numbers, label_smoothing=LABEL_SMOOTHING)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            losses.append(float(loss.detach()))
            steps.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            self.step += 1
            seen += len(numbers)
            self.elapsed = before + time.monotonic() - started
            if self.elapsed > self.seconds:
                break
        self.epoch += 1
        return {"loss": sum(losses) / len(losses), "images_per_second": seen / (self.elapsed - before)}

    def train(self) -> None:
        """Train to the end of the epochs or of the time, then write the weights."""
        reached = 0.0
        while self.epoch < self.epochs and self.elapsed < self.seconds:
            line = {"epoch": self.epoch, "rate": self._rate(), **self.train_epoch()}
            started = time.monotonic()
            reached = accuracy(self.model, self.images["val"], len(self.classes))
            self.elapsed += time.monotonic() - started
            with (self.out / "vgg.log").open("a") as log:
                log.write(json.dumps({**line, "val_accuracy": reached, "minutes": self.elapsed / 60}) + "\n")
            self._save()
        halves = {name: value.half() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(halves)
        reached = accuracy(self.model, self.images["val"], len(self.classes))
        save_tensors(self.out / "vgg.safetensors", *FORMAT, halves, self.metadata(reached))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the small VGG on the tiny scenes.")
    parser.add_argument("--out", type=Path, required=True, help="folder for images, log, checkpoint and weights")
    parser.add_argument("--minutes", type=float, default=60, help="time limit of the training (default 60)")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the images at most (default 40)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights, the order and the augmentation")
    parser.add_argument("--size", type=int, default=128, help="height and width of the images (default 128)")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 leaves them as they are")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    Run(arguments.out, arguments.epochs, arguments.minutes, arguments.seed, arguments.size).train()


if __name__ == "__main__":
    main()
