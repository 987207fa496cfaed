"""Reports within a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dissect.arguments import integer, speaks
from dissect.dissection.comparison import Comparison
from dissect.dissection.formulas_result import UnitFormulas
from dissect.dissection.result import Dissection
from dissect.report.html import page_of

if TYPE_CHECKING:
    from dissect.classifiers import UnitImportance
    from dissect.dissection.exemplars import TextRow

#: What a report in a frame may do: run its script, save its table, open links elsewhere; nothing with the notebook.
ALLOWED = "allow-scripts allow-downloads allow-popups"


class Framed:
    """A report, which notebooks show in a frame."""

    def __init__(self, page: str, title: str, height: int) -> None:
        self._page, self._title, self._height = page, title, height

    def __repr__(self) -> str:
        return f"<{self._title}, which a notebook shows in a frame; dissect.write_report writes it to a file>"

    def _repr_html_(self) -> str:
        """What IPython's notebooks ask for.

        A frame's links to its own places would open the notebook in it, hence the base; the policy after it allows no
        other.
        """
        page = self._page.replace("<head>", '<head><base href="about:srcdoc">', 1)
        return (
            f'<iframe title="{html.escape(self._title)}" srcdoc="{html.escape(page)}" sandbox="{ALLOWED}" '
            f'style="width: 100%; height: {self._height}px; border: 1px solid #8888"></iframe>'
        )


Shown = Framed  # its earlier name, which callers have


@speaks
def show(
    dissection: Dissection | Comparison,
    *,
    importance: UnitImportance | Iterable[UnitImportance] = (),
    formulas: UnitFormulas | None = None,
    texts: Iterable[TextRow] | Iterable[Iterable[TextRow]] = (),
    height: int = 640,
) -> Framed:
    """The page of `dissect.write_report` in a notebook: the last line of a cell, or `display(dissect.show(d))`.

    The page is kept in the notebook's file, with its pictures: some megabytes for layers of many units.

    Args:
        dissection: what `dissect.dissect`, `dissect.compare` or `dissect.load` returned.
        importance: as of `dissect.write_report`.
        formulas: as of `dissect.write_report`.
        texts: as of `dissect.write_report`.
        height: of the frame, in pixels, 100 to 10,000.

    Returns:
        What Jupyter, Colab and Visual Studio Code show as a frame, in which scripts run apart from the notebook.

    Raises:
        ImportError, TypeError, KeyError, ValueError: as of `dissect.write_report`; a height out of range.

    Example:
        >>> dissect.show(dissect.load("vgg16-conv5_3"))  # doctest: +SKIP
        <report of a dissection, which a notebook shows in a frame; dissect.write_report writes it to a file>
    """
    height = integer("height", height, 100, 10_000)
    page = page_of(dissection, importance, formulas, texts)
    kind = "dissection" if isinstance(dissection, Dissection) else "comparison"
    return Framed(page, f"report of a {kind}", height)
