"""The published rules, as named sets of options (`dissect.dissect(preset=...)`)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction

from dissect.grid import BORDERS
from dissect.stats.iou import SCOPES
from dissect.stats.threshold import POSITIONS

GRIDS = ("half_pixel", "receptive_field")


@dataclass(frozen=True)
class Preset:
    """The rules by which a dissection counts.

    Attributes:
        fraction: the share of samples on which a unit fires.
        positions: samples of a threshold: "pixel" (upsampled maps) or "feature" (raw maps).
        grid: "half_pixel", or "receptive_field": cells at the centres of their receptive fields.
        border: beyond the outermost cells "edge" goes on as the last cell, "zeros" falls to 0.
        step: image pixels per pixel of the segmentation, in each direction; None: the planes' own size.
        scope: of the union: "all" images, or "category": those that carry a label of the concept's category.
        detector_iou: a unit is a detector if its best IoU exceeds this.
        relu: negative activations are 0, as the ReLU that follows a layer would make them.
    """

    fraction: float = 0.01
    positions: str = "pixel"
    grid: str = "half_pixel"
    border: str = "edge"
    step: int | None = None
    scope: str = "all"
    detector_iou: float = 0.04
    relu: bool = False

    def __post_init__(self) -> None:
        if not 0 < Fraction(str(self.fraction)) < 1:
            raise ValueError(f"dissect: fraction must lie strictly between 0 and 1, but got {self.fraction}.")
        for name, choices in (("positions", POSITIONS), ("grid", GRIDS), ("border", BORDERS), ("scope", SCOPES)):
            if getattr(self, name) not in choices:
                raise ValueError(f"dissect: {name} must be one of {choices}, but got {getattr(self, name)!r}.")


#: `pnas2020` is Bau et al. 2020 as their code computes it (its layers are convolutions whose in-place ReLU has run by
#: the time they are read); `tpami2018` is Zhou, Bau et al. 2018.
PRESETS = {
    "default": Preset(),
    "pnas2020": Preset(border="zeros", step=4, relu=True),
    "tpami2018": Preset(0.005, "feature", "receptive_field", "edge", 2, "category"),
}


def preset_with(name: str, **changes: object) -> Preset:
    """A preset with some of its fields replaced; those that are None are not.

    Raises:
        ValueError: an unknown preset, or a change that breaks its rules.

    Example:
        >>> preset_with("pnas2020", fraction=0.005, border=None).border
        'zeros'
    """
    if name not in PRESETS:
        raise ValueError(f"dissect: preset must be one of {tuple(PRESETS)}, but got {name!r}.")
    return dataclasses.replace(PRESETS[name], **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]
