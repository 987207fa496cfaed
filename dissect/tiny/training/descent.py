"""Trainings that descend one loss: Muon for the inner convolutions, AdamW for the rest, rates that rise and fall."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from dissect.tiny.training.muon import Muon
from dissect.tiny.training.run import Training, set_pace

MUON_RATE, MUON_DECAY = 0.02, 0.01


def muon_and_adamw(
    inner: Sequence[nn.Parameter], weights: Iterable[nn.Parameter], rate: float, decay: float
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the inner weights, and AdamW of this peak rate and decay for the others of all weights."""
    known = {id(weight) for weight in inner}
    others = [weight for weight in weights if id(weight) not in known]
    return Muon(inner, MUON_RATE, weight_decay=MUON_DECAY), torch.optim.AdamW(others, rate, weight_decay=decay)


class LossTraining(Training):
    """A training of one loss.

    Attributes:
        warm_up: the share of the steps in which the rates rise.
        optimizers: of the network's weights.
    """

    warm_up: ClassVar[float]
    optimizers: Sequence[torch.optim.Optimizer]

    def __init__(self) -> None:
        super().__init__()
        self._losses: list[float] = []

    def _descend(self, loss: Tensor, pace: float = 1.0) -> None:
        """A step down the loss, at this pace of the rates.

        Raises:
            FloatingPointError: it is not finite.
        """
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {self.step}.")
        set_pace(self.optimizers, pace * self._rate())
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        self._losses.append(loss.item())

    def _rate(self) -> float:
        """The share of the peak rates: warm-up, then half a cosine, to 0."""
        done = self.step / self.steps
        if done < self.warm_up:
            return (self.step + 1) / (self.steps * self.warm_up)
        return 0.5 + 0.5 * math.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up))

    def _mean_loss(self) -> float:
        """Of the steps since it was last asked for."""
        mean = round(float(np.mean(self._losses)), 4)
        self._losses.clear()
        return mean
