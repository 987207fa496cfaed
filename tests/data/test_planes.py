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


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_what_is_to_be_ignored_becomes_no_label(dtype):
    planes = torch.randint(0, 9, (4, 2, 12, 16)).to(dtype)
    marked = torch.where(planes == 0, 7, planes)
    marked[0, 0, 0, 0] = 9
    before = marked.clone()
    expected = torch.where((marked == 7) | (marked == 9), 0, marked)
    assert torch.equal(label_planes(marked, IMAGES, 0, (7, 9)), expected)
    assert torch.equal(marked, before)  # the caller's own


def test_labels_that_a_type_cannot_hold_are_in_no_plane():
    """Compared with uint8, -1 would be 255 and 256 would be 0."""
    planes = torch.tensor([0, 255, 1, 2], dtype=torch.uint8).view(1, 1, 2, 2)
    assert torch.equal(label_planes(planes, torch.zeros(1, 3, 2, 2), 0, (-1, 256, 257, 1 << 70)), planes)
    signed = planes.to(torch.int16) - 1
    assert label_planes(signed, torch.zeros(1, 3, 2, 2), 0, (-1,)).flatten().tolist() == [0, 254, 0, 1]


def test_masks_with_a_border_are_masks():
    one_hot = torch.nn.functional.one_hot(torch.randint(0, 5, (4, 12, 16)), 5).movedim(3, 1).clone()
    one_hot[:, :, 0] = 255
    with pytest.raises(ValueError, match="as masks do"):
        label_planes(one_hot, IMAGES, 0, (255,))


class Halves:
    """A segmenter whose planes say 255 where it does not know."""

    concepts = ("left", "top")

    def __call__(self, images):
        planes = torch.zeros(len(images), 2, *images.shape[2:], dtype=torch.uint8)
        planes[:, 0, :, :8], planes[:, 1, :6] = 1, 2
        planes[:, :, 4:8] = 255
        return planes


def known(planes):
    return torch.where(planes == 255, 0, planes)


def test_a_dissection_ignores_labels_of_images_and_of_segmenters(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1)).eval()
    images, options = torch.rand(4, 3, 12, 16), {"fraction": 0.1, "progress": False}
    planes = Halves()(images)
    expected = dissect.dissect(model, "0", [(images, known(planes))], concepts=Halves.concepts, **options)
    results = [
        dissect.dissect(model, "0", [(images, planes)], concepts=Halves.concepts, ignore=255, **options),
        dissect.dissect(model, "0", [(images, planes)], ignore=[255, -1], **options),  # labels by their numbers
        dissect.dissect(model, "0", [images], segmenter=Halves(), ignore=[255], **options),
    ]
    for found in results:
        assert torch.equal(found["0"].intersection, expected["0"].intersection)
        assert torch.equal(found["0"].label_area, expected["0"].label_area)
    assert [found.settings.get("ignore") for found in (expected, *results)] == [None, [255], [-1, 255], [255]]
    with pytest.raises(ValueError, match="255"):
        dissect.dissect(model, "0", [(images, planes)], concepts=Halves.concepts, **options)


def test_what_the_concepts_name_cannot_be_ignored(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1)).eval()
    images, options = torch.rand(4, 3, 12, 16), {"fraction": 0.1, "progress": False}
    batches = [(images, torch.randint(0, 3, (4, 1, 12, 16)))]
    with pytest.raises(ValueError, match=r"ignore must be labels .* but concepts calls label 2 'top'; leave the one"):
        dissect.dissect(model, "0", batches, concepts=["left", "top"], ignore=[2], **options)
    for names in (["left", "void"], {1: "left", 3: "right"}, {0: "background", 1: "left", 2: "Ignore"}):
        found = dissect.dissect(model, "0", batches, concepts=names, ignore=2, **options)
        assert int(found["0"].label_area[2]) == 0
    for wrong in ("2", 1.5, [None]):
        with pytest.raises(TypeError, match="ignore must be a label or several, integers, but got"):
            dissect.dissect(model, "0", batches, ignore=wrong, **options)


def test_a_run_that_ignores_other_labels_is_another(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1)).eval()
    images = torch.rand(4, 3, 12, 16)
    batches = [(images, torch.randint(0, 3, (4, 1, 12, 16)))]
    options = {"fraction": 0.1, "progress": False, "resume": tmp_path}
    first = dissect.dissect(model, "0", batches, ignore=2, **options)
    assert torch.equal(dissect.dissect(model, "0", batches, ignore=[2], **options)["0"].iou, first["0"].iou)
    for ignore in ((), 1, [1, 2]):
        with pytest.raises(ValueError, match="a folder whose run had the same options"):
            dissect.dissect(model, "0", batches, ignore=ignore, **options)


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
