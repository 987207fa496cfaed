"""What classes lose when their units are ablated within a band of activation only."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.devices import device_of, to_device
from dissect.interventions import ablate
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption
from dissect.network.modes import check_evaluating
from dissect.network.outputs import first_tensor
from dissect.stats.bins import exact_fraction
from dissect.table import Table
from dissect.visits.passes import Inputs, Passes
from dissect.visits.readout import Readout


class BandLossRow(NamedTuple):
    """A class without some units' activations in one band.

    Attributes:
        number: of the class.
        top: the share of a unit's cells that lie above the band; None for the whole units.
        share: the share that lies above the band's lower end; None down to 0, and for the whole units.
        images: of the class.
        recall: the share of them that the network names right.
        without: the same without the band.
        fall: by how much the class's logit falls on them, on average.
    """

    number: int
    top: float | None
    share: float | None
    images: int
    recall: float
    without: float
    fall: float


@speaks
def band_losses(
    model: nn.Module,
    layer: str,
    images: Tensor,
    classes: Tensor | Sequence[int],
    units: Tensor,
    *,
    shares: Sequence[float] = (0.01, 0.05, 0.2),
    layout: LayoutOption | None = None,
    batch_size: int = 32,
) -> Table[BandLossRow]:
    """Each class on its own images, with its units set to 0 only where they lie in a band of their activation.

    A unit's level at share q is the (floor(q M) + 1)-th largest of its M cells over all images, so that at most q M lie
    above it. Bands lie above the first level, between neighbouring ones (``low < activation <= high``), and from 0 to
    the last; the last row of a class has its units ablated whole. A band that is empty, as of a unit that is 0 more
    often, changes nothing. `dissect.ablate(band=...)` does the ablation, on the layer's own output.

    Args:
        model: a classifier in evaluation mode that gives logits [N, K].
        layer: one of its layers that gives maps.
        images: [N, 3, H, W].
        classes: [N], their class numbers.
        units: [K, m], of each class those to ablate, as `UnitImportance.top_units(m)`; classes with -1 are left out.
        shares: of the cells, rising.
        layout: see `dissect.dissect`.
        batch_size: images at a time.

    Raises:
        KeyError: no such layer.
        ValueError: shapes or numbers that do not fit; shares that do not rise within (0, 1); no class with images and
            units.

    Example:
        >>> layers = [torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        >>> model = torch.nn.Sequential(*layers, torch.nn.Linear(6, 2)).eval()
        >>> units = torch.tensor([[0, 1], [4, 5]])
        >>> images, classes = torch.rand(4, 3, 8, 8), [0, 0, 0, 1]
        >>> rows = dissect.experiments.band_losses(model, "0", images, classes, units, shares=[0.1])
        >>> [(row.number, row.top, row.share) for row in rows][:3]
        [(0, 0.0, 0.1), (0, 0.1, None), (0, None, None)]
    """
    find_layers(model, [layer])
    check_evaluating(model)
    exact = [exact_fraction(share, "shares") for share in shares]
    if not exact or any(not 0 < part < 1 for part in exact) or sorted(set(exact)) != exact:
        raise refusal(ValueError(f"shares must rise within 0 and 1, but are {list(shares)}."))
    truth = torch.as_tensor(classes).long()
    if not isinstance(images, Tensor) or images.ndim != 4 or truth.shape != images.shape[:1]:
        raise refusal(ValueError(f"images must be [N, 3, H, W] and classes [N], but classes are {list(truth.shape)}."))
    size = integer("batch_size", batch_size)
    passes = Passes(model, [layer], Readout(relu=False, layout=layout))
    maps, logits = _outputs(passes, layer, images.split(size), device_of(model))
    _check_units(units, logits.shape[1], maps.shape[1], truth)
    cells = maps.transpose(0, 1).flatten(1).sort(dim=1, descending=True).values
    ends = torch.stack([cells[:, int(part * cells.shape[1])] for part in exact], 1)  # [U, B], falling
    rows = []
    for number in range(len(units)):
        own = (truth == number).nonzero().flatten()
        if not len(own) or bool((units[number] < 0).any()):
            continue
        before = logits[own]
        told = len(own), float((before.argmax(1) == number).double().mean())
        for top, share, bands in _bands(ends[units[number]], shares):
            after = _without(model, layer, units[number].tolist(), bands, images[own].split(size), layout)
            kept = float((after.argmax(1) == number).double().mean())
            fall = float((before - after)[:, number].double().mean())
            rows.append(BandLossRow(number, top, share, *told, kept, fall))
    if not rows:
        raise refusal(ValueError("units must be of a class that has images, but there is none."))
    return Table(rows)


#: Of each unit a band; None where that is empty, ... where the unit is to go whole.
_Bands = list[tuple[float, float] | None]


def _bands(ends: Tensor, shares: Sequence[float]) -> list[tuple[float | None, float | None, _Bands | None]]:
    """By rows of a class: the share above, the share down to it, and each unit's band; no bands for whole units."""
    high, places = torch.full((len(ends),), torch.inf), []
    tops = [0.0, *map(float, shares)]
    for at in range(len(tops)):
        low = ends[:, at].clamp(min=0) if at < len(shares) else torch.zeros(len(ends))
        bands = [(a, b) if a < b else None for a, b in zip(low.tolist(), high.tolist())]
        places.append((tops[at], float(shares[at]) if at < len(shares) else None, bands))
        high = low
    return [*places, (None, None, None)]


def _without(
    model: nn.Module, layer: str, units: list[int], bands: _Bands | None, batches: Sequence[Tensor],
    layout: LayoutOption | None,
) -> Tensor:  # fmt: skip
    """[N, K] logits."""
    with ExitStack() as stack, torch.no_grad():
        if bands is None:
            stack.enter_context(ablate(model, layer, units, layout=layout))
        else:
            for unit, band in zip(units, bands):
                if band is not None:
                    stack.enter_context(ablate(model, layer, [unit], band=band, layout=layout))
        device = device_of(model)
        return torch.cat([first_tensor(model(to_device(batch, device))).float().cpu() for batch in batches])


def _outputs(passes: Passes, layer: str, batches: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Maps [N, U, h, w] and logits [N, K]."""
    maps, logits = [], []
    for batch in batches:
        with torch.no_grad():
            found = passes.run(Inputs(to_device(batch, device), {}), [layer], whole=True)
        maps.append(found.maps[layer].float().cpu())
        logits.append(first_tensor(found.output).float().cpu())
    if logits[0].ndim != 2:
        raise refusal(ValueError(f"model must give logits [N, K], but gives {list(logits[0].shape)}."))
    return torch.cat(maps), torch.cat(logits)


def _check_units(units: Tensor, classes: int, of: int, truth: Tensor) -> None:
    if units.ndim != 2 or len(units) != classes or not units.shape[1] or int(units.max()) >= of:
        got = f"{list(units.shape)} up to {int(units.max()) if units.numel() else '-'}"
        raise refusal(ValueError(f"units must be [K={classes}, m] below {of}, the layer's units, but are {got}."))
    if not bool(((truth >= 0) & (truth < classes)).all()):
        raise refusal(ValueError(f"classes must be numbers below {classes}, the network's, but one is not."))
