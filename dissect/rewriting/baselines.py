"""What an edit is measured beside (thesis, Tables 6.1 to 6.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dissect.arguments import refusal, speaks
from dissect.rewriting.finetuning import fine_tune
from dissect.rewriting.insertion import insert
from dissect.rewriting.measuring import Change
from dissect.rewriting.memory import Memory
from dissect.rewriting.selection import render
from dissect.rewriting.session import Session
from dissect.rewriting.transfer import BLENDS, Transfer

#: Shares of a layer's units that are ablated: the papers' 30 and 60 of 512.
SHARES = (30 / 512, 60 / 512)


class Ablated:
    """Some channels of a memory's keys at 0, for the time of a block.

    Args:
        memory: the layer.
        units: numbers of channels.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> z = dissect.latents(street, 1)
        >>> with rewriting.Ablated(rewriting.Memory(street, "layer4"), [3, 17]):
        ...     images = street(z)
    """

    @speaks
    def __init__(self, memory: Memory, units: Sequence[int]) -> None:
        self.memory, self.units = memory, [int(unit) for unit in units]
        if not self.units or min(self.units) < 0 or max(self.units) >= memory.inputs:
            raise refusal(ValueError(f"units must be numbers below {memory.inputs}, but are {self.units}."))
        self._handle: RemovableHandle | None = None

    def __repr__(self) -> str:
        return f"<Ablated: {len(self.units)} units of {self.memory.layer!r}>"

    def __enter__(self) -> Ablated:
        """Hooks the layer.

        Raises:
            RuntimeError: twice, one within the other.
        """
        if self._handle is not None:
            raise refusal(RuntimeError(f"{self!r} must be entered once, but is entered twice, one within the other."))
        module = self.memory.key_module
        if module is self.memory.model.get_submodule(self.memory.layer):
            self._handle = module.register_forward_pre_hook(self._of_inputs)
        else:
            self._handle = module.register_forward_hook(lambda _module, _inputs, output: self._without(output))
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _of_inputs(self, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return self._without(inputs[0]), *inputs[1:]

    def _without(self, keys: Tensor) -> Tensor:
        axis = -1 if isinstance(self.memory.key_module, nn.Linear) else 1
        return keys.index_fill(axis, torch.tensor(self.units, device=keys.device), 0)


@speaks
def baselines(
    memory: Memory, inputs: Any, session: Session, rank: int = 1, *, shares: Sequence[float] = SHARES,
    correspondences: Callable[[Tensor], Sequence[Tensor]] | None = None,
    features: Callable[[Tensor], Tensor] | None = None, fine_tuning_steps: int = 2001, fine_tuning_rate: float = 1e-4,
    tight: bool = True, progress: bool = True, **options: Any,
) -> dict[str, Change]:  # fmt: skip
    """The published method and all that it is compared with, of one session (thesis, Tables 6.1 to 6.3).

    - "projected descent": the published method.
    - "direct Lambda": see `insert`.
    - "one image's direction": D of rank one, of the place where the object is pasted alone.
    - "the layer, without direction": the same descent, over the whole weight of the layer.
    - "all weights": `fine_tune`, to the image that the pasted values draw.
    - "8 units ablated", and so on: the units that are most relevant to the context (B.17), for each share.
    - "direct copying", "Laplace blending": `Transfer` of that image.
    - "unmodified": nothing; pixels that show both classes before count as changed there too.

    Args:
        memory: the layer, whose second moment is known.
        inputs: see `Session.edit`.
        session: what was painted.
        rank: of the change.
        shares: of the layer's units to ablate.
        correspondences: the feature network of `best_buddies`; without it nothing is transferred.
        features: see `fine_tune`.
        fine_tuning_steps: of Adam over all weights; 0 leaves that baseline out.
        fine_tuning_rate: of Adam over all weights.
        tight: see `paste`.
        progress: show bars.
        options: of `insert`.

    Returns:
        By name, what `rule_changes` takes.

    Raises:
        ValueError: see `Session.edit`.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> memory, z = rewriting.Memory(street, "layer4"), dissect.latents(street, 8)
        >>> moment = memory.second_moment(z, progress=False)
        >>> mask = torch.zeros(64, 64)
        >>> mask[8:24, 8:24] = 1
        >>> session = rewriting.Session(rewriting.Selection(0, mask), rewriting.Selection(1, mask))
        >>> list(rewriting.baselines(memory, z, session, steps=2, fine_tuning_steps=0, progress=False))[:2]
        ['projected descent', 'direct Lambda']
    """
    painted = session.painted(memory, inputs, tight=tight)
    options = {**options, "progress": progress}
    context = memory.direction(painted.context, rank, masks=painted.masks)
    own = memory.direction(painted.context_of_paste, 1, masks=painted.masks_of_paste)
    spaces: dict[str, tuple[Any, Any]] = {
        "projected descent": (context, "projected"),
        "direct Lambda": (context, "lambda"),
        "one image's direction": (own, "projected"),
        "the layer, without direction": (torch.eye(memory.inputs), "projected"),
    }
    found: dict[str, Change] = {
        name: insert(memory, painted.keys, painted.values, space, mode, **options)
        for name, (space, mode) in spaces.items()
    }
    goal = render(memory, painted.inputs, painted.whole)
    if fine_tuning_steps:
        found["all weights"] = fine_tune(
            memory.model, painted.inputs, goal, features=features, steps=fine_tuning_steps, rate=fine_tuning_rate,
            progress=progress,
        )  # fmt: skip
    for share in shares:
        count = max(1, round(share * memory.inputs))
        units = memory.direction(painted.context, count, masks=painted.masks, method="units").units
        found[f"{count} units ablated"] = Ablated(memory, [] if units is None else units.tolist())
    if correspondences is not None:
        before = render(memory, painted.inputs)[0]
        size = (before.shape[1], before.shape[2])
        mask = nn.functional.interpolate(painted.alpha[None, None], size=size, mode="nearest")[0, 0]
        for name, blend in zip(("direct copying", "Laplace blending"), BLENDS):
            found[name] = Transfer(before, goal[0], mask, correspondences, blend)
    return found | {"unmodified": nullcontext()}
