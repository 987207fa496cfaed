"""Finds out what the single units of a vision network mean and do, at the speed of the network itself.

::

    d = dissect.dissect(model, "features.28", images)
    d.best()
    d.save("result")
    dissect.write_report(d, "out/")
"""

from dissect import models, ops, reference, stats, tiny
from dissect.concepts import Concepts
from dissect.dissection import Dissection, load
from dissect.grid import Grid
from dissect.models import latents, noise_seeds
from dissect.pipeline import dissect
from dissect.report import write_report
from dissect.trace import Trace

__version__ = "0.1.0"

__all__ = [
    "Concepts",
    "Dissection",
    "Grid",
    "Trace",
    "dissect",
    "latents",
    "load",
    "models",
    "noise_seeds",
    "ops",
    "reference",
    "stats",
    "tiny",
    "write_report",
]
