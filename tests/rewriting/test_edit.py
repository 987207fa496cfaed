"""Edits: applied, scaled, merged, undone to the bit, one after another, and files that are refused elsewhere."""

import copy
import signal

import pytest
import torch
from rewriting import nets

import dissect
from dissect.rewriting import Edit, Memory, combined, insert
from dissect.rewriting.edit import rewritten, verify_rank


def made(layer="layer3", seed=0, model=None, rank=1):
    model = nets.progan() if model is None else model
    memory = Memory(model, layer)
    memory.second_moment(nets.z_of(model, 8), progress=False)
    keys = memory.keys(nets.z_of(model, 2))
    values = memory.values(keys) + nets.randn(1, memory.outputs, 1, 1, seed=seed)
    return model, insert(memory, keys, values, memory.direction(keys, rank), "closed")


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, before):
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("layer", ["layer1", "layer3"])
def test_applied_and_undone_to_the_bit(layer):
    model, edit = made(layer, rank=2)
    before, z = bits(model), nets.z_of(model)
    images = model(z)
    assert edit.apply() is edit
    change = (model.get_submodule(edit.layer).weight - before[f"{edit.layer}.weight"]).detach().double()
    matrix = change.permute(0, 2, 3, 1).reshape(-1, change.shape[1])
    torch.testing.assert_close(matrix, edit.lambdas @ edit.directions.T, atol=1e-5, rtol=0)
    assert edit.rank == 2
    assert edit.applied
    assert not torch.equal(model(z), images)
    assert not edit.undo().applied
    assert same(model, before)
    assert torch.equal(model(z), images)


def test_scaled():
    model, edit = made()
    before = model.layer3.conv.weight.detach().clone()
    edit.apply(scale=0.5)
    half = model.layer3.conv.weight.detach() - before
    whole = edit.undo().apply().undo() and rewritten(before, (0, 2, 3, 1), edit.lambdas, edit.directions) - before
    torch.testing.assert_close(half * 2, whole, atol=1e-6, rtol=0)
    assert torch.equal(model.layer3.conv.weight, before)


def test_twice_and_other_weights_are_refused():
    model, edit = made()
    twin = copy.deepcopy(model)
    edit.apply()
    with pytest.raises(ValueError, match=r"^Edit: the edit must be applied once, but 'layer3\.conv' has it; undo"):
        edit.apply()
    saved = Edit(**{name: getattr(edit, name) for name in Edit.__dataclass_fields__ if not name.startswith("_")})
    with pytest.raises(ValueError, match=r"it has this edit already"):
        saved.apply(model)
    with pytest.raises(ValueError, match="model must be given to an edit that comes from a file"):
        saved.apply()
    with pytest.raises(ValueError, match="the edit must be applied to be undone"):
        saved.undo()
    with torch.no_grad():
        twin.layer3.conv.weight[0, 0, 0, 0] += 1
    with pytest.raises(
        ValueError, match=r"the weight of 'layer3\.conv' must be the one that the edit was made of.*anoth"
    ):
        saved.apply(twin)
    with pytest.raises(ValueError, match="scale must be finite"):
        edit.undo().apply(scale=float("inf"))


@pytest.mark.parametrize("doing", ["apply", "undo"])
def test_ctrl_c_comes_after_the_whole_weight(doing, monkeypatch):
    """Never between the weight and the note of what it was before."""
    model, edit = made()
    before = bits(model)
    if doing == "undo":
        edit.apply()
    real = torch.Tensor.copy_

    def interrupted(self, *parts):
        signal.raise_signal(signal.SIGINT)
        return real(self, *parts)

    monkeypatch.setattr(torch.Tensor, "copy_", interrupted)
    with pytest.raises(KeyboardInterrupt):
        getattr(edit, doing)()
    monkeypatch.undo()
    assert edit.applied == (doing == "apply")
    if edit.applied:
        assert not same(model, before)
        edit.undo()
    assert same(model, before)


def test_a_block_ends_with_the_weights_of_before():
    model, edit = made()
    before = bits(model)

    def interrupted():
        with edit:
            assert not same(model, before)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert same(model, before)


def test_one_after_another_and_all_at_once():
    model, first = made()
    start = bits(model)
    first.apply()
    _, second = made(seed=5, model=model, rank=2)
    second.apply()
    with pytest.raises(ValueError, match="was changed since; undo later edits first"):
        first.undo()
    both = bits(model)
    second.undo()
    first.undo()
    assert same(model, start)
    once = combined([first, second])
    assert once.rank <= 3
    once.apply(model)
    torch.testing.assert_close(model.layer3.conv.weight.detach(), both["layer3.conv.weight"], atol=1e-6, rtol=0)
    once.undo()
    assert same(model, start)
    with pytest.raises(ValueError, match="edits must follow each other"):
        combined([second, first])
    with pytest.raises(ValueError, match="edits must be at least one"):
        combined([])


def test_a_file(tmp_path):
    model, edit = made(rank=2)
    found = dissect.load(edit.save(tmp_path / "rule"))
    assert isinstance(found, Edit)
    assert torch.equal(found.lambdas, edit.lambdas)
    assert (found.layer, found.shape, found.settings) == (edit.layer, edit.shape, edit.settings)
    assert found.settings["numbering"] == "convolution 3, feature map 3"
    before = bits(model)
    found.apply(model)
    wanted = bits(model)
    found.undo()
    assert same(model, before)
    merged = found.merged(model.state_dict())
    assert torch.equal(merged["layer3.conv.weight"], wanted["layer3.conv.weight"])
    assert same(model, before)
    with pytest.raises(KeyError, match=r"state must have 'layer3\.conv\.weight'"):
        found.merged({})
    with pytest.raises(KeyError, match="the model has no layer"):
        found.apply(torch.nn.Sequential(torch.nn.ReLU()))


def test_a_file_gets_a_network(tmp_path):
    model, edit = made()
    found, before = dissect.load(edit.save(tmp_path / "rule")), bits(model)
    with found.bound(model) as bound:
        assert bound.applied
        assert not same(model, before)
    assert same(model, before)
    assert not found.applied
    with pytest.raises(KeyError, match="Edit: the model has no layer"):
        found.bound(torch.nn.Sequential(torch.nn.ReLU()).eval())


def test_a_file_that_holds_what_cannot_be(tmp_path):
    _, edit = made()
    edit.directions *= 0.5
    with pytest.raises(ValueError, match="does not fit together: directions are orthonormal"):
        Edit.load(edit.save(tmp_path / "a"))
    edit.directions *= 2
    edit.lambdas = edit.lambdas[:-1]
    with pytest.raises(ValueError, match="does not fit together: Lambda has a row for each of the matrix"):
        Edit.load(edit.save(tmp_path / "b"))


def test_the_rank_is_verified():
    weight = nets.randn(6, 5, 3, 3)
    changed = rewritten(weight, (0, 2, 3, 1), nets.randn(54, 2).double(), torch.eye(5)[:, :2].double())
    assert verify_rank(weight, changed, (0, 2, 3, 1), 2) == 2
    with pytest.raises(ValueError, match="the change must be of rank 1 at most, but is of rank 2"):
        verify_rank(weight, changed, (0, 2, 3, 1), 1)
    assert verify_rank(weight, weight, (0, 2, 3, 1), 1) == 0
