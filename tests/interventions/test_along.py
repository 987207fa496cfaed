"""Edits along directions, and within bands of activation."""

import pytest
import torch
from torch import nn

import dissect

X = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
V = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def network():
    return nn.Sequential(nn.Identity(), nn.Identity()).eval()


def edited(edit, *arguments, images=X, **options):
    model = network()
    with edit(model, *arguments, layout="NUHW", **options):
        return model(images)


def read(maps):
    return torch.einsum("vu,nuhw->nvhw", V, maps)


def test_one_direction_loses_its_component():
    found, v = edited(dissect.ablate, "0", directions={"0": V[:1]}), V[0]
    by_hand = X - torch.einsum("nuhw,u->nhw", X, v)[:, None] * v[:, None, None] / v.dot(v)
    assert torch.allclose(found, by_hand, atol=1e-6)


@pytest.mark.parametrize("along", ["own", "dual"])
def test_several_are_set_together(along):
    found = edited(dissect.insert, "0", [2, 0], value=[5.0, -1.0], directions={"0": V}, along=along)
    assert torch.allclose(read(found)[:, 2], torch.tensor(5.0), atol=1e-5)
    assert torch.allclose(read(found)[:, 0], torch.tensor(-1.0), atol=1e-5)
    assert torch.allclose(read(found)[:, 1], read(X)[:, 1], atol=1e-5) == (along == "dual")
    other = edited(dissect.insert, "0", [2, 0], value=[5.0, -1.0], directions={"0": V}, along="dual")
    assert (found - X).norm() <= (other - X).norm() + 1e-6


def test_units_are_directions_too():
    for edit in (dissect.ablate, dissect.keep):
        along = edited(edit, "0", [1, 3], directions={"0": torch.eye(4)})
        assert torch.allclose(along, edited(edit, "0", [1, 3]), atol=1e-6)


def test_where_and_how_much():
    mask = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 0, 0.5]])
    found = read(edited(dissect.ablate, "0", [1], directions={"0": V}, mask=mask, alpha=0.5))[:, 1]
    assert torch.allclose(found, read(X)[:, 1] * (1 - 0.5 * mask), atol=1e-5)
    assert torch.equal(edited(dissect.ablate, "0", [], directions={"0": V}), X)


def test_within_a_band():
    found = edited(dissect.ablate, "0", [0, 2], band=(-0.5, 0.5), value=9.0)
    inside = (X > -0.5) & (X <= 0.5)
    inside[:, [1, 3]] = False
    assert torch.equal(found, torch.where(inside, 9.0, X))
    own = edited(dissect.ablate, "0", [0, 2], band=([-0.5, 0.0], [0.5, 1.0]))
    assert torch.equal(own[:, 2], torch.where((X[:, 2] > 0) & (X[:, 2] <= 1), 0.0, X[:, 2]))
    low, high = (edited(dissect.ablate, "0", [0], band=band) for band in ((-100, 0.2), (0.2, 100)))
    assert torch.equal((low == 0) | (high == 0), (edited(dissect.ablate, "0", [0]) == 0))
    along = read(edited(dissect.ablate, "0", [0], band=(0.0, 1.0), directions={"0": V}))[:, 0]
    before = read(X)[:, 0]
    assert torch.allclose(along, torch.where((before > 0) & (before <= 1), 0.0, before), atol=1e-5)


def test_a_point_on_the_edge_is_in_the_lower_band():
    images = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2)
    assert edited(dissect.ablate, "0", [0], band=(1.0, 2.0), images=images).flatten().tolist() == [1, 0]


def test_features_of_an_encoder_move_along_its_decoder():
    encoder = dissect.models.SparseEncoder(V, torch.zeros(3), decoder=V.flip(1))
    found = edited(dissect.ablate, "0", [1], directions={"0": encoder})
    assert torch.allclose(found, X - encoder(X)[:, 1:2] * V.flip(1)[1].view(4, 1, 1), atol=1e-6)


def test_the_edit_is_differentiable_and_half_maps_stay_half():
    images = X.clone().requires_grad_()
    edited(dissect.ablate, "0", directions={"0": V}, images=images).sum().backward()
    assert images.grad is not None
    assert edited(dissect.ablate, "0", directions={"0": V}, images=X.half()).dtype == torch.float16


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"directions": {"0": V[:, :3]}}, ValueError, "must have length U=4, its units, but have 3"),
        ({"directions": {"0": torch.cat([V, V[:1]])}}, ValueError, "set together must be linearly independent, but 4 "),
        (
            {"directions": {"0": V}, "value": torch.zeros(3, 3)},
            ValueError,
            "value must be a number or one per direction",
        ),
        ({"directions": {"0": V}, "along": "other"}, ValueError, "along must be one of"),
        ({"directions": {"1": V}}, TypeError, "layer must be a name with units beside it"),
        ({"directions": {"0": nn.Identity().eval()}}, TypeError, "must have a tensor `decoder` [V, U]"),
        ({"units": [3], "directions": {"0": V}}, ValueError, "must be below 3"),
        ({"units": [0], "band": (1, 1)}, ValueError, "band must be (low, high) with low < high"),
        ({"units": [0], "band": 1}, TypeError, "band must be (low, high)"),
        ({"units": [0], "band": (float("nan"), 1)}, ValueError, "low < high"),
    ],
)
def test_what_cannot_be_is_refused(options, error, message):
    model = network()
    with pytest.raises(error) as caught, dissect.ablate(model, "0", layout="NUHW", **options):
        model(X)
    assert str(caught.value).startswith("ablate: ")
    assert message in str(caught.value)


def test_dependent_ones_may_be_set_one_at_a_time():
    dependent = torch.cat([V, V[:1] + V[1:2]])
    assert edited(dissect.ablate, "0", [0], directions={"0": dependent}).shape == X.shape
    with pytest.raises(ValueError, match="of the set, among which duals are sought, must be linearly independent"):
        edited(dissect.ablate, "0", [0], directions={"0": dependent}, along="dual")


def test_they_are_not_written_into_weights():
    model = nn.Sequential(nn.Conv2d(1, 4, 1)).eval()
    for options in ({"directions": {"0": V}}, {"band": (0, 1)}):
        with pytest.raises(
            ValueError, match="Intervention: only units can be written into weights, so directions and band"
        ):
            dissect.ablate(model, "0", [0], **options).write()
