"""image_peaks: literal tables, bits, errors."""

import pytest
import torch
from generate import random_case

from dissect import ops


def test_by_hand(backend):
    maps = torch.tensor([[[[1.0, 3.0]], [[-2.0, -5.0]]], [[[-0.0, -0.0]], [[4.0, 4.0]]]])
    peaks = ops.image_peaks(maps, backend=backend)
    assert peaks.tolist() == [[3.0, -2.0], [0.0, 4.0]]
    assert not peaks[1, 0].signbit()
    assert ops.image_peaks(maps.bfloat16(), backend=backend).dtype == torch.float32


@pytest.mark.parametrize("seed", range(60))
def test_every_level_equals_the_reference(seed, simd):
    maps = random_case(seed).activations
    ours, expected = (ops.image_peaks(maps, backend=backend) for backend in ("cpp", "reference"))
    assert torch.equal(ours, expected)


def test_opcheck():
    torch.library.opcheck(torch.ops.dissect.image_peaks.default, (torch.randn(2, 3, 4, 4), "auto"))


def test_errors(backend):
    with pytest.raises(ValueError, match="image 0 of the batch, unit 1"):
        ops.image_peaks(torch.tensor([[[[0.0]], [[float("inf")]]]]), backend=backend)
    with pytest.raises(ValueError, match=r"h, w >= 1, but got \[1, 1, 0, 3\]"):
        ops.image_peaks(torch.zeros(1, 1, 0, 3), backend=backend)


def test_which_backend_served():
    maps = torch.ones(1, 2, 3, 3)
    with ops.record_backends() as served:
        ops.image_peaks(maps, backend="cpp")
        ops.image_peaks(maps, backend="reference")
        ops.iou_counts(maps, torch.zeros(2), torch.ones(1, 1, 3, 3, dtype=torch.uint8), 2)
    assert served == [
        ("image_peaks", "cpp"),
        ("image_peaks", "reference"),
        ("encode_labels", "cpp"),
        ("iou_counts", "cpp"),
    ]


def test_a_status_that_nothing_happened_to():
    # On a CPU bad values raise; a GPU writes 1.
    status, maps = ops.new_status(torch.device("cpu")), torch.randn(2, 3, 4, 5)
    torch.library.opcheck(torch.ops.dissect.image_peaks.default, (maps, "auto", status))
    compiled = torch.compile(lambda x: ops.image_peaks(x, status=status), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(maps), ops.image_peaks(maps))
    assert int(status) == 0


@pytest.mark.parametrize("status", [torch.zeros(1, dtype=torch.int32), torch.zeros(())])
def test_a_wrong_status(status):
    with pytest.raises(ValueError, match="status must be one int32, but got"):
        ops.image_peaks(torch.zeros(1, 1, 2, 2), status=status)
