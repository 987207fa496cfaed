"""upsample_argmax: literal tables, bits, laws, errors."""

import pytest
import torch
import torch.nn.functional as F
from generate import random_case

from dissect import Grid, ops
from dissect.reference import upsample


def test_by_hand(backend):
    logits = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    assert ops.upsample_argmax(logits, (1, 4), backend=backend).tolist() == [[[0, 0, 1, 1]]]
    # In the middle, 1.5 cells from either end, both are a half: a tie is the smaller number's.
    assert ops.upsample_argmax(logits, (1, 3), backend=backend).tolist() == [[[0, 0, 1]]]
    third = torch.cat([logits, torch.full((1, 1, 1, 2), 0.7)], 1)  # wins only between the others
    assert ops.upsample_argmax(third, (1, 6), backend=backend).tolist() == [[[0, 0, 2, 2, 1, 1]]]
    assert ops.upsample_argmax(third, (1, 6), backend=backend).dtype == torch.int32


def test_of_virtual_zeros(backend):
    """With border zeros the corners around the map are 0, which beats what is negative, and ties with no one."""
    logits = torch.tensor([[[[-1.0]], [[-2.0]]]])
    grid = Grid.half_pixel((1, 1), (4, 4), border="zeros")
    assert not ops.upsample_argmax(logits, grid=grid, backend=backend).any()
    assert ops.upsample_argmax(-logits, grid=grid, backend=backend).tolist() == [[[1] * 4] * 4]


@pytest.mark.parametrize("seed", range(60))
def test_every_level_equals_the_reference(seed, simd):
    case = random_case(seed)
    logits = case.activations.float().round() if seed % 3 == 0 else case.activations  # many ties
    ours, expected = (ops.upsample_argmax(logits, grid=case.grid, backend=name) for name in ("cpp", "reference"))
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("size", [(40, 40), (3, 5), (16, 130)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_of_smooth_logits(size, memory_format, simd):
    """As networks give: in most cells one label is left, in some several are."""
    coarse = torch.randn(2, 37, 3, 4, generator=torch.Generator().manual_seed(0))
    logits = F.interpolate(coarse, (8, 13), mode="bicubic").contiguous(memory_format=memory_format)
    ours, expected = (ops.upsample_argmax(logits, size, backend=name) for name in ("cpp", "reference"))
    assert torch.equal(ours, expected)
    eager = F.interpolate(logits, size, mode="bilinear").argmax(1)
    assert (ours != eager).double().mean() < 1e-3  # where two are equal up to rounding


def test_a_label_that_wins_is_the_highest_everywhere():
    logits = torch.randn(1, 9, 5, 5)
    grid = Grid.half_pixel((5, 5), (31, 17))
    labels, values = ops.upsample_argmax(logits, grid=grid), upsample(logits, grid.rows, grid.columns)
    assert torch.equal(values.gather(1, labels[:, None].long())[:, 0], values.amax(1))


def test_any_split_gives_the_same():
    logits = torch.randn(5, 4, 6, 6).half()
    whole = ops.upsample_argmax(logits, (20, 20))
    assert torch.equal(torch.cat([ops.upsample_argmax(one[None], (20, 20)) for one in logits]), whole)
    assert ops.upsample_argmax(logits[:0], (20, 20)).shape == (0, 20, 20)


def test_opcheck():
    grid = Grid.half_pixel((4, 4), (7, 9))
    torch.library.opcheck(
        torch.ops.dissect.upsample_argmax.default, (torch.randn(2, 3, 4, 4), (7, 9), grid.rows, grid.columns, "auto")
    )


def test_a_compiled_caller():
    logits = torch.randn(2, 3, 4, 4)
    compiled = torch.compile(lambda x: ops.upsample_argmax(x, (9, 9)), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(logits), ops.upsample_argmax(logits, (9, 9)))


def test_bad_values_are_named(backend):
    logits = torch.zeros(2, 3, 4, 4)
    logits[1, 2, 3, 3] = float("nan")
    with pytest.raises(ValueError, match=r"^upsample_argmax: logits must be finite .* image 1 of the batch, unit 2"):
        ops.upsample_argmax(logits, (8, 8), backend=backend)
    # Also one that no pixel samples.
    with pytest.raises(ValueError, match=r"^upsample_argmax: logits must be finite .* image 1 of the batch, unit 2"):
        ops.upsample_argmax(logits, (1, 1), backend=backend)


@pytest.mark.parametrize(
    ("logits", "options", "error", "told"),
    [
        (torch.zeros(1, 2, 3, 3), {}, ValueError, r"size must be the \(H, W\) of the labels, or a grid be given"),
        (torch.zeros(1, 2, 3, 3), {"size": 7}, TypeError, r"size must be two integers \(H, W\), but got 7"),
        (torch.zeros(1, 2, 3, 3), {"size": (0, 4)}, ValueError, "size must be at least 1, but got 0"),
        (torch.zeros(1, 2, 3, 3), {"size": (4.0, 4)}, TypeError, "size must be an integer, but got 4.0"),
        (torch.zeros(1, 0, 3, 3), {"size": (4, 4)}, ValueError, r"logits must be of C >= 1 labels"),
        (torch.zeros(2, 3, 3), {"size": (4, 4)}, ValueError, r"logits must have shape \[N, U, h, w\]"),
        (torch.zeros(1, 2, 3, 3).long(), {"size": (4, 4)}, TypeError, "logits must be float32, float16 or bfloat16"),
        (torch.zeros(1, 2, 3, 3), {"grid": Grid.half_pixel((2, 3), (4, 4))}, ValueError, "grid must be for feature"),
        (
            torch.zeros(1, 2, 3, 3),
            {"grid": Grid.half_pixel((3, 3), (4, 4)), "size": (5, 5)},
            ValueError,
            "grid must be for segmentations of",
        ),
    ],
)
def test_errors(logits, options, error, told):
    with pytest.raises(error, match="^upsample_argmax: " + told):
        ops.upsample_argmax(logits, **options)


def test_tables_that_are_none_are_refused():
    grid = Grid.half_pixel((3, 3), (4, 4))
    with pytest.raises(ValueError, match=r"entry 0 is not|must be a table"):
        torch.ops.dissect.upsample_argmax(torch.zeros(1, 2, 3, 3), (4, 4), grid.rows + 9, grid.columns, "cpp")
    with pytest.raises(ValueError, match=r"rows must be contiguous torch\.int32"):
        torch.ops.dissect.upsample_argmax(torch.zeros(1, 2, 3, 3), (4, 4), grid.rows.long(), grid.columns, "cpp")
