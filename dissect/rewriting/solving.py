"""How the change of a memory's matrix is found: projected gradient descent, descent in Lambda, and in closed form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from tqdm.auto import tqdm, trange

from dissect.arguments import refusal
from dissect.rewriting.keys import Keys
from dissect.rewriting.memory import Memory
from dissect.rewriting.products import times
from dissect.rewriting.recorded import Recorded
from dissect.rewriting.winograd import Filters, suits

RewritingMode = Literal["projected", "lambda", "closed"]
MODES: tuple[RewritingMode, ...] = get_args(RewritingMode)
RewritingLoss = Literal["l1", "l2"]
LOSSES: tuple[RewritingLoss, ...] = get_args(RewritingLoss)
#: Of a key's length: with a smaller part along the directions, no finite change could give it another value.
SMALL = 1e-6

#: How an error ends that stops a descent.
DIVERGED = "the network's weights are as they were; try a lower rate."


class Schedule(NamedTuple):
    """Of a descent; the defaults are published.

    Attributes:
        steps: of Adam.
        every: steps from one projection to the next.
        rate: of Adam.
        project_gradient: whether each step's gradient is projected too.
        progress: show a bar.
        watch: called at each step with its number and the loss before it; what it raises ends the descent.
    """

    steps: int = 2001
    every: int = 10
    rate: float = 0.05
    project_gradient: bool = False
    progress: bool = True
    watch: Callable[[int, float], None] | None = None


class Solution(NamedTuple):
    """A change ``Lambda D^T``.

    Attributes:
        lambdas: [o * kh * kw, S] float64.
        losses: [T] float64, before each step.
    """

    lambdas: Tensor
    losses: Tensor


class Problem:
    """Keys whose values shall be others: minimise the mean over all numbers of |V - f(K; W)|, or of its square.

    What does not change in the course of a descent is computed once: the gathered keys, and the first values.

    Args:
        memory: f.
        keys: K.
        values: V [n, o, H, W].
        loss: "l1", as the published code, or "l2", as equation 6.6.
        directions: [i, S], orthonormal.
    """

    def __init__(self, memory: Memory, keys: Keys, values: Tensor, loss: RewritingLoss, directions: Tensor) -> None:
        self.memory, self.keys, self.values = memory, keys, values
        self._wanted = values.permute(0, 2, 3, 1).reshape(-1, memory.outputs)
        bias = getattr(memory.model.get_submodule(memory.layer), "bias", None)
        self.bias = None if bias is None else bias.detach()
        self._power = 1 if loss == "l1" else 2
        self.start = memory.matrix()
        self.directions = directions.to(self.start)
        self._rows = memory.form.rows(keys.maps)

    def loss(self, product: Tensor, energy: Tensor | None) -> Tensor:
        """Of what the gathered keys times a matrix are."""
        apart = self.memory.finish(self.keys, product, energy) - self.values
        return (apart.abs() if self._power == 1 else apart.square()).mean()

    def loss_of(self, matrix: Tensor) -> float:
        """Of a matrix."""
        with torch.no_grad():
            product = self.memory.form.product(self._rows, matrix)
            return float(self.loss(product, self.memory.energy(self.keys, matrix)))

    def gradient(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and its gradient by the matrix: only what is as small as the values goes through autograd."""
        form, product = self.memory.form, times(self._rows, matrix.view(-1, self._rows.shape[1]))
        if self.memory.linear and not form.transposed:
            loss, of_product = self._of_rows(product)
            return loss, form.gradient(self._rows, of_product)
        product.requires_grad_()
        energy = self.memory.energy(self.keys, matrix)
        small = [product] if energy is None else [product, energy.requires_grad_()]
        with torch.enable_grad():
            loss = self.loss(product, energy)
            grads = torch.autograd.grad(loss, small)
        found = form.gradient(self._rows, grads[0])
        if energy is not None and self.keys.style is not None:
            squares = (self.keys.style * form.scale).square()
            along = (2 * grads[1].T @ squares).repeat_interleave(form.taps, 0)
            found.addcmul_(along, matrix)
        return loss.detach(), found

    def _of_rows(self, product: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a product whose rows are values, and its gradient, both in its memory and without autograd."""
        return self.of_apart((product if self.bias is None else product.add_(self.bias)).sub_(self._wanted))

    def of_apart(self, apart: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of how far all values are from V, in any order, and its gradient, in that memory."""
        count = self.values.numel()
        if self._power == 1:
            return apart.abs().sum() / count, apart.sign_().mul_(1 / count)
        return apart.square().sum() / count, apart.mul_(2 / count)


def projected(problem: Problem, schedule: Schedule) -> Solution:
    """Adam over the whole matrix, brought back into ``W0 + Lambda D^T`` every few steps and at last (thesis, 6.3.4)."""
    start, basis = problem.start, problem.directions
    if suits(problem) and not schedule.project_gradient:
        return _projected_filters(Filters(problem), schedule)

    def gradient(matrix: Tensor) -> tuple[Tensor, Tensor]:
        loss, found = problem.gradient(matrix)
        return loss, (found @ basis) @ basis.T if schedule.project_gradient else found

    def project(matrix: Tensor) -> None:
        torch.addmm(start, matrix.sub_(start) @ basis, basis.T, out=matrix)

    current, losses = descend(start, gradient, project, schedule)
    return found_of((current - start) @ basis, losses)


@torch.no_grad()
def _projected_filters(filters: Filters, schedule: Schedule) -> Solution:
    """The same of a 3x3 convolution on a CPU."""
    losses = []
    for step in _bar(schedule):
        loss, gradient = filters.loss()
        losses.append(loss)
        _watched(schedule, step, loss)
        filters.step(gradient, step + 1, schedule.rate)
        if step % schedule.every == 0 or step == schedule.steps - 1:
            filters.project()
            _check(loss, step)
    return found_of(filters.lambdas(), losses)


@torch.no_grad()
def descend(
    start: Tensor, gradient: Callable[[Tensor], tuple[Tensor, Tensor]], project: Callable[[Tensor], None],
    schedule: Schedule,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Adam over a matrix, which is projected every few steps and at last, and the loss before each step.

    On a GPU the steps from one projection to the next are recorded and replayed, unless somebody watches.

    Args:
        start: where it begins.
        gradient: the loss of a matrix, and its gradient.
        project: brings a matrix back to where it may be, in place; Adam's state stays.
        schedule: of the descent.

    Raises:
        ArithmeticError: the loss is not finite.
    """
    current, done, losses = start.clone(), 0, list[Tensor]()
    replayed = start.is_cuda and schedule.watch is None
    adam = torch.optim.Adam([current], schedule.rate, fused=True, capturable=replayed)
    with tqdm(total=schedule.steps, desc="insert", disable=not schedule.progress, unit="step", leave=False) as bar:

        def steps(count: int) -> Tensor:
            found = []
            for step in range(done, done + count):
                loss, current.grad = gradient(current)
                found.append(loss)
                _watched(schedule, step, loss)
                adam.step()
                current.grad = None  # first, so that the next one takes its memory: new pages cost as much as a product
                bar.update()
            return torch.stack(found)

        whole = partial(steps, schedule.every)
        block = Recorded(whole, start.device) if replayed else whole
        while done < schedule.steps:  # the first step is a block of its own: a projection follows it
            count = min(schedule.every if done else 1, schedule.steps - done)
            losses.extend((block() if done and count == schedule.every else steps(count)).unbind())
            done += count
            project(current)
            _check(losses[-1], done - 1)
            bar.update(done - bar.n)  # by the steps that were replayed
    return current, losses


def in_lambda(problem: Problem, schedule: Schedule) -> Solution:
    """Adam over Lambda alone (equation 6.18), in a problem as small as the rank."""
    memory, keys, basis, form = problem.memory, problem.keys, problem.directions, problem.memory.form
    with torch.no_grad():
        rows = form.rows(torch.einsum("nihw,is->nshw", keys.maps, basis))
        product = form.product(form.rows(keys.maps), problem.start)
        energy = memory.energy(keys, problem.start)
        cross = square = None
        if keys.style is not None:
            squares = (keys.style * form.scale).square()
            cross = torch.einsum("ri,ni,is->nrs", problem.start, squares, basis)
            square = torch.einsum("is,ni,it->nst", basis, squares, basis)
    lambdas = torch.zeros(len(problem.start), basis.shape[1]).to(basis).requires_grad_()
    adam = torch.optim.Adam([lambdas], schedule.rate)
    losses = []
    with torch.enable_grad():
        for step in _bar(schedule):
            more = energy
            if energy is not None and cross is not None and square is not None:
                each = 2 * (lambdas * cross).sum(-1) + ((lambdas @ square) * lambdas).sum(-1)
                more = energy + each.view(len(keys), -1, form.taps).sum(-1)
            loss = problem.loss(product + form.product(rows, lambdas), more)
            losses.append(loss.detach())
            _watched(schedule, step, losses[-1])
            (lambdas.grad,) = torch.autograd.grad(loss, [lambdas])
            adam.step()
            if step % schedule.every == 0:
                _check(loss, step)
    return found_of(lambdas.detach(), losses)


def closed(problem: Problem) -> Solution:
    """The least squares of equation 6.18, exactly, of the least change where several serve; a linear memory's alone.

    Of one key of a fully connected layer that is ``Lambda = (v - W0 k) / (d^T k)`` (B.1).

    Raises:
        ValueError: the memory is not linear, or no key has a part along the directions.
    """
    memory, keys, form = problem.memory, problem.keys, problem.memory.form
    if not memory.linear:
        raise refusal(
            ValueError(
                f'mode must be "projected" or "lambda" for {memory.layer!r}, whose values are no linear function of '
                'its weight, so that there is no closed form, but got "closed".'
            )
        )
    basis, maps = problem.directions.double(), keys.maps.double()
    along = torch.einsum("nihw,is->nshw", maps, basis)
    largest, longest = float(along.abs().amax()), float(maps.square().sum(1).sqrt().amax())
    if not largest > SMALL * longest:
        raise refusal(
            ValueError(
                f"keys must have a part along the directions, but d^T k is at most {largest:.2g} for keys of length "
                f"{longest:.2g}: no change along them could give these keys other values."
            )
        )
    size = (keys.maps.shape[2], keys.maps.shape[3])
    unknowns = form.taps * basis.shape[1]
    every = torch.eye(unknowns, dtype=torch.float64, device=basis.device)
    each = form.maps(form.product(form.rows(along), every.view(-1, basis.shape[1])), len(keys), size)
    missing = problem.values.double() - memory.values(keys).double()
    design, wanted = (part.transpose(0, 1).flatten(1).T for part in (each, missing))
    solved = torch.linalg.lstsq(design.cpu(), wanted.cpu(), driver="gelsd").solution
    return found_of(solved.T.reshape(-1, basis.shape[1]).to(basis), [])


def found_of(lambdas: Tensor, losses: list[Tensor]) -> Solution:
    """A change and its losses, in float64 on the CPU.

    Raises:
        ArithmeticError: the change is not finite.
    """
    history = torch.stack(losses).double().cpu() if losses else torch.empty(0, dtype=torch.float64)
    if not bool(lambdas.isfinite().all()):
        raise refusal(ArithmeticError(f"the change must be finite, but is not; {DIVERGED}"))
    return Solution(lambdas.double().cpu(), history)


def _bar(schedule: Schedule) -> trange:
    return trange(schedule.steps, desc="insert", disable=not schedule.progress, unit="step", leave=False)


def _watched(schedule: Schedule, step: int, loss: Tensor) -> None:
    if schedule.watch is not None:
        schedule.watch(step, float(loss))


def _check(loss: Tensor, step: int) -> None:
    if not bool(loss.isfinite()):
        raise refusal(ArithmeticError(f"the descent must stay finite, but the loss of step {step} is not; {DIVERGED}"))
