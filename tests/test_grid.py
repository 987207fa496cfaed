"""Grid: literal tables, laws, third parties, errors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dissect import Grid
from dissect.grid import MAX_WEIGHT
from dissect.reference import corners, upsample

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))
BORDERS = st.sampled_from(["edge", "zeros"])


def table(grid, axis="rows"):
    return [(*pair, weight) for pair, weight in zip(grid.indices(axis).tolist(), grid.weights(axis).tolist())]


def test_half_pixel_by_hand():
    # src = (y + .5) * 2 / 4 - .5 = -.25, .25, .75, 1.25
    assert table(Grid.half_pixel((2, 2), (4, 4))) == [(0, 0, 0.0), (0, 1, 0.25), (0, 1, 0.75), (1, 1, 0.0)]
    zeros = [(-1, 0, 0.75), (0, 1, 0.25), (0, 1, 0.75), (1, 2, 0.25)]
    assert table(Grid.half_pixel((2, 2), (4, 4), border="zeros")) == zeros


def test_published_pnas_geometry_at_the_corner():
    # FACTS 1.2: 14 -> 56 starts at -0.375, so the corner pixel of a map of ones is .625 * .625.
    grid = Grid.half_pixel((14, 14), (56, 56), border="zeros")
    assert table(grid)[0] == (-1, 0, 0.625)
    assert upsample(torch.ones(1, 1, 14, 14), grid.rows, grid.columns)[0, 0, 0, 0] == 0.625**2


def test_align_corners_by_hand():
    assert table(Grid.align_corners((3, 3), (5, 5))) == [(0, 0, 0), (0, 1, 0.5), (1, 1, 0), (1, 2, 0.5), (2, 2, 0)]
    assert table(Grid.align_corners((3, 3), (1, 1))) == [(0, 0, 0)]


def test_receptive_field_by_hand():
    # conv 3x3 pad 1, pool 2x2 stride 2: cell i sits at 2 * i + 0.5; the segmentation has the image's own size.
    grid = Grid.receptive_field([(3, 1, 1), (2, 2, 0)], (3, 3), (6, 6))
    assert table(grid) == [(0, 0, 0), (0, 1, 0.25), (0, 1, 0.75), (1, 2, 0.25), (1, 2, 0.75), (2, 2, 0)]


def test_receptive_field_of_alexnet_conv5_spans_what_was_measured():
    # FACTS 1.2: conv5 (13x13) of AlexNet at 227 samples source coordinates -1.06 ... 13.06 of a 56x56 segmentation.
    layers = [(11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1)]
    scale, offset, shrink = 16.0, 17.0, 55 / 226
    grid = Grid.receptive_field(layers, (13, 13), (56, 56), image=(227, 227), border="zeros")
    expected = [(i - offset * shrink) / (scale * shrink) for i in range(56)]
    assert (expected[0], expected[-1]) == pytest.approx((-1.0625, 13.0625))
    for (low, _, weight), centre in zip(table(grid), expected):
        assert low + weight == pytest.approx(min(max(centre, -1), 13), abs=1e-6)


ALEXNET = [(11, 4, 0), (3, 2, 0), (5, 1, 2), (3, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1)]


def test_netdissect_of_alexnet_conv5():
    # FACTS 1.2 and 11: size 163, offset -64, step 16, so cell i lies at (81 - 64) // 2 + 8 i = 8, 16, ..., 104.
    grid = Grid.netdissect(ALEXNET, (13, 13), (113, 113), image=(227, 227))
    rows = table(grid)
    assert rows[:9] == [(0, 0, 0)] * 9
    assert rows[9:12] == [(0, 1, 0.125), (0, 1, 0.25), (0, 1, 0.375)]
    assert [rows[8 + 8 * cell] for cell in range(13)] == [(cell, cell, 0) for cell in range(13)]
    assert rows[103] == (11, 12, 0.875)
    assert rows[104:] == [(12, 12, 0)] * 9


def test_netdissect_of_vgg16_conv5_3():
    # By hand: size 196, offset -90, step 16, so cell i lies at (98 - 90) // 2 + 8 i = 4, 12, ..., 108.
    conv, pool = (3, 1, 1), (2, 2, 0)
    layers = [conv, conv, pool] * 2 + [conv, conv, conv, pool] * 2 + [conv] * 3
    rows = table(Grid.netdissect(layers, (14, 14), (112, 112), image=(224, 224)))
    assert rows[:6] == [(0, 0, 0)] * 5 + [(0, 1, 0.125)]
    assert [rows[4 + 8 * cell] for cell in range(14)] == [(cell, cell, 0) for cell in range(14)]
    assert rows[107:] == [(12, 13, 0.875)] + [(13, 13, 0)] * 4


def test_netdissect_with_odd_numbers_rounds_down():
    # size 5 then 5 + 2 * 3 = 11, offset -2 then -2 - 4 * 3 = -14, step 3 then 6: from (5 - 14) // 2 = -5 on, by 3.
    layers = [(5, 3, 2), (2, 2, 4, 2)]
    grid = Grid.netdissect(layers, (4, 4), (10, 10), image=(20, 20), border="zeros")
    places = [low + weight for low, _, weight in table(grid)]
    assert places == pytest.approx([5 / 3, 2, 7 / 3, 8 / 3, 3, 10 / 3, 11 / 3, 4, 4, 4])


def test_the_exact_centres_of_alexnet_conv5_lie_beside_netdissects():
    # FACTS 11: 8.42 ... 103.58 of 113, where the whole pixels are 8 ... 104.
    grid = Grid.receptive_field(ALEXNET, (13, 13), (113, 113), image=(227, 227))
    places = [low + weight for low, _, weight in table(grid)]
    apart = (103.58 - 8.42) / 12
    assert places[9:104] == pytest.approx([(row - 8.42) / apart for row in range(9, 104)], abs=1e-3)


def test_from_centres_by_hand():
    grid = Grid.from_centres([-0.5, 0, 1.25, 9], torch.tensor([0.5]), (3, 2), border="zeros")
    assert table(grid) == [(-1, 0, 0.5), (0, 0, 0), (1, 2, 0.25), (3, 3, 0)]
    assert table(grid, "columns") == [(0, 1, 0.5)]
    assert Grid.from_centres([-0.25, 0.25, 0.75, 1.25], [0], (2, 1)).key == Grid.half_pixel((2, 1), (4, 1)).key


@given(SIZES, SIZES, BORDERS, st.sampled_from(["half_pixel", "align_corners"]))
def test_laws_of_tables(source, target, border, kind):
    grid = getattr(Grid, kind)(source, target, border=border)
    for axis, size in zip(("rows", "columns"), source):
        low, high = (0, size - 1) if border == "edge" else (-1, size)
        index, weight = grid.indices(axis), grid.weights(axis)
        assert (index[1:, 0] >= index[:-1, 0]).all()
        assert ((index[:, 1] - index[:, 0]) == (weight > 0).long()).all()
        assert index.min() >= low
        assert index.max() <= high
        assert weight.min() >= 0
        assert weight.max() <= MAX_WEIGHT


def test_a_weight_near_one_snaps_to_the_next_index():
    from dissect.grid import _axis_table

    snapped = _axis_table(torch.tensor([0.0, 1 - 2.0**-23, 1.5], dtype=torch.float64).numpy(), 4, "edge")
    assert snapped[:, :2].tolist() == [[0, 0], [1, 1], [1, 2]]
    kept = _axis_table(torch.tensor([1 - 2.0**-22], dtype=torch.float64).numpy(), 4, "edge")
    assert kept[0, :2].tolist() == [0, 1]


ADVERSARIAL = st.floats(-(2.0**126), 2.0**126, exclude_min=True, exclude_max=True, width=32) | st.sampled_from(
    [0.0, -0.0, 2.0**-149, -(2.0**-149), 2.0**-126, 1.0, 1 + 2.0**-23, 1 - 2.0**-24]
)


@given(st.lists(ADVERSARIAL, min_size=6, max_size=6), SIZES, BORDERS)
def test_a_value_lies_between_its_rows_ends_and_its_corners(values, target, border):
    grid = Grid.half_pixel((2, 3), target, border=border)
    maps = torch.tensor(values).view(1, 1, 2, 3)
    a00, a01, a10, a11 = corners(maps, grid.rows, grid.columns)
    wy = grid.weights("rows")[:, None]
    left, right = a00 + (a10 - a00) * wy, a01 + (a11 - a01) * wy
    v = upsample(maps, grid.rows, grid.columns)
    assert (torch.minimum(left, right) <= v).all()
    assert (v <= torch.maximum(left, right)).all()
    assert (torch.minimum(a00, a10) <= left).all()
    assert (left <= torch.maximum(a00, a10)).all()
    assert v.isfinite().all()


@pytest.mark.parametrize("target", [(5, 9), (28, 28), (3, 2), (37, 41)])
def test_within_rounding_of_torch_interpolate(target):
    maps = torch.randn(2, 3, 7, 6)
    grid = Grid.half_pixel((7, 6), target)
    expected = F.interpolate(maps.double(), target, mode="bilinear", align_corners=False)
    bound = 6 * 2.0**-24 * maps.abs().max() * 2 + 2.0**-23 * maps.abs().max() * 2
    assert (upsample(maps, grid.rows, grid.columns) - expected).abs().max() <= bound
    grid = Grid.align_corners((7, 6), target)
    expected = F.interpolate(maps.double(), target, mode="bilinear", align_corners=True)
    assert (upsample(maps, grid.rows, grid.columns) - expected).abs().max() <= bound


def test_zeros_border_is_grid_samples_zero_padding():
    maps = torch.randn(1, 2, 7, 7, dtype=torch.float64).float()
    centres = (torch.arange(28, dtype=torch.float64) + 0.5) * 7 / 28 - 0.5
    x = centres * 2 / 6 - 1
    flow = torch.stack(torch.meshgrid(x, x, indexing="xy"), -1)[None]
    expected = F.grid_sample(maps.double(), flow, align_corners=True, padding_mode="zeros")
    grid = Grid.half_pixel((7, 7), (28, 28), border="zeros")
    assert (upsample(maps, grid.rows, grid.columns) - expected).abs().max() < 1e-5


def published_upsample(plane, target):
    """The published PNAS code in numpy: its coordinates (`upsample_grid`), and grid_sample with zero padding."""
    axes = []
    for size, pixels in zip(plane.shape, target):
        scale = pixels / size
        offset = 0.5 * scale - 0.5
        flow = (np.arange(pixels) - offset) * (2 / (scale * max(1, size - 1))) - 1
        axes.append((flow + 1) / 2 * (size - 1))
    padded = np.pad(plane.astype(np.float64), 1)
    enlarged = np.zeros(target)
    for y, row in enumerate(axes[0]):
        for x, column in enumerate(axes[1]):
            top, left = int(np.floor(row)), int(np.floor(column))
            for i, share in ((top, 1 - (row - top)), (top + 1, row - top)):
                for j, part in ((left, 1 - (column - left)), (left + 1, column - left)):
                    enlarged[y, x] += share * part * padded[i + 1, j + 1]
    return enlarged


@pytest.mark.parametrize("source", [(1, 1), (1, 3), (5, 1), (1, 2), (2, 2), (4, 7)])
@pytest.mark.parametrize("target", [(1, 1), (4, 4), (3, 9), (16, 1)])
def test_zeros_border_is_the_published_code_for_one_cell_too(source, target):
    maps = torch.randn(1, 1, *source)
    grid = Grid.half_pixel(source, target, border="zeros")
    enlarged = upsample(maps, grid.rows, grid.columns)[0, 0].double().numpy()
    np.testing.assert_allclose(enlarged, published_upsample(maps[0, 0].numpy(), target), atol=1e-6)


def test_one_cell_fills_its_axis_at_any_border():
    for border in ("edge", "zeros"):
        for grid in (
            Grid.half_pixel((1, 1), (3, 2), border=border),
            Grid.receptive_field([(3, 4, 1), (3, 2, 0)], (1, 1), (3, 2), border=border),
        ):
            assert table(grid) == [(0, 0, 0)] * 3
            assert table(grid, "columns") == [(0, 0, 0)] * 2


def test_key_tells_grids_apart():
    assert Grid.half_pixel((2, 2), (4, 4)).key == Grid.half_pixel((2, 2), (4, 4)).key
    assert Grid.half_pixel((2, 2), (4, 4)).key != Grid.half_pixel((2, 2), (4, 4), border="zeros").key


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Grid.half_pixel((0, 2), (4, 4)), r"source must be two sizes of at least 1, but got \(0, 2\)"),
        (lambda: Grid.align_corners((2, 2), (4,)), r"target must be two sizes of at least 1, but got \(4,\)"),
        (lambda: Grid.half_pixel((2, 2), (4, 4), border="wrap"), r"border must be one of .* but got 'wrap'"),
        (lambda: Grid.receptive_field([(3, 0, 1)], (2, 2), (4, 4)), r"a layer must be .* but got \(3, 0, 1\)"),
        (lambda: Grid.netdissect([(3, 1.5, 1)], (2, 2), (4, 4)), r"a layer must be .* but got \(3, 1.5, 1\)"),
        (
            lambda: Grid.netdissect([(3, 1, 1)], (8, 8), (4, 4), image=(8, 8)),
            r"cells at least one .* got 4 of 8 pixels and cells 1 pixels .* use the exact geometry, receptive_field",
        ),
        (lambda: Grid.netdissect([(3, 2, 1)], (8, 8), (40, 40), image=(16, 16)), "no larger than the image"),
        (lambda: Grid.from_centres([1, 0], [0], (2, 2)), r"rows must be one list .* never fall, but got \[1.0, 0.0\]"),
        (lambda: Grid.from_centres([0], [float("nan")], (2, 2)), "columns must be one list of finite coordinates"),
        (lambda: Grid.from_centres([[0]], [0], (2, 2)), "rows must be one list of finite"),
        (lambda: Grid.from_centres([], [0], (2, 2)), r"target must be two sizes of at least 1, but got \(0, 1\)"),
        (lambda: Grid.half_pixel((2, 2), (4, 4)).check("op", (2, 3)), r"op: grid must be for feature maps of \(2, 3\)"),
        (lambda: Grid.half_pixel((2, 2), (4, 4)).check("op", (2, 2), (5, 5)), r"segmentations of \(5, 5\), but got"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def entries(*rows):
    """A table of (index0, index1, weight)."""
    pairs = torch.tensor([row[:2] for row in rows], dtype=torch.int32)
    weights = torch.tensor([row[2] for row in rows], dtype=torch.float32).view(torch.int32)
    return torch.cat([pairs, weights[:, None]], 1)


GOOD = entries((0, 1, 0.25), (1, 1, 0.0))


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (GOOD.tolist(), TypeError, "rows must be an int32 tensor, but got list"),
        (GOOD.long(), TypeError, r"rows must be an int32 tensor, but got torch\.int64"),
        (GOOD.float(), TypeError, r"rows must be an int32 tensor, but got torch\.float32"),
        (GOOD.to_sparse(), TypeError, r"rows must be an int32 tensor, but got torch\.int32, torch\.sparse_coo"),
        (GOOD.to("meta"), TypeError, "rows must be on the CPU, but is on meta"),
        (GOOD[:, :2], ValueError, r"rows must have shape \[T, 3\] with T >= 1, but got \[2, 2\]"),
        (GOOD[:0], ValueError, r"rows must have shape \[T, 3\] with T >= 1, but got \[0, 3\]"),
        (entries((0, 0, 0.0), (10**6, 10**6, 0.0)), ValueError, r"indices in \[-1, 2\].*but entry 1 is \(1000000, "),
        (entries((-2, -2, 0.0)), ValueError, r"entry 0 is \(-2, -2, 0\.0\)"),
        (entries((2, 3, 0.5)), ValueError, r"entry 0 is \(2, 3, 0\.5\)"),
        (entries((0, 2, 0.5)), ValueError, r"entry 0 is \(0, 2, 0\.5\)"),
        (entries((-(2**31), 2**31 - 1, 0.5)), ValueError, "entry 0 is"),
        (entries((1, 1, 0.0), (0, 1, 0.5)), ValueError, r"that never decrease.*entry 1 is \(0, 1, 0\.5\)"),
        (entries((0, 1, 0.5), (0, 0, 0.0)), ValueError, r"that never decrease.*entry 1 is \(0, 0, 0\.0\)"),
        (entries((0, 1, 1.0)), ValueError, r"weights from 0 to 1 - 2\^-22, but entry 0 is \(0, 1, 1\.0\)"),
        (entries((0, 1, -0.5)), ValueError, r"but entry 0 is \(0, 1, -0\.5\)"),
        (entries((0, 1, float("nan"))), ValueError, r"but entry 0 is \(0, 1, nan\)"),
    ],
)
def test_a_table_that_breaks_a_law_is_refused(table, error, message):
    with pytest.raises(error, match=message):
        Grid(table, GOOD, (2, 2))
    with pytest.raises(error, match=message.replace("rows", "columns")):
        Grid(GOOD, table, (2, 2))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Grid.half_pixel((2.5, 2), (4, 4)),
        lambda: Grid.align_corners((2, 2), (4, 4.0)),
        lambda: Grid.receptive_field([(3, 1, 1)], (2, 2), (4, 4), image=(8.5, 8)),
        lambda: Grid(GOOD, GOOD, (2, 2.5)),
        lambda: Grid.half_pixel(7, (4, 4)),
    ],
)
def test_sizes_that_are_no_integers_are_refused(make):
    with pytest.raises(TypeError, match="must be two integers, but got"):
        make()


def test_a_table_that_is_a_view_is_that_view():
    whole = Grid.half_pixel((4, 4), (16, 16))
    half = Grid(whole.rows[::2], whole.columns[::2], whole.source_shape)
    assert half.rows.is_contiguous()
    assert table(half) == table(whole)[::2]


def test_who_writes_into_the_table_given_writes_into_no_grid():
    given_rows = GOOD.clone()
    grid = Grid(given_rows, GOOD, (2, 2))
    given_rows[:] = 10**6
    assert torch.equal(grid.rows, GOOD)
    with torch.inference_mode():
        made = Grid.align_corners((3, 2), (7, 5))
    assert not made.rows.is_inference()
