"""A painting: strokes on an image, with a history in which nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dissect.apps.history import History
from dissect.apps.painter import Painter
from dissect.apps.session import MOST_STROKES, PaintSession
from dissect.apps.strokes import Action, Mask, Stroke
from dissect.arguments import integer, refusal, speaks


@speaks
class Painting:
    """What is painted on an image; every gesture is a method, and each can be undone.

    Args:
        painter: who paints.
        number: of the image in the painter's z set.
        strokes: that it begins with.

    Raises:
        ValueError: no such image, or strokes that cannot be painted on it.

    Example: see `Painter`.
    """

    def __init__(self, painter: Painter, number: int = 0, strokes: Sequence[Stroke] = ()) -> None:
        self.painter, self.number = painter, integer("number", number, 0, len(painter) - 1)
        self._history = History(painter.check(strokes))

    @classmethod
    def of(cls, painter: Painter, session: PaintSession) -> Painting:
        """What a session says, without what had been undone in it.

        Raises:
            ValueError: it is of another generator, layer or z set.
        """
        painter.check_session(session)
        return cls(painter, session.number, session.strokes)

    def __repr__(self) -> str:
        return f"<Painting on image {self.number}: {len(self.strokes)} strokes>"

    @property
    def strokes(self) -> tuple[Stroke, ...]:
        """In their order."""
        return self._history.state

    @property
    def image(self) -> Tensor:
        """[3, H, W] uint8, after all strokes."""
        return self.painter.picture(self.number, self.strokes)

    @property
    def before(self) -> Tensor:
        """[3, H, W] uint8, without any stroke."""
        return self.painter.picture(self.number)

    @property
    def history(self) -> list[Tensor]:
        """[3, H, W] uint8 after each stroke, the first after none."""
        return [self.painter.picture(self.number, self.strokes[:count]) for count in range(len(self.strokes) + 1)]

    def draw(self, brush: str, mask: Tensor | Mask, **options: Any) -> Stroke:
        """Draws a concept; options and errors are those of `Painter.stroke`."""
        return self._stroke("draw", brush, mask, options)

    def remove(self, brush: str, mask: Tensor | Mask, **options: Any) -> Stroke:
        """Removes a concept; options and errors are those of `Painter.stroke`."""
        return self._stroke("remove", brush, mask, options)

    def add(self, stroke: Stroke) -> None:
        """Adds a stroke that was made elsewhere.

        Raises:
            TypeError, ValueError: it cannot be painted here.
        """
        if len(self.strokes) == MOST_STROKES:
            raise refusal(ValueError(f"there are {MOST_STROKES} strokes already, and there can be no more."))
        self._history.become((*self.strokes, *self.painter.check([stroke])))

    def delete(self, place: int) -> Stroke:
        """Takes a stroke out, by its place from 0 on; those after it are painted as if it had never been.

        Raises:
            ValueError: there is no such stroke.
        """
        if not self.strokes:
            raise refusal(ValueError("there is no stroke to delete."))
        place = integer("place", place, 0, len(self.strokes) - 1)
        stroke = self.strokes[place]
        self._history.become(self.strokes[:place] + self.strokes[place + 1 :])
        return stroke

    def reset(self) -> None:
        """Takes all strokes out, which can be undone."""
        if self.strokes:
            self._history.become(())

    def undo(self) -> bool:
        """Takes back the last gesture, whichever it was; False where there is none."""
        return self._history.undo()

    def redo(self) -> bool:
        """Does again what was undone last; False where nothing was, or something else was done since."""
        return self._history.redo()

    @property
    def session(self) -> PaintSession:
        """What was painted, to be saved and replayed."""
        painter = self.painter
        return PaintSession(painter.fingerprint, painter.layer, painter.seed, self.number, self.strokes)

    def save(self, path: str | Path) -> Path:
        """Writes the session as a JSON file."""
        return self.session.save(path)

    def _stroke(self, action: Action, brush: str, mask: Tensor | Mask, options: dict[str, Any]) -> Stroke:
        stroke = self.painter.stroke(action, brush, mask, **options)
        self.add(stroke)
        return stroke
