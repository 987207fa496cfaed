"""Per unit, the images that it responds to most."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dissect import ops
from dissect.arguments import refusal, speaks
from dissect.devices import to_device
from dissect.files.checked import Array, Whole, fields, require
from dissect.ops import checks
from dissect.stats.state import State, image_numbers
from dissect.subnormals import keeps_subnormals


@speaks
class Peaks(State):
    """Per unit the k images with the highest activation, ties to the lower image number.

    Args:
        k: how many images to keep per unit.

    Attributes:
        latest: [N, U] float32, the peaks of the batch that was added last, as `dissect.ops.image_peaks` gives them.

    Raises:
        ValueError: k below 1.

    Example:
        >>> peaks = dissect.stats.Peaks(2)
        >>> peaks.add(torch.tensor([1.0, 5.0, 5.0]).view(3, 1, 1, 1), torch.tensor([10, 12, 11]))
        >>> peaks.images()
        tensor([[11, 12]])
    """

    tensors = ("_values", "_images")

    def __init__(self, k: int) -> None:
        if k < 1:
            raise refusal(ValueError(f"k must be at least 1, but got {k}."))
        self.k = k
        self.latest = self._values = torch.empty(0, 0, dtype=torch.float32)
        self._images = torch.empty(0, 0, dtype=torch.int64)
        self._batch = 0

    def add(self, activations: Tensor, images: Tensor) -> None:
        """Adds a batch.

        Args:
            activations: [N, U, h, w] float32, float16 or bfloat16.
            images: [N] int64, the global number of each image; each image is added once.

        Raises:
            TypeError, ValueError: bad activations, or numbers that are no integers, of another shape, or, as far as
                that is seen on a CPU, added before.
        """
        checks.activations("Peaks", activations)
        images = image_numbers("Peaks", images, activations)
        self._move(activations.device)
        status = ops.new_status(activations.device)
        self.latest = ops.image_peaks(activations, status=status)
        self._note(status, self._batch)
        self._batch += 1
        values = self.latest.T
        self._keep_best(values, to_device(images, values.device).long().expand_as(values))

    def merge(self, other: Peaks) -> None:
        """Adds the peaks that another state found in other images.

        Raises:
            ValueError: another k or number of units; on a CPU, an image that both have kept.
        """
        if other.k != self.k:
            raise refusal(ValueError(f"states to merge must have the same k, but got {self.k} and {other.k}."))
        units = len(self._values), len(other._values)
        if 0 not in units and units[0] != units[1]:
            raise refusal(ValueError(f"states to merge must have as many units, but have {units[0]} and {units[1]}."))
        self.check()
        other.check()
        if not other._values.numel():
            return
        if not self._values.numel():
            self._move(other._values.device)
        device = self._values.device
        self._keep_best(other._values.to(device), other._images.to(device))

    def values(self) -> Tensor:
        """[U, min(k, N)] float32, falling."""
        self.check()
        return self._values

    def images(self) -> Tensor:
        """[U, min(k, N)] int64 image numbers, in the order of `values`."""
        self.check()
        return self._images

    def candidates(self) -> Tensor:
        """`images` so far, without waiting to know whether the activations were good."""
        return self._images

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and JSON values."""
        self.check()
        return {"k": self.k, "values": self._values.clone(), "images": self._images.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it is of another k, or holds what cannot be.
        """
        what = "Peaks: the state"
        rules = {"k": Whole(1), "values": Array(torch.float32, "U K", -(2.0**126), 2.0**126)}
        sizes = fields(what, state, {**rules, "images": Array(torch.int64, "U K")})
        values, images = state["values"], state["images"].sort(1).values
        require(what, sizes["K"] <= state["k"], "there are at most k")
        require(what, values[:, 1:] <= values[:, :-1], "values never rise")
        require(what, images[:, 1:] != images[:, :-1], "images are different ones for each unit")
        if state["k"] != self.k:
            raise refusal(ValueError(f"the state's k must be {self.k}, but is {state['k']}."))
        self._values, self._images = state["values"].clone(), state["images"].clone()
        self._status, self._batch = None, 0

    @keeps_subnormals
    def _keep_best(self, values: Tensor, images: Tensor) -> None:
        if self._values.numel():
            values, images = torch.cat([self._values, values], 1), torch.cat([self._images, images], 1)
        # Two stable sorts: by number, then by value, so that equal values stay in the order of their numbers.
        images, order = images.sort(dim=1, stable=True)
        if images.device.type == "cpu":  # a GPU would be waited for; what was not kept is not known any more
            twice = images[:, 1:][images[:, 1:] == images[:, :-1]]
            if len(twice):
                raise refusal(ValueError(f"images must be added once each, but {int(twice[0])} was added before."))
        values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
        self._values, self._images = values[:, : self.k].clone(), images.gather(1, order)[:, : self.k].clone()
