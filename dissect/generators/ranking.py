"""Which units belong to a class, by their IoU with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.concepts import label_of
from dissect.files.checked import Array, Maybe, Of, fields
from dissect.files.progress import go_on, versioned
from dissect.generators.counting import Concept, Counter
from dissect.generators.rendering import Renderer
from dissect.stats import IouTally, TailThreshold
from dissect.visits.run import Run, Visit
from dissect.visits.store import Step

#: A unit fires on the top 1 % of its pixels.
FRACTION = 0.01

if TYPE_CHECKING:
    from dissect.dissection.result import Dissection


@speaks
def class_iou(dissection: Dissection, layer: str, concept: Concept) -> Tensor:
    """[U] float64: the IoU of each unit of a layer with a class.

    Args:
        dissection: of the generator, over other z than those whose effects are measured.
        layer: a layer that it has.
        concept: the class: a label number, a name, or "category/name".

    Raises:
        KeyError: the dissection has no such layer or class.
        ValueError: it has read the layer along directions.

    Example: see `units_by_iou`.
    """
    scores: Tensor = dissection.of_units(layer).iou
    return scores[:, label_of(dissection.concepts, concept)]


@speaks
def units_by_iou(dissection: Dissection, layer: str, concept: Concept) -> Tensor:
    """[U] int64: the units of a layer, the one with the highest IoU with a class first; ties to the lower number.

    Arguments and errors: see `class_iou`.

    Example:
        >>> from dissect import generators, tiny
        >>> street, segmenter = tiny.generator(), tiny.segmenter(signed=True)
        >>> z = dissect.latents(street, 8, seed=1)
        >>> d = dissect.dissect(street, "layer4", z, segmenter=segmenter, segment="output", decoys=0, progress=False)
        >>> units = generators.units_by_iou(d, "layer4", "object/house")
        >>> iou = generators.class_iou(d, "layer4", "object/house")
        >>> len(units), bool(iou[units[0]] == iou.max())
        (128, True)
    """
    return class_iou(dissection, layer, concept).sort(descending=True, stable=True).indices


@speaks
class SampleIou(Run):
    """The IoU of each unit with a class in a sample, at the threshold that the top 1 % exceed there.

    Args:
        renderer: makes the images.
        counter: sees the class.
        size: rows and columns of the segmenter's planes.
        known: [U] where it is known already, so that nothing is to be done.

    Attributes:
        iou: [U] float64 on the CPU; None before the last visit has ended.
    """

    def __init__(
        self, renderer: Renderer, counter: Counter, size: tuple[int, int], known: Tensor | None = None
    ) -> None:
        self._renderer, self._counter, self.iou = renderer, counter, known
        self._thresholds = TailThreshold(FRACTION, size=size)
        self._tally: IouTally | None = None  # once thresholds are known

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return None if self.iou is not None else Visit("thresholds" if self._tally is None else "IoU", data="z")

    def compute(self, step: Step) -> Any:
        """See `Run`."""
        rows = slice(int(step.numbers[0]), int(step.numbers[-1]) + 1)
        if self._tally is None:
            return (self._renderer.maps(rows),)
        maps, images = self._renderer.plain(rows)
        carries = self._counter.carries(self._counter.planes(rows.start // self._renderer.batch_size, images))
        return maps, carries[:, None].to(torch.uint8), torch.arange(rows.start, rows.stop)

    def add(self, found: Any) -> None:
        """See `Run`."""
        (self._thresholds if self._tally is None else self._tally).add(*found)

    def end_visit(self) -> None:
        """See `Run`."""
        if self._tally is not None:
            self.iou = self._tally.iou()[:, 1].cpu()
        elif self._thresholds.advance():
            self._tally = IouTally(self._thresholds.threshold(), 2)

    def known_iou(self) -> Tensor:
        """[U] float64, once all visits were made.

        Raises:
            RuntimeError: they were not.
        """
        if self.iou is None:
            raise refusal(RuntimeError("the IoU is known when all visits were made, but they were not."))
        return self.iou

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        tally = {} if self._tally is None else versioned(self._tally)
        return {"thresholds": versioned(self._thresholds), "tally": tally, "iou": self.iou}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`."""
        rules = {"thresholds": Of(dict), "tally": Of(dict), "iou": Maybe(Array(torch.float64, "U", 0, 1))}
        fields("the IoU", state, rules, {"U": self._renderer.num_units})
        go_on(self._thresholds, state["thresholds"])
        if state["tally"]:
            self._tally = IouTally(self._thresholds.threshold(), 2)
            go_on(self._tally, state["tally"])
        self.iou = state.get("iou")
