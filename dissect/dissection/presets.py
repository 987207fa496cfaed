"""The published rules, as named sets of options (`dissect.dissect(preset=...)`).

`pnas2020` is Bau et al. 2020 as their code computes it, `tpami2018` is Zhou, Bau et al. 2018 as NetDissect does. Both
read after the ReLU, also where a convolution is named: torchvision's VGG and AlexNet, and Caffe's, rectify in place, so
that the published "conv5" is what its ReLU leaves. (The default reads the module's own output, before the ReLU.)

`iclr2019` is Bau et al. 2019, chapter 4 of the thesis: a threshold for each unit and label, the one that tells most on
images of their own (equation 4.2). The published code takes, of each unit, that of the label it tells most about for
all labels: ``levels="unit_information"``. It calls a unit a detector if its IoU exceeds 0.05 and its information
quality ratio 0.01; the thesis (Figure 4-5) if beside the IoU its pixel accuracy exceeds 0.75: ``match="accuracy"``.

NetDissect's cells lie at whole pixels, of AlexNet's conv5 at 227 at 8, 16, ..., 104 of 113 (`Grid.netdissect`). The
exact centres of their receptive fields, 8.42, ..., 103.58, are an option: ``grid="receptive_field"``.

For AlexNet, and no other network, the code of 2020 placed cells by a chain of layers that is too long: whatever layer
is probed, it goes on to pool5, and takes the maps to be 6x6. That is a fault, and `pnas2020` does not repeat it (their
masks of the top 1 % overlap half-pixel ones by an IoU of 0.13). This gives their numbers, at 227 pixels:

>>> from dissect import Grid
>>> def published(layer, maps, planes):  # pool5's cells lie at pixels 33 + 32 i of 227
...     rows, columns = (
...         [(y * 226 / (size - 1) - 33) / 32 * (cells - 1) / 5 for y in range(size)]
...         for cells, size in zip(maps, planes)
...     )
...     return Grid.from_centres(rows, columns, maps, border="zeros")
>>> published("features.conv5", (13, 13), (56, 56)).indices("rows")[[0, 11, 55]].tolist()  # -2.48, 0.91, 14.48
[[-1, -1], [0, 1], [13, 13]]

and then ``dissect(alexnet, "features.conv5", images, preset="pnas2020", grid=published)``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from dissect.arguments import refusal
from dissect.grid import BORDERS, Border
from dissect.stats.iou import SCOPES, Scope
from dissect.stats.threshold_state import POSITIONS, Positions

#: How thresholds are found: by the top fraction of a unit's samples; for each unit and label the level of the highest
#: information quality ratio (thesis, equation 4.2); or for each unit that of the label that it tells most about, for
#: all labels, as the published code does.
Levels = Literal["fraction", "label_information", "unit_information"]
LEVELS: tuple[Levels, ...] = get_args(Levels)
#: What a unit must have to be a detector beside its IoU: nothing; an information quality ratio above 0.01 (the
#: published code); a pixel accuracy above 0.75 (thesis, Figure 4-5).
Match = Literal["iou", "information", "accuracy"]
MATCHES: tuple[Match, ...] = get_args(Match)

#: Names of the constructors of `Grid` that make them.
GridName = Literal["half_pixel", "receptive_field", "netdissect"]
GRIDS: tuple[GridName, ...] = get_args(GridName)


@dataclass(frozen=True)
class Preset:
    """The rules by which a dissection counts.

    Attributes:
        fraction: the share of samples on which a unit fires.
        positions: samples of a threshold: "pixel" (upsampled maps) or "feature" (raw maps).
        grid: "half_pixel"; "receptive_field": cells at the exact centres of their receptive fields; "netdissect": at
            the whole pixels near them where NetDissect places them.
        border: beyond the outermost cells "edge" goes on as the last cell, "zeros" falls to 0.
        step: image pixels per pixel of the segmentation, in each direction; None: the planes' own size.
        scope: of the union: "all" images, or "category": those that carry a label of the concept's category.
        detector_iou: a unit is a detector if its best IoU exceeds this.
        relu: True reads a layer after the ReLU that follows it: negative activations are 0, as a ReLU that runs in
            place leaves them. False reads before it: the module's own output.
        levels: how thresholds are found: `LEVELS`.
        match: what a detector must have beside its IoU: `MATCHES`.
    """

    fraction: float = 0.01
    positions: Positions = "pixel"
    grid: GridName = "half_pixel"
    border: Border = "edge"
    step: int | None = None
    scope: Scope = "all"
    detector_iou: float = 0.04
    relu: bool = False
    levels: Levels = "fraction"
    match: Match = "iou"

    def __post_init__(self) -> None:
        if not 0 < Fraction(str(self.fraction)) < 1:
            raise refusal(ValueError(f"fraction must lie strictly between 0 and 1, but got {self.fraction}."))
        choices_of = {"positions": POSITIONS, "grid": GRIDS, "border": BORDERS, "scope": SCOPES, "levels": LEVELS,
                      "match": MATCHES}  # fmt: skip
        for name, choices in choices_of.items():
            if getattr(self, name) not in choices:
                raise refusal(ValueError(f"{name} must be one of {choices}, but got {getattr(self, name)!r}."))
        if not isinstance(self.relu, bool):
            raise refusal(ValueError(f"relu must be True or False, but got {self.relu!r}."))


PresetName = Literal["default", "pnas2020", "tpami2018", "iclr2019"]
#: By name; the module says what the papers' rules are.
PRESETS: dict[PresetName, Preset] = {
    "default": Preset(),
    "pnas2020": Preset(border="zeros", step=4, relu=True),
    "tpami2018": Preset(0.005, "feature", "netdissect", "edge", 2, "category", relu=True),
    "iclr2019": Preset(step=2, scope="category", detector_iou=0.05, levels="label_information", match="information"),
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
        raise refusal(ValueError(f"preset must be one of {tuple(PRESETS)}, but got {name!r}."))
    return dataclasses.replace(PRESETS[name], **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]
