"""A training watched from within its loop: the network dissected every so many steps, as if nobody had looked."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from dissect.arguments import integer, refusal, speaks
from dissect.dissection.comparable import check_comparable
from dissect.dissection.comparison import Comparison, compare
from dissect.dissection.result import Dissection, load
from dissect.dissection.run import dissect

#: The share of the steps' time that dissections may take, unless asked otherwise.
SHARE = 0.03


class WatchCost(NamedTuple):
    """What watching has cost so far.

    Attributes:
        dissections: how many were made.
        seconds: of one of them, on average; of the wall clock.
        steps: how many were made between them.
        step_seconds: of one of these.
        share: the dissections' time over the steps'; None before there was any step.
        every: the fewest steps between two dissections with which these take 3 % of the steps' time at most; None
            before there was any step.
    """

    dissections: int
    seconds: float
    steps: int
    step_seconds: float
    share: float | None
    every: int | None


@speaks
class Watch:
    """Dissects a network while it is trained: in a ``with`` block around the loop, `step` called after every step.

    The network is dissected when the block is entered, every `every` steps, and when the block ends. The training does
    not feel it: modules go into evaluation mode and back, each as it was; the random streams of Python, NumPy and
    PyTorch (on the CPU, and on CUDA devices that hold the network) go on where they were; batch statistics and
    gradients stay. So it ends with the same weights as without.

    A dissection of N images costs as much time whatever the batch; with d seconds for it and s for a step, a share of
    3 % wants ``every >= d / (0.03 s)``. `cost` measures both and says so.

    Args:
        model: the one that is trained. What `torch.compile` or `nn.parallel.DistributedDataParallel` made of a network
            will do, and a network compiled in place: the network itself is dissected, not what was compiled, so that
            nothing is compiled anew. In training on several processes one of them should watch.
        layers: see `dissect.dissect`.
        images: see `dissect.dissect`; the same at every step.
        every: steps between two dissections.
        at: further steps at which the network is dissected, as powers of two, since much changes early.
        out: a folder for a file of each dissection, ``STEP.dissection``; without one all are held in memory. Files of
            steps before `start` are taken as they are, so that a training that goes on has all of its history; from
            `start` on they are made anew.
        start: how many steps the training has made already, where it goes on from a checkpoint.
        **options: of `dissect.dissect`; ``progress=False`` unless asked otherwise.

    Raises:
        TypeError, ValueError: neither `every` nor `at`; see `dissect.dissect`. Files in `out` that were made by other
            rules are told at the first dissection that does not fit them.

    Example:
        >>> layers = torch.nn.Conv2d(3, 2, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(128, 5)
        >>> model = torch.nn.Sequential(*layers)
        >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
        >>> seen = torch.rand(4, 3, 8, 8), torch.randint(0, 3, (4, 1, 8, 8))
        >>> with dissect.Watch(model, "0", [seen], every=2, concepts=["sky", "tree"]) as watch:
        ...     for _ in range(4):
        ...         torch.nn.functional.cross_entropy(model(torch.rand(8, 3, 8, 8)), torch.arange(8) % 5).backward()
        ...         optimizer.step()
        ...         watch.step()
        >>> [row.step for row in watch.history().summary()], watch.cost().dissections, model.training
        ([0, 2, 4], 3, True)
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str | Iterable[str],
        images: Any,
        *,
        every: int | None = None,
        at: Iterable[int] = (),
        out: str | Path | None = None,
        start: int = 0,
        **options: Any,
    ) -> None:
        self.every = None if every is None else integer("every", every)
        self.at = frozenset(integer("at", step, 0) for step in at)
        if every is None and not self.at:
            raise refusal(ValueError("every or at must say when to dissect, but neither is given."))
        if "resume" in options:
            raise refusal(TypeError("resume must not be given: out= holds what a training that goes on needs."))
        self.model, self.layers, self.images = model, layers, images
        self.layers = layers if isinstance(layers, str) else list(layers)
        self.options = {"progress": False} | options
        #: How many steps the training has made.
        self.steps = integer("start", start, 0)
        self._out = None if out is None else Path(out)
        self._found: dict[int, Dissection | Path] = self._there()
        self._spent, self._stepped, self._made, self._counted = 0.0, 0.0, 0, 0
        self._since: float | None = None  # when the steps went on that are being made

    def __enter__(self) -> Watch:
        self._look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pause()
        if kind is None:
            self._look()
            self._since = None

    def step(self) -> None:
        """Counts a step of the training, and dissects when it is time."""
        self.steps += 1
        self._counted += 1
        if self.steps in self.at or (self.every is not None and self.steps % self.every == 0):
            self._look()

    def history(self) -> Comparison:
        """The dissections so far side by side, with `steps`; see `Comparison.histories` and `plot("series")`.

        Raises:
            ValueError: there are fewer than two.
        """
        if len(self._found) < 2:
            raise refusal(ValueError(f"a history needs at least two dissections, but there are {len(self._found)}."))
        found = dict(sorted(self._found.items()))
        return compare({str(step): one for step, one in found.items()}, steps=list(found))

    def cost(self) -> WatchCost:
        """What dissections took, what steps took, and how far apart dissections must be to take 3 % of the time."""
        stepped = self._stepped + (0.0 if self._since is None else time.perf_counter() - self._since)
        each, one = self._spent / max(self._made, 1), stepped / max(self._counted, 1)
        known = self._counted > 0 and stepped > 0
        every = max(1, math.ceil(round(each / (SHARE * one), 6))) if known else None
        return WatchCost(self._made, each, self._counted, one, self._spent / stepped if known else None, every)

    def _there(self) -> dict[int, Dissection | Path]:
        """The files of earlier parts of the training."""
        if self._out is None or not self._out.is_dir():
            return {}
        files = {int(path.stem): path for path in self._out.glob("*.dissection") if path.stem.isdigit()}
        return {step: path for step, path in sorted(files.items()) if step < self.steps}

    def _pause(self) -> None:
        """Takes the time of the steps so far, the last of which a GPU may still be making."""
        if self._since is not None:
            if next((parameter.is_cuda for parameter in self.model.parameters()), False):
                torch.cuda.synchronize()
            self._stepped += time.perf_counter() - self._since
            self._since = None

    def _look(self) -> None:
        if self.steps in self._found:
            return
        self._pause()
        begin = time.perf_counter()
        model = inner(self.model)
        with undisturbed(model):
            found = dissect(model, self.layers, self.images, **self.options)
        if self._found and not self._made:
            step, last = max(self._found.items())
            check_comparable({str(step): last if isinstance(last, Dissection) else load(last), "now": found}, (), None)
        self._found[self.steps] = found if self._out is None else found.save(self._out / f"{self.steps:09d}")
        self._made += 1
        self._since = time.perf_counter()
        self._spent += self._since - begin


def inner(model: nn.Module) -> nn.Module:
    """The network within what torch.compile or data parallelism made of it."""
    while True:
        if isinstance(model, torch._dynamo.OptimizedModule):
            model = model._orig_mod
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            return model


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Within it a network is in evaluation mode and not compiled; afterwards it, and all chance, is as it was."""
    modules = list(model.modules())
    modes = [module.training for module in modules]
    compiled = [module._compiled_call_impl for module in modules]
    streams = random.getstate(), np.random.get_state()
    places = {parameter.device for parameter in model.parameters()} or {torch.device("cpu")}
    forked = torch.random.fork_rng([place for place in places if place.type == "cuda"])
    try:
        with forked, torch.autocast(next(iter(places)).type, enabled=False):
            for module in modules:
                module._compiled_call_impl = None
            model.eval()
            yield
    finally:
        random.setstate(streams[0])
        np.random.set_state(streams[1])
        for module, mode, call in zip(modules, modes, compiled):
            module.training, module._compiled_call_impl = mode, call
