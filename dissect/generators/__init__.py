"""What the units of a generator do: classes that go without them, and places where they can be put in."""

from dissect.generators.causal import causal_units
from dissect.generators.causal_result import CausalRow, CausalUnits
from dissect.generators.context import ContextRow, InsertionContext, RestRow, insertion_context
from dissect.generators.curves import CurveRow, RemovalCurves, removal_curves
from dissect.generators.effect import ChangeRow, Effect, EffectRow, effects_table
from dissect.generators.measuring import effect, removed_share
from dissect.generators.ranking import class_iou, units_by_iou

__all__ = [
    "CausalRow",
    "CausalUnits",
    "ChangeRow",
    "ContextRow",
    "CurveRow",
    "Effect",
    "EffectRow",
    "InsertionContext",
    "RemovalCurves",
    "RestRow",
    "causal_units",
    "class_iou",
    "effect",
    "effects_table",
    "insertion_context",
    "removal_curves",
    "removed_share",
    "units_by_iou",
]
