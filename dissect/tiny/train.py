"""Train the small VGG on the scenes: `python -m dissect.tiny.train --out DIR --minutes M --seed S`.

DIR receives the rendered images (.npy), a checkpoint from which a stopped run goes on, twelve snapshots along the way
(`snapshots/00.safetensors` is the untrained network, each further one is twice as far, the last is the end), and at
the end `vgg.safetensors`, the file that `dissect.tiny.vgg` reads, and `vgg.log`, one JSON object per epoch and per
snapshot. Both belong in `dissect/tiny/weights`.

Order, augmentation and dropout are functions of the seed and the step, and the rate is one of the step as long as the
time suffices for all epochs; so a run that was killed and goes on ends with the weights of one that was not.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dissect.files.tensors import replacing, save_tensors
from dissect.models import VGG
from dissect.tiny.dataset import DEFAULT_COUNTS, SPLITS, TinyScenes
from dissect.tiny.networks import CHANNELS, HIDDEN, POOLED
from dissect.tiny.training.descent import muon_and_adamw
from dissect.tiny.training.run import Checkpoint, add_threads, order, parsed, rendered, scenes_version, set_pace
from dissect.tiny.weight_files import FORMAT

BATCH = 128
IMAGES = 51600
PEAK_RATE = 1e-3
WEIGHT_DECAY = 0.05
WARM_UP = 0.04
LABEL_SMOOTHING = 0.05
DROPOUT = 0.2

#: From how far on, from 0 to 1, images are shown at which share of their size: from small ones much is learned quickly.
SIZES = ((0.0, 0.5), (0.3, 0.75), (0.55, 1.0))

#: Validation images behind the accuracies along the way; the last one is measured on all.
CHECKED = 500

#: Seconds between checkpoints.
CHECKPOINT_EVERY = 120

#: What a run remembers beside the network and its optimisers.
PROGRESS = ("step", "elapsed", "snapshots", "loss", "seen", "busy", "log")

#: How far the training is, from 0 to 1, when each snapshot is taken.
SNAPSHOTS = (0.0, *(2.0**power for power in range(-10, 1)))


def images_of(split: str, size: int, count: int, folder: Path) -> np.ndarray:
    """The images of a split, uint8 [count, 3, size, size]; rendered once, then read from the folder."""
    return rendered(TinyScenes(split, size, count), folder / f"{split}-{size}-{count}-{scenes_version(size)}.npy")


def batch(images: np.ndarray, index: np.ndarray, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images float32 [N, 3, size, size] in [0, 1] and class numbers int64 [N] of these items."""
    pixels = torch.from_numpy(images[index]).to(memory_format=torch.channels_last)
    return pixels.float() / 255, torch.from_numpy(index % classes)


def resized(images: torch.Tensor, size: int) -> torch.Tensor:
    """Images [N, 3, size, size], each pixel the mean of those that it covers."""
    return images if images.shape[-1] == size else nn.functional.adaptive_avg_pool2d(images, size)


def augmented(images: torch.Tensor, chance: torch.Generator) -> torch.Tensor:
    """Mirrors half of the images and varies brightness and contrast; what else could vary, varies in the scenes."""
    flip = torch.rand(len(images), generator=chance) < 0.5
    mirrored = torch.where(flip[:, None, None, None], images.flip(-1), images)
    gain = 0.9 + 0.2 * torch.rand(len(images), 1, 1, 1, generator=chance)
    offset = 0.1 * torch.rand(len(images), 1, 1, 1, generator=chance) - 0.05
    return (mirrored * gain + offset).clamp_(0, 1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def accuracy(model: nn.Module, images: np.ndarray, classes: int, size: int | None = None) -> float:
    """The share of images, seen at this size, whose largest logit is their class's, computed in float32."""
    model.eval()
    right = 0
    for start in range(0, len(images), BATCH):
        pixels, numbers = batch(images, np.arange(start, min(start + BATCH, len(images))), classes)
        seen = pixels if size is None else resized(pixels, size)
        right += int((model(seen).argmax(1) == numbers).sum())
    return right / len(images)


def optimizers(model: VGG) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the weights of the convolutions between the first and the last layer, AdamW for everything else."""
    inner = [weight for name, weight in model.features.named_parameters() if weight.ndim > 1 and "conv1_1" not in name]
    return muon_and_adamw(inner, model.parameters(), PEAK_RATE, WEIGHT_DECAY)


class ClassifierTraining:
    """One training run: the network, its optimiser, the clock, and their checkpoint.

    Args:
        out: the folder; a run that it holds goes on.
        epochs: passes over the training images.
        minutes: time limit; where it comes first, the rate falls with the time instead of the steps.
        seed: of the initial weights, the order, the augmentation and the dropout.
        size: height and width of the images.

    Raises:
        ValueError: the folder holds a run on other scenes or with another seed or size.
    """

    def __init__(self, out: Path, epochs: int, minutes: float, seed: int, size: int) -> None:
        self.out, self.seconds, self.seed, self.size = out, minutes * 60, seed, size
        counts = {"train": IMAGES, "val": DEFAULT_COUNTS["val"]}
        self.images = {split: images_of(split, size, counts[split], out) for split in SPLITS}
        self.steps_per_epoch = math.ceil(len(self.images["train"]) / BATCH)
        self.steps = epochs * self.steps_per_epoch
        self.classes = TinyScenes.classes
        self.model = VGG(CHANNELS, len(self.classes), HIDDEN, POOLED, dropout=DROPOUT, seed=seed).to(
            memory_format=torch.channels_last
        )
        self.optimizers = optimizers(self.model)
        self.about = {"scenes": scenes_version(size), "seed": seed, "size": size}
        self.step, self.elapsed, self.snapshots = 0, 0.0, 0
        self.loss, self.seen, self.busy = 0.0, 0, 0.0
        self.log: list[dict[str, float]] = []
        self.checkpoint = Checkpoint(out / "checkpoint.safetensors", {"model": self.model}, self.optimizers, self.about)
        for name, value in self.checkpoint.load().items():
            setattr(self, name, value)

    def done(self) -> float:
        """How far the training is, from 0 to 1; whichever of steps and time is further on counts."""
        return min(1.0, max(self.step / self.steps, self.elapsed / self.seconds))

    def shown_size(self) -> int:
        """Height and width of the images that the network sees now."""
        share = max((at, share) for at, share in SIZES if self.done() >= at)[1]
        return int(self.size * share)

    def rate(self) -> float:
        """The share of the peak rates: warm-up, then half a cosine."""
        done = self.done()
        if done < WARM_UP:
            return max(done, 1 / self.steps) / WARM_UP
        return 0.5 + 0.5 * math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))

    def train(self) -> None:
        """Trains to the end of the epochs or of the time, then writes weights and log."""
        saved = time.monotonic()
        self._take_snapshots()
        with tqdm(total=self.steps, initial=self.step, desc="training", disable=None, mininterval=5) as bar:
            while self.done() < 1:
                loss = self._train_step()
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                if self.step % self.steps_per_epoch == 0 or self.done() == 1:
                    self._end_epoch()
                self._take_snapshots()
                if time.monotonic() - saved > CHECKPOINT_EVERY or self.done() == 1:
                    self.checkpoint.save({name: getattr(self, name) for name in PROGRESS})
                    saved = time.monotonic()
        self._write(self.out / "vgg.safetensors", self.images["val"])
        with replacing(self.out / "vgg.log") as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in self.log))

    def _train_step(self) -> float:
        started = time.monotonic()
        epoch, at = divmod(self.step, self.steps_per_epoch)
        shown = order(self.seed, epoch, len(self.images["train"]))[at * BATCH : (at + 1) * BATCH]
        index = np.sort(shown)
        pixels, numbers = batch(self.images["train"], index, len(self.classes))
        chance = torch.manual_seed((self.seed << 32) + self.step)
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.model(augmented(resized(pixels, self.shown_size()), chance))
        loss = nn.functional.cross_entropy(logits.float(), numbers, label_smoothing=LABEL_SMOOTHING)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        set_pace(self.optimizers, self.rate())
        for optimizer in self.optimizers:
            optimizer.step()
        value = float(loss.detach())
        self.step += 1
        self.loss += value * len(index)
        self.seen += len(index)
        self.busy += time.monotonic() - started
        self.elapsed += time.monotonic() - started
        return value

    def _end_epoch(self) -> None:
        started = time.monotonic()
        size = self.shown_size()
        reached = accuracy(self.model, self.images["val"][:CHECKED], len(self.classes), size)
        self.elapsed += time.monotonic() - started
        self.log.append({
            "epoch": self._epochs(), "size": size, "rate": self.rate(), "loss": self.loss / self.seen,
            "val_accuracy": reached, "images_per_second": self.seen / self.busy, "minutes": self.elapsed / 60,
        })  # fmt: skip
        self.loss, self.seen, self.busy = 0.0, 0, 0.0

    def _take_snapshots(self) -> None:
        while self.snapshots < len(SNAPSHOTS) and self.done() >= SNAPSHOTS[self.snapshots]:
            started = time.monotonic()
            path = self.out / "snapshots" / f"{self.snapshots:02}.safetensors"
            reached = self._write(path, self.images["val"][:CHECKED])
            self.log.append({"snapshot": self.snapshots, "epoch": self._epochs(), "val_accuracy": reached})
            self.elapsed += time.monotonic() - started
            self.snapshots += 1

    def _epochs(self) -> float:
        return round(self.step / self.steps_per_epoch, 4)

    def _write(self, path: Path, images: np.ndarray) -> float:
        """Writes the network as float16; returns its accuracy on these images in that precision."""
        halves = {name: value.half() for name, value in self.model.state_dict().items()}
        rounded = VGG(CHANNELS, len(self.classes), HIDDEN, POOLED)
        rounded.load_state_dict(halves)
        reached = accuracy(rounded, images, len(self.classes))
        save_tensors(path, *FORMAT, halves, {
            "architecture": "VGG", "channels": list(CHANNELS), "hidden": HIDDEN, "pooled": POOLED,
            "classes": list(self.classes),
            **self.about, "epochs": self._epochs(), "minutes": self.elapsed / 60,
            "train_images": len(self.images["train"]), "val_images": len(images), "val_accuracy": reached,
        })  # fmt: skip
        return reached


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the small VGG on the tiny scenes.")
    parser.add_argument("--out", type=Path, required=True, help="folder for images, log, checkpoint and weights")
    parser.add_argument("--minutes", type=float, default=60, help="time limit of the training (default 60)")
    parser.add_argument("--epochs", type=int, default=16, help="passes over the images at most (default 16)")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights, the order and the augmentation")
    parser.add_argument("--size", type=int, default=128, help="height and width of the images (default 128)")
    add_threads(parser)
    arguments = parsed(parser)
    ClassifierTraining(arguments.out, arguments.epochs, arguments.minutes, arguments.seed, arguments.size).train()


if __name__ == "__main__":
    main()
