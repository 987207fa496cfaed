"""What the units of a generator do: classes that go without them, and places where they can be put in."""

from dissect.generators.artifact_features import inception_features
from dissect.generators.artifact_flags import UnitFlags, read_flags
from dissect.generators.artifact_repair import ArtifactRepair, RepairRow, artifact_repair
from dissect.generators.artifact_search import artifact_units
from dissect.generators.artifact_units import AgreementRow, ArtifactRow, ArtifactUnits, FlagAgreementRow
from dissect.generators.causal import causal_units
from dissect.generators.causal_result import CausalRow, CausalUnits
from dissect.generators.context import insertion_context
from dissect.generators.context_result import ContextRow, InsertionContext, RestRow
from dissect.generators.curves import CurveRow, RemovalCurves, removal_curves
from dissect.generators.effect import ChangeRow, ClassChangeRow, Effect, EffectRow, effects_table
from dissect.generators.measuring import effect, removed_share
from dissect.generators.ranking import class_iou, units_by_iou
from dissect.generators.tracing import trace_effect
from dissect.generators.tracing_result import EffectTrace, TraceRow

__all__ = [
    "AgreementRow",
    "ArtifactRepair",
    "ArtifactRow",
    "ArtifactUnits",
    "CausalRow",
    "CausalUnits",
    "ChangeRow",
    "ClassChangeRow",
    "ContextRow",
    "CurveRow",
    "Effect",
    "EffectRow",
    "EffectTrace",
    "FlagAgreementRow",
    "InsertionContext",
    "RemovalCurves",
    "RepairRow",
    "RestRow",
    "TraceRow",
    "UnitFlags",
    "artifact_repair",
    "artifact_units",
    "causal_units",
    "class_iou",
    "effect",
    "effects_table",
    "inception_features",
    "insertion_context",
    "read_flags",
    "removal_curves",
    "removed_share",
    "trace_effect",
    "units_by_iou",
]
