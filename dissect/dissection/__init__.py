"""Network dissection: what `dissect.dissect` finds, layer by layer, the rows of its tables, and labels by texts."""

from dissect.dissection.compared import BestUnitRow, CorrelationRow, LayerCategoryRow, LayerConceptRow, LayerRow
from dissect.dissection.exemplars import Embedder, Exemplar, LabelRow, TextRow, labels_beside, text_labels
from dissect.dissection.histories import AlikeRow, ChangeRow, HistoryRow, KeptRow
from dissect.dissection.replicates import ReplicateCategoryRow, ReplicateRow, replicated, replicated_by_category
from dissect.dissection.result import Dissection, LayerDissection, load
from dissect.dissection.rows import CategoryRow, DiscoveryRow, UnitRow
from dissect.dissection.swept import SweptLayer
from dissect.dissection.swept_rows import SweptCurveRow, SweptLabelRow, SweptUnitRow
from dissect.dissection.text_embedder import HuggingFaceEmbedder

__all__ = [
    "AlikeRow",
    "BestUnitRow",
    "CategoryRow",
    "ChangeRow",
    "CorrelationRow",
    "DiscoveryRow",
    "Dissection",
    "Embedder",
    "Exemplar",
    "HistoryRow",
    "HuggingFaceEmbedder",
    "KeptRow",
    "LabelRow",
    "LayerCategoryRow",
    "LayerConceptRow",
    "LayerDissection",
    "LayerRow",
    "ReplicateCategoryRow",
    "ReplicateRow",
    "SweptCurveRow",
    "SweptLabelRow",
    "SweptLayer",
    "SweptUnitRow",
    "TextRow",
    "UnitRow",
    "labels_beside",
    "load",
    "replicated",
    "replicated_by_category",
    "text_labels",
]
