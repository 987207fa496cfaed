"""The optimisation of how much each unit takes part in a class's average causal effect (thesis, A.4)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.files.checked import Array, Of, fields, require
from dissect.generators.causal_result import CausalForm
from dissect.generators.counting import Counter
from dissect.generators.places import PlacesRun
from dissect.generators.regions import block_masks, enlarged
from dissect.generators.rendering import Renderer
from dissect.interventions.intervention import insert
from dissect.visits.run import Run, Visit
from dissect.visits.store import Step

#: How many places of each kind are in an update (FACTS of the code).
UPDATE = 20
#: What Adam knows of alpha beside the number of its steps.
_MOMENTS = ("exp_avg", "exp_avg_sq")
#: Beyond this none of them lies.
_FAR = 2.0**100


class Options(NamedTuple):
    """How alpha is optimised; see `causal_units`."""

    block: int
    form: CausalForm
    epochs: int
    learning_rate: float
    weight: float


class Descent(Run):
    """One visit, whose steps are those of the optimisation, through all epochs.

    Args:
        renderer: makes the images.
        counter: has the segmenter, and the class.
        places: over which alpha is optimised.
        level: [U] k.
        start: [U] float32, alpha before the first step.
        options: of the optimisation.
        chance: draws the order of the places.

    Attributes:
        level: [U] k.
        alpha: [U] float32.
        losses: the objective before each step.
        parts: the numbers of the steps, each by itself.
    """

    def __init__(
        self, renderer: Renderer, counter: Counter, places: PlacesRun, level: Tensor, start: Tensor, options: Options,
        chance: torch.Generator,
    ) -> None:  # fmt: skip
        self._renderer, self._counter, self._places, self.level = renderer, counter, places, level
        self._options = options
        kinds = (places.removals, places.insertions)
        self._orders = [
            pair
            for _ in range(options.epochs)
            for pair in zip(*[torch.randperm(len(kind.z), generator=chance).split(UPDATE) for kind in kinds])
        ]
        self.parts = torch.arange(len(self._orders)).split(1)
        self.alpha = start.clone().to(renderer.device).requires_grad_()
        self._adam = options.form == "published"
        kind = torch.optim.Adam if self._adam else torch.optim.SGD
        self._optimizer: Any = kind([self.alpha], lr=options.learning_rate)
        self.losses: list[float] = []

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return Visit("optimisation", data="steps", last=True) if len(self.losses) < len(self.parts) else None

    def compute(self, step: Step) -> tuple[Tensor, float]:
        """See `Run`: the gradient of the objective over some places, and the objective."""
        gone, new = self._orders[int(step.numbers[0])]
        removals, insertions = self._places.removals, self._places.insertions
        z = torch.cat([removals.z[gone], insertions.z[new]])
        firsts = torch.cat([removals.firsts[gone], insertions.firsts[new]])
        masks = block_masks(firsts, self._options.block, self._renderer.map_size)
        sign = torch.cat([torch.ones(len(gone)) / len(gone), -torch.ones(len(new)) / len(new)])
        gradient, total = torch.zeros_like(self.alpha), 0.0
        for part in torch.arange(len(z)).split(self._renderer.batch_size):
            scores = self._scores(z[part], masks[part], sign[part] < 0)
            own, loss = self._gradient((scores * sign[part].to(scores.device)).sum())
            gradient, total = gradient + own, total + loss
        squared = self.alpha.square().sum()
        if float(squared.detach()) > 0:  # where it is 0, the norm has no gradient
            own, loss = self._gradient(self._options.weight * (squared if self._adam else squared.sqrt()))
            gradient, total = gradient + own, total + loss
        return gradient, total

    def add(self, found: tuple[Tensor, float]) -> None:
        """See `Run`."""
        self.alpha.grad = found[0]
        self.losses.append(found[1])
        self._optimizer.step()
        with torch.no_grad():
            self.alpha.clamp_(0, 1)

    def end_visit(self) -> None:
        """See `Run`."""

    def state_dict(self) -> dict[str, Any]:
        """See `Run`: alpha, and what Adam knows of it."""
        known = self._optimizer.state.get(self.alpha, {})
        moments = {name: known[name].cpu() for name in _MOMENTS if name in known}
        losses = torch.tensor(self.losses, dtype=torch.float64)
        return {"alpha": self.alpha.detach().cpu().clone(), "losses": losses, "moments": moments}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`."""
        what, units = "the optimisation", {"U": len(self.alpha)}
        rules = {"alpha": Array(torch.float32, "U", 0, 1), "losses": Array(torch.float64, "T"), "moments": Of(dict)}
        steps = fields(what, state, rules, units)["T"]
        require(what, steps <= len(self.parts), "it has no more steps than there are")
        with torch.no_grad():
            self.alpha.copy_(state["alpha"])
        self.losses = state["losses"].tolist()
        if steps and self._adam:
            limits = {name: Array(torch.float32, "U", low, _FAR) for name, low in zip(_MOMENTS, (-_FAR, 0))}
            fields(what, state["moments"], limits, units)
            moments = {name: state["moments"][name].to(self.alpha.device, copy=True) for name in _MOMENTS}
            self._optimizer.state[self.alpha] = {"step": torch.tensor(float(steps)), **moments}

    def _gradient(self, loss: Tensor) -> tuple[Tensor, float]:
        """Of alpha, and the loss.

        Raises:
            TypeError: no gradient goes through the scores.
            ValueError: it is not finite.
        """
        if not loss.requires_grad:
            raise refusal(
                TypeError(
                    "gradients must go through the scores of segmenter, but those of "
                    f"{type(self._counter.segmenter).__name__} have none."
                )
            )
        (gradient,) = torch.autograd.grad(loss, self.alpha)
        if not bool(gradient.isfinite().all()):
            raise refusal(ValueError("the gradient of alpha must be finite, but is not."))
        return gradient, float(loss.detach())

    def _scores(self, z: Tensor, masks: Tensor, inserted: Tensor) -> Tensor:
        """[n]: the mean score of the class in each block, with units blended with k where inserted, else with 0."""
        renderer = self._renderer
        blocks = masks[:, None].to(renderer.device)
        value = (self.level * inserted[:, None].float())[:, :, None, None].to(renderer.device)
        everything = torch.arange(renderer.num_units)
        with (
            torch.enable_grad(),
            insert(
                renderer.generator, renderer.layer, everything, value=value, alpha=self.alpha, mask=blocks,
                layout=renderer.layout,
            ),
        ):  # fmt: skip
            images = renderer.render(z)
            scores: Tensor = self._counter.segmenter.scores(images, self._counter.label)  # type: ignore[attr-defined]
        if not isinstance(scores, Tensor) or scores.ndim != 3 or len(scores) != len(z):
            got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise refusal(ValueError(f"scores of segmenter must be [N, H, W] with N={len(z)}, but are {got}."))
        inside = enlarged(blocks[:, 0], scores.shape[1:])
        return (scores * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)
