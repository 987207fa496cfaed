"""filter_step: a table by hand, autograd and torch's Adam, bits, errors."""

import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d, pad

from dissect import ops
from dissect.ops import native


@pytest.fixture(params=["reference", "cpp", "torch"])
def backend(request, missing):
    if request.param == "cpp" and native.unavailable():
        missing("cpp", native.unavailable())
    return request.param


def test_by_hand(backend):
    """One tile, one channel: a key at the first frequency alone, which reads the first tap alone."""
    state = torch.zeros(3, 1, 1, 9, 16)
    state[0, 0, 0, 0, :2] = torch.tensor([3.0, -1.0])
    tiles, gradient = torch.zeros(1, 16, 1), torch.zeros(1, 16, 1, 16)
    tiles[0, 0, 0], gradient[0, 0, 0, :3] = 2.0, torch.tensor([0.5, -1.0, 0.0])
    product = ops.filter_step(state, tiles, gradient, 1, 0.25, backend=backend)
    # The gradient of both filters' first tap is 2 * 0.5 and 2 * -1: Adam's first step has the rate's length.
    torch.testing.assert_close(state[0, 0, 0, 0, :3], torch.tensor([2.75, -0.75, 0.0]))
    torch.testing.assert_close(state[1, 0, 0, 0, :3], torch.tensor([0.1, -0.2, 0.0]))
    torch.testing.assert_close(state[2, 0, 0, 0, :3], torch.tensor([0.001, 0.004, 0.0]))
    assert not state[:, 0, 0, 1:].any()
    torch.testing.assert_close(product[0, 0, 0, :3], torch.tensor([5.5, -1.5, 0.0]))
    assert not product[0, 1:].any()


def problem(seed, blocks=2, channels=5, tiles=3):
    generator = torch.Generator().manual_seed(seed)
    state = torch.randn(3, blocks, channels, 9, 16, generator=generator)
    state[2] = state[2].square()
    keys = torch.randn(channels, 16, tiles, generator=generator)
    return state, keys, torch.randn(blocks, 16, tiles, 16, generator=generator)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 5, 3), (1, 8, 8), (3, 17, 10), (2, 16, 0), (0, 3, 2), (1, 0, 2)])
def test_every_level_equals_the_reference(sizes, simd):
    found = []
    for backend in ("cpp", "reference"):
        state, keys, gradient = problem(sum(sizes), *sizes)
        product = ops.filter_step(state, keys, gradient, 7, 0.05, backend=backend)
        found.append((state.clone(), product, ops.filter_step(state, keys, gradient, 8, 0.05, backend=backend), state))
    assert all(map(torch.equal, *found))


def test_threads_change_nothing():
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            state, keys, gradient = problem(3, 5)
            found.append((ops.filter_step(state, keys, gradient, 2, 0.1), state))
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, *found))


def test_a_convolution_under_autograd_and_adam(backend):
    """The same from what torch has, with the matrices of Lavin & Gray 2016 written out."""
    of_keys = torch.tensor([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    of_values = torch.tensor([[1.0, 1, 1, 0], [0, 1, -1, -1]])
    torch.manual_seed(0)
    keys, weight = torch.randn(2, 3, 4, 6), torch.randn(16, 3, 3, 3).requires_grad_()
    gradient = torch.randn(2, 16, 4, 6)
    windows = pad(keys, (1, 1, 1, 1)).unfold(2, 4, 2).unfold(3, 4, 2)
    tiles = torch.einsum("ab,nixybc,dc->iadnxy", of_keys, windows, of_keys).reshape(3, 16, -1)
    parts = gradient.unfold(2, 2, 2).unfold(3, 2, 2)
    spread = torch.einsum("ba,noxybc,cd->adnxyo", of_values, parts, of_values).reshape(1, 16, -1, 16)
    state = torch.zeros(3, 1, 3, 9, 16)
    state[0, 0] = weight.detach().flatten(2).permute(1, 2, 0)
    adam = torch.optim.Adam([weight], 0.1)
    for step in range(1, 4):
        product = ops.filter_step(state, tiles, spread, step, 0.1, backend=backend)
        adam.zero_grad()
        conv2d(keys, weight, padding=1).backward(gradient)
        adam.step()
    torch.testing.assert_close(state[0, 0].permute(2, 0, 1).reshape(16, 3, 3, 3), weight.detach(), atol=1e-5, rtol=1e-5)
    values = torch.einsum("ba,adnxyo,cd->noxbyc", of_values, product.reshape(4, 4, 2, 2, 3, 16), of_values)
    wanted = conv2d(keys, weight, padding=1).detach()
    torch.testing.assert_close(values.reshape(2, 16, 4, 6), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("state", torch.zeros(3, 2, 5, 9, 8), ValueError, r"state must have shape \[3, B, I, 9, 16\], but got"),
        ("state", torch.zeros(3, 2, 5, 16, 9).mT, ValueError, "state, which is written, must be contiguous"),
        ("state", torch.zeros(3, 2, 5, 9, 16).double(), TypeError, "state must be float32, but got torch.float64"),
        ("tiles", torch.zeros(4, 16, 3), ValueError, r"must have shape \[I, 16, T\] with I=5 \(from state\), but got"),
        ("tiles", np.zeros((5, 16, 3), np.float32), TypeError, "torch.from_numpy makes one"),
        ("gradient", torch.zeros(2, 16, 2, 16), ValueError, r"gradient must have shape \[2, 16, 3, 16\], but got"),
        ("gradient", torch.zeros(2, 16, 3, 16, device="meta"), TypeError, "must hold values, but is on the meta"),
        ("gradient", torch.zeros(2, 16, 3, 16).requires_grad_(), ValueError, "must come with torch.no_grad"),
        ("step", 0, ValueError, "step must be at least 1, but got 0"),
        ("step", 1.5, TypeError, "step must be an integer, but got 1.5"),
        ("rate", float("inf"), ValueError, "rate must be above 0 and finite, but is inf"),
    ],
)
def test_errors(name, value, error, message, backend):
    state, tiles, gradient = problem(0)
    given = {"state": state, "tiles": tiles, "gradient": gradient, "step": 1, "rate": 0.1} | {name: value}
    with pytest.raises(error, match=f"filter_step: .*{message}"):
        ops.filter_step(**given, backend=backend)


def test_what_is_written_shares_no_memory():
    both = torch.zeros(2 * 16 * 3 * 16 + 3 * 2 * 5 * 9 * 16)
    state, gradient = both[: 3 * 2 * 5 * 9 * 16].view(3, 2, 5, 9, 16), both[-2 * 16 * 3 * 16 - 1 : -1]
    with pytest.raises(ValueError, match="filter_step: state is written, so it must not share memory with gradient"):
        ops.filter_step(state, torch.zeros(5, 16, 3), gradient.view(2, 16, 3, 16), 1, 0.1)


def test_registration():
    torch.library.opcheck(torch.ops.dissect.filter_step.default, (*problem(1), 3, 0.1, "auto"))
    compiled = torch.compile(ops.filter_step, fullgraph=True, backend="aot_eager")
    ours, plain = problem(2), problem(2)
    assert torch.equal(compiled(*ours, 3, 0.1), ops.filter_step(*plain, 3, 0.1))
    assert torch.equal(ours[0], plain[0])
