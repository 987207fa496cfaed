"""The five biases of dissection that Zhou, Bau et al. 2018 (section 4) name, measured: docs/trust_biases.md.

Each is measured by dissecting the same maps (`LayerMaps`) again, under another vocabulary, grid or number of units.
"""

from dissect.experiments.biases.maps import LayerMaps, found, mean_interval, only
from dissect.experiments.biases.units import (
    Groups,
    Placed,
    Rarefied,
    Shifted,
    groups,
    placed,
    rarefied,
    shifted,
)
from dissect.experiments.biases.vocabulary import (
    ConceptSize,
    Finer,
    Reach,
    Removed,
    Size,
    finer,
    reach,
    removed,
    separation,
    sizes,
)

__all__ = [
    "Finer",
    "Groups",
    "LayerMaps",
    "Placed",
    "Rarefied",
    "Reach",
    "Removed",
    "Shifted",
    "ConceptSize",
    "Size",
    "finer",
    "found",
    "groups",
    "mean_interval",
    "only",
    "placed",
    "rarefied",
    "reach",
    "removed",
    "separation",
    "shifted",
    "sizes",
]
