"""Insertion as the published loop written plainly, the closed form against a converged descent, what is refused."""

import math

import pytest
import torch
from rewriting import nets
from torch.nn import functional

from dissect.rewriting import Memory, insert
from dissect.rewriting.solving import Problem, Schedule, descend


def with_moment(model, layer, inputs):
    memory = Memory(model, layer)
    memory.second_moment(inputs, progress=False)
    return memory


def linear_case(name):
    make, shape = nets.LAYERS[name]
    model = nets.one(make())
    inputs = nets.randn(30, *shape[1:], seed=7)
    return model, with_moment(model, "0", inputs)


def published(run, weight, wanted, basis, steps, every, rate, last=True):
    """The published loop, for any function of a weight [o, i, kh, kw]: Adam over all of it, projected now and then."""

    def along(change):
        return torch.einsum("oihw,is,js->ojhw", change, basis, basis)

    start = weight.detach().clone()
    weight = start.clone().requires_grad_()
    adam, losses = torch.optim.Adam([weight], rate), []
    for step in range(steps):
        loss = functional.l1_loss(run(weight), wanted)
        adam.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        adam.step()
        if step % every == 0 or step == steps - 1:
            with torch.no_grad():
                weight.copy_(start + along(weight - start))
    return weight.detach(), losses


def test_projected_descent_is_the_published_loop():
    model, memory = linear_case("conv")
    keys = memory.keys(nets.randn(2, 4, 6, 5, seed=8))
    values = nets.randn(2, 3, 6, 5, seed=9)
    directions = memory.direction(keys[:1], 2)
    bias = model[0].bias.detach()
    weight, losses = published(
        lambda w: functional.conv2d(keys.maps, w, bias, padding=1), model[0].weight, values,
        directions.matrix.float(), 43, 10, 0.05,
    )  # fmt: skip
    edit = insert(memory, keys, values, directions, steps=43, progress=False).apply()
    torch.testing.assert_close(model[0].weight.detach(), weight, atol=2e-4, rtol=0)
    torch.testing.assert_close(edit.losses, torch.tensor(losses).double(), atol=1e-5, rtol=1e-4)
    assert edit.rank == 2
    assert edit.settings["loss_after"] < edit.settings["loss_before"]


def test_projected_descent_of_stylegan2_is_the_published_loop():
    model = nets.stylegan2()
    z = nets.z_of(model, 3)
    memory = with_moment(model, "layer5", nets.z_of(model, 16))
    keys = memory.keys(z)[:2].crop(slice(1, 5), slice(0, 3), 2)
    values = memory.values(keys) + nets.randn(1, 4, 1, 1)
    layer, start = model.layer5, memory.weight.detach()

    def run(weight):
        x = functional.conv_transpose2d(keys.maps, (weight * memory.form.scale).transpose(0, 1), stride=2)
        x = layer.demodulate(x, keys.style, weight * memory.form.scale)
        return layer.activate(layer.blur(x) + keys.noise)

    directions = memory.direction(keys, 1)
    weight, losses = published(run, start, values, directions.matrix.float(), 32, 10, 0.05)
    edit = insert(memory, keys, values, directions, steps=32, progress=False)
    torch.testing.assert_close(edit.losses, torch.tensor(losses).double(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(edit.apply().rank, 1)
    torch.testing.assert_close(memory.weight.detach(), weight, atol=5e-4, rtol=0)


@pytest.mark.parametrize(("steps", "every"), [(1, 10), (8, 10), (11, 10), (27, 10), (6, 1)])
def test_steps_in_blocks_are_those_one_by_one(steps, every):
    """A GPU replays whole blocks: tests/gpu."""
    _, memory = linear_case("stride")
    keys = memory.keys(nets.randn(2, 4, 7, 6, seed=8))
    values = memory.values(keys) + nets.randn(*memory.values(keys).shape, seed=9)
    problem = Problem(memory, keys, values, "l1", torch.eye(memory.inputs)[:, :1].double())
    start, basis = problem.start, problem.directions

    def project(matrix):
        projected.append(matrix.clone())
        matrix.copy_(start + (matrix - start) @ basis @ basis.T)

    def one_by_one(begin, gradient, project, schedule):
        current, losses = begin.clone(), []
        adam = torch.optim.Adam([current], schedule.rate, fused=True)
        for step in range(schedule.steps):
            loss, current.grad = gradient(current)
            losses.append(loss)
            adam.step()
            current.grad = None
            if step % schedule.every == 0 or step == schedule.steps - 1:
                project(current)
        return current, losses

    found = []
    for run in (one_by_one, descend):
        projected = []
        with torch.no_grad():
            found.append((*run(start, problem.gradient, project, Schedule(steps, every, progress=False)), projected))
    (one, losses, at), (other, told, at_too) = found
    assert torch.equal(one, other)
    assert torch.equal(torch.stack(losses), torch.stack(told))
    assert len(at) == len(at_too) == len([step for step in range(steps) if step % every == 0 or step == steps - 1])


@pytest.mark.parametrize("name", ["conv", "stride", "transposed", "reflect", "linear", "styled", "styled up"])
def test_gradients_are_those_of_autograd(name):
    if name.startswith("styled"):
        model = nets.stylegan2()
        memory = Memory(model, "layer4" if name == "styled" else "layer3")
        keys = memory.keys(nets.z_of(model, 2))
    else:
        model, memory = linear_case(name)
        keys = memory.keys(nets.randn(*nets.LAYERS[name][1], seed=4))
    values = memory.values(keys) + nets.randn(*memory.values(keys).shape)
    for loss in ("l1", "l2"):
        problem = Problem(memory, keys, values, loss, torch.eye(memory.inputs)[:, :1].double())
        matrix = memory.matrix().requires_grad_()
        product = memory.form.product(memory.form.rows(keys.maps), matrix)
        value = problem.loss(product, memory.energy(keys, matrix))
        (wanted,) = torch.autograd.grad(value, matrix)
        found, gradient = problem.gradient(matrix.detach())
        torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(found, value.detach())
        assert problem.loss_of(matrix.detach()) == pytest.approx(float(value.detach()), rel=1e-5)


@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_lambda_descends_the_same_loss(layer):
    """What is precomputed for Lambda gives the loss of the whole weight."""
    model = nets.stylegan2()
    memory = with_moment(model, layer, nets.z_of(model, 16))
    keys = memory.keys(nets.z_of(model, 2))
    values = memory.values(keys) + nets.randn(1, memory.outputs, 1, 1)
    edit = insert(memory, keys, values, memory.direction(keys, 2), "lambda", steps=30, rate=0.02, progress=False)
    last = insert(memory, keys, values, memory.direction(keys, 2), "lambda", steps=31, rate=0.02, progress=False)
    assert float(last.losses[30]) == pytest.approx(edit.settings["loss_after"], rel=1e-4)
    assert edit.settings["loss_after"] < 0.9 * edit.settings["loss_before"]
    assert edit.rank == 2


def test_the_closed_form_of_one_key_is_that_of_the_paper():
    """B.3 and B.4, as the block system that they are."""
    model, memory = linear_case("linear")
    key, value = nets.randn(1, 4, seed=5), nets.randn(1, 3, seed=6)
    d = memory.moment.inverse_times(key[0])
    weight, bias = model[0].weight.detach().double(), model[0].bias.detach().double()
    block = torch.zeros(5, 5, dtype=torch.float64)
    block[:4, :4], block[:4, 4], block[4, :4] = torch.eye(4), key[0], -d
    wanted = (torch.cat([weight, (value[0] - bias)[:, None]], 1) @ torch.linalg.inv(block))[:, :4]
    edit = insert(memory, key, value, memory.direction(key), "closed").apply()
    torch.testing.assert_close(model[0].weight.detach().double(), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(model(key).detach(), value, atol=1e-5, rtol=0)
    assert edit.rank == 1
    assert edit.settings["loss_after"] == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("name", ["linear", "pointwise", "conv", "stride", "transposed"])
@pytest.mark.parametrize("rank", [1, 2])
def test_the_closed_form_is_where_a_descent_converges(name, rank):
    make, shape = nets.LAYERS[name]
    model = nets.one(make()).double()
    inputs = nets.randn(30, *shape[1:], seed=7).double()
    memory = with_moment(model, "0", inputs)
    keys = memory.keys(inputs[:5])
    values = memory.values(keys) + nets.randn(*memory.values(keys).shape).double()
    directions = memory.direction(keys, rank)
    edit = insert(memory, keys, values, directions, "closed")
    lambdas = torch.zeros_like(edit.lambdas).requires_grad_()
    rows = memory.form.rows(keys.maps)
    optimiser = torch.optim.LBFGS(
        [lambdas], max_iter=500, tolerance_grad=1e-14, tolerance_change=1e-16, history_size=50
    )

    def loss():
        optimiser.zero_grad()
        product = memory.form.product(rows, memory.matrix() + lambdas @ directions.matrix.T)
        value = (memory.finish(keys, product, None) - values).square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    torch.testing.assert_close(edit.lambdas, lambdas.detach(), atol=1e-5, rtol=0)
    assert edit.settings["loss_after"] < edit.settings["loss_before"]


def test_a_gradient_that_is_projected_stays_within():
    model, memory = linear_case("conv")
    keys = memory.keys(nets.randn(1, 4, 6, 5))
    values, directions = nets.randn(1, 3, 6, 5), memory.direction(keys, 1)
    options = {"steps": 25, "progress": False, "project_gradient": True}
    often = insert(memory, keys, values, directions, every=1, **options)
    assert often.rank == 1
    assert not torch.equal(
        often.lambdas, insert(memory, keys, values, directions, every=1, steps=25, progress=False).lambdas
    )
    assert model[0].weight.shape == (3, 4, 3, 3)


def test_squared_loss_is_another():
    _, memory = linear_case("pointwise")
    keys = memory.keys(nets.randn(1, 4, 6, 6))
    values, directions = nets.randn(1, 3, 6, 6), memory.direction(keys, 1)
    exact = insert(memory, keys, values, directions, "closed")
    near = insert(memory, keys, values, directions, "lambda", loss="l2", steps=600, rate=0.02, progress=False)
    torch.testing.assert_close(near.lambdas, exact.lambdas, atol=1e-4, rtol=0)
    other = insert(memory, keys, values, directions, "lambda", steps=600, rate=0.02, progress=False)
    assert (other.lambdas - exact.lambdas).abs().max() > 1e-3


def test_divergence_and_ctrl_c_leave_the_weights(monkeypatch):
    model, memory = linear_case("conv")
    keys, before = memory.keys(nets.randn(1, 4, 6, 5)), model[0].weight.detach().clone()
    directions = memory.direction(keys, 1)
    with pytest.raises(ArithmeticError, match=r"^insert: the descent must stay finite.*weights are as they were"):
        insert(memory, keys, nets.randn(1, 3, 6, 5), directions, rate=1e38, steps=50, progress=False)
    assert torch.equal(model[0].weight, before)
    loss, calls = Problem.of_apart, []

    def interrupted(self, apart):
        calls.append(1)
        if len(calls) == 15:
            raise KeyboardInterrupt
        return loss(self, apart)

    monkeypatch.setattr(Problem, "of_apart", interrupted)
    with pytest.raises(KeyboardInterrupt):
        insert(memory, keys, nets.randn(1, 3, 6, 5), directions, steps=50, progress=False)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("mode", ["projected", "lambda"])
@pytest.mark.parametrize("name", ["conv", "linear"])
def test_who_watches_sees_each_loss_and_ends_it(name, mode):
    model, memory = linear_case(name)
    shape = nets.LAYERS[name][1]
    before = model[0].weight.detach().clone()
    keys = memory.keys(nets.randn(2, *shape[1:], seed=8))
    wanted, seen = (memory, keys, memory.values(keys) + 1, memory.direction(keys), mode), []
    edit = insert(*wanted, steps=5, progress=False, watch=lambda *told: seen.append(told))
    assert seen == list(enumerate(edit.losses.tolist()))

    def enough(step, loss):
        if step == 2:
            raise OSError("enough")

    with pytest.raises(OSError, match="enough"):
        insert(*wanted, steps=5, progress=False, watch=enough)
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_lambda_diverges_and_is_interrupted_without_a_trace(layer, monkeypatch):
    model = nets.stylegan2()
    memory = with_moment(model, layer, nets.z_of(model, 16))
    keys, before = memory.keys(nets.z_of(model, 2)), memory.weight.detach().clone()
    call = (memory, keys, memory.values(keys) + 1, memory.direction(keys), "lambda")
    with pytest.raises(ArithmeticError, match=r"^insert: the .* must .*finite.*, but .*; the network's weights are as"):
        insert(*call, rate=1e36, steps=9, progress=False)
    assert torch.equal(memory.weight, before)
    loss, calls = Problem.loss, []

    def interrupted(self, product, energy):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(self, product, energy)

    monkeypatch.setattr(Problem, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        insert(*call, steps=9, progress=False)
    assert torch.equal(memory.weight, before)


def test_refused():
    _, memory = linear_case("conv")
    keys = memory.keys(nets.randn(1, 4, 6, 5))
    values, directions = memory.values(keys), memory.direction(keys, 1)
    styled = Memory(nets.stylegan2(), "layer4")
    own = styled.keys(nets.z_of(styled.model))
    bare = torch.eye(6)[:, :1]
    for call, kind, text in (
        (lambda: insert(memory, keys, values[:, :2], directions), ValueError, r"values must be \[1, 3, 6, 5\], for"),
        (lambda: insert(memory, keys, values * torch.nan, directions), ValueError, "keys and values must be finite"),
        (lambda: insert(memory, keys, [1], directions), TypeError, "are Keys and list"),
        (lambda: insert(memory, keys.maps[:, :3], values, directions), ValueError, r"\[n, i, h, w\] with i=4"),
        (lambda: insert(memory, keys, values, directions, "fast"), ValueError, "mode must be one of"),
        (lambda: insert(memory, keys, values, directions, loss="l3"), ValueError, "loss one of"),
        (lambda: insert(memory, keys, values, directions, rate=math.nan), ValueError, "rate must be above 0"),
        (lambda: insert(memory, keys, values, directions, steps=0), ValueError, "steps must be at least 1"),
        (lambda: insert(memory, keys, values, bare), ValueError, r"directions must be Directions, or a matrix"),
        (lambda: insert(styled, own, styled.values(own), bare, "closed"), ValueError, "there is no closed form"),
        (lambda: insert(styled, own.maps, styled.values(own), bare), ValueError, "must come with their styles"),
    ):  # fmt: skip
        with pytest.raises(kind, match=f"^insert: .*{text}"):
            call()


def test_a_small_part_along_the_directions_is_refused():
    _, memory = linear_case("linear")
    key = torch.tensor([[1.0, 2.0, 3.0, 0.0]])
    with pytest.raises(
        ValueError, match=r"^insert: keys must have a part along the directions, but d\^T k is at most 0"
    ):
        insert(memory, key, torch.ones(1, 3), torch.eye(4)[:, 3:], "closed")
