"""component_halves: which half of its component each pixel lies in."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect.ops import checks
from dissect.ops.dispatch import implementation, register
from dissect.ops.native import LABEL_DTYPES


def component_halves(
    labels: Tensor, *, omit_last: bool = False, status: Tensor | None = None, backend: str = "auto"
) -> Tensor:
    """The upper or lower, and the left or right half of each component of a plane of labels.

    A component is what pixels of one label hang together in, over edges and corners (8-connected). With top, bottom,
    left and right the first and last rows and columns that it has::

        halves[n, 0, y, x] = 1 (upper) where y < (top + bottom + 1) // 2, else 2 (lower)
        halves[n, 1, y, x] = 1 (left) where x < (left + right + 1) // 2, else 2 (right)

    and 0 where the label is 0. So the second half of an odd length is the larger one. Source: the published code of
    network dissection (its segmentations "quad"), which gives no halves to the last component of each image.

    Args:
        labels: [N, H, W] uint8, int16, int32 or int64 from 0 on; 0 is "no label".
        omit_last: as the published code: the component of each image whose first pixel, row by row, comes last has no
            halves.
        status: [] int32 on the same device, which becomes 1 where a GPU meets labels below 0; without one the call
            waits for the GPU and raises.
        backend: "auto", "cpp", "cuda", "torch" or "reference".

    Returns:
        [N, 2, H, W] uint8: the upper and lower halves, the left and right ones.

    Raises:
        TypeError, ValueError: wrong dtype or shape, or a label below 0.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> labels = torch.tensor([[[5, 5, 0], [0, 5, 0], [0, 0, 7]]])
        >>> dissect.ops.component_halves(labels)[0, 0]
        tensor([[1, 1, 0],
                [0, 2, 0],
                [0, 0, 2]], dtype=torch.uint8)
    """
    checks.tensor("component_halves", "labels", labels)
    checks.on_a_device("component_halves", "labels", labels)
    if labels.dtype not in LABEL_DTYPES:
        raise TypeError(f"component_halves: labels must be uint8, int16, int32 or int64, but got {labels.dtype}.")
    if labels.ndim != 3 or min(labels.shape[1:]) < 1:
        raise ValueError(
            f"component_halves: labels must have shape [N, H, W] with H, W >= 1, but got {list(labels.shape)}."
        )
    checks.status("component_halves", status, labels)
    checks.backend("component_halves", backend)
    halves: Tensor = torch.ops.dissect.component_halves(labels, bool(omit_last), backend, status)
    return halves


def _component_halves(labels: Tensor, omit_last: bool, backend: str, status: Tensor | None = None) -> Tensor:
    halves: Tensor = implementation("component_halves", backend, labels.device)(labels, omit_last, status)
    return halves


def _shapes(labels: Tensor, *arguments: object) -> Tensor:
    num_images, height, width = labels.shape
    return labels.new_empty((num_images, 2, height, width), dtype=torch.uint8)


register(
    "component_halves(Tensor labels, bool omit_last, str backend, Tensor(a!)? status=None) -> Tensor",
    _component_halves,
    _shapes,
)
