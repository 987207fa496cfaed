"""Label planes of a batch: what they are is certain, or they are refused."""

import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split

import dissect
from dissect.data import Batches
from dissect.data.batches import attribute_of
from dissect.data.planes import label_planes

IMAGES = torch.zeros(4, 3, 12, 16)


def test_what_is_certain():
    planes = torch.randint(0, 9, (4, 12, 16))
    assert torch.equal(label_planes(planes, IMAGES, 0), planes[:, None])
    assert torch.equal(label_planes(planes[:, ::2, ::2], IMAGES, 0), planes[:, None, ::2, ::2])
    several = torch.randint(0, 9, (4, 2, 12, 16))
    assert label_planes(several, IMAGES, 0) is several
    flags = planes > 4
    found = label_planes(flags, IMAGES, 0)
    assert torch.equal(found, flags[:, None])
    assert found.dtype == torch.uint8


@pytest.mark.parametrize("shape", [(12, 16), (3, 12, 16), (4, 16, 12), (4, 1, 1, 12, 16)])
def test_what_is_not_certain_stays_as_it_is_and_is_refused_later(shape):
    planes = torch.zeros(shape, dtype=torch.uint8)
    assert label_planes(planes, IMAGES, 0) is planes


@pytest.mark.parametrize("last", [1, 2, 5])
def test_labels_that_come_last_are_refused(last):
    with pytest.raises(ValueError, match=rf"of batch 7 must have shape .* \[4, 12, 16, {last}\] are \[N, H, W, K\]"):
        label_planes(torch.zeros(4, 12, 16, last, dtype=torch.uint8), IMAGES, 7)


def test_masks_are_refused():
    labels = torch.randint(0, 5, (4, 12, 16))
    one_hot = torch.nn.functional.one_hot(labels, 5).movedim(3, 1)
    for masks in (one_hot, one_hot[:, 1:], one_hot.bool(), one_hot.to(torch.uint8)):
        with pytest.raises(ValueError, match=r"the [45] of batch 0 hold only 0 and 1, as masks do"):
            label_planes(masks, IMAGES, 0)
    with pytest.raises(ValueError, match="as masks do"):  # though they overlap
        label_planes(torch.ones(4, 3, 12, 16, dtype=torch.bool), IMAGES, 0)
    for planes in (one_hot * 3, one_hot[:, :1], (labels[:, None] == torch.tensor([1, 9])[:, None, None]).long()):
        assert torch.equal(label_planes(planes, IMAGES, 0), planes)


def test_planes_without_an_axis_count_the_same():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1)).eval()
    images, planes = torch.rand(4, 3, 12, 16), torch.randint(0, 5, (4, 12, 16))
    one, other = (
        dissect.dissect(model, "0", [(images, given)], fraction=0.1, progress=False)["0"]
        for given in (planes, planes[:, None])
    )
    assert torch.equal(one.intersection, other.intersection)
    with pytest.raises(ValueError, match=r"are \[N, H, W, K\] beside images of \[12, 16\]"):
        dissect.dissect(model, "0", [(images, planes[..., None])], progress=False)


class Named(TensorDataset):
    concepts = ("sky", "tree")
    classes = ("a", "b")

    def fingerprint(self):
        return "mine"

    def to_pictures(self, images):
        return images


def test_names_and_colours_through_what_stands_around_a_data_set():
    data = Named(torch.rand(6, 3, 4, 4))
    around = [
        Subset(data, [1, 2]),
        DataLoader(data),
        DataLoader(Subset(Subset(data, range(4)), [0, 2])),
        *random_split(data, [2, 4]),
    ]
    for one in around:
        assert attribute_of(one, "concepts") is data.concepts
        assert attribute_of(one, "classes") is data.classes
        assert attribute_of(one, "to_pictures") == data.to_pictures
        assert attribute_of(one, "nothing") is None
    own = Subset(data, [1])
    own.concepts = ["sea"]
    assert attribute_of(DataLoader(own), "concepts") == ["sea"]


def test_the_fingerprint_is_that_of_the_part():
    data = Named(torch.rand(6, 3, 4, 4))
    parts = [data, Subset(data, [1, 2]), Subset(data, [2, 1]), DataLoader(data, 2), DataLoader(data, 3)]
    found = [Batches(part).identity()[1] for part in parts]
    assert found[0] == "mine"
    assert len(set(found)) == 5
    assert found[1] == Batches(Subset(data, range(1, 3))).identity()[1]
    assert Batches(Subset(TensorDataset(torch.rand(2, 3, 4, 4)), [0])).identity()[1] is None
