"""The pictures of images that a result shows, kept while all images go by."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.devices import DeferredReads, to_device


class Pictures:
    """Pictures by image number, of those that are still wanted.

    Args:
        to_pictures: makes uint8 [N, 3, H, W] of images.
        late: what is done when a GPU comes to it.
    """

    def __init__(self, to_pictures: Callable[[Tensor], Tensor], late: DeferredReads) -> None:
        self._to_pictures, self._late = to_pictures, late
        self._wanted: set[int] = set()  # numbers of the pictures to keep, of those that may still come
        self.found: dict[int, Tensor] = {}

    def keep(self, numbers: Tensor, images: Tensor, wanted: Tensor) -> None:
        """Keeps those of a batch's pictures that are wanted, and drops those that no longer are.

        Args:
            numbers: [N] of the batch's images.
            images: [N, C, H, W].
            wanted: numbers of all images to keep so far.

        Raises:
            ValueError: what makes pictures makes something else.
        """
        wanted = wanted.unique()
        self._wanted = set(wanted.tolist())
        self.drop_all_but(self._wanted)
        new = torch.isin(numbers, wanted).nonzero().flatten()
        if not len(new):
            return
        found = self._to_pictures(images[to_device(new, images.device)])
        fits = isinstance(found, Tensor) and found.dtype == torch.uint8 and found.ndim == 4
        if not fits or found.shape[:2] != (len(new), 3):
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise refusal(
                ValueError(f"pictures must give uint8 [{len(new)}, 3, H, W] of so many images, but gave {got}.")
            )
        self._late.call(partial(self._take, numbers[new]), found)

    def _take(self, numbers: Tensor, found: Tensor) -> None:
        # Copied, else each would keep its whole batch in memory.
        taken = zip(numbers.tolist(), found)
        self.found |= {number: picture.clone() for number, picture in taken if number in self._wanted}

    def drop_all_but(self, wanted: set[int]) -> None:
        """Drops the pictures that are not wanted in the end."""
        for number in self.found.keys() - wanted:
            del self.found[number]

    def stacked(self) -> tuple[list[int], Tensor]:
        """The numbers, rising, and their pictures [T, 3, H, W] uint8."""
        numbers = sorted(self.found)
        pictures = [self.found[number] for number in numbers]
        return numbers, torch.stack(pictures) if pictures else torch.empty(0, dtype=torch.uint8)
