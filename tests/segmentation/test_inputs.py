"""A segmenter sees the images that it says it takes, whatever the data set gives; what is ambiguous is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import dissect
from dissect.data import ImageFolder
from dissect.segmentation import ImageInput, MergedSegmenter, fitted, store_labels
from dissect.segmentation.inputs import RangeWatch

QUICK = {"progress": False, "decoys": 0, "resamples": 0, "batch_size": 4}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Recorder(nn.Module):
    """A segmenter that keeps what it got, and calls bright what is beyond the middle of what it says it takes."""

    concepts = dissect.Concepts.of([("bright", "color")])

    def __init__(self, **said):
        super().__init__()
        self.got, self.middle = [], 0.0
        for name, value in said.items():
            setattr(self, name, value)
        if "input" in said:
            self.middle = (self.input.low + self.input.high) / 2

    def forward(self, images):
        self.got.append(images.clone())
        return (images.mean(1, keepdim=True) > self.middle).long()

    def scores(self, images, concept):
        return images.mean(1)


@pytest.fixture
def photos(tmp_path):
    random = np.random.default_rng(0)
    for number in range(9):
        Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()


def pixels_of(photos):
    plain = ImageFolder(photos, size=12, mean=(0, 0, 0), std=(1, 1, 1))
    return torch.stack([plain[number] for number in range(9)])


def normalised(pixels, mean, std):
    return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


@pytest.mark.parametrize("path", ["dissect", "sweep", "store", "statistics", "loader"])
@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"input": ImageInput()}, lambda pixels: pixels),
        ({"signed": False}, lambda pixels: pixels),
        ({"input": ImageInput(-1.0, 1.0)}, lambda pixels: pixels * 2 - 1),
        ({"input": ImageInput(0.0, 255.0)}, lambda pixels: pixels * 255),
        ({"input": ImageInput(mean=IMAGENET[0], std=IMAGENET[1])}, lambda pixels: normalised(pixels, *IMAGENET)),
        ({"input": ImageInput(size=(6, 6))}, lambda pixels: nn.functional.interpolate(
            pixels, (6, 6), mode="bilinear", antialias=True)),
    ],
)  # fmt: skip
def test_a_segmenter_gets_what_it_says_that_it_takes(photos, tmp_path, path, said, wanted):
    segmenter, images = Recorder(**said), ImageFolder(photos, size=12)
    if path == "dissect":
        dissect.dissect(model(), "2", images, segmenter=segmenter, fraction=0.1, **QUICK)
    elif path == "loader":
        loader = DataLoader(Subset(images, list(range(9))), batch_size=4)
        dissect.dissect(model(), "2", loader, segmenter=segmenter, fraction=0.1, **QUICK)
    elif path == "sweep":
        dissect.sweep(model(), "2", images, segmenter=segmenter, progress=False, batch_size=4)
    elif path == "store":
        store_labels(segmenter, images, tmp_path / "store", batch_size=4, progress=False)
    else:
        dissect.omissions.segmentation_statistics(images, segmenter, count=9, batch_size=9, progress=False)
    got = torch.cat(segmenter.got)
    assert len(got) % 9 == 0
    torch.testing.assert_close(got[:9], wanted(pixels_of(photos)), atol=3e-5, rtol=1e-5)


def test_what_is_done_is_told_and_the_numbers_are_those_of_planes_made_beforehand(photos):
    segmenter, images = Recorder(input=ImageInput(0.0, 1.0)), ImageFolder(photos, size=12)
    found = dissect.dissect(model(), "2", images, segmenter=segmenter, fraction=0.1, **QUICK)
    assert found.settings["segmenter_sees"] == f"normalised by {[*IMAGENET[0]]} and {[*IMAGENET[1]]} to [0, 1]"
    pixels = pixels_of(photos)
    planes = TensorDataset(torch.stack([images[number] for number in range(9)]), segmenter(pixels))
    expected = dissect.dissect(model(), "2", planes, concepts=segmenter.concepts, fraction=0.1, **QUICK)
    assert torch.equal(found["2"].intersection, expected["2"].intersection)
    assert "segmenter_sees" not in expected.settings


def test_a_generators_images_are_brought_to_what_a_segmenter_takes():
    generator = nn.Sequential(nn.Conv2d(4, 3, 3, padding=1), nn.Tanh()).eval()
    z = torch.randn(9, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = generator(z)
    kinds = [(Recorder(), made), (Recorder(signed=True), made), (Recorder(signed=False), made / 2 + 0.5),
             (Recorder(input=ImageInput(0.0, 255.0)), (made + 1) * 127.5)]  # fmt: skip
    for segmenter, wanted in kinds:
        found = dissect.dissect(generator, "0", z, segmenter=segmenter, segment="output", fraction=0.1, **QUICK)
        torch.testing.assert_close(torch.cat(segmenter.got)[:9], wanted, atol=3e-5, rtol=1e-5)
        assert ("segmenter_sees" in found.settings) == (wanted is not made)


def test_one_that_says_nothing_gets_the_models_images_and_it_is_told(photos):
    segmenter, images = Recorder(), ImageFolder(photos, size=12)
    with pytest.warns(UserWarning, match="does not say which images it takes, and is given the model's, normalised"):
        dissect.dissect(model(), "2", images, segmenter=segmenter, fraction=0.1, **QUICK)
    torch.testing.assert_close(torch.cat(segmenter.got)[:9], torch.stack([images[number] for number in range(9)]))


@pytest.mark.filterwarnings("ignore:.*images must be in")
def test_what_is_ambiguous_is_refused(photos):
    images = ImageFolder(photos, size=12)
    other = Recorder(input=ImageInput(mean=(0.5, 0.5, 0.5), std=(0.5, 0.4, 0.5)))
    with pytest.raises(ValueError, match="must take images that are normalised as the model's are"):
        dissect.dissect(model(), "2", images, segmenter=other, **QUICK)
    bare = torch.stack([images[number] for number in range(9)])
    with pytest.raises(ValueError, match=r"images must lie in \[0, 1\]"):
        dissect.dissect(model(), "2", bare, segmenter=Recorder(signed=False), **QUICK)
    pixels = pixels_of(photos)
    for said in ({"signed": True}, {"input": ImageInput(0.0, 255.0)}, {"input": ImageInput(-2.0, 2.0)}):
        with pytest.raises(ValueError, match="images must be"):
            dissect.dissect(model(), "2", pixels, segmenter=Recorder(**said), **QUICK)
    changing = DataLoader(ImageFolder(photos, size=12, mean=(0, 0, 0), std=(1, 1, 1)), batch_size=9,
                          collate_fn=lambda items: torch.stack(items) * 2 - 1)  # fmt: skip
    with pytest.raises(ValueError, match=r"images must lie in \[0, 1\]"):  # what the folder says is not believed
        dissect.dissect(model(), "2", changing, segmenter=Recorder(signed=False), **QUICK)
    random = Recorder(signed=False, drop=nn.Dropout())
    with pytest.raises(ValueError, match="segmenter must be in evaluation mode"):
        dissect.dissect(model(), "2", images, segmenter=random, **QUICK)


def test_fitted_and_merged_segmenters_are_not_converted_twice(photos):
    images, inner = ImageFolder(photos, size=12), Recorder(input=ImageInput())
    for segmenter in (fitted(inner, mean=IMAGENET[0], std=IMAGENET[1]),
                      MergedSegmenter([fitted(inner, mean=IMAGENET[0], std=IMAGENET[1])]), MergedSegmenter([inner]),
                      fitted(inner, low=-1)):  # fmt: skip
        inner.got.clear()
        dissect.dissect(model(), "2", images, segmenter=segmenter, fraction=0.1, **QUICK)
        torch.testing.assert_close(torch.cat(inner.got)[:9], pixels_of(photos), atol=3e-5, rtol=1e-5)


def test_means_of_bytes_are_refused(photos):
    for mean, std in (((123.7, 116.3, 103.5), (1, 1, 1)), ((0.5,), (0.5,)), ((0.5, 0.5, 0.5), (0.5, 0, 0.5))):
        with pytest.raises(ValueError, match="mean and std must be three numbers each, of channels in"):
            ImageFolder(photos, mean=mean, std=std)
    with pytest.raises(ValueError, match="mean and std must be"):
        ImageInput(mean=(0.5,), std=(0.5,))
    with pytest.raises(ValueError, match="without low and high"):
        ImageInput(-1.0, 1.0, mean=IMAGENET[0], std=IMAGENET[1])
    assert ImageInput(mean=(0.5,) * 3, std=(0.5,) * 3) == ImageInput(-1.0, 1.0)


def test_only_the_first_images_are_looked_at():
    watch = RangeWatch(ImageInput())
    watch.see(torch.rand(8, 3, 2, 2))
    watch.see(torch.full((1, 3, 2, 2), 9.0))
    with pytest.raises(TypeError, match="images must be floats"):
        watch.see(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
