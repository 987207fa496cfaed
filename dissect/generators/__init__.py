"""What the units of a generator do: classes that go without them, and places where they can be put in."""

from dissect.generators.effect import ChangeRow, Effect, EffectRow, effects_table
from dissect.generators.measuring import effect, removed_share

__all__ = ["ChangeRow", "Effect", "EffectRow", "effect", "effects_table", "removed_share"]
