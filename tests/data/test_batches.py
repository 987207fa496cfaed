"""Batches: the same batches at every visit."""

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from dissect.data import Batches


def numbers(batches):
    return [batch.numbers.tolist() for batch in batches]


def test_tensors_datasets_and_lists_number_alike():
    images, planes = torch.rand(5, 3, 2, 2), torch.zeros(5, 1, 2, 2, dtype=torch.int64)
    sources = [
        Batches(TensorDataset(images, planes), 2),
        Batches(DataLoader(TensorDataset(images, planes), batch_size=2)),
        Batches([(images[i : i + 2], planes[i : i + 2]) for i in (0, 2, 4)]),
    ]
    for batches in sources:
        for _ in range(2):
            seen = list(batches)
            assert numbers(seen) == [[0, 1], [2, 3], [4]]
            assert torch.equal(torch.cat([batch.images for batch in seen]), images)
            assert torch.equal(torch.cat([batch.planes for batch in seen]), planes)
    assert all(batch.planes is None for batch in Batches(images))


def test_iterable_datasets():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(torch.rand(3, 3, 2, 2))

    assert numbers(Batches(Stream(), 2)) == [[0, 1], [2]]


def test_a_generator_serves_once():
    batches = Batches(image for image in torch.rand(2, 4, 3, 2, 2))
    assert numbers(batches) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(ValueError, match="used up"):
        list(batches)


def test_errors():
    with pytest.raises(TypeError, match="a batch of images must be a tensor or"):
        list(Batches(["picture.png"]))
    array = torch.zeros(2, 3, 4, 4).numpy()
    with pytest.raises(TypeError, match=r"the images of batch 0 came as ndarray; torch\.from_numpy makes a tensor"):
        list(Batches([(array, torch.zeros(2, 1, 4, 4).long())]))
    rows = [{"pixel_values": torch.zeros(2, 3, 4, 4), "labels": torch.zeros(2, 1, 4, 4).long()}]
    with pytest.raises(TypeError, match=r"came as dict; give .* \[\(batch\['pixel_values'\], batch\['labels'\]\) for"):
        list(Batches(rows))
    with pytest.raises(TypeError, match=r"got the str 'photos'; dissect\.data\.ImageFolder reads a folder"):
        Batches("photos")


def test_a_pair_that_is_no_list_of_batches():
    images, planes = torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4).long()
    with pytest.raises(TypeError, match=r"pass a list of batches: \[\(images, planes\)\]"):
        Batches((images, planes))
    assert len(Batches((images, images))) == 2  # two batches of images
    assert len(Batches([(images, planes)])) == 1
