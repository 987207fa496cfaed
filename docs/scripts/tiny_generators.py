"""Judges trained generators of scenes, and writes docs/generators.md with its pictures.

python docs/scripts/tiny_generators.py --weights DIR [--count N] [--names NAME ...]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pages import DOCS, command_line, folder, table
from scipy.stats import binomtest
from tiny_pictures import enlarged, tile_sheet
from torch import Tensor

from dissect.files.tensors import load_tensors
from dissect.segmentation import Segmenter
from dissect.stats import frechet_distance
from dissect.tiny import TinyScenes
from dissect.tiny.judge import (
    STAMP_CORRELATION,
    WINDOW,
    features,
    light_rules,
    nearest,
    sampled,
    segmenter_features,
    there,
    watermarks,
)
from dissect.tiny.networks import SEGMENTER_SEEDS, load_generator, load_segmenter
from dissect.tiny.training.recipes import Recipe
from dissect.tiny.weight_files import FORMAT
from dissect.tiny.world.stamp import STAMPS

FOLDER = "generators"
INTRO = """\
How near are they to the scenes? By the Frechet distance of the tiny classifier's features (`dissect.tiny.judge`), and
of a segmentation network's, since a feature critic (`dissect.tiny.training.feature_critic`), where one took part in the
training, looked through the classifier and flatters the former; by what both segmentation networks find in them; and by
eye: an author said in which of the images shown he would recognise a thing (generators/verdicts.json). Did they learn
how light falls? In the scenes the sun's reflection lies on water under a sun and hardly anywhere else, and the ground
glows before lit windows (those with warm panes) and nowhere else. In brackets 95 % intervals (Wilson).
"""
#: Of earlier runs, whose weights are not kept.
TRIED = """\
## How the recipes were found

Single runs, by the Frechet distance of the classifier's features; two runs differ by about 10.

- StyleGAN2, weight of R1: at 379,000 images the distance was 266 with 0.1 (ADA's rule gives 0.05), where the
  discriminator ran away. 20,000 images later it was 240 with 0.8, and 22,000 images after that 244 with 0.8 and 231
  with 3. It stayed near 240 up to 630,000.
- StyleGAN2, feature critic: 30,000 images later it was 226 with R1 1 alone, and 210 with a feature critic too, which
  went on to 136 after 330,000.
- StyleGAN2, units: the discriminator easily told images from scenes then, held-out ones too. The generator got more
  units where they cost little: 128 instead of 48 at 32x32, 64 instead of 24 at 64x64 (62 images/s on two threads
  instead of 71). 436,000 images later, with rates going down over the last 100,000, the distance by a segmentation
  network's features was 0.12 instead of 0.21, and doors were there. This was not compared with going on without.
- ProGAN, feature critic: with a discriminator that started anew at 600,000 images, the distance went from 168 to 227
  in 50,000 images without a feature critic, and from 152 to 131 in 35,000 with one (both with R1 0.5). That one went
  on, with its units doubled, to 120 at 1,100,000.
- ProGAN, rates: where they then went to zero until 1,220,000, the discriminator won, and the distance was 140.
"""
#: Where the networks were trained whose files do not say it yet.
EARLIER = "one or two cores of an AMD EPYC"
COLUMNS, ROWS, ENLARGED = 10, 6, 2
#: What a person must recognise, and how many pixels of it count.
RECOGNISED = (("object", "tree", 60), ("object", "house", 60), ("part", "window", WINDOW), ("part", "door", WINDOW))


@dataclass(frozen=True)
class Shown:
    """Of how many images in which something is there, how many show something else."""

    with_it: int
    of: int

    def __str__(self) -> str:
        if not self.of:
            return "none of 0"
        low, high = binomtest(self.with_it, self.of).proportion_ci(method="wilson")
        return f"{self.with_it / self.of:.0%} of {self.of} ({low:.0%} to {high:.0%})"


def scenes(recipe: Recipe, split: str, count: int) -> TinyScenes:
    """The scenes that a recipe's generator imitates."""
    return TinyScenes(split, recipe.resolution, count, family=recipe.family, watermark=recipe.watermark)


def drawn(data: TinyScenes) -> tuple[Tensor, Tensor]:
    """All images uint8 [N, 3, R, R] and planes int16 [N, 7, R, R]."""
    items = [data.raw(index) for index in range(len(data))]
    return torch.from_numpy(np.stack([image for image, _ in items])), torch.from_numpy(np.stack([p for _, p in items]))


@torch.inference_mode()
def segmented(network: Segmenter, images: Tensor) -> Tensor:
    """Planes int16 [N, 4, R, R] of images uint8."""
    return torch.cat([network(chunk.float() / 255) for chunk in images.split(64)])


def recognised(planes: Tensor) -> Iterator[tuple[str, Shown]]:
    """How many of the images show what a person must recognise in them."""
    for category, name, pixels in RECOGNISED:
        found = there(planes, category, name, pixels)
        yield f"all images: a {name}", Shown(int(found.sum()), len(found))


def stamped(real: Tensor, made: Tensor) -> list[str]:
    """A table of how many images carry a watermark."""
    found = [(watermarks(images) > STAMP_CORRELATION).sum(0).tolist() for images in (real, made)]
    rows = (
        [text, *(Shown(each[place], len(images)) for each, images in zip(found, (real, made), strict=True))]
        for place, text in enumerate(STAMPS)
    )
    return ["", table(("watermark", "held-out scenes", "generated"), rows).rstrip()]


def digest(path: Path) -> str:
    """Of a file of weights; verdicts say by it whose images they are of."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def by_eye(weights: Path) -> list[str]:
    """What was recognised in the sheet, as it was written down when it was looked at."""
    path, name = DOCS / FOLDER / "verdicts.json", weights.stem
    verdicts = json.loads(path.read_text()) if path.exists() else {}
    if name not in verdicts or verdicts[name]["weights"] != digest(weights):
        return [f"Not judged by eye yet (weights {digest(weights)})."]
    seen = verdicts[name]["recognised"]
    return [
        table(
            (f"of the {COLUMNS * ROWS} images shown: how many show, to the eye, ...", ""),
            ((f"a {thing}", len(images)) for thing, images in seen.items()),
        ),
        verdicts[name]["remarks"],
    ]  # fmt: skip


def tiles(images: Tensor) -> list[np.ndarray]:
    """Images as arrays, large enough to look at."""
    return [enlarged(image, ENLARGED) for image in images.numpy()]


def random_sheet(path: Path, shown: list[np.ndarray]) -> None:
    """Writes the picture of a generator's first images."""
    rows = [shown[start : start + COLUMNS] for start in range(0, len(shown), COLUMNS)]
    captions = [f"z {start} to {start + COLUMNS - 1}" for start in range(0, len(shown), COLUMNS)]
    tile_sheet(rows, captions).save(path, optimize=True)


def sheets(weights: Path, made: Tensor, recipe: Recipe, out: Path) -> list[str]:
    """Writes the random sheet and the nearest training images; returns lines for the page."""
    name = weights.stem
    random_sheet(out / f"{name}.png", tiles(made[: COLUMNS * ROWS]))
    training = drawn(scenes(recipe, "train", recipe.scenes))[0]
    places, every = nearest(made[:200], training.numpy())
    held = drawn(scenes(recipe, "val", 200))[0]
    usual = nearest(held, training.numpy())[1]
    pair = [tiles(made[:COLUMNS]), tiles(training[places[:COLUMNS]])]
    tile_sheet(pair, ["generated", "the nearest training image, in pixels"]).save(out / f"{name}-nearest.png")
    return [
        f"![{name}](generators/{name}.png)", "",
        f"The first {COLUMNS * ROWS} images of z set 1, none left out.", "",
        *by_eye(weights), "",
        f"![nearest](generators/{name}-nearest.png)", "",
        f"Distance to the nearest of {len(training)} training images (root mean square, of 255), median over 200: "
        f"generated {every.median():.1f}, held-out scenes {usual.median():.1f}. "
        f"The smallest of a generated image is {every.min():.1f}; a copy would have 0.",
    ]  # fmt: skip


def distances(sets: dict[str, Tensor], real: Tensor) -> list[str]:
    """A table of Frechet distances to the real images, by the features of two networks."""
    what = f"{len(real):,} images against {len(real):,} held-out scenes: Frechet distance by the features of ..."
    rows = []
    seen = (features, segmenter_features)
    wanted = [network(real) for network in seen]
    for name, images in sets.items():
        found = (frechet_distance(network(images), by) for network, by in zip(seen, wanted, strict=True))
        rows.append([name, *(f"{distance:.2f}" for distance in found)])
    return [table((what, "the classifier", "segmentation network 0"), rows).rstrip()]


def judged(path: Path, count: int, networks: dict[int, Segmenter], out: Path) -> list[str]:
    """The page's section on one generator."""
    about = load_tensors(path, *FORMAT)[1]
    recipe, model = Recipe.of(about["recipe"]), load_generator(path)
    made = sampled(model, count)
    real, planes = drawn(scenes(recipe, "val", count))
    other = drawn(scenes(recipe, "train", count))[0]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    lines = [
        f"## {path.stem}", "",
        f"{about['architecture']}, {recipe.family} scenes{' with watermarks' if recipe.watermark else ''}, "
        f"{recipe.resolution}x{recipe.resolution}, {parameters / 1e6:.2f} M parameters, units {recipe.channels}; "
        f"{about['images']:,} of the recipe's {recipe.images:,} images shown, in {about['minutes']:.0f} minutes on "
        f"{about.get('machine', EARLIER)}, beside other work.{about.get('history', '')}", "",
        *sheets(path, made, recipe, out), "",
        *distances({"generated": made, "training scenes": other}, real), "",
    ]  # fmt: skip
    columns = {"held-out scenes, true labels": (planes, real)}
    for seed, network in networks.items():
        columns[f"held-out scenes, network {seed}"] = segmented(network, real), real
        columns[f"generated, network {seed}"] = segmented(network, made), made
    results = {
        name: {**dict(recognised(seen)), **{rule: Shown(*counts) for rule, counts in light_rules(seen, of).items()}}
        for name, (seen, of) in columns.items()
    }
    rules = list(next(iter(results.values())))
    rows = ([rule, *(result[rule] for result in results.values())] for rule in rules)
    lines.append(table(["of ...: how many show ...", *results], rows).rstrip())
    if recipe.watermark:
        lines += stamped(real, made)
    return [*lines, ""]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line("Judge the generators of scenes.")
    parser.add_argument("--count", type=int, default=2000, help="images of each kind (default 2000)")
    parser.add_argument("--weights", type=Path, required=True, help="folder of what was trained")
    parser.add_argument("--names", nargs="+", default=["progan-street", "stylegan2-street-watermark"])
    options = parser.parse_args(arguments)
    out = folder(options.out, FOLDER)
    networks = {seed: load_segmenter(options.weights / f"segmenter-{seed}.safetensors") for seed in SEGMENTER_SEEDS}
    text = ["# Generators of scenes", "", "Written by `docs/scripts/tiny_generators.py`.", "", INTRO.strip()]
    for name in options.names:
        text += ["", *judged(options.weights / f"{name}.safetensors", options.count, networks, out)]
    text += ["", TRIED]
    (options.out / "generators.md").write_text("\n".join(text).rstrip() + "\n")


if __name__ == "__main__":
    main()
