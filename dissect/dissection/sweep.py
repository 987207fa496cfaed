"""sweep(): how units agree with labels at every threshold, not at one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.concepts import Concepts
from dissect.dissection.bands import band_labels
from dissect.dissection.geometry import GivenGrid
from dissect.dissection.plan import Segment, planned
from dissect.dissection.presets import GridName, PresetName, preset_with
from dissect.dissection.provenance import provenance
from dissect.dissection.significance import Doubt
from dissect.dissection.sweeping import Sweeping
from dissect.dissection.swept import Sweep, SweptLayer
from dissect.grid import Border
from dissect.network.directions import LayerDirections
from dissect.network.layouts import LayoutOption
from dissect.network.modes import tell_training
from dissect.stats import ThresholdSweep
from dissect.stats.bins import exact_fraction
from dissect.stats.bootstrap import enough_draws
from dissect.visits.run import finish

#: The published range of tau: Zhou et al. 2018, Fig. 28.
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.04)


@speaks
def sweep(
    model: nn.Module,
    layers: str | Iterable[str],
    images: Dataset[Any] | Tensor | Iterable[Any],
    *,
    shares: Sequence[float] = SHARES,
    levels: int = 48,
    segmenter: Callable[[Tensor], Tensor] | None = None,
    segment: Segment = "input",
    concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]] | None = None,
    ignore: int | Iterable[int] = (),
    preset: PresetName = "default",
    border: Border | None = None,
    grid: GridName | GivenGrid | None = None,
    detector_iou: float | None = None,
    relu: bool | None = None,
    tokens: tuple[int, int] | Mapping[str, tuple[int, int]] | None = None,
    layout: LayoutOption | None = None,
    directions: Mapping[str, LayerDirections] | None = None,
    decoys: int = 0,
    resamples: int = 0,
    seed: int = 0,
    batch_size: int = 32,
    memory_budget: int = 4 << 30,
    disk_budget: int = 0,
    resume: str | Path | None = None,
    progress: bool = True,
) -> Sweep:
    """Counts units against labels at every threshold at once (Zhou et al. 2018, section 4, Fig. 28 and 29).

    Each unit has as levels the exact ones that it exceeds on the `shares` of the pixels (`TailThreshold`), 0, and
    `levels` more: those of top fractions from 0.001 to 1, evenly spaced by their logarithm, of a sample of the pixels.
    The counts at all of them are exact, so a level says on which share of the pixels the unit exceeds it.

    Args:
        model: see `dissect.dissect`.
        layers: see `dissect.dissect`.
        images: see `dissect.dissect`; with planes, or with a segmenter.
        shares: top fractions of the pixels, between 0 and 1, for which levels are exact.
        levels: how many others there are.
        segmenter: see `dissect.dissect`.
        segment: see `dissect.dissect`.
        concepts: see `dissect.dissect`; they must be known.
        ignore: see `dissect.dissect`.
        preset: "default" or "pnas2020", whose grids, planes and cut-offs are used; the others count by category.
        border: see `dissect.dissect`.
        grid: see `dissect.dissect`.
        detector_iou: see `dissect.dissect`.
        relu: see `dissect.dissect`.
        tokens: see `dissect.dissect`.
        layout: see `dissect.dissect`.
        directions: see `dissect.dissect`.
        decoys: how often the bands between the exact levels (`Sweep.bands`) are also counted against planes that are
            permuted among the images, for their p-values.
        resamples: how often images are drawn anew for the intervals of the bands' IoUs. Both cost a dissection's counts
            for each band.
        seed: of both.
        batch_size: see `dissect.dissect`.
        memory_budget: see `dissect.dissect`; the counts take 8 bytes per unit, label and level, all at once.
        disk_budget: see `dissect.dissect`.
        resume: see `dissect.dissect`.
        progress: see `dissect.dissect`.

    Returns:
        A `Sweep`.

    Raises:
        KeyError, TypeError, ValueError: see `dissect.dissect`; shares that are none, or the same twice; no concepts; a
            preset that counts by category.

    Example: see `Sweep`.
    """
    chosen = _checked_shares(shares)
    _check_scope(preset)
    plan = planned(
        model, layers, images, segmenter=segmenter, segment=segment, concepts=concepts, ignore=ignore, preset=preset,
        tokens=tokens, layout=layout, batch_size=batch_size, memory_budget=memory_budget, disk_budget=disk_budget,
        grid=grid, border=border, relu=relu, detector_iou=detector_iou, directions=directions,
    )  # fmt: skip
    if plan.vocabulary is None:
        raise refusal(ValueError("concepts must name the labels; give them, or a segmenter or images that have them."))
    levels = integer("levels", levels)
    tell_training(model)
    asked = {"decoys": integer("decoys", decoys, 0), "resamples": enough_draws(resamples),
             "seed": seed_number(seed)}  # fmt: skip
    doubt = Doubt(**asked) if decoys or resamples else None
    run, batches = Sweeping(plan, _fractions(levels), chosen, zero=True, doubt=doubt), plan.batches(images)
    settings = {**plan.settings, **plan.told, "shares": list(chosen), "levels": levels}
    settings |= {} if doubt is None else asked
    about = {} if resume is None else plan.about(batches)
    about |= {"layers": plan.names, "options": {**settings, **plan.options}}
    with plan.steps(batches) as steps:
        finish(run, steps, resume=resume, about=about, progress=progress)
        settings |= {"layouts": steps.layouts}
    settings |= {
        **plan.geometry.settings(run.grids), "num_images": run.num_images,
        "provenance": provenance(model, images, batches.identity(), run.date),
    }  # fmt: skip
    found = {name: SweptLayer(name, _on_cpu(run.sweeps[name]), run.exact_levels(name)) for name in plan.names}
    if run.bands is not None:
        for layer in found.values():
            layer.bands = run.bands.evidence(layer.name, band_labels(layer, chosen))
    return Sweep(found, plan.vocabulary, settings)


def _fractions(levels: int) -> list[float]:
    """Top shares of the pixels at equal ratios, below all of them and down to a thousandth."""
    return [round(10 ** (-3 + 3 * k / levels), 9) for k in reversed(range(levels))]


def _on_cpu(sweep: ThresholdSweep) -> ThresholdSweep:
    """The counts alone, wherever they were made."""
    counts = ThresholdSweep(sweep.edges.cpu(), sweep.num_labels)
    state = {name: value.cpu() if isinstance(value, Tensor) else None for name, value in sweep.state_dict().items()}
    counts.load_state_dict(state)
    return counts


def _check_scope(preset: PresetName) -> None:
    """Refuses a preset that does not count over all images.

    Raises:
        ValueError: it counts by category.
    """
    if preset_with(preset).scope != "all":
        raise refusal(
            ValueError(
                f'preset must be one that counts over all images, "default" or "pnas2020", but is {preset!r}: a '
                "share of the pixels is one of all."
            )
        )


def _checked_shares(shares: Sequence[float]) -> tuple[float, ...]:
    """Rising.

    Raises:
        ValueError: none, one that is no share, or one twice.
    """
    exact = {share: exact_fraction(share, "shares") for share in shares}
    if not exact or len(exact) < len(tuple(shares)) or not all(0 < part < 1 for part in exact.values()):
        raise refusal(
            ValueError(f"shares must be different numbers between 0 and 1, at least one, but are {shares!r}.")
        )
    return tuple(sorted(float(share) for share in exact))
