"""A sample of all images, for what is seen in no top image: how a unit's peaks are spread, and middling images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dissect.chosen import rank_keys
from dissect.devices import to_device
from dissect.files.checked import Array, Each, Of, Whole, fields, require
from dissect.subnormals import keeps_subnormals

#: Images in the sample, and how many of them may be shown.
SIZE, SHOWN = 512, 64
#: The shares of the sampled images that peak lower than those shown.
LEVELS = (0.9, 0.75, 0.5)


@dataclass(frozen=True, eq=False)
class PeakSample:
    """How a layer's units respond to a sample of all images.

    Attributes:
        peaks: [U, S] float32, rising: the highest activation in each of S images (at most 512), which are those whose
            numbers have the lowest hashes.
        levels: [Q] shares of the images that peak lower than the ones that follow.
        images: [U, Q] int64, numbers of images at these levels (of at most 64 images).
        values: [U, Q] float32, the unit's peaks in them.
        maps: [U, Q, h, w] float32, the unit's maps in them.
    """

    peaks: Tensor
    levels: tuple[float, ...]
    images: Tensor
    values: Tensor
    maps: Tensor


class LowestKeys:
    """The images whose numbers have the lowest hashes of all that were offered, at most so many."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.numbers = torch.empty(0, dtype=torch.int64)

    def offer(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Takes what belongs to the sample so far.

        Returns:
            Places in the sample as it was, and in `numbers`, of those that are in it now; in the order of the sample.
        """
        both = torch.cat([self.numbers, numbers.cpu()])
        kept = rank_keys(both).sort().indices[: self.size]
        before = kept[kept < len(self.numbers)]
        new = kept[kept >= len(self.numbers)] - len(self.numbers)
        self.numbers = torch.cat([self.numbers[before], numbers.cpu()[new]])
        return before, new


class PeakSampling:
    """Collects a `PeakSample`'s images and peaks, of all layers, batch by batch; in any order of the batches."""

    def __init__(self) -> None:
        self._sample = LowestKeys(SIZE)
        self._peaks: dict[str, Tensor] = {}  # [S, U]

    def add(self, peaks: dict[str, Tensor], numbers: Tensor) -> None:
        """Adds a batch: each layer's `dissect.ops.image_peaks` [N, U], of images of these numbers."""
        before, new = self._sample.offer(numbers)
        for name, found in peaks.items():
            known = self._peaks.get(name, found[:0])
            kept = known[to_device(before, known.device)], found[to_device(new, found.device)]
            self._peaks[name] = torch.cat(kept)

    def shown(self) -> Tensor:
        """[M] int64: numbers of the images that may be shown, so far."""
        order = rank_keys(self._sample.numbers).sort().indices
        return self._sample.numbers[order[:SHOWN]]

    def at_levels(self, name: str) -> tuple[Tensor, Tensor]:
        """[U, Q] numbers of a layer's images at `LEVELS`, and the units' peaks in them; equal peaks by number."""
        numbers = self.shown().sort().values
        place = {number: at for at, number in enumerate(self._sample.numbers.tolist())}
        peaks = self._peaks[name].cpu()[torch.tensor([place[number] for number in numbers.tolist()])]
        values, order = _sorted(peaks.T)
        at = torch.tensor([min(len(numbers) - 1, int(level * len(numbers))) for level in LEVELS])
        return numbers[order[:, at]], values[:, at]

    def spread(self, name: str) -> Tensor:
        """[U, S] float32, rising: a layer's peaks in the sampled images."""
        return _sorted(self._peaks[name].cpu().T)[0].contiguous()

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        peaks = {str(at): part.cpu() for at, part in enumerate(self._peaks.values())}
        return {"numbers": self._sample.numbers.tolist(), "peaks": peaks}

    def load_state_dict(self, state: dict[str, Any], layers: list[str]) -> None:
        """Goes on from a `state_dict` of these layers.

        Raises:
            ValueError: it holds what cannot be.
        """
        what = "the run's sample of images"
        sizes = fields(what, state, {"numbers": Each(Whole(), "S", different=True), "peaks": Of(dict)})
        require(what, sizes["S"] <= SIZE, f"it has at most {SIZE} images")
        # By number: a file has its tensors in the order of their names, "10" before "2".
        rule, known = Array(torch.float32, "S U", -(2.0**126), 2.0**126), layers if sizes["S"] else []
        for at in range(len(known)):
            fields(what, state["peaks"], {str(at): rule}, {"S": sizes["S"]})
        self._sample.numbers = torch.tensor(state["numbers"], dtype=torch.int64)
        self._peaks = {name: state["peaks"][str(at)] for at, name in enumerate(known)}

    def check(self, name: str, units: int) -> None:
        """Whether there is a sample of a layer, of so many units.

        Raises:
            ValueError: it is not.
        """
        good = name in self._peaks and self._peaks[name].shape[1] == units
        require(f"layer {name!r} of the run", good, "its sample is of its units")


@keeps_subnormals
def _sorted(values: Tensor) -> tuple[Tensor, Tensor]:
    found = values.sort(dim=1, stable=True)
    return found.values, found.indices
