"""Writes docs/omissions.md and its pictures: what the embedded generators leave out (thesis, chapter 5).

``python docs/scripts/omissions.py --work build/omissions`` from the root of the sources. What was measured, and the
encoders, are kept in the folder --work and are not made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from experiments_generators import Measured
from omissions_inverted import METHODS, NAME, STYLE, domains, inverted, pairs, styled, trained, truth
from omissions_measured import SCENES, looks, statistics
from omissions_page import page
from pages import command_line, folder
from torch import Tensor

import dissect
from dissect import plots
from dissect.omissions import Inversion, LayerInverter, fsd, omission_chart, omission_table, recovery
from dissect.omissions.chain import Chain
from dissect.tiny import generator, segmenter

#: Points of a cloud, and images of a row.
POINTS, ROW = 2000, 8
#: Classes whose images are inverted; the last one is not left out, and stands beside them.
CLASSES = ("object/umbrella", "object/bench", "object/bus")


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and writes the page."""
    parser = command_line(__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/omissions"), help="folder for what takes long")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    out, measured = folder(options.out, "omissions"), Measured(options.work)
    found: dict[str, Any] = {"seconds": 0.0}
    counted = statistics(measured)
    street = counted[NAME]
    halves = street["real"].split()
    found["distances"] = {name: fsd(part["made"], *part["real"].split()) for name, part in counted.items()}
    found["looks"] = looks(options.work)
    second = street["second"]
    found["second"] = fsd(second[0], *second[1].split())
    found["table"] = omission_table(street["made"], street["real"], truth=street["truth"], second=second)
    found["scenes"], found["classes"] = SCENES, CLASSES
    for name, part in counted.items():
        plots.save(omission_chart(part["made"], part["real"], title=name), out / f"{name}.png")
    plots.save(
        omission_chart(*halves, names=("one half", "the other"), title="held-out scenes, two halves"),
        out / "halves.png",
    )
    found |= _inversions(options.work, out)
    found["style"] = _style(options.work, out)
    found["pairs"] = {}
    for concept in CLASSES:
        shown = pairs(options.work, street["real"], concept)
        found["pairs"][concept] = shown.table
        plots.save(shown.plot(), out / f"pairs-{concept.partition('/')[2]}.png")
    real, made, found["domain_seconds"] = domains(options.work)
    found["domains"] = {name: float((real[name] - made[name]).abs().mean()) for name in real}
    plots.save(_sheet(real, made), out / "domains.png")
    (options.out / "omissions.md").write_text(page(found), encoding="utf-8")


def _inversions(work: Path, out: Path) -> dict[str, Any]:
    """How well each method inverts, and pictures of it."""
    model, z = generator(NAME), truth()
    inverters = {name: LayerInverter.load(path, model) for name, path in trained(work).items()}
    rows, seconds, clouds = {}, {}, {}
    chain = inverters["layers"].chain
    with torch.no_grad():
        r = chain.layers_of(z)[-1]
        images = chain.render(r)
    strips = {"generated images": images}
    for name, (encoder, _) in METHODS.items():
        inversion, seconds[name] = inverted(work, name)
        rows[name] = recovery(inverters[encoder], z, inversion, segmenter=segmenter(0, signed=True))
        strips[f"({name})"] = inversion.images
        clouds[name] = {"z": (z, inversion.z), chain_layer(inverters): (r, inversion.r),
                        "pixels": (images, inversion.images)}  # fmt: skip
    plots.save(_tiles({name: part[:ROW] for name, part in strips.items()}), out / "inverted.png")
    plots.save(_clouds(clouds), out / "clouds.png")
    logs = {name: (inverter.settings, inverter.log) for name, inverter in inverters.items()}
    spread = _spread(inverters["joint"].chain, z, images, inverted(work, "f")[0])
    return {"recovery": rows, "inversion_seconds": seconds, "logs": logs, "encoder": repr(inverters["layers"]),
            "spread": spread}  # fmt: skip


def _spread(chain: Chain, z: Tensor, images: Tensor, found: Inversion) -> dict[str, float]:
    """Which images (f) misses, and what its loss would be of the images themselves, made by a delta_1 alone."""
    each = torch.stack([torch.stack([one.flatten(), other.flatten()]).corrcoef()[0, 1]
                        for one, other in zip(images, found.images)])  # fmt: skip
    wrong = (images.clamp(-1, 1) - found.images.clamp(-1, 1)).square().flatten(1).sum(1)
    exact = (chain.stage(1, z) - chain.stage(1, found.z)).square().flatten(1).mean(1)
    worst = wrong.topk(min(3, len(wrong))).values.sum() / wrong.sum()
    return {
        "median": float(each.median()), "least": float(each.min()), "below": int((each < 0.95).sum()),
        "worst": float(worst), "exact": float(exact.mean()), "loss": float(found.losses.mean()),
        "higher": int((exact > found.losses).sum()),
    }  # fmt: skip


def _style(work: Path, out: Path) -> dict[str, Any]:
    """How well a StyleGAN2's images are inverted, and a picture of them."""
    inverter, inversions = styled(work)
    z = dissect.latents(generator(STYLE), len(inversions["d"].z))
    with torch.no_grad():
        images = inverter.chain.render(inverter.chain.layers_of(z)[-1])
    strips = {f"({method})": found.images for method, found in inversions.items()}
    plots.save(_tiles({"generated images": images, **strips}), out / "style.png")
    see = segmenter(0, signed=True)
    return {method: recovery(inverter, z, found, segmenter=see) for method, found in inversions.items()}


def chain_layer(inverters: dict[str, LayerInverter]) -> str:
    """The name of the last layer that is inverted."""
    return inverters["layers"].layers[-1]


def _tiles(strips: dict[str, Tensor]) -> Any:
    with plots.drawing():
        width = max(map(len, strips.values()))
        figure = plots.new_figure(0.3 + 0.9 * width, 1.05 * len(strips))
        plots.tiles(figure, [list(part.add(1).div(2)) for part in strips.values()], list(strips))
    return figure


def _sheet(real: dict[str, Tensor], made: dict[str, Tensor]) -> Any:
    strips = {}
    for name in real:
        strips[name] = real[name]
        strips[f"{name}, reconstructed"] = made[name]
    return _tiles(strips)


def _clouds(clouds: dict[str, dict[str, tuple[Tensor, Tensor]]]) -> Any:
    """Reconstructed over true values, a panel for each method and quantity (Fig. 5-6)."""
    stream = torch.Generator().manual_seed(0)
    with plots.drawing():
        figure = plots.new_figure(1.6 * len(clouds), 4.8)
        rows = len(next(iter(clouds.values())))
        grid = figure.subplots(rows, len(clouds), squeeze=False)
        for column, (method, parts) in enumerate(clouds.items()):
            for row, (what, (true, found)) in enumerate(parts.items()):
                chosen = torch.randint(true.numel(), (POINTS,), generator=stream)
                axes = grid[row][column]
                plots.scatter(
                    axes, true.flatten()[chosen], found.flatten()[chosen], size=2, alpha=0.4, correlation=True
                )
                title = f"({method})" if row == 0 else ""
                plots.label(axes, "", f"{what}, found" if column == 0 else "", title)
                axes.tick_params(labelsize=6)
    return figure


if __name__ == "__main__":
    main()
