"""blend_units: literal tables, bits, gradients, in place, errors."""

import random

import numpy as np
import pytest
import seeding
import torch
from generate import DTYPES, LAYOUTS, laid_out

from dissect import ops


def test_by_hand(backend):
    features = torch.tensor([2.0, 4.0, 8.0]).view(1, 3, 1, 1)
    blended = ops.blend_units(features, torch.tensor([0.0, 0.25, 1.0]), 16.0, backend=backend)
    assert blended.flatten().tolist() == [2.0, 7.0, 16.0]


def test_values_and_masks_by_hand(backend):
    features = torch.zeros(2, 2, 1, 2)
    alpha, mask = torch.tensor([[1.0, 0.0], [0.5, 1.0]]), torch.tensor([[1.0, 0.5]])
    blended = ops.blend_units(features, alpha, torch.tensor([10.0, 20.0]), mask, backend=backend)
    assert blended.flatten(1).tolist() == [[10.0, 5.0, 0.0, 0.0], [5.0, 2.5, 20.0, 10.0]]


def test_nothing_of_what_a_zero_removes_is_left(backend):
    infinite = torch.tensor([float("inf"), float("nan"), -0.0]).view(1, 3, 1, 1)
    kept = ops.blend_units(infinite, torch.zeros(3), float("inf"), backend=backend)
    assert torch.equal(kept.view(torch.int32), infinite.view(torch.int32))
    gone = ops.blend_units(infinite, torch.ones(3), torch.tensor([1.0, 2.0, 3.0]), backend=backend)
    assert gone.flatten().tolist() == [1.0, 2.0, 3.0]


def random_arguments(seed):
    choose = random.Random(seed)
    seeding.seed(seed)
    shape = [choose.randint(1, 3), choose.choice((1, 5, 17)), choose.randint(1, 6), choose.randint(1, 6)]
    images, units, height, width = shape
    features = laid_out(torch.randn(shape).to(choose.choice(DTYPES)), choose.choice(LAYOUTS))
    alpha = torch.rand(choose.choice(((units,), (images, units))))
    alpha = torch.where(torch.rand_like(alpha) < 0.3, torch.rand_like(alpha).round(), alpha)
    value = choose.choice((0.0, 2.5, torch.randn(units), torch.randn(shape), torch.randn(1, units, 1, width)))
    mask = choose.choice((None, torch.rand(height, width), torch.rand(images, 1, height, width) > 0.5))
    return features, alpha, value, mask


@pytest.mark.parametrize("seed", range(100))
def test_every_level_equals_the_reference(seed, simd):
    arguments = random_arguments(seed)
    before = arguments[0].clone()
    expected = ops.blend_units(*arguments, backend="reference")
    blended = ops.blend_units(*arguments, backend="cpp")
    assert blended.dtype == expected.dtype == before.dtype
    assert torch.equal(blended, expected)
    assert torch.equal(arguments[0], before)
    in_place = before.clone()
    assert ops.blend_units(in_place, *arguments[1:], inplace=True, backend="cpp") is in_place
    assert torch.equal(in_place, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrowing_rounds_as_torch_does(dtype, simd):
    # Through blend_units with alpha 1: what is stored is the value, rounded.
    values = torch.cat(
        [
            torch.randint(-(2**31), 2**31, (200_000,)).to(torch.int32).view(torch.float32),
            torch.arange(65536).to(torch.int16).view(dtype).float(),
            torch.tensor([65519.99, 65520.0, 2.0**-25, 2.0**-24, 3 * 2.0**-26, 6.1e-5, 6.0975e-5, 0.0, -0.0]),
        ]
    )
    shape = (1, 1, 1, len(values))
    stored = ops.blend_units(torch.zeros(shape, dtype=dtype), torch.ones(1), values.view(shape), backend="cpp")
    assert torch.equal(stored.flatten().nan_to_num(7.0), values.to(dtype).nan_to_num(7.0))
    kept = values.to(dtype)[values.to(dtype).isfinite() & (values.abs() < 8e37)]
    assert torch.equal(ops.image_peaks(kept.view(-1, 1, 1, 1)).flatten(), kept.float())


def test_planes_with_alpha_zero_are_not_written():
    features = torch.ones(1, 2, 2, 2)
    features[0, 0, 0, 0] = float("nan")
    before = features[:, 0].clone().contiguous().view(torch.int32)
    ops.blend_units(features, torch.tensor([0.0, 1.0]), float("nan"), inplace=True, backend="cpp")
    assert torch.equal(features[:, 0].contiguous().view(torch.int32), before)
    assert features[:, 1].isnan().all()


@pytest.mark.parametrize("mask", [None, "map"])
def test_gradients_equal_finite_differences(mask, backend):
    # The blend is linear in each argument, so a unit step's difference is the exact derivative up to rounding.
    features, alpha, value = torch.randn(2, 3, 2, 2), torch.tensor([0.0, 1.0, 0.3]), torch.randn(3)
    mask = None if mask is None else torch.rand(2, 2)
    arguments = [tensor.clone().requires_grad_() for tensor in (features, alpha, value)]
    weights = torch.randn(2, 3, 2, 2)
    (ops.blend_units(*arguments, mask, backend=backend) * weights).sum().backward()
    for position, argument in enumerate(arguments):
        for index in range(argument.numel()):
            step = torch.zeros(argument.numel())
            step[index] = 0.5
            sums = []
            for sign in (1, -1):
                moved = [a.detach() for a in arguments]
                moved[position] = moved[position] + sign * step.view(argument.shape)
                blended = ops.blend_units(*moved, mask, backend="reference")
                sums.append((blended.double() * weights).sum())
            expected = float(sums[0] - sums[1])
            assert argument.grad.flatten()[index].item() == pytest.approx(expected, abs=2e-5)


def test_compiles_without_a_graph_break():
    def ablate(features, alpha):
        return ops.blend_units(features.relu(), alpha, 0.5).sum()

    features, alpha = torch.randn(2, 3, 4, 4), torch.tensor([0.0, 0.5, 1.0])
    compiled = torch.compile(ablate, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(features, alpha), ablate(features, alpha))


@pytest.mark.parametrize("backend", ["cpp", "reference"])
@pytest.mark.parametrize("value_shape", [(1, 1, 1, 1), (2, 3, 4, 4)])
def test_gradients_have_the_layouts_that_a_compiler_is_promised(value_shape, backend):
    features, gradient, value = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.randn(value_shape)
    gradient = gradient.to(memory_format=torch.channels_last)
    operands = torch.rand(1, 3, 1, 1), value, torch.ones(1, 1, 1, 1)
    arguments = (gradient, features, *operands, backend)
    torch.library.opcheck(torch.ops.dissect.blend_units_backward.default, arguments)
    strides = [found.stride() for found in torch.ops.dissect.blend_units_backward(*arguments)]
    assert strides == [features.stride(), operands[0].stride(), value.stride()]


@pytest.mark.parametrize("backend", ["cpp", "reference"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_opcheck(layout, backend):
    operands = [torch.rand(1, 3, 1, 1), torch.rand(1, 3, 1, 1), torch.rand(2, 1, 4, 4)]
    features = torch.randn(2, 3, 4, 4).contiguous(memory_format=layout)
    torch.library.opcheck(torch.ops.dissect.blend_units.default, (features, *operands, backend))
    torch.library.opcheck(torch.ops.dissect.blend_units_.default, (features.clone(), *operands, backend))


@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_nothing_to_blend(backend):
    for images, units in ((2, 0), (0, 3), (0, 0)):
        features = torch.zeros(images, units, 3, 3)
        for alpha in (torch.zeros(units), torch.zeros(images, units)):
            assert ops.blend_units(features, alpha, backend=backend).shape == features.shape
            ops.blend_units(features, alpha, inplace=True, backend=backend)


@pytest.mark.parametrize("backend", ["cpp", "reference"])
@pytest.mark.parametrize("op", ["blend_units", "observe"])
def test_autograd_notices_what_is_written_in_place(op, backend):
    weight, features = torch.ones((), requires_grad=True), torch.rand(1, 1, 2, 2)
    loss = (weight * features).sum()
    if op == "blend_units":
        ops.blend_units(features, torch.ones(1), 5.0, inplace=True, backend=backend)
    else:
        keys = torch.zeros(1, dtype=torch.int64)
        ops.observe(
            features, keys + 1, keys, keys, keys[:, None].clone(), keys.clone(), alpha=torch.ones(1), backend=backend
        )
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    with torch.inference_mode():
        ops.blend_units(torch.rand(1, 1, 2, 2), torch.ones(1), 5.0, inplace=True, backend=backend)


FEATURES = torch.zeros(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((FEATURES.long(), torch.zeros(3)), TypeError, "features must be float32, float16 or bfloat16"),
        ((FEATURES, torch.zeros(4)), ValueError, r"alpha must have shape .* with N=2, U=3, but got \[4\]"),
        ((FEATURES, 0.5), TypeError, r"alpha must be a torch\.Tensor, but got float\."),
        (
            (FEATURES, torch.zeros(3), [1.0, 2.0]),
            TypeError,
            r"value must be a number or a torch\.Tensor, but got list\.",
        ),
        (
            (FEATURES, torch.zeros(3), 0.0, np.ones((4, 5))),
            TypeError,
            r"mask must be a torch\.Tensor, but got numpy\.ndarray; torch\.from_numpy makes one",
        ),
        ((FEATURES, torch.zeros(3), torch.zeros(2)), ValueError, r"value must broadcast to \[2, 3, 4, 5\].*got \[2\]"),
        ((FEATURES, torch.zeros(3), 0.0, torch.zeros(3, 4, 5)), ValueError, r"mask must broadcast to \[2, 1, 4, 5\]"),
        ((FEATURES, torch.zeros(3, device="meta")), ValueError, "alpha must be on the features' device cpu"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        ops.blend_units(*arguments)


def test_in_place_where_it_must_not_be():
    with pytest.raises(ValueError, match=r"inplace must come with torch.no_grad\(\)"):
        ops.blend_units(torch.zeros(1, 1, 2, 2), torch.ones(1, requires_grad=True), inplace=True)
    with pytest.raises(ValueError, match="but they are expanded or overlap"):
        ops.blend_units(torch.zeros(1, 1, 1, 1).expand(2, 1, 1, 1), torch.ones(1), inplace=True)


@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_operands_that_are_views_of_the_features_in_place(backend):
    features = torch.rand(3, 4, 6, 6)
    for value, mask in ((lambda f: f.mT, lambda f: None), (lambda f: f.flip(0), lambda f: f[:, 2:3])):
        expected = ops.blend_units(features, torch.full((4,), 0.5), value(features), mask(features), backend=backend)
        ours = features.clone()
        ops.blend_units(ours, torch.full((4,), 0.5), value(ours), mask(ours), inplace=True, backend=backend)
        assert torch.equal(ours, expected)
