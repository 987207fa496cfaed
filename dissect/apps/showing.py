"""The pages within a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dissect import extras
from dissect.apps.painter import Painter
from dissect.apps.painting import Painting
from dissect.apps.rewriter import Rewriter
from dissect.apps.rewriting import Rewriting
from dissect.arguments import integer, refusal, speaks

if TYPE_CHECKING:
    from dissect.apps.widgets import PageWidget


@speaks
def show(
    engine: Painter | Painting | Rewriter | Rewriting, *, name: str = "generator", height: int = 900
) -> PageWidget:
    """The page of `dissect paint`, or of `dissect rewrite ui`, in a notebook: the last line of a cell.

    It is the same page, in a frame of its own. Its requests are messages to the kernel instead of a server's, answered
    by the same functions, with the same bounds and errors; there is no server, no port, and no address. What the page
    shows, Python has: `painting`, or `rewriting`, of the widget that is returned is an engine's object, with all that
    those can do. The kernel answers between cells, so a page waits while one runs.

    Args:
        engine: who paints, with brushes, or rewrites; or a painting or rewriting, with which the page begins.
        name: of the generator, to be shown.
        height: of the frame, in pixels, 100 to 10,000.

    Returns:
        An anywidget, which Jupyter, Colab, marimo and Visual Studio Code can show.

    Raises:
        ImportError: a package of the extra `notebook` is not installed.
        TypeError, ValueError: neither of these, a painter without brushes, or a height out of range.

    Example:
        >>> page = dissect.apps.show(painter)  # doctest: +SKIP
        >>> page  # doctest: +SKIP
        >>> page.painting.strokes, page.painting.image  # doctest: +SKIP
    """
    extras.require("a page in a notebook", "notebook", "anywidget", "traitlets", "jinja2", "PIL")
    from dissect.apps.widgets import paint_widget, rewrite_widget

    if not isinstance(engine, (Painter, Painting, Rewriter, Rewriting)):
        raise refusal(
            TypeError(f"engine must be a Painter, Painting, Rewriter or Rewriting, but is a {type(engine).__name__}.")
        )
    height = integer("height", height, 100, 10_000)
    if isinstance(engine, (Rewriter, Rewriting)):
        return rewrite_widget(Rewriting(engine) if isinstance(engine, Rewriter) else engine, name, height)
    painting = Painting(engine) if isinstance(engine, Painter) else engine
    if not painting.painter.brushes:
        raise refusal(ValueError("engine must have brushes, which dissect.apps.brushes gives, but has none."))
    return paint_widget(painting, name, height)
