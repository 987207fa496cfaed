"""The optimiser of the convolutions: torch's own Muon takes matrices only."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum whose step is made orthogonal (Jordan et al. 2024, "Muon").

    With a weight as the matrix [outputs, inputs * k * k] and M its Nesterov momentum, the step is close to U V^T of
    M = U S V^T: all directions are learned at one pace. That gets a deep network without normalisation going, which
    other optimisers take many steps to do.

    Args:
        weights: tensors of at least two dimensions.
        rate: how far a step goes, in the spectral norm; times sqrt(outputs / inputs) where that is more than 1.
        momentum: of the gradients.
        weight_decay: decoupled, times the rate.

    Example:
        >>> layer = torch.nn.Linear(3, 2, bias=False)
        >>> optimizer = Muon([layer.weight], rate=0.1)
        >>> layer(torch.ones(1, 3)).sum().backward()
        >>> optimizer.step()
    """

    def __init__(
        self, weights: Iterable[nn.Parameter], rate: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(weights, {"lr": rate, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Moves every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"].mul_(group["momentum"]).add_(weight.grad)
                matrix = torch.add(weight.grad, momentum, alpha=group["momentum"]).flatten(1)
                step = orthogonal(matrix) * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * step.view_as(weight))


def orthogonal(matrix: Tensor, rounds: int = 5) -> Tensor:
    """About U V^T of a matrix U S V^T: all singular values are brought near 1 by a quintic Newton-Schulz iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    orthogonal: Tensor = x.T if tall else x
    return orthogonal
