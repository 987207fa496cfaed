"""Writes docs/thresholds.md and its pictures: what depends on the threshold of a unit, in the embedded world.

``python docs/scripts/thresholds.py --work build/thresholds`` from the root of the sources. What was measured is kept in
the folder --work and is not measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from experiments_generators import Measured
from pages import command_line, folder
from thresholds_page import page
from torch import Tensor
from torch.utils.data import Subset

import dissect
from dissect import plots
from dissect.tiny import TinyScenes, generator, segmenter, vgg

#: How many scenes, and how many z; seeds of these z, and of those on which thresholds are found.
SCENES, COUNT, SEED, OTHERS = 860, 256, 1, 2
#: The published range of tau.
SHARES: tuple[float, ...] = (0.0025, 0.005, 0.01, 0.02, 0.04)
#: How many units are shown with their curves.
SHOWN = 2
#: The published tau, by its number among the shares.
TIGHT = 1


@dataclass
class Network:
    """A layer that is looked at, on which data, and how."""

    name: str
    title: str
    model: Any
    layer: str
    images: Any
    halves: tuple[Any, Any]
    others: Any
    options: dict[str, Any]


def networks() -> list[Network]:
    """The embedded classifier's last convolution, and a layer of the embedded Progressive GAN."""
    scenes, street = TinyScenes("val", count=SCENES), generator()
    halves = Subset(scenes, range(0, SCENES, 2)), Subset(scenes, range(1, SCENES, 2))
    z, others = (dissect.latents(street, COUNT, seed=seed) for seed in (SEED, OTHERS))
    drawn = {"segmenter": segmenter(signed=True), "segment": "output"}
    return [
        Network("vgg", "The classifier's last convolution", vgg(), "features.conv5_3", scenes, halves,
                TinyScenes("train", count=SCENES), {"relu": True}),
        Network("street", "A generator's layer", street, "layer4", z, (z[::2], z[1::2]), others, drawn),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and writes the page."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/thresholds"), help="folder for what takes long")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    measured, out = Measured(options.work), folder(options.out, "thresholds")
    found = [_measure(measured, network, out) for network in networks()]
    text = page(found, {"scenes": SCENES, "count": COUNT, "seed": SEED, "others": OTHERS}, measured.seconds("*"))
    (options.out / "thresholds.md").write_text(text)


def _measure(measured: Measured, network: Network, out: Path) -> dict[str, Any]:
    model, layer, options = network.model, network.layer, {**network.options, "progress": False}
    sweeps = [
        measured(f"{network.name}-sweep{part}", dissect.Sweep,
                 partial(dissect.sweep, model, layer, images, shares=SHARES, **options))
        for part, images in (("", network.images), *enumerate(network.halves))
    ]  # fmt: skip
    sweep, units = sweeps[0], chosen(sweeps[0])
    plots.save(sweep.plot(), out / f"{network.name}-labels.png")
    for unit in units:
        plots.save(sweep.plot("unit", unit=unit), out / f"{network.name}-unit-{unit}.png")
    at_shares = []
    for at, share in enumerate([*sweep.settings["shares"], None]):
        levels = torch.zeros(sweep[layer].num_units) if share is None else sweep[layer].exact[:, at]
        measure = partial(dissect.dissect, model, layer, network.images, thresholds=levels, decoys=0, **options)
        at_shares.append(measured(f"{network.name}-{share}", dissect.Dissection, measure))
    rules = {"default": {}} | {
        levels: {"preset": "iclr2019", "thresholds_from": network.others, "levels": levels}
        for levels in ("label_information", "unit_information")
    }
    by_rule = {
        name: measured(f"{network.name}-{name}", dissect.Dissection,
                       partial(dissect.dissect, model, layer, network.images, **options, **rule))
        for name, rule in rules.items()
    }  # fmt: skip
    return {
        "network": network, "sweep": sweep, "halves": sweeps[1:], "units": units, "at_shares": at_shares,
        "by_rule": by_rule,
    }  # fmt: skip


def chosen(sweep: dissect.Sweep) -> list[int]:
    """The units to show: of the highest IoU at the tight threshold, with another label where there is no threshold."""
    (layer,) = sweep.layers
    tight, loose = sweep.best(layer, TIGHT), sweep.best(layer, None)
    own = sweep[layer]
    iou: Tensor = own.best_iou.gather(1, own.level(TIGHT)[:, None])[:, 0]
    wanted = iou * (tight > 0) * (loose > 0) * (loose != tight)
    units: list[int] = []
    for unit in wanted.argsort(descending=True, stable=True).tolist():
        if wanted[unit] > 0 and tight[unit] not in tight[units] and len(units) < SHOWN:
            units.append(unit)
    return units


if __name__ == "__main__":
    main()
