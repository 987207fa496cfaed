"""What the training scripts share: rendered scenes, their order, a run's checkpoint, clock and log, and its options."""

from __future__ import annotations

import argparse
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from dissect.devices import processor
from dissect.digests import digest
from dissect.files.tensors import load_tensors, replacing, save_tensors
from dissect.tiny.dataset import TinyScenes
from dissect.tiny.weight_files import FORMAT

#: Seconds between checkpoints.
CHECKPOINT_EVERY = 240


@lru_cache
def scenes_version(size: int, family: str | None = None, watermark: bool = False) -> str:
    """Tells this version of the scenes from others: a digest of one validation scene of each class."""
    scenes = TinyScenes("val", size, family=family, watermark=watermark)
    return digest(scenes.raw(index)[0] for index in range(len(scenes.classes)))


def rendered(scenes: TinyScenes, path: Path) -> np.ndarray:
    """The images of scenes, uint8 [count, 3, size, size]; rendered once, then mapped from the file."""
    if not path.exists():
        images = np.empty((len(scenes), 3, scenes.size, scenes.size), dtype=np.uint8)
        for index in tqdm(range(len(scenes)), desc=f"rendering {scenes.split}", disable=None):
            images[index] = scenes.raw(index)[0]
        save_array(path, images)
    array: np.ndarray = np.load(path, mmap_mode="r")
    return array


def save_array(path: Path, array: np.ndarray) -> None:
    """Writes one .npy file, whole or not at all."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, array)


@lru_cache(maxsize=1)
def order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of `count` items in an epoch, the same for a run that was killed and goes on."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def set_pace(optimizers: Iterable[torch.optim.Optimizer], pace: float) -> None:
    """Sets all learning rates to those that the optimisers were made with, times `pace`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * pace


class Checkpoint:
    """One file with the networks, the optimisers' states and the progress of a training run.

    Args:
        path: of the file.
        networks: by name.
        optimizers: in a fixed order; each step changes their states, which hold tensors only.
        about: what the run is; a run of something else does not go on from here.
    """

    def __init__(
        self,
        path: Path,
        networks: Mapping[str, nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        about: dict[str, Any],
    ) -> None:
        self.path, self.networks, self.optimizers, self.about = path, networks, optimizers, about

    def save(self, progress: dict[str, Any]) -> None:
        """Writes everything, and `progress`, which JSON must be able to hold."""
        states = {
            f"{name}.{key}": value
            for name, network in self.networks.items()
            for key, value in network.state_dict().items()
        }
        for number, place, parameter, optimizer in self._places():
            for key, value in optimizer.state.get(parameter, {}).items():
                states[f"optimizer{number}.{place}.{key}"] = value
        save_tensors(self.path, *FORMAT, states, {"about": self.about, "progress": progress})

    def load(self) -> dict[str, Any]:
        """Puts everything back; returns the progress, empty where there is no file.

        Raises:
            ValueError: the file is of another run.
        """
        if not self.path.exists():
            return {}
        states, saved = load_tensors(self.path, *FORMAT)
        if any(self.about.get(key) != value for key, value in saved["about"].items()):  # earlier files say less
            raise ValueError(f"{self.path} must hold a run of {self.about}, but holds one of {saved['about']}.")
        for name, network in self.networks.items():
            start = f"{name}."
            network.load_state_dict({key[len(start) :]: t for key, t in states.items() if key.startswith(start)})
        for number, place, parameter, optimizer in self._places():
            start = f"optimizer{number}.{place}."
            state = {key[len(start) :]: states[key] for key in states if key.startswith(start)}
            if state:
                # Adam counts its steps on the CPU; what has the parameter's shape belongs beside the parameter.
                optimizer.state[parameter] = {
                    key: value.to(parameter.device) if value.shape == parameter.shape else value
                    for key, value in state.items()
                }
        progress: dict[str, Any] = saved["progress"]
        return progress

    def _places(self) -> list[tuple[int, int, nn.Parameter, torch.optim.Optimizer]]:
        return [
            (number, place, parameter, optimizer)
            for number, optimizer in enumerate(self.optimizers)
            for place, parameter in enumerate(optimizer.param_groups[0]["params"])
        ]


class Training(ABC):
    """A run by steps, which goes on from its last checkpoint; its log and its minutes count all of its parts.

    A subclass says what a step does, and at the end of its `__init__` calls `_resume`.

    Attributes:
        name: of its checkpoint and its log.
        out: the folder of both.
        device: where it runs.
        steps: how many there are in all.
        step: how many are done.
    """

    name: str
    out: Path
    device: str
    steps: int

    def __init__(self) -> None:
        self.step, self.elapsed = 0, 0.0
        self.machines: list[str] = []
        self.log: list[dict[str, Any]] = []
        self._since = time.monotonic()

    def train(self, minutes: float) -> bool:
        """Trains to the end or for so long; returns whether it came to the end."""
        self._since = saved = time.monotonic()
        end = self._since + minutes * 60
        if self.step < self.steps and self._machine() not in self.machines:
            self.machines.append(self._machine())
        with tqdm(total=self.steps, initial=self.step, desc=self.name, disable=None, mininterval=10) as bar:
            while self.step < self.steps:
                self._train_step()
                bar.update()
                now = time.monotonic()
                if now - saved > CHECKPOINT_EVERY or now > end or self.step == self.steps:
                    self._save()
                    saved = now
                if now > end and self.step < self.steps:
                    return False
        self._finish()
        return True

    @property
    def minutes(self) -> float:
        """How long the run has taken, its earlier parts included."""
        return (self.elapsed + time.monotonic() - self._since) / 60

    @property
    def machine(self) -> str:
        """What all of its parts were trained on, in words."""
        return " and ".join(self.machines)

    def _machine(self) -> str:
        if torch.device(self.device).type == "cuda":
            return f"one {torch.cuda.get_device_name(self.device)}"
        return f"{torch.get_num_threads()} threads of an {processor()}".replace("1 threads", "one thread")

    @abstractmethod
    def _train_step(self) -> None:
        """Updates the networks, and `step`."""

    @abstractmethod
    def _finish(self) -> None:
        """Writes what was trained."""

    def _resume(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        for key, value in checkpoint.load().items():
            setattr(self, key, value)

    def _save(self) -> None:
        now = time.monotonic()
        self.elapsed += now - self._since
        self._since = now
        self._checkpoint.save({key: getattr(self, key) for key in ("step", "elapsed", "machines", "log")})

    def _tell(self, line: dict[str, Any]) -> None:
        self.log.append(line)
        tqdm.write(json.dumps(line))

    def _write_log(self, *more: dict[str, Any]) -> None:
        with replacing(self.out / f"{self.name}.log") as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in [*self.log, *more]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every run."""
    parser.add_argument("--out", type=Path, required=True, help="folder for scenes, log, checkpoint and weights")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long, to be gone on with later")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights, the order and all chance")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add_threads(parser)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The option of all trainings on a CPU."""
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0 leaves them as they are")


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options that were given; those on threads have been followed."""
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return arguments


def train_for(run: Training, minutes: float) -> None:
    """Trains to the end or for so long, and says which it was."""
    if not run.train(minutes):
        print(f"stopped after {run.step} of {run.steps} steps; the same command goes on.")
