"""Units of a layer removed, set to a value, or kept alone: for a while, for good, and one after another."""

from dissect.interventions.intervention import Intervention, ablate, insert, keep

__all__ = ["Intervention", "ablate", "insert", "keep"]
