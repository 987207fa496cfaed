"""Rewriting a rule beside the published loop, written plainly; that both reach the same is asserted first.

A loss of distances tells signs alone, so that rounding sends two descents of large layers to weights that differ by
hundredths: the published loop in float32 is as far from itself in float64. What they reach differs by thousandths.

Times are of the processor: `--benchmark-enable`, which prints the whole descent's too.
"""

import time
from itertools import pairwise

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


def check(ours, wanted):
    """Neither the loss nor what other values moved by is worse, but for what rounding does."""
    assert all(one <= other * 1.003 for one, other in zip(ours, wanted)), (ours, wanted)


class Case:
    """A layer, a crop of 8x8 keys, and other values for them."""

    def __init__(self, channels, device="cpu"):
        generator = torch.Generator().manual_seed(0)
        self.model = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)).eval().to(device)
        self.memory = Memory(self.model, "0")
        self.memory.second_moment(self._maps(12, channels, generator), progress=False)
        self.keys = self.memory.keys(self._maps(1, channels, generator))
        other = self._maps(1, channels, generator)
        self.values = self.memory.values(self.keys) + 0.1 * other
        self.directions = self.memory.direction(self.keys)

    def _maps(self, count, channels, generator):
        return torch.randn(count, channels, 8, 8, generator=generator).to(self.model[0].weight.device)

    def plain(self, steps):
        layer = self.model[0]
        direction = self.directions.matrix.float().to(layer.weight.device)
        return published(self.keys.maps, self.values, layer.weight, layer.bias.detach(), direction, steps)

    def edit(self, steps, mode="projected", **more):
        return insert(self.memory, self.keys, self.values, self.directions, mode, steps=steps, progress=False, **more)

    @torch.no_grad()
    def told(self, weight):
        """The loss of a weight, and what it does to other keys: the root mean square of their values' change."""
        layer = self.model[0]
        loss = functional.l1_loss(functional.conv2d(self.keys.maps, weight, layer.bias, padding=1), self.values)
        change = (weight - layer.weight).permute(0, 2, 3, 1).flatten(0, 2).double()
        return float(loss), float((change @ self.memory.moment.moment.to(change) * change).sum().sqrt())


def test_projected_descent_of_rank_one(compare):
    case, steps = (Case(512), 100) if compare.enabled else (Case(16), 12)
    wanted, edit = case.plain(steps), case.edit(steps)
    check(case.told(edit.merged(case.model.state_dict())["0.weight"]), case.told(wanted))
    others = {"published": lambda: case.plain(steps), "Lambda alone": lambda: case.edit(steps, "lambda")}
    compare(lambda: case.edit(steps), others, per=steps, clock=time.process_time)


def test_the_whole_descent(request, capsys):
    """2,001 steps: no worse than the published loop in what it reaches, and in what it does to other keys."""
    case, steps = (Case(512), 2001) if request.config.getoption("benchmark_enable") else (Case(16), 101)
    times = [time.process_time()]
    plain = case.plain(steps)
    times.append(time.process_time())
    edit = case.edit(steps)
    times.append(time.process_time())
    seconds = [end - begin for begin, end in pairwise(times)]
    changed = edit.merged(case.model.state_dict())["0.weight"]
    (loss, collateral), (wanted, most) = case.told(changed), case.told(plain)
    with capsys.disabled():
        print(f"\nloss {loss:.6f}, published {wanted:.6f}; other values moved {collateral:.5f}, published {most:.5f}")
        print(f"{seconds[1]:.2f} s, published {seconds[0]:.2f} s: {seconds[0] / seconds[1]:.2f} times as fast")
    check((loss, collateral), (wanted, most))


def test_second_moment(compare):
    """Of 512 channels of 32x32 maps, beside the bare products in float64."""
    channels, count, side = (512, 64, 32) if compare.enabled else (8, 4, 4)
    model = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1)).eval()
    memory, images = Memory(model, "0"), torch.randn(count, channels, side, side)
    memory.keys(images[:1])
    rows = [part.transpose(0, 1).flatten(1).double() for part in images.split(32)]

    def bare():
        total = torch.zeros(channels, channels, dtype=torch.float64)
        for part in rows:
            total += part @ part.T
        return total / (count * side**2)

    def ours():
        return memory.second_moment(images, progress=False)

    torch.testing.assert_close(ours().moment, bare(), rtol=1e-12, atol=1e-12)
    compare(ours, {"bare products": bare}, per=count, clock=time.process_time)
