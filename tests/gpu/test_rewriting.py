"""A projected descent on a GPU, of which most steps are replayed, beside one whose steps are all queued."""

import pytest
import torch
from rewriting import nets

from dissect.rewriting import Memory, insert


@pytest.mark.parametrize("kind", ["convolution", "stylegan2"])
def test_replayed_steps_are_those_that_are_queued(kind, device, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    if kind == "stylegan2":
        model, layer, inputs = nets.stylegan2(), "layer5", nets.z_of(nets.stylegan2(), 16)
        inputs = tuple(part.to(device) for part in inputs)
        first = tuple(part[:2] for part in inputs)
    else:
        model, layer, inputs = nets.one(nets.LAYERS["conv"][0]()), "0", nets.randn(30, 4, 6, 5).to(device)
        first = inputs[:2]
    memory = Memory(model.to(device), layer)
    memory.second_moment(inputs, progress=False)
    keys = memory.keys(first)
    wanted = memory.values(keys)
    values = wanted + nets.randn(*wanted.shape, seed=9).to(device)
    directions = memory.direction(keys, 1)
    for steps, every in ((1, 10), (8, 10), (57, 10), (6, 1)):
        options = {"steps": steps, "every": every, "progress": False}
        replayed = insert(memory, keys, values, directions, **options)
        queued = insert(memory, keys, values, directions, watch=lambda *_: None, **options)
        torch.testing.assert_close(replayed.losses, queued.losses, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(replayed.lambdas, queued.lambdas, atol=1e-3, rtol=1e-2)
        assert len(replayed.losses) == steps
