"""Second labels against other images' planes: counted against masks of pixels, merged, saved, refused."""

import numpy as np
import pytest
import torch

from dissect import ops
from dissect.dissection.decoys import side_by_side
from dissect.stats import AlsoNull

LABELS, AWAY = 5, torch.tensor([1, 3, 0, 3])


@pytest.fixture(scope="module")
def data():
    """Maps of the planes' size, own planes and those of two decoys; label 4 is in the even images alone, all over."""
    generator = torch.Generator().manual_seed(2)
    planes = torch.randint(0, 4, (3, 6, 2, 5, 7), generator=generator)
    planes[:, ::2, 1] = 4
    maps = torch.rand(6, 4, 5, 7, generator=generator)
    maps[:, 3] = 0.0  # dead
    return maps, *planes


def tally(data, batch=6):
    maps, own, *others = data
    found = AlsoNull(torch.full((4,), 0.5), AWAY, LABELS, 2)
    for part in torch.arange(len(maps)).split(batch):
        encoded = [ops.encode_labels(planes[part], LABELS) for planes in (own, *others)]
        found.add(maps[part], encoded[0], side_by_side(encoded[1:]))
    return found


def test_counts_are_those_of_masks(data):
    maps, own, *others = (part.numpy() for part in data)
    found = tally(data)
    for unit, first in enumerate(AWAY.tolist()):
        there = ~(own == first).any(1) if first else np.ones(maps[:, 0].shape, bool)
        fires = (maps[:, unit] > 0.5) & there
        assert int(found.left()[unit]) == fires.sum()
        for decoy, planes in enumerate(others):
            holds = [(planes == label).any(1) & there for label in range(1, LABELS) if label != first]
            scores = [(fires & mask).sum() / max(1, (fires | mask).sum()) for mask in holds]
            assert float(found.scores()[decoy, unit]) == max(scores)


def test_batches_merging_and_files(data, tmp_path):
    whole, maps = tally(data), data[0]
    halves = [tally([part[chosen] for part in data], 2) for chosen in (slice(0, 3), slice(3, 6))]
    halves[0].merge(halves[1])
    again = AlsoNull(torch.full((4,), 0.5), AWAY, LABELS, 2)
    again.load(whole.save(tmp_path / "state"))
    for other in (tally(data, 1), halves[0], again):
        for name, value in whole.state_dict().items():
            assert other.state_dict()[name] is value is None or torch.equal(other.state_dict()[name], value)
    with pytest.raises(ValueError, match="states to merge must agree, but their away differs"):
        whole.merge(AlsoNull(torch.full((4,), 0.5), AWAY.flip(0), LABELS, 2))
    with pytest.raises(ValueError, match="its first labels are this state's"):
        AlsoNull(torch.full((4,), 0.5), AWAY.flip(0), LABELS, 2).load(tmp_path / "state")
    with pytest.raises(
        ValueError, match=r"away and thresholds must be \[U\] of the same units, but got \[4\] and \[3\]"
    ):
        AlsoNull(torch.zeros(3), AWAY, LABELS, 2)
    labels = ops.encode_labels(data[1], LABELS)
    with pytest.raises(ValueError, match="own and others must be of 5 and 9 labels, but are of 5 and 5"):
        whole.add(maps, labels, labels)
