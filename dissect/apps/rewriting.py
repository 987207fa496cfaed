"""A rewriting: what is copied, pasted and taken as context, and the edits made of it, with a history."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from dissect.apps.history import History
from dissect.apps.rewriter import MOST_CONTEXT, Rewriter, StepWatcher
from dissect.apps.strokes import Mask
from dissect.arguments import integer, refusal, speaks
from dissect.rewriting import Edit, Matches, Selection, Session, combined


class _State(NamedTuple):
    """What was painted, and the edits that were made."""

    session: Session
    edits: tuple[Edit, ...]


@speaks
class Rewriting:
    """A rule on its way to be rewritten; every gesture is a method, and each can be undone.

    Args:
        rewriter: who rewrites.
        session: that it begins with, as `dissect.rewriting.load_session` gives it.
        edits: that were made before, in their order.

    Raises:
        ValueError: a session of another model, or edits that do not follow each other.

    Example: see `Rewriter`.
    """

    def __init__(self, rewriter: Rewriter, session: Session | None = None, edits: Sequence[Edit] = ()) -> None:
        self.rewriter = rewriter
        rewriter.version(edits)
        self._history = History(_State(rewriter.check(session or Session()), tuple(edits)))
        self._snapshots: dict[str, _State] = {}
        self._stop = threading.Event()
        self._runs = threading.Lock()

    def __repr__(self) -> str:
        return f"<Rewriting of {self.rewriter.layer!r}: {len(self.session.key)} of context, {len(self.edits)} edits>"

    @property
    def session(self) -> Session:
        """What is copied, where to, and the context: what the next edit is made of."""
        return self._history.state.session

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Those that were made, in their order."""
        return self._history.state.edits

    @property
    def edit(self) -> Edit:
        """All edits as one.

        Raises:
            ValueError: there is none.
        """
        if not self.edits:
            raise refusal(ValueError("there must be an edit, but none was executed."))
        return self.edits[0] if len(self.edits) == 1 else combined(self.edits)

    @property
    def snapshots(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._snapshots)

    def images(self, numbers: Sequence[int]) -> list[Tensor]:
        """Images [3, H, W] uint8 after all edits; errors are those of `Rewriter.images`."""
        return self.rewriter.images(numbers, self.edits)

    def before(self, numbers: Sequence[int]) -> list[Tensor]:
        """Images [3, H, W] uint8 before any edit."""
        return self.rewriter.images(numbers)

    def copy(self, number: int, mask: Tensor | Mask) -> None:
        """Copies what a mask shows on an image; errors are those of `Rewriter.selection`."""
        self._paint(object=self.rewriter.selection(number, mask))

    def paste(self, number: int, mask: Tensor | Mask) -> None:
        """Says where the object is to come: its middle into that of the mask's box, in an image."""
        self._paint(paste=self.rewriter.selection(number, mask))

    def add_context(self, number: int, mask: Tensor | Mask) -> None:
        """Adds to where the rule shall hold.

        Raises:
            ValueError: there is too much already, or see `Rewriter.selection`.
        """
        if len(self.session.key) == MOST_CONTEXT:
            raise refusal(ValueError(f"a context must have at most {MOST_CONTEXT} images, and has them already."))
        self._paint(key=(*self.session.key, self.rewriter.selection(number, mask)))

    def remove_context(self, place: int) -> Selection:
        """Takes a part of the context out, by its place from 0 on.

        Raises:
            ValueError: there is no such part.
        """
        if not self.session.key:
            raise refusal(ValueError("there is no context to remove."))
        key, place = self.session.key, integer("place", place, 0, len(self.session.key) - 1)
        self._paint(key=key[:place] + key[place + 1 :])
        return key[place]

    def preview(self) -> Tensor:
        """[3, H, W] uint8: the image with the object in it; errors are those of `Rewriter.preview`."""
        return self.rewriter.preview(self.session, self.edits)

    def search(self, count: int = 9) -> Matches:
        """The images that agree best with the context; errors are those of `Rewriter.search`."""
        return self.rewriter.search(self.session.context, count)

    def execute(self, rank: int = 1, *, watch: StepWatcher | None = None, **options: Any) -> Edit:
        """Makes the edit; arguments and errors are those of `Rewriter.execute`.

        Raises:
            RuntimeError: another edit is on its way.
            StoppedError: `cancel` was called meanwhile, in another thread; nothing has changed.
        """
        return self._edited(
            lambda stop: self.rewriter.execute(
                self.session, self.edits, rank, watch=watch, stop=stop, **options
            )
        )  # fmt: skip

    def erase(self, rank: int = 1, *, watch: StepWatcher | None = None, **options: Any) -> Edit:
        """Unlearns what the context shows; arguments and errors are those of `Rewriter.erase`, and of `execute`."""
        return self._edited(
            lambda stop: self.rewriter.erase(
                self.session.context, self.edits, rank, watch=watch, stop=stop, **options
            )
        )  # fmt: skip

    def cancel(self) -> bool:
        """Stops, within a step, what is executed in another thread; False where nothing is."""
        self._stop.set()
        return self._runs.locked()

    def undo(self) -> bool:
        """Takes back the last gesture, whichever it was; False where there is none."""
        return self._history.undo()

    def redo(self) -> bool:
        """Does again what was undone last; False where nothing was, or something else was done since."""
        return self._history.redo()

    def revert(self) -> None:
        """Takes all edits back, which can be undone; what was painted stays."""
        if self.edits:
            self._history.become(_State(self.session, ()))

    def snap(self, name: str) -> None:
        """Keeps what there is under a name."""
        self._snapshots[name] = self._history.state

    def back_to(self, name: str) -> None:
        """Back to what was kept under a name, which can be undone.

        Raises:
            KeyError: nothing was.
        """
        if name not in self._snapshots:
            names = ", ".join(self._snapshots) or "none"
            raise refusal(KeyError(f"there is no snapshot {name!r}; there are {names}."))
        self._history.become(self._snapshots[name])

    def open(self, session: Session) -> None:
        """Takes a session in place of what was painted.

        Raises:
            ValueError: it is of another model.
        """
        self._history.become(_State(self.rewriter.check(session), self.edits))

    def open_edit(self, edit: Edit) -> Edit:
        """Takes an edit that was made before after those that there are, as `dissect.rewriting.Edit.load` gives it.

        Raises:
            ValueError: it was not made of the weight that these leave.
        """
        session, edits = self._history.state
        found = self.rewriter.after(edits, edit)
        self._history.become(_State(session, (*edits, found)))
        return found

    def save(self, path: str | Path) -> Path:
        """Writes the session in the published format; see `dissect.rewriting.Session.save`."""
        return self.session.save(path)

    def save_edit(self, path: str | Path) -> Path:
        """Writes all edits as one, a small file; see `dissect.rewriting.Edit`.

        Raises:
            ValueError: there is none.
        """
        return self.edit.save(path)

    def _paint(self, **parts: Any) -> None:
        session, edits = self._history.state
        names = ("object", "paste", "key", "query")
        own = {name: getattr(session, name) for name in names} | parts
        self._history.become(_State(Session(**own), edits))

    def _edited(self, find: Callable[[threading.Event], Edit]) -> Edit:
        if not self._runs.acquire(blocking=False):
            raise refusal(RuntimeError("another edit is on its way; wait for it, or cancel it."))
        try:
            self._stop.clear()
            session, edits = self._history.state
            edit = find(self._stop)
            self._history.become(_State(session, (*edits, edit)))
            return edit
        finally:
            self._runs.release()
