"""On a GPU every backend gives the reference's bits, for every op, dtype, layout, and many shapes."""

import os

import pytest
import torch
from generate import DTYPES, LAYOUTS, Case, laid_out, random_case
from small_brackets import random_brackets
from small_cases import Problem, counted, random_blend, random_bracket, random_problem

from dissect import Grid, ops, reference
from dissect.reference.narrow import Bracket, Histogram

#: Random shapes per op; DISSECT_GPU_CASES=10000 for iou_counts in `make test-gpu`.
CASES = int(os.environ.get("DISSECT_GPU_CASES", "200"))


def to(value, device):
    """The same on the device, with the same strides."""
    if not isinstance(value, torch.Tensor):
        return value
    if any(size > 1 and stride == 0 for size, stride in zip(value.shape, value.stride())):
        return value[:1].to(device).expand_as(value)
    moved = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
    return moved.copy_(value)


def equal(ours, expected):
    return all(torch.equal(one.cpu(), other) for one, other in zip(ours, expected, strict=True))


def test_iou_counts(serving, device):
    backend = serving("iou_counts")
    for seed in range(CASES):
        case = random_case(seed)
        labels = ops.encode_labels(case.planes.to(device), case.num_labels)
        arguments = to(case.activations, device), case.thresholds.to(device), labels
        ours = ops.iou_counts(*arguments, grid=case.grid, backend=backend)
        expected = ops.iou_counts(
            case.activations, case.thresholds, case.planes, case.num_labels, grid=case.grid, backend="reference"
        )
        assert equal(ours, expected), seed


def test_iou_counts_by_image(serving, device):
    backend = serving("iou_counts_by_image")
    for seed in range(CASES):
        case = random_case(seed)
        labels = ops.encode_labels(case.planes.to(device), case.num_labels)
        arguments = to(case.activations, device), case.thresholds.to(device), labels
        ours = ops.iou_counts_by_image(*arguments, grid=case.grid, backend=backend)
        expected = ops.iou_counts_by_image(
            case.activations, case.thresholds, case.planes, case.num_labels, grid=case.grid, backend="reference"
        )
        assert equal(ours, expected), seed


def test_hot_cells(serving, device):
    backend = serving("hot_cells")
    for seed in range(CASES):
        case = random_case(seed)
        for reach in (0, 1):
            hot = ops.hot_cells(to(case.activations, device), case.thresholds.to(device), reach=reach, backend=backend)
            expected = ops.hot_cells(case.activations, case.thresholds, reach=reach, backend="reference")
            found, wanted = (
                (part.peaks, part.counts, part.starts, part.places.int(), part.values) for part in (hot, expected)
            )
            assert equal(found, wanted), seed


def test_hot_cells_stand_for_maps(serving, device):
    """As they are where kernels take them; elsewhere the maps that they stand for are made first."""
    backend = serving("iou_counts")
    for seed in range(CASES // 4):
        case = random_case(seed)
        maps, thresholds = to(case.activations, device), case.thresholds.to(device)
        hot, labels = ops.hot_cells(maps, thresholds), ops.encode_labels(case.planes.to(device), case.num_labels)
        for count in (ops.iou_counts, ops.iou_counts_by_image):
            ours, whole = (count(part, thresholds, labels, grid=case.grid, backend=backend) for part in (hot, maps))
            assert all(map(torch.equal, ours, whole)), seed
        grid = case.grid or Grid.half_pixel(tuple(maps.shape[2:]), tuple(case.planes.shape[2:]))
        low = reference.keys_of(case.thresholds).to(device) + 1
        high, shift, tails = torch.full_like(low, 2**32 - 1), torch.full_like(low, 20), []
        for part in (hot, maps):
            bins, above = torch.zeros(len(low), 4096, dtype=torch.int64, device=device), torch.zeros_like(low)
            ops.tail_histogram(part, low, high, shift, bins, above, grid=grid, backend=backend)
            tails.append((bins, above))
        assert all(map(torch.equal, *tails)), seed


def assert_sweeps(case, num_edges, backend, device):
    """Edges among the samples, so that some are equal to a value."""
    values = case.activations.float().transpose(0, 1).flatten(1)
    edges = values[:, torch.linspace(0, values.shape[1] - 1, num_edges).long()].sort(1).values
    arguments = to(case.activations, device), edges.to(device), case.planes.to(device), case.num_labels
    ours = ops.threshold_sweep(*arguments, grid=case.grid, backend=backend)
    expected = ops.threshold_sweep(case.activations, edges, case.planes, case.num_labels, grid=case.grid)
    assert equal(ours, expected)


def test_threshold_sweep(serving, device):
    backend = serving("threshold_sweep")
    for seed in range(CASES):
        case = random_case(seed)
        if len(case.activations):
            assert_sweeps(case, (1, 2, 9, 64)[seed % 4], backend, device)


def test_threshold_sweep_adds_to_its_bins(serving, device):
    maps, edges, planes = torch.randn(2, 5, 4, 4), torch.randn(5, 9).sort(1).values, torch.randint(0, 3, (2, 1, 8, 8))
    bins = torch.ones(5, 3, 9, dtype=torch.int64, device=device)
    given = maps.to(device), edges.to(device), planes.to(device), 3
    ops.threshold_sweep(*given, bins=bins, backend=serving("threshold_sweep"))
    assert torch.equal(bins.cpu() - 1, ops.threshold_sweep(maps, edges, planes, 3).bins)


@pytest.mark.parametrize("num_edges", [64, 1000, 20_000])  # of which no combination has room in shared memory
def test_threshold_sweep_of_a_layer(serving, device, num_edges):
    maps, planes = torch.randn(20, 40, 14, 14).bfloat16(), torch.randint(0, 50, (20, 3, 8, 8)).repeat_interleave(14, 2)
    grid = Grid.half_pixel((14, 14), (112, 8))
    case = Case(maps, torch.zeros(40), planes, 50, grid)
    assert_sweeps(case, num_edges, serving("threshold_sweep"), device)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_iou_counts_of_a_layer(serving, device, dtype, layout):
    backend = serving("iou_counts")
    maps = laid_out(torch.randn(4, 64, 14, 14).to(dtype), layout)
    planes, thresholds = torch.randint(0, 50, (4, 3, 112, 112)), torch.full((64,), 2.3)
    ours = ops.iou_counts(to(maps, device), thresholds.to(device), planes.to(device), 50, backend=backend)
    assert equal(ours, ops.iou_counts(maps, thresholds, planes, 50))


@pytest.mark.parametrize(
    ("shape", "target", "num_labels"),
    [
        ((1, 16, 13, 13), (400, 400), 9),  # runs of 64 bits
        ((2, 16, 13, 13), (50, 50), 1300),  # more than 48 KB of shared memory
        ((2, 4, 13, 13), (50, 50), 13_000),  # labels that no multiprocessor holds
        ((1, 4, 224, 224), (224, 224), 20),  # tables of a grid that stay where they are
        ((2, 12, 56, 56), (224, 224), 3),  # cells of 4x4 pixels
        ((2, 12, 28, 14), (56, 28), 5),  # of 2x2
    ],
    ids=["wide runs", "large tables", "many labels", "large grid", "cells of 4x4", "cells of 2x2"],
)
def test_launches_that_random_problems_do_not_make(serving, device, shape, target, num_labels):
    maps, thresholds = torch.randn(shape), torch.full((shape[1],), 1.2)
    planes, grid = torch.randint(0, num_labels, (shape[0], 2, *target)), Grid.half_pixel(shape[2:], target)
    moved = maps.to(device), thresholds.to(device), ops.encode_labels(planes.to(device), num_labels)
    ours = ops.iou_counts(*moved, grid=grid, backend=serving("iou_counts"))
    assert equal(ours, ops.iou_counts(maps, thresholds, planes, num_labels, grid=grid))
    ours = ops.iou_counts_by_image(*moved, grid=grid, backend=serving("iou_counts_by_image"))
    assert equal(ours, ops.iou_counts_by_image(maps, thresholds, planes, num_labels, grid=grid))
    assert_sweeps(Case(maps, thresholds, planes, num_labels, grid), 9, serving("threshold_sweep"), device)
    for sample in ("value", "max"):
        problem, bracket = Problem(maps, thresholds, planes, num_labels, grid), random_bracket(3, shape[1], 32)
        expected = counted(problem, bracket, grid, sample, "auto")
        problem = problem._replace(maps=maps.to(device))
        there = [part.to(device) for part in bracket]
        assert equal(counted(problem, there, grid, sample, serving("tail_histogram")), expected), sample


@pytest.mark.parametrize("sample", ["value", "min", "max", "feature"])
def test_tail_histogram(serving, device, sample):
    backend = serving("tail_histogram")
    for seed in range(CASES // 4):
        problem = random_problem(seed)
        bits = 16 if sample == "feature" and problem.maps.element_size() == 2 else 32
        bracket = random_bracket(seed, problem.maps.shape[1], bits)
        where = (None, "value") if sample == "feature" else (problem.grid, sample)
        expected = counted(problem, bracket, *where, "reference")
        problem = problem._replace(maps=to(problem.maps, device))
        assert equal(counted(problem, [part.to(device) for part in bracket], *where, backend), expected), seed


def test_image_peaks(serving, device):
    backend = serving("image_peaks")
    for seed in range(CASES):
        maps = random_case(seed).activations
        assert equal([ops.image_peaks(to(maps, device), backend=backend)], [ops.image_peaks(maps)]), seed


def test_filter_step(serving, device):
    generator, backend = torch.Generator().manual_seed(0), serving("filter_step")
    state = torch.rand(3, 2, 5, 9, 16, generator=generator)
    given = [torch.randn(*shape, generator=generator) for shape in ((5, 16, 3), (2, 16, 3, 16))]
    there = [to(part, device) for part in (state, *given)]
    ours = ops.filter_step(*there, 4, 0.05, backend=backend)
    assert equal([ours, there[0]], [ops.filter_step(state, *given, 4, 0.05), state])


def test_formula_search(serving, device):
    generator, backend = torch.Generator().manual_seed(0), serving("formula_search")
    table, areas = (torch.randint(0, most, size, generator=generator) for most, size in ((30, (900, 3)), (99, (900,))))
    share = torch.rand(20, 900, generator=generator) * (0.1 + 0.9 * (table == 3).any(1) + 0.9 * (table == 7).any(1)) / 2
    given = table, areas, (share * areas).long()
    ours = ops.formula_search(*(part.to(device) for part in given), 30, backend=backend)
    assert equal(list(ours), list(ops.formula_search(*given, 30)))


def test_narrow(serving, device):
    backend = serving("narrow")
    for seed in range(CASES):
        bracket, histogram, by = random_brackets(seed)
        given = Bracket(*(part.to(device) for part in bracket)), Histogram(*(part.to(device) for part in histogram))
        assert equal(ops.narrow(*given, by, backend=backend), ops.narrow(bracket, histogram, by)), seed


def test_component_halves(serving, device):
    backend = serving("component_halves")
    for seed in range(CASES):
        labels, omit_last = random_case(seed).planes[:, 0], seed % 2 == 0
        ours = ops.component_halves(to(labels, device), omit_last=omit_last, backend=backend)
        assert equal([ours], [ops.component_halves(labels, omit_last=omit_last)]), seed
    blocks = torch.randint(0, 3, (4, 60, 70)).repeat_interleave(7, 1).repeat_interleave(9, 2)
    assert equal([ops.component_halves(blocks.to(device), backend=backend)], [ops.component_halves(blocks)])


def test_upsample_argmax(serving, device):
    backend = serving("upsample_argmax")
    for seed in range(CASES):
        case = random_case(seed)
        expected = ops.upsample_argmax(case.activations, grid=case.grid)
        assert equal(
            [ops.upsample_argmax(to(case.activations, device), grid=case.grid, backend=backend)], [expected]
        ), seed
    logits = torch.randn(2, 150, 64, 64)  # a segmentation network's
    ours = ops.upsample_argmax(logits.to(device), (512, 512), backend=backend)
    assert equal([ours], [ops.upsample_argmax(logits, (512, 512))])


def test_encode_labels(serving, device):
    backend = serving("encode_labels")
    for seed in range(CASES):
        case = random_case(seed)
        ours = ops.encode_labels(to(case.planes, device), case.num_labels, backend=backend)
        expected = ops.encode_labels(case.planes, case.num_labels)
        names = ("runs", "table", "offsets", "area")
        assert equal([getattr(ours, name) for name in names], [getattr(expected, name) for name in names]), seed


def test_encode_labels_of_noise(serving, device):
    # Every pixel another combination: the hash table is as full as it can be, and programs meet in it.
    planes = torch.randint(0, 1300, (8, 3, 224, 224), dtype=torch.int16)
    ours = ops.encode_labels(planes.to(device), 1300, backend=serving("encode_labels"))
    expected = ops.encode_labels(planes, 1300)
    assert equal([ours.runs, ours.table, ours.area], [expected.runs, expected.table, expected.area])


def test_blend_units(serving, device):
    backend = serving("blend_units")
    for seed in range(CASES):
        arguments = random_blend(seed)
        moved = [to(argument, device) for argument in arguments]
        expected = ops.blend_units(*arguments, backend="reference")
        assert equal([ops.blend_units(*moved, backend=backend)], [expected]), seed
        if 0 not in arguments[0].stride():
            assert equal([ops.blend_units(*moved, inplace=True, backend=backend)], [expected]), seed


@pytest.mark.parametrize("layout", [layout for layout in LAYOUTS if layout != "expanded"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 64, 14, 14), (3, 12, 9, 5)])
def test_blend_units_of_a_layer(serving, device, shape, dtype, layout):
    backend, maps = serving("blend_units"), laid_out(torch.randn(shape).to(dtype), layout)
    alpha, mask = torch.randint(0, 3, shape[1:2]) / 2, torch.rand(shape[2:])
    expected = ops.blend_units(maps, alpha, 0.25, mask)
    for inplace in (False, True):
        given = to(maps, device), alpha.to(device), 0.25, mask.to(device)
        assert equal([ops.blend_units(*given, inplace=inplace, backend=backend)], [expected]), inplace


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
def test_maps_of_more_than_2_to_the_31_elements(serving, device, layout):
    images, units = 2**31 // (512 * 14 * 14) + 3, 512
    last = torch.randn(2, units, 14, 14).bfloat16()
    maps = torch.zeros(images, units, 14, 14, dtype=torch.bfloat16, device=device).contiguous(memory_format=layout)
    maps[-2:] = last.to(device)
    assert maps.numel() > 2**31
    planes = torch.randint(0, 9, (2, 1, 28, 28))
    everywhere = torch.zeros(images, 1, 28, 28, dtype=torch.uint8, device=device)
    everywhere[-2:] = planes.to(device)
    thresholds = torch.full((units,), 1.5)
    ours = ops.iou_counts(maps, thresholds.to(device), everywhere, 9, backend=serving("iou_counts"))
    expected = ops.iou_counts(last, thresholds, planes, 9)
    assert torch.equal(ours.intersection.cpu(), expected.intersection)
    assert torch.equal(ours.unit_area[-2:].cpu(), expected.unit_area)
    assert not ours.unit_area[:-2].any()
    peaks = ops.image_peaks(maps, backend=serving("image_peaks"))
    assert torch.equal(peaks[-2:].cpu(), ops.image_peaks(last))
    for grid in (None, Grid.half_pixel((14, 14), (28, 28))):
        bits = 16 if grid is None else 32
        low, high = torch.full((units,), (1 << (bits - 1)) + 1), torch.full((units,), (1 << bits) - 1)
        shift = torch.full((units,), bits - 12)
        counted = []
        for maps_there, backend in ((maps, serving("tail_histogram")), (last, "reference")):
            bins, above = torch.zeros(units, 4096, dtype=torch.int64), torch.zeros(units, dtype=torch.int64)
            moved = [part.to(maps_there.device) for part in (low, high, shift, bins, above)]
            ops.tail_histogram(maps_there, *moved, grid=grid, backend=backend)
            counted.append([part.cpu() for part in moved[3:]])
        assert equal(*counted)
    alpha = torch.zeros(units)
    alpha[7] = 1.0
    ops.blend_units(maps, alpha.to(device), 0.25, inplace=True, backend=serving("blend_units"))
    assert torch.equal(maps[-2:].cpu(), ops.blend_units(last, alpha, 0.25))


def test_gradients(serving, device):
    backend = serving("blend_units")
    for seed in range(50):
        *operands, mask = random_blend(seed)
        gradients = []
        for chosen, place in ((backend, device), ("reference", torch.device("cpu"))):
            given = [to(o, place).detach().requires_grad_() if isinstance(o, torch.Tensor) else o for o in operands]
            ops.blend_units(*given, to(mask, place), backend=chosen).float().square().sum().backward()
            gradients.append([operand.grad.cpu() for operand in given if isinstance(operand, torch.Tensor)])
        assert torch.equal(gradients[0][0], gradients[1][0]), seed
        for ours, expected in zip(gradients[0][1:], gradients[1][1:]):
            torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-4)


def test_more_than_2_to_the_31_elements(serving, device):
    shape = (5, 512, 1024, 1024)
    if torch.cuda.mem_get_info(device)[0] < 8e9:
        pytest.skip("less than 8 GB of GPU memory are free")
    maps = torch.zeros(shape, dtype=torch.bfloat16, device=device)
    maps[4, 511, 1000:] = 3.0
    planes = torch.ones(5, 1, 64, 64, dtype=torch.uint8, device=device)
    thresholds = torch.ones(512, device=device)
    counts = ops.iou_counts(maps, thresholds, planes, 2, backend=serving("iou_counts"))
    expected = ops.iou_counts(maps[4:, 511:].cpu(), thresholds[:1].cpu(), planes[4:].cpu(), 2)
    assert counts.check().unit_area.sum() == counts.unit_area[4, 511] == expected.unit_area.item()
    assert ops.image_peaks(maps, backend=serving("image_peaks"))[4, 511] == 3


def test_bad_values_set_the_status(serving, device):
    backend = serving("iou_counts")
    planes = torch.zeros(2, 1, 4, 4, dtype=torch.uint8, device=device)
    for bad in (float("nan"), float("inf"), -(2.0**126)):
        maps = torch.zeros(2, 3, 2, 3, device=device)
        maps[1, 2, 1, 2] = bad
        with pytest.raises(ValueError, match="batch 0 held others"):
            ops.iou_counts(maps, torch.zeros(3, device=device), planes, 2, backend=backend).check()
        sweeping = serving("threshold_sweep")
        for given, edges in ((maps, [[0.0, 1.0]] * 3), (maps * 0, [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])):
            counts = ops.threshold_sweep(given, torch.tensor(edges, device=device), planes, 2, backend=sweeping)
            assert int(counts.status) == 1
        zeros, bins = (
            torch.zeros(3, dtype=torch.int64, device=device),
            torch.zeros(3, 2, dtype=torch.int64, device=device),
        )
        for grid in (None, Grid.half_pixel((2, 3), (4, 4))):
            status = ops.new_status(device)
            ops.tail_histogram(
                maps, zeros, zeros, zeros, bins, zeros.clone(), grid=grid, status=status, backend=backend
            )
            assert int(status) == 1
        status = ops.new_status(device)
        ops.image_peaks(maps, status=status, backend=backend)
        assert int(status) == 1
