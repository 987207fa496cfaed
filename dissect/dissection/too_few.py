"""Whether a survey saw enough samples for a fraction of them to be one."""

from __future__ import annotations

from collections.abc import Mapping

from dissect.arguments import tell
from dissect.grid import Grid
from dissect.stats import TailThreshold


def tell_too_few(thresholds: Mapping[str, object], grids: Mapping[str, Grid], num_images: int) -> None:
    """Warns of the layer with the fewest samples where its fraction of them is less than one, so that no unit fires.

    Args:
        thresholds: of each layer; those that were given need no samples.
        grids: of each layer.
        num_images: how many were seen.
    """
    found = {name: state for name, state in thresholds.items() if isinstance(state, TailThreshold)}
    # A map of one cell gives an image's pixels one value, so that these fire together.
    samples = {
        name: num_images if grids[name].source_shape == (1, 1) else state.samples for name, state in found.items()
    }
    name = min(samples, key=samples.__getitem__, default=None)
    if name is not None and int(found[name].fraction * samples[name]) == 0:
        tell(
            f"a fraction of {float(found[name].fraction)} of {samples[name]} samples is less than one, so that "
            f"no unit of layer {name!r} can fire; look at more images, or choose a larger fraction."
        )
