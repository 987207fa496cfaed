"""Rewriting a rule beside the published loop, written plainly; that both find the same weight is asserted first."""

import torch
from torch import nn
from torch.nn import functional

from dissect.rewriting import Memory, insert


def published(keys, values, weight, bias, direction, steps):
    """Adam over the whole weight of a 3x3 convolution, projected every ten steps and at last."""
    start = weight.detach().clone()
    current = start.clone().requires_grad_()
    adam = torch.optim.Adam([current], 0.05)
    for step in range(steps):
        loss = functional.l1_loss(functional.conv2d(keys, current, bias, padding=1), values)
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 10 == 0 or step == steps - 1:
            with torch.no_grad():
                along = torch.einsum("oihw,is,js->ojhw", current - start, direction, direction)
                current.copy_(start + along)
    return current.detach()


def test_projected_descent_of_rank_one(compare):
    channels, steps = (512, 100) if compare.enabled else (16, 12)
    model = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)).eval()
    memory = Memory(model, "0")
    memory.second_moment(torch.randn(12, channels, 8, 8), progress=False)
    keys = memory.keys(torch.randn(1, channels, 8, 8))
    values = memory.values(keys) + 0.1 * torch.randn(1, channels, 8, 8)
    directions = memory.direction(keys)

    def plain():
        layer = model[0]
        return published(
            keys.maps, values, layer.weight, layer.bias.detach(), directions.matrix.float(), steps
        )  # fmt: skip

    def ours(mode="projected"):
        return insert(memory, keys, values, directions, mode, steps=steps, progress=False)

    wanted = plain()
    with ours():
        torch.testing.assert_close(model[0].weight.detach(), wanted, atol=1e-3, rtol=0)
    compare(ours, {"published": plain, "Lambda alone": lambda: ours("lambda")}, per=steps)
