"""The most informative thresholds, found on images other than those that are counted (thesis, equation 4.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from dissect.arguments import refusal
from dissect.digests import digest
from dissect.dissection.plan import Plan
from dissect.dissection.sweeping import Sweeping
from dissect.stats import ThresholdSweep
from dissect.visits.run import finish

#: The published candidates: top fractions 10^(-3 + 3 k / 99), k below 99, falling.
FRACTIONS = tuple(round(10 ** (-3 + 3 * k / 99), 9) for k in reversed(range(99)))
#: What a candidate must be, as published: see `ThresholdSweep.informative`.
LEAST_ACCURACY, LEAST_SHARE = 0.8, 1e-3
#: Bytes of counts of which measures are taken at a time.
BLOCK = 1 << 26


def informative_levels(
    plan: Plan, images: Any, resume: Path | None, progress: bool
) -> tuple[dict[str, Tensor], dict[str, Any], set[tuple[int, ...]]]:
    """The threshold of each unit and label with the highest information quality ratio on these images.

    Args:
        plan: of the dissection, whose layers, rules, segmenter and concepts are used.
        images: on which levels are found.
        resume: a folder, see `dissect.dissect`.
        progress: show a bar.

    Returns:
        By layer [U, C] float32, infinity where no level tells anything; what a result says of this; and the checksums
        of the batches.
    """
    run, batches = Sweeping(plan, FRACTIONS, floor=True), plan.batches(images)
    about = {} if resume is None else plan.about(batches)
    about |= {"layers": plan.names, "options": {**plan.settings, **plan.told, **plan.options, "levels": len(FRACTIONS)}}
    with plan.steps(batches) as steps:
        finish(run, steps, resume=resume, about=about, progress=progress)
    told = {"images": run.num_images, "candidates": len(FRACTIONS), "least_accuracy": LEAST_ACCURACY,
            "least_share": LEAST_SHARE, "digest": digest_of(steps.checksums)}  # fmt: skip
    levels = {name: _levels(sweep, plan.rules.levels) for name, sweep in run.sweeps.items()}
    return levels, {"thresholds_from": told}, steps.checksums


def digest_of(checksums: set[tuple[int, ...]]) -> str:
    """Tells one set of images from another, whatever the order of its batches."""
    return digest([repr(sorted(checksums))])


def _levels(sweep: ThresholdSweep, rule: str) -> Tensor:
    """[U, C]; by rule "unit_information" each unit's are that of the label that tells it most."""
    units, edges = sweep.edges.shape
    step = max(1, BLOCK // (8 * sweep.num_labels * edges))
    found = [
        sweep.informative(slice(at, at + step), least_accuracy=LEAST_ACCURACY, least_share=LEAST_SHARE)
        for at in range(0, units, step)
    ]
    levels = torch.cat([part.thresholds for part in found]).cpu()
    if rule == "unit_information":
        best = torch.cat([part.information_quality for part in found]).cpu().max(1, keepdim=True).indices
        return levels.gather(1, best).expand_as(levels).contiguous()
    return levels


def check_others(plan: Plan, images: Any, others: Any, given: Mapping[str, Tensor]) -> None:
    """Whether there are images to find thresholds on where the rules ask for them, and others than are counted.

    As far as that can be seen before a visit: see `check_batches`.

    Raises:
        ValueError: there are none, or none are asked for; thresholds were given too; no concepts; the same object, or
            tensors that share an image; a match that needs what is not counted.
    """
    rules = plan.rules
    if rules.match != "iou" and rules.scope == "category" and rules.levels == "fraction" and not _by_label(plan, given):
        raise refusal(
            ValueError(
                f'match must be "iou" with scope "category" and one threshold per unit, for which the pixels that '
                f'count are not known, but is "{rules.match}"; say scope="all".'
            )
        )
    if rules.levels == "fraction":
        if others is not None:
            raise refusal(
                ValueError(
                    'thresholds_from must come with levels "label_information" or "unit_information" (as '
                    'preset="iclr2019" has them), but levels are "fraction": thresholds are those of the images '
                    "themselves."
                )
            )
        return
    if given or others is None:
        told = "thresholds are given too" if given else "is not given"
        raise refusal(
            ValueError(
                f'thresholds_from must hold other images, on which levels "{rules.levels}" are found, but {told}.'
            )
        )
    if plan.vocabulary is None:
        raise refusal(
            ValueError(
                f'concepts must name the labels with levels "{rules.levels}", so that both sets of images mean '
                "the same by them; give concepts, or a segmenter that has them."
            )
        )
    one, other = _first_tensor(images), _first_tensor(others)
    shared = images is others
    if one is not None and other is not None and not shared:
        known = set(_rows(other))
        shared = any(row in known for row in _rows(one))
    if shared:
        raise refusal(ValueError(_SAME.format("some image is in both")))


def _by_label(plan: Plan, given: Mapping[str, Tensor]) -> bool:
    """Whether all layers have thresholds for each label."""
    return all(name in given and given[name].ndim == 2 for name in plan.names)


def check_batches(own: set[tuple[int, ...]], others: set[tuple[int, ...]]) -> None:
    """The same, by the checksums of batches.

    Raises:
        ValueError: some batch is in both.
    """
    if own & others:
        raise refusal(ValueError(_SAME.format(f"{len(own & others)} of {len(own)} batches are in both")))


_SAME = (
    "thresholds_from must hold other images than those that are counted, so that no unit is matched to a "
    "label on images that chose its threshold, but {}."
)


def _first_tensor(images: Any) -> Tensor | None:
    if isinstance(images, TensorDataset):
        return images.tensors[0]
    return images[0] if isinstance(images, tuple) and images and isinstance(images[0], Tensor) else _tensor(images)


def _tensor(images: Any) -> Tensor | None:
    return images if isinstance(images, Tensor) else None


def _rows(images: Tensor) -> Iterable[int]:
    return (hash(row.tobytes()) for row in images.detach().cpu().flatten(1).contiguous().view(torch.uint8).numpy())
