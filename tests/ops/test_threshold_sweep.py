"""threshold_sweep: a table by hand, iou_counts at every edge, bits, laws, errors."""

import random

import pytest
import torch
from generate import DTYPES, LAYOUTS, laid_out, random_case

from dissect import Grid, ops


def edges_of(case, seed):
    """[U, B] rising: values that occur, so that some equal an edge; ties, infinities, and odd numbers of edges."""
    choose = random.Random(seed)
    values = case.activations.float().transpose(0, 1).flatten(1)
    count = choose.choice((1, 2, 5, 16, 17, 64))
    if not values.shape[1]:
        values = torch.randn(len(values), 9)
    edges = values[:, torch.randint(values.shape[1], (count,))].sort(1).values
    if choose.random() < 0.3:
        edges[:, -1] = float("inf")
    if choose.random() < 0.3:
        edges[:, 0] = float("-inf")
    return edges


def test_by_hand(backend):
    maps = torch.tensor([[[[0.0, 1.0, 2.0, 3.0]], [[9.0, 9.0, 9.0, 9.0]]]])
    planes = torch.tensor([[[[1, 1, 2, 0]], [[0, 2, 1, 1]]]], dtype=torch.int16)
    edges = torch.tensor([[0.0, 1.0, 2.5], [8.0, 9.0, 9.5]])
    counts = ops.threshold_sweep(maps, edges, planes, 3, backend=backend)
    # Unit 0: pixel 0 exceeds nothing, 1 the first edge only (1.0 is not above 1.0), 2 the first two, 3 all.
    assert counts.unit_bins.tolist() == [[[1, 1, 1], [4, 0, 0]]]
    assert counts.bins[0].tolist() == [[0, 0, 0], [1, 1, 1], [1, 1, 0]]
    assert counts.intersection[0].tolist() == [[0, 0, 0], [3, 2, 1], [2, 1, 0]]
    assert counts.unit_area.tolist() == [[[3, 2, 1], [4, 0, 0]]]
    assert counts.label_area.tolist() == [[0, 4, 2]]
    assert counts.check() is counts


@pytest.mark.parametrize("seed", range(150))
def test_every_level_equals_the_reference(seed, simd):
    case = random_case(seed)
    edges = edges_of(case, seed)
    ours, expected = (
        ops.threshold_sweep(case.activations, edges, case.planes, case.num_labels, grid=case.grid, backend=b)
        for b in ("cpp", "reference")
    )
    for name, one, other in zip(ours._fields, ours, expected, strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("seed", range(0, 150, 5))
def test_at_every_edge_it_is_iou_counts(seed, backend):
    case = random_case(seed)
    edges = edges_of(case, seed)
    labels = ops.encode_labels(case.planes, case.num_labels)
    counts = ops.threshold_sweep(case.activations, edges, labels, grid=case.grid, backend=backend)
    for b, thresholds in enumerate(edges.unbind(1)):
        at_edge = ops.iou_counts(case.activations, thresholds.contiguous(), labels, grid=case.grid)
        assert torch.equal(counts.intersection[..., b], at_edge.intersection)
        assert torch.equal(counts.unit_area[..., b], at_edge.unit_area)
    assert torch.equal(counts.label_area, labels.area)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_and_dtypes_do_not_matter(dtype, layout, backend):
    maps = torch.randn(2, 19, 5, 6).to(dtype)
    planes = torch.randint(0, 4, (2, 2, 17, 21))
    edges = torch.randn(19, 7).sort(1).values
    given = laid_out(maps, layout)
    counts = ops.threshold_sweep(given, edges.T.contiguous().T, planes, 4, backend=backend)
    expected = ops.threshold_sweep(given.float().contiguous(), edges, planes, 4, backend="reference")
    assert all(map(torch.equal, counts, expected))


def test_runs_of_64_bits(simd):
    maps, planes = torch.randn(1, 2, 3, 5), torch.randint(0, 3, (1, 2, 2, 1 << 14))
    edges = torch.tensor([[0.0, 0.5, 1.0]]).repeat(2, 1)
    ours, expected = (ops.threshold_sweep(maps, edges, planes, 3, backend=b) for b in ("cpp", "reference"))
    assert all(map(torch.equal, ours, expected))


def test_laws():
    maps, planes = torch.randn(5, 11, 6, 6), torch.randint(0, 9, (5, 3, 20, 22))
    edges = torch.randn(11, 12).sort(1).values
    whole = ops.threshold_sweep(maps, edges, planes, 9)
    bins, unit_bins = None, []
    for i in (0, 2, 4):
        part = ops.threshold_sweep(maps[i : i + 2], edges, planes[i : i + 2], 9, bins=bins)
        assert bins is None or part.bins is bins
        bins = part.bins
        unit_bins.append(part.unit_bins)
    assert torch.equal(whole.bins, bins)
    assert torch.equal(whole.unit_bins, torch.cat(unit_bins))
    order = torch.randperm(11)
    assert torch.equal(ops.threshold_sweep(maps[:, order], edges[order], planes, 9).bins, whole.bins[order])
    block = ops.threshold_sweep(maps[:, 3:7], edges[3:7], planes, 9)
    assert torch.equal(block.bins, whole.bins[3:7])
    assert (whole.intersection <= whole.unit_area.sum(0)[:, None]).all()
    assert (whole.intersection <= whole.label_area.sum(0)[:, None]).all()
    assert (whole.intersection.diff(dim=2) <= 0).all()


def test_threads_do_not_matter():
    maps, planes = torch.randn(3, 70, 6, 6), torch.randint(0, 9, (3, 2, 20, 22))
    edges, before, results = torch.randn(70, 5).sort(1).values, torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(ops.threshold_sweep(maps, edges, planes, 9).bins)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_count(shape, backend):
    maps, planes = torch.zeros(*shape, 2, 2), torch.zeros(shape[0], 1, 4, 4, dtype=torch.uint8)
    counts = ops.threshold_sweep(maps, torch.zeros(shape[1], 4), planes, 3, backend=backend)
    assert counts.bins.shape == (shape[1], 3, 4)
    assert counts.unit_area.shape == (*shape, 4)


def test_opcheck_and_compile():
    labels, grid = ops.encode_labels(torch.randint(0, 5, (2, 2, 4, 6)), 5), Grid.half_pixel((3, 3), (4, 6))
    maps, edges = torch.randn(2, 7, 3, 3), torch.randn(7, 4).sort(1).values
    arguments = (maps, edges, torch.zeros(7, 5, 4, dtype=torch.int64), labels.runs, labels.table, labels.offsets, 5)
    torch.library.opcheck(torch.ops.dissect.threshold_sweep.default, (*arguments, grid.rows, grid.columns, "auto"))

    def count(maps, edges, planes):
        return ops.threshold_sweep(maps.relu(), edges, planes, 5).intersection * 2

    given = (maps, edges, torch.randint(0, 5, (2, 2, 4, 6)))
    compiled = torch.compile(count, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*given), count(*given))


GOOD = (torch.zeros(2, 3, 2, 2), torch.zeros(3, 4), torch.zeros(2, 1, 4, 4, dtype=torch.int32), 3)


@pytest.mark.parametrize(
    ("position", "value", "error", "message"),
    [
        (0, torch.zeros(3, 2, 2), ValueError, r"activations must have shape \[N, U, h, w\].*but got \[3, 2, 2\]"),
        (1, torch.zeros(3), ValueError, r"edges must have shape \[U, B\] with U=3 .*but got \[3\]"),
        (1, torch.zeros(3, 0), ValueError, r"B >= 1, but got \[3, 0\]"),
        (1, torch.zeros(4, 2), ValueError, r"edges must have shape \[U, B\] with U=3 .*but got \[4, 2\]"),
        (1, torch.zeros(3, 2).double(), TypeError, "edges must be a torch.float32 tensor, but got torch.float64"),
        (1, [[1.0]], TypeError, "edges must be a torch.float32 tensor, but got list"),
        (1, torch.tensor([[0.0, 1], [1, 0], [0, 0]]), ValueError, "edges must rise and not be NaN, but .* unit 1"),
        (1, torch.tensor([[0.0], [1], [float("nan")]]), ValueError, "edges must rise and not be NaN, but .* unit 2"),
        (2, torch.zeros(1, 1, 4, 4, dtype=torch.int32), ValueError, "labels must be of N=2 images, but got 1"),
        (3, None, ValueError, "threshold_sweep: num_labels must be given with label planes"),
    ],
)
def test_errors(position, value, error, message, backend):
    arguments = [*GOOD[:position], value, *GOOD[position + 1 :]]
    with pytest.raises(error, match=message):
        ops.threshold_sweep(*arguments, backend=backend)


@pytest.mark.parametrize(
    ("bins", "error"),
    [
        (torch.zeros(3, 3, 4), ValueError),
        (torch.zeros(3, 4, 3, dtype=torch.int64), ValueError),
        (torch.zeros(3, 4, 3, dtype=torch.int64).transpose(1, 2), ValueError),
        (torch.zeros(1, 1, 1, dtype=torch.int64).expand(3, 3, 4), ValueError),
        ([[[0]]], TypeError),
    ],
)
def test_bins_of_another_kind(bins, error):
    with pytest.raises(error, match="threshold_sweep: bins must be"):
        ops.threshold_sweep(*GOOD, bins=bins)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2.0**126])
def test_bad_values_are_named_and_nothing_is_added(bad, backend):
    maps, bins = torch.ones(3, 5, 2, 3), torch.ones(5, 3, 2, dtype=torch.int64)
    maps[1, 4, 1, 2] = bad
    planes = torch.ones(3, 1, 4, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"below 2\^126 in magnitude, but image 1 of the batch, unit 4, is not"):
        ops.threshold_sweep(maps, torch.zeros(5, 2), planes, 3, bins=bins, backend=backend)
    assert (bins == 1).all()
