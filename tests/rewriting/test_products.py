"""Products as torch's own, and their gradients."""

import pytest
import torch
from rewriting import nets

from dissect.rewriting.products import gram, times


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("oned", [True, False], ids=["oneDNN", "torch"])
def test_a_product_and_its_gradients(dtype, oned, monkeypatch):
    if not oned:
        monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    left, right = (nets.randn(*shape).to(dtype).requires_grad_() for shape in ((5, 7), (3, 7)))
    expected = left @ right.T
    found = times(left, right)
    torch.testing.assert_close(found, expected)
    weight = nets.randn(5, 3).to(dtype)
    for one, other in zip(*(torch.autograd.grad((out * weight).sum(), [left, right]) for out in (found, expected))):
        torch.testing.assert_close(one, other)


def test_views_are_multiplied_as_what_they_show():
    whole = nets.randn(6, 8)
    torch.testing.assert_close(times(whole.T[1:5], whole[:, 2:4].T), whole.T[1:5] @ whole[:, 2:4])


@pytest.mark.parametrize("shape", [(3, 4, 2, 5), (2, 300, 1, 1), (2, 5, 40, 40)])
def test_the_sum_of_outer_products(shape):
    maps = nets.randn(*shape)
    rows = maps.double().permute(0, 2, 3, 1).flatten(0, 2)
    found = gram(maps)
    torch.testing.assert_close(found, rows.T @ rows)
    assert torch.equal(found, found.T)
