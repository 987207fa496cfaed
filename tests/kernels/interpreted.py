"""Every Triton kernel in Triton's interpreter on the CPU: the reference's bits. Run by `test_interpreter.py`."""

import numpy as np
import pytest
import torch
from small_cases import counted, random_blend, random_bracket, random_problem
from triton.language import core
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpretedFunction

from dissect import Grid, ops, stats
from dissect.ops import gpu
from dissect.ops.backends import triton
from dissect.ops.backends.arguments import Labels, Tables
from dissect.ops.backends.composed import by_image

assert gpu.triton_unavailable(torch.device("cpu")) is None  # TRITON_INTERPRET=1 was set before the start


@pytest.fixture(scope="module", autouse=True)
def _language_is_looked_through_once():
    """Per launch and module, and not anew at each call of a function within a kernel, which takes half of the time."""
    calls, ready = InterpretedFunction.__call__, set()
    numpy_type, numpy_types = interpreter._get_np_dtype, {}

    def call(self, *given, **named):
        if self.fn.__module__ in ready:  # what a launch prepares anew is the language, which all modules share
            return self.rewrite()(*given, **named)
        ready.add(self.fn.__module__)
        return calls(self, *given, **named)

    def numpy_type_of(dtype):  # the interpreter makes the whole table of types for each question
        name = dtype.scalar.name
        if name not in numpy_types:
            numpy_types[name] = numpy_type(dtype)
        return numpy_types[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InterpretedFunction, "__call__", call)
        patch.setattr(interpreter, "_get_np_dtype", numpy_type_of)
        yield


@pytest.fixture(scope="module", autouse=True)
def _types_are_made_once():
    """Those of blocks and the shapes of tensors: to make them anew for each value takes a third of the time."""
    make_type, make_tensor, types, shapes = core.block_type.__init__, core.tensor.__init__, {}, {}

    def block_type(self, element, shape):
        key = id(element), *(side.value if isinstance(side, core.constexpr) else side for side in shape)
        if key not in types:
            make_type(self, element, shape)
            types[key] = dict(vars(self))  # with the element, whose id thus stays its own
        vars(self).update(types[key])

    def tensor(self, handle, type):
        key = tuple(type.shape) if type.is_block() else ()
        if key not in shapes:
            make_tensor(self, handle, type)
            shapes[key] = self.numel, self.shape
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.numel, self.shape = shapes[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core.block_type, "__init__", block_type)
        patch.setattr(core.tensor, "__init__", tensor)
        yield


@pytest.mark.parametrize("seed", range(36))
def test_iou_counts(seed):
    problem = random_problem(seed)
    labels = ops.encode_labels(problem.planes, problem.num_labels)
    ours, expected = (
        ops.iou_counts(problem.maps, problem.thresholds, labels, grid=problem.grid, backend=backend)
        for backend in ("triton", "reference")
    )
    assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("seed", range(0, 36, 3))
def test_iou_counts_by_image(seed):
    problem = random_problem(seed)
    labels = ops.encode_labels(problem.planes, problem.num_labels)
    ours, expected = (
        ops.iou_counts_by_image(problem.maps, problem.thresholds, labels, grid=problem.grid, backend=backend)
        for backend in ("triton", "reference")
    )
    assert all(map(torch.equal, ours, expected))
    # With memory for one image at a time. Blocks of several: tests/ops.
    status, grid = ops.new_status(problem.maps.device), problem.grid
    encoded = Labels(labels.runs, labels.table, labels.offsets, problem.num_labels), Tables(grid.rows, grid.columns)
    one_by_one = by_image(triton._count_images, workspace=1)(problem.maps, problem.thresholds, *encoded, status)
    assert all(map(torch.equal, one_by_one, (ours.intersection, ours.unit_area, torch.stack(ours[4:]))))


@pytest.mark.parametrize("sample", ["value", "min", "max", "feature"])
@pytest.mark.parametrize("seed", range(15))
def test_tail_histogram(seed, sample):
    problem = random_problem(1000 + seed)
    at_features = sample == "feature"
    bits = 16 if at_features and problem.maps.element_size() == 2 else 32
    bracket = random_bracket(seed, problem.maps.shape[1], bits)
    where = (None, "value") if at_features else (problem.grid, sample)
    ours, expected = (counted(problem, bracket, *where, backend) for backend in ("triton", "reference"))
    assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("seed", range(26))
def test_threshold_sweep(seed):
    problem = random_problem(5000 + seed)
    values = problem.maps.float().transpose(0, 1).flatten(1)
    edges = values[:, torch.randint(values.shape[1], ((1, 2, 5, 16)[seed % 4],))].sort(1).values
    labels = ops.encode_labels(problem.planes, problem.num_labels)
    ours, expected = (
        ops.threshold_sweep(problem.maps, edges, labels, grid=problem.grid, backend=backend)
        for backend in ("triton", "reference")
    )
    assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("seed", range(26))
def test_image_peaks(seed):
    maps = random_problem(2000 + seed).maps
    ours, expected = (ops.image_peaks(maps, backend=backend) for backend in ("triton", "reference"))
    assert torch.equal(ours.view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize("seed", range(26))
def test_upsample_argmax(seed):
    problem = random_problem(6000 + seed)
    ours, expected = (
        ops.upsample_argmax(problem.maps, grid=problem.grid, backend=backend) for backend in ("triton", "reference")
    )
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("seed", range(32))
def test_encode_labels(seed):
    problem = random_problem(3000 + seed)
    ours, expected = (
        ops.encode_labels(problem.planes, problem.num_labels, backend=backend) for backend in ("triton", "reference")
    )
    for name in ("runs", "table", "offsets", "area"):
        assert torch.equal(getattr(ours, name), getattr(expected, name)), name


def test_encode_labels_of_wide_images():
    # Rows of several blocks, and runs of 64 bits.
    planes = torch.randint(0, 2, (1, 2, 1, 1 << 12), dtype=torch.uint8).repeat_interleave(4, 3)
    ours, expected = (ops.encode_labels(planes, 2, backend=backend) for backend in ("triton", "reference"))
    assert ours.runs.dtype == torch.int64
    assert torch.equal(ours.runs, expected.runs)
    assert torch.equal(ours.area, expected.area)


@pytest.mark.parametrize("seed", range(32))
def test_blend_units(seed):
    arguments = random_blend(seed)
    before = arguments[0].clone()
    ours, expected = (ops.blend_units(*arguments, backend=backend) for backend in ("triton", "reference"))
    assert ours.dtype == expected.dtype
    assert torch.equal(ours, expected)
    assert torch.equal(arguments[0], before)
    ops.blend_units(before, *arguments[1:], inplace=True, backend="triton")
    assert torch.equal(before, expected)


@pytest.mark.parametrize("seed", range(20))
def test_blend_units_backward(seed):
    features, alpha, value, mask = random_blend(4000 + seed)
    features = features.clamp(-100, 100)
    weights = torch.randn(features.shape)
    gradients = []
    for backend in ("triton", "reference"):
        given = [
            operand.clone().requires_grad_() if isinstance(operand, torch.Tensor) else operand
            for operand in (features, alpha, value)
        ]
        (ops.blend_units(*given, mask, backend=backend) * weights).sum().backward()
        gradients.append([operand.grad for operand in given if isinstance(operand, torch.Tensor)])
    assert torch.equal(gradients[0][0], gradients[1][0])
    for ours, expected in zip(gradients[0][1:], gradients[1][1:]):  # sums, which may add up in another order
        torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-5)


def test_nothing_of_what_a_zero_removes_is_left():
    infinite = torch.tensor([float("inf"), float("nan"), -0.0]).view(1, 3, 1, 1)
    kept = ops.blend_units(infinite, torch.zeros(3), float("inf"), backend="triton")
    assert torch.equal(kept.view(torch.int32), infinite.view(torch.int32))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
def test_nothing_to_count(shape):
    maps, planes = torch.zeros(*shape, 2, 2), torch.zeros(shape[0], 1, 4, 4, dtype=torch.uint8)
    counts = ops.iou_counts(maps, torch.zeros(shape[1]), planes, 3, backend="triton")
    assert counts.intersection.shape == (shape[1], 3)
    assert counts.unit_area.shape == ops.image_peaks(maps, backend="triton").shape == shape
    by_image = ops.iou_counts_by_image(maps, torch.zeros(shape[1]), planes, 3, backend="triton")
    assert by_image.unit_area.shape == shape
    assert by_image.intersection.shape == (shape[1], 3)
    assert by_image.counts.shape == (0,)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 2.0**126, -(2.0**126)])
@pytest.mark.parametrize("place", [(1, 0, 0, 0), (0, 2, 1, 2)])
def test_bad_values_set_the_status(bad, place):
    maps = torch.zeros(2, 3, 2, 3)
    maps[place] = bad
    zeros, planes = torch.zeros(3, dtype=torch.int64), torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    counts = ops.iou_counts(maps, torch.zeros(3), planes, 2, backend="triton")
    with pytest.raises(ValueError, match="batch 0 held others"):
        counts.check()
    by_image = ops.iou_counts_by_image(maps, torch.zeros(3), planes, 2, backend="triton")
    with pytest.raises(ValueError, match=r"^iou_counts_by_image: .*batch 0 held others"):
        by_image.check()
    for grid in (None, Grid.half_pixel((2, 3), (4, 4))):
        # A unit that is left out is looked at too.
        status = ops.new_status(maps.device)
        bins = torch.zeros(3, 2, dtype=torch.int64)
        ops.tail_histogram(
            maps, zeros + 1, zeros, zeros, bins, zeros.clone(), grid=grid, status=status, backend="triton"
        )
        assert int(status) == 1
    status = ops.new_status(maps.device)
    ops.image_peaks(maps, status=status, backend="triton")
    assert int(status) == 1
    status = ops.new_status(maps.device)
    with np.errstate(invalid="ignore"):  # infinity less infinity: numpy would warn where a GPU says nothing
        ops.upsample_argmax(maps, (4, 4), status=status, backend="triton")
    assert int(status) == 1
    with pytest.raises(ValueError, match=f"image {place[0]} of the batch, unit {place[1]}, is not"):
        ops.image_peaks(maps, backend="triton")


def test_the_largest_magnitudes_are_served():
    largest = float(torch.tensor(2.0**126).nextafter(torch.tensor(0.0)))
    maps = torch.tensor([[[[largest, -largest]]]])
    counts = ops.iou_counts(maps, torch.zeros(1), torch.ones(1, 1, 1, 8, dtype=torch.uint8), 2, backend="triton")
    assert counts.check().unit_area.item() == 4


def test_what_else_sets_the_status():
    maps, planes = torch.zeros(1, 2, 2, 2), torch.ones(1, 1, 4, 4, dtype=torch.uint8)
    counts = ops.iou_counts(maps, torch.tensor([0.0, float("nan")]), planes, 2, backend="triton")
    assert int(counts.status) == 1
    status, zeros = ops.new_status(maps.device), torch.zeros(2, dtype=torch.int64)
    bins = torch.zeros(2, 2, dtype=torch.int64)
    ops.tail_histogram(maps, zeros, zeros + 2, zeros, bins, zeros.clone(), status=status, backend="triton")
    assert int(status) == 1
    assert not bins.any()


def test_edges_that_fall_set_the_status_of_a_sweep():
    maps, planes = torch.zeros(1, 2, 2, 2), torch.ones(1, 1, 4, 4, dtype=torch.uint8)
    for wrong in ([[0.0, 1.0], [1.0, 0.0]], [[0.0, float("nan")], [0.0, 1.0]], [[float("nan")], [0.0]]):
        counts = ops.threshold_sweep(maps, torch.tensor(wrong), planes, 2, backend="triton")
        with pytest.raises(ValueError, match=r"^threshold_sweep: .*batch 0 held others"):
            counts.check()
    maps[0, 1, 1, 0] = float("nan")
    counts = ops.threshold_sweep(maps, torch.zeros(2, 3), planes, 2, backend="triton")
    assert int(counts.status) == 1


def test_labels_out_of_range_are_named():
    planes = torch.zeros(2, 1, 3, 3, dtype=torch.int32)
    planes[1, 0, 2, 2] = 5
    with pytest.raises(ValueError, match=r"must lie in \[0, 5\), but image 1 of the batch holds 5"):
        ops.encode_labels(planes, 5, backend="triton")


def test_offsets_beyond_32_bits():
    # Two cells, 2^31 + 2^20 elements apart, of memory that is never touched in between.
    far = (1 << 31) + (1 << 20)
    memory = torch.empty(far + 8, dtype=torch.bfloat16)
    for strides in ((far, 1, 1, 1), (1, far, 1, 1), (1, 1, far, 1), (1, 1, 1, far)):
        shape = [2 if stride == far else 1 for stride in strides]
        maps = memory.as_strided(shape, strides)
        maps.copy_(torch.tensor([1.0, 3.0]).view(shape))
        close = maps.contiguous()
        assert torch.equal(ops.image_peaks(maps, backend="triton"), ops.image_peaks(close))
        planes = torch.ones(shape[0], 1, 3, 3, dtype=torch.uint8)
        ours, expected = (
            ops.iou_counts(given, torch.full((shape[1],), 1.5), planes, 2, backend=backend)
            for given, backend in ((maps, "triton"), (close, "reference"))
        )
        assert all(map(torch.equal, ours, expected))


def walk(backend, positions):
    """The thresholds of two batches, in as many visits as it takes."""
    state = stats.TailThreshold("0.1", positions=positions, size=(6, 5), backend=backend)
    generator = torch.Generator().manual_seed(3)
    batches = torch.randn(2, 2, 2, 3, 3, generator=generator)
    while True:
        for maps in batches:
            state.add(maps)
        if state.advance():
            return state.threshold()


@pytest.mark.parametrize("positions", ["pixel", "feature"])
def test_thresholds(positions):
    assert torch.equal(walk("triton", positions), walk("reference", positions))


def test_states_tell_of_bad_batches():
    good, bad = torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), float("nan"))
    labels = ops.encode_labels(torch.ones(1, 1, 4, 4, dtype=torch.uint8), 2)
    tally = stats.IouTally(torch.zeros(1), 2, backend="triton")
    for number, maps in enumerate((good, bad, bad)):
        tally.add(maps, labels, torch.tensor([number]))
    for reader in (tally.intersection, tally.unit_area, tally.label_area, tally.iou, tally.state_dict):
        with pytest.raises(ValueError, match="those of batch 1 since the state was made or loaded are not"):
            reader()
    state = stats.TailThreshold(0.5, size=(2, 2), backend="triton")
    for maps in (good, bad):
        state.add(maps)
    for reader in (state.advance, state.state_dict, state.bracket):
        with pytest.raises(ValueError, match="those of batch 1 of visit 0 are not"):
            reader()


def test_compiles_without_a_graph_break():
    planes = torch.randint(0, 2, (2, 3, 4, 6))

    def count(maps, thresholds, labels):
        areas = ops.iou_counts(maps.relu(), thresholds, labels, 2, backend="triton").unit_area
        return ops.blend_units(maps, thresholds, 0.5, backend="triton").sum() + areas.sum()

    arguments = (torch.randn(2, 3, 3, 3), torch.rand(3), planes)
    compiled = torch.compile(count, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*arguments), count(*arguments))
