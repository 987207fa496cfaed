"""The style of all figures, and the parts that they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dissect.extras import require
from dissect.files.tensors import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, LINE, FAINT = "#1f2328", "#656d76", "#d0d7de", "#c4cad1"
#: What a figure is about, and what stands against it; what grows less and more.
ACCENT, OTHER = "#0a66c2", "#c2571a"
FALL, RISE = "#1f5fbf", "#d1242f"
#: Pixels per inch of PNG.
DPI = 105
#: Of series, in their order.
COLORS = (ACCENT, "#2e8b57", OTHER, "#8c959f", "#b8c0c8")
#: Of the papers' categories of concepts, in the order of `dissect.concepts.CATEGORIES`, and of others.
SHADES = ("#2f6db5", "#15898a", "#b06a1c", "#8356b4", "#c2446a", "#4f8531")
OTHER_SHADES = ("#5d6b80", "#8d6d4b", "#9a8a1d", "#8c4a8a")


def rules(ink: str, quiet: str, line: str) -> dict[Any, Any]:
    """Matplotlib's settings for text, labels and lines of three colors."""
    return {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "text.color": ink,
        "text.parse_math": False,  # a name is what it is, dollars and all
        "axes.edgecolor": line,
        "axes.labelcolor": quiet,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid.axis": "y",
        "grid.color": line,
        "grid.linewidth": 0.7,
        "xtick.color": line,
        "ytick.color": line,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": quiet,
    }


_STYLE = rules(INK, QUIET, LINE) | {
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.2,
    "savefig.dpi": DPI,
    "savefig.facecolor": "white",
}


@contextmanager
def drawing() -> Iterator[None]:
    """The style of all figures, within a ``with`` block, whatever the user's own settings are.

    Raises:
        ImportError: matplotlib is missing; it comes with the extra `report`.
    """
    require("a plot", "report", "matplotlib.figure")
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty figure, in inches, that belongs to no window.

    Raises:
        ImportError: see `drawing`.
    """
    require("a plot", "report", "matplotlib.figure")
    from matplotlib.figure import Figure

    return Figure((width, height), layout=layout)


def save(figure: Figure, path: str | Path, dpi: int = DPI) -> Path:
    """Writes a figure as PNG, whole or not at all; the same bytes each time."""
    with drawing(), replacing(path) as partial:
        figure.savefig(partial, format="png", metadata={"Software": None}, dpi=dpi)
    return Path(path)


def save_pages(pages: Iterable[Figure], path: str | Path, dpi: int) -> list[Path]:
    """Writes figures, as they come, as the pages of a PDF, or each as a PNG with its number: "a-001.png" of "a.png".

    Each file is written whole or not at all, and has the same bytes each time.
    """
    path = Path(path)
    if path.suffix.lower() != ".pdf":
        numbered = ((page, path.with_name(f"{path.stem}-{number:03}.png")) for number, page in enumerate(pages, 1))
        return [save(page, name, dpi) for page, name in numbered]
    require("a plot", "report", "matplotlib.backends.backend_pdf")
    from matplotlib.backends.backend_pdf import PdfPages

    with drawing(), replacing(path) as partial, PdfPages(partial, metadata={"CreationDate": None}) as file:
        for page in pages:
            file.savefig(page, dpi=dpi)
    return [path]


def fitting(text: str, width: float, size: float, weight: str = "normal") -> str:
    """The text in a font's size, or as much of its beginning as is at most `width` points wide, with an ellipsis.

    Example:
        >>> fitting("a very long name", 40, 8)
        'a very l...'
    """
    require("a plot", "report", "matplotlib.textpath")
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    def fits(shown: str) -> bool:
        return text_to_path.get_text_width_height_descent(shown, font, False)[0] <= width

    font, shown = FontProperties(family="DejaVu Sans", size=size, weight=weight), text[:200]
    if shown == text and fits(text):
        return text
    while shown and not fits(f"{shown}..."):
        shown = shown[:-1]
    return f"{shown.rstrip()}..."


def panels(figure: Any, columns: int, **shared: bool) -> list[Axes]:
    """Axes side by side, in a figure or in a strip of one."""
    return list(figure.subplots(1, columns, squeeze=False, **shared).flat)


def strips(figure: Any, rows: int, heights: Sequence[float] | None = None) -> list[Any]:
    """Parts of a figure, one above the other."""
    return list(figure.subfigures(rows, 1, squeeze=False, height_ratios=heights).flat)


def plain(axes: Axes, lines: Literal["x", "y", "both"] = "y") -> None:
    """Faint lines to read values by, and no box."""
    axes.grid(True, axis=lines)
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)


def label(axes: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """What is along the axes, and a title."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)


def legend_above(figure: Figure, axes: Axes) -> None:
    """What the series of some axes are, above all of a figure, in as many rows as its width needs."""
    _legend(figure, axes, "outside upper center")


def legend_below(figure: Figure, axes: Axes) -> None:
    """What the series of some axes are, below all of a figure, in as many rows as its width needs."""
    _legend(figure, axes, "outside lower center")


def _legend(figure: Figure, axes: Axes, place: Literal["outside upper center", "outside lower center"]) -> None:
    handles, names = axes.get_legend_handles_labels()
    for columns in range(max(1, len(names)), 0, -1):
        legend = figure.legend(handles, names, loc=place, ncols=columns, columnspacing=1.2)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()
