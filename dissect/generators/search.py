"""Runs one after another, over the same z and over parts of their own: the search for causal units."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dissect.data import Batches
from dissect.files.checked import Of, fields, require
from dissect.files.progress import go_on, versioned
from dissect.visits.images import Images
from dissect.visits.run import Run, Visit
from dissect.visits.store import Step


class InTurn(Run):
    """Runs one after another: each is made of those before it, once these have ended.

    Args:
        *makers: of each run, called with those before it.

    Attributes:
        runs: those that were made.
    """

    def __init__(self, *makers: Callable[..., Run]) -> None:
        self._makers, self.runs = makers, [makers[0]()]

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return self.runs[-1].needs

    @property
    def parts(self) -> Any:
        """The numbers of each step of the run under way, where they are not of z."""
        return self.runs[-1].parts  # type: ignore[attr-defined]

    def compute(self, step: Step) -> Any:
        """See `Run`."""
        return self.runs[-1].compute(step)

    def add(self, found: Any) -> None:
        """See `Run`."""
        self.runs[-1].add(found)

    def end_visit(self) -> None:
        """See `Run`."""
        self.runs[-1].end_visit()
        self._begin_next()

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        return {str(at): versioned(run) for at, run in enumerate(self.runs)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`."""
        require("the run", 1 <= len(state) <= len(self._makers), "its parts are as many as there can be")
        fields("the run", state, {str(at): Of(dict) for at in range(len(state))})
        for at in range(len(state)):
            require("the run", len(self.runs) > at, "each part follows one that has ended")
            go_on(self.runs[at], state[str(at)])
            if at + 1 < len(state):
                self._begin_next()

    def _begin_next(self) -> None:
        while self.needs is None and len(self.runs) < len(self._makers):
            self.runs.append(self._makers[len(self.runs)](*self.runs))


class ZSteps(Images):
    """Steps over batches of z, and for visits of other data over the `parts` that a run names itself."""

    def __init__(self, batches: Batches, run: Run) -> None:
        super().__init__({"z": batches})
        self._run = run

    def count(self, visit: Visit) -> int | None:
        """See `Steps`."""
        return super().count(visit) if visit.data == "z" else len(self._parts())

    def visit(self, visit: Visit, start: int) -> Iterator[Step]:
        """See `Steps`."""
        if visit.data == "z":
            yield from super().visit(visit, start)
        else:
            yield from (Step(numbers, None, {}) for numbers in self._parts()[start:])

    def _parts(self) -> Any:
        return self._run.parts  # type: ignore[attr-defined]
