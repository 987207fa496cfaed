"""Compares small generators trained in different ways, and one along its training; writes docs/generators_compared.md.

python docs/scripts/tiny_compared.py --trained DIR [--count N]

DIR is where `python -m dissect.tiny.train_gan` left weights, snapshots and rendered scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pages import command_line, folder, table
from tiny_generators import COLUMNS, FOLDER, ROWS, by_eye, drawn, random_sheet, scenes
from tiny_pictures import enlarged, tile_sheet
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from dissect.experiments import matching_units
from dissect.experiments.matching import FRACTIONS
from dissect.files.tensors import load_tensors
from dissect.models import latents
from dissect.segmentation import Segmenter
from dissect.stats import frechet_distance
from dissect.tiny import TinyScenes
from dissect.tiny.judge import BATCH, features, in_bytes, nearest, sampled, segmenter_features
from dissect.tiny.networks import load_generator, segmenter
from dissect.tiny.train_gan import images_of
from dissect.tiny.training.recipes import RECIPES, Recipe
from dissect.tiny.weight_files import FORMAT

INTRO = """\
Generators of 32x32 with units (96, 96, 96, 48), each trained once and briefly on 28,000 scenes (recipes:
`dissect.tiny.training.recipes`). The first three are Progressive GANs as in the thesis, Figure 4-7: a baseline, the
same with minibatch standard deviation in its discriminator, and that with pixel normalisation too; all with scaled
weights and the logistic loss. The next one is what the thesis calls WGAN-GP (Figure A-5): batch normalisation, not
grown, another loss, and a third of the images. The last one is the third again, of rooms. One training of each was
made, so that **differences say what these trainings gave, not what a method does.**
"""
NAMES = {
    "progan-street-small-baseline": "baseline",
    "progan-street-small-no-pixelnorm": "+ minibatch stddev",
    "progan-street-small": "+ pixel normalisation",
    "wgangp-street-small": "WGAN-GP",
    "progan-room-small": "rooms",
}
GROWING = "progan-room-small"
LAYER = "layer4"
#: What a match needs (thesis, Figure 4-5).
LEAST_IOU, LEAST_ACCURACY = 0.05, 0.75
CATEGORIES = ("object", "part", "material")
#: Rows and columns that the segmentation network was trained with, and sides of a tile.
SEEN, TILE = 64, 128
#: Images for which the nearest training image is looked for.
NEAREST = 200


@dataclass(frozen=True)
class Units:
    """How many units of a layer match a concept, by category; how many concepts they match; their mean IoU."""

    matching: dict[str, int]
    of: int
    concepts: dict[str, int]
    mean_iou: float

    def cells(self) -> list[str]:
        """For a table."""
        pairs = (f"{self.matching[each]} ({self.concepts[each]})" for each in CATEGORIES)
        return [f"{sum(self.matching.values())} of {self.of}", *pairs, f"{self.mean_iou:.3f}"]


def as_seen(images: Tensor) -> Tensor:
    """Images uint8 of any size as the segmentation network was trained to see them: float in [0, 1], 64x64."""
    return interpolate(images.float() / 255, size=(SEEN, SEEN), mode="bilinear", align_corners=False)


def dissected(model: Any, network: Segmenter, count: int) -> Units:
    """The layer's units against the concepts that the segmentation network sees in images of z set 1."""
    found = matching_units(
        model,
        LAYER,
        latents(model, count, 1),
        lambda images: network(as_seen(in_bytes(images))),
        network.concepts,
        categories=CATEGORIES,
        least_iou=LEAST_IOU,
        least_accuracy=LEAST_ACCURACY,
        batch_size=BATCH,
    )
    matches = [(network.concepts.categories[label], label) for label in found.labels.tolist() if label]
    matching = {each: sum(category == each for category, _ in matches) for each in CATEGORIES}
    concepts = {each: len({label for category, label in matches if category == each}) for each in CATEGORIES}
    return Units(matching, len(found.labels), concepts, float(found.iou[found.labels > 0].mean()) if matches else 0.0)


class Real:
    """Scenes of a recipe, those that the generators saw and held-out ones, and what networks make of the latter."""

    def __init__(self, recipe: Recipe, count: int, folder: Path) -> None:
        self.held = drawn(scenes(recipe, "val", count))[0]
        self.training = torch.tensor(images_of(recipe, folder))
        self.wanted = features(self.held), segmenter_features(as_uint8(self.held))
        self.labels = drawn(TinyScenes("val", SEEN, count, family=recipe.family))[1][:, 0]

    def distances(self, images: Tensor) -> list[str]:
        """Frechet distances of images to them, by the classifier's and the segmentation network's features."""
        found = features(images), segmenter_features(as_uint8(images))
        return [f"{frechet_distance(ours, real):.2f}" for ours, real in zip(found, self.wanted, strict=True)]

    def right(self, network: Segmenter) -> float:
        """The share of the held-out scenes' pixels whose object a segmentation network names right."""
        parts = zip(self.held.split(BATCH), self.labels.split(BATCH), strict=True)
        return sum(int((network(as_seen(few))[:, 0] == labels).sum()) for few, labels in parts) / self.labels.numel()

    def nearness(self, images: Tensor) -> list[str]:
        """Of 255: how far the nearest training image is, in the median and at least."""
        every = nearest(images[:NEAREST], self.training.numpy())[1]
        return [f"{every.median():.1f}", f"{every.min():.1f}"]


def as_uint8(images: Tensor) -> Tensor:
    """As the segmentation network sees them, in bytes."""
    return as_seen(images).mul(255).round().byte()


def tiles(images: Tensor) -> list[np.ndarray]:
    """Images of any size, all as large."""
    return [enlarged(image, TILE // image.shape[-1]) for image in images.numpy()]


def sheet(path: Path, made: Tensor, out: Path) -> list[str]:
    """Writes the random sheet of a generator; returns its section of the page."""
    name, about = path.stem, load_tensors(path, *FORMAT)[1]
    random_sheet(out / f"{name}.png", tiles(made[: COLUMNS * ROWS]))
    return [
        "", f"## {NAMES[name]}", "",
        f"`{name}`, on {about['machine']}, beside other work; the first {COLUMNS * ROWS} images of z set 1.", "",
        f"![{name}](generators/{name}.png)", "", *by_eye(path),
    ]  # fmt: skip


def compared(weights: Path, count: int, network: Segmenter, real: dict[str, Real], out: Path) -> list[str]:
    """The tables, and a section on each generator."""
    heads = ("images", "minutes", "by the classifier", "by segmentation network 0", "nearest", "least")
    distances: list[list[str]] = []
    units: list[list[str]] = []
    sections: list[str] = []
    for family, its in real.items():
        cells = [*its.distances(its.training[:count]), its.nearness(its.held)[0], ""]
        distances.append([f"{family} scenes", "", "", *cells])
    for name, short in NAMES.items():
        path = weights / f"{name}.safetensors"
        about = load_tensors(path, *FORMAT)[1]
        its, model = real[about["recipe"]["family"]], load_generator(path)
        made = sampled(model, count)
        figures = [f"{about['images']:,}", f"{about['minutes']:.0f}", *its.distances(made), *its.nearness(made)]
        distances.append([short, *figures])
        units.append([short, *dissected(model, network, count).cells()])
        sections += sheet(path, made, out)
    right = " and ".join(f"{its.right(network):.0%} ({family})" for family, its in real.items())
    unit_heads = ("", "units that match", *(f"{each}s" for each in CATEGORIES), "mean IoU")
    return [table(("", *heads), distances), UNITS.format(right=right), table(unit_heads, units).rstrip(), *sections]


def grown(snapshots: Path, count: int, network: Segmenter, real: Real, out: Path) -> list[str]:
    """One training's images and units at several moments (thesis, appendix A.6)."""
    heads = (
        "images shown", "size", "by the classifier", "by segmentation network 0", "scenes of that size", "by network 0",
        "units that match", *(f"{each}s" for each in CATEGORIES), "mean IoU",
    )  # fmt: skip
    lines: list[list[str]] = []
    rows, captions = [], []
    as_small: dict[int, list[str]] = {}
    for path in sorted((snapshots / GROWING).glob("*.safetensors")):
        about, model = load_tensors(path, *FORMAT)[1], load_generator(path)
        made = sampled(model, count)
        size = f"{model.resolution}x{model.resolution}"
        stage, fade = Recipe.of(about["recipe"]).stage(about["images"])
        size += f", {stage}x{stage} {fade:.0%} faded in" if 0 < fade < 1 else ""
        if model.resolution not in as_small:
            smaller = avg_pool2d(real.training[:count].float(), real.training.shape[-1] // model.resolution)
            as_small[model.resolution] = real.distances(smaller.round().byte())
        distances = [*real.distances(made), *as_small[model.resolution]]
        lines.append([f"{about['images']:,}", size, *distances, *dissected(model, network, count).cells()])
        rows.append(tiles(made[:COLUMNS]))
        captions.append(f"{about['images']:,} images, {size}")
    tile_sheet(rows, captions).save(out / f"{GROWING}-growing.png", optimize=True)
    return [table(heads, lines), f"![growing](generators/{GROWING}-growing.png)"]


TABLE = """\
"Images" were shown in training; "minutes" go from beginning to end on one thread, other work and pauses included.
Frechet distances of {count:,} images to as many held-out scenes of the family, by the features of two networks (of
scenes: those of the training). "Nearest": the distance to the nearest of {training:,} training images, root mean square
of 255, in the median of 200 images and at least (a copy would have 0); of scenes: of held-out ones.
"""
UNITS = f"""\
Units of `{LAYER}` that match an object, part or material which segmentation network 0 sees in the images, enlarged to
the 64x64 that it was trained for; in brackets how many different ones. The threshold of a unit for a concept is, of
those at which it fires on {", ".join(f"{each:.1%}" for each in FRACTIONS)} of the pixels, the one that tells most about
the concept (Bau et al. 2019, equation 2), its concept the one about which it tells most, and it matches with an IoU
above {LEAST_IOU} and more than {LEAST_ACCURACY:.0%} of the pixels right (thesis, Figure 4-5). "Mean IoU" is of those
that match. So enlarged, the network names the object right in {{right}} of the pixels of held-out scenes.
"""
ALONG = """\
The training of rooms: the same z and the same measures at each snapshot, which has the size to which the generator had
grown. Some of what changes is the size's doing: beside the distances of its images are those of scenes made as small.
(`python -m dissect.tiny.train_gan {name} --out DIR` writes the snapshots; they do not come with the package.)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line("Compare small generators of scenes.")
    parser.add_argument("--count", type=int, default=1000, help="images of each kind (default 1000)")
    parser.add_argument("--trained", type=Path, required=True, help="folder of what was trained")
    options = parser.parse_args(arguments)
    trained, count, network, out = options.trained, options.count, segmenter(), folder(options.out, FOLDER)
    real = {
        family: Real(RECIPES[name], count, trained)
        for family, name in (("street", "progan-street-small"), ("room", GROWING))
    }
    text = [
        "# Generators compared", "", "Written by `docs/scripts/tiny_compared.py`.", "", INTRO,
        TABLE.format(count=count, training=len(real["room"].training)),
        *compared(trained, count, network, real, out), "", "## Along a training", "",
        ALONG.format(name=GROWING), *grown(trained / "snapshots", count, network, real["room"], out),
    ]  # fmt: skip
    (options.out / "generators_compared.md").write_text("\n".join(text).rstrip() + "\n")


if __name__ == "__main__":
    main()
