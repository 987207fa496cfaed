"""Charts as inline SVG that follows the page's light or dark colors and is the same, byte for byte, each time."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

from dissect import plots
from dissect.concepts import CATEGORIES
from dissect.plots.style import rules
from dissect.report.content import OTHER_SHADES, LayerContent

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Stand-ins that matplotlib draws with, and that the page's CSS variables replace.
INK, MUTED, LINE, ACCENT, REST = "#000101", "#000102", "#000103", "#000104", "#000105"
_SHADES = [f"#0002{number:02x}" for number in range(len(CATEGORIES) + OTHER_SHADES)]
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", ACCENT: "--accent", REST: "--rest"}
_VARIABLES |= {color: f"--shade{number}" for number, color in enumerate(_SHADES)}
_VARIABLES |= {plots.INK: "--ink", plots.QUIET: "--muted", plots.LINE: "--line", plots.ACCENT: "--accent"}
_VARIABLES |= {color: f"--shade{number}" for number, color in enumerate((*plots.SHADES, *plots.OTHER_SHADES))}
_STYLE = rules(INK, MUTED, LINE) | {
    "svg.hashsalt": "dissect",
    "svg.fonttype": "none",
    "text.usetex": False,
    "axes.spines.left": False,
    "axes.ymargin": 0.1,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
#: Inches, unless the names below the bars need more.
HEIGHT = 2.9
#: Inches that the page has for a chart beside another, and for one alone.
COLUMN = (8.6, 12.5)
#: Longer names are cut in a chart.
MAX_LABEL = 22


def detector_chart(layer: LayerContent) -> str:
    """Bars per concept that has detectors, by category: the number of its units (PNAS 2020, Fig. 1D)."""
    concepts = layer.concepts
    places = _places(layer)
    place = places[-1]
    pitch = min(max((COLUMN[is_wide(layer)] - 0.6) / (place + 1), 0.16), 0.34)
    width = max(3.2, 0.6 + pitch * (place + 1))
    names = [_label(concept.name) for concept in concepts]
    below = 0.2 + 0.074 * max(map(len, names))
    height = max(HEIGHT, below + 1.6)

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.42 / width, below / height, 1 - 0.52 / width, 1 - (below + 0.2) / height))
        counts = [len(concept.cards) for concept in concepts]
        bars = axes.bar(places, counts, width=0.74, color=[_SHADES[concept.shade] for concept in concepts])
        for bar, concept, count in zip(bars, concepts, counts):
            bar.set_url(f"#{concept.anchor}")
            axes.text(bar.get_x() + 0.37, count, str(count), ha="center", va="bottom", fontsize=8, color=MUTED)
        axes.set_xlim(0.9, max(place + 1, 0.9 + 2.6 / pitch))  # a few bars are no wider than those of many
        axes.set_xticks(places, names, rotation=90, rotation_mode="anchor", ha="right", va="center")
        axes.set_ylabel("units")
        _count_axis(axes)

    return _svg(draw, (width, height), f"{layer.anchor}d", _detector_text(layer))


def is_wide(layer: LayerContent) -> bool:
    """Whether a layer's `detector_chart` needs the page's whole width."""
    return bool(layer.detectors) and 0.16 * (_places(layer)[-1] + 1) > COLUMN[False] - 0.6


def _places(layer: LayerContent) -> list[float]:
    """Where the bars stand: one apart, with a gap between categories."""
    places = [0.0]
    for group in layer.categories:
        for at in range(len(group.concepts)):
            places.append(places[-1] + (1.0 if at else 1.9))
    return places[1:]


def iou_chart(layer: LayerContent, cutoff: float) -> str | None:
    """How the units' best IoUs are spread, and where the detectors begin; None where all are 0."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    scores = [card.row.iou for card in layer.cards]
    if not any(scores):
        return None
    null = layer.trust.null.numpy() if layer.trust else np.zeros((0, len(scores)))
    highest = max(0.1, 1.1 * cutoff, *scores, *null.ravel().tolist())
    step = 0.01 if highest <= 0.25 else 0.02
    edges = np.arange(int(np.ceil(highest / step - 1e-9)) + 1) * step
    top = edges[-1]
    rest = np.histogram([score for score in scores if score <= cutoff], edges)[0]
    detectors = np.histogram([score for score in scores if score > cutoff], edges)[0]

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.11, 0.17, 0.84, 0.755))
        axes.bar(edges[:-1] + step / 2, rest, width=step * 0.88, color=REST)
        axes.bar(edges[:-1] + step / 2, detectors, width=step * 0.88, bottom=rest, color=ACCENT)
        if len(null):
            axes.stairs(np.histogram(null, edges)[0] / len(null), edges, color=INK, linewidth=1.1)
        axes.axvline(cutoff, color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)))
        height = axes.get_ylim()[1]
        right = cutoff < top / 2  # of the line there is more room on this side
        place, align = cutoff + (1 if right else -1) * top / 80, "left" if right else "right"
        axes.text(place, height, f"cut-off {cutoff:g}", va="bottom", ha=align, fontsize=8, color=MUTED)
        axes.set_xlim(0, top)
        axes.set_ylim(0, height)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("best IoU of a unit")
        axes.set_ylabel("units")
        _count_axis(axes)

    text = f"Histogram of the best IoU of {len(scores)} units; {layer.detectors} exceed the cut-off {cutoff:g}."
    if layer.trust:
        text += f" With the planes of other images {layer.trust.by_chance:.3g} do, on average: the line."
    return _svg(draw, (3.9, HEIGHT), f"{layer.anchor}i", text)


def layers_chart(layers: list[LayerContent]) -> str | None:
    """Unique concepts by category in each layer (PNAS 2020, Fig. 1E); None where no layer has a detector."""
    if not any(layer.detectors for layer in layers):
        return None
    categories = layers[0].categories
    span = max(len(categories), 1) + 1.4
    pitch = min(max(7 / (span * len(layers)), 0.19), 0.32)
    width = 0.6 + pitch * span * len(layers)

    def draw(figure: Figure) -> None:
        axes = figure.add_axes((0.42 / width, 0.16, 1 - 0.52 / width, 0.76))
        for at, category in enumerate(categories):
            counts = [len(layer.categories[at].concepts) for layer in layers]
            places = [number * span + at for number in range(len(layers))]
            axes.bar(places, counts, width=0.8, color=_SHADES[category.shade])
            for place, count in zip(places, counts):
                axes.text(place, count, str(count), ha="center", va="bottom", fontsize=8, color=MUTED)
        middle = (len(categories) - 1) / 2
        # The ends of layers' names tell them apart.
        room = max(int(pitch * span / 0.078), 6)
        names = [layer.name if len(layer.name) <= room else "…" + layer.name[1 - room :] for layer in layers]
        axes.set_xticks([number * span + middle for number in range(len(layers))], names)
        axes.set_xlim(-1.2, (len(layers) - 1) * span + len(categories) + 0.2)
        axes.set_ylabel("concepts")
        _count_axis(axes)

    parts = [
        f"{layer.name}: " + ", ".join(f"{group.name} {len(group.concepts)}" for group in layer.categories)
        for layer in layers
    ]
    return _svg(draw, (width, HEIGHT), "layers", "Unique concepts with a detector. " + "; ".join(parts) + ".")


def _detector_text(layer: LayerContent) -> str:
    parts = [
        f"{group.name} {len(group.concepts)} concepts, {group.units} units" for group in layer.categories if group.units
    ]
    return f"Units per concept in {layer.name}: {'; '.join(parts)}. The table of detectors has the same numbers."


def _label(name: str) -> str:
    name = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return name if len(name) <= MAX_LABEL else name[: MAX_LABEL - 1] + "…"


def _count_axis(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    axes.grid(True, axis="y")


def _svg(draw: Callable[[Figure], None], size: tuple[float, float], prefix: str, text: str) -> str:
    """An <svg> element of what is drawn in the page's style; see `svg_of`."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=size)
        draw(figure)
        for label in figure.findobj(Text):
            label.set_parse_math(False)
        return svg_of(figure, prefix, text)


def svg_of(figure: Figure, prefix: str, text: str) -> str:
    """An <svg> element of a figure, with its own ids, and colors and fonts that the page sets.

    Args:
        figure: drawn with this file's colors, or with those of `dissect.plots`.
        prefix: of its ids.
        text: what it shows, for those who cannot see it.
    """
    from html import escape

    import matplotlib

    written = io.StringIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A name may have letters that the font used for measuring lacks; the page's own fonts will have them.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(written, format="svg", transparent=True, metadata=metadata)
    svg = written.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = _with_own_names(svg, prefix)
    width, height = (round(inches * 96) for inches in figure.get_size_inches())
    head = f'<svg role="img" aria-label="{escape(text)}" width="{width}" height="{height}"'
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', lambda found: f'{head} viewBox="{found[1]}">', svg, count=1)
    # The table beside a chart has the same links, in words.
    return svg.replace("<a xlink:href", '<a tabindex="-1" aria-hidden="true" xlink:href')


def _with_own_names(svg: str, prefix: str) -> str:
    """Ids begin with a prefix and colors are the page's: in tags alone, since a name may look like either."""
    names = set(re.findall(r'<[^>]*\bid="([^"]+)"', svg))

    def renamed(tag: re.Match[str]) -> str:
        text = re.sub(
            r'(\bid="|#)([^"#()\s]+)(?=["\)])',
            lambda found: f"{found[1]}{prefix}-{found[2]}" if found[2] in names else found[0],
            tag[0],
        )
        for color, variable in _VARIABLES.items():
            text = text.replace(f": {color}", f": var({variable})")
        return text

    return re.sub(r"<[^>]+>", renamed, svg)
