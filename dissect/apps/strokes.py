"""Strokes: which units are set to what, and where; as tuples, and as JSON that is checked before it is believed."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from dissect.arguments import refusal, speaks
from dissect.files.checked import Each, Maybe, Of, Text, Whole, fields, require

#: What a stroke does with its concept.
Action = Literal["draw", "remove"]
ACTIONS: tuple[Action, ...] = get_args(Action)
#: How a mask becomes as small as the layer's map: any painted pixel counts, or their share.
Pooling = Literal["max", "mean"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
#: Rows or columns of a mask at most.
MOST_PIXELS = 1024
#: Values of units must be smaller than this, as all activations.
MOST_VALUE = 2.0**126
#: Letters of a concept's name at most.
LONGEST = 200


@speaks
class Mask(NamedTuple):
    """Where a stroke was painted: a box of zeros and ones in a picture of zeros, as the published page sends it.

    Attributes:
        shape: (H, W) of the picture.
        bounds: (top, left, bottom, right) of the box, the last two beyond it.
        bits: "0" or "1" for each pixel of the box, row by row.
    """

    shape: tuple[int, int]
    bounds: tuple[int, int, int, int]
    bits: str

    @classmethod
    def of(cls, painted: Tensor) -> Mask:
        """Of a picture [H, W] in which all that is not 0 is painted; the box is the smallest.

        Raises:
            TypeError, ValueError: no tensor of two axes, of 1 to 1,024 rows and columns; values that are not finite.

        Example:
            >>> Mask.of(torch.tensor([[0, 0, 0], [0, 1, 1]]))
            Mask(shape=(2, 3), bounds=(1, 1, 2, 3), bits='11')
        """
        if not isinstance(painted, Tensor):
            raise refusal(TypeError(f"mask must be a tensor [H, W], but is a {type(painted).__name__}."))
        if painted.ndim != 2 or not 1 <= min(painted.shape) <= max(painted.shape) <= MOST_PIXELS:
            raise refusal(
                ValueError(
                    f"mask must have 1 to {MOST_PIXELS} rows and columns, [H, W], but has shape {list(painted.shape)}."
                )
            )
        if painted.is_floating_point() and not bool(painted.isfinite().all()):
            raise refusal(ValueError("mask must be finite, but is not."))
        on = (painted != 0).cpu()
        shape = (on.shape[0], on.shape[1])
        rows, columns = (on.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        if not rows:
            return cls(shape, (0, 0, 0, 0), "")
        bounds = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
        box = on[bounds[0] : bounds[2], bounds[1] : bounds[3]]
        return cls(shape, bounds, "".join("01"[bit] for bit in box.flatten().tolist()))

    def picture(self) -> Tensor:
        """[H, W] float32: 1 where it is painted."""
        top, left, bottom, right = self.bounds
        found = torch.zeros(self.shape)
        box = torch.frombuffer(bytearray(self.bits.encode()), dtype=torch.uint8) if self.bits else torch.zeros(0)
        found[top:bottom, left:right] = (box == ord("1")).float().view(bottom - top, right - left)
        return found

    def pooled(self, size: tuple[int, int], pooling: Pooling = "max") -> Tensor:
        """[h, w] float32 in [0, 1], as large as a layer's map.

        Of max, as published, a cell is 1 if any pixel that falls into it is painted; of mean it is their share.

        Example:
            >>> Mask((4, 4), (0, 0, 1, 3), "111").pooled((2, 2), "mean").tolist()
            [[0.5, 0.25], [0.0, 0.0]]
        """
        pool = adaptive_max_pool2d if pooling == "max" else adaptive_avg_pool2d
        found: Tensor = pool(self.picture()[None], size)[0]
        return found

    def as_json(self) -> dict[str, Any]:
        """As the published interface writes it."""
        return {"shape": list(self.shape), "bitbounds": list(self.bounds), "bitstring": self.bits}


class Stroke(NamedTuple):
    """Units of a layer that are blended with values where a mask says.

    Attributes:
        action: what was done, for people who look at the history.
        concept: with what, for the same.
        units: numbers, each once.
        values: of each unit.
        alphas: how much of its value each unit takes on, from 0 to 1.
        mask: where; None is everywhere.
        pooling: how the mask becomes as small as the layer's map.
    """

    action: Action
    concept: str
    units: tuple[int, ...]
    values: tuple[float, ...]
    alphas: tuple[float, ...]
    mask: Mask | None = None
    pooling: Pooling = "max"

    def as_json(self) -> dict[str, Any]:
        """As sessions hold it."""
        lists = {name: list(getattr(self, name)) for name in ("units", "values", "alphas")}
        told = {"action": self.action, "concept": self.concept, **lists}
        return {**told, "mask": self.mask and self.mask.as_json(), "pooling": self.pooling}


def mask_of(found: Any, what: str = "the mask") -> Mask | None:
    """A mask that was read from JSON, of zeros and ones; None for none.

    Raises:
        ValueError: it is none; says what must hold.
    """
    if found is None:
        return None
    sides = Each(Whole(1, MOST_PIXELS), 2)
    fields(what, found, {"shape": sides, "bitbounds": Each(Whole(0, MOST_PIXELS), 4), "bitstring": Text()})
    (height, width), (top, left, bottom, right) = found["shape"], found["bitbounds"]
    require(what, top <= bottom <= height and left <= right <= width, "bitbounds, top, left, bottom, right, lie in it")
    bits = found["bitstring"]
    require(what, len(bits) == (bottom - top) * (right - left), "bitstring has a bit for each pixel within bitbounds")
    require(what, set(bits) <= {"0", "1"}, "bitstring is of 0 and 1")
    return Mask((height, width), (top, left, bottom, right), bits)


def stroke_of(found: Any, num_units: int, what: str = "a stroke") -> Stroke:
    """A stroke that was read from JSON, for a layer of so many units.

    Raises:
        ValueError: it is none; says what must hold.
    """
    rules = {
        "action": Text(ACTIONS),
        "concept": Text(),
        "units": Each(Whole(0, num_units - 1), "K", different=True),
        "values": Each(Of(object), "K"),
        "alphas": Each(Of(object), "K"),
        "mask": Maybe(Of(dict)),
        "pooling": Text(POOLINGS),
    }
    fields(what, found, rules)
    require(what, len(found["concept"]) <= LONGEST, f"a concept has at most {LONGEST} letters")
    require(what, len(found["units"]) > 0, "it has a unit")
    values = tuple(number_within(what, "values", value, -MOST_VALUE, MOST_VALUE) for value in found["values"])
    alphas = tuple(number_within(what, "alphas", value, 0, 1) for value in found["alphas"])
    units, mask = tuple(found["units"]), mask_of(found.get("mask"), f"the mask of {what}")
    return Stroke(found["action"], found["concept"], units, values, alphas, mask, found["pooling"])


def number_within(what: str, name: str, value: Any, low: float, high: float) -> float:
    """A number that was read from JSON, as a float.

    Raises:
        ValueError: it is none, or beyond its ends.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        raise ValueError(f"{what} must have {name} from {low:g} to {high:g}, but one is {str(value)[:40]}.")
    return float(value)
