"""A rule between distant places turned round: what appears with something shall go with it, and the other way round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.devices import device_of, to_device
from dissect.interventions.replay import Replay
from dissect.network.layers import find_layers
from dissect.network.modes import check_evaluating
from dissect.network.outputs import first_tensor
from dissect.network.trace import Trace
from dissect.rewriting.directions import area
from dissect.rewriting.edit import Edit
from dissect.rewriting.insertion import checked_rate, edit_of
from dissect.rewriting.keys import Keys, is_pair, noise_of
from dissect.rewriting.measuring import Change, interval_of_ratio, made, within
from dissect.rewriting.memory import Memory
from dissect.rewriting.moment import batches_of
from dissect.rewriting.products import times
from dissect.rewriting.solving import Schedule, descend, found_of
from dissect.visits.images import Images
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

#: Between features of a run and of one whose beginning was noted: rounding.
SAME = 1e-3


@speaks
def invert_rule(
    model: nn.Module, inputs: Any, present: Change, absent: Change, masks: Tensor, layers: Sequence[str], seen: str, *,
    rank: int = 1, steps: int = 100, rate: float = 0.02, final_steps: int = 10_000, final_rate: float = 0.01,
    every: int = 10, progress: bool = True,
) -> Edit:  # fmt: skip
    """Finds the change of one layer by which an effect appears without its cause, and not with it (thesis, B.6).

    Each input is run twice, with the cause and without. What the network has at `seen` within the masks is then
    wanted of the other run: with the cause what was there without it, without the cause what was there with it; and
    outside of the masks what was there. Adam minimises the mean square difference over the whole weight of each of the
    layers in turn, brought back every few steps to the nearest change of low rank, by a singular value decomposition;
    Adam's state is not. The layer with the lowest loss is then descended again from the start, longer and more slowly,
    as in the published notebook. The network stays as it is.

    Args:
        model: in evaluation mode.
        inputs: of n images: a batch, or (z, noise seeds).
        present: gives a context within which the cause is there, as ``lambda: dissect.insert(model, layer, units, k)``.
        absent: gives one within which it is not, as ``lambda: dissect.ablate(model, layer, units)``.
        masks: [n, H, W] in [0, 1], at any size: where the effect is.
        layers: candidates, each a memory that runs after what the contexts edit, and not after `seen`.
        seen: the layer by whose features the effect is told.
        rank: of the change.
        steps: of Adam at each candidate.
        rate: of Adam there.
        final_steps: of Adam at the one that is chosen.
        final_rate: of Adam there.
        every: steps between reductions.
        progress: show a bar.

    Returns:
        An `Edit`, not applied, whose ``settings["layers"]`` has each candidate's loss before and after.

    Raises:
        ArithmeticError: a descent diverges.
        KeyError, TypeError: see `Memory`.
        ValueError: no layers, or one that `seen` does not follow; masks that are not one per image or select nothing;
            contexts that change nothing within the masks.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> masks = torch.zeros(2, 64, 64)
        >>> masks[:, 48:] = 1
        >>> edit = rewriting.invert_rule(
        ...     street, dissect.latents(street, 2), lambda: dissect.insert(street, "layer4", [9], value=4.0),
        ...     lambda: dissect.ablate(street, "layer4", [9]), masks, ["layer5", "layer6"], "layer6", steps=3,
        ...     final_steps=3, progress=False,
        ... )
        >>> edit.rank, sorted(edit.settings["layers"])
        (1, ['layer5', 'layer6'])
    """
    memories = {layer: Memory(model, layer) for layer in layers}
    if not memories:
        raise refusal(ValueError("layers must be at least one, but there are none."))
    rank, most = integer("rank", rank), min(memory.inputs for memory in memories.values())
    if rank > most:
        raise refusal(ValueError(f"rank must be at most {most}, the channels of a key, but is {rank}."))
    first, schedule = (
        Schedule(integer(name, count), integer("every", every), checked_rate(step), False, progress)
        for name, count, step in (("steps", steps, rate), ("final_steps", final_steps, final_rate))
    )
    wanted = _Wanted(model, inputs, present, absent, masks, seen)
    tried = {}
    for layer, memory in memories.items():
        problem = _Swapped(memory, wanted, rank)
        current, losses = descend(problem.start, problem.gradient, problem.reduce, first)
        tried[layer] = [float(losses[0]), problem.loss_of(current)]
    best = min(tried, key=lambda layer: tried[layer][1])
    problem = _Swapped(memories[best], wanted, rank)
    current, losses = descend(problem.start, problem.gradient, problem.reduce, schedule)
    change = (current - problem.start).double()
    basis = row_space(change, rank)
    settings = {
        "mode": "inverted", "loss": "l2", "layers": tried, "seen": seen, "keys": len(masks), "steps": schedule.steps,
        "rate": final_rate, "every": every,
    }  # fmt: skip
    return edit_of(
        memories[best], basis.cpu(), found_of(change @ basis, losses), problem.loss_of, problem.keys, settings
    )


@dataclass(frozen=True, eq=False)
class RuleEffect:
    """What a cause does to N images, each with it against itself without.

    Attributes:
        effect: [N, M] float64, by how much it raises each measure.
        moved: [N] float64, the mean distance of the images without any cause from those of the network as it was.
    """

    effect: Tensor
    moved: Tensor

    def mean(self, measure: int = 0, *, seed: int = 0) -> tuple[float, float, float]:
        """The mean effect over images on a measure, and where 95 % of such lie if images are drawn again.

        NaN where there are fewer than ten images.
        """
        values = self.effect[:, measure]
        return float(values.mean()), *interval_of_ratio(values, torch.ones_like(values), seed)


@speaks
def rule_effects(
    model: nn.Module, inputs: Any, present: Change, absent: Change, measure: Callable[[Tensor, Tensor], Tensor],
    changes: Mapping[str, Change] | None = None, *, batch_size: int = 32, progress: bool = True,
) -> dict[str, RuleEffect]:  # fmt: skip
    """Measures what a cause does, in a generator as it is and under changes (thesis, Figure 6-6).

    Args:
        model: from z to images [N, 3, H, W], in evaluation mode.
        inputs: z, or (z, noise seeds): others than those that the changes were made of.
        present: see `invert_rule`.
        absent: the same.
        measure: from images, and those of the same z as the network makes them without cause or change (by which places
            can be chosen), to [N] or [N, M].
        changes: by name an `Edit`, or what gives a context within which the images are made.
        batch_size: images at a time.
        progress: show a bar.

    Returns:
        A `RuleEffect` of each change, and first of all of none, as "".

    Raises:
        ValueError: a change without a name; a measure of another shape, or that is not finite.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> found = rewriting.rule_effects(
        ...     street, dissect.latents(street, 4, seed=2), lambda: dissect.insert(street, "layer4", [9], value=4.0),
        ...     lambda: dissect.ablate(street, "layer4", [9]), lambda images, plain: images.mean((1, 2, 3)),
        ...     progress=False,
        ... )
        >>> found[""].effect.shape
        torch.Size([4, 1])
    """
    check_evaluating(model)
    if "" in (changes or {}):
        raise refusal(ValueError('changes must have names, but one is "", which stands for the network as it is.'))
    run = _Effects(model, (present, absent), measure, {"": None, **(changes or {})})
    finish(run, Images({"inputs": batches_of(inputs, integer("batch_size", batch_size))}), progress=progress)
    return {name: RuleEffect(*(torch.cat(parts) for parts in zip(*rows))) for name, rows in run.rows.items()}


class _Effects(Run):
    """Per change and batch: the numbers of a `RuleEffect`."""

    def __init__(
        self, model: nn.Module, causes: tuple[Change, Change], measure: Callable[[Tensor, Tensor], Tensor],
        changes: Mapping[str, Change | None],
    ) -> None:  # fmt: skip
        self._model, self._causes, self._measure, self._changes = model, causes, measure, changes
        self.rows: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in changes}
        self.done = False

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return None if self.done else Visit("rule effects", last=True, data="inputs")

    @torch.no_grad()
    def compute(self, step: Step) -> Any:
        """See `Run`."""
        plain, found = made(self._model, step), {}
        for name, change in self._changes.items():
            with within(change):
                there, gone = (self._measured(cause, step, plain) for cause in self._causes)
                moved = (made(self._model, step) - plain).abs().double().mean((1, 2, 3))
            found[name] = ((there - gone).cpu(), moved.cpu())
        return found

    def add(self, found: Any) -> None:
        """See `Run`."""
        for name, row in found.items():
            self.rows[name].append(row)

    def end_visit(self) -> None:
        """See `Run`."""
        self.done = True

    def _measured(self, cause: Change, step: Step, plain: Tensor) -> Tensor:
        with within(cause):
            found = self._measure(made(self._model, step), plain).double()
        if found.ndim not in (1, 2) or len(found) != len(plain) or not bool(found.isfinite().all()):
            got = list(found.shape)
            raise refusal(
                ValueError(f"measure must give finite numbers [N] or [N, M] with N={len(plain)}, but gave {got}.")
            )
        return found.view(len(found), -1)


class _Wanted:
    """Both runs of the inputs, and the features that each has and shall have."""

    def __init__(
        self, model: nn.Module, inputs: Any, present: Change, absent: Change, masks: Tensor, seen: str
    ) -> None:
        find_layers(model, [seen])
        check_evaluating(model)
        self.model, self.changes, self.seen, self.inputs = model, (present, absent), seen, inputs
        batch, also = inputs if is_pair(inputs) else (inputs, None)
        self.batch, self.also = to_device(batch, device_of(model)), noise_of(model, also)
        features = []
        for change in self.changes:
            with torch.no_grad(), within(change), self.trace() as trace:
                model(self.batch, **self.also)
            features.append(first_tensor(trace[seen]))
        there, gone = self.had = features
        if len(masks) != len(there):
            raise refusal(ValueError(f"masks must be one per image, {len(there)}, but are {len(masks)}."))
        share = area(masks, (there.shape[2], there.shape[3])).to(there)[:, None]
        if not bool((share * (there - gone)).any()):
            raise refusal(ValueError(f"masks must select what the contexts change at {seen!r}, but nothing differs."))
        self.features = there + share * (gone - there), gone + share * (there - gone)

    def trace(self) -> Trace:
        """What sees the features, and ends a pass with them."""
        return Trace(self.model, [self.seen], stop=True, clone=False, detach=False)


class _Swapped:
    """The loss of a layer's matrix: how far both runs are from what they shall be."""

    def __init__(self, memory: Memory, wanted: _Wanted, rank: int) -> None:
        self._memory, self._wanted, self._rank = memory, wanted, rank
        self.start = memory.matrix()
        self._runs = []
        for change in wanted.changes:
            with within(change):
                keys = memory.keys(wanted.inputs)
                # What ends before the layer is noted as the change makes it, so that it need not be made again.
                replay = Replay(wanted.model, [memory.value_layer], wanted.batch, **wanted.also)
            self._runs.append((keys, memory.form.rows(keys.maps), replay))
        self._check()

    @torch.no_grad()
    def _check(self) -> None:
        """Refuses a layer on which the features do not depend, or that runs before the contexts have changed all."""
        as_had, moved = True, False
        for run, had in zip(self._runs, self._wanted.had):
            found = self._features(*run, self.start)
            as_had &= torch.allclose(found, had, rtol=SAME, atol=SAME)
            moved |= not torch.equal(self._features(*run, torch.zeros_like(self.start)), found)
        if not (as_had and moved):
            raise refusal(
                ValueError(
                    f"layers must run after all that the contexts change, and have {self._wanted.seen!r} after them, "
                    f"but {self._memory.layer!r} has not, or what comes before it changes what others keep."
                )
            )

    @property
    def keys(self) -> list[Keys]:
        """Of both runs."""
        return [keys for keys, _, _ in self._runs]

    def gradient(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and its gradient by the matrix."""
        with torch.enable_grad():
            leaf = matrix.detach().requires_grad_()
            loss = self._loss(leaf)
            (found,) = torch.autograd.grad(loss, [leaf])
        return loss.detach(), found

    def loss_of(self, matrix: Tensor) -> float:
        """Of a matrix."""
        with torch.no_grad():
            return float(self._loss(matrix))

    def reduce(self, matrix: Tensor) -> None:
        """Brings a matrix to the nearest one whose change is of low rank, in place."""
        change = (matrix - self.start).double()
        basis = row_space(change, self._rank)
        matrix.copy_(self.start + ((change @ basis) @ basis.T).to(matrix))

    def _loss(self, matrix: Tensor) -> Tensor:
        pairs = zip(self._runs, self._wanted.features)
        return torch.stack([(self._features(*run, matrix) - wanted).square().mean() for run, wanted in pairs]).mean()

    def _features(self, keys: Keys, rows: Tensor, replay: Replay, matrix: Tensor) -> Tensor:
        """The features of a run in which the layer gives what it would with the matrix."""
        memory = self._memory
        values = memory.finish(keys, times(rows, matrix.view(-1, rows.shape[1])), memory.energy(keys, matrix))
        edit = Trace(memory.model, [memory.value_layer], edit=lambda *_: values, clone=False, retain=None)
        with self._wanted.trace() as trace, edit:
            replay()
        found: Tensor = first_tensor(trace[self._wanted.seen])
        return found


def row_space(change: Tensor, rank: int) -> Tensor:
    """The first right singular vectors of a matrix [R, i], [i, rank]."""
    vectors: Tensor = torch.linalg.svd(change, full_matrices=False).Vh[:rank].T
    return vectors.contiguous()
