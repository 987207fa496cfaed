"""dissect(): what is told, and when."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from small_dissection import Counting, Scenes, network, run, same
from torch import nn
from torch.utils.data import DataLoader

import dissect


def test_errors():
    scenes = Scenes()
    with pytest.raises(ValueError, match=r"^dissect: resamples must be at least 2, .* or 0 for none, but is 1"):
        run(resamples=1)
    with pytest.raises(TypeError, match=r"layers must be names, .* but 4 of them are no text but Tensor\.$"):
        dissect.dissect(nn.ReLU(), torch.zeros(4, 1, 2, 2), "0")
    with pytest.raises(KeyError, match="no layer '9'"):
        run(layers="9")
    with pytest.raises(ValueError, match=r"label planes must come .* batch 0, since there are names .* segmenter="):
        run(images=scenes.images, concepts=["a", "b"])
    with pytest.raises(ValueError, match=r"planes of batch 0 must have shape .* \[21\], a number per image"):
        run(images=[(scenes.images, torch.arange(21))])
    half = [(scenes.images[:5], scenes.planes[:5]), scenes.images[5:]]
    with pytest.raises(ValueError, match=r"label planes must come with the images of batch 1, since those of batches"):
        run(images=half)
    with pytest.raises(ValueError, match=r"planes must come with all images or with none, but batch 1 has some"):
        run(images=[scenes.images[5:], half[0]])
    with pytest.raises(ValueError, match=r"planes must hold labels below 3 .* but hold 4"):
        run(images=[(scenes.images, scenes.planes)], concepts=["a", "b"])
    with pytest.raises(ValueError, match=r"planes of batch 0 must have shape \[N, K, H, W\] with N=21"):
        run(images=[(scenes.images, scenes.planes[0])])
    with pytest.raises(ValueError, match="must hold at least one batch"):
        run(images=[])
    with pytest.raises(TypeError, match="images must be a Dataset, a tensor or an iterable of batches, but got int"):
        run(images=3)
    with pytest.raises(ValueError, match="the DataLoader shuffles"):
        run(images=DataLoader(scenes, shuffle=True))
    with pytest.raises(ValueError, match="but got a generator that is used up"):
        run(images=(b for b in [(scenes.images, scenes.planes)]), memory_budget=0)
    broken = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()).eval()
    with pytest.raises(ValueError, match=r"layer '1' must give maps .*, but gave \[5, 512\].*: dissect them without"):
        dissect.dissect(broken, "1", Scenes(), batch_size=5, progress=False)
    with pytest.raises(ValueError, match=r"batch 0 of visit 0: .* unit 0"):
        run(images=[(scenes.images * float("nan"), scenes.planes)])


@pytest.mark.parametrize("given", [torch.uint8, torch.float64, torch.bfloat16])
def test_images_of_another_type_than_the_weights(given):
    scenes = Scenes()
    told = rf"^dissect: images must be of the type .*, float32 as its weights, but are {str(given)[6:]} .*torch.float32"
    with pytest.raises(TypeError, match=told):
        run(images=[((scenes.images * 255).to(given), scenes.planes)])


class Twice(nn.Module):
    """Runs its ReLU before and after its convolution."""

    def __init__(self):
        super().__init__()
        self.relu, self.conv = nn.ReLU(), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        return self.relu(self.conv(self.relu(x)))


@pytest.mark.parametrize("layers", ["relu", ["relu", "conv"]])
def test_a_layer_that_runs_twice_is_told_though_passes_stop_early(layers):
    with pytest.raises(RuntimeError, match="layer 'relu' ran twice in one forward pass"):
        dissect.dissect(Twice().eval(), layers, Scenes(), progress=False)
    assert dissect.dissect(Twice().eval(), "conv", Scenes(), progress=False)["conv"].num_units == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detector_iou": 1.5}, r"detector_iou must be from 0 to 1, but got 1\.5"),
        ({"detector_iou": "high"}, "detector_iou must be a number such as 0.01, but got 'high'"),
        (
            {"fraction": Fraction(1, 3)},
            "fraction must be a number that a float is written as, but Fraction.1, 3. is not",
        ),
        ({"top_images": 0}, "top_images must be at least 1, but got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, but got 0"),
        ({"memory_budget": -1}, "memory_budget must be a number of bytes, 0 or more, but is -1"),
        ({"disk_budget": -1}, "disk_budget must be a number of bytes, 0 or more, but is -1"),
        ({"tokens": (0, 4)}, r"tokens must be the \(h, w\) of a grid of at least one token, but got \(0, 4\)"),
        ({"fraction": 1.0}, r"fraction must lie strictly between 0 and 1, but got 1\.0"),
        ({"positions": "cell"}, r"positions must be one of \('pixel', 'feature'\), but got 'cell'"),
        ({"border": "mirror"}, r"border must be one of \('edge', 'zeros'\), but got 'mirror'"),
        ({"scope": "some"}, r"scope must be one of \('all', 'category'\), but got 'some'"),
        ({"preset": "cvpr2017"}, "preset must be one of .*, but got 'cvpr2017'"),
        ({"layers": ["1", "1"]}, r"layers must name each layer once, but got \['1', '1'\]"),
    ],
)
def test_options_that_break_the_rules_are_told_before_the_work(options, message):
    with pytest.raises(ValueError, match=message):
        run(images=(pytest.fail("an image was asked for") for _ in range(1)), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_images": 2.5}, r"top_images must be an integer, but got 2\.5"),
        ({"batch_size": "5"}, "batch_size must be an integer, but got '5'"),
        ({"tokens": (1.5, 2)}, r"tokens must be the \(h, w\) of a grid, two integers, but got \(1\.5, 2\)"),
        ({"tokens": 14}, "tokens must be the .* two integers, but got 14"),
    ],
)
def test_options_of_another_type_are_told_before_the_work(options, message):
    with pytest.raises(TypeError, match=message):
        run(images=(pytest.fail("an image was asked for") for _ in range(1)), **options)


def test_numbers_of_numpy_are_numbers(tmp_path):
    options = {"detector_iou": np.float32(0.04), "top_images": np.int64(2), "fraction": np.float32(0.05)}
    found = run(**options)
    assert (found.settings["detector_iou"], found.settings["fraction"]) == (0.04, 0.05)
    found.save(tmp_path / "found")

    model = nn.Sequential(nn.Flatten(2), nn.Linear(256, 16)).eval()

    def tokens(**options):
        return dissect.dissect(model, "1", Scenes(), progress=False, fraction=0.05, **options)

    same(tokens(tokens=np.array([1, 3])), tokens(tokens=(1, 3)))


@pytest.mark.parametrize(
    "pictures", [lambda images: images, lambda images: images.byte()[:1], lambda images: images.byte()[:, :2], len]
)
def test_pictures_that_are_none(pictures):
    with pytest.raises(ValueError, match=r"pictures must give uint8 \[5, 3, H, W\] of so many images, but gave"):
        run(pictures=pictures)


def test_pictures_are_never_asked_of_no_images():
    run(pictures=lambda images: (images / images.max() * 255).byte(), top_images=1)


def test_a_segmenter_keeps_no_graph():
    weight = torch.ones(1, 3, 1, 1, requires_grad=True)

    def segmenter(images):
        found = nn.functional.conv2d(images, weight)
        assert not found.requires_grad
        return found.long()

    run(images=Scenes().images, segmenter=segmenter, concepts=["a", "b", "c", "d"])


def test_planes_that_are_no_labels():
    images, planes = Scenes().images[:5], Scenes().planes[:5]
    with pytest.raises(ValueError, match="batch of image 0: planes must hold labels from 0 on, but hold -1"):
        run(images=[(images, planes - 1)])
    with pytest.raises(TypeError, match=r"planes of batch 0 must be a tensor of one of .*, but got torch\.float32"):
        run(images=[(images, planes.float())])
    with pytest.raises(ValueError, match=r"planes of batch 0 must have shape \[N, K, H, W\] with N=5 and K from 1 on"):
        run(images=[(images, planes[:, :0])])
    with pytest.raises(TypeError, match=r"planes of batch 0 must be a tensor of one of .*, but got list"):
        run(images=images, segmenter=lambda _: [0])


class Changing(Counting):
    """Another image at every visit, as of a data set that augments at random."""

    def __getitem__(self, index):
        image, planes = super().__getitem__(index)
        return image + (self.asked > 21 and index == 13) * 0.1, planes


def test_images_that_change_between_visits_are_told():
    with pytest.raises(ValueError, match="must be the same at every visit, but those of batch 2 have changed"):
        run(images=Changing(), memory_budget=0)


class Uneven(Scenes):
    def __getitem__(self, index):
        return self.images[index][:, index == 3 :], self.planes[index]


def test_images_of_different_sizes_are_told():
    scenes = Scenes()
    with pytest.raises(ValueError, match="must all have one size, but a batch holds"):
        run(images=Uneven())
    with pytest.raises(ValueError, match=r"image 5 has \[3, 16, 15\] and those before it \[3, 16, 16\]"):
        run(images=[(scenes.images[:5], scenes.planes[:5]), (scenes.images[:5, :, :, 1:], scenes.planes[:5])])
    with pytest.raises(ValueError, match=r"layer '1', batch of image 5"):
        run(images=[(scenes.images[:5], scenes.planes[:5]), (scenes.images[5:7], scenes.planes[5:7, :, 1:])])


class Noisy(nn.Module):
    """Another output at every call."""

    def forward(self, x):
        return x + 1e-3 * torch.randn_like(x)


class Unitless(nn.Module):
    """Maps of no units."""

    def forward(self, x):
        return x[:, :0]


class InPlace(nn.Module):
    """Normalises the images where they are."""

    def forward(self, x):
        return x.sub_(0.5)


def test_a_network_that_changes_its_mind_is_told_and_so_is_one_that_changes_its_images():
    options = {"batch_size": 5, "fraction": 0.05, "progress": False}
    with pytest.raises(ValueError, match=r"layer '0': visit \d+ must see the activations of the visits"):
        dissect.dissect(nn.Sequential(Noisy()), "0", Scenes(), memory_budget=0, **options)
    with pytest.raises(ValueError, match="model must leave its images as they are"):
        dissect.dissect(nn.Sequential(InPlace()), "0", Scenes(), **options)


def test_inputs_and_layers_that_cannot_be_dissected_are_told():
    options = {"batch_size": 5, "fraction": 0.05, "progress": False}
    with pytest.raises(ValueError, match=r"images must be batches \[N, C, H, W\], but batch 0 is \[5, 4\]"):
        dissect.dissect(nn.Sequential(nn.Linear(4, 4)), "0", torch.zeros(21, 4), segmenter=lambda z: z, **options)
    with pytest.raises(ValueError, match="layer '0' must have at least one unit"):
        dissect.dissect(nn.Sequential(Unitless()), "0", Scenes(), **options)
    empty = [(Scenes().images[:2], Scenes().planes[:2]), (Scenes().images[:0], Scenes().planes[:0])]
    with pytest.raises(ValueError, match="batch 1 has none"):
        dissect.dissect(network(), "1", empty, fraction=0.05, progress=False)
    planes = torch.full((1, 1, 16, 16), 2**31)
    with pytest.raises(ValueError, match=r"planes must hold labels below 2\^31, but hold 2147483648"):
        dissect.dissect(network(), "1", [(Scenes().images[:1], planes)], progress=False)
    with pytest.warns(UserWarning, match="a fraction of 0.001 of 256 samples is less than one"):
        dissect.dissect(network(), "1", [(Scenes().images[:1], Scenes().planes[:1])], fraction=0.001, progress=False)


class DropPath(nn.Module):
    """As there are many, by many names."""

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    "part", [nn.BatchNorm2d(2), nn.Dropout(), nn.RReLU(), DropPath(), nn.MultiheadAttention(2, 1, dropout=0.1)]
)
def test_training_mode_is_told(part):
    model = nn.Sequential(nn.Conv2d(3, 2, 1), part).train()
    dissect.dissect(model.eval(), "0", Scenes(), progress=False)
    dissect.dissect(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()).train(), "0", Scenes(), progress=False)
    model.train()
    with pytest.warns(UserWarning, match="the model is in training mode"):
        dissect.dissect(model, "0", Scenes(), progress=False)
