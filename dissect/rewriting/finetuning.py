"""All weights of a network fine-tuned to one example: what a change of one rule is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import l1_loss, mse_loss
from tqdm.auto import trange

from dissect.arguments import integer, refusal, speaks
from dissect.devices import device_of, to_device
from dissect.interrupts import deferred_interrupts
from dissect.network.identity import weights_fingerprint
from dissect.network.modes import check_evaluating
from dissect.network.outputs import first_tensor
from dissect.rewriting.keys import is_pair, noise_of


@dataclass(eq=False)  # tensors have no one truth value
class FineTuned:
    """Other weights for a whole network, which as a context manager has them for a while.

    Attributes:
        weights: by name, those of all parameters.
        losses: [T] float64, before each step.
        settings: how they were found, with the losses before and after.

    Example: see `fine_tune`.
    """

    weights: dict[str, Tensor]
    losses: Tensor
    settings: dict[str, Any]
    _model: nn.Module = field(repr=False)
    _before: str = field(repr=False)
    _start: dict[str, Tensor] | None = field(default=None, repr=False)
    _after: str = field(default="", repr=False)

    @property
    def applied(self) -> bool:
        """Whether the network has these weights."""
        return self._start is not None

    @speaks
    def apply(self) -> FineTuned:
        """Writes the weights into the network.

        Raises:
            ValueError: they are in it already, or it has others than those that were fine-tuned.
        """
        if self._start is not None or weights_fingerprint(self._model) != self._before:
            raise refusal(
                ValueError("the network must have the weights that were fine-tuned, but has others; undo later edits.")
            )
        named = dict(self._model.named_parameters())
        start = {name: weight.detach().clone() for name, weight in named.items()}
        with deferred_interrupts(), torch.no_grad():
            for name, weight in named.items():
                weight.copy_(self.weights[name])
            self._start, self._after = start, weights_fingerprint(self._model)
        return self

    @speaks
    def undo(self) -> FineTuned:
        """Gives the network its weights back, to the bit.

        Raises:
            ValueError: they are not in it, or some were changed since.
        """
        if self._start is None or weights_fingerprint(self._model) != self._after:
            raise refusal(
                ValueError("the network must have these weights to be undone, but has others; undo later edits first.")
            )
        with deferred_interrupts(), torch.no_grad():
            for name, weight in self._model.named_parameters():
                weight.copy_(self._start[name])
            self._start = None
        return self

    def __enter__(self) -> FineTuned:
        """Applies the weights for the time of a block, which ends with `undo`."""
        return self.apply()

    def __exit__(self, *_: object) -> None:
        self.undo()


@speaks
def fine_tune(
    model: nn.Module, inputs: Any, goal: Tensor, *, features: Callable[[Tensor], Tensor] | None = None,
    weight: float = 0.01, steps: int = 2001, rate: float = 1e-4, progress: bool = True,
) -> FineTuned:  # fmt: skip
    """Adam over all parameters, so that inputs give goal images (thesis, equation 6.3; a baseline of Tables 6.1, 6.2).

    The loss is the mean distance of all pixels, and with `features` that plus `weight` times their mean squared
    distance, as the published code takes those of VGG-16. That code makes 20,001 steps at a rate of 0.01; the defaults
    here are the text's (B.5), which gave the published tables.

    Args:
        model: the network, in evaluation mode; it stays as it is, whatever happens, until the result is applied.
        inputs: a batch, or (z, noise seeds).
        goal: [n, 3, H, W], as `render` gives them.
        features: from images to tensors, differentiable.
        weight: of the features.
        steps: of Adam.
        rate: of Adam.
        progress: show a bar.

    Returns:
        `FineTuned`, not applied.

    Raises:
        ArithmeticError: the loss does not stay finite.
        ValueError: goal images of another shape or that are not finite, a rate or weight that cannot be.

    Example:
        >>> from dissect import rewriting
        >>> model, x = torch.nn.Conv2d(3, 3, 1).eval(), torch.rand(1, 3, 4, 4)
        >>> tuned = rewriting.fine_tune(model, x, x, steps=50, rate=0.05, progress=False)
        >>> tuned.settings["loss_after"] < tuned.settings["loss_before"]
        True
        >>> with tuned:
        ...     images = model(x)
    """
    check_evaluating(model)
    steps = integer("steps", steps)
    if not 0 < rate < float("inf") or not 0 <= weight < float("inf"):
        raise refusal(ValueError(f"rate must be above 0, weight not below, and both finite, but are {rate}, {weight}."))
    batch, also = inputs if is_pair(inputs) else (inputs, None)
    batch, more = to_device(batch, device_of(model)), noise_of(model, also)
    before = weights_fingerprint(model)
    current = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    with torch.no_grad():
        shape = first_tensor(model(batch, **more)).shape
        if goal.shape != shape or not bool(goal.isfinite().all()):
            raise refusal(ValueError(f"goal must be finite and {list(shape)}, as the model gives, but is not so."))
        goal = goal.detach().to(device_of(model))
        known = None if features is None else features(goal)

    def loss() -> Tensor:
        made = first_tensor(functional_call(model, current, (batch,), more))
        apart = l1_loss(made, goal)
        return apart if features is None or known is None else apart + weight * mse_loss(features(made), known)

    losses = _descend(list(current.values()), loss, steps, rate, progress)
    settings = {"steps": steps, "rate": rate, "weight": weight if features is not None else None}
    settings |= {"loss_before": float(losses[0]), "loss_after": float(losses[-1])}
    tuned = {name: value.detach() for name, value in current.items()}
    return FineTuned(tuned, losses[:-1], settings, model, before)


def _descend(weights: list[Tensor], loss: Callable[[], Tensor], steps: int, rate: float, progress: bool) -> Tensor:
    """[T + 1] float64, the losses before each step and after the last."""
    adam, losses = torch.optim.Adam(weights, rate, fused=True), []
    with torch.enable_grad():
        for step in trange(steps, desc="fine-tune", disable=not progress, unit="step", leave=False):
            adam.zero_grad()
            value = loss()
            if not bool(value.isfinite()):
                raise refusal(
                    ArithmeticError(
                        f"the descent must stay finite, but the loss of step {step} is not; the network's weights are "
                        "as they were; try a lower rate."
                    )
                )
            losses.append(float(value.detach()))
            value.backward()
            adam.step()
    with torch.no_grad():
        losses.append(float(loss()))
    if not all(bool(each.isfinite().all()) for each in weights):
        raise refusal(ArithmeticError("the weights must stay finite, but do not; the network's are as they were."))
    return torch.tensor(losses, dtype=torch.float64)
