"""The baselines of the papers' tables: each by itself, all together, and units that are 0 for a while."""

from contextlib import nullcontext

import pytest
import torch
from generators.painter import Colours, Painter
from rewriting import nets
from torch import nn

import dissect
from dissect.rewriting import (
    Ablated,
    Edit,
    FineTuned,
    Memory,
    Selection,
    Session,
    Transfer,
    baselines,
    changed_images,
    insert,
    paste,
    render,
    rule_changes,
    sheet,
)  # fmt: skip
from dissect.rewriting import copy as copied


def box(rows, columns):
    mask = torch.zeros(16, 16)
    mask[slice(*rows), slice(*columns)] = 1
    return mask


def session():
    return Session(
        Selection(3, box((2, 6), (4, 10))), Selection(1, box((8, 12), (6, 10))),
        (Selection(5, box((0, 6), (0, 6))), Selection(1, box((8, 12), (6, 10)))),
    )  # fmt: skip


def features(images):
    return [images.abs(), nn.functional.avg_pool2d(images.abs(), 2)]


@pytest.mark.parametrize("make", [nets.progan, nets.stylegan2])
def test_all_of_them(make):
    model = make()
    z = nets.z_of(model, 8)
    memory = Memory(model, "layer4")
    memory.second_moment(z, progress=False)
    options = {"steps": 5, "progress": False}
    found = baselines(
        memory, z, session(), 2, shares=(1 / 6, 1 / 3), correspondences=features, fine_tuning_steps=3, **options
    )
    kinds = {name: type(change) for name, change in found.items()}
    assert kinds == {
        "projected descent": Edit, "direct Lambda": Edit, "one image's direction": Edit,
        "the layer, without direction": Edit, "all weights": FineTuned, "1 units ablated": Ablated,
        "2 units ablated": Ablated, "direct copying": Transfer, "Laplace blending": Transfer,
        "unmodified": nullcontext,
    }  # fmt: skip
    assert torch.equal(found["projected descent"].lambdas, session().edit(memory, z, 2, **options).lambdas)
    assert [found[name].directions.shape[1] for name in list(found)[:4]] == [2, 2, 1, 6]
    assert [found[name].settings["mode"] for name in list(found)[:4]] == ["projected", "lambda", *["projected"] * 2]

    def one(at):
        return tuple(part[[at]] for part in z) if isinstance(z, tuple) else z[[at]]

    painted = session()
    object_ = copied(memory, one(3), painted.object.mask)
    whole = paste(memory, one(1), painted.paste.mask, object_, tight=False)
    goal = render(memory, one(1), whole[1])
    carried = found["direct copying"]
    assert torch.equal(carried.after, goal[0])
    assert torch.equal(carried.before, render(memory, one(1))[0])
    assert torch.equal(carried.mask, box((8, 12), (4, 10)))  # the object's size around the middle of the place
    own = memory.direction(memory.keys(one(1)), 1, masks=painted.paste.mask[None])
    torch.testing.assert_close(found["one image's direction"].directions, own.matrix)
    images = changed_images(model, z, found["all weights"])
    assert images.shape == (8, 3, 16, 16)
    assert not torch.equal(images, changed_images(model, z))


def test_without_what_costs_most():
    model = nets.progan()
    z = nets.z_of(model, 8)
    memory = Memory(model, "layer4")
    memory.second_moment(z, progress=False)
    found = baselines(memory, z, session(), shares=(), fine_tuning_steps=0, steps=2, progress=False)
    assert len(found) == 5
    with pytest.raises(ValueError, match=r"^baselines: the session must have an object and a place"):
        baselines(memory, z, Session())


@pytest.mark.parametrize("name", ["conv", "transposed", "linear", "tokens"])
def test_units_at_zero(name):
    """The layer's inputs without them, whatever kind of layer it is."""
    make, shape = nets.LAYERS[name]
    model, inputs = nets.one(make()), nets.randn(*shape)
    without = inputs.clone()
    without[(..., [0, 2]) if name in ("linear", "tokens") else (slice(None), [0, 2])] = 0
    wanted, before = model(without), model(inputs)
    ablated = Ablated(Memory(model, "0"), [0, 2])
    with ablated:
        assert torch.equal(model(inputs), wanted)
    assert torch.equal(model(inputs), before)
    with ablated, pytest.raises(RuntimeError, match="twice"), ablated:
        pass
    assert torch.equal(model(inputs), before)


def test_units_of_stylegan2_at_zero_are_those_of_ablate():
    model = nets.stylegan2()
    z, noise = nets.z_of(model, 3)
    with dissect.ablate(model, "layer4.modulate", [1, 3]):
        wanted = model(z, noise=noise)
    with Ablated(Memory(model, "layer4"), [1, 3]):
        assert torch.equal(model(z, noise=noise), wanted)
    for units in ([], [6], [-1]):
        with pytest.raises(ValueError, match=r"^Ablated: units must be numbers below 6, but are"):
            Ablated(Memory(model, "layer4"), units)


def test_measured_beside_each_other():
    """Whatever kind a change is of, its images are those that `changed_images` gives."""
    model, z = Painter().eval(), torch.randn(12, 5, generator=torch.Generator().manual_seed(1))
    memory = Memory(model, "features")
    memory.second_moment(z, progress=False)
    keys = memory.keys(z[:2])
    edit = insert(memory, keys, memory.values(keys).flip(1), memory.direction(keys), "closed")
    before = changed_images(model, z)
    carry = Transfer(before[0], before[0].flip(0), torch.ones(before.shape[2:]), lambda images: [images.abs()])
    changes = {"edit": edit, "carried": carry, "context": lambda: dissect.ablate(model, "features", [0])}
    found = rule_changes(model, z, changes, Colours(), 1, [2], progress=False)
    red = before[:, 0] > 0.5
    for name, change in changes.items():
        after = changed_images(model, z, change, batch_size=5)
        assert torch.equal(found[name].changed, (red & (after[:, 1] > 0.5)).flatten(1).sum(1)), name
    assert torch.equal(changed_images(model, z, carry), carry(before))
    assert torch.equal(changed_images(model, z), before)


def test_a_sheet():
    model = nets.progan()
    z = nets.z_of(model, 3)
    ablated = Ablated(Memory(model, "layer4"), [1, 3])
    figure = sheet(model, z, {"less": ablated})
    shown = [torch.from_numpy(axes.images[0].get_array()).permute(2, 0, 1) for axes in figure.axes]
    wanted = torch.cat([changed_images(model, z), changed_images(model, z, ablated)]).add(1).div(2).clamp(0, 1)
    torch.testing.assert_close(torch.stack(shown), wanted)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["as they were", "", "", "less", "", ""]
    with pytest.raises(ValueError, match=r"^sheet: inputs must be at least one, but there are none"):
        sheet(model, [], {})
    with pytest.raises(ValueError, match="evaluation mode"):
        changed_images(nets.progan().train(), z)
