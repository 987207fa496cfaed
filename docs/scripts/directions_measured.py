"""Dissects one layer along units and other directions, and writes docs/directions_measured.md with its picture.

python docs/scripts/directions_measured.py [--images N]
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pages import command_line, folder, table
from torch import Tensor
from torch.utils.data import DataLoader

import dissect
from dissect import Dissection, plots, tiny
from dissect.experiments import random_rotation
from dissect.models import SparseEncoder
from dissect.stats.bootstrap import drawn_again, interval_of

LAYER = "features.conv5_3"
#: Training scenes that directions are learned from; components of ICA and NMF; the encoder's features, steps and batch.
SCENES, COMPONENTS, FEATURES, STEPS, CELLS = 430, 64, 768, 2000, 1024
#: Of the encoder's loss: how much the sum of features counts.
SPARSITY = 0.03
#: Cells that a concept must have for a vector; of a cell a label must cover this share.
LEAST, SHARE = 50, 0.5
DRAWS = 1000

HEAD = """\
<!-- Written by docs/scripts/directions_measured.py; do not edit. -->
# Directions measured

[Directions](directions.md) of the usual kinds on the embedded classifier's conv5_3, after its ReLU, each dissected
along with thresholds, counts and decoys of its own:

- **PCA**, all components, and **ICA** and **NMF**, {components} each (scikit-learn), of the cells of {scenes} training
  scenes. A component of PCA or ICA has no sign; each is turned so that its third moment is positive, as of what is
  seldom there and then much. NMF's values come by its `transform`.
- **Concept vectors**: for each label that covers half of a cell in {least} training cells or more, the ridge regression
  on the units of where it does so: {vectors} vectors. They were shown the labels; all others were not.
- **A sparse autoencoder**: {features} features, ReLU, trained for {steps} steps of {cells} cells, mean squared error
  and {sparsity} times the sum of features; {active:.1f} of them are above 0 at a place, and {explained:.0%} of the
  variance is explained.
- **A random rotation**, for what is without any sense ([axis alignment](axis_alignment.md) has ten).
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("--images", type=int, default=400, help="validation scenes (default 400)")
    options = parser.parse_args(arguments)
    begin, pictures = time.process_time(), folder(options.out, "directions_measured")
    torch.set_num_threads(1)
    model, scenes = tiny.vgg(), tiny.TinyScenes("val", count=options.images)
    cells, labels = training_cells(model)
    encoder, active, explained = sparse_encoder(cells)
    kinds = {
        "units": None, "PCA": principal(cells), "ICA": independent(cells), "NMF": non_negative(cells),
        "concept vectors": concept_vectors(cells, labels), "sparse autoencoder": encoder,
        "random rotation": random_rotation(cells.shape[1], 0).float().contiguous(),
    }  # fmt: skip
    found: dict[str, Dissection] = {}
    for name, directions in kinds.items():
        given = None if directions is None else {LAYER: directions}
        found[name] = dissect.dissect(model, LAYER, scenes, relu=True, directions=given, resamples=0, progress=False)
    plots.save(chart(found), pictures / "best.png")
    text = HEAD.format(
        components=COMPONENTS, scenes=SCENES, least=LEAST, features=FEATURES, steps=f"{STEPS:,}", cells=f"{CELLS:,}",
        sparsity=SPARSITY, active=active, explained=explained, vectors=len(kinds["concept vectors"]),
    )  # fmt: skip
    text += page(found, options.images)
    text += f"\nOne thread computed for {(time.process_time() - begin) / 60:.1f} minutes.\n"
    (options.out / "directions_measured.md").write_text(text, encoding="utf-8")


def training_cells(model: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """Activations [M, U] of all cells, and [M, C] whether a label covers enough of each."""
    cells, labels = [], []
    scenes = tiny.TinyScenes("train", count=SCENES)
    number = len(scenes.concepts)
    for images, planes in DataLoader(scenes, batch_size=43):
        with torch.no_grad(), dissect.Trace(model, LAYER) as trace:
            model(images)
        maps = trace[LAYER].relu()
        cells.append(maps.movedim(1, -1).flatten(0, 2))
        carried = torch.zeros(len(planes), number, *planes.shape[2:])
        for plane in planes.unbind(1):
            carried.scatter_(1, plane[:, None].long(), 1.0)
        shares = torch.nn.functional.adaptive_avg_pool2d(carried, maps.shape[2:])
        labels.append((shares >= SHARE).movedim(1, -1).flatten(0, 2))
    return torch.cat(cells), torch.cat(labels)


def skewed(components: Any, cells: Tensor) -> Tensor:
    """Each turned so that the third moment along it is positive."""
    rows = torch.from_numpy(components).float().contiguous()
    along = (cells - cells.mean(0)) @ rows.T
    return rows * along.pow(3).mean(0).sign()[:, None]


def principal(cells: Tensor) -> Tensor:
    """Of PCA, [U, U]."""
    from sklearn.decomposition import PCA

    return skewed(PCA(random_state=0).fit(cells.numpy()).components_, cells)


def independent(cells: Tensor) -> Tensor:
    """Of FastICA."""
    from sklearn.decomposition import FastICA

    count = min(COMPONENTS, *cells.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of not converging: the page says how many steps it had
        ica = FastICA(count, random_state=0, whiten="unit-variance").fit(cells.numpy())
    return skewed(ica.components_, cells)


def non_negative(cells: Tensor) -> Callable[[Tensor], Tensor]:
    """NMF's values, by its `transform`."""
    from sklearn.decomposition import NMF

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nmf = NMF(min(COMPONENTS, *cells.shape), init="nndsvda", random_state=0).fit(cells.numpy())

    def encoder(maps: Tensor) -> Tensor:
        own = maps.movedim(1, -1)
        values = torch.from_numpy(nmf.transform(own.flatten(0, 2).numpy())).float()
        return values.view(*own.shape[:3], -1).movedim(-1, 1).contiguous()

    return encoder


def concept_vectors(cells: Tensor, labels: Tensor) -> Tensor:
    """Ridge regressions [V, U] of the labels that enough cells carry."""
    wanted = labels[:, 1:].sum(0) >= min(LEAST, len(cells) // 4)
    centred, targets = (cells - cells.mean(0)).double(), labels[:, 1:][:, wanted].double()
    gram = centred.T @ centred
    ridge = gram + 1e-2 * gram.diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)
    return torch.linalg.solve(ridge, centred.T @ (targets - targets.mean(0))).T.float().contiguous()


def sparse_encoder(cells: Tensor) -> tuple[SparseEncoder, float, float]:
    """Trained on the cells; how many features are above 0 at a place; and the share of variance that is explained."""
    stream = torch.Generator().manual_seed(0)
    scale = float(cells.square().sum(1).mean().sqrt())
    given, units = cells / scale, cells.shape[1]
    decoder = torch.nn.functional.normalize(torch.randn(FEATURES, units, generator=stream), dim=1)
    weight, bias, shift = decoder.clone(), torch.zeros(FEATURES), given.mean(0)
    parts = [part.requires_grad_() for part in (weight, bias, decoder, shift)]
    adam = torch.optim.Adam(parts, lr=1e-3)
    for _ in range(STEPS):
        batch = given[torch.randint(len(given), (CELLS,), generator=stream)]
        features = ((batch - shift) @ weight.T + bias).relu()
        rows = torch.nn.functional.normalize(decoder, dim=1)
        loss = (features @ rows + shift - batch).square().sum(1).mean() + SPARSITY * features.sum(1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    with torch.no_grad():
        rows = torch.nn.functional.normalize(decoder, dim=1)
        features = ((given - shift) @ weight.T + bias).relu()
        error = (features @ rows + shift - given).square().sum() / (given - given.mean(0)).square().sum()
        encoder = SparseEncoder(
            weight.detach() / scale, bias.detach(), decoder=rows * scale, shift=shift.detach() * scale
        )
    return encoder, float((features > 0).float().sum(1).mean()), 1 - float(error)


def best(d: Dissection) -> Tensor:
    """[C] the highest IoU of each label, of any direction."""
    return d[LAYER].iou[:, 1:].max(0).values.double()


def chart(found: dict[str, Dissection]) -> Any:
    """The best IoU of each concept along other directions, over that of the units."""
    others = [name for name in found if name != "units"]
    with plots.drawing():
        figure = plots.new_figure(9, 6)
        grid = figure.subplots(2, -(-len(others) // 2), sharex=True, sharey=True, squeeze=False)
        for place, name in enumerate(others):
            axes = grid[place // len(grid[0])][place % len(grid[0])]
            plots.scatter(axes, best(found["units"]), best(found[name]), size=6)
            ends = [0.0, float(max(best(d).max() for d in found.values()))]
            axes.plot(ends, ends, linewidth=0.6, color="#999999")
            below = "best unit's IoU" if place >= len(grid[0]) else ""
            plots.label(axes, below, "best direction's IoU" if place % len(grid[0]) == 0 else "", name)
    return figure


def page(found: dict[str, Dissection], images: int) -> str:
    """The table and what it says."""
    rows, own = [], best(found["units"])
    better: list[str] = []
    worse: list[str] = []
    shown = own > 0
    counts = {row.network: row for row in dissect.compare(found).summary()}
    for name, d in found.items():
        difference = (best(d) - own)[shown]
        ends = interval_of(drawn_again(len(difference), DRAWS, 0) @ difference / len(difference), len(difference))
        (better if ends[0] > 0 else worse if ends[1] < 0 else []).append(name)
        against = "-" if name == "units" else f"{difference.mean():+.3f} ({ends[0]:+.3f} to {ends[1]:+.3f})"
        row = counts[name]
        mean = float(d[LAYER].best_iou.mean())
        rows.append(
            [name, row.units, row.detectors, row.concepts, row.concepts_beyond_chance, f"{mean:.3f}", against]
        )  # fmt: skip
    head = ["directions", "how many", "detectors", "different concepts", "beyond chance", "mean IoU",
            "best per concept, against the units'"]  # fmt: skip
    return f"""
The first {images} validation scenes, the default preset (top 1 % of the pixels, IoU above 0.04). The last column is the
mean, over the {int(shown.sum())} concepts that occur, of the highest IoU of any direction less that of any unit; its
interval draws concepts again. More directions have a better best one by their number alone, so compare kinds of like
numbers.

{table(head, rows)}
Concepts have a better best direction than unit, on average, among: {", ".join(better) or "none"}; a worse one among:
{", ".join(worse) or "none"}.

![The best IoU of each concept along directions, over that of the units](directions_measured/best.png)
"""


if __name__ == "__main__":
    main()
