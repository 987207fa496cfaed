"""What the training scripts share: the checkpoint of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dissect.cache import load_tensors, save_tensors
from dissect.tiny.networks import FORMAT


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
        if saved["about"] != self.about:
            raise ValueError(f"{self.path} must hold a run of {self.about}, but holds one of {saved['about']}.")
        for name, network in self.networks.items():
            start = f"{name}."
            network.load_state_dict({key[len(start) :]: t for key, t in states.items() if key.startswith(start)})
        for number, place, parameter, optimizer in self._places():
            start = f"optimizer{number}.{place}."
            state = {key[len(start) :]: states[key].clone() for key in states if key.startswith(start)}
            if state:
                # Adam counts its steps on the CPU; what has the parameter's shape belongs beside the parameter.
                optimizer.state[parameter] = {
                    key: value.to(parameter.device) if value.shape == parameter.shape else value
                    for key, value in state.items()
                }
        return saved["progress"]

    def _places(self) -> list[tuple[int, int, nn.Parameter, torch.optim.Optimizer]]:
        return [
            (number, place, parameter, optimizer)
            for number, optimizer in enumerate(self.optimizers)
            for place, parameter in enumerate(optimizer.param_groups[0]["params"])
        ]
