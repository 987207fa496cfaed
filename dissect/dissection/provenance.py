"""Where a result comes from, and what it should be doubted for: told in its settings, and by warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dissect.arguments import tell
from dissect.network.identity import weights_fingerprint
from dissect.network.untrained import looks_untrained
from dissect.stats.significance import RATE
from dissect.version import __version__

if TYPE_CHECKING:
    from dissect.dissection.result import Dissection


class DoubtfulResultWarning(UserWarning):
    """A result that says less than it seems to: too many of its detectors could be there by chance, for example."""


def provenance(model: nn.Module, images: object, identity: list[Any], date: str) -> dict[str, Any]:
    """What a result's settings say of its network, data, software and day.

    Args:
        model: the network.
        images: what was given as such.
        identity: of the data set, see `dissect.data.Batches.identity`.
        date: the day on which the run began, as ISO 8601 has it.
    """
    kind = type(model)
    data = f"{type(images).__name__}" + (f" {identity[1]}" if identity[1] else "")
    return {
        "network": f"{kind.__module__}.{kind.__qualname__}",
        "weights": weights_fingerprint(model),
        "images": data,
        "dissect": __version__,
        "torch": str(torch.__version__),
        "date": date,
    }


def tell_untrained(model: nn.Module) -> dict[str, str]:
    """What a result's settings say of weights that nothing was learned into; nothing where they may be trained.

    Warns:
        DoubtfulResultWarning: they look so.
    """
    reason = looks_untrained(model)
    if reason is None:
        return {}
    tell(
        f"the weights of model look untrained: {reason}. Units of such a network have labels too; see docs/trust.md.",
        DoubtfulResultWarning,
    )
    return {"weights": f"look untrained: {reason}"}


def tell_doubts(found: Dissection) -> None:
    """Warns of layers whose detectors could be there by chance.

    Warns:
        DoubtfulResultWarning: the false discovery rate at the detector cut-off exceeds 5 %; names the layers.
    """
    cutoff = found.settings["detector_iou"]
    doubtful = []
    for name, layer in found.layers.items():
        rate, kept = layer.false_discovery_rate(cutoff), layer.cutoff_at(RATE)
        if rate > RATE:
            better = "no cut-off keeps" if kept is None else f"a cut-off of {kept:.3f} keeps"
            units = len(found.detectors(name))
            doubtful.append(f"{name!r}: about {rate:.0%} of its {units} would be there by chance; {better} that at 5 %")
    if doubtful:
        tell(
            f"few images, an untrained network, or labels that lie at the same places make detectors: above "
            f"an IoU of {cutoff:g}, of layer {'; '.join(doubtful)}. {found.settings['num_images']} images were seen. "
            "See docs/trust.md.",
            DoubtfulResultWarning,
        )
