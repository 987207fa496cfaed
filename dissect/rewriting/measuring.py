"""What a rewritten rule does to images: how much of a class became another, and what else has changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.concepts import Concepts
from dissect.data import Batch
from dissect.devices import device_of, to_device
from dissect.network.modes import check_evaluating, check_segmenter, repeatable
from dissect.network.outputs import first_tensor
from dissect.rewriting.keys import noise_of
from dissect.rewriting.moment import batches_of
from dissect.rewriting.transfer import Transfer
from dissect.stats.bootstrap import drawn_again, interval_of
from dissect.visits.images import Images
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

#: What is entered while changed images are made, as an `Edit`, or gives that, as ``lambda: dissect.ablate(...)``; or a
#: `Transfer`, which changes images themselves.
Change = Callable[[], AbstractContextManager[Any]] | AbstractContextManager[Any] | Transfer
#: How often images are drawn again for an interval.
RESAMPLES = 1000


@speaks
@dataclass(frozen=True, eq=False)
class RuleChange:
    """What a change did to N images, each against itself without it.

    Attributes:
        source: [N] int64, pixels that show the source class before.
        changed: [N] int64, those of them that show a target after, also where another plane showed it before: measure
            ``contextlib.nullcontext`` too, the unmodified model.
        gone: [N] int64, those of them that no longer show the source after.
        outside: [N] float64, the mean distance |after - before| over all other pixels and channels.
        perceived: [N] float64, how far features of the image are from what they were, relative to their length, with
            the source's pixels as they were; or the mean `distance` over all other pixels; empty where neither was
            asked for.
        effect: [N] bool, which images have the effect after; empty where no `effect` was asked for.
    """

    source: Tensor
    changed: Tensor
    gone: Tensor
    outside: Tensor
    perceived: Tensor
    effect: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.bool))

    @property
    def share(self) -> float:
        """Of all the source's pixels those that show a target after: the published code's measure (`seg_correct_mod`).

        The thesis has two others: pixels that are no longer the source (section 6.5.1: `gone_share`), and pixels that
        changed to one of two classes (B.2: give both as targets).
        """
        return _share(self.changed, self.source)

    @property
    def gone_share(self) -> float:
        """Of all the source's pixels those that no longer show it: the measure of the thesis' section 6.5.1."""
        return _share(self.gone, self.source)

    def images(self, least: float = 0.5) -> tuple[int, int]:
        """In how many images at least such a share of the source's pixels shows a target after, of how many with some.

        Raises:
            ValueError: a share outside (0, 1].
        """
        if not 0 < least <= 1:
            raise refusal(ValueError(f"least must be above 0 and at most 1, but is {least}."))
        there = self.source > 0
        return int((there & (self.changed >= least * self.source)).sum()), int(there.sum())

    def interval(self, of: str = "changed", *, seed: int = 0) -> tuple[float, float]:
        """Where 95 % of such shares lie if images are drawn again (percentile bootstrap); of "changed" or "gone".

        NaN where fewer than ten images show the source.
        """
        return interval_of_ratio(getattr(self, of).double(), self.source.double(), seed)

    def mean(self, of: str = "outside", *, seed: int = 0) -> tuple[float, float, float]:
        """The mean over images of "outside" or "perceived", and its interval."""
        values = getattr(self, of)
        return float(values.mean()), *interval_of_ratio(values, torch.ones_like(values), seed)


@speaks
def rule_changes(
    model: nn.Module, inputs: Any, changes: Mapping[str, Change], segmenter: Callable[[Tensor], Tensor], source: int,
    targets: Sequence[int], *, features: Callable[[Tensor], Tensor] | None = None,
    distance: Callable[[Tensor, Tensor], Tensor] | None = None, effect: Callable[[Tensor], Tensor] | None = None,
    truncation: float | None = None, batch_size: int = 32, progress: bool = True,
) -> dict[str, RuleChange]:  # fmt: skip
    """Measures changes of a generator beside each other, on the same z (thesis, Tables 6.1 and 6.2).

    Args:
        model: from z to images [N, 3, H, W], in evaluation mode.
        inputs: z, or (z, noise seeds): others than those that the edit was made of.
        changes: by name an `Edit`, or what else `baselines` gives; or what gives a context within which images are
            changed, as ``lambda: dissect.ablate(model, layer, units)``.
        segmenter: from images in [-1, 1] to planes [N, K, H, W]; a pixel shows a class if any plane says so.
        source: label number of the class that is to go.
        targets: label numbers of what may take its place.
        features: from images to [N, D], to measure perceived change by; none by default.
        distance: or from images before and after to maps [N, H, W] or [N, 1, H, W] of how far they are apart, as
            `lpips_distance` gives it (published).
        effect: from images to [N] bool, as a classifier's of smiles, which images have the effect (Table 6.1); the
            row of the unmodified model is that of ``contextlib.nullcontext``.
        truncation: for the time of the measurement, of a model that has one (published: 0.5); as it is by default.
        batch_size: images at a time.
        progress: show a bar.

    Returns:
        By name a `RuleChange`.

    Raises:
        TypeError: labels that are no integers.
        ValueError: no targets, or the source among them; labels below 1 or beyond the segmenter's vocabulary (its
            attribute `concepts`), where it tells one; features and a distance; a truncation of a model that has none; a
            segmenter in training mode with dropout or batch statistics, or for images in [0, 1].

    Example:
        >>> from dissect import rewriting, tiny
        >>> street, see = tiny.generator(), tiny.segmenter(signed=True)
        >>> roof, tree = see.label("part/roof"), see.label("object/tree")
        >>> found = rewriting.rule_changes(
        ...     street, dissect.latents(street, 4, seed=2),
        ...     {"less": lambda: dissect.ablate(street, "layer4", [3])}, see, roof, [tree], progress=False,
        ... )
        >>> found["less"].source.shape, 0 <= found["less"].share <= 1
        (torch.Size([4]), True)
    """
    check_evaluating(model)
    check_segmenter(segmenter, generated=True)
    source, *targets = _labels(segmenter, source, targets)
    if not targets or source in targets:
        raise refusal(ValueError(f"targets must be classes other than the source, {source}, but are {targets}."))
    if features is not None and distance is not None:
        raise refusal(ValueError("features and distance must not be given both: one measures what is perceived."))
    run = _Changes(model, changes, segmenter, source, targets, (features, distance, effect))
    batches = batches_of(inputs, integer("batch_size", batch_size))
    with truncated(model, truncation):
        finish(run, Images({"inputs": batches}), progress=progress)
    return {name: RuleChange(*(torch.cat(parts) for parts in zip(*rows))) for name, rows in run.rows.items()}


def _labels(segmenter: Any, source: int, targets: Sequence[int]) -> list[int]:
    """All label numbers, as far as they can be checked."""
    labels = [integer("source", source), *(integer("targets", target) for target in targets)]
    names = getattr(segmenter, "concepts", None)
    if names is not None and max(labels) >= (known := len(Concepts.of(names))):
        raise refusal(
            ValueError(
                f"source and targets must be labels of the segmenter's vocabulary, from 1 to {known - 1}, but "
                f"{max(labels)} is none."
            )
        )
    return labels


def within(change: Change | None) -> AbstractContextManager[Any]:
    """What is entered while images are made with a change; nothing for a `Transfer`, which changes them afterwards."""
    if change is None or isinstance(change, Transfer):
        return nullcontext()
    return change() if callable(change) else change


@contextmanager
def truncated(model: nn.Module, truncation: float | None) -> Iterator[None]:
    """A model with another `truncation` for the time of a block; None leaves it alone.

    Raises:
        ValueError: it has none.
    """
    if truncation is None:
        yield
        return
    if not hasattr(model, "truncation"):
        raise refusal(ValueError(f"truncation must not be given for a {type(model).__name__}, which has none."))
    holder: Any = model
    before, holder.truncation = holder.truncation, truncation
    try:
        yield
    finally:
        holder.truncation = before


class _Changes(Run):
    """Per change and batch: the numbers of a `RuleChange`."""

    def __init__(
        self, model: nn.Module, changes: Mapping[str, Change], segmenter: Any, source: int, targets: Sequence[int],
        seen: tuple[Any, Any, Any],
    ) -> None:  # fmt: skip
        self._model, self._changes, self._segmenter = model, changes, segmenter
        self._features, self._distance, self._effect = seen
        self._source, self._targets = source, torch.tensor(targets)
        self.rows: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in changes}
        self.done = False

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return None if self.done else Visit("rule changes", last=True, data="inputs")

    def compute(self, step: Step) -> Any:
        """See `Run`."""
        with torch.no_grad():
            before = made(self._model, step)
            planes = self._segmenter(before)
            source = (planes == self._source).any(1)
            known = None if self._features is None else self._features(before)
            return {name: self._row(step, change, before, source, known) for name, change in self._changes.items()}

    def add(self, found: Any) -> None:
        """See `Run`."""
        for name, row in found.items():
            self.rows[name].append(row)

    def end_visit(self) -> None:
        """See `Run`."""
        self.done = True

    def _row(
        self, step: Step, change: Change, before: Tensor, source: Tensor, known: Tensor | None
    ) -> tuple[Tensor, ...]:
        with within(change):
            after = change(before) if isinstance(change, Transfer) else made(self._model, step)
        planes = self._segmenter(after)
        shown = torch.isin(planes, self._targets.to(planes)).any(1)
        gone = ~(planes == self._source).any(1)
        outside = _elsewhere((after - before).abs().mean(1), source)
        perceived = outside.new_zeros(0)
        if known is not None:
            seen = self._features(torch.where(source[:, None], before, after))
            perceived = ((seen - known).flatten(1).norm(dim=1) / known.flatten(1).norm(dim=1)).double()
        elif self._distance is not None:
            perceived = _elsewhere(self._distance(before, after).view(source.shape), source)
        counts = (part.flatten(1).sum(1) for part in (source, source & shown, source & gone))
        effect = torch.empty(0) if self._effect is None else self._effect(after)
        return tuple(part.cpu() for part in (*counts, outside, perceived, effect.bool()))


def _elsewhere(maps: Tensor, source: Tensor) -> Tensor:
    """The mean of maps [N, H, W] where the source is not; 0 where it is everywhere."""
    others = (~source).flatten(1)
    return (maps.double().flatten(1) * others).sum(1) / others.sum(1).clamp_min(1)


def _share(some: Tensor, of: Tensor) -> float:
    return float(some.sum() / of.sum()) if int(of.sum()) else float("nan")


def made(model: nn.Module, step: Step | Batch) -> Tensor:
    """The images of a step or batch, of z or of (z, noise seeds).

    Raises:
        ValueError: the model draws random numbers, and gives others of the same.
    """
    also = step.planes if isinstance(step.planes, Tensor) else None
    device, given = device_of(model), step.images
    z = to_device(given, device)  # type: ignore[arg-type]
    images: Tensor = first_tensor(repeatable(lambda: model(z, **noise_of(model, also)), device))
    return images


def interval_of_ratio(sums: Tensor, weights: Tensor, seed: int) -> tuple[float, float]:
    """Of the ratio ``sum of sums / sum of weights``; NaN where fewer than ten images have a weight."""
    drawn = drawn_again(len(sums), RESAMPLES, seed)
    ends = interval_of((drawn @ sums) / (drawn @ weights), int((weights > 0).sum()))
    return float(ends[0]), float(ends[1])
