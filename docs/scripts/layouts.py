"""Writes docs/layouts.md: every layer of other libraries' networks, its units and where they lie.

Needs transformers. Run from the repository: ``python docs/scripts/layouts.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
import transformers
from pages import ROOT, command_line, table
from torch import nn

from dissect.network.layouts import Layouts
from dissect.network.listing import list_layers
from dissect.network.outputs import first_tensor
from dissect.network.trace import Trace
from dissect.network.tracking import UnitTracker

sys.path.insert(0, str(ROOT / "tests"))
from other_networks import SIDE, of_others, of_transformers

TEXT = """# Where units lie

A unit is a channel: of maps [N, U, h, w] or [N, h, w, U], of tokens [N, T, U] or [T, N, U], of vectors [N, U]. Which
axis it is, is *inferred only where it is certain*:

- **module**: the layer is a convolution, a fully connected layer, a normalisation, pooling, attention or recurrent,
  an nn.Sequential that ends in one, or a pointwise layer after one there; none of these with another `forward`.
- **pass**: units are followed through the operations of a forward pass of two images
  (`dissect.network.tracking.UnitTracker`). Convolutions, products with weights and normalisations write them to a known
  axis; permutations, reshapings, rolls, windows and concatenations move them; what works on each number alone,
  pooling, attention and residual sums keep them.
- **given**: `layout="NHWU"`, or `layout={{"blocks.1": "NHWU"}}` for several layers, a letter per axis. It is checked
  against the number of images and the layer's own number of units.

All else is refused, with the layer's name and what to give: operations that mix units in ways nobody knows (a
sort), operands that disagree, two axes that are both as long as there are images, and outputs that hold parts of
images (the windows of a Swin block's attention can be ablated, but not dissected). A result's `settings["layouts"]`
says of each layer how its output was read, and how that is known. Where only a method of the model is called, and
never the model itself, there is no pass to follow: name a layer whose kind tells, or give the layout.

Tokens need their grid: `tokens=(14, 14)`, or `tokens={{"stage1": (56, 56), "stage2": (28, 28)}}` of a pyramid.
They must be the cells of the image row by row, as must maps. A followed pass of two images tells where each number
comes from, too (`dissect.network.cells.CellTracker`), and where they lie in another order, the run is refused: a grid
that is turned, tokens column by column or in windows (Hiera has them in units until its last stage), shuffled patches
(ViTMAE), class tokens behind the others; maps that are mirrored, or cut into patches (those within MobileViTV2's
transformers), and what convolutions and poolings make of these. Such a pass is made for tokens, for layers whose kind
does not tell where units are, and for maps behind an operation that may have put their cells in another order. Where
the pass loses them, after a sort or a `grid_sample` say, the order is taken as given. So is that maps span the image:
of a network that crops them, or pads them to one side, give the `grid=`.

## Layer by layer

Small configurations of the networks of transformers {version}, and blocks written as timm, torchvision and CLIP have
them (`tests/other_networks.py`; torchvision and timm themselves were not installed). Of the {layers} layers,
`tests/network/test_layouts.py` checks each that runs once: it has as many units as its weights say, and an edit of one
unit changes exactly that channel. {networks} networks, images of {side}x{side}; no axis of places has the size of
one of channels. Made by `python docs/scripts/layouts.py`.
"""


COLUMNS = ("layer", "kind", "output of 3 images", "units", "axes", "known by")


def rows_of(model: nn.Module, images: torch.Tensor) -> list[tuple[object, ...]]:
    """A line of the table per layer that gives units."""
    found = []
    for row in list_layers(model, images):
        if row.units is None:
            continue
        layouts, tracker = Layouts(model, [row.layer]), UnitTracker()
        outputs: list[object] = []

        def keep(output: object, _: str, outputs: list[object] = outputs) -> object:
            outputs.append(output)
            return output

        with torch.no_grad(), Trace(model, row.layer, edit=keep, retain=None), tracker:
            tracker.begin(images)
            model(images)
        layouts.learn(row.layer, outputs[0], tracker, len(images))
        shape = first_tensor(outputs[0]).shape
        sides = "x".join(map(str, shape))
        layout = layouts.of(row.layer, outputs[0], len(images) if len(images) in shape else None)
        found.append((row.layer, row.kind, sides, row.units, layout.axes, layout.known))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page."""
    out = command_line(__doc__).parse_args(arguments).out
    torch.manual_seed(0)
    images, parts, layers = torch.rand(3, 3, SIDE, SIDE), [], 0
    networks = of_transformers(transformers) | of_others()
    for name, model in networks.items():
        rows = rows_of(model.eval(), images)
        layers += len(rows)
        parts.append(f"### {name}\n\n{table(COLUMNS, rows)}\n")
    head = TEXT.format(version=transformers.__version__, layers=layers, networks=len(networks), side=SIDE)
    (out / "layouts.md").write_text(head + "\n" + "".join(parts).rstrip() + "\n")


if __name__ == "__main__":
    main()
