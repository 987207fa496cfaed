"""encode_labels: literal tables, bits, errors."""

import numpy as np
import pytest
import torch
from generate import random_case

from dissect import ops


def test_by_hand(backend):
    planes = torch.tensor([[[[3, 3, 0, 1, 1]], [[3, 2, 0, 2, 1]]]], dtype=torch.uint8)
    labels = ops.encode_labels(planes, 4, backend=backend)
    assert labels.planes.tolist() == [[[[3, 3, 0, 1, 1]], [[0, 2, 0, 2, 0]]]]
    # Combinations: (), (3, 3), (3, 2), (1, 2), (1, 1).
    assert (labels.runs & 0x1FFFF).tolist() == [[[1, 2, 0, 3, 4]]]
    assert (labels.runs >> 17).tolist() == [[[1, 2, 3, 4, 5]]]
    assert labels.table.tolist() == [[0, 0], [3, 0], [3, 2], [1, 2], [1, 0]]
    assert labels.offsets.tolist() == [0, 5]
    assert labels.area.tolist() == [[0, 2, 2, 2]]
    assert (labels.num_labels, len(labels)) == (4, 1)


def test_runs_go_on_as_long_as_all_planes_do(backend):
    planes = torch.tensor([[[[1, 1, 1, 1], [1, 1, 1, 1]], [[0, 0, 2, 2], [0, 0, 0, 0]]]])
    labels = ops.encode_labels(planes, 3, backend=backend)
    assert (labels.runs >> 17).tolist() == [[[2, 2, 4, 4], [4, 4, 4, 4]]]
    assert (labels.runs & 0x1FFFF).tolist() == [[[1, 1, 2, 2], [1, 1, 1, 1]]]


def test_planes_come_back_but_for_repetitions(backend):
    planes = torch.randint(0, 9, (3, 1, 11, 13))
    assert torch.equal(ops.encode_labels(planes, 9, backend=backend).planes, planes.int())


def test_a_label_in_three_planes_counts_once(backend):
    labels = ops.encode_labels(torch.full((1, 3, 2, 2), 1), 2, backend=backend)
    assert labels.area.tolist() == [[0, 4]]
    assert labels.planes[0, 1:].count_nonzero() == 0


def test_large_images_have_wide_runs(backend):
    planes = torch.zeros(1, 1, 400, 400, dtype=torch.uint8)
    planes[0, 0, 7, 5:9] = 1
    labels = ops.encode_labels(planes, 2, backend=backend)
    assert labels.runs.dtype == torch.int64
    assert labels.runs[0, 7, 3:10].tolist() == [
        w << 32 | c for c, w in zip([0, 0, 1, 1, 1, 1, 0], [5, 5, *[9] * 4, 400])
    ]
    counts = ops.iou_counts(torch.ones(1, 1, 2, 2), torch.zeros(1), labels, backend=backend)
    assert counts.intersection.tolist() == [[0, 4]]


def test_does_not_write_into_its_input(backend):
    planes = torch.ones(1, 2, 2, 2, dtype=torch.int32)
    ops.encode_labels(planes, 2, backend=backend)
    assert (planes == 1).all()


@pytest.mark.parametrize("seed", range(40))
def test_cpp_equals_reference(seed):
    case = random_case(seed)
    ours, expected = (ops.encode_labels(case.planes, case.num_labels, backend=b) for b in ("cpp", "reference"))
    for name in ("runs", "table", "offsets", "area"):
        assert torch.equal(getattr(ours, name), getattr(expected, name)), name


def test_strided_planes_are_served(backend):
    planes = torch.randint(0, 5, (2, 6, 7, 3))
    strided = planes.permute(0, 3, 1, 2)
    ours = ops.encode_labels(strided, 5, backend=backend)
    assert torch.equal(ours.planes, ops.encode_labels(strided.contiguous(), 5, backend=backend).planes)
    flipped = torch.randint(0, 5, (2, 1, 6, 7)).expand(2, 3, 6, 7)
    assert ops.encode_labels(flipped, 5, backend=backend).planes[:, 1:].count_nonzero() == 0


@pytest.mark.parametrize(
    ("planes", "num_labels", "error", "message"),
    [
        (torch.zeros(1, 1, 2, 2), 3, TypeError, "planes must be uint8, int16, int32 or int64, but got torch.float32"),
        (
            np.zeros((1, 1, 2, 2), np.int64),
            3,
            TypeError,
            r"planes must be a torch\.Tensor, but got numpy\.ndarray; torch\.from_numpy makes one\.",
        ),
        (
            torch.zeros(1, 2, 2, dtype=torch.int32),
            3,
            ValueError,
            r"must have shape \[N, K, H, W\].*but got \[1, 2, 2\]",
        ),
        (torch.zeros(1, 0, 2, 2, dtype=torch.int32), 3, ValueError, r"but got \[1, 0, 2, 2\]"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.int32), 0, ValueError, "num_labels must be at least 1"),
        (torch.tensor([0, 3]).view(2, 1, 1, 1), 3, ValueError, r"lie in \[0, 3\), but image 1 of the batch holds 3"),
        (torch.tensor([0, -2]).view(2, 1, 1, 1), 3, ValueError, r"lie in \[0, 3\), but image 1 of the batch holds -2"),
        (torch.tensor([2**32 + 1]).view(1, 1, 1, 1), 3, ValueError, "but image 0 of the batch holds 4294967297"),
    ],
)
def test_errors(planes, num_labels, error, message):
    with pytest.raises(error, match=message):
        ops.encode_labels(planes, num_labels)


def test_empty_batch(backend):
    labels = ops.encode_labels(torch.zeros(0, 2, 3, 3, dtype=torch.uint8), 5, backend=backend)
    assert labels.area.shape == (0, 5)


def test_opcheck():
    planes = torch.randint(0, 5, (2, 2, 4, 6), dtype=torch.int32)
    torch.library.opcheck(torch.ops.dissect.encode_labels.default, (planes, 5, "auto"))


def test_more_labels_than_the_planes_type_holds():
    planes = torch.full((1, 1, 2, 2), 91, dtype=torch.uint8)
    for backend in ("auto", "reference"):
        assert ops.encode_labels(planes, 300, backend=backend).area[0, 91] == 4
