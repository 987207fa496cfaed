"""The row space of an edit: by a plain eigen solve, by hand for units, and what it refuses."""

import pytest
import torch
from rewriting import nets
from torch import nn

from dissect.rewriting import Directions, Memory
from dissect.rewriting.directions import area


def known(count=60, channels=5):
    """A memory whose moment is known, and keys."""
    memory = Memory(nets.one(nn.Conv2d(channels, 3, 1)), "0")
    mixed = nets.randn(count, channels, 2, 2) * torch.arange(1.0, channels + 1)[:, None, None]
    memory.second_moment(mixed + 0.5, progress=False)
    return memory


def plain_zca(memory, rows, weights, rank):
    """B.5 to B.16, one line each."""
    values, vectors = torch.linalg.eigh(memory.moment.moment)
    z = vectors @ torch.diag(values**-0.5) @ vectors.T
    whitened = torch.stack([w * (z @ k.double()) for w, k in zip(weights, rows)])
    best = torch.linalg.eigh(whitened.T @ whitened).eigenvectors.flip(1)[:, :rank]
    return torch.linalg.qr(z @ best).Q


def projector(matrix):
    return matrix @ matrix.T


@pytest.mark.parametrize("rank", [1, 3])
def test_zca_spans_what_the_paper_says(rank):
    memory, rows = known(), nets.randn(7, 5, seed=3)
    found = memory.direction(rows, rank)
    assert found.matrix.shape == (5, rank)
    torch.testing.assert_close(found.matrix.T @ found.matrix, torch.eye(rank).double())
    torch.testing.assert_close(projector(found.matrix), projector(plain_zca(memory, rows, torch.ones(7), rank)))
    assert (found.method, found.keys, found.rank) == ("zca", 7, rank)


def test_one_key_gives_its_own_direction_by_all_but_units():
    memory, key = known(), nets.randn(1, 5, seed=4)
    wanted = memory.moment.inverse_times(key[0])
    for method in ("zca", "mean", "svd"):
        found = memory.direction(key, 1, method=method).matrix[:, 0]
        torch.testing.assert_close(found, wanted / wanted.norm())


def test_masks_weigh_keys_by_the_area_of_their_cells():
    memory = known()
    keys = memory.keys(nets.randn(2, 5, 2, 2, seed=5))
    masks = torch.zeros(2, 8, 8)
    masks[0, :4, :2], masks[1, 4:, 4:] = 1, 0.5  # half of a cell, and half of each pixel of another
    rows = torch.stack([keys.maps[0, :, 0, 0], keys.maps[1, :, 1, 1]])
    weights = torch.tensor([0.5, 0.5])
    for rank in (1, 2):
        found = memory.direction(keys, rank, masks=masks)
        assert found.keys == 2
        torch.testing.assert_close(projector(found.matrix), projector(plain_zca(memory, rows, weights, rank)))
    masks[1] *= 0.01
    mean = memory.direction(keys, masks=masks, method="mean").matrix[:, 0]
    own = memory.moment.inverse_times(rows[0] + 0.01 * rows[1])
    torch.testing.assert_close(mean, own / own.norm())
    assert area(masks, (8, 8)) is not None
    assert torch.equal(area(masks[:, :2, :2], (4, 4))[0], torch.ones(4, 4))


def test_units_are_those_with_the_largest_ratio():
    memory = Memory(nets.one(nn.Linear(3, 2)), "0")
    memory.second_moment(torch.diag(torch.tensor([1.0, 10.0, 100.0])), progress=False)
    found = memory.direction(torch.tensor([[1.0, 9.0, 9.0], [0.0, 3.0, 9.0]]), 2, method="units")
    assert found.units.tolist() == [0, 1]  # 1, (81 + 9) / 100 and 162 / 10000, each times 3
    torch.testing.assert_close(found.strengths, torch.tensor([3.0, 2.7]).double())
    assert repr(found) == "<Directions of rank 2 by 'units' of 2 keys, units [0, 1]>"


def test_refused():
    memory, keys = known(), nets.randn(2, 5, 2, 2)
    for call, text in {
        lambda: memory.direction(keys, 6): "rank must be at most 5 by 'zca', but is 6",
        lambda: memory.direction(keys[:1, :, :1], 3): "rank must be at most what the 2 keys span, 2, but is 3",
        lambda: memory.direction(keys, 2, method="mean"): "rank must be at most 1 by 'mean', but is 2",
        lambda: memory.direction(keys, method="pca"): "method must be one of",
        lambda: memory.direction(keys, masks=torch.zeros(2, 4, 4)): "masks must select something, but are 0 everywhere",
        lambda: memory.direction(keys, masks=torch.ones(1, 4, 4)): "masks must be one per image, 2, but are 1",
        lambda: memory.direction(keys, masks=torch.ones(4, 4)): r"masks must be a tensor \[n, H, W\]",
        lambda: memory.direction(keys, masks=torch.full((2, 4, 4), 2.0)): r"masks must be in \[0, 1\]",
        lambda: memory.direction(keys, masks=torch.full((2, 4, 4), torch.nan)): r"masks must be in \[0, 1\]",
        lambda: memory.direction(keys[:, :3]): r"\[n, i, h, w\] with i=5, but are \[2, 3, 2, 2\]",
        lambda: memory.direction(keys * torch.inf): "keys must be finite",
        lambda: Memory(memory.model, "0").direction(keys): "call memory.second_moment",
    }.items():
        with pytest.raises(ValueError, match=f"^Memory: .*{text}"):
            call()


def test_what_serves_as_directions():
    from dissect.rewriting.directions import orthonormal

    memory = known()
    given = torch.tensor([[2.0, 0, 0, 0, 0], [1.0, 1, 0, 0, 0]]).T
    found = orthonormal(memory, given)
    assert isinstance(found, Directions)
    torch.testing.assert_close(projector(found.matrix), torch.diag(torch.tensor([1.0, 1, 0, 0, 0])).double())
    assert float(found.matrix[0, 0]) == 1.0
    with pytest.raises(ValueError, match="independent of each other"):
        orthonormal(memory, given[:, [0, 0]])
    with pytest.raises(ValueError, match=r"a matrix \[i, S\] with i=5, but are"):
        orthonormal(memory, given[:4])


@pytest.mark.parametrize("method", ["zca", "mean", "svd"])
def test_keys_to_preserve_keep_their_values(method):
    memory, keys = known(), nets.randn(7, 5, seed=3)
    others = nets.randn(2, 5, seed=21).double()
    found = memory.direction(keys, method=method, preserve=others).matrix
    assert float((others @ found).abs().max()) < 1e-9
    moment = memory.moment.moment
    # Of all directions with D^T p = 0 and the same part of the mean key, that which disturbs other keys least.
    if method == "mean":
        key = keys.mean(0).double()
        inverse = torch.linalg.inv(moment)
        wanted = inverse @ key
        wanted -= inverse @ others.T @ torch.linalg.inv(others @ inverse @ others.T) @ others @ inverse @ key
        torch.testing.assert_close(found[:, 0], wanted / wanted.norm())


def test_keys_to_preserve_that_are_refused():
    memory, keys = known(), nets.randn(7, 5, seed=3)
    with pytest.raises(ValueError, match="preserve must leave a direction"):
        memory.direction(keys, preserve=nets.randn(9, 5))
    with pytest.raises(ValueError, match="keys must differ from those to preserve"):
        memory.direction(keys[:1], preserve=keys[:1])
    with pytest.raises(ValueError, match="preserve must not be given for units"):
        memory.direction(keys, method="units", preserve=keys[:1])
