"""Tests on a GPU: each backend that serves there; skipped, with the reason, where there is none."""

import pytest
import torch

from dissect.ops import dispatch, gpu

BACKENDS = sorted({name for names in dispatch.GPU_BACKENDS.values() for name in names})


@pytest.fixture(autouse=True)
def _needs_a_gpu(missing):
    reason = gpu.gpu_missing()
    if reason:
        missing("gpu", reason)


@pytest.fixture(params=BACKENDS)
def serving(request, missing):
    """Gives the backend for an op: ``serving("iou_counts")``; skips where it has none, or cannot serve."""

    def backend_for(op):
        reasons = dict(dispatch.backends(op, "cuda"))
        if request.param not in reasons:
            pytest.skip(f"{request.param} does not have {op}")
        if reasons[request.param]:
            missing(request.param, f"{request.param}: {reasons[request.param]}")
        return request.param

    return backend_for


@pytest.fixture
def device():
    """The last GPU, so that the current one is another where there are several."""
    return torch.device("cuda", torch.cuda.device_count() - 1)
