"""Modules that had other names: they can still be imported by these, as the very modules that they are now."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Sequence
from types import ModuleType

#: What `import dissect.NAME` meant, and where it is.
MOVED = {
    "cache": "files.tensors",
    "checked": "files.checked",
    "classify": "cli.classify",
    "contents": "dissection.contents",
    "findings": "dissection.dissection_run",
    "geometry": "dissection.geometry",
    "graph": "network.graph",
    "hooks": "network.hooks",
    "info": "cli.info",
    "layers": "network.layers",
    "layouts": "network.layouts",
    "listing": "network.listing",
    "outputs": "network.outputs",
    "pipeline": "dissection.run",
    "presets": "dissection.presets",
    "reading": "visits.readout",
    "receptive_field": "network.receptive_field",
    "rectified": "network.rectified",
    "resume": "files.progress",
    "run": "cli.run",
    "source": "visits.activations",
    "store": "visits.store",
    "suggest": "cli.suggest",
    "tensorfile": "files.tensorfile",
    "trace": "network.trace",
    "tracking": "network.tracking",
    "transfer": "devices",
    "units": "network.units",
    "writing": "interventions.writing",
    "classifiers.fanout": "interventions.fanout",
    "classifiers.flow": "interventions.flow",
    "classifiers.measure": "classifiers.probe",
    "classifiers.tally": "stats.classes",
    "dissection.findings": "dissection.dissection_run",
    "experiments.peaks": "experiments.responses",
    "experiments.pictures": "experiments.figures",
    "models.loading": "models",
    "ops.cuda": "ops.backends.cuda",
    "visits.generated": "generated",
    "visits.reading": "visits.readout",
    "visits.source": "visits.activations",
}


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module by the name that it had."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Of those that moved; others are other finders'."""
        old = name.removeprefix("dissect.")
        return importlib.machinery.ModuleSpec(name, self) if name != old and old in MOVED else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module itself, with a warning."""
        now = "dissect." + MOVED[spec.name.removeprefix("dissect.")]
        warnings.warn(f"{spec.name} has become {now}.", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(now)
        self._own = module.__spec__, module.__name__, module.__loader__, module.__package__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It has run already; importing must not rename it."""
        module.__spec__, module.__name__, module.__loader__, module.__package__ = self._own


def install() -> None:
    """Makes the old names importable."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
