"""A table of results: a list of rows that prints well and goes into pandas as it is."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, SupportsIndex, TypeVar, overload

from dissect.arguments import refusal, speaks
from dissect.files.tensors import replacing
from dissect.text import printable

#: What text of a formula begins with; the last four are the full-width forms of the first.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


#: The NamedTuple that a table's rows are.
Row = TypeVar("Row", bound="tuple[Any, ...]")


@speaks
class Table(list[Row], Generic[Row]):
    """A list of NamedTuples of one type. What is NaN in them becomes None: not known.

    ``pandas.DataFrame(table)`` keeps the column names, and a slice is a table again. What ``by`` and ``show`` say is of
    printing alone: iterating, indexing and `to_csv` give all columns of the rows in the order in which they came.

    Args:
        rows: the NamedTuples.
        by: a column of numbers by which rows are printed, the largest first and what is None last; ties stay in
            their order. None: as they came.
        show: the columns that are printed, in this order; the names of the others follow below. None: all.
        titles: what columns are called where they are printed, if not by their names.

    Raises:
        ValueError: no such column, or a ``by`` that holds no numbers.

    Example:
        >>> class Row(NamedTuple):
        ...     unit: int
        ...     iou: float
        >>> Table([Row(3, 0.25), Row(7, 0.5)]).top(1, by="iou")
        unit    iou
           7  0.500
        >>> Table([Row(3, 0.25), Row(7, 0.5)], by="iou", show=["unit"])
        unit
           7
           3
        more columns: iou
    """

    def __init__(
        self,
        rows: Iterable[Row] = (),
        *,
        by: str | None = None,
        show: Iterable[str] | None = None,
        titles: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(map(_known, rows))
        self.by = by
        self.titles = dict(titles)
        self.show = None if show is None else tuple(show)
        if self and self.show is not None and (not self.show or not {*self.show} <= {*self.columns}):
            raise refusal(ValueError(f"show must name columns of {self.columns}, but got {self.show}."))
        if by is not None:
            self._order(by)  # refuses what it cannot order by

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns; none where there are no rows."""
        return getattr(self[0], "_fields", ()) if self else ()

    def top(self, count: int, by: str) -> Table[Row]:
        """The rows with the largest values in a column; ties stay in their order, and what is None comes last.

        Raises:
            ValueError: no such column, or one that holds no numbers.
        """
        return Table((self[at] for at in self._order(by)[:count]), show=self.show, titles=self.titles)

    @overload
    def __getitem__(self, at: SupportsIndex) -> Row: ...

    @overload
    def __getitem__(self, at: slice) -> Table[Row]: ...

    def __getitem__(self, at: Any) -> Any:
        """A row, or of a slice the `Table` of its rows."""
        found = super().__getitem__(at)
        return Table(found, by=self.by, show=self.show, titles=self.titles) if isinstance(at, slice) else found

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
        if not self:
            return "(no rows)"
        head, rows, more = self._printed()
        cells = [head, *([_text(value) for value in row] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells)]
        numeric = [any(isinstance(value, (int, float)) for value in column) for column in zip(*rows)]
        lines = []
        for line in cells:
            padded = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numeric))
            lines.append("  ".join(padded).rstrip())
        return "\n".join([*lines, more] if more else lines)

    def _repr_html_(self) -> str:
        names, rows, more = self._printed()
        head = "".join(f"<th>{escape(name)}</th>" for name in names)
        body = "".join("<tr>" + "".join(f"<td>{escape(_text(v))}</td>" for v in row) + "</tr>" for row in rows)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f"{table}<p>{escape(more)}</p>" if more else table

    def _order(self, by: str) -> list[int]:
        """The places of the rows, the largest value of a column first."""
        if self and by not in self.columns:
            raise refusal(ValueError(f"by must be one of {self.columns}, but got {by!r}."))
        values = [math.nan if value is None else value for value in (getattr(row, by) for row in self)]
        strange = next((value for value in values if not isinstance(value, (int, float))), None)
        if strange is not None:
            raise refusal(ValueError(f"by must be a column of numbers, but {by!r} holds {strange!r}."))
        return sorted(range(len(self)), key=lambda at: (math.isnan(values[at]), -values[at]))

    def _printed(self) -> tuple[list[str], list[list[Any]], str]:
        """The columns that are printed, their values row by row, and the line below that names the others."""
        shown = [name for name in (self.columns if self.show is None else self.show) if name in self.columns]
        rows = self if self.by is None else [self[at] for at in self._order(self.by)]
        more = ", ".join(name for name in self.columns if name not in shown)
        cells = [[getattr(row, name) for name in shown] for row in rows]
        return [self.titles.get(name, name) for name in shown], cells, more and f"more columns: {more}"


def numbers(column: Iterable[float | None]) -> list[float]:
    """What arithmetic and pictures make of a column: NaN where it is None.

    Example:
        >>> numbers([0.5, None])
        [0.5, nan]
    """
    return [math.nan if value is None else value for value in column]


def _known(row: Row) -> Row:
    """The row with None for what is NaN."""
    named = zip(getattr(row, "_fields", ()), row)
    unknown = {name: None for name, value in named if isinstance(value, float) and math.isnan(value)}
    return row._replace(**unknown) if unknown else row  # type: ignore[attr-defined]


def _harmless(value: Any) -> Any:
    """What goes into a spreadsheet's cell, where text must be no formula (OWASP, "CSV injection")."""
    formula = isinstance(value, str) and value.startswith(_FORMULA) and value != "-"  # which stands for no concept
    return f"'{value}" if formula else value


def _text(value: Any) -> str:
    """A cell for people: what a terminal would obey is escaped, since names may come from anybody's files."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return printable(str(value))
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.3g}"
