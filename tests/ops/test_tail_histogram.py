"""tail_histogram: keys, literal tables, bits, errors."""

import random

import pytest
import seeding
import torch
from generate import random_case
from grids import BORDERS, ENLARGED, enlarging

from dissect import Grid, ops
from dissect.ops import native
from dissect.reference import keys_of, values_of
from dissect.stats.bins import sparse


def run(maps, low, high, shift, num_bins, **options):
    bins = torch.zeros(maps.shape[1], num_bins, dtype=torch.int64)
    above = torch.zeros(maps.shape[1], dtype=torch.int64)
    ops.tail_histogram(maps, low, high, shift, bins, above, **options)
    return bins, above


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_keys_are_in_the_order_of_the_floats(dtype):
    values = torch.randn(2000).to(dtype)
    values = torch.cat([values, torch.tensor([0.0, -0.0, 1e-7, -1e-7, 3e4, -3e4]).to(dtype)]).sort().values
    keys = keys_of(values)
    assert (keys[1:] >= keys[:-1]).all()
    assert torch.equal(keys[1:] == keys[:-1], values[1:] == values[:-1])
    assert torch.equal(values_of(keys, dtype), values + 0.0)
    assert keys_of(torch.tensor([0.0, -0.0], dtype=dtype)).tolist() == [1 << (8 * dtype.itemsize - 1)] * 2


def test_by_hand(backend):
    maps = torch.tensor([[[[-1.0, 1.0, 2.0, 4.0]]]])
    low, high = keys_of(torch.tensor([1.0])), keys_of(torch.tensor([2.0]))
    bins, above = run(maps, low, high, torch.tensor([23]), 4, backend=backend)  # 23: one bin per octave
    assert bins.tolist() == [[1, 1, 0, 0]]
    assert above.tolist() == [1]


def test_bounds_of_cells_by_hand(backend):
    maps = torch.tensor([[[[0.0, 2.0]]]])  # 4 columns: 0, .5, 1.5, 2: cells of 1, 2 and 1 pixels
    grid = Grid.half_pixel((1, 2), (1, 4))
    zero, two = keys_of(torch.tensor([0.0])), keys_of(torch.tensor([2.0]))
    shift = torch.zeros(1, dtype=torch.int64)
    for sample, at_zero, at_two in (("min", 3, 1), ("max", 1, 3), ("value", 1, 1)):
        assert run(maps, zero, zero, shift, 1, grid=grid, sample=sample, backend=backend)[0].item() == at_zero
        assert run(maps, two, two, shift, 1, grid=grid, sample=sample, backend=backend)[0].item() == at_two


@pytest.mark.parametrize("seed", range(80))
def test_every_level_equals_the_reference(seed, simd):
    case, choose = random_case(seed), random.Random(seed)
    maps, grid = case.activations, choose.choice((case.grid, case.grid, None))
    bits = 16 if grid is None and maps.dtype.itemsize == 2 else 32
    values = (maps if grid is None else maps.float()).transpose(0, 1).flatten(1)
    middle = keys_of(values)[:, :1] if values.shape[1] else torch.zeros(maps.shape[1], 1, dtype=torch.int64)
    width = choose.choice((0, 5, 1000, 1 << (bits - 4)))
    low = (middle[:, 0] - width).clamp(min=0)
    high = (middle[:, 0] + width).clamp(max=(1 << bits) - 1)
    shift = torch.full_like(low, max(0, (2 * width).bit_length() - 8))
    options = {"grid": grid, "sample": choose.choice(("value", "min", "max"))}
    ours, expected = (run(maps, low, high, shift, 256, backend=b, **options) for b in ("cpp", "reference"))
    assert torch.equal(ours[0], expected[0])
    assert torch.equal(ours[1], expected[1])


def test_cells_that_wait_across_images(simd):
    # More samples within the bracket than wait at once, of more units than are counted together.
    maps = torch.randn(20, 19, 7, 5, generator=torch.Generator().manual_seed(0))
    low, high = torch.zeros(19, dtype=torch.int64), torch.full((19,), (1 << 32) - 1)
    high[3], low[5] = keys_of(torch.tensor([0.5])).item(), keys_of(torch.tensor([1.0])).item()
    shift = torch.full((19,), 24)
    ours, expected = (run(maps, low, high, shift, 256, backend=b) for b in ("cpp", "reference"))
    assert torch.equal(ours[0], expected[0])
    assert torch.equal(ours[1], expected[1])
    maps[19, 18, 6, 4] = float("nan")
    with pytest.raises(ValueError, match="image 19 of the batch, unit 18"):
        ops.tail_histogram(maps, low, high, shift, *ours, backend="cpp")
    assert torch.equal(ours[0], expected[0])
    assert torch.equal(ours[1], expected[1])


@pytest.mark.parametrize("seed", range(20))
def test_cells_whose_pixels_are_all_alike(seed, simd):
    """Large cells with corners that are equal, in one bin, above the bracket or at its ends, as a ReLU's zeros are."""
    seeding.seed(seed)
    maps = torch.randint(0, 4, (2, 40, 5, 6)).float()
    maps[:, :10] = maps[:, :10].clamp(max=1)
    maps[:, 10:20] *= torch.rand(2, 10, 5, 6) < 0.1
    maps[:, 20:25] = -0.0
    grid = Grid.half_pixel((5, 6), (47, 60), border=random.Random(seed).choice(("edge", "zeros")))
    low, high = (keys_of(end) for end in torch.randint(0, 4, (2, 40)).float().sort(dim=0).values)
    shift = torch.full_like(low, 29) - torch.randint(0, 2, (40,))
    expected = run(maps, low, high, shift, 64, grid=grid, backend="reference")
    assert all(map(torch.equal, run(maps, low, high, shift, 64, grid=grid, backend="cpp"), expected))


def brackets(maps, num_bins, generator):
    """Of many units: nothing within, few, some, all; with and without much above; bins of many keys or of one."""
    values = maps.transpose(0, 1).flatten(1).sort().values
    places = torch.randint(0, values.shape[1], (2, len(values)), generator=generator).sort(dim=0).values
    low, high = (keys_of(values.gather(1, at[:, None]))[:, 0] for at in places)
    low[::7] = 0
    high[1::5] = keys_of(torch.tensor([float("inf")])).item()
    high[2::5] = low[2::5]  # one key
    high[3::5] = torch.minimum(high, low + 3)[3::5]
    shift = ((high - low + 1).double() / num_bins).log2().ceil().clamp(min=0).long()
    return low, high, shift


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("name", ENLARGED)
def test_cells_of_all_sizes_and_lists_of_them_that_are_full(name, border, simd):
    # Nine images: after four of which none is within, a unit's samples are looked at in another way.
    grid, generator = enlarging(name, border), torch.Generator().manual_seed(0)
    maps = torch.randn(9, 20, *grid.source_shape, generator=generator)
    bracket = brackets(maps, 64, generator)
    ours, expected = (run(maps, *bracket, 64, grid=grid, backend=backend) for backend in ("cpp", "reference"))
    assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("share", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("width", [3, 13, 14, 15, 29, 30, 31, 61, 64, 100])
def test_grids_whose_cells_differ(width, share, simd):
    """Of a few cells, or of all: then target rows are computed as a whole, in one register, two or memory."""
    generator = torch.Generator().manual_seed(width)
    maps = torch.randn(6, 20, 9, width, generator=generator)
    maps[torch.rand(maps.shape, generator=generator) > share] = -30.0
    bracket = brackets(maps, 64, generator)
    bracket[0][4::2] = keys_of(torch.tensor([-1.0])).item()
    bracket[1][4::2] = keys_of(torch.tensor([0.3])).item()
    bracket[2][4::2] = 26
    for target in ((40, 47), (23, 5 * width), (7, 17)):
        whole = Grid.half_pixel((9, width), (64, 160), border="zeros")
        for grid in (Grid.half_pixel((9, width), target), sparse(whole, 2)):
            ours, expected = (run(maps, *bracket, 64, grid=grid, backend=b) for b in ("cpp", "reference"))
            assert all(map(torch.equal, ours, expected))


def test_hot_cells_of_floors_below_zero(simd):
    """Zeros that stand for what was not kept are no samples, though they are above such a floor."""
    maps = torch.randn(2, 3, 9, 14) - 3
    grid, floors = Grid.half_pixel((9, 14), (40, 47)), torch.full((3,), -2.5)
    low, high, shift = keys_of(floors) + 1, torch.full((3,), 2**32 - 1), torch.full((3,), 25)
    high[1] = keys_of(torch.tensor([-1.0])).item()
    ours, expected = (
        run(part, low, high, shift, 256, grid=grid, backend="cpp") for part in (ops.hot_cells(maps, floors), maps)
    )
    assert all(map(torch.equal, ours, expected))


def test_units_without_a_bracket_are_left_out(backend):
    maps = torch.ones(1, 3, 2, 2)
    low, high = torch.tensor([0, 1, 0]), torch.tensor([0, 0, 0])
    for grid in (None, Grid.half_pixel((2, 2), (4, 4))):
        bins, above = run(maps, low, high, torch.zeros(3, dtype=torch.int64), 1, grid=grid, backend=backend)
        assert above.tolist() == ([4, 0, 4] if grid is None else [16, 0, 16])
        assert bins.sum() == 0


def test_adds_to_what_is_there(backend):
    maps, zeros = torch.ones(1, 2, 1, 1), torch.zeros(2, dtype=torch.int64)
    bins, above = torch.full((2, 1), 5), torch.full((2,), 7)
    ops.tail_histogram(maps, zeros, zeros, zeros, bins, above, backend=backend)
    assert bins.tolist() == [[5], [5]]
    assert above.tolist() == [8, 8]


@pytest.mark.parametrize("seed", range(40))
def test_bad_values_change_nothing(seed, simd):
    case, choose = random_case(seed), random.Random(seed)
    maps, grid = case.activations.clone(), choose.choice((case.grid, None))
    if maps.numel() == 0:
        maps = torch.ones(1, 1, *maps.shape[2:])
    where = tuple(choose.randrange(size) for size in maps.shape)
    huge = 2.0**126 if maps.dtype != torch.float16 else float("inf")
    maps[where] = choose.choice((float("nan"), float("inf"), -float("inf"), huge))
    units, bits = maps.shape[1], 16 if grid is None and maps.dtype.itemsize == 2 else 32
    low = torch.tensor([choose.choice((0, 1 << (bits - 1), (1 << bits) - 1)) for _ in range(units)])
    high = torch.tensor([choose.choice((0, 1 << (bits - 1), (1 << bits) - 1)) for _ in range(units)])
    bins, above, shift = torch.full((units, 256), 3), torch.full((units,), 7), torch.full((units,), bits - 8)
    for backend in ("cpp", "reference"):
        with pytest.raises(ValueError, match=f"image {where[0]} of the batch, unit {where[1]}, is not"):
            ops.tail_histogram(maps, low, high, shift, bins, above, grid=grid, backend=backend)
        assert (bins == 3).all()
        assert (above == 7).all()


@pytest.mark.parametrize(("key", "infinity"), [(0, -float("inf")), ((1 << 32) - 1, float("inf"))])
def test_infinities_are_not_within_brackets_of_keys_beyond_theirs(key, infinity, simd):
    """They have no bin: `low` lies where one would be, and a unit whose low is raised is left out when it is undone."""
    memory, shift = torch.zeros(4096, dtype=torch.int64), torch.tensor([20])
    place = ((keys_of(torch.tensor([infinity])) - key) & 0xFFFFFFFF) >> shift
    memory[place] = key
    with pytest.raises(ValueError, match="image 0 of the batch, unit 0, is not"):
        ops.tail_histogram(
            torch.full((1, 1, 2, 2), infinity), memory[place:][:1], torch.tensor([key]), shift, memory[:1, None],
            torch.zeros(1, dtype=torch.int64), backend="cpp",
        )  # fmt: skip
    assert memory[place] == key


def test_errors():
    maps, zeros = torch.ones(1, 2, 1, 1), torch.zeros(2, dtype=torch.int64)
    whole, ones = zeros + (1 << 32) - 1, torch.tensor([0, 1])
    for bracket, told in (
        ((zeros, whole, zeros + 32 * ones), r"shift must lie in \[0, 32\), but of unit 1 is 32"),
        ((zeros, zeros, -ones), r"shift must lie in \[0, 32\), but of unit 1 is -1"),
        ((zeros, ones << 32, zeros + 31), r"high must lie in \[0, 4294967296\), but of unit 1 is 4294967296"),
        ((-ones, zeros, zeros), r"low must lie in \[0, 4294967296\), but of unit 1 is -1"),
    ):
        with pytest.raises(ValueError, match=told):
            ops.tail_histogram(maps, *bracket, torch.zeros(2, 4, dtype=torch.int64), zeros.clone())
    with pytest.raises(ValueError, match=r"high must lie in \[0, 65536\), but of unit 0 is 4294967295"):
        ops.tail_histogram(maps.half(), zeros, whole, zeros + 31, torch.zeros(2, 4, dtype=torch.int64), zeros.clone())
    with pytest.raises(ValueError, match="must fit in B=3 bins"):
        run(maps, zeros, zeros + 3, zeros, 3)
    with pytest.raises(ValueError, match=r"sample must be one of .* but got 'mean'"):
        run(maps, zeros, zeros, zeros, 3, sample="mean")
    with pytest.raises(TypeError, match=r"keys_of: values must be float32, .* but got torch\.float64"):
        keys_of(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"low must be a torch.int64 tensor, but got torch.float32"):
        run(maps, zeros.float(), zeros, zeros, 3)
    with pytest.raises(ValueError, match=r"high must have shape \[U\] with U=2"):
        run(maps, zeros, zeros[:1], zeros, 3)
    with pytest.raises(ValueError, match="feature maps of"):
        run(maps, zeros, zeros, zeros, 3, grid=Grid.half_pixel((2, 2), (4, 4)))
    bins, above = torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 2, dtype=torch.int64)
    for values, message in (
        ((bins, above[:, 0]), "above must be contiguous, but has stride 2"),
        ((bins, above[:1, 0].expand(2)), "above must be contiguous, but has stride 0"),
        ((bins[:, ::2], above[0]), r"bins must be contiguous, but has strides \[3, 2\]"),
        ((bins[:, :0], above[0]), r"bins must be int64 \[U, B\] with U=2, B >= 1, but got torch.int64 \[2, 0\]"),
        ((bins.int(), above[0]), r"bins must be int64 .* but got torch.int32"),
        ((bins.to("meta"), above[0]), "bins must be on the activations' device cpu, but got meta"),
    ):
        with pytest.raises(ValueError, match=message):
            ops.tail_histogram(maps, zeros, zeros, zeros, *values)
    with pytest.raises(TypeError, match=r"bins must be a torch.Tensor, but got list"):
        ops.tail_histogram(maps, zeros, zeros, zeros, [[0]], above[0])


@pytest.mark.parametrize("backend", ["cpp", "reference"])
@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (0, 0), (3, None), (None, 3)])
def test_grids_without_pixels_are_refused_where_the_op_is_called_itself(backend, rows, columns, missing):
    """The engine looks at the first and the last column, and takes no rows for no grid."""
    if backend == "cpp" and native.unavailable():
        missing("cpp", native.unavailable())
    maps, keys, grid = torch.randn(2, 3, 4, 4), torch.zeros(3, dtype=torch.int64), Grid.half_pixel((4, 4), (3, 3))
    tables = [None if few is None else table[:few] for table, few in ((grid.rows, rows), (grid.columns, columns))]
    bins = torch.zeros(3, 4, dtype=torch.int64)
    with pytest.raises(
        ValueError, match=r"tail_histogram: (rows|columns) must be contiguous .* \[1, 3\]|come together"
    ):
        torch.ops.dissect.tail_histogram(maps, keys, keys + 3, keys, bins, keys.clone(), *tables, "value", backend)
