"""Plain PyTorch as a backend: the references' bits, and the status that it writes as a GPU's kernels do."""

import pytest
import torch
from small_cases import counted, random_blend, random_bracket, random_problem

from dissect import Grid, ops, reference


@pytest.mark.parametrize("seed", range(40))
def test_image_peaks(seed):
    maps = random_problem(2000 + seed).maps
    ours, expected = (ops.image_peaks(maps, backend=backend) for backend in ("torch", "reference"))
    assert torch.equal(ours.view(torch.int32), expected.view(torch.int32))


@pytest.mark.parametrize("sample", ["value", "min", "max", "feature"])
@pytest.mark.parametrize("seed", range(12))
def test_tail_histogram(seed, sample):
    problem = random_problem(1000 + seed)
    at_features = sample == "feature"
    bits = 16 if at_features and problem.maps.element_size() == 2 else 32
    bracket = random_bracket(seed, problem.maps.shape[1], bits)
    where = (None, "value") if at_features else (problem.grid, sample)
    ours, expected = (counted(problem, bracket, *where, backend) for backend in ("torch", "reference"))
    assert all(map(torch.equal, ours, expected))


@pytest.mark.parametrize("seed", range(50))
def test_blend_units(seed):
    arguments = random_blend(seed)
    before = arguments[0].clone()
    ours, expected = (ops.blend_units(*arguments, backend=backend) for backend in ("torch", "cpp"))
    assert torch.equal(ours, expected)
    assert torch.equal(arguments[0], before)
    ops.blend_units(before, *arguments[1:], inplace=True, backend="torch")
    assert torch.equal(before, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_observe(dtype):
    maps, thresholds = torch.randn(3, 5, 4, 7).to(dtype), torch.randn(5)
    low, high = (reference.keys_of(torch.full((5,), end, dtype=dtype)) for end in (-0.5, 1.0))
    shift = torch.full_like(low, (int(high[0]) - int(low[0])).bit_length() - 4)
    alpha, found = torch.tensor([0.0, 1.0, 0.5, 0.0, 1.0]), []
    for backend in ("torch", "cpp"):
        given, bins, above = maps.clone(), torch.zeros(5, 16, dtype=torch.int64), torch.zeros_like(low)
        seen = ops.observe(
            given, low, high, shift, bins, above, thresholds=thresholds, alpha=alpha, value=0.25, backend=backend
        ).check()
        found.append((seen.peaks, seen.unit_area, bins, above, given))
    assert all(map(torch.equal, *found))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 2.0**126, -(2.0**126)])
@pytest.mark.parametrize("place", [(1, 0, 0, 0), (0, 2, 1, 2)])
def test_bad_values_set_the_status_or_raise(bad, place):
    maps = torch.zeros(2, 3, 2, 3)
    maps[place] = bad
    zeros, bins = torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64)
    calls = [
        lambda **status: ops.image_peaks(maps, backend="torch", **status),
        *(
            lambda grid=grid, **status: ops.tail_histogram(
                maps, zeros + 1, zeros, zeros, bins, zeros.clone(), grid=grid, backend="torch", **status
            )
            for grid in (None, Grid.half_pixel((2, 3), (4, 4)))
        ),
    ]
    for call in calls:
        status = ops.new_status(maps.device)
        call(status=status)
        assert int(status) == 1
        with pytest.raises(ValueError, match=f"image {place[0]} of the batch, unit {place[1]}, is not"):
            call()
    with pytest.raises(ValueError, match="observe: activations must be finite"):
        ops.observe(maps, zeros + 1, zeros, zeros, bins, zeros.clone(), backend="torch").check()


def test_what_is_good_leaves_the_status():
    largest = float(torch.tensor(2.0**126).nextafter(torch.tensor(0.0)))
    for maps in (torch.tensor([[[[largest, -largest]]]]), torch.tensor([[[[65504.0, -65504.0]]]], dtype=torch.float16)):
        status = ops.new_status(maps.device)
        assert ops.image_peaks(maps, status=status, backend="torch").item() == maps.max().item()
        assert int(status) == 0


def test_brackets_that_do_not_fit():
    maps, zeros, bins = torch.zeros(1, 2, 2, 2), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 2, dtype=torch.int64)
    arguments = (maps, zeros, torch.tensor([1, 2]), zeros, bins, zeros.clone())
    status = ops.new_status(maps.device)
    ops.tail_histogram(*arguments, status=status, backend="torch")
    assert int(status) == 1
    with pytest.raises(ValueError, match="must fit in B=2 bins"):
        ops.tail_histogram(*arguments, backend="torch")
    left_out = (maps, zeros + 5, zeros, zeros, bins, zeros.clone())
    status = ops.new_status(maps.device)
    ops.tail_histogram(*left_out, status=status, backend="torch")
    assert int(status) == 0


def test_gradients_and_a_compiled_call():
    features, alpha = torch.randn(2, 3, 2, 2, requires_grad=True), torch.tensor([0.0, 1.0, 0.3], requires_grad=True)

    def blend(features, alpha):
        return ops.blend_units(features, alpha, 0.5, backend="torch").square().sum()

    ours = torch.autograd.grad(blend(features, alpha), (features, alpha))
    expected = torch.autograd.grad(
        ops.blend_units(features, alpha, 0.5, backend="reference").square().sum(), (features, alpha)
    )
    assert all(map(torch.equal, ours, expected))
    compiled = torch.compile(blend, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(features, alpha), blend(features, alpha))


def test_registration():
    maps, status = torch.randn(2, 3, 4, 5), ops.new_status(torch.device("cpu"))
    zeros, bins = torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64)
    tails, one = (zeros, zeros, zeros, bins, zeros.clone()), torch.ones(1, 1, 1, 1)
    operands = (torch.ones(1, 3, 1, 1), one, one.clone())
    calls = {
        "image_peaks": (maps, "torch", status),
        "tail_histogram": (maps, *tails, None, None, "value", "torch", status),
        "observe": (maps, *tails, torch.zeros(3), "torch"),
        "observe_": (maps, *tails, torch.zeros(3), *operands, "torch"),
        "blend_units": (maps, *operands, "torch"),
        "blend_units_": (maps, *operands, "torch"),
    }
    for op, arguments in calls.items():
        torch.library.opcheck(getattr(torch.ops.dissect, op).default, arguments)
