"""Checkpoints of one training dissected in turn, so that it can be seen how its units come to detect concepts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any

from torch import nn

from dissect.arguments import refusal, speaks
from dissect.dissection.comparable import check_classes
from dissect.dissection.comparison import Comparison, compare
from dissect.dissection.result import Dissection
from dissect.dissection.run import dissect

#: A network at a checkpoint: itself, what loads it, or what was found of it before.
CheckpointLike = nn.Module | Callable[[], nn.Module] | Dissection | str | Path


@speaks
def monitor(
    checkpoints: Mapping[Any, CheckpointLike] | Iterable[tuple[Any, CheckpointLike]],
    layers: str | Iterable[str],
    images: Any,
    *,
    steps: Sequence[float] | None = None,
    allow: str | Sequence[str] = (),
    resume: str | Path | None = None,
    **options: Any,
) -> Comparison:
    """Dissects the checkpoints of a training: how many units detect how many concepts, and how well (thesis, A.6).

    Number, diversity and quality are the `detectors`, `concepts` and `mean_iou` of `Comparison.summary`, and what
    ``plot("series")`` shows (Fig. A-7). Of dissections alone `compare` makes the same.

    Args:
        checkpoints: networks of one kind by name, a mapping or pairs; names that are numbers are the steps of the
            training. A network is a module, or a function that loads one when its turn comes, so that one is in memory
            at a time; or a `Dissection`, or the file of one, that was made before.
        layers: see `dissect.dissect`.
        images: see `dissect.dissect`; the z of a generator, the same at every checkpoint.
        steps: a number for each checkpoint, rising; by default the names, if all are numbers, else 0, 1, 2, ...
        allow: see `compare`.
        resume: a folder in which each checkpoint has one of its own, see `dissect.dissect`.
        **options: of `dissect.dissect`, as ``segmenter=s, segment="output"``.

    Returns:
        A `Comparison` with `steps`.

    Warns:
        dissect.DoubtfulResultWarning: see `dissect.dissect` (the first checkpoint may look untrained) and `compare`.

    Raises:
        TypeError, ValueError: checkpoints that are none, fewer than two, or of the same name; steps that do not rise,
            or networks of different classes (told before anything is computed); see `dissect.dissect` and `compare`.

    Example:
        >>> images, planes = torch.rand(4, 3, 8, 8), torch.randint(0, 3, (4, 1, 8, 8))
        >>> def checkpoint(step):
        ...     torch.manual_seed(step)
        ...     return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3, padding=1)).eval()
        >>> grown = dissect.monitor(
        ...     {step: (lambda: checkpoint(step)) for step in (1, 100)}, "0", [(images, planes)],
        ...     concepts=["sky", "tree"], progress=False,
        ... )
        >>> [(row.step, row.units) for row in grown.summary()]
        [(1, 2), (100, 2)]
    """
    pairs = _pairs(checkpoints)
    places = _steps([name for name, _ in pairs], steps)
    layers = layers if isinstance(layers, str) else list(layers)
    named = [allow] if isinstance(allow, str) else list(allow)
    classes = {str(name): _class(network) for name, network in pairs}
    check_classes(classes, named)  # before any work, as far as networks are there
    found: dict[str, Dissection | str | Path] = {}
    for at, (name, network) in enumerate(pairs):
        if isinstance(network, (Dissection, str, Path)):
            found[str(name)] = network
            continue
        model = network if isinstance(network, nn.Module) else network()
        classes[str(name)] = _class(model)
        check_classes(classes, named)
        folder = None if resume is None else Path(resume) / f"{at:03d}"
        found[str(name)] = dissect(model, layers, images, resume=folder, **options)
    return compare(found, steps=places, allow=allow)


def _class(network: Any) -> str | None:
    """A network's class; None where it has not been loaded."""
    if isinstance(network, nn.Module):
        return type(network).__qualname__
    told = network.settings.get("provenance") if isinstance(network, Dissection) else None
    return (told or {}).get("network")


def _pairs(checkpoints: Any) -> list[tuple[Any, Any]]:
    """Names and networks.

    Raises:
        TypeError, ValueError: there are no such, too few, or of the same name.
    """
    rule = "checkpoints must be a mapping of networks by name, or pairs (name, network)"
    if isinstance(checkpoints, nn.Module) or not isinstance(checkpoints, Iterable):
        raise refusal(TypeError(f"{rule}, but got {type(checkpoints).__name__}."))
    given = list(checkpoints.items() if isinstance(checkpoints, Mapping) else checkpoints)
    for pair in given:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise refusal(TypeError(f"{rule}, but one is {type(pair).__name__}."))
        if not isinstance(pair[1], (Dissection, str, Path)) and not callable(pair[1]):
            raise refusal(TypeError(
                "checkpoints must be modules, functions that load one, dissections or their files, but "
                f"{pair[0]!r} is {type(pair[1]).__name__}."
            ))  # fmt: skip
    names = [str(name) for name, _ in given]
    if len(names) < 2 or len({*names}) < len(names):
        raise refusal(ValueError(f"checkpoints must be at least two, of different names, but got {names}."))
    return given


def _steps(names: list[Any], steps: Sequence[float] | None) -> list[float]:
    """A place in the training for each checkpoint.

    Raises:
        TypeError, ValueError: no numbers, not as many, or they do not rise.
    """
    numbered = all(map(_is_number, names))
    places = list(steps) if steps is not None else names if numbered else list(range(len(names)))
    if not all(map(_is_number, places)):
        raise refusal(TypeError(f"steps must be numbers, but are {places}."))
    if len(places) != len(names):
        raise refusal(ValueError(f"steps must be as many as checkpoints, {len(names)}, but are {len(places)}."))
    places = [place if isinstance(place, int) else float(place) for place in places]
    if not all(map(math.isfinite, places)) or not all(one < other for one, other in pairwise(places)):
        raise refusal(ValueError(f"steps must rise and be finite, but are {places}."))
    return places


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
