"""Finds out what the single units of a vision network mean and do, at the speed of the network itself.

::

    d = dissect.dissect(model, "features.28", images)
    d.best()
    d.save("result")
    dissect.write_report(d, "out/")

The map::

    dissect, Dissection, load                 what each unit detects; results, of any kind
    dissect_activations                       the same of activations at hand, without their network
    write_report, show                        their page, as a file and in a notebook
    compare, Comparison                       layers, networks, checkpoints side by side
    unit_sheet, UnitSheet                     images of one unit at all levels, and counterexamples
    monitor, Watch                            a training's checkpoints, dissected in turn or within its loop
    formulas, UnitFormulas                    units by AND, OR and NOT of concepts
    sweep, Sweep                              units and labels at every threshold
    Trace, ablate, insert, keep               look at a network's layers, and edit their units for a while
    unit_classifiers, UnitClassifiers         how well units tell images with a concept from those without
    unit_importance, UnitImportance           what each class loses without each unit
    unit_sets, UnitSets                       the same without many units at once
    generators, latents, noise_seeds          what a generator's units draw and cause; z
    omissions                                 what a generator leaves out
    segmentation, Concepts                    networks that label pixels, and names of labels
    stats, ops, reference, Grid               streaming statistics, the kernels, and their specification
    models, tiny                              architectures and published files; the embedded world
    rewriting                                 one rule of a network, changed in its weights
    data, experiments, classifiers            data sets, the papers' experiments, the rest of classifiers
    apps                                      pages to paint with units and to rewrite rules on: import dissect.apps
    DoubtfulResultWarning                     given where labels may be chance
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissect import classifiers, generators, models, moved, ops, reference, stats
from dissect.classifiers import UnitImportance, UnitSets, unit_importance, unit_sets
from dissect.concepts import Concepts
from dissect.dissection.comparison import Comparison, compare
from dissect.dissection.formulas import formulas
from dissect.dissection.formulas_result import UnitFormulas
from dissect.dissection.given_activations import dissect_activations
from dissect.dissection.monitoring import monitor
from dissect.dissection.provenance import DoubtfulResultWarning
from dissect.dissection.result import Dissection
from dissect.dissection.run import dissect
from dissect.dissection.sheet import UnitSheet
from dissect.dissection.sheet_run import unit_sheet
from dissect.dissection.sweep import sweep
from dissect.dissection.swept import Sweep
from dissect.dissection.unit_classifiers import unit_classifiers
from dissect.dissection.unit_classifiers_result import UnitClassifiers
from dissect.dissection.watching import Watch
from dissect.files.results import load_any
from dissect.grid import Grid
from dissect.interventions.intervention import ablate, insert, keep
from dissect.models import latents, noise_seeds
from dissect.network.trace import Trace
from dissect.report import show, write_report
from dissect.version import __version__ as __version__

if TYPE_CHECKING:
    from dissect import experiments, omissions, rewriting, segmentation, tiny

__all__ = [
    "Comparison",
    "Concepts",
    "Dissection",
    "DoubtfulResultWarning",
    "Grid",
    "Sweep",
    "Trace",
    "UnitFormulas",
    "UnitClassifiers",
    "UnitImportance",
    "UnitSets",
    "UnitSheet",
    "Watch",
    "ablate",
    "classifiers",
    "compare",
    "dissect",
    "dissect_activations",
    "experiments",
    "formulas",
    "generators",
    "insert",
    "keep",
    "latents",
    "load",
    "models",
    "monitor",
    "noise_seeds",
    "omissions",
    "ops",
    "reference",
    "rewriting",
    "segmentation",
    "show",
    "stats",
    "sweep",
    "tiny",
    "unit_classifiers",
    "unit_importance",
    "unit_sets",
    "unit_sheet",
    "write_report",
]


#: Imported where they are used: most programs never do, and they are more than half of all code here.
_LATE = ("experiments", "omissions", "rewriting", "segmentation", "tiny")


moved.install()


def load(path: str | Path) -> Any:
    """Reads a result of any kind: what `Dissection.save`, `UnitImportance.save` and those of other results wrote.

    Args:
        path: the file; its suffix may be left out. Where files of several kinds have that name it is the dissection.

    Returns:
        A `Dissection`, `UnitImportance`, `rewriting.Edit` or another result. (Their own ``load`` takes no other.)

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, one that holds no result, a newer version, or content that cannot be; names the
            file. A name that has files of several kinds, and no dissection.

    Example:
        >>> dissect.load("out/result")  # doctest: +SKIP
        <Dissection of 'features.28' (512 units, 93 detectors) over 10000 images>
    """
    for room in ("dissect.experiments", "dissect.omissions", "dissect.rewriting"):  # whose results are known then
        importlib.import_module(room)
    return load_any(path, Dissection)


def __getattr__(name: str) -> Any:
    if name in _LATE or name in moved.MOVED:
        return importlib.import_module(f"dissect.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
