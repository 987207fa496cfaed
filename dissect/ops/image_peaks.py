"""image_peaks: the highest activation of each unit in each image."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect import reference
from dissect.ops import checks, gpu, native
from dissect.ops.dispatch import LIBRARY, register_shapes, select


def image_peaks(activations: Tensor, *, status: Tensor | None = None, backend: str = "auto") -> Tensor:
    """``max over y, x of activations[n, u, y, x]``, on the feature map itself.

    Args:
        activations: [N, U, h, w] float32, float16 or bfloat16, any strides.
        status: [] int32 on the same device, which becomes 1 where a GPU meets values that are not finite and below
            2^126; without one the call waits for the GPU and raises.
        backend: "auto", "cpp", "cuda", "triton" or "reference".

    Returns:
        [N, U] float32.

    Raises:
        TypeError, ValueError: wrong dtype or shape, or values that are not finite and below 2^126.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> dissect.ops.image_peaks(torch.tensor([[[[1.0, 3.0]], [[-2.0, -5.0]]]]))
        tensor([[ 3., -2.]])
    """
    checks.activations("image_peaks", activations)
    checks.status("image_peaks", status, activations)
    checks.backend("image_peaks", backend)
    peaks: Tensor = torch.ops.dissect.image_peaks(activations, backend, status)
    return peaks


LIBRARY.define("image_peaks(Tensor activations, str backend, Tensor(a!)? status=None) -> Tensor")


def _image_peaks(activations: Tensor, backend: str, status: Tensor | None = None) -> Tensor:
    chosen = select("image_peaks", backend, activations.device)
    kernels = gpu.kernels(chosen)
    if kernels is None or status is None:
        checks.finite("image_peaks", activations)
    if chosen == "reference":
        return reference.image_peaks(activations)
    if kernels is not None:
        peaks: Tensor = kernels.image_peaks(
            activations, gpu.new_status(activations.device) if status is None else status
        )
        return peaks
    peaks = torch.empty(activations.shape[:2], dtype=torch.float32)
    native.engine().image_peaks(*native.maps_arguments(activations), peaks.data_ptr(), torch.get_num_threads())
    return peaks


def _image_peaks_fake(activations: Tensor, backend: str, status: Tensor | None = None) -> Tensor:
    return activations.new_empty(activations.shape[:2], dtype=torch.float32)


for _key in ("CPU", "CUDA"):
    LIBRARY.impl("image_peaks", _image_peaks, _key)
register_shapes("image_peaks", _image_peaks_fake)
