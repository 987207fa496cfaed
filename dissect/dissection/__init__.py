"""Network dissection: `dissect.dissect` (`run`), what it finds visit by visit, and its result."""

from dissect.dissection.compared import BestUnitRow, CorrelationRow, LayerCategoryRow, LayerConceptRow, LayerRow
from dissect.dissection.result import Dissection, LayerDissection, load
from dissect.dissection.rows import CategoryRow, DiscoveryRow, UnitRow
from dissect.dissection.swept import SweptCurveRow, SweptLabelRow, SweptLayer, SweptUnitRow

__all__ = [
    "BestUnitRow",
    "CategoryRow",
    "CorrelationRow",
    "DiscoveryRow",
    "Dissection",
    "LayerCategoryRow",
    "LayerConceptRow",
    "LayerDissection",
    "LayerRow",
    "SweptCurveRow",
    "SweptLabelRow",
    "SweptLayer",
    "SweptUnitRow",
    "UnitRow",
    "load",
]
