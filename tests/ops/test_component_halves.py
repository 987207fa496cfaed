"""component_halves: literal tables, bits, a plain transcription, errors."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from dissect import ops
from dissect.ops import native

DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)


@pytest.fixture(params=["reference", "cpp", "torch"])
def backend(request, missing):
    if request.param == "cpp" and native.unavailable():
        missing("cpp", native.unavailable())
    return request.param


def test_by_hand(backend):
    labels = torch.tensor([[[2, 2, 2, 0], [0, 2, 0, 5], [2, 0, 5, 5], [0, 0, 0, 5]]])
    halves = ops.component_halves(labels, backend=backend)
    # Label 2 hangs together over the corner: rows 0 to 2, columns 0 to 2. Label 5: rows 1 to 3, columns 2 and 3.
    assert halves[0, 0].tolist() == [[1, 1, 1, 0], [0, 2, 0, 1], [2, 0, 2, 2], [0, 0, 0, 2]]
    assert halves[0, 1].tolist() == [[1, 2, 2, 0], [0, 2, 0, 2], [1, 0, 1, 2], [0, 0, 0, 2]]
    assert halves.dtype == torch.uint8


def test_a_single_row_is_its_lower_half_and_a_single_pixel_the_right_one_too(backend):
    halves = ops.component_halves(torch.tensor([[[1, 1, 1, 0, 3]]], dtype=torch.uint8), backend=backend)
    assert halves[0].tolist() == [[[2, 2, 2, 0, 2]], [[1, 2, 2, 0, 2]]]


def test_equal_labels_that_do_not_touch_are_two_components(backend):
    labels = torch.tensor([[[1, 0, 1], [1, 0, 1]]])
    assert ops.component_halves(labels, backend=backend)[0, 1].tolist() == [[2, 0, 2], [2, 0, 2]]


def test_the_last_component_is_that_whose_first_pixel_comes_last(backend):
    """The published code has no halves of it, per image."""
    labels = torch.tensor([[[1, 0, 2], [1, 0, 2]], [[3, 3, 3], [0, 4, 3]]])
    halves = ops.component_halves(labels, omit_last=True, backend=backend)
    assert halves[:, 0].tolist() == [[[1, 0, 0], [2, 0, 0]], [[1, 1, 1], [0, 0, 2]]]
    assert ops.component_halves(labels, backend=backend)[1, 0].tolist() == [[1, 1, 1], [0, 2, 2]]
    nothing = ops.component_halves(torch.zeros_like(labels), omit_last=True, backend=backend)
    assert not nothing.any()


def transcription(labels, omit_last):
    """The published way: components one after another, each a mask, cut at the middle of its box."""
    halves = np.zeros((len(labels), 2, *labels.shape[1:]), np.uint8)
    for image, found in zip(labels.numpy(), halves):
        masks = []
        for label in np.unique(image[image != 0]):
            numbered, count = ndimage.label(image == label, structure=np.ones((3, 3)))
            masks += [numbered == number for number in range(1, count + 1)]
        masks.sort(key=lambda mask: mask.argmax())
        for mask in masks[: len(masks) - omit_last]:
            rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            middles = (rows[0] + rows[-1] + 1) // 2, (columns[0] + columns[-1] + 1) // 2
            for axis, (at, middle) in enumerate(zip(np.indices(image.shape), middles)):
                found[axis][mask] = np.where(at < middle, 1, 2)[mask]
    return torch.from_numpy(halves)


def problem(seed):
    """Noise, or blocks of it, which make components with holes and corners; some images have one label alone."""
    generator = torch.Generator().manual_seed(seed)
    height, width, block, most = (int(torch.randint(1, end, (), generator=generator)) for end in (40, 70, 5, 5))
    labels = torch.randint(0, most + 1, (seed % 4, height, width), generator=generator)
    labels = labels.repeat_interleave(block, 1).repeat_interleave(block, 2)[:, :height, :width]
    return labels.to(DTYPES[seed % 4]), seed % 3 == 0


@pytest.mark.parametrize("seed", range(40))
def test_reference_equals_the_transcription(seed):
    labels, omit_last = problem(seed)
    ours = ops.component_halves(labels, omit_last=omit_last, backend="reference")
    assert torch.equal(ours, transcription(labels, omit_last))


@pytest.mark.parametrize("seed", range(60))
def test_every_level_equals_the_reference(seed, simd):
    labels, omit_last = problem(1000 + seed)
    ours, expected = (ops.component_halves(labels, omit_last=omit_last, backend=b) for b in ("cpp", "reference"))
    assert torch.equal(ours, expected)


def spiral(size):
    """One component that winds inwards, one pixel wide, between others of label 2."""
    labels, y, x, step = torch.full((size, size), 2), 0, 0, (0, 1)
    labels[0, 0] = 1
    while True:
        for _ in range(2):
            ahead = [(y + n * step[0], x + n * step[1]) for n in (1, 2)]
            free = all(not (0 <= a < size and 0 <= b < size) or labels[a, b] == 2 for a, b in ahead)
            if 0 <= ahead[0][0] < size and 0 <= ahead[0][1] < size and free:
                y, x = ahead[0]
                labels[y, x] = 1
                break
            step = step[1], -step[0]
        else:
            return labels


@pytest.mark.parametrize("other", ["cpp", "torch"])
def test_spirals_and_combs(other):
    comb = torch.ones(1, 31, 31, dtype=torch.int64)
    comb[:, :-1, 1::2] = 0
    for labels in (spiral(31)[None], comb, comb.flip(1), comb.mT.contiguous(), 1 - comb):
        ours, expected = (ops.component_halves(labels, backend=b) for b in (other, "reference"))
        assert torch.equal(ours, expected)
    assert torch.equal(ours, transcription(labels, False))


def test_strided_labels_and_none(backend):
    labels = torch.randint(0, 4, (9, 7, 3))
    strided = labels.permute(2, 1, 0)
    ours, expected = (ops.component_halves(x, backend=backend) for x in (strided, strided.contiguous()))
    assert torch.equal(ours, expected)
    assert ops.component_halves(labels[:0], backend=backend).shape == (0, 2, 7, 3)


def test_images_of_a_batch_are_each_on_their_own_and_threads_change_nothing():
    labels = torch.randint(0, 3, (7, 20, 30))
    alone = torch.cat([ops.component_halves(image[None]) for image in labels])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        assert torch.equal(ops.component_halves(labels), alone)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.zeros(1, 2, 2), TypeError, "labels must be uint8, int16, int32 or int64, but got torch.float32"),
        (torch.zeros(2, 2).int(), ValueError, r"must have shape \[N, H, W\] with H, W >= 1, but got \[2, 2\]"),
        (torch.zeros(1, 0, 2).int(), ValueError, r"H, W >= 1, but got \[1, 0, 2\]"),
        (torch.tensor([[[1]], [[-7]]]), ValueError, "must not be negative, but image 1 of the batch holds -7"),
        (np.zeros((1, 2, 2), int), TypeError, "torch.from_numpy makes one"),
        (torch.zeros(1, 2, 2, device="meta").int(), TypeError, "must hold values, but is on the meta device"),
    ],
)
def test_errors(labels, error, message, backend):
    with pytest.raises(error, match=message):
        ops.component_halves(labels, backend=backend)


def test_plain_pytorch_writes_a_status_as_kernels_do():
    status = ops.new_status(torch.device("cpu"))
    ops.component_halves(torch.tensor([[[0, 1]]]), status=status, backend="torch")
    assert int(status) == 0
    ops.component_halves(torch.tensor([[[0, -1]]]), status=status, backend="torch")
    assert int(status) == 1


def test_registration():
    labels = torch.randint(0, 3, (2, 5, 6))
    torch.library.opcheck(torch.ops.dissect.component_halves.default, (labels, True, "auto"))
    compiled = torch.compile(ops.component_halves, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(labels), ops.component_halves(labels))
