"""How encoders of a generator's layers are trained: each alone, then all of them together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, mse_loss

from dissect.arguments import refusal
from dissect.files.checked import Array, Each, Number, Of, Whole, fields
from dissect.omissions.chain import Chain
from dissect.omissions.encoders import Encoder
from dissect.visits.run import Run, Visit
from dissect.visits.store import Step

#: What the loss of r_i rendered again counts beside that of r_(i-1) (equation 5.3).
LAMBDA_R = 0.01
#: How often a stage's mean loss is logged.
LINES = 20

EncoderLoss = Callable[[Tensor, Tensor], Tensor]


def cse(one: Tensor, other: Tensor) -> Tensor:
    """``mean over batch and positions of 1 - cos(one, other)``, the cosine over channels, as the published code has it.

    Example:
        >>> cse(torch.ones(2, 8), 3 * torch.ones(2, 8)).item() < 1e-6
        True
    """
    return (1 - cosine_similarity(one, other, dim=1, eps=1e-12)).mean()


def l1(one: Tensor, other: Tensor) -> Tensor:
    """``mean |one - other|``, as equation 5.3 has it."""
    return (one - other).abs().mean()


LOSSES: dict[str, EncoderLoss] = {"cse": cse, "l1": l1}


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Args:
        name: of the stage.
        steps: how many batches of new z it sees.
        loss: of a batch of z.
        modules: that are in training mode meanwhile.
        weights: that it changes.
        rate: Adam's learning rate at the start.
        milestones: shares of the steps after each of which the rate is multiplied with `factor`.
        factor: see there.
    """

    name: str
    steps: int
    loss: Callable[[Tensor], Tensor]
    modules: nn.Module
    weights: list[nn.Parameter]
    rate: float
    milestones: tuple[float, ...]
    factor: float

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        return self.rate * self.factor ** sum(step >= milestone * self.steps for milestone in self.milestones)


def layer_stages(
    chain: Chain, encoder: Encoder, loss: str, steps: int, image_steps: int, rate: float, image_rate: float
) -> list[Stage]:
    """One stage for each of e_1, ..., e_n, which are trained alone, and one for e_f."""
    close = LOSSES[loss]

    def of_layer(number: int) -> Stage:
        layer = encoder.layers[number - 1]

        def lost(z: Tensor) -> Tensor:
            with torch.no_grad():
                *_, before, r = chain.layers_of(z, upto=number)
            found = layer(r)
            return close(before, found) + LAMBDA_R * close(r, chain.stage(number, found))

        late = number in (2, len(chain)) and number > 1
        milestones = (0.6, 0.8) if late else (0.2, 0.6)
        return Stage(f"e_{number}", steps, lost, layer, list(layer.parameters()), rate, milestones, 0.1)

    def of_image(z: Tensor) -> Tensor:
        with torch.no_grad():
            r = chain.layers_of(z)[-1]
            images = chain.render(r)
        return mse_loss(encoder.image(images), r)

    image = Stage("e_f", image_steps, of_image, encoder.image, list(encoder.image.parameters()), image_rate, (), 1.0)
    return [*(of_layer(number) for number in range(1, len(chain) + 1)), image]


def joint_stage(chain: Chain, encoder: Encoder, steps: int, rate: float) -> Stage:
    """All encoders together, but for the last convolutions of e_2, ..., e_n, which stay as they are."""

    def lost(z: Tensor) -> Tensor:
        with torch.no_grad():
            r = chain.layers_of(z)[-1]
            images = chain.render(r)
        estimate = encoder.image(images)
        found = encoder.layers_of(estimate)[0]
        again = chain.layers_of(found)[-1]
        return cse(r, estimate) + cse(z, found) + cse(r, again) + mse_loss(chain.render(again), images)

    frozen = {id(weight) for layer in encoder.layers[1:] for weight in layer.get_submodule("conv3").parameters()}
    weights = [weight for weight in encoder.parameters() if id(weight) not in frozen]
    return Stage("joint", steps, lost, encoder, weights, rate, (0.05, 0.15, 0.35), 0.5)


def reconstruction_stage(chain: Chain, encoder: Encoder, steps: int, rate: float) -> Stage:
    """All encoders together by the image alone, as earlier methods train them (baseline b)."""

    def lost(z: Tensor) -> Tensor:
        with torch.no_grad():
            images = chain.render(chain.layers_of(z)[-1])
        return mse_loss(chain.render(chain.layers_of(encoder(images))[-1]), images)

    return Stage("reconstruction", steps, lost, encoder, list(encoder.parameters()), rate, (0.05, 0.15, 0.35), 0.5)


class EncoderTraining(Run):
    """The stages of a training one after the other; each step's z are new, by the seed, the stage and the step.

    Args:
        encoder: that it changes.
        stages: of it.

    Example: see `dissect.omissions.LayerInverter.train`.
    """

    def __init__(self, encoder: Encoder, stages: list[Stage]) -> None:
        self._encoder, self._stages = encoder, stages
        self._stage = self._step = 0
        self._sum = 0.0
        #: Stage, step, and the mean loss of the steps since the line before.
        self.log: list[dict[str, Any]] = []
        self._begin()

    @property
    def needs(self) -> Visit | None:
        """See `Run`; a visit is a stage."""
        if self._stage == len(self._stages):
            return None
        name = self._stages[self._stage].name
        return Visit(name, data=name)

    def add(self, found: Step) -> None:
        """Learns from a batch of z.

        Raises:
            ValueError: the loss is not finite.
        """
        stage, z = self._stages[self._stage], found.images
        for group in self._adam.param_groups:
            group["lr"] = stage.rate_at(self._step)
        stage.modules.train()
        with torch.enable_grad():
            loss = stage.loss(z)  # type: ignore[arg-type]
        value = loss.item()
        if not math.isfinite(value):
            raise refusal(
                ValueError(
                    f"the loss of {stage.name} must be finite, but is {value} at step {self._step}; train with a "
                    "smaller rate."
                )
            )
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        self._adam.step()
        stage.modules.eval()
        self._step, self._sum = self._step + 1, self._sum + value
        done, every = self._step, max(1, stage.steps // LINES)
        if done % every == 0 or done == stage.steps:
            steps = every if done % every == 0 else done % every
            self.log.append({"stage": stage.name, "step": done, "loss": self._sum / steps})
            self._sum = 0.0

    def end_visit(self) -> None:
        """See `Run`."""
        self._stage, self._step = self._stage + 1, 0
        self._begin()

    def _begin(self) -> None:
        """Adam of the stage under way."""
        weights = self._stages[min(self._stage, len(self._stages) - 1)].weights
        self._adam = torch.optim.Adam(weights, foreach=False)

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        weights = self._stages[min(self._stage, len(self._stages) - 1)].weights
        moments = {str(place): self._adam.state[weight] for place, weight in enumerate(weights)}
        return {
            "stage": self._stage, "step": self._step, "sum": self._sum, "log": self.log, "adam": moments,
            "encoder": dict(self._encoder.state_dict()),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`.

        Raises:
            ValueError: it holds what cannot be.
        """
        fields("the training", state, _RULES)
        self._stage, self._step, self._sum = state["stage"], state["step"], state["sum"]
        self.log = state["log"]
        load_weights("the encoder", self._encoder, state["encoder"])
        self._begin()
        weights = self._stages[min(self._stage, len(self._stages) - 1)].weights
        for place, weight in enumerate(weights):
            found = state["adam"].get(str(place), {})
            if found:
                shape = " ".join(map(str, weight.shape))
                rules = {"step": Array(torch.float32, "", 0)} | dict.fromkeys(
                    ("exp_avg", "exp_avg_sq"), Array(torch.float32, shape)
                )
                fields(f"Adam's state {place}", found, rules)
                self._adam.state[weight] = {name: found[name].to(weight.device) for name in rules}


_RULES = {
    "stage": Whole(), "step": Whole(), "sum": Number(0), "log": Each(Of(dict)), "adam": Of(dict), "encoder": Of(dict),
}  # fmt: skip


def load_weights(what: str, encoder: Encoder, states: dict[str, Tensor]) -> None:
    """Puts weights into an encoder that has their shapes; floats of 16 bits are widened.

    Raises:
        ValueError: they are not those of such an encoder, or not finite.
    """
    own = encoder.state_dict()
    wide = {name: value.to(own[name].dtype) if name in own else value for name, value in states.items()}
    fields(what, wide, {name: Array(value.dtype, " ".join(map(str, value.shape))) for name, value in own.items()})
    if not all(bool(value.isfinite().all()) for value in wide.values()):
        raise ValueError(f"{what} must hold finite weights, but does not.")
    encoder.load_state_dict({name: wide[name] for name in own})


class Draws:
    """Batches of z that are drawn as they are needed, as the steps of a run; see `dissect.visits.run.Steps`.

    Args:
        shape: of one z.
        steps: of each stage, by its name.
        batch_size: z of a step.
        seed: of all of them.
        device: where they go.
        offset: of the stages' numbers, so that another training with the seed draws others.
    """

    def __init__(
        self, shape: tuple[int, ...], steps: dict[str, int], batch_size: int, seed: int, device: torch.device,
        offset: int = 0,
    ) -> None:  # fmt: skip
        self._shape, self._steps, self._batch_size, self._seed = shape, steps, batch_size, seed
        self._device, self._offset = device, offset

    def count(self, visit: Visit) -> int:
        """See `Steps`."""
        return self._steps[visit.data]

    def visit(self, visit: Visit, start: int) -> Iterator[Step]:
        """See `Steps`."""
        stage = self._offset + list(self._steps).index(visit.data)
        for number in range(start, self._steps[visit.data]):
            stream = torch.Generator().manual_seed((self._seed << 40) + (stage << 32) + number)
            z = torch.randn(self._batch_size, *self._shape, generator=stream).to(self._device)
            yield Step(torch.arange(self._batch_size), None, {}, z)

    def known(self) -> Iterator[None]:
        """See `Steps`: z are told by the seed, so there is nothing to compare."""
        return iter(())

    def state_dict(self) -> dict[str, Any]:
        """See `Steps`."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Steps`."""
