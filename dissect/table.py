"""A table of results: a list of rows that prints well and goes into pandas as it is."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from dissect.cache import replacing

#: What text of a formula begins with; the last four are the full-width forms of the first.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Table(list):
    """A list of NamedTuples of one type.

    ``pandas.DataFrame(table)`` keeps the column names, and a slice is a table again.

    Example:
        >>> class Row(NamedTuple):
        ...     unit: int
        ...     iou: float
        >>> Table([Row(3, 0.25), Row(7, 0.5)]).top(1, by="iou")
        unit    iou
           7  0.500
    """

    def __init__(self, rows: Iterable[NamedTuple] = ()) -> None:
        super().__init__(rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns; none where there are no rows."""
        return self[0]._fields if self else ()

    def top(self, count: int, by: str) -> Table:
        """The rows with the largest values in a column; ties stay in their order, and what is NaN comes last.

        Raises:
            ValueError: no such column, or one that holds no numbers.
        """
        if self and by not in self.columns:
            raise ValueError(f"Table: by must be one of {self.columns}, but got {by!r}.")
        values = [getattr(row, by) for row in self]
        strange = next((value for value in values if not isinstance(value, (int, float))), None)
        if strange is not None:
            raise ValueError(f"Table: by must be a column of numbers, but {by!r} holds {strange!r}.")
        order = sorted(range(len(self)), key=lambda at: (math.isnan(values[at]), -values[at]))
        return Table(self[at] for at in order[:count])

    def __getitem__(self, at: Any) -> Any:
        """A row, or of a slice the `Table` of its rows."""
        found = super().__getitem__(at)
        return Table(found) if isinstance(at, slice) else found

    def to_csv(self, path: str | Path) -> Path:
        """Writes the rows below the names of the columns, whole or not at all, with every digit.

        The file is UTF-8; missing folders are made. A table without rows knows no columns, so its file is empty. Text
        that a spreadsheet would take for a formula, since it begins with one of ``= + - @``, a tab or a line's end, has
        a ``'`` before it; numbers are as they are.

        Returns:
            The file's path.
        """
        with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [self.columns, *([_harmless(value) for value in row] for row in self)] if self else []
            )
        return Path(path)

    def __repr__(self) -> str:
        cells = [list(self.columns)] + [[_text(value) for value in row] for row in self]
        widths = [max(map(len, column)) for column in zip(*cells)]
        numeric = [isinstance(value, (int, float)) for value in self[0]] if self else []
        lines = []
        for line in cells:
            padded = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric))
            lines.append("  ".join(padded).rstrip())
        return "\n".join(lines) if self else "(no rows)"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        body = "".join("<tr>" + "".join(f"<td>{escape(_text(v))}</td>" for v in row) + "</tr>" for row in self)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _harmless(value: Any) -> Any:
    """What goes into a spreadsheet's cell, where text must be no formula (OWASP, "CSV injection")."""
    formula = isinstance(value, str) and value.startswith(_FORMULA) and value != "-"  # which stands for no concept
    return f"'{value}" if formula else value


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 or math.isnan(value) else f"{value:.3g}"
