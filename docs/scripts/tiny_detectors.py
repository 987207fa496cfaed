"""Dissects all thirteen convolutions of `dissect.tiny.vgg` and of its untrained twin, and writes docs/detectors.md.

python docs/scripts/tiny_detectors.py [--images N]
"""

from __future__ import annotations

from collections.abc import Sequence

from pages import command_line, table

import dissect
from dissect.tiny import TinyScenes, vgg

HEAD = """\
<!-- Written by docs/scripts/tiny_detectors.py; do not edit. -->
# How many units detect something

The share of each layer's units whose best IoU exceeds {cutoff}, in the embedded VGG and in its untrained twin, over the
first {images} validation scenes (thresholds at the top {fraction:.0%} of the pixels). Concepts are the different ones
that have a detector. An untrained unit passes the cut-off for what is large, or of one color; what training
adds is variety.

"""
COLUMNS = (
    "layer", "units", "detectors, trained", "untrained", "concepts, trained", "untrained", "objects, trained",
    "untrained",
)  # fmt: skip


def dissected(trained: bool, images: int) -> dissect.Dissection:
    """All convolutions."""
    model = vgg(trained)
    layers = [name for name, _ in model.named_modules() if "conv" in name]
    return dissect.dissect(model, layers, TinyScenes("val", count=images))


def row(layer: str, results: list[dissect.Dissection]) -> list[object]:
    """A line of the table: each figure of the trained network, then of the twin."""
    units = results[0][layer].num_units
    shares, concepts, objects = [], [], []
    for result in results:
        counts = {line.category: line.concepts for line in result.unique_detectors(layer)}
        shares.append(f"{len(result.detectors(layer)) / units:.0%}")
        concepts.append(str(sum(counts.values())))
        objects.append(str(counts["object"]))
    return [layer.removeprefix("features."), units, *shares, *concepts, *objects]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=860, help="validation scenes (default 860)")
    options = parser.parse_args(arguments)
    results = [dissected(trained, options.images) for trained in (True, False)]
    settings = results[0].settings
    head = HEAD.format(cutoff=settings["detector_iou"], images=options.images, fraction=settings["fraction"])
    rows = [row(layer, results) for layer in results[0].layers]
    (options.out / "detectors.md").write_text(head + table(COLUMNS, rows))


if __name__ == "__main__":
    main()
