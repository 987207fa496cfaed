"""observe: a table worked out by hand, every backend against the reference, and the arguments that it refuses."""

import pytest
import torch
from generate import DTYPES, LAYOUTS, laid_out

from dissect import ops, reference


def keys(*values):
    return reference.keys_of(torch.tensor(values))


@pytest.fixture
def maps():
    """Two units, one image."""
    return torch.tensor([[[[0.5, 1.0], [2.0, 3.0]], [[-1.0, -0.0], [0.0, -2.0]]]])


def test_table(maps, backend):
    low, high, shift = keys(1.0, -1.0), keys(2.0, 0.0), torch.tensor([23, 31])
    bins, above = torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    seen = ops.observe(maps, low, high, shift, bins, above, thresholds=torch.tensor([0.5, 0.0]), backend=backend)
    assert seen.peaks.tolist() == [[3.0, 0.0]]
    assert seen.unit_area.tolist() == [[3, 0]]  # equality does not fire
    assert bins.tolist() == [[1, 1, 0, 0], [3, 0, 0, 0]]  # 1.0 and 2.0 are an exponent apart; both zeros are one key
    assert above.tolist() == [1, 0]
    assert seen.check() is seen


def test_what_is_blended_is_observed_as_it_was(maps, backend):
    low, high, shift = keys(1.0, 1.0), keys(4.0, 4.0), torch.tensor([31, 31])
    bins, above = torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    alpha, mask = torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 1.0], [0.0, 0.5]])
    seen = ops.observe(maps, low, high, shift, bins, above, alpha=alpha, value=1.0, mask=mask, backend=backend)
    assert seen.peaks.tolist() == [[3.0, 0.0]]
    assert seen.unit_area.tolist() == [[0, 0]]  # without thresholds
    assert bins.tolist() == [[3], [0]]
    assert maps.tolist() == [[[[1.0, 1.0], [2.0, 2.0]], [[-1.0, -0.0], [0.0, -2.0]]]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_random_maps_equal_the_reference(dtype, layout, backend):
    maps = laid_out(torch.randn(3, 5, 4, 7).to(dtype), layout)
    low = reference.keys_of(torch.full((5,), -0.5, dtype=dtype))
    high = reference.keys_of(torch.full((5,), 1.0, dtype=dtype))
    shift = torch.full_like(low, (int(high[0]) - int(low[0])).bit_length() - 4)
    thresholds, bins, above = torch.randn(5), torch.zeros(5, 16, dtype=torch.int64), torch.zeros_like(low)
    seen = ops.observe(maps, low, high, shift, bins, above, thresholds=thresholds, backend=backend)
    expected = reference.observe(maps, low, high, shift, 16, thresholds)
    assert all(map(torch.equal, (seen.peaks, bins, above, seen.unit_area), expected[:4]))


def test_a_batch_in_parts_adds_up(backend):
    maps, shift = torch.randn(6, 3, 4, 4), torch.full((3,), 24)
    low, high = torch.zeros(3, dtype=torch.int64), torch.full((3,), (1 << 32) - 1)
    results = []
    for parts in (maps.split(6), maps.split([1, 3, 2])):
        bins, above = torch.zeros(3, 256, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
        seen = [ops.observe(part, low, high, shift, bins, above, backend=backend) for part in parts]
        results.append((bins, above, torch.cat([one.peaks for one in seen])))
    assert all(map(torch.equal, *results))
    assert results[0][0].sum() == maps.numel()


def test_bad_values_change_nothing(maps, backend):
    maps[0, 1, 0, 0] = float("nan")
    before, low, shift = maps.clone(), keys(1.0, 1.0), torch.tensor([0, 0])
    bins, above = torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="image 0 of the batch, unit 1"):
        ops.observe(maps, low, low, shift, bins, above, alpha=torch.ones(2), backend=backend)
    assert not bins.any()
    assert not above.any()
    assert torch.equal(maps.nan_to_num(7.0), before.nan_to_num(7.0))


def test_arguments_that_do_not_fit(maps):
    low, shift = keys(1.0, 1.0), torch.tensor([0, 0])
    bins, above = torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"observe: thresholds must have shape \[U\] with U=2"):
        ops.observe(maps, low, low, shift, bins, above, thresholds=torch.zeros(3))
    with pytest.raises(TypeError, match=r"low must be a torch\.int64 tensor"):
        ops.observe(maps, low.int(), low, shift, bins, above)
    with pytest.raises(ValueError, match="must fit in B=1 bins"):
        ops.observe(maps, low, low + 1, shift, bins, above)
    with pytest.raises(ValueError, match=r"inplace must come with torch\.no_grad"):
        ops.observe(maps.requires_grad_(), low, low, shift, bins, above, alpha=torch.ones(2))


def test_registration(maps):
    low, shift = keys(1.0, 1.0), torch.tensor([0, 0])
    bins, above = torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    tails = (maps, low, low, shift, bins, above, torch.zeros(2))
    operands = (torch.ones(1, 2, 1, 1), torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    torch.library.opcheck(torch.ops.dissect.observe.default, (*tails, "auto"))
    torch.library.opcheck(torch.ops.dissect.observe_.default, (*tails, *operands, "auto"))
