"""What a change did, against counting by hand in a generator whose units draw known colours."""

import pytest
import torch
from generators.painter import Colours, Painter

import dissect
from dissect.rewriting import Memory, RuleChange, insert, rule_changes

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
    see = Colours()
    see.signed = False
    with pytest.raises(ValueError, match=r"^rule_changes: segmenter must take images in \[-1, 1\]"):
        rule_changes(model, z, {}, see, RED, [GREEN])
    with pytest.raises(ValueError, match=r"segmenter must be in evaluation mode, but its part '0' \(Dropout\)"):
        rule_changes(model, z, {}, torch.nn.Sequential(torch.nn.Dropout()), RED, [GREEN])
