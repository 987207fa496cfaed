"""Measures the scenes and the classifier of `dissect.tiny`, and writes docs/tiny.md with its pictures.

python docs/scripts/tiny_world.py --check [--count N]    prints every limit that the scenes must keep to
python docs/scripts/tiny_world.py [--count N]            writes docs/tiny.md and docs/tiny/*.png
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tiny_pictures
import torch
from pages import command_line, folder
from PIL import Image
from tiny_page import Result, page
from tqdm import tqdm

from dissect.files.tensors import load_tensors
from dissect.plots import save
from dissect.table import Table
from dissect.tiny import TinyScenes, vgg
from dissect.tiny.networks import FOLDER
from dissect.tiny.survey import Survey, limits, survey
from dissect.tiny.weight_files import FORMAT
from dissect.tiny.world.vocabulary import FAMILIES

TWINS = (1, 2)
#: Of the validation scenes, how many the classifier is asked about; None: all.
TESTED: int | None = None
CANDIDATES = 400


def measured(count: int) -> tuple[Survey, Survey, Table]:
    """Surveys of `count` training scenes and a third as many validation scenes, and the limits."""
    train = survey(TinyScenes("train", count=count), progress=True)
    val = survey(TinyScenes("val", count=count // 3), progress=True)
    return train, val, limits(train, val)


def show(rows: Table) -> None:
    """Prints every limit, its figure, whether it is met, and the worst cases."""
    width = max(len(row.figure) for row in rows)
    for row in rows:
        print(f"{row.figure:{width}} | {row.value:8.3f} | {row.bound:8} | {'yes' if row.met else 'NO'}")
        if row.worst:
            print(f"    {row.worst}")


@torch.inference_mode()
def classified() -> Result:
    """The shipped network's answers for all validation scenes, as shares of each class, in the families' order."""
    _, about = load_tensors(FOLDER / "vgg.safetensors", *FORMAT)
    log = [json.loads(line) for line in (FOLDER / "vgg.log").read_text().splitlines()]
    scenes = TinyScenes("val", about["size"], TESTED, target="class")
    counts = np.zeros((len(scenes.classes),) * 2)
    model = vgg()
    for images, numbers in tqdm(torch.utils.data.DataLoader(scenes, batch_size=64), desc="classifying", disable=None):
        np.add.at(counts, (numbers.numpy(), model(images).argmax(1).numpy()), 1)
    names = tuple(name for family in FAMILIES.values() for name in family)
    order = [scenes.classes.index(name) for name in names]
    shares = counts / counts.sum(1, keepdims=True)
    return Result(about, log, shares[np.ix_(order, order)], names)


def varied(val: Survey, category: str) -> list[int]:
    """A few scenes that together show many concepts of a category: each adds the most to those before it.

    Of two that add as many, the one that adds more concepts of the other categories.
    """
    shown = val.areas[:CANDIDATES] > 0.004 * val.scenes.size**2
    worth = np.full(shown.shape[1], 1e-3)
    worth[val.labels(category)] = 1
    chosen: list[int] = []
    for _ in range(tiny_pictures.PLANE_COLUMNS):
        gains = (shown & ~shown[chosen].any(0)) @ worth
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
    return chosen


def watermarked(count: int) -> list[np.ndarray]:
    """The first watermarked scenes."""
    plain, marked = TinyScenes("val"), TinyScenes("val", watermark=True)
    found = (marked.raw(index)[0] for index in range(len(plain)) if (plain.raw(index)[0] != marked.raw(index)[0]).any())
    return [next(found) for _ in range(count)]


def restyled(indices: Sequence[int]) -> Image.Image:
    """Scenes above their restyled twins."""
    styles = (None, *TWINS)
    rows = [[TinyScenes("val", restyle=style).raw(index)[0] for index in indices] for style in styles]
    return tiny_pictures.tile_sheet(rows, ["as they are", *(f"restyle={style}" for style in TWINS)])


def draw(val: Survey, result: Result, out: Path) -> None:
    """Writes all pictures."""
    scenes = TinyScenes("val")
    for family, names in FAMILIES.items():
        tiny_pictures.class_sheet(scenes, names).save(out / f"{family}.png", optimize=True)
    large = TinyScenes("val", tiny_pictures.PLANE_SIDE)
    for category in dict.fromkeys(scenes.planes):
        sheet = tiny_pictures.plane_sheet(large, category, varied(val, category))
        sheet.save(out / f"planes-{category}.png", optimize=True)
    restyled(range(0, len(scenes.classes), 6)).save(out / "restyled.png", optimize=True)
    marks = watermarked(7)
    tiny_pictures.tile_sheet([marks], ["watermark=True"]).save(out / "watermarks.png", optimize=True)
    save(tiny_pictures.confusion_chart(result.shares, result.names), out / "confusion.png")
    save(tiny_pictures.training_chart(result.log), out / "training.png")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--check", action="store_true", help="only print the limits; exit status 1 if one is not met")
    parser.add_argument("--count", type=int, default=6000, help="training scenes to measure (default 6000)")
    parser.add_argument("--machine", default=platform.processor() or platform.machine(), help="its name, for the page")
    options = parser.parse_args(arguments)
    train, val, rows = measured(options.count)
    show(rows)
    if options.check:
        sys.exit(not all(row.met for row in rows))
    result = classified()
    draw(val, result, folder(options.out, "tiny"))
    (options.out / "tiny.md").write_text(page(train, val, rows, result, FAMILIES, options.machine))


if __name__ == "__main__":
    main()
