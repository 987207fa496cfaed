"""Inserts a rule into a memory: keys get other values, by a change of the weight of low rank."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.rewriting.directions import Directions, orthonormal
from dissect.rewriting.edit import Edit, rewritten, verify_rank, weight_digest
from dissect.rewriting.keys import Keys
from dissect.rewriting.memory import Memory
from dissect.rewriting.solving import (
    DIVERGED,
    LOSSES,
    MODES,
    Problem,
    RewritingLoss,
    RewritingMode,
    Schedule,
    Solution,
    closed,
    in_lambda,
    projected,
)


@speaks
def insert(
    memory: Memory,
    keys: Keys | Tensor,
    values: Tensor,
    directions: Directions | Tensor,
    mode: RewritingMode = "projected",
    *,
    loss: RewritingLoss = "l1",
    steps: int = 2001,
    every: int = 10,
    rate: float = 0.05,
    project_gradient: bool = False,
    progress: bool = True,
    watch: Callable[[int, float], None] | None = None,
) -> Edit:
    """Finds the change ``Lambda D^T`` of a weight by which keys K get values V (thesis, equations 6.15, 6.17 and 6.18).

    The network stays as it is, whatever happens, until the edit is applied. The modes:

    - "projected": Adam over the layer's whole weight, brought back to ``W0 + Lambda D^T`` every 10 steps and at the
      end, Adam's state not (thesis, B.5, and the published code; section 6.3.4: after every step, ``every=1``).
    - "lambda": Adam over Lambda alone, which is much faster, and changes more than was asked for (Tables 6.1 and 6.2).
    - "closed": the least squares (B.1), where values are a linear function of the weight, for squared losses.

    Args:
        memory: the layer.
        keys: what `Memory.keys` or `paste` gives, or [n, i, h, w]; of a fully connected layer also [T, i].
        values: [n, o, H, W], as `Memory.values` gives them for these keys, or [T, o].
        directions: D, as `Memory.direction` gives them, or a matrix [i, S].
        mode: one of the above.
        loss: "l1", the mean distance (published code), or "l2", its square (equation 6.6).
        steps: of a descent.
        every: steps between projections.
        rate: of Adam.
        project_gradient: project each step's gradient too, as the published commands for watermarks do.
        progress: show a bar.
        watch: called at each step of a descent with the step's number, from 0 on, and the loss before it; what it
            raises ends the descent, and is raised.

    Returns:
        An `Edit`, not applied.

    Raises:
        ArithmeticError: the descent diverges.
        TypeError, ValueError: values of another shape, numbers that are not finite, an unknown mode or loss, the closed
            form of a nonlinear layer, keys without a part along the directions.

    Example:
        >>> from dissect import rewriting
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3)).eval()
        >>> memory = rewriting.Memory(model, "0")
        >>> moment = memory.second_moment(torch.randn(100, 4), progress=False)
        >>> key, value = torch.randn(1, 4), torch.tensor([[1.0, 2.0, 3.0]])
        >>> edit = rewriting.insert(memory, key, value, memory.direction(key), "closed").apply()
        >>> edit.rank, torch.allclose(model(key), value, atol=1e-5)
        (1, True)
        >>> edit.undo().applied
        False
    """
    if mode not in MODES or loss not in LOSSES:
        raise refusal(ValueError(f"mode must be one of {MODES} and loss one of {LOSSES}, but are {mode!r}, {loss!r}."))
    steps, every = integer("steps", steps), integer("every", every)
    space = orthonormal(memory, directions)
    given, wanted = _checked(memory, keys, values)
    problem = Problem(memory, given, wanted, "l2" if mode == "closed" else loss, space.matrix)
    schedule = Schedule(steps, every, checked_rate(rate), project_gradient, progress, watch)
    descend = projected if mode == "projected" else in_lambda
    found = closed(problem) if mode == "closed" else descend(problem, schedule)
    settings: dict[str, Any] = {
        "mode": mode, "loss": "l2" if mode == "closed" else loss,
        "directions": {"method": space.method, "keys": space.keys}, "keys": len(given), "size": list(wanted.shape[2:]),
    }  # fmt: skip
    if mode != "closed":
        settings |= {"steps": steps, "rate": rate}
    if mode == "projected":
        settings |= {"every": every, "project_gradient": project_gradient}
    return edit_of(memory, space.matrix, found, problem.loss_of, [given], settings)


def checked_rate(rate: float) -> float:
    """Adam's rate.

    Raises:
        ValueError: it is not above 0, or not finite.
    """
    if not 0 < rate < float("inf"):
        raise refusal(ValueError(f"rate must be above 0 and finite, but is {rate}."))
    return rate


def edit_of(
    memory: Memory, directions: Tensor, found: Solution, loss_of: Callable[[Tensor], float], keys: Sequence[Keys],
    settings: dict[str, Any],
) -> Edit:  # fmt: skip
    """The change ``Lambda D^T`` of a memory's weight as an edit, of which the rank was verified.

    Args:
        memory: the layer.
        directions: D [i, S] float64, orthonormal.
        found: Lambda.
        loss_of: of a matrix.
        keys: whose values must be finite.
        settings: how it was found.

    Raises:
        ArithmeticError: values that are not finite.
        ValueError: a change of a higher rank, or that is not finite.
    """
    weight, order = memory.weight.detach(), memory.form.order
    changed = rewritten(weight, order, found.lambdas, directions)
    rank, matrix = verify_rank(weight, changed, order, directions.shape[1]), memory.form.matrix(changed)
    after, energies = loss_of(matrix), [memory.energy(each, matrix) for each in keys]
    # A demodulation by infinity gives 0, so that the loss alone would not tell.
    if not math.isfinite(after) or not all(energy is None or bool(energy.isfinite().all()) for energy in energies):
        raise refusal(ArithmeticError(f"the changed weight must give finite values, but does not; {DIVERGED}"))
    settings = settings | {
        "model": type(memory.model).__name__, "numbering": memory.numbering, "order": list(order), "rank": rank,
        "loss_before": loss_of(memory.matrix()), "loss_after": after,
    }  # fmt: skip
    return Edit(
        memory.layer, directions, found.lambdas, found.losses, tuple(weight.shape), weight_digest(weight),
        weight_digest(changed), settings, memory,
    )  # fmt: skip


def _checked(memory: Memory, keys: Keys | Tensor, values: Tensor) -> tuple[Keys, Tensor]:
    """Keys and values as maps.

    Raises:
        TypeError, ValueError: they do not fit the memory or each other, or are not finite.
    """
    if not isinstance(keys, (Keys, Tensor)) or not isinstance(values, Tensor):
        kinds = [type(part).__name__ for part in (keys, values)]
        raise refusal(TypeError(f"keys and values must be Keys and a tensor, or two, but are {' and '.join(kinds)}."))
    if isinstance(keys, Tensor):
        if keys.ndim == 2 and values.ndim == 2 and memory.form.taps == 1:
            keys, values = (part.T[None, :, None] for part in (keys, values))
        keys = Keys(keys)
    if keys.maps.ndim != 4 or keys.maps.shape[1] != memory.inputs or not len(keys.maps):
        raise refusal(ValueError(f"keys must be [n, i, h, w] with i={memory.inputs}, but are {list(keys.maps.shape)}."))
    if not memory.linear and keys.style is None:
        raise refusal(
            ValueError(
                f"keys of {memory.layer!r} must come with their styles and noise, as Memory.keys gives them, but are a "
                "bare tensor."
            )
        )
    shape = (len(keys), memory.outputs, *memory.value_size(keys))
    if values.shape != shape:
        raise refusal(ValueError(f"values must be {list(shape)}, for these keys, but are {list(values.shape)}."))
    weight = memory.weight
    maps, values = keys.maps.detach().to(weight), values.detach().to(weight)
    if not bool(maps.isfinite().all()) or not bool(values.isfinite().all()):
        raise refusal(ValueError("keys and values must be finite, but are not."))
    return Keys(maps, keys.style, keys.noise), values
