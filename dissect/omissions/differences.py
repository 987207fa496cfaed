"""Which classes a generator leaves out: differences of means, how sure they are, and the chart of Figure 5-1a."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.omissions.statistics import SegmentationStatistics, check_samples
from dissect.stats.ranks import adjusted
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The chart's range of relative changes; what is larger is cut, and its number written above.
LOWEST, HIGHEST = -1.0, 1.1


class DifferenceRow(NamedTuple):
    """A class in real and in generated images.

    Attributes:
        concept: the class.
        category: of it.
        real: its mean share of a real image, in percent.
        generated: that of a generated one.
        change: ``(generated - real) / real``; None where no real image has it.
        error: the standard error of ``generated - real``.
        z: ``(generated - real) / error``.
        q: the smallest false discovery rate at which the difference counts (Benjamini & Hochberg 1995).
        segmenter_error: ``(seen - true) / true`` of the class in the same real images: what the segmenter alone makes
            more or less of it; None without true labels.
        second_change: the change by a second segmenter; None without one.
        omitted: whether the class is left out: it is less, at a false discovery rate of 5 %, by a larger share than the
            segmenter errs, and less by the second segmenter too.
    """

    concept: str
    category: str
    real: float
    generated: float
    change: float | None
    error: float
    z: float
    q: float
    segmenter_error: float | None
    second_change: float | None
    omitted: bool


#: The false discovery rate at which a class counts as left out.
RATE = 0.05


@speaks
def omission_table(
    generated: SegmentationStatistics, real: SegmentationStatistics, *, truth: SegmentationStatistics | None = None,
    second: tuple[SegmentationStatistics, SegmentationStatistics] | None = None,
) -> Table[DifferenceRow]:  # fmt: skip
    """Every class of two samples, the one with the largest share of the real images first.

    With areas a of N_g generated and N_t real images, and their variances over images::

        error = sqrt(var_g / N_g + var_t / N_t)      z = (mean a_g - mean a_t) / error

    q follows from the two-sided p of z under a normal distribution, over all classes of the table. Where the areas of
    neither sample vary, z is infinite, or 0 where they are equal.

    Args:
        generated: statistics of the generator's images.
        real: those of real ones.
        truth: those of the real images' own labels, ``segmentation_statistics(images, None)``, for the same images.
        second: the same two samples as a second segmenter sees them.

    Returns:
        A `Table` of `DifferenceRow`.

    Raises:
        ValueError: fewer than two images; samples that cannot be compared; true labels of other images.

    Example:
        >>> from dissect import tiny
        >>> from dissect.omissions import segmentation_statistics
        >>> street, scenes = tiny.generator(), tiny.TinyScenes("val", size=64, family="street")
        >>> made = segmentation_statistics(street, tiny.segmenter(signed=True), count=8, progress=False)
        >>> real = segmentation_statistics(scenes, tiny.segmenter(), count=8, progress=False)
        >>> [row.concept for row in omission_table(made, real)[:2]]
        ['sky', 'road']
    """
    check_samples(generated, real)
    real.check_comparable(generated)
    if min(len(generated), len(real)) < 2:
        raise refusal(ValueError(f"samples must have at least 2 images, but have {len(generated)} and {len(real)}."))
    ours, theirs = generated.mean, real.mean
    difference, error = ours - theirs, _error(generated, real)
    scores = torch.where(difference == 0, 0.0, difference / error)
    shown = [label for label in range(1, len(real.concepts)) if ours[label] + theirs[label] > 0]
    p = torch.tensor([math.erfc(abs(float(scores[label])) / math.sqrt(2)) for label in shown], dtype=torch.float64)
    q = dict(zip(shown, adjusted(p).tolist()))
    errs = None if truth is None else _segmenter_error(real, truth)
    seconds = None if second is None else _changes(*_checked(second, real))
    changes = _changes(generated, real)
    rows = []
    for label in sorted(shown, key=lambda label: (-float(theirs[label]), label)):
        change, wrong = _known(changes[label]), None if errs is None else _known(errs[label])
        other = None if seconds is None else _known(seconds[label])
        less = change is not None and change < 0 and q[label] <= RATE
        less = less and (errs is None or (wrong is not None and abs(change or 0) > abs(wrong)))
        less = less and (seconds is None or (other is not None and other < 0))
        names = real.concepts.names[label], real.concepts.categories[label]
        sure = float(error[label]), float(scores[label]), q[label]
        means = float(theirs[label]), float(ours[label])
        rows.append(DifferenceRow(*names, *means, change, *sure, wrong, other, less))
    return Table(rows)


def _error(generated: SegmentationStatistics, real: SegmentationStatistics) -> Tensor:
    """[C] the standard error of the difference of means."""
    return (generated.percent.var(0) / len(generated) + real.percent.var(0) / len(real)).sqrt()


def _changes(generated: SegmentationStatistics, real: SegmentationStatistics) -> Tensor:
    """[C] (g - t) / t; NaN where t is 0."""
    base = real.mean
    return torch.where(base > 0, (generated.mean - base) / base, torch.nan)


def _segmenter_error(real: SegmentationStatistics, truth: SegmentationStatistics) -> Tensor:
    """[C] (seen - true) / true of the same images; NaN where nothing is true."""
    check_samples(truth)
    same = real.concepts == truth.concepts and real.planes == truth.planes and torch.equal(real.numbers, truth.numbers)
    if not same or real.source != truth.source:
        raise refusal(
            ValueError(
                "truth must be statistics of the labels of the images that real is of, in the same vocabulary and "
                "planes, but is of others; draw both with the same count and seed."
            )
        )
    return _changes(real, truth)


def _checked(
    second: tuple[SegmentationStatistics, SegmentationStatistics], real: SegmentationStatistics
) -> tuple[SegmentationStatistics, SegmentationStatistics]:
    if not isinstance(second, tuple) or len(second) != 2:
        raise refusal(TypeError(f"second must be two samples, generated and real, but is {type(second).__name__}."))
    generated, other = second
    check_samples(*second)
    other.check_comparable(generated)
    if other.concepts != real.concepts or other.planes != real.planes:
        raise refusal(ValueError("second must have the vocabulary and the planes of real, but has others."))
    return generated, other


def _known(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else float(value)


@speaks
def omission_chart(
    generated: SegmentationStatistics, real: SegmentationStatistics, *, most: int = 30,
    leave_out: tuple[str, ...] = ("material",), names: tuple[str, str] = ("generated", "real images"), title: str = "",
) -> Figure:  # fmt: skip
    """The chart of Figures 5-1a, 5-2 and 5-5: classes by falling share of real images, and how the generator differs.

    Above is the relative change of the mean, cut at 1.1 with the number written above what is cut; below are both
    means, in percent of an image, on a logarithmic axis. "No label" is left out, and so are classes that no real image
    has.

    Args:
        generated: statistics of the generator's images.
        real: those of real ones.
        most: how many classes.
        leave_out: categories that are not shown.
        names: of the two samples.
        title: of the chart.

    Returns:
        A matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: samples that cannot be compared; no class to show.
    """
    from dissect import plots

    check_samples(generated, real)
    real.check_comparable(generated)
    integer("most", most)
    ours, theirs = generated.mean, real.mean
    shown = [label for label in theirs.sort(descending=True, stable=True).indices.tolist()
             if label and theirs[label] > 0 and real.concepts.categories[label] not in leave_out][:most]  # fmt: skip
    if not shown:
        raise refusal(ValueError("real must show at least one class, but shows none."))
    classes = [real.concepts.names[label] for label in shown]
    changes = [float((ours[label] - theirs[label]) / theirs[label]) for label in shown]
    with plots.drawing():
        figure = plots.new_figure(max(4.0, 1.4 + 0.24 * len(shown)), 4.4)
        above, below = figure.subplots(2, 1, sharex=True)
        bars = [min(change, HIGHEST) for change in changes]
        plots.bars(above, classes, {"change": bars}, colors=(plots.ACCENT,))
        above.set_ylim(LOWEST, HIGHEST + 0.25)
        above.axhline(0, color=plots.QUIET, linewidth=0.8)
        _write_what_is_cut(above, changes)
        plots.label(above, "", "relative change", title)
        plots.bars(below, classes, {names[1]: [float(theirs[label]) for label in shown]}, colors=(plots.FAINT,))
        made = [float(ours[label]) or math.nan for label in shown]
        below.plot(range(len(shown)), made, color=plots.RISE, marker=".", linewidth=1, label=names[0])
        below.set_yscale("log")
        below.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # the style takes no mathematics
        below.minorticks_off()
        below.tick_params(axis="x", rotation=90)
        plots.label(below, "", "mean, % of image")
        plots.legend_below(figure, below)
    return figure


def _write_what_is_cut(axes: Axes, changes: list[float]) -> None:
    """The number above each bar that is cut, higher beside another one."""
    before, raised = -2, False
    for place, change in enumerate(changes):
        if change > HIGHEST:
            raised = place == before + 1 and not raised
            axes.text(place, HIGHEST + (0.12 if raised else 0.02), f"{change:.1f}", ha="center", fontsize=7)
            before = place
