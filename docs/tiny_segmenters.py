"""Judges trained segmentation networks, and writes docs/segmenters.md with its pictures.

python docs/tiny_segmenters.py --weights DIR --scenes DIR --generator PATH

DIR of the scenes is where `dissect.tiny.train_segmenter` left its held-out ones. What was seen by eye is read from
docs/segmenters/verdicts.json; without that file the page has only the sheets to judge.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from tiny_generators import EARLIER, Shown, digest, segmented
from tiny_pictures import enlarged, plane_picture, swatches, tile_sheet
from torch import Tensor

from dissect.files.tensors import load_tensors
from dissect.segmentation import Segmenter
from dissect.tiny import TinyScenes
from dissect.tiny.judge import sampled
from dissect.tiny.networks import FORMAT, SEGMENTER_SEEDS, load_generator, load_segmenter
from dissect.tiny.train_segmenter import degraded, ious, rendered

HERE = Path(__file__).parent
FOLDER = HERE / "segmenters"
JUDGED, COLUMNS, ENLARGED = 50, 10, 2
#: Seed of the z of the judged images; other pages show seed 1.
Z_SEED = 2
VERDICTS = ("right", "partly", "wrong")
TITLES = {0: "objects", 1: "parts", 2: "parts inside others", 3: "materials"}

INTRO = """\
# Segmentation networks of the scenes

Written by `docs/tiny_segmenters.py`.

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


def sheets(networks: list[Segmenter], images: Tensor) -> None:
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
            tile_sheet(rows, captions).save(FOLDER / f"{category}-{start:02}.png", optimize=True)


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
    lines += ["| mean IoU | concepts | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for name, (_, count) in means(next(iter(columns.values()))).items():
        cells = " | ".join(f"{means(column)[name][0]:.3f}" for column in columns.values())
        lines.append(f"| {name} | {count} | {cells} |")
    lines += ["", "<details><summary>Every concept</summary>", ""]
    lines += ["| concept | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in next(iter(columns.values())):
        lines.append(f"| {name} | " + " | ".join(f"{column.get(name, 0):.3f}" for column in columns.values()) + " |")
    return [*lines, "", "</details>"]


def by_eye(generator: Path) -> list[str]:
    """What was written down when the sheets were judged, and how often each verdict was given."""
    path = FOLDER / "verdicts.json"
    judged = json.loads(path.read_text()) if path.exists() else {"weights": None}
    if judged["weights"] != digest(generator):
        return [f"Not judged by eye yet (weights {digest(generator)})."]
    count = len(judged["images"])
    lines = [*judged["how"], "", f"| objects of {count} generated images | network 0 | network 1 |", "|---|---|---|"]
    for verdict in VERDICTS:
        cells = []
        for seed in SEGMENTER_SEEDS:
            cells.append(str(Shown(sum(row[str(seed)] == verdict for row in judged["images"]), count)))
        lines.append(f"| {verdict} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "<details><summary>Every image</summary>",
        "",
        "| image | network 0 | network 1 | seen |",
        "|---|---|---|---|",
    ]
    lines += [f"| {row['image']} | {row['0']} | {row['1']} | {row['seen']} |" for row in judged["images"]]
    return [*lines, "", "</details>"]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Judge the segmentation networks of scenes.")
    parser.add_argument("--weights", type=Path, required=True, help="folder of segmenter-0 and segmenter-1.safetensors")
    parser.add_argument("--scenes", type=Path, required=True, help="folder of the held-out scenes of the training")
    parser.add_argument("--generator", type=Path, required=True, help="file of the generator whose images are judged")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    networks = [load_segmenter(arguments.weights / f"segmenter-{seed}.safetensors") for seed in SEGMENTER_SEEDS]
    model = load_generator(arguments.generator)
    sheets(networks, sampled(model, JUDGED, Z_SEED))
    real = torch.tensor(rendered("val", arguments.scenes)[0][:500])
    made = sampled(model, 500)
    lines = [INTRO, *tables(arguments.weights, arguments.scenes, networks), ""]
    lines += ["## Do they agree?", "", "The share of pixels to which both give the same label, over 500 images:", ""]
    lines += ["| | " + " | ".join(TITLES.values()) + " |", "|---" * (len(TITLES) + 1) + "|"]
    for name, images in (("held-out scenes, all families", real), (f"generated by {arguments.generator.stem}", made)):
        lines.append(f"| {name} | " + " | ".join(f"{share:.1%}" for share in agreement(networks, images)) + " |")
    lines += ["", "## By eye", "", *by_eye(arguments.generator), ""]
    for category in ("object", "part"):
        for start in range(0, JUDGED, COLUMNS):
            name = f"{category}-{start:02}.png"
            lines.append(f"![Images {start} to {start + COLUMNS - 1} and their {category}s](segmenters/{name})")
    (HERE / "segmenters.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
