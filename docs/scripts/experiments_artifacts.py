"""Writes docs/experiments_artifacts.md and its pictures: units that draw what is wrong, and sheets of one unit.

``python docs/scripts/experiments_artifacts.py --work build/artifacts`` from the root of the sources. What was measured
is kept in the folder --work and is not measured again. Units are flagged on the page that it writes there
("flagging.html"); the flags that were made are in docs/experiments_artifacts/flags.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from experiments_artifacts_page import page
from experiments_generators import Measured
from pages import DOCS, command_line, folder
from tiny_compared import NAMES, as_seen, dissected
from torch import Tensor
from torch.utils.data import Subset

import dissect
from dissect import generators, plots
from dissect.report import write_flagging, write_pairs
from dissect.stats import pyramid_patches, sliced_wasserstein
from dissect.tiny import TinyScenes, generator, segmenter
from dissect.tiny.judge import features, in_bytes, sampled, segmenter_features

LAYER, SMALL_LAYER = "layer4", "layer4"
#: Seeds of z: of flags, of distances, of repairs, of sheets. No two samples share a z.
FLAGGED, SCORED, REPAIRED, SHEETS = 7, 5, 6, 1
#: How many z there are of each, and real scenes; of the small generators; images of each sample of a repair.
SAMPLES = {FLAGGED: 1000, SCORED: 4000, REPAIRED: 2000, SHEETS: 256}
REAL, FEWER_REAL, SMALL, KEPT = 4000, 2000, 400, 200
#: Of Figure 4-7, in its order.
TRAININGS = ("progan-street-small-baseline", "progan-street-small-no-pixelnorm", "progan-street-small")
WGAN = "wgangp-street-small"
#: The StyleGAN2, which no one flagged units of: how many z and scenes of each sample, the worst units that are taken,
#: images of each sample of its repair.
STYLED, STYLED_COUNT, STYLED_WORST, STYLED_KEPT = "stylegan2-street-watermark", 1000, 8, 100
FLAGS = DOCS / "experiments_artifacts" / "flags.json"
PAIRS = 40


class Enlarging:
    """A segmentation network that sees small images in [-1, 1] at the size that it was trained with."""

    def __init__(self) -> None:
        self._network = segmenter()
        self.concepts = self._network.concepts

    def __call__(self, images: Tensor) -> Tensor:
        """Its planes."""
        return self._network(as_seen(in_bytes(images)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and writes the page."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/artifacts"), help="folder for what takes long")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    measured, street = Measured(options.work), generator()
    found: dict[str, Any] = {"samples": SAMPLES, "real": REAL, "fewer": FEWER_REAL, "kept": KEPT, "small": SMALL}
    top = partial(dissect.dissect, street, LAYER, z_of(street, FLAGGED), segment="output", top_images=10)
    looked = measured("flagging", dissect.Dissection, top)
    write_flagging(looked, options.work)
    found |= {"styled": _styled(measured), "styled count": STYLED_COUNT, "styled kept": STYLED_KEPT}
    found["flags"] = flags = generators.read_flags(FLAGS)
    found |= _distances(measured, street)
    found["repair"] = _repair(measured, street, found["units"], flags)
    found |= _unrealistic(measured)
    found["trainings"] = [_training(measured, name) for name in TRAININGS]
    found["sheet"], found["trees"] = _sheet(measured, street)
    out = folder(options.out, "experiments_artifacts")
    _draw(found, street, looked, out)
    write_pairs(_pairs(street, found["repair"]), options.work, seed=0)
    (options.out / "experiments_artifacts.md").write_text(page(found, measured.seconds("*") / 60))


def z_of(model: Any, seed: int, count: int = 0) -> Tensor:
    """The z of a sample."""
    return dissect.latents(model, count or SAMPLES[seed], seed=seed)


def scenes(size: int, split: str = "train", count: int = 0) -> Any:
    """Real scenes of the street, images alone."""
    return Subset(TinyScenes(split, size, family="street"), range(count or REAL))


def _distances(measured: Measured, street: Any) -> dict[str, Any]:
    def score(network: Any) -> generators.ArtifactUnits:
        z = z_of(street, SCORED)
        return generators.artifact_units(street, LAYER, z, scenes(64), features=network, draws=10)

    kind = generators.ArtifactUnits
    first = measured("units", kind, partial(score, features))
    return {"units": first, "second": measured("units-segmenter", kind, partial(score, segmenter_features))}


def _repair(measured: Measured, street: Any, units: Any, flags: Any) -> Any:
    worst = units.worst(len(flags))
    sets = {"flagged": flags, "worst": worst, "both": sorted({*flags, *worst})}
    z = z_of(street, REPAIRED)
    options = {"features": features, "count": KEPT, "draws": 3}
    real = scenes(64, count=FEWER_REAL)
    measure = partial(generators.artifact_repair, street, LAYER, sets, z, real, **options)
    return measured("repair", generators.ArtifactRepair, measure)


def _styled(measured: Measured) -> tuple[Any, Any, Any]:
    """Distances of the StyleGAN2's units by both networks' features, and its repair without the worst."""
    model = generator(STYLED)
    real = Subset(TinyScenes("train", 64, family="street", watermark=True), range(STYLED_COUNT))

    def z(seed: int) -> tuple[Tensor, Tensor]:
        return z_of(model, seed, STYLED_COUNT), dissect.noise_seeds(STYLED_COUNT, seed)

    def score(network: Any) -> generators.ArtifactUnits:
        return generators.artifact_units(model, LAYER, z(SCORED), real, features=network, draws=10)

    units, second = (
        measured(f"styled-{name}", generators.ArtifactUnits, partial(score, network))
        for name, network in (("units", features), ("segmenter", segmenter_features))
    )
    sets = {"worst": units.worst(STYLED_WORST)}
    options: Any = {"features": features, "count": STYLED_KEPT, "draws": 3}
    measure = partial(generators.artifact_repair, model, LAYER, sets, z(REPAIRED), real, **options)
    return units, second, measured("styled-repair", generators.ArtifactRepair, measure)


def _unrealistic(measured: Measured) -> dict[str, Any]:
    """The small WGAN-GP, dissected with and without its least realistic quarter of units."""
    model, network = generator(WGAN), Enlarging()
    options: Any = {"segmenter": network, "segment": "output", "decoys": 0, "resamples": 0}
    z = dissect.latents(model, SMALL, seed=FLAGGED)
    d = measured("wgan", dissect.Dissection, partial(dissect.dissect, model, SMALL_LAYER, z, **options))
    z = dissect.latents(model, SMALL, seed=SCORED)
    score = partial(generators.artifact_units, model, SMALL_LAYER, z, scenes(32, count=SMALL), features=features)
    units = measured("wgan-units", generators.ArtifactUnits, score)
    limit = float(units.distances.quantile(0.75))
    return {"wgan": d, "wgan-units": units, "limit": limit, "withheld": units.withhold(d, limit)}


class Training(dissect.files.results.Result):
    """A small generator: how far its images' patches are from those of scenes, and how many units match a class."""

    kind, suffix = "training", ".training"

    def __init__(self, figures: dict[str, Any]) -> None:
        self.figures = figures

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        return {}, {"figures": self.figures}

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Training:
        """See `Result`."""
        return cls(meta["figures"])


def _training(measured: Measured, name: str) -> dict[str, Any]:
    def measure() -> Training:
        model = generator(name)
        real, held, made = (_floats(each) for each in (_bytes("train"), _bytes("val"), sampled(model, SMALL, FLAGGED)))
        figures: dict[str, Any] = {"name": NAMES[name], "units": dissected(model, segmenter(), SMALL // 2).cells()}
        for key, images in (("distance", made), ("floor", held)):
            levels = zip(pyramid_patches(real, count=32).items(), pyramid_patches(images, count=32).values())
            figures[key] = {str(side): 1000 * sliced_wasserstein(one, other) for (side, one), other in levels}
        return Training(figures)

    return measured(name, Training, measure).figures


def _bytes(split: str) -> Tensor:
    return torch.stack([image for image, _ in scenes(32, split, SMALL)]).mul(255).round().byte()


def _floats(images: Tensor) -> Tensor:
    return images.float() / 127.5 - 1


def _sheet(measured: Measured, street: Any) -> Any:
    network, z = segmenter(signed=True), z_of(street, SHEETS)
    options: Any = {"segmenter": network, "segment": "output", "decoys": 0, "resamples": 0}
    d = measured("sheets", dissect.Dissection, partial(dissect.dissect, street, LAYER, z, **options))
    trees = generators.units_by_iou(d, LAYER, "object/tree")[:20].tolist()
    more: Any = {"segmenter": network, "concept": "object/tree"}
    return measured(
        "sheet", dissect.UnitSheet, partial(dissect.unit_sheet, street, d, LAYER, trees[0], z, **more)
    ), trees


def _pairs(street: Any, repair: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Pictures of the first maximising z, as they are and without the flagged and without as many random units."""
    z = z_of(street, REPAIRED)[repair.chosen[0][:PAIRS]]
    own = in_bytes(_made(street, z, ()))
    sets = {"flagged": repair.sets[0], "random": repair.sets[repair.names.index("random")]}
    return {name: (own, in_bytes(_made(street, z, units))) for name, units in sets.items()}


def _made(model: Any, z: Tensor, units: Sequence[int]) -> Tensor:
    with torch.no_grad():
        if not units:
            return model(z)
        with dissect.ablate(model, LAYER, units=units):
            return model(z)


def _draw(found: dict[str, Any], street: Any, looked: dissect.Dissection, out: Path) -> None:
    """Draws the pictures."""
    flags, repair = found["flags"], found["repair"]
    plots.save(found["units"].plot(flags), out / "distances.png")
    plots.save(repair.plot(), out / "repair.png")
    plots.save(found["sheet"].plot(), out / "sheet.png")
    layer = looked[LAYER]
    rows = [
        [plots.lit(looked.image(int(number)) / 255, mask) for number, mask in zip(layer.peak_images[unit][:8], masks)]
        for unit in flags
        for masks in [layer.masks(unit)]
    ]
    _tiles(rows, [f"unit {unit}" for unit in flags], out / "flagged.png")
    z = z_of(street, REPAIRED)[repair.chosen[0][:: max(1, len(repair.chosen[0]) // 8)][:8]]
    sets = [(), *(repair.sets[repair.names.index(name)] for name in ("flagged", "worst", "random"))]
    pictures = [[image / 255 for image in in_bytes(_made(street, z, units))] for units in sets]
    _tiles(pictures, ["as generated", "flagged", "worst", "random"], out / "repaired.png")


def _tiles(rows: Any, titles: Sequence[str], path: Path) -> None:
    with plots.drawing():
        figure = plots.new_figure(8.0, 1.15 * len(rows))
        plots.tiles(figure, rows, titles)
    plots.save(figure, path)


if __name__ == "__main__":
    main()
