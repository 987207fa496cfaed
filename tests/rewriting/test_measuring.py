"""What a change did, against counting by hand in a generator whose units draw known colours."""

import sys
import types
from contextlib import nullcontext

import pytest
import torch
from generators.painter import Colours, Painter
from rewriting import nets

import dissect
from dissect.rewriting import Ablated, Memory, RuleChange, insert, lpips_distance, rule_changes

RED, GREEN = 1, 2


def painted():
    return Painter().eval(), torch.randn(24, 5, generator=torch.Generator().manual_seed(1))


def test_against_counting_by_hand():
    model, z = painted()
    memory = Memory(model, "features")
    memory.second_moment(z, progress=False)
    keys = memory.keys(z[:2])
    edit = insert(memory, keys, memory.values(keys).flip(1), memory.direction(keys), "closed")
    changes = {"edit": lambda: edit, "ablated": lambda: dissect.ablate(model, "features", [0, 1])}
    see = Colours()

    def features(images):
        return images.flatten(1)[:, ::3]

    found = rule_changes(model, z, changes, see, RED, [GREEN], features=features, batch_size=10, progress=False)
    with torch.no_grad():
        before = model(z)
        with edit:
            after = {"edit": model(z)}
        with changes["ablated"]():
            after["ablated"] = model(z)
    assert torch.equal(model(z), before)
    red = before[:, 0] > 0.5
    for name, images in after.items():
        change = found[name]
        assert torch.equal(change.source, red.flatten(1).sum(1))
        assert torch.equal(change.changed, (red & (images[:, 1] > 0.5)).flatten(1).sum(1))
        assert torch.equal(change.gone, (red & ~(images[:, 0] > 0.5)).flatten(1).sum(1))
        for at in range(24):
            apart = (images[at] - before[at]).abs().mean(0)[~red[at]]
            assert float(change.outside[at]) == pytest.approx(float(apart.mean()) if len(apart) else 0, abs=1e-6)
            kept = torch.where(red[at], before[at], images[at])
            was, now = features(before[at : at + 1]), features(kept[None])
            assert float(change.perceived[at]) == pytest.approx(float((now - was).norm() / was.norm()), abs=1e-5)
        assert change.share == pytest.approx(float(change.changed.sum() / change.source.sum()))
        low, high = change.interval("gone")
        assert low <= float(change.gone.sum() / change.source.sum()) <= high
        mean, low, high = change.mean()
        assert low <= mean <= high
    assert found["ablated"].gone.sum() > 0


def test_few_images_have_no_interval():
    few = torch.tensor([3] * 9 + [0] * 20)
    change = RuleChange(few, few, few, torch.ones(29).double(), torch.empty(0))
    assert change.share == 1
    assert all(end != end for end in change.interval())
    none = torch.zeros(3, dtype=torch.int64)
    assert RuleChange(none, none, none, torch.ones(3), torch.empty(0)).share != 0


def test_the_measures_of_text_and_code():
    source = torch.tensor([10, 4, 0, 8])
    change = RuleChange(source, torch.tensor([5, 1, 0, 0]), torch.tensor([9, 4, 0, 0]), source.double(), torch.empty(0))
    assert change.share == pytest.approx(6 / 22)
    assert change.gone_share == pytest.approx(13 / 22)
    assert change.images() == (1, 3)
    assert change.images(0.25) == (2, 3)
    assert not len(change.effect)
    for least in (0, 1.1):
        with pytest.raises(ValueError, match="least must be above 0 and at most 1"):
            change.images(least)


def test_a_distance_and_an_effect():
    """The distance is a mean over all pixels but the source's; the effect is asked of the images after."""
    model, z = painted()
    change = {"less": lambda: dissect.ablate(model, "features", [0, 1]), "unmodified": nullcontext}

    def distance(before, after):
        return (after - before).square().sum(1, keepdim=True)

    def effect(images):
        return images[:, 1].flatten(1).mean(1) > 0.2

    found = rule_changes(model, z, change, Colours(), RED, [GREEN], distance=distance, effect=effect, progress=False)
    with torch.no_grad():
        before = model(z)
        with change["less"]():
            after = model(z)
    others = ~(before[:, 0] > 0.5)
    for at in range(24):
        wanted = (after[at] - before[at]).square().sum(0)[others[at]]
        got = float(found["less"].perceived[at])
        assert got == pytest.approx(float(wanted.mean()) if len(wanted) else 0, abs=1e-6)
    assert torch.equal(found["less"].effect, effect(after))
    assert torch.equal(found["unmodified"].effect, effect(before))
    assert 0 < int(found["unmodified"].effect.sum()) < 24
    red = before[:, 0] > 0.5
    assert torch.equal(found["unmodified"].changed, (red & (before[:, 1] > 0.5)).flatten(1).sum(1))
    assert float(found["unmodified"].perceived.abs().max()) == 0


def test_truncation_is_for_the_time_of_the_measurement():
    model = nets.stylegan2()
    model.measure_latent_avg()
    z = nets.z_of(model, 6)
    see = Colours()
    ablated = {"less": Ablated(Memory(model, "layer4"), [0])}
    model.truncation = 0.5
    wanted = rule_changes(model, z, ablated, see, RED, [GREEN], progress=False)["less"]
    model.truncation = 1.0
    found = rule_changes(model, z, ablated, see, RED, [GREEN], truncation=0.5, progress=False)["less"]
    whole = rule_changes(model, z, ablated, see, RED, [GREEN], progress=False)["less"]
    assert model.truncation == 1.0
    assert torch.equal(found.outside, wanted.outside)
    assert not torch.equal(found.outside, whole.outside)
    with pytest.raises(ValueError, match=r"^rule_changes: truncation must not be given for a ProGAN, which has none"):
        rule_changes(nets.progan(), z[0], {}, see, RED, [GREEN], truncation=0.5)


def test_lpips_is_asked_for_by_name(monkeypatch):
    made = []

    class Stub(torch.nn.Module):
        def __init__(self, **options):
            super().__init__()
            made.append(options)

        def forward(self, before, after):
            return (before - after).mean(1, keepdim=True)

    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(ImportError, match=r"lpips_distance needs lpips, .*pip install 'dissect-units\[lpips\]'"):
        lpips_distance()
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Stub))
    distance = lpips_distance("vgg")
    assert made == [{"net": "vgg", "spatial": True, "verbose": False}]
    assert distance(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)).shape == (2, 1, 4, 4)
    with pytest.raises(ValueError, match=r"^lpips_distance: net must be one of .*, but is 'resnet'"):
        lpips_distance("resnet")


def test_refused():
    model, z = painted()
    for targets in ([], [RED, GREEN]):
        with pytest.raises(
            ValueError, match=r"^rule_changes: targets must be classes other than the source, 1, but are"
        ):
            rule_changes(model, z, {}, Colours(), RED, targets)
    for source, targets, text in [
        (RED, [GREEN, 4], "labels of the segmenter's vocabulary, from 1 to 3, but 4 is none"),
        (7, [GREEN], "but 7 is none"), (0, [GREEN], "source must be at least 1"), (RED, [-1], "targets must be at"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^rule_changes: .*{text}"):
            rule_changes(model, z, {}, Colours(), source, targets)
    with pytest.raises(TypeError, match=r"^rule_changes: targets must be an integer, but got 'sky'"):
        rule_changes(model, z, {}, Colours(), RED, ["sky"])
    both = {"features": torch.flatten, "distance": torch.sub}
    with pytest.raises(ValueError, match=r"^rule_changes: features and distance must not be given both"):
        rule_changes(model, z, {}, Colours(), RED, [GREEN], **both)
    see = Colours()
    see.signed = False
    with pytest.raises(ValueError, match=r"^rule_changes: segmenter must take images in \[-1, 1\]"):
        rule_changes(model, z, {}, see, RED, [GREEN])
    with pytest.raises(ValueError, match=r"segmenter must be in evaluation mode, but its part '0' \(Dropout\)"):
        rule_changes(model, z, {}, torch.nn.Sequential(torch.nn.Dropout()), RED, [GREEN])
