"""Finds out what the single units of a vision network mean and do, at the speed of the network itself.

::

    d = dissect.dissect(model, "features.28", images)
    d.best()
    d.save("result")
    dissect.write_report(d, "out/")
"""

import importlib
from typing import TYPE_CHECKING, Any

from dissect import classifiers, models, moved, ops, reference, stats
from dissect.classifiers import UnitImportance, UnitSets, unit_importance, unit_sets
from dissect.concepts import Concepts
from dissect.dissection.comparison import Comparison, compare
from dissect.dissection.provenance import DoubtfulResultWarning
from dissect.dissection.result import Dissection, load
from dissect.dissection.run import dissect
from dissect.grid import Grid
from dissect.interventions.intervention import ablate, insert, keep
from dissect.models import latents, noise_seeds
from dissect.network.trace import Trace
from dissect.report import write_report
from dissect.version import __version__ as __version__

if TYPE_CHECKING:
    from dissect import experiments, segmentation, tiny

__all__ = [
    "Comparison",
    "Concepts",
    "Dissection",
    "DoubtfulResultWarning",
    "Grid",
    "Trace",
    "UnitImportance",
    "UnitSets",
    "ablate",
    "classifiers",
    "compare",
    "dissect",
    "experiments",
    "insert",
    "keep",
    "latents",
    "load",
    "models",
    "noise_seeds",
    "ops",
    "reference",
    "segmentation",
    "stats",
    "tiny",
    "unit_importance",
    "unit_sets",
    "write_report",
]


#: Imported where they are used: most programs never do, and they are more than half of all code here.
_LATE = ("experiments", "segmentation", "tiny")


moved.install()


def __getattr__(name: str) -> Any:
    if name in _LATE or name in moved.MOVED:
        return importlib.import_module(f"dissect.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
