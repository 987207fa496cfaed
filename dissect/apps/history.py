"""A history of states, in which nothing is lost until it is full."""

from __future__ import annotations

from typing import Generic, TypeVar

Snapshot = TypeVar("Snapshot")

#: Gestures that can be undone.
MOST_UNDONE = 1000


class History(Generic[Snapshot]):
    """What is, what was, and what was undone.

    Args:
        state: that it begins with; states are never changed in place.

    Example:
        >>> history = History("nothing")
        >>> history.become("one")
        >>> history.undo(), history.state, history.redo(), history.state
        (True, 'nothing', True, 'one')
    """

    def __init__(self, state: Snapshot) -> None:
        self.state = state
        self._past: list[Snapshot] = []
        self._future: list[Snapshot] = []

    def become(self, state: Snapshot) -> None:
        """Goes on to another state, which can be undone."""
        self._past = [*self._past, self.state][-MOST_UNDONE:]
        self._future = []
        self.state = state

    def undo(self) -> bool:
        """Back to the state before; False where there is none."""
        return self._step(self._past, self._future)

    def redo(self) -> bool:
        """To what was undone last; False where nothing was, or something else came since."""
        return self._step(self._future, self._past)

    def _step(self, source: list[Snapshot], target: list[Snapshot]) -> bool:
        if not source:
            return False
        target.append(self.state)
        self.state = source.pop()
        return True
