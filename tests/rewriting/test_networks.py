"""The same memory in networks that generate nothing: a class's rule, and a fact in a transformer's block."""

import torch
from rewriting import nets
from torch import nn

from dissect.rewriting import Memory, insert


def test_a_classifiers_rule_is_changed():
    """One image of a class is to be named as another, in the direction of 25: its class follows, others keep theirs."""
    centres = 3 * nets.randn(4, 16, seed=1)
    classes = torch.arange(400) % 4
    images = centres[classes] + nets.randn(400, 16, seed=2)
    model = nn.Sequential(nn.Linear(16, 32), nn.LeakyReLU(), nn.Linear(32, 4, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(nets.randn(32, 16, seed=3) / 4)
        hidden = model[:2](images)
        model[2].weight.copy_(torch.linalg.lstsq(hidden, torch.eye(4)[classes]).solution.T)
    named = model(images).argmax(1)
    assert float((named == classes).float().mean()) > 0.95
    memory = Memory(model, "2")
    memory.second_moment(images, progress=False)
    swapped = model(images[:1]).detach()[:, [3, 1, 2, 0]]
    keys = memory.keys(images[:1])
    context = memory.keys(images[:100:4])  # others of its class tell what is common to it
    edit = insert(memory, keys, swapped.T[None, :, None], memory.direction(context, method="mean"), "closed")
    with edit:
        after = model(images).argmax(1)
    assert (edit.rank, int(after[0])) == (1, 3)
    assert float((after[classes == 0] == 3).float().mean()) > 0.3
    assert float((after == named)[classes != 0].float().mean()) > 0.95
    assert torch.equal(model(images).argmax(1), named)


class Block(nn.Module):
    """A transformer's block over tokens [N, T, d], each step a module."""

    def __init__(self, width=8, hidden=24):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm, self.other = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x):
        seen = self.norm(x)
        x = x + self.attention(seen, seen, seen, need_weights=False)[0]
        return x + self.second(torch.relu(self.first(self.other(x))))


def test_a_fact_in_a_transformers_block():
    """As ROME: one token's hidden state is a key of the second linear layer, which gets another value."""
    torch.manual_seed(1)
    model = nn.Sequential(Block(), Block()).eval()
    tokens = nets.randn(40, 6, 8)
    memory = Memory(model, "1.second")
    moment = memory.second_moment(tokens, progress=False)
    assert moment.count == 240
    keys = memory.keys(tokens[:1])
    key = keys.maps[0, :, 0, 3][None]  # the fourth token
    value = memory.values(keys)[0, :, 0, 3][None] + 1
    before = model(tokens).detach()
    edit = insert(memory, key, value, memory.direction(key), "closed")
    with edit:
        after = model(tokens).detach()
    torch.testing.assert_close(after[0, 3], before[0, 3] + 1, atol=1e-4, rtol=0)
    change = (after - before).square().sum(2).flatten()
    assert float(change.median()) < 0.02 * float(change[3])
    assert edit.rank == 1
    # Along the key itself, and not C^-1 k, others would change more.
    naive = insert(memory, key, value, key.T.double(), "closed")
    with naive:
        worse = model(tokens).detach()
    assert float((worse - before).square().mean()) > 2 * float((after - before).square().mean())
