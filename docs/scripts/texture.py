"""Holds the embedded classifier's units against restyled scenes, and writes docs/texture.md with its pictures.

python docs/scripts/texture.py [--images N]
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from pages import command_line, folder, paragraph, table
from torch import Tensor

import dissect
from dissect import plots, tiny
from dissect.experiments import TextureSensitivity, texture_sensitivity
from dissect.experiments.texture_result import TextureLayerRow
from dissect.stats import wilson_interval

LAYERS = [f"features.{name}" for name in ("conv1_2", "conv2_2", "conv3_1", "conv3_3", "conv4_3", "conv5_3")]
#: The seed of the scenes' other look.
STYLE = 1
#: Of the scenes; None: all.
FAMILY: str | None = None
#: The share of texture-sensitive units from which on they are many.
MANY = 0.1
#: Images in the gallery, and units of each kind.
IMAGES, UNITS = 6, 2

HEAD = """\
<!-- Written by docs/scripts/texture.py; do not edit. -->
# Texture against shape

Does a unit see a shape, or the texture on it? The supplement of Bau et al. (2020, Fig. S3) shows every image a second
time with all textures exchanged, and asks how far a unit fires at the same places:

```python
scenes, twins = TinyScenes("val"), TinyScenes("val", restyle=1)
found = dissect.experiments.texture_sensitivity(model, layers, scenes, twins, classes)
found.summary(), found.units(), found.plot()
```

IoU(s, u) is the overlap of a unit's cells in the images and in their twins, on the raw maps, each set with its own
threshold at the top 1 % (of maps upsampled to 64x64, as published). Beside it stands chance: the twin of another image
of the class, and of an image of another class, drawn once by a seed.
"""


class Pairs:
    """Scenes and their twins, drawn once, and the scenes' classes."""

    def __init__(self, images: int) -> None:
        options = {"count": images, "target": "class", "family": FAMILY}
        sets = [tiny.TinyScenes("val", restyle=style, **options) for style in (None, STYLE)]
        self.images, self.twins = (torch.stack([item[0] for item in part]) for part in sets)
        self.classes = [sets[0].scene(at) for at in range(images)]

    def measured(self, model: torch.nn.Module, rule: str) -> TextureSensitivity:
        """Of the layers."""
        given = model, LAYERS, self.images, self.twins, self.classes
        return texture_sensitivity(*given, thresholds=rule, progress=False)


def rows(found: TextureSensitivity) -> str:
    """The table of layers."""
    head = [
        "layer",
        "units",
        "silent",
        "quartile",
        "median",
        "quartile",
        "by chance: same class",
        "other class",
        "above 0.1",
    ]
    lines = [
        [row.layer.removeprefix("features."), row.units, row.silent,
         *(f"{value:.3f}" for value in (row.low, row.median, row.high, row.same_class, row.other_class)), above(row)]
        for row in found.summary()
    ]  # fmt: skip
    return table(head, lines)


def above(row: TextureLayerRow) -> str:
    """The share of a layer's units above the paper's cut, with its interval (Wilson, units as if independent)."""
    firing = row.units - row.silent
    if row.shape_sensitive is None:
        return "-"
    low, high = wilson_interval(round(row.shape_sensitive * firing), firing)
    return f"{row.shape_sensitive:.0%} ({low:.0%} to {high:.0%})"


def agreement(found: TextureSensitivity) -> str:
    """Whether the layers agree with the paper, which finds many texture-sensitive units in all of them."""
    known = [row for row in found.summary() if row.shape_sensitive is not None]
    firing = sum(row.units - row.silent for row in known)
    below = firing - sum(round(row.shape_sensitive * (row.units - row.silent)) for row in known)
    low, high = wilson_interval(below, firing)
    first, last = known[0].median, known[-1].median
    differs = "differs" if high < MANY else "agrees" if low >= MANY else "is not told apart"
    return paragraph(
        f"""The paper's units are texture-sensitive below 0.1; it finds many in every layer, the last one included, and
        some shape-sensitive ones in later layers, and prints no share. Here {below} of {firing} units lie below 0.1,
        {below / firing:.1%} ({low:.1%} to {high:.1%}): with {MANY:.0%} for "many" that {differs}. That the overlap
        grows with depth {"agrees" if last > first else "differs"}: its median is {first:.3f} in the first of these
        layers and {last:.3f} in the last one. The scenes are drawn in flat colors with simple textures, so that edges
        stay where they are when a look is exchanged, and photographs that a network restyles lose more."""
    )


def gallery(model: torch.nn.Module, pairs: Pairs, found: TextureSensitivity, name: str, path: Path) -> None:
    """The units of a layer that keep their places most and least, in images and twins."""
    units = [row.unit for row in found.units(name).top(UNITS, by="iou")]
    weak = sorted((row for row in found.units(name) if row.firing), key=lambda row: row.iou)
    units += [row.unit for row in weak[:UNITS]]
    pictures = pairs.images, pairs.twins
    maps = [maps_of(model, name, units, part) for part in pictures]
    layer, strips, titles = found.layers[name], [], []
    for place, unit in enumerate(units):
        top = maps[0][:, place].flatten(1).amax(1).topk(IMAGES).indices.tolist()
        for at, kind in enumerate(("images", "twins")):
            fires = maps[at][:, place] > layer.thresholds[at, unit]
            strips.append([plots.lit(pictures[at][image], fires[image]) for image in top])
            titles.append(f"unit {unit}, {kind} (IoU {float(layer.iou()[0, unit]):.2f})")
    with plots.drawing():
        figure = plots.new_figure(6.4, 1.2 * len(strips))
        plots.tiles(figure, strips, titles)
    plots.save(figure, path)


def maps_of(model: torch.nn.Module, name: str, units: list[int], images: Tensor) -> Tensor:
    """[N, len(units), h, w] maps of a layer's units, after its ReLU."""
    with torch.no_grad(), dissect.Trace(model, name, stop=True) as trace:
        found = []
        for batch in images.split(64):
            trace.run(batch)
            found.append(trace[name][:, units].clamp(min=0))
    return torch.cat(found)


def galleries(model: torch.nn.Module, pairs: Pairs, found: TextureSensitivity, pictures: Path) -> str:
    """Pictures of each layer's units, and the page's lines that show them, the last layer first."""
    lines = []
    for name in reversed(LAYERS):
        short = name.removeprefix("features.")
        gallery(model, pairs, found, name, pictures / f"gallery-{short}.png")
        told = f"Units of {short} in images and in their twins"
        lines.append(
            f"**{short}**\n\n![{told}; pictures are pale where the unit does not fire](texture/gallery-{short}.png)\n"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=172, help="validation scenes (default 172)")
    options = parser.parse_args(arguments)
    begin, pictures = time.process_time(), folder(options.out, "texture")
    trained, untrained = tiny.vgg(), tiny.vgg(trained=False)
    pairs = Pairs(options.images)
    own, common = (pairs.measured(trained, rule) for rule in ("own", "common"))
    plots.save(own.plot(), pictures / "layers.png")
    shown = galleries(trained, pairs, own, pictures)
    text = f"""\
{HEAD}
## The embedded classifier

{options.images} validation scenes and their twins, two or more of each class.

{rows(own)}
![How IoU(s, u) is spread over the units of each layer; the line is the paper's cut of 0.1](texture/layers.png)

{agreement(own)}**One threshold for both sets**, which also counts a unit that falls silent in the twins:

{rows(common)}
**The untrained network** keeps places too, since its units see edges and corners at random; compare it with chance:

{rows(pairs.measured(untrained, "own"))}
## The units that keep their places most, and least

Of each layer {UNITS} and {UNITS}, in the images where they are highest and in these images' twins.

{shown}
The command took {time.process_time() - begin:.0f} s of processor time.
"""
    (options.out / "texture.md").write_text(text)


if __name__ == "__main__":
    main()
