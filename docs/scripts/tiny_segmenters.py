"""Judges trained segmentation networks, and writes docs/segmenters.md with its pictures.

python docs/scripts/tiny_segmenters.py --weights DIR --scenes DIR --generator PATH

DIR of the scenes is where `dissect.tiny.train_segmenter` left its held-out ones. What was seen by eye is read from
docs/segmenters/verdicts.json; without that file the page has only the sheets to judge.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pages import DOCS, command_line, folder, table
from tiny_generators import EARLIER, Shown, digest, segmented
from tiny_pictures import enlarged, plane_picture, swatches, tile_sheet
from torch import Tensor

from dissect.files.tensors import load_tensors
from dissect.segmentation import Segmenter
from dissect.tiny import TinyScenes
from dissect.tiny.judge import sampled
from dissect.tiny.networks import SEGMENTER_SEEDS, load_generator, load_segmenter
from dissect.tiny.train_segmenter import degraded, ious, rendered
from dissect.tiny.weight_files import FORMAT

FOLDER = "segmenters"
JUDGED, COLUMNS, ENLARGED = 50, 10, 2
#: Images that both networks label.
COMPARED = 500
#: Seed of the z of the judged images; other pages show seed 1.
Z_SEED = 2
VERDICTS = ("right", "partly", "wrong")
TITLES = {0: "objects", 1: "parts", 2: "parts inside others", 3: "materials"}

INTRO = """\
# Segmentation networks of the scenes

Written by `docs/scripts/tiny_segmenters.py`.

`python -m dissect.tiny.train_segmenter` trains a small U-Net that gives four label planes of an image: objects, parts,
parts inside others (or in none), materials. Two of them, from two seeds, tell how much of a finding is the network's.
They are trained on scenes of all families, a quarter of them blurred, a quarter made noisy, a quarter made smaller and
larger again, as generators would give them.
"""


def means(table: dict[str, float]) -> dict[str, tuple[float, int]]:
    """Mean IoU and number of concepts by category, parts inside others apart."""
    by_category = defaultdict(list)
    for name, value in table.items():
        by_category[name.split("/")[0]].append(value)
    return {name: (float(np.mean(values)), len(values)) for name, values in by_category.items()}


def agreement(networks: list[Segmenter], images: Tensor) -> list[float]:
    """Of each plane, the share of pixels to which both networks give the same label."""
    one, other = (segmented(network, images) for network in networks)
    return (one == other).float().mean((0, 2, 3)).tolist()


def spoiled(images: np.ndarray) -> np.ndarray:
    """Images uint8 as the training spoils them, each by its number."""
    parts = [
        degraded(torch.tensor(image[None]).float() / 255, torch.Generator().manual_seed(number))
        for number, image in enumerate(images)
    ]
    return torch.cat(parts).mul(255).round().byte().numpy()


def sheets(networks: list[Segmenter], images: Tensor, out: Path) -> None:
    """The judged images with the objects, and with the parts, that both networks see; ten images to a picture."""
    scenes = TinyScenes("val", 64, 1)
    for plane, category in ((0, "object"), (1, "part")):
        colors = swatches(scenes, category)
        seen = [segmented(network, images)[:, plane].numpy() for network in networks]
        for start in range(0, len(images), COLUMNS):
            here = range(start, min(start + COLUMNS, len(images)))
            rows = [[enlarged(images[i].numpy(), ENLARGED) for i in here]]
            for labels in seen:
                tiles = [plane_picture(enlarged(labels[i][None], ENLARGED)[0], colors, scenes) for i in here]
                rows.append([np.asarray(tile).transpose(2, 0, 1) for tile in tiles])
            captions = [
                f"images {start} to {here[-1]}",
                *(f"{TITLES[plane]}, network {seed}" for seed in SEGMENTER_SEEDS),
            ]
            tile_sheet(rows, captions).save(out / f"{category}-{start:02}.png", optimize=True)


def tables(weights: Path, scenes: Path, networks: list[Segmenter]) -> list[str]:
    """Mean IoUs by category, then of every concept."""
    images, places = rendered("val", scenes)
    worse = spoiled(images)
    columns, lines = {}, []
    for seed, network in zip(SEGMENTER_SEEDS, networks, strict=True):
        about = load_tensors(weights / f"segmenter-{seed}.safetensors", *FORMAT)[1]
        where = about.get("machine", EARLIER)
        lines.append(f"Network {seed}: {about['images']:,} images in {about['minutes']:.0f} minutes on {where}.")
        columns[f"network {seed}"] = about["iou"]
        columns[f"network {seed}, spoiled"] = ious(network.network, worse, places)
    lines += ["", f"IoU on {len(images):,} held-out scenes, as they are and spoiled as in training:", ""]
    averages = [means(column) for column in columns.values()]
    by_category = (
        [name, count, *(f"{each[name][0]:.3f}" for each in averages)] for name, (_, count) in averages[0].items()
    )
    lines.append(table(["mean IoU", "concepts", *columns], by_category))
    every = (
        [name, *(f"{column.get(name, 0):.3f}" for column in columns.values())] for name in next(iter(columns.values()))
    )
    return [*lines, "<details><summary>Every concept</summary>", "", table(["concept", *columns], every), "</details>"]


def by_eye(generator: Path) -> list[str]:
    """What was written down when the sheets were judged, and how often each verdict was given."""
    path = DOCS / FOLDER / "verdicts.json"
    judged = json.loads(path.read_text()) if path.exists() else {"weights": None}
    if judged["weights"] != digest(generator):
        return [f"Not judged by eye yet (weights {digest(generator)})."]
    count = len(judged["images"])
    networks = ("network 0", "network 1")
    given = (
        [verdict, *(Shown(sum(row[str(s)] == verdict for row in judged["images"]), count) for s in SEGMENTER_SEEDS)]
        for verdict in VERDICTS
    )
    every = ([row[name] for name in ("image", "0", "1", "seen")] for row in judged["images"])
    return [
        *judged["how"], "", table((f"objects of {count} generated images", *networks), given),
        "<details><summary>Every image</summary>", "", table(("image", *networks, "seen"), every), "</details>",
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line("Judge the segmentation networks of scenes.")
    parser.add_argument("--weights", type=Path, required=True, help="folder of segmenter-0 and segmenter-1.safetensors")
    parser.add_argument("--scenes", type=Path, required=True, help="folder of the held-out scenes of the training")
    parser.add_argument("--generator", type=Path, required=True, help="file of the generator whose images are judged")
    options = parser.parse_args(arguments)
    networks = [load_segmenter(options.weights / f"segmenter-{seed}.safetensors") for seed in SEGMENTER_SEEDS]
    model = load_generator(options.generator)
    sheets(networks, sampled(model, JUDGED, Z_SEED), folder(options.out, FOLDER))
    real = torch.tensor(rendered("val", options.scenes)[0][:COMPARED])
    made = sampled(model, COMPARED)
    lines = [INTRO, *tables(options.weights, options.scenes, networks), ""]
    lines += [
        "## Do they agree?",
        "",
        f"The share of pixels to which both give the same label, over {COMPARED} images:",
        "",
    ]
    sets = (("held-out scenes, all families", real), (f"generated by {options.generator.stem}", made))
    shares = ([name, *(f"{share:.1%}" for share in agreement(networks, images))] for name, images in sets)
    lines.append(table(["", *TITLES.values()], shares))
    lines += ["## By eye", "", *by_eye(options.generator), ""]
    for category in ("object", "part"):
        for start in range(0, JUDGED, COLUMNS):
            name = f"{category}-{start:02}.png"
            lines.append(f"![Images {start} to {start + COLUMNS - 1} and their {category}s](segmenters/{name})")
    (options.out / "segmenters.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
