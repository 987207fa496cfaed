"""Images that a generator makes of z: what goes into it, and what must come out."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from dissect.arguments import check_values, refusal
from dissect.data.batches import Batch
from dissect.data.signed import SignedRange
from dissect.devices import to_device
from dissect.network.outputs import first_tensor


class Generated:
    """How a generator's images come by: from batches of z, or of (z, noise seeds).

    Args:
        model: the generator; it takes z, and noise seeds as its argument `noise`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._repeats, self._range = False, SignedRange("images of model")

    def inputs(self, index: int, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """What goes into the generator beside z.

        Raises:
            TypeError: z that is no batch of floats, noise seeds that are no integers, or a generator without noise.
            ValueError: not one noise seed per z.
        """
        z, seeds = batch.images, batch.planes
        if z.ndim < 2 or not z.is_floating_point():
            raise refusal(
                TypeError(
                    f'images must be batches of z, floats [N, ...], with segment="output", but batch {index} is '
                    f"{z.dtype} {list(z.shape)}."
                )
            )
        if seeds is None:
            return {}
        if not isinstance(seeds, Tensor) or seeds.is_floating_point() or seeds.shape != z.shape[:1]:
            got = f"{seeds.dtype} {list(seeds.shape)}" if isinstance(seeds, Tensor) else type(seeds).__name__
            raise refusal(
                ValueError(
                    f"what comes with z must be noise seeds, integers [N={len(z)}] (dissect.noise_seeds), but "
                    f"with batch {index} came {got}; planes are the segmenter's of what the generator makes."
                )
            )
        if "noise" not in inspect.signature(self._model.forward).parameters:
            raise refusal(
                TypeError(
                    f"model must take noise seeds as its argument noise, since they come with z, but "
                    f"{type(self._model).__name__} has no such argument."
                )
            )
        return {"noise": to_device(seeds, device)}

    def made(self, index: int, batch: Batch, device: torch.device) -> Tensor:
        """The images [N, 3, H, W] of a batch, by a pass of their own.

        Raises:
            TypeError, ValueError: see `inputs`, `images` and `check_repeats`.
        """
        z, extra = to_device(batch.images, device), self.inputs(index, batch, device)
        with torch.no_grad():
            images = self.images(index, z, self._model(z, **extra))
        self.check_repeats(z, extra, images)
        return images

    def images(self, index: int, z: Tensor, output: Any) -> Tensor:
        """The images [N, 3, H, W] in an output.

        Raises:
            TypeError: there are none.
            ValueError: another shape, or values that no generator's images have.

        Warns:
            UserWarning: values that they hardly have, see `SignedRange`.
        """
        images = first_tensor(output)
        if not isinstance(images, Tensor) or not images.is_floating_point():
            got = str(images.dtype) if isinstance(images, Tensor) else type(images).__name__
            raise refusal(
                TypeError(f"model must make images [N, 3, H, W] of z, floats, but made {got} of batch {index}.")
            )
        check_values(f"what model makes of batch {index}", images)
        images = images.detach()
        if images.ndim != 4 or len(images) != len(z) or images.shape[1] not in (1, 3) or images.shape[2:].numel() == 1:
            raise refusal(
                ValueError(
                    f"model must make images [N={len(z)}, 3, H, W] of z, but made {list(images.shape)} of batch "
                    f"{index}."
                )
            )
        self._range.see(images, f"of batch {index}")
        return images

    def check_repeats(self, z: Tensor, extra: dict[str, Tensor], images: Tensor) -> None:
        """Whether the generator makes the same images of the same z a second time; looked at once.

        Raises:
            ValueError: it does not, or changes z in place.
        """
        if self._repeats:
            return
        own = z.clone()
        with torch.no_grad():
            again = first_tensor(self._model(own, **extra))
        if not own.is_inference() and own._version:
            raise refusal(ValueError("model must leave its z as they are, but changes them in place; give it a copy."))
        if not torch.allclose(again, images, atol=_SAME):
            raise refusal(
                ValueError(
                    "model must make the same images of the same z every time, but does not: is noise drawn "
                    "anew? Give noise seeds with z, or fix the noise, and put the model in evaluation mode."
                )
            )
        self._repeats = True


#: Between values of two images that are the same: rounding, which on a GPU need not repeat.
_SAME = 1e-3


def paired(images: Dataset[Any] | Tensor | Iterable[Any]) -> Dataset[Any] | Tensor | Iterable[Any]:
    """(z, noise seeds) of all images at once as a data set; anything else as it is."""
    z, seeds = images if isinstance(images, (tuple, list)) and len(images) == 2 else (None, None)
    if isinstance(z, Tensor) and isinstance(seeds, Tensor) and not seeds.is_floating_point() and seeds.ndim == 1:
        if len(z) != len(seeds):
            raise refusal(ValueError(f"images must be as many z as noise seeds, but are {len(z)} and {len(seeds)}."))
        return TensorDataset(z, seeds)
    return images
