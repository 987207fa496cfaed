"""Edits on their way: each is found in a thread of its own, tells how far it is, and can be stopped."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from dissect.apps.answers import text_of
from dissect.apps.rewriter import StepWatcher, StoppedError
from dissect.arguments import refusal
from dissect.rewriting import Edit

#: Edits on their way at once, and those of which it is told after they ended, at most; losses of a curve.
MOST_RUNNING, MOST_KEPT, MOST_LOSSES = 8, 64, 256

Find = Callable[[StepWatcher, threading.Event], Edit]


class Job:
    """An edit that is found in a thread.

    Args:
        find: finds it; is given whom to tell of each step, and what says that it shall stop.
        steps: how many there will be.
        every: steps from one projection to the next. Losses are told of what was just projected: those between are of
            changes of a higher rank, which the edit cannot have.
        keep: keeps what was found, and gives it a name.
    """

    def __init__(self, find: Find, steps: int, every: int, keep: Callable[[Edit], str]) -> None:
        self._find, self._keep = find, keep
        self._stop, self._lock, self._begun = threading.Event(), threading.Lock(), time.monotonic()
        self._losses: list[tuple[int, float]] = []
        self._every = every
        self._told: dict[str, Any] = {"state": "waits", "step": 0, "steps": steps}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._told["state"] in ("waits", "runs")

    def stop(self) -> None:
        """Ends it within a step."""
        self._stop.set()

    def told(self) -> dict[str, Any]:
        """Its "state", waits, runs, done, stopped or failed; the step; [step, loss], at most 256 of them, evenly."""
        with self._lock:
            return {**self._told, "losses": list(self._losses)}

    def _run(self) -> None:
        try:
            edit = self._find(self._watch, self._stop)
            before, after = (edit.settings[f"loss_{when}"] for when in ("before", "after"))
            found = {"edit": self._keep(edit), "rank": edit.rank, "before": before, "after": after}
            self._tell(state="done", seconds=round(time.monotonic() - self._begun, 2), **found)
        except StoppedError as error:
            self._tell(state="stopped", error=text_of(error))
        except Exception as error:  # a page must hear of any
            self._tell(state="failed", error=text_of(error))

    def _watch(self, step: int, loss: float) -> None:
        with self._lock:
            self._told.update(state="runs", step=step)
            if (step - 1) % self._every == 0:
                self._losses.append((step, loss))
            if len(self._losses) > MOST_LOSSES:
                self._losses, self._every = self._losses[::2], 2 * self._every

    def _tell(self, **found: Any) -> None:
        with self._lock:
            self._told.update(found)


class Jobs:
    """Edits by their names.

    The least that must be kept is: what is running, and of what ended the last ones.
    """

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock, self._count = threading.Lock(), 0

    def start(self, find: Find, steps: int, every: int, keep: Callable[[Edit], str]) -> str:
        """Begins an edit, and names it.

        Raises:
            ValueError: too many are on their way.
        """
        with self._lock:
            if sum(job.runs for job in self._jobs.values()) >= MOST_RUNNING:
                raise refusal(ValueError(f"{MOST_RUNNING} edits are on their way, and there can be no more at once."))
            self._count += 1
            name = f"job-{self._count}"
            self._jobs[name] = Job(find, steps, every, keep)
            ended = [other for other, job in self._jobs.items() if not job.runs]
            for other in ended[: max(0, len(self._jobs) - MOST_KEPT)]:
                del self._jobs[other]
            return name

    def of(self, name: str) -> Job:
        """The one of a name.

        Raises:
            KeyError: there is none.
        """
        with self._lock:
            if name not in self._jobs:
                raise refusal(KeyError("there is no such edit on its way."))
            return self._jobs[name]
