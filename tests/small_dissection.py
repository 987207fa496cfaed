"""A small network and small images, dissected in a moment, for the tests of the whole way."""

import seeding
import torch
from torch import nn
from torch.utils.data import Dataset

import dissect

CONCEPTS = [("sky", "object"), ("tree", "object"), ("green", "color"), ("street", "scene")]


class Scenes(Dataset):
    """Random images whose planes follow from their colours."""

    concepts = CONCEPTS

    def __init__(self, count=21):
        generator = torch.Generator().manual_seed(1)
        self.images = torch.rand(count, 3, 16, 16, generator=generator)
        objects = (self.images[:, 0] > 0.5).long() + (self.images[:, 1] > 0.7).long()
        self.planes = torch.stack([objects, 3 * (self.images[:, 1] > 0.6), torch.full_like(objects, 4)], 1)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], self.planes[index]


class Counting(Scenes):
    """Counts how often an image is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def __getitem__(self, index):
        self.asked += 1
        return super().__getitem__(index)


def network():
    seeding.seed(3)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(8, 6, 3, padding=1)]
    return nn.Sequential(*layers).eval()


def run(**options):
    options = {"batch_size": 5, "fraction": 0.05, "progress": False, **options}
    model, layers = options.pop("model", None) or network(), options.pop("layers", ["1", "3"])
    return dissect.dissect(model, layers, options.pop("images", Scenes()), **options)


def same(one, other):
    for name in one.layers:
        for field in ("thresholds", "intersection", "unit_area", "label_area", "peaks", "peak_images", "peak_maps"):
            assert torch.equal(getattr(one[name], field), getattr(other[name], field)), (name, field)
        for part in ("sample", "evidence"):
            mine, others = getattr(one[name], part), getattr(other[name], part)
            assert (mine is None) == (others is None), (name, part)
            for field, value in vars(mine).items() if mine is not None else ():
                if isinstance(value, torch.Tensor):
                    assert torch.allclose(value, getattr(others, field), 0, 0, equal_nan=True), (name, part, field)
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.image_numbers, other.image_numbers)
    assert torch.equal(one.image_labels, other.image_labels)
    assert one.concepts == other.concepts
    assert _told(one) == _told(other)


def _told(result):
    """The settings, but for the kind of object that the images came in."""
    return result.settings | {"provenance": result.settings["provenance"] | {"images": ""}}
