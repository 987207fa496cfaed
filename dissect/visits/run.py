"""One loop for all that is learned from visits to a data set, so that it can be watched, interrupted and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor
from tqdm.auto import tqdm

from dissect.files.checked import Of, Whole, fields
from dissect.files.progress import Progress, Resumable, go_on, versioned
from dissect.interrupts import deferred_interrupts
from dissect.visits.disk import Maps
from dissect.visits.store import Step


@dataclass(frozen=True)
class Visit:
    """What a visit to all images needs: its layers, planes, the images; after the last one nothing is kept.

    Attributes:
        title: of the bar.
        layers: whose activations steps must have.
        planes: whether they must have label planes.
        last: whether no other visit follows.
        images: whether they must have images.
        condense: of a layer's maps what may stand for them once this visit has seen them, where memory is short; None
            for whole maps. Takes the layer's name, maps [N, U, h, w] or hot cells, the images' numbers [N], and of all
            images how many were seen so far, above 0 and at most 1; None asks for what it may come to in the end, of
            which the size alone is of interest.
        whole: layers whose maps must be whole, whatever stood for them before.
        data: which data set is visited, where the steps are of several.
    """

    title: str
    layers: list[str] = field(default_factory=list)
    planes: bool = False
    last: bool = False
    images: bool = True
    data: str = "images"
    condense: Callable[[str, Maps, Tensor, float | None], Maps] | None = None
    whole: frozenset[str] = frozenset()

    def condensed(self, name: str, maps: Maps, numbers: Tensor, share: float | None = 1.0) -> Maps:
        """What is to be kept of a layer's maps: hot cells, unless they must be whole or take less."""
        if self.condense is None or name in self.whole:
            return maps
        hot = self.condense(name, maps, numbers, share)
        return hot if hot.nbytes < maps.nbytes else maps


class Run:
    """What is learned from visits to a data set, in the middle of it; `finish` makes the visits.

    Example:
        >>> from dissect.data import Batches
        >>> from dissect.visits.images import Images
        >>> class Brightest(Run):
        ...     highest, done = -1.0, False
        ...     @property
        ...     def needs(self):
        ...         return None if self.done else Visit("brightest")
        ...     def add(self, step):
        ...         self.highest = max(self.highest, float(step.images.max()))
        ...     def end_visit(self):
        ...         self.done = True
        ...     def state_dict(self):
        ...         return {"highest": self.highest, "done": self.done}
        ...     def load_state_dict(self, state):
        ...         self.highest, self.done = state["highest"], state["done"]
        >>> run, photos = Brightest(), torch.linspace(0, 1, 48).view(4, 3, 2, 2)
        >>> finish(run, Images({"images": Batches(photos, batch_size=2)}), progress=False)
        >>> run.highest
        1.0
    """

    #: Of the layout of `state_dict`; it grows with each change.
    version: ClassVar[int] = 1

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see; None when all visits have ended."""
        raise NotImplementedError

    def compute(self, step: Step) -> Any:
        """Makes of a step what `add` takes. For what takes long: Ctrl-C ends it at once, so it must change nothing."""
        return step

    def add(self, found: Any) -> None:
        """Takes a step, or what `compute` made of it. Ctrl-C waits for its end."""
        raise NotImplementedError

    def end_visit(self) -> None:
        """All steps were added; chooses what the next visit needs."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on after any step, but for the place and the data: tensors, JSON, dicts of these.

        States in it are `versioned`.
        """
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`; checks what it says (`dissect.files.checked`).

        Raises:
            ValueError: it holds what cannot be.
        """
        raise NotImplementedError


class Steps(Resumable, Protocol):
    """Where a run's steps come from: `Images`, or `Activations`, which adds activations.

    It knows each batch by its checksums, and refuses others at every later visit, also of a run that goes on.
    """

    def count(self, visit: Visit) -> int | None:
        """How many steps a visit has, as far as that is known."""

    def visit(self, visit: Visit, start: int) -> Iterator[Step]:
        """Every step from number `start` on.

        Raises:
            ValueError: there are none; or a batch is not what it was at an earlier visit.
        """

    def known(self) -> Iterator[None]:
        """Compares, batch by batch, what is at hand with what the run that goes on has met.

        Raises:
            ValueError: it is something else.
        """


def finish(
    run: Run,
    steps: Steps,
    *,
    resume: str | Path | None = None,
    about: dict[str, Any] | None = None,
    progress: bool = True,
) -> None:
    """Makes all visits that are left of a run.

    Args:
        run: what learns.
        steps: of the data set.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        about: what the run depends on, by name; one that is resumed must depend on the same.
        progress: show a bar.

    Raises:
        ValueError: no data, or others than before; a folder that holds another run.
        OSError: the folder cannot be made or written to.
    """
    saved, under_way = Progress(resume, about or {}), _UnderWay(run, steps)
    if saved.restore(under_way):
        for _ in _bar(steps.known(), "same data?", progress):
            pass
    with saved.keeping(under_way):
        while (visit := run.needs) is not None:
            begin = under_way.batch
            for step in _bar(steps.visit(visit, begin), visit.title, progress, steps.count(visit), begin):
                found = run.compute(step)
                with deferred_interrupts():  # else Ctrl-C in the middle would leave nothing whole to save
                    run.add(found)
                    under_way.batch += 1
                    saved.save(under_way)
            with deferred_interrupts():
                run.end_visit()
                under_way.batch = 0
                saved.save(under_way, now=True)


@dataclass
class _UnderWay:
    """All that is saved: what the run has learned, what its steps know of the data, and which step comes next."""

    run: Run
    steps: Steps
    batch: int = 0

    @property
    def done(self) -> bool:
        return self.run.needs is None

    def state_dict(self) -> dict[str, Any]:
        return {"batch": self.batch, "steps": versioned(self.steps), "run": versioned(self.run)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        fields("the run", state, {"batch": Whole(), "steps": Of(dict), "run": Of(dict)})
        self.batch = state["batch"]
        go_on(self.steps, state["steps"])
        go_on(self.run, state["run"])


def _bar(steps: Iterable[Any], title: str, progress: bool, total: int | None = None, begin: int = 0) -> Iterable[Any]:
    bar: Iterable[Any] = tqdm(steps, title, total=total, initial=begin, disable=not progress, unit="batch", leave=False)
    return bar
