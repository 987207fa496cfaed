"""iou_counts: literal tables, bits, third parties, laws, errors."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from generate import DTYPES, LAYOUTS, laid_out, random_case
from grids import BORDERS, ENLARGED, enlarging

from dissect import Grid, ops


def planes_of(*rows):
    """One image, one row per plane, one pixel high."""
    return torch.tensor([[[row] for row in rows]], dtype=torch.int16)


def test_by_hand(backend):
    maps = torch.tensor([[[[0.0, 1.0, 2.0, 3.0]], [[9.0, 9.0, 9.0, 9.0]]]])
    counts = ops.iou_counts(maps, torch.tensor([1.0, 9.0]), planes_of([1, 1, 2, 0], [0, 2, 1, 1]), 3, backend=backend)
    # Unit 0 fires on the last two pixels (1.0 is not above 1.0); unit 1 nowhere.
    assert counts.intersection.tolist() == [[0, 2, 1], [0, 0, 0]]
    assert counts.unit_area.tolist() == [[2, 0]]
    assert counts.label_area.tolist() == [[0, 4, 2]]
    assert counts.check() is counts


def test_a_pixel_counts_once_for_a_label_in_two_planes(backend):
    maps = torch.ones(1, 1, 1, 3)
    counts = ops.iou_counts(maps, torch.zeros(1), planes_of([2, 2, 1], [2, 1, 2]), 3, backend=backend)
    assert counts.intersection.tolist() == [[0, 2, 3]]


def test_an_upsampled_edge_by_hand(backend):
    # 0 1 upsampled to 8 columns: 0 0 .125 .375 .625 .875 1 1; above .375 fire the last four.
    maps = torch.tensor([[[[0.0, 1.0]]]])
    planes = torch.arange(1, 9, dtype=torch.int32).view(1, 1, 1, 8)
    counts = ops.iou_counts(maps, torch.tensor([0.375]), planes, 9, backend=backend)
    assert counts.intersection.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 1]]


def test_negative_thresholds_see_the_virtual_zeros(backend):
    maps = torch.full((1, 1, 2, 2), -1.0)
    planes = torch.ones(1, 1, 4, 4, dtype=torch.uint8)
    edge = ops.iou_counts(maps, torch.tensor([-0.9]), planes, 2, backend=backend)
    assert edge.unit_area.item() == 0
    grid = Grid.half_pixel((2, 2), (4, 4), border="zeros")
    zeros = ops.iou_counts(maps, torch.tensor([-0.9]), planes, 2, grid=grid, backend=backend)
    assert zeros.unit_area.item() == 12  # all but the inner 2x2


@pytest.mark.parametrize("seed", range(150))
def test_every_level_equals_the_reference(seed, simd):
    case = random_case(seed)
    ours, expected = (
        ops.iou_counts(case.activations, case.thresholds, case.planes, case.num_labels, grid=case.grid, backend=b)
        for b in ("cpp", "reference")
    )
    for name in ("intersection", "unit_area", "label_area", "status"):
        assert torch.equal(getattr(ours, name), getattr(expected, name)), name


def _in_cells(pattern):
    """[12, 12]: labels by the place (y, x) within a cell of 4x4, or by its cell."""
    y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    return {
        "uniform": 1 + (y + 2) // 4 * 4 + (x + 2) // 4,
        "halves": 1 + y // 4 * 3 + x // 4,
        "rows": 1 + y % 4,
        "columns": 1 + x % 4,
        "fives": 1 + (y * 12 + x) % 5,
        "pixels": 1 + y * 12 + x,
    }[pattern].to(torch.int16)


@pytest.mark.parametrize("pattern", ["uniform", "halves", "rows", "columns", "fives", "pixels"])
def test_cells_of_one_of_few_and_of_many_combinations(pattern, simd):
    # 3x3 to 12x12: cells of 4x4 pixels, from pixel 2 on; each kind of label in them is counted another way.
    maps = torch.randn(3, 40, 3, 3, generator=torch.Generator().manual_seed(0))
    thresholds = torch.linspace(-1.5, 1.5, 40)
    planes = torch.stack([_in_cells(pattern), torch.ones(12, 12, dtype=torch.int16)]).expand(3, 2, 12, 12)
    ours, expected = (ops.iou_counts(maps, thresholds, planes, 146, backend=b) for b in ("cpp", "reference"))
    assert torch.equal(ours.intersection, expected.intersection)
    assert torch.equal(ours.unit_area, expected.unit_area)
    assert torch.equal(ours.intersection[:, 1], ours.unit_area.sum(0))  # every pixel carries label 1


def _planes_in(kind, height, width, generator):
    """Labels 0 to 5 in patches, in stripes narrower than a cell, or as noise (of 216 combinations)."""
    if kind == "noise":
        return torch.randint(0, 6, (2, 3, height, width), generator=generator)
    rows, columns = (3, 4) if kind == "patches" else (height, max(1, width // 3))
    coarse = torch.randint(0, 6, (2, 3, rows, columns), generator=generator).float()
    return F.interpolate(coarse, (height, width)).long()


@pytest.mark.parametrize("kind", ["patches", "stripes", "noise"])
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("name", ENLARGED)
def test_cells_of_all_sizes_and_lists_of_them_that_are_full(name, border, kind, simd):
    (height, width), size = ENLARGED[name]
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 6, height, width, generator=generator)
    # From next to nothing to all but: all cells of a map of 30x30 fill lists of 512 twice.
    thresholds = torch.tensor([2.5, 1.5, 0.5, 0.0, -1.0, -9.0])
    planes = _planes_in(kind, *size, generator)
    grid = enlarging(name, border)
    ours, expected = (ops.iou_counts(maps, thresholds, planes, 6, grid=grid, backend=b) for b in ("cpp", "reference"))
    assert torch.equal(ours.intersection, expected.intersection)
    assert torch.equal(ours.unit_area, expected.unit_area)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_and_dtypes_do_not_matter(dtype, layout, backend):
    maps = torch.randn(2, 19, 5, 6).to(dtype)
    planes = torch.randint(0, 4, (2, 2, 17, 21))
    thresholds = torch.randn(19)
    given = laid_out(maps, layout)
    counts = ops.iou_counts(given, thresholds, planes, 4, backend=backend)
    expected = ops.iou_counts(given.float().contiguous(), thresholds, planes, 4, backend="reference")
    assert all(map(torch.equal, counts, expected))


def test_dyadic_inputs_equal_the_published_loop(backend):
    # Small integers on a power-of-two grid: every order of rounding agrees, so torch's own upsampling must too.
    maps = torch.randint(-8, 9, (3, 10, 4, 4)).float()
    planes = torch.randint(0, 6, (3, 2, 32, 32))
    thresholds = torch.randint(-2, 5, (10,)).float()
    fires = F.interpolate(maps, (32, 32), mode="bilinear") > thresholds[:, None, None]
    expected = torch.zeros(10, 6, dtype=torch.int64)
    for image in range(3):
        for label in range(1, 6):
            expected[:, label] += (fires[image] & (planes[image] == label).any(0)).sum((1, 2))
    counts = ops.iou_counts(maps, thresholds, planes, 6, backend=backend)
    assert torch.equal(counts.intersection, expected)
    assert torch.equal(counts.unit_area, fires.sum((2, 3)))


def test_sandwich_around_torch_interpolate(backend):
    maps, planes = torch.randn(2, 8, 7, 7), torch.ones(2, 1, 56, 56, dtype=torch.uint8)
    thresholds, bound = torch.full((8,), 1.0), 1e-5
    area = ops.iou_counts(maps, thresholds, planes, 2, backend=backend).unit_area
    upsampled = F.interpolate(maps.double(), (56, 56), mode="bilinear")
    assert ((upsampled > 1.0 + bound).sum((2, 3)) <= area).all()
    assert (area <= (upsampled > 1.0 - bound).sum((2, 3))).all()


def test_laws():
    maps, planes = torch.randn(5, 11, 6, 6), torch.randint(0, 9, (5, 3, 20, 22))
    thresholds = torch.randn(11)
    whole = ops.iou_counts(maps, thresholds, planes, 9)
    parts = [ops.iou_counts(maps[i : i + 2], thresholds, planes[i : i + 2], 9) for i in (0, 2, 4)]
    assert torch.equal(whole.intersection, sum(part.intersection for part in parts))
    assert torch.equal(whole.unit_area, torch.cat([part.unit_area for part in parts]))
    order = torch.randperm(11)
    shuffled = ops.iou_counts(maps[:, order], thresholds[order], planes, 9)
    assert torch.equal(shuffled.intersection, whole.intersection[order])
    rename = torch.cat([torch.zeros(1, dtype=torch.int64), torch.randperm(8) + 1])
    renamed = ops.iou_counts(maps, thresholds, rename[planes], 9)
    assert torch.equal(renamed.intersection[:, rename], whole.intersection)
    assert (whole.intersection <= whole.unit_area.sum(0)[:, None]).all()
    assert (whole.intersection <= whole.label_area.sum(0)).all()
    assert (whole.intersection[:, 0] == 0).all()


def test_threads_do_not_matter():
    maps, planes, thresholds = torch.randn(3, 70, 6, 6), torch.randint(0, 9, (3, 2, 20, 22)), torch.randn(70)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(ops.iou_counts(maps, thresholds, planes, 9).intersection)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_count(shape, backend):
    maps = torch.zeros(*shape, 2, 2)
    planes = torch.zeros(shape[0], 1, 4, 4, dtype=torch.uint8)
    counts = ops.iou_counts(maps, torch.zeros(shape[1]), planes, 3, backend=backend)
    assert counts.intersection.shape == (shape[1], 3)
    assert counts.unit_area.shape == shape


def test_compiles_without_a_graph_break():
    def count(maps, thresholds, planes):
        return ops.iou_counts(maps.relu(), thresholds, planes, 5).intersection * 2

    arguments = (torch.randn(2, 7, 3, 3), torch.zeros(7), torch.randint(0, 5, (2, 2, 4, 6)))
    compiled = torch.compile(count, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*arguments), count(*arguments))


def test_opcheck():
    labels = ops.encode_labels(torch.randint(0, 5, (2, 2, 4, 6)), 5)
    grid = Grid.half_pixel((3, 3), (4, 6))
    arguments = (
        torch.randn(2, 7, 3, 3),
        torch.randn(7),
        labels.runs,
        labels.table,
        labels.offsets,
        5,
        grid.rows,
        grid.columns,
    )
    torch.library.opcheck(torch.ops.dissect.iou_counts.default, (*arguments, "auto"))


GOOD = (torch.zeros(2, 3, 2, 2), torch.zeros(3), torch.zeros(2, 1, 4, 4, dtype=torch.int32), 3)


@pytest.mark.parametrize(
    ("position", "value", "error", "message"),
    [
        (0, torch.zeros(2, 3, 2, 2).double(), TypeError, "activations must be float32, float16 or bfloat16, but got"),
        (0, torch.zeros(3, 2, 2), ValueError, r"activations must have shape \[N, U, h, w\].*but got \[3, 2, 2\]"),
        (0, "maps", TypeError, "activations must be a torch.Tensor, but got str"),
        (1, torch.zeros(4), ValueError, r"thresholds must have shape \[U\] with U=3 .*but got \[4\]"),
        (1, torch.zeros(3).double(), TypeError, "thresholds must be a torch.float32 tensor, but got torch.float64"),
        (1, np.zeros(3, np.float32), TypeError, r"a torch\.float32 tensor, but got numpy\.ndarray; torch"),
        (1, torch.tensor([0, float("nan"), 0]), ValueError, "thresholds must not be NaN, but unit 1's is"),
        (2, torch.zeros(1, 1, 4, 4, dtype=torch.int32), ValueError, "labels must be of N=2 images, but got 1"),
        (3, None, ValueError, "num_labels must be given with label planes"),
    ],
)
def test_errors(position, value, error, message):
    arguments = [*GOOD[:position], value, *GOOD[position + 1 :]]
    with pytest.raises(error, match=message):
        ops.iou_counts(*arguments)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 2.0**126, -(2.0**126)])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_bad_values_are_named(bad, layout, backend):
    maps = torch.zeros(3, 5, 2, 3)
    maps[1, 4, 1, 2] = bad
    maps[2, 0, 0, 0] = bad
    planes = torch.zeros(3, 1, 4, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"below 2\^126 in magnitude, but image 1 of the batch, unit 4, is not"):
        ops.iou_counts(laid_out(maps, layout), torch.zeros(5), planes, 3, backend=backend)


def test_the_largest_magnitudes_are_served(backend):
    largest = float(torch.tensor(2.0**126).nextafter(torch.tensor(0.0)))
    maps = torch.tensor([[[[largest, -largest]]]])
    counts = ops.iou_counts(maps, torch.zeros(1), torch.ones(1, 1, 1, 8, dtype=torch.uint8), 2, backend=backend)
    assert counts.unit_area.item() == 4


def test_a_backend_without_an_encoder_takes_planes():
    with pytest.raises(ValueError, match="iou_counts: backend must be 'auto' or one of"):
        ops.iou_counts(*GOOD, backend="cuda")  # of iou_counts, since there is no GPU; not of encode_labels


def test_wrong_grid_and_wrong_num_labels():
    with pytest.raises(ValueError, match=r"grid must be for segmentations of \(4, 4\), but got \(8, 8\)"):
        ops.iou_counts(*GOOD, grid=Grid.half_pixel((2, 2), (8, 8)))
    with pytest.raises(TypeError, match=r"grid must be a dissect.Grid or None, but got tuple"):
        ops.iou_counts(*GOOD, grid=(4, 4))
    with pytest.raises(ValueError, match="num_labels must be the labels' 3, but got 4"):
        ops.iou_counts(*GOOD[:2], ops.encode_labels(GOOD[2], 3), 4)
