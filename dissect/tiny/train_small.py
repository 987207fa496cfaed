"""Train small classifiers that are alike but for one thing: `python -m dissect.tiny.train_small NAME --out DIR`.

NAME is one of `dissect.tiny.training.small.SMALL_RECIPES`. DIR receives the rendered scenes, a checkpoint from which a
stopped run goes on, eight snapshots along the way (`NAME-S/000000.safetensors` is the network before its training, the
others are called by the images that it had seen; the last is the end), and `NAME-S.log`, one JSON object per snapshot.

Order, augmentation and dropout are functions of the seed and the step: a run that was killed and goes on ends with the
weights of one that was not. A processor with AVX-512 computes in bfloat16, another one in float32. A recipe that starts
from another one's weights needs that one's end in DIR.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dissect.files.tensors import save_tensors
from dissect.tiny.dataset import TinyScenes
from dissect.tiny.train import augmented
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
from dissect.tiny.training.small import SIZE, SMALL_RECIPES, loss, of_family, posed
from dissect.tiny.weight_files import FORMAT, narrowed, widened

COUNTS = {"train": 51_600, "val": 2_150}
BATCH = 64
#: Held-out scenes on which each snapshot is tried.
CHECKED = 860
PEAK_RATE, WEIGHT_DECAY = 1e-3, 0.05
#: How far the training is, from 0 to 1, when each snapshot is taken.
SNAPSHOTS = (0.0, *(2.0**power for power in range(-6, 1)))


def rendered(split: str, folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Images uint8 [count, 3, 64, 64], and int64 [count] their scenes and main objects; rendered once, then read."""
    count = COUNTS[split]
    images, objects = (folder / f"{split}-{SIZE}-{count}-{scenes_version(SIZE)}-{of}.npy" for of in ("seen", "main"))
    scenes = TinyScenes(split, SIZE, count)
    if not objects.exists():
        seen, main = np.empty((count, 3, SIZE, SIZE), np.uint8), np.empty(count, np.int64)
        for index in tqdm(range(count), desc=f"rendering {split}", disable=None):
            seen[index], planes = scenes.raw(index)
            main[index] = scenes._main(index, planes)
        save_array(images, seen)
        save_array(objects, main)
    labels = {"scenes": np.arange(count) % len(scenes.classes), "objects": np.load(objects)}
    return np.load(images, mmap_mode="r"), labels


class SmallTraining(LossTraining):
    """One training run; see `train_gan.GanTraining`.

    Args:
        name: of the recipe.
        out: the folder; a run that it holds goes on.
        seed: of the initial weights, the order, the augmentation and the dropout.

    Raises:
        FileNotFoundError: the weights that it starts from are not there.
        ValueError: the folder holds a run of something else.
    """

    warm_up = 0.04

    def __init__(self, name: str, out: Path, seed: int) -> None:
        super().__init__()
        self.name, self.out, self.seed, self.device = f"{name}-{seed}", out, seed, "cpu"
        self.recipe = SMALL_RECIPES[name]
        self.images = {split: rendered(split, out) for split in COUNTS}
        self.network = self.recipe.network(seed)
        if self.recipe.start is not None:
            self._begin(out / f"{self.recipe.start}-{seed}")
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inner = [weight for weight in self.network.features.parameters() if weight.dim() == 4][1:]
        self.optimizers = muon_and_adamw(inner, self.network.parameters(), PEAK_RATE, WEIGHT_DECAY)
        self.steps = self.recipe.images // BATCH
        #: Without instructions for it a processor takes ten times as long for bfloat16 as for float32.
        self.narrow = torch.backends.cpu.get_cpu_capability() == "AVX512"
        self.shown = {split: of_family(labels["scenes"], self.recipe.family)
                      for split, (_, labels) in self.images.items()}  # fmt: skip
        self.about = {"recipe": asdict(self.recipe), "seed": seed, "scenes": scenes_version(SIZE),
                      "precision": "bfloat16" if self.narrow else "float32"}  # fmt: skip
        file = out / f"{self.name}.checkpoint"
        self._resume(Checkpoint(file, {"network": self.network}, self.optimizers, self.about))
        self._take_snapshot()

    def _begin(self, folder: Path) -> None:
        """Takes the end's weights of another run, but for those of the last layer."""
        found = sorted(folder.glob("*.safetensors"))
        if not found:
            raise FileNotFoundError(f"{folder} must hold the snapshots of a training, but there are none.")
        states, _ = widened(found[-1], "SmallNet")
        own = {key: value for key, value in states.items() if not key.startswith("head.fc7.")}
        self.network.load_state_dict(own, strict=False)

    def _train_step(self) -> None:
        (images, labels), shown = self.images["train"], self.shown["train"]
        epoch, at = divmod(self.step, len(shown) // BATCH)
        index = np.sort(shown[order(self.seed, epoch, len(shown))[at * BATCH : (at + 1) * BATCH]])
        stream = (self.seed << 32) + self.step
        chance = torch.manual_seed(stream)
        seen = augmented(torch.tensor(images[index]).float() / 255, chance)
        pixels, answers = posed(
            self.recipe.task, seen, {name: values[index] for name, values in labels.items()}, stream
        )
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.narrow):
            logits = self.network(pixels.contiguous(memory_format=torch.channels_last))
        self._descend(loss(logits, answers), self.recipe.pace)
        self._take_snapshot()

    def _take_snapshot(self) -> None:
        if self.step not in {round(share * self.steps) for share in SNAPSHOTS}:
            return
        file = self.out / self.name / f"{self.step * BATCH:06}.safetensors"
        if file.exists():
            return
        line = {"images": self.step * BATCH, "accuracy": self._accuracy(), "minutes": round(self.minutes, 2)}
        if self._losses:
            line["loss"] = self._mean_loss()
        save_tensors(file, *FORMAT, narrowed(self.network.state_dict()), {
            "architecture": "SmallNet", **self.about, **line,
        })  # fmt: skip
        self._tell(line)

    @torch.no_grad()
    def _accuracy(self) -> float:
        """The share of right answers on held-out scenes, of those of the color task by cells."""
        (images, labels), tried = self.images["val"], self.shown["val"][:CHECKED]
        images, labels = images[tried], {name: values[tried] for name, values in labels.items()}
        self.network.eval()
        right = []
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            pixels = torch.tensor(images[part]).float() / 255
            shown, answers = posed(self.recipe.task, pixels, {key: value[part] for key, value in labels.items()}, start)
            same = (self.network(shown).argmax(1) == answers).float()
            right.append(same.view(len(same), -1).mean(1))
        return round(float(torch.cat(right).mean()), 4)

    def _finish(self) -> None:
        self._write_log()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train small classifiers that are alike but for one thing.")
    parser.add_argument("name", choices=tuple(SMALL_RECIPES))
    add_arguments(parser)
    arguments = parsed(parser)
    train_for(SmallTraining(arguments.name, arguments.out, arguments.seed), arguments.minutes)


if __name__ == "__main__":
    main()
