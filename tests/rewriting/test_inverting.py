"""A rule turned round as the published steps written plainly, its effect counted by hand, and what is refused."""

import pytest
import torch
from rewriting import nets
from torch.func import functional_call

import dissect
from dissect.rewriting import Memory, invert_rule, rule_effects

UNITS = [1, 3]


def causes(model):
    return lambda: dissect.insert(model, "layer2", UNITS, value=3.0), lambda: dissect.ablate(model, "layer2", UNITS)


def masks_of(count, size=16):
    masks = torch.zeros(count, size, size)
    masks[:, size // 2 :] = 1
    return masks


def features(model, z, weights=None):
    seen = []
    handle = model.layer5.register_forward_hook(lambda module, given, output: seen.append(output))
    functional_call(model, weights or {}, z)
    handle.remove()
    return seen[0]


def inverted(model, z, layers=("layer4",), **options):
    given = {"steps": 1, "final_steps": 12, "final_rate": 0.05, "every": 5, "progress": False, **options}
    return invert_rule(model, z, *causes(model), masks_of(len(z)), layers, "layer5", **given)


def test_the_published_steps():
    model = nets.progan()
    z, name = nets.z_of(model, 3), "layer4.conv.weight"
    start = model.get_parameter(name).detach().clone()
    with torch.no_grad():
        had = []
        for change in causes(model):
            with change():
                had.append(features(model, z))
    mask = torch.nn.functional.interpolate(masks_of(3)[:, None], size=had[0].shape[2:], mode="area")
    wanted = [mask * other + (1 - mask) * own for own, other in zip(had, reversed(had))]
    weight, losses = start.clone().requires_grad_(), []
    adam = torch.optim.Adam([weight], 0.05)
    for step in range(12):
        adam.zero_grad()
        each = []
        for change, target in zip(causes(model), wanted):
            with change():
                each.append((features(model, z, {name: weight}) - target).square().mean())
        loss = sum(each) / 2
        loss.backward()
        losses.append(float(loss.detach()))
        adam.step()
        if step % 5 == 0 or step == 11:
            with torch.no_grad():
                matrix = (weight - start).permute(0, 2, 3, 1).flatten(0, 2)
                left, values, right = torch.linalg.svd(matrix, full_matrices=False)
                low = (left[:, :1] * values[:1] @ right[:1]).view(-1, 3, 3, start.shape[1]).permute(0, 3, 1, 2)
                weight.copy_(start + low)
    edit = inverted(model, z)
    assert edit.rank == 1
    assert torch.equal(model.get_parameter(name), start)
    torch.testing.assert_close(edit.losses, torch.tensor(losses).double(), rtol=1e-4, atol=1e-6)
    with edit:
        torch.testing.assert_close(model.get_parameter(name), weight.detach(), rtol=0, atol=1e-3)
        with torch.no_grad():
            each = []
            for change, target in zip(causes(model), wanted):
                with change():
                    each.append(float((features(model, z) - target).square().mean()))
    assert sum(each) / 2 == pytest.approx(edit.settings["loss_after"], rel=1e-4)


def test_the_layer_of_the_lowest_loss_is_changed():
    model = nets.progan()
    edit = inverted(model, nets.z_of(model, 2), ("layer3", "layer4", "layer5"), steps=6)
    found = edit.settings["layers"]
    assert sorted(found) == ["layer3", "layer4", "layer5"]
    assert edit.layer == min(found, key=lambda layer: found[layer][1]) + ".conv"


def test_a_stylegan2_with_noise_by_seed():
    model = nets.stylegan2()
    z = nets.z_of(model, 2)
    edit = invert_rule(
        model, z, lambda: dissect.insert(model, "layer3.activate", UNITS, value=3.0),
        lambda: dissect.ablate(model, "layer3.activate", UNITS), masks_of(2), ["layer4"], "layer5", steps=1,
        final_steps=30, final_rate=0.1, progress=False,
    )  # fmt: skip
    assert edit.layer == "layer4.conv"
    assert edit.settings["loss_after"] < edit.settings["loss_before"]


def test_the_effect_of_a_cause():
    model = nets.progan()
    z = nets.z_of(model, 5)
    there, gone = causes(model)

    def measure(images, plain):
        return torch.stack([images.mean((1, 2, 3)), (images * plain).sum((1, 2, 3))], 1)

    found = rule_effects(
        model, z, there, gone, measure, {"less": lambda: dissect.ablate(model, "layer4", [0])}, batch_size=2,
        progress=False,
    )  # fmt: skip
    with torch.no_grad():
        plain = model(z)
        with there():
            first = model(z)
        with gone():
            second = model(z)
    torch.testing.assert_close(
        found[""].effect, (measure(first, plain) - measure(second, plain)).double(), rtol=1e-4, atol=1e-4
    )
    assert not found[""].moved.any()
    assert found["less"].moved.all()
    assert found[""].mean(1)[0] == pytest.approx(float(found[""].effect[:, 1].mean()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": ()}, "layers must be at least one"),
        ({"layers": ["layer1"]}, "layers must run after all that the contexts change"),
        ({"layers": ["layer6"]}, "have 'layer5' after them"),
        ({"rank": 9}, "rank must be at most 6"),
        ({"masks": torch.ones(2, 4, 4)}, "masks must be one per image, 3, but are 2"),
        ({"masks": torch.zeros(3, 4, 4)}, "masks must select what the contexts change"),
        ({"rate": 0.0}, "rate must be above 0"),
    ],
)
def test_what_is_refused(change, message):
    model = nets.progan()
    given = {"masks": masks_of(3), "layers": ["layer4"]} | change
    masks, layers = given.pop("masks"), given.pop("layers")
    with pytest.raises(ValueError, match=message):
        invert_rule(
            model, nets.z_of(model, 3), *causes(model), masks, layers, "layer5", progress=False,
            **{"steps": 1, "final_steps": 1} | given,
        )  # fmt: skip


def test_what_is_refused_of_a_measure():
    model = nets.progan()
    z, pair = nets.z_of(model, 2), causes(model)
    with pytest.raises(ValueError, match=r"measure must give finite numbers \[N\]"):
        rule_effects(model, z, *pair, lambda images, plain: images, progress=False)
    with pytest.raises(ValueError, match="changes must have names"):
        rule_effects(model, z, *pair, lambda images, plain: images[:, 0, 0, 0], {"": pair[0]}, progress=False)


def test_a_memory_stands_before_what_follows():
    model = nets.progan()
    memory, z = Memory(model, "layer4"), nets.z_of(model, 2)
    whole = memory.keys(z).maps
    ran = []
    handle = model.layer4.wscale.register_forward_hook(lambda *_: ran.append(1))
    assert torch.equal(memory.keys(z).maps, whole)
    handle.remove()
    assert not ran
