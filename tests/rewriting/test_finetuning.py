"""Fine-tuning as a plain loop over a copy of the network; weights come back to the bit."""

import copy
import math

import pytest
import torch
from rewriting import nets
from torch.nn.functional import l1_loss, mse_loss

import dissect.rewriting.finetuning as finetuning
from dissect.rewriting import Memory, fine_tune, insert, render


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, before):
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def by_hand(model, z, goal, features, weight, steps, rate):
    """Adam over a copy's parameters, as anyone would write it."""
    twin = copy.deepcopy(model)
    adam, losses = torch.optim.Adam(twin.parameters(), rate), []
    for _ in range(steps):
        adam.zero_grad()
        made = twin(*z)
        loss = l1_loss(made, goal) + weight * mse_loss(features(made), features(goal))
        loss.backward()
        losses.append(float(loss.detach()))
        adam.step()
    return twin.state_dict(), losses


@pytest.mark.parametrize("make", [nets.progan, nets.stylegan2])
def test_it_is_the_plain_loop(make):
    model = make()
    z = nets.z_of(model, 2)
    pair = z if isinstance(z, tuple) else (z,)
    with torch.no_grad():
        goal = model(pair[0]) * 0.5 if len(pair) == 1 else model(pair[0], noise=pair[1]) * 0.5
    before = bits(model)

    def features(images):
        return images[:, :, ::2].square()

    tuned = fine_tune(model, z, goal, features=features, weight=0.1, steps=8, rate=0.01, progress=False)
    assert same(model, before)
    if len(pair) == 1:
        weights, losses = by_hand(model, pair, goal, features, 0.1, 8, 0.01)
        torch.testing.assert_close(tuned.losses, torch.tensor(losses).double(), atol=1e-6, rtol=1e-5)
        for name, value in tuned.weights.items():
            torch.testing.assert_close(value, weights[name], atol=1e-5, rtol=1e-4)
    assert tuned.settings["loss_after"] < tuned.settings["loss_before"]
    with tuned:
        assert tuned.applied
        assert not same(model, before)
        with pytest.raises(ValueError, match="the network must have the weights that were fine-tuned, but has others"):
            tuned.apply()
    assert same(model, before)
    with pytest.raises(ValueError, match="the network must have these weights to be undone"):
        tuned.undo()


def test_an_edit_in_between_is_noticed():
    model = nets.progan()
    z = nets.z_of(model, 1)
    with torch.no_grad():
        goal = model(z) + 0.1
    tuned = fine_tune(model, z, goal, steps=2, progress=False).apply()
    with torch.no_grad():
        model.layer1.conv.weight[0, 0] += 1
    with pytest.raises(ValueError, match="undo later edits first"):
        tuned.undo()


def test_divergence_and_ctrl_c_leave_the_weights(monkeypatch):
    model = nets.progan()
    z, before = nets.z_of(model, 1), bits(model)
    goal = torch.zeros(1, 3, model.resolution, model.resolution)
    with pytest.raises(ArithmeticError, match=r"^fine_tune: the descent must stay finite.*weights are as they were"):
        fine_tune(model, z, goal, rate=1e38, steps=9, progress=False)
    assert same(model, before)
    real, calls = finetuning.l1_loss, []

    def interrupted(*parts):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*parts)

    monkeypatch.setattr(finetuning, "l1_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(model, z, goal, steps=9, progress=False)
    assert same(model, before)


def test_refused():
    model = nets.progan()
    z = nets.z_of(model, 1)
    with torch.no_grad():
        goal = model(z)
    for call, text in (
        (lambda: fine_tune(model, z, goal[:, :2]), r"goal must be finite and \[1, 3, 16, 16\]"),
        (lambda: fine_tune(model, z, goal * math.nan), "goal must be finite"),
        (lambda: fine_tune(model, z, goal, steps=0), "steps must be at least 1"),
        (lambda: fine_tune(model, z, goal, rate=0), "rate must be above 0"),
        (lambda: fine_tune(model, z, goal, weight=-1), "weight not below"),
    ):
        with pytest.raises(ValueError, match=f"^fine_tune: .*{text}"):
            call()
    with pytest.raises(ValueError, match="the network must be in evaluation mode"):
        fine_tune(nets.progan().train(), z, goal)


@pytest.mark.parametrize("make", [nets.progan, nets.stylegan2])
def test_rendered_values_are_those_of_an_edit(make):
    """Values that an exact edit gives draw the image that the edited network draws."""
    model = make()
    z = nets.z_of(model, 1)
    memory = Memory(model, "layer4")
    memory.second_moment(nets.z_of(model, 16), progress=False)
    keys = memory.keys(z)
    mode = {"steps": 5, "progress": False}
    edit = insert(memory, keys, memory.values(keys) * 0.5, memory.direction(keys), "lambda", **mode)
    with edit:
        values = memory.values(keys)
        wanted = render(memory, z)
    torch.testing.assert_close(render(memory, z, values), wanted, atol=1e-5, rtol=1e-4)
    assert not torch.equal(render(memory, z), wanted)
    with pytest.raises(ValueError, match=r"^render: values must be \[1, 6, 8, 8\], as the layer gives, but are"):
        render(memory, z, values[:, :, 1:])
    assert not model.get_submodule(memory.value_layer)._forward_hooks
