"""Network dissection: `dissect.dissect` (`run`), what it finds visit by visit, and its result."""

from dissect.dissection.result import Dissection, LayerDissection, load
from dissect.dissection.rows import CategoryRow, DiscoveryRow, UnitRow

__all__ = ["CategoryRow", "DiscoveryRow", "Dissection", "LayerDissection", "UnitRow", "load"]
