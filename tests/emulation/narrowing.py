"""Ends of visits, by both engines: those that a problem's thresholds come by, and others that no data would give."""

from small_brackets import random_brackets

from dissect import ops
from dissect.ops.backends import cuda
from dissect.reference.narrow import narrow
from dissect.stats import TailThreshold


def narrowed(case, fraction, seeds):
    """Pairs of what the engine finds and what the reference does."""
    calls, original = [random_brackets(seed) for seed in seeds], ops.narrow
    ops.narrow = lambda *arguments: calls.append(arguments) or original(*arguments)
    try:
        for options in ({"grid": case.grid}, {"positions": "feature"}):
            state = TailThreshold(fraction, backend="reference", **options)
            for _ in range(6 if len(case.activations) else 0):
                state.add(case.activations)
                if state.advance():
                    break
    finally:
        ops.narrow = original
    return [(cuda.narrow(*arguments), narrow(*arguments)) for arguments in calls]
