"""Writes docs/rewriting_layers.md and its pictures: keys, values, and in which layers neighbours depend least.

``python docs/scripts/rewriting_layers.py --work build/rewriting_layers`` from the root of the sources.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import torch
from pages import command_line, folder, table
from torch import Tensor
from torch.nn.functional import avg_pool2d

import dissect
from dissect import plots, rewriting, tiny
from dissect.rewriting import Memory
from dissect.tiny import judge

GENERATORS = {"progan-street": "ProGAN", "stylegan2-street-watermark": "StyleGAN2"}
LAYERS, SIZES = tuple(f"layer{number}" for number in range(2, 11)), (1, 2, 4, 8)
#: Seed of z; images that patches are drawn of; images of the galleries, each cut into so many squares a side.
SEED, COUNT, SHOWN, SIDE = 1, 192, 6, 4
#: Of which classes a key is shown, in which layer, matched in how many images, of which so many are shown.
CLASSES = ("part/roof", "part/crown", "object/road", "object/sky")
KEYS_OF, MATCHED, BEST = "layer6", 192, 7


def inputs_of(model: Any, count: int) -> Any:
    """Z of a generator, with noise seeds where it takes some."""
    z = dissect.latents(model, count, SEED)
    return (z, dissect.noise_seeds(count, SEED)) if isinstance(model, dissect.models.StyleGAN2) else z


def some(inputs: Any, numbers: Any) -> Any:
    """Those of some images."""
    return tuple(part[numbers] for part in inputs) if isinstance(inputs, tuple) else inputs[numbers]


def images_of(model: Any, inputs: Any) -> Tensor:
    """Images in [0, 1]."""
    z, *noise = inputs if isinstance(inputs, tuple) else (inputs,)
    with torch.no_grad():
        made = model(z, noise=noise[0]) if noise else model(z)
    return (made + 1) / 2


def features(images: Tensor) -> Tensor:
    """What the tiny classifier sees in patches."""
    return judge.features(judge.in_bytes(images))


def mosaic(memory: Memory, inputs: Any) -> list[Tensor]:
    """Images put together of squares that were drawn alone."""
    side = memory.keys(some(inputs, slice(1))).maps.shape[2] // SIDE
    corners = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)) * side
    found = []
    for number in range(SHOWN):
        patches = rewriting.draw_patches(memory, some(inputs, [number] * SIDE**2), side, corners)
        rows = [torch.cat(list(row), 2) for row in patches.split(SIDE)]
        found.append((torch.cat(rows, 1) + 1) / 2)
    return found


def measured(out: Path, name: str) -> dict[str, Any]:
    """The distances of a generator's layers, and its gallery."""
    model, begin = tiny.generator(name), time.process_time()
    rows = rewriting.patch_distances(model, LAYERS, inputs_of(model, COUNT), features, SIZES, progress=False)
    print(name, *rows, sep="\n", flush=True)
    inputs = inputs_of(model, SHOWN)
    gallery = [list(images_of(model, inputs)), *(mosaic(Memory(model, layer), inputs) for layer in LAYERS)]
    with plots.drawing():
        figure = plots.new_figure(0.95 * SHOWN, 1.15 * len(gallery))
        plots.tiles(figure, gallery, ("whole", *LAYERS))
    plots.save(figure, out / f"{name}.png")
    return {"rows": [row._asdict() for row in rows], "seconds": time.process_time() - begin}


def part_of_image(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of squares that are smaller than the image."""
    return [row for row in rows if row["pixels"] < 64]


def charts(out: Path, found: dict[str, Any]) -> None:
    """Distances by layer, a line per size, for each generator."""
    with plots.drawing():
        figure = plots.new_figure(6.4, 2.9)
        for axes, (name, title) in zip(plots.panels(figure, 2, sharey=True), GENERATORS.items()):
            rows = part_of_image(found[name]["rows"])
            lines = {}
            for pixels in sorted({row["pixels"] for row in rows}):
                chosen = [row for row in rows if row["pixels"] == pixels]
                at = [LAYERS.index(row["layer"]) for row in chosen]
                lines[f"{pixels} pixels"] = plots.Curve(at, [row["distance"] for row in chosen])
            plots.curves(axes, lines, colors=(*plots.SHADES, *plots.OTHER_SHADES))
            axes.set_yscale("log")
            axes.minorticks_off()
            axes.set_yticks([3, 10, 30, 100, 300], ["3", "10", "30", "100", "300"])
            axes.set_xticks(range(len(LAYERS)), [layer.removeprefix("layer") for layer in LAYERS])
            plots.label(axes, "layer", "Frechet distance", title)
        plots.legend_above(figure, axes)
    plots.save(figure, out / "distances.png")


def filled(masks: Tensor, cell: int) -> tuple[int, int, int]:
    """An image, and a cell's row and column, around which a mask covers most: of the first such image."""
    share = avg_pool2d(masks[:, None].double(), 3 * cell, cell)[:, 0]
    image, row, column = (share == share.amax()).nonzero()[0].tolist()
    return image, row + 1, column + 1


def drawn_keys(out: Path) -> dict[str, Any]:
    """What some keys match, and what their values draw alone."""
    model, see, begin = tiny.generator(), tiny.segmenter(0, signed=True), time.process_time()
    z = inputs_of(model, MATCHED)
    memory = Memory(model, KEYS_OF)
    memory.second_moment(z, progress=False)
    images = torch.cat([images_of(model, part) for part in z.split(32)])
    planes = torch.cat([see(part * 2 - 1) for part in images.split(32)])
    rows, told = [], []
    for name in CLASSES:
        keys = memory.keys(z[:1]).maps
        cell = images.shape[2] // keys.shape[2]
        image, row, column = filled((planes == see.label(name)).any(1), cell)
        key = memory.keys(z[[image]]).maps[0, :, row, column][None]
        found = rewriting.matches(memory, z, memory.direction(key), BEST, progress=False)
        mask = torch.zeros(1, *keys.shape[2:])
        mask[0, row, column] = 1
        there = torch.zeros_like(images[0, 0])
        there[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = 1
        alone = (rewriting.draw_values(memory, z[[image]], mask)[0] + 1) / 2
        best = [plots.lit(images[number], where > found.level) for number, where in zip(found.images, found.maps)]
        rows.append([plots.lit(images[image], there > 0), alone, *best])
        told.append({"class": name, "image": image, "cell": [row, column], "best": found.images.tolist()})
    with plots.drawing():
        figure = plots.new_figure(0.75 * (BEST + 2), 0.98 * len(rows))
        plots.tiles(figure, rows, CLASSES)
    plots.save(figure, out / "keys.png")
    return {"keys": told, "seconds": time.process_time() - begin}


TEXT = Template(
    """# Layers as memories

Written by `docs/scripts/rewriting_layers.py`.

[Rewriting](rewriting.md) sees a layer as a memory of keys and values. That fits where a key says what is to be drawn at
its place, whatever its neighbours are. So what does a key match, what does its value draw alone, and in which layer do
neighbours depend least on each other? (Bau et al. 2020; thesis, Figure 6-2 and section B.7.)

```python
from dissect import rewriting

memory = rewriting.Memory(model, "layer6")
found = rewriting.matches(memory, z, memory.direction(key))  # which images, and where
alone = rewriting.draw_values(memory, z[:1], mask)  # all other values are 0
patches = rewriting.draw_patches(memory, z, 4, corners)  # the layer sees 4 by 4 keys, and nothing around them
rows = rewriting.patch_distances(model, ["layer4", "layer6"], z, features)  # far from patches of whole images?
```

## Keys and values

![keys](rewriting_layers/keys.png)

A row per key of `$keys_of` of `progan-street`: the key's cell, of the place that a segmentation network sees filled
most; what its value draws alone; the $best of $matched images of z set 1 that match its `C^-1 k` best, pale but where
the match is among the strongest 0.1 % of all places.

$seen_keys

Keys can also be kept by name: `memory.direction(keys, preserve=others)` gives directions with `D^T k = 0` for each of
the others, so that no edit along them changes what these draw.

## Which layer

Squares of keys at random places go through the layer and all that follows, with nothing around them. The Frechet
distance of what they draw from squares of whole images, of as many pixels at other random places, by the features of
the tiny classifier (enlarged to 128 pixels); one patch each of $count images of z set 1. Published are 50,000 patches
and Inception's features: distances here are larger for so few patches alone, which the last column shows, that of two
samples of squares of whole images.

![distances](rewriting_layers/distances.png)

$tables

![patches of ProGAN](rewriting_layers/progan-street.png)

![patches of StyleGAN2](rewriting_layers/stylegan2-street-watermark.png)

The first $shown images of z set 1, whole, and put together of $squares squares that were drawn alone, of 16 pixels each
(one key of `layer2`, 16 by 16 of `layer10`).

## What is seen

$seen

It took $seconds s of processor time on one thread of an AMD EPYC, beside other work.
"""
)

#: What the author saw in the pictures.
SEEN_KEYS = """\
The roof's key matches roofs, and the crown's the crowns of other trees, green or blue. The cell that the network is
surest to be road has a dash of its middle in it, and so its key matches these dashes. The sky's key matches the upper
sky, more often beside clouds than not. Alone, a value is a spot of a few pixels on the grey blue that a map of zeros
gives: brown red of the roof, white of the dash, dark of the sky, and of the crown nothing that one would call a
tree."""
SEEN = """\
*ProGAN*: of `layer2` only stripes of ground and sky are left. Of `layer3` there are trees and towers with wrong pieces
beside them, of `layer4` houses and water too, with moons and towers that the whole image does not have. From `layer6`
on all things are in their places, with seams. The distances
of 8 pixels a side are $eight. `layer6`, which
[the rules](rewriting.md) were changed in, has the lowest of $lowest.

*StyleGAN2*: what coarser layers have drawn is cut out with the keys, so that of `layer2`, before which there is none,
hardly more than the sky's colour is left. In `layer3` some trees stand alone already, in `layer4` all do, and buses
fall apart; `layer6` doubles a bus, in `layer7` it is one again, and from `layer8` on all is as in the whole image, but
for brighter corners of the squares. Of 16 pixels the distances are
$sixteen.

So it is as in the paper, where layers from 6 on (StyleGAN2) and from 4 on (ProGAN) are fit to be edited, only
somewhat later here. The smallest squares, of one key in ProGAN's `layer7` to `layer10` and StyleGAN2's `layer8` and
`layer10`, are further from whole images than squares of two: so few pixels see mostly the borders, and in ProGAN's
odd layers once more, by the next convolution at their size. Every distance is of one draw of patches, without an
interval."""


def listed(parts: Sequence[str]) -> str:
    """In words: "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def distances(rows: list[dict[str, Any]], pixels: int) -> str:
    """Those of squares of so many pixels a side, in words."""
    own = [row for row in rows if row["pixels"] == pixels]
    ends = f"from `{own[0]['layer']}` to `{own[-1]['layer']}`, where patches of whole images are"
    return f"{listed([format(row['distance'], '.0f') for row in own])}\n{ends} {own[0]['floor']:.0f} apart"


def lowest(rows: list[dict[str, Any]], layer: str) -> str:
    """The sizes of squares of which a layer has the lowest distance, in words."""
    sizes = sorted({row["pixels"] for row in rows})
    best = {size: min((row["distance"], row["layer"]) for row in rows if row["pixels"] == size)[1] for size in sizes}
    own = [str(size) for size in sizes if best[size] == layer]
    return f"{listed(own)} pixels" if own else "no size"


def page(found: dict[str, Any]) -> str:
    """The page of what was measured."""
    tables = []
    for name, title in GENERATORS.items():
        rows = [  # a square that is the whole image tells nothing
            (f"`{row['layer']}`", row["size"], row["pixels"], f"{row['distance']:.0f}", f"{row['floor']:.0f}")
            for row in part_of_image(found[name]["rows"])
        ]
        head = ("layer", "keys a side", "pixels a side", "distance", "of whole images")
        tables.append(f"{title}, `{name}`:\n\n{table(head, rows)}")
    progan, style = (part_of_image(found[name]["rows"]) for name in GENERATORS)
    return TEXT.substitute(
        tables="\n".join(tables), keys_of=KEYS_OF, best=BEST, matched=MATCHED, count=COUNT, shown=SHOWN,
        squares=SIDE**2, seen_keys=SEEN_KEYS, seen=Template(SEEN).substitute(
            eight=distances(progan, 8), lowest=lowest(progan, KEYS_OF), sixteen=distances(style, 16)
        ),
        seconds=f"{sum(part['seconds'] for part in found.values()):.0f}",
    )  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Measures, draws and writes."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of what was measured")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    out, found = folder(options.out, "rewriting_layers"), {}
    options.work.mkdir(parents=True, exist_ok=True)
    for name in ("keys", *GENERATORS):
        path = options.work / f"{name}.json"
        if not path.exists():
            path.write_text(json.dumps(drawn_keys(out) if name == "keys" else measured(out, name)), encoding="utf-8")
        found[name] = json.loads(path.read_text(encoding="utf-8"))
    charts(out, found)
    (options.out / "rewriting_layers.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
