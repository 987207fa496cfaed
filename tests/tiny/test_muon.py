"""Muon: its step is the orthogonal matrix next to the momentum, downhill, as long as the rate says."""

import pytest
import torch

from dissect.tiny.training.muon import Muon, orthogonal


def matrix(rows, columns):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (4, 20), (20, 4)])
def test_orthogonal_is_about_u_v(rows, columns):
    """The iteration leaves singular values between 0.7 and 1.2, and the singular vectors as they are."""
    u, s, v = torch.linalg.svd(matrix(rows, columns), full_matrices=False)
    made = u.T @ orthogonal(matrix(rows, columns)) @ v.T
    values = made.diagonal()
    assert torch.allclose(made, torch.diag(values), atol=1e-4)
    near = values[s > 0.05 * s.norm()]
    assert len(near) >= 3
    assert near.min() > 0.6
    assert near.max() < 1.3


def test_a_step_by_hand():
    weight = torch.nn.Parameter(matrix(6, 3).view(6, 3, 1, 1).clone())
    before, optimizer = weight.detach().clone(), Muon([weight], rate=0.1, momentum=0.9, weight_decay=0.5)
    gradients = [matrix(6, 2).repeat(1, 2)[:, :3].view(6, 3, 1, 1), torch.ones(6, 3, 1, 1)]
    momentum = torch.zeros(6, 3)
    expected = before.flatten(1)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        momentum = 0.9 * momentum + gradient.flatten(1)
        step = orthogonal(gradient.flatten(1) + 0.9 * momentum) * 2**0.5
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * step
    assert torch.allclose(weight.detach().flatten(1), expected, atol=1e-6)


def test_it_goes_downhill():
    target = matrix(5, 4)
    weight = torch.nn.Parameter(torch.zeros(5, 4))
    optimizer, losses = Muon([weight], rate=0.1), []
    for _ in range(30):
        loss = (weight - target).square().sum()
        losses.append(float(loss.detach()))
        weight.grad = None
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


def test_a_weight_without_a_gradient_stays():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    Muon([weight], rate=0.1, weight_decay=0.5).step()
    assert torch.equal(weight.detach(), torch.ones(2, 2))
