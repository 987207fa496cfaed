"""Networks side by side: dissections of layers, checkpoints, generators or classifiers, compared."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import Tensor

from dissect.arguments import integer, refusal, seed_number, speaks, tell
from dissect.concepts import ordered_categories
from dissect.dissection.comparable import ALLOWED, check_comparable, check_series, check_steps, doubts, gathered
from dissect.dissection.compared import (
    ALL,
    BestUnitRow,
    Compared,
    CorrelationRow,
    LayerCategoryRow,
    LayerConceptRow,
    LayerRow,
    best_unit_rows,
    category_rows,
    concept_rows,
    correlation_rows,
    layer_row,
)
from dissect.dissection.histories import (
    AlikeRow,
    ChangeRow,
    HistoryRow,
    KeptRow,
    alike_rows,
    change_rows,
    history_rows,
    kept_rows,
)
from dissect.dissection.provenance import DoubtfulResultWarning
from dissect.dissection.result import Dissection
from dissect.dissection.rows import is_detector
from dissect.files.checked import Each, Maybe, Number, Of, Text, fields
from dissect.files.results import Result
from dissect.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What `Comparison.plot` can draw.
ComparisonPlot = Literal["concepts", "iou", "series", "categories", "histories"]
KINDS: tuple[ComparisonPlot, ...] = get_args(ComparisonPlot)
#: Those that need the steps of a series.
SERIES: tuple[ComparisonPlot, ...] = ("series", "categories", "histories")
#: What is printed of a `LayerRow`, beside the step of a series; the rest is in the rows, and in files.
PRINTED = ("units", "detectors", "beyond_chance", "concepts", "concepts_beyond_chance", "ratio", "mean_iou")


@speaks
@dataclass(eq=False)
class Comparison(Result):
    """The result of `dissect.compare`. Its file holds the dissections whole.

    Attributes:
        dissections: by the networks' names, in the order given.
        steps: places in a series by the networks' names; None without one.
        detector_iou: units are detectors above this IoU; None: above each dissection's own cut-off.
        allow: rules that may differ.

    Raises:
        TypeError, ValueError: see `dissect.compare`.

    Example: see `dissect.compare`.
    """

    kind = "comparison"
    suffix = ".comparison"

    dissections: dict[str, Dissection]
    steps: dict[str, float] | None = None
    detector_iou: float | None = None
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_comparable(self.dissections, self.allow, self.detector_iou)
        if self.steps is not None:
            check_series(self.dissections, self.steps, self.allow)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name!r} ({', '.join(map(repr, one.layers))})" for name, one in self.dissections.items())
        return f"<Comparison of {parts}>" + "".join(f"\n  note: {note}" for note in self.notes)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What differs between the dissections beside their networks, in sentences."""
        return doubts(self.dissections, self.allow)

    @property
    def categories(self) -> tuple[str, ...]:
        """Of the vocabulary, the papers' first."""
        return ordered_categories(next(iter(self.dissections.values())).concepts)

    @cached_property
    def layers(self) -> list[Compared]:
        """Each network's layers, with their detectors."""
        found = []
        for network, one in self.dissections.items():
            for name, layer in one.layers.items():
                cutoff = one.settings["detector_iou"] if self.detector_iou is None else self.detector_iou
                units = one.best(name)
                own = [row for row in units if is_detector(row, one.settings, cutoff)]
                step = None if self.steps is None else self.steps[network]
                found.append(Compared(network, step, layer, units, own, cutoff, one.settings["num_images"]))
        return found

    def summary(self) -> Table[LayerRow]:
        """A row for each layer of each network (`LayerRow`): detectors, unique detectors, their ratio to all units."""
        step = () if self.steps is None else ("step",)
        return Table(map(layer_row, self.layers), show=("network", "layer", *step, *PRINTED))

    def by_category(self) -> Table[LayerCategoryRow]:
        """The same by category (`LayerCategoryRow`)."""
        rows = [row for one in self.layers for row in category_rows(one, self.categories)]
        shown = [name for name in LayerCategoryRow._fields if name != "step" or self.steps is not None]
        return Table(rows, show=shown)

    def concepts(self) -> Table[LayerConceptRow]:
        """Every concept that has detectors, layer by layer (`LayerConceptRow`)."""
        return Table(row for one in self.layers for row in concept_rows(one, self.categories))

    def top_concepts(self, count: int = 3) -> Table[LayerConceptRow]:
        """The rows of `concepts` of the first `count` concepts of each category in each layer."""
        count = integer("count", count)
        return Table(row for row in self.concepts() if row.rank <= count)

    def best_units(self, count: int = 2) -> Table[BestUnitRow]:
        """Each concept's `count` best detectors in each network, all of its layers together (`BestUnitRow`).

        Concepts that most networks detect come first, and among those the ones with the best units.
        """
        return Table(best_unit_rows(self.layers, integer("count", count)))

    def correlation(self) -> Table[CorrelationRow]:
        """Whether concepts with more detectors have better ones, by layer and category (`CorrelationRow`)."""
        return Table(correlation_rows(self.concepts(), self.categories))

    def histories(self) -> Table[HistoryRow]:
        """Of a series: which concept each unit has at each step (`HistoryRow`).

        Raises:
            ValueError: there are no steps.
        """
        return Table(history_rows(self._series()))

    def changes(self) -> Table[ChangeRow]:
        """Of a series: each unit's concept at the first step and at the last (`ChangeRow`).

        Raises:
            ValueError: there are no steps.
        """
        return Table(change_rows(self._series(), next(iter(self.dissections.values())).concepts))

    def kept(self) -> Table[KeptRow]:
        """Of a series: how many units keep their concept from the first step to the last (`KeptRow`).

        Raises:
            ValueError: there are no steps.
        """
        return Table(kept_rows(self._series(), self.changes()))

    def alike(self, permutations: int = 99, seed: int = 0) -> Table[AlikeRow]:
        """Of a series: how many units that change still fire on what is alike, and how many by chance (`AlikeRow`).

        By chance a unit becomes what any unit of its layer became. Layers where no unit changes, and those whose labels
        have thresholds of their own, have no rows.

        Args:
            permutations: of the layer's units at the last step.
            seed: of these.

        Raises:
            TypeError, ValueError: there are no steps, or no such number of permutations or seed.
        """
        concepts = next(iter(self.dissections.values())).concepts
        permutations, seed = integer("permutations", permutations), seed_number(seed)
        return Table(alike_rows(self._series(), self.changes(), concepts, permutations, seed))

    def _series(self) -> list[Compared]:
        if self.steps is None:
            raise refusal(ValueError("a series needs steps, which compare(..., steps=...) takes."))
        return self.layers

    def plot(self, kind: ComparisonPlot = "concepts") -> Figure:
        """A figure of the tables.

        Args:
            kind: "concepts": unique detectors by category, and their ratio to all units. "iou": the mean IoU of each
                concept's detectors over their number, with Pearson's r. "series": detectors, unique detectors and the
                mean IoU over the steps of a series. "categories": unique detectors by category over them, and
                "histories": the concepts of six units of the last layer, those that are best in the end.

        Raises:
            ImportError: matplotlib is missing.
            ValueError: no such kind, or a series of dissections that are none.
        """
        from dissect.dissection import comparison_plots as figures

        if kind not in KINDS:
            raise refusal(ValueError(f"kind must be one of {KINDS}, but got {kind!r}."))
        if kind == "concepts":
            return figures.concepts_figure(self.summary(), self.by_category())
        if kind == "iou":
            points = [row for row in self.correlation() if row.category == ALL]
            return figures.iou_figure(self.summary(), self.concepts(), points, self.categories)
        self._series()
        if kind == "categories":
            return figures.categories_figure(self.by_category())
        return figures.series_figure(self.summary()) if kind == "series" else figures.histories_figure(self.histories())

    def tables(self) -> dict[str, Table[Any]]:
        """All tables by name: summary, categories, concepts, best_units, correlation; of a series histories too."""
        found: dict[str, Table[Any]] = {
            "summary": self.summary(),
            "categories": self.by_category(),
            "concepts": self.concepts(),
            "best_units": self.best_units(),
            "correlation": self.correlation(),
        }
        if self.steps is not None:
            found |= {"histories": self.histories(), "changes": self.changes(), "kept": self.kept()}
            found["alike"] = self.alike()
        return found

    def to_csv(self, folder: str | Path) -> Path:
        """Writes each of `tables` to a file, summary.csv and so on; see `Table.to_csv`.

        Returns:
            The folder, which is made if it is missing.
        """
        for name, table in self.tables().items():
            table.to_csv(Path(folder) / f"{name}.csv")
        return Path(folder)

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors: dict[str, Tensor] = {}
        parts: list[dict[str, Any]] = []
        for number, one in enumerate(self.dissections.values()):
            own, meta = one.contents()
            tensors |= {f"{number}/{name}": tensor for name, tensor in own.items()}
            parts.append(meta)
        steps = None if self.steps is None else list(self.steps.values())
        return tensors, {
            "networks": list(self.dissections),
            "dissections": parts,
            "steps": steps,
            "detector_iou": self.detector_iou,
            "allow": self.allow,
        }

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Comparison:
        """See `Result`."""
        fields(what, meta, _META)
        found = {}
        for number, (network, part) in enumerate(zip(meta["networks"], meta["dissections"])):
            own = {name.partition("/")[2]: one for name, one in tensors.items() if name.startswith(f"{number}/")}
            found[network] = Dissection.from_contents(f"{what}: {network!r}", own, part)
        steps = meta.get("steps")
        series = None if steps is None else dict(zip(found, steps))
        return cls(found, series, meta.get("detector_iou"), tuple(meta["allow"]))


_META = {
    "networks": Each(Text(), "N", different=True),
    "dissections": Each(Of(dict), "N"),
    "steps": Maybe(Each(Number(-math.inf), "N")),
    "detector_iou": Maybe(Number(0)),
    "allow": Each(Text(ALLOWED)),
}


@speaks
def compare(
    dissections: Iterable[Dissection | str | Path] | Mapping[str, Dissection | str | Path],
    *,
    steps: Iterable[float] | None = None,
    detector_iou: float | None = None,
    allow: str | Sequence[str] = (),
) -> Comparison:
    """Puts dissections of layers, checkpoints, generators or classifiers side by side.

    Counts compare only where they were counted alike, so all dissections must have one vocabulary, the same names and
    categories (in any order), and the same rules: fraction, positions, grid, border, step, scope, ReLU and cut-off.
    What else differs, such as the number of images, is told in `Comparison.notes` and by a warning. No file says which
    segmenter made the label planes: that it was the same is for the caller to know.

    Args:
        dissections: two or more, or one of several layers: results, or files that `Dissection.save` wrote. A mapping
            gives them names; else files are called by their names, or by their folders' if those are all alike, results
            by their networks' classes, and all are numbered if that does not tell them apart.
        steps: a number for each, rising, if they are a series: the steps of a training whose checkpoints they are.
        detector_iou: units are detectors above this IoU; by default above the cut-off by which they were dissected.
        allow: rules that may differ all the same, which is then told too; in a series also "network", the name of the
            networks' class.

    Returns:
        A `Comparison`.

    Warns:
        dissect.DoubtfulResultWarning: something differs beside the networks.

    Raises:
        FileNotFoundError: no such file.
        TypeError: dissections, names or steps that are none.
        ValueError: nothing to compare; a dissection of images alone; another vocabulary or other rules (says what
            differs); a file that cannot be read; steps that do not rise, or of networks of different
            kinds: another class, other layers or units, or maps that lie elsewhere in images of one size.

    Example:
        >>> images, planes = torch.rand(4, 3, 8, 8), torch.randint(0, 3, (4, 1, 8, 8))
        >>> def dissected(seed):
        ...     torch.manual_seed(seed)
        ...     net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1)).eval()
        ...     return dissect.dissect(net, "0", [(images, planes)], concepts=["sky", "tree"], progress=False)
        >>> both = dissect.compare({"one": dissected(1), "other": dissected(2)})
        >>> [(row.network, row.units) for row in both.summary()]
        [('one', 2), ('other', 2)]
    """
    found = gathered(dissections)
    series = None if steps is None else check_steps(found, steps)
    comparison = Comparison(found, series, detector_iou, (allow,) if isinstance(allow, str) else tuple(allow))
    if comparison.notes:
        told = "; ".join(note.removesuffix(".") for note in comparison.notes)
        tell(f"{told}.", DoubtfulResultWarning)
    return comparison
