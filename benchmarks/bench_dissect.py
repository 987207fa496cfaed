"""dissect() against the forward passes that it needs, on a network of VGG-16's size; equality asserted first."""

import numpy as np
import pytest
import torch
from workload import NUM_LABELS, label_planes

import dissect
from dissect import tiny
from dissect.models import VGG
from dissect.reference import upsample

BATCH = 8

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")
CONVOLUTIONS = [
    f"features.conv{block}_{n}" for block, depth in enumerate((2, 2, 3, 3, 3), 1) for n in range(1, depth + 1)
]


class Job:
    """Images and label planes, in memory, and a network with random weights.

    Args:
        full: as large as VGG-16, else small, to see that it works.
        kind: "scenes", which are drawn, or "noise" with patches of labels.
        size: of images, if full.
        batches: how many of 8 images, if full.
    """

    def __init__(self, full: bool, kind: str, size: int = 224, batches: int = 8) -> None:
        channels = (64, 128, 256, 512, 512) if full else (4, 4, 8, 8, 8)
        size, batches = (size, batches) if full else (32, 2)
        self.images = BATCH * batches
        torch.manual_seed(0)
        self.model = VGG(channels, 1000, 4096 if full else 16, size // 32).eval()
        self.model = self.model.to(memory_format=torch.channels_last)
        if kind == "noise":
            generator = torch.Generator().manual_seed(0)
            images = torch.rand(self.images, 3, size, size, generator=generator)
            planes = label_planes(self.images, size, False, generator)
            self.concepts = [str(number) for number in range(1, NUM_LABELS)]
        else:
            scenes = tiny.TinyScenes("val", size=size, count=self.images)
            drawn, labels = zip(*(scenes.raw(at) for at in range(self.images)))
            images = torch.from_numpy(np.stack(drawn)) / 255
            planes = torch.from_numpy(np.stack(labels))
            self.concepts = scenes.concepts
        images = images.contiguous(memory_format=torch.channels_last)
        self.batches = list(zip(images.split(BATCH), planes.split(BATCH)))

    def dissect(self, layers, share: float = 1.0, **options):
        """Pixel positions, exact thresholds, the top 1 %; what tells which labels can be trusted, unless left out."""
        batches = self.batches[: int(share * len(self.batches))]
        return dissect.dissect(self.model, layers, batches, concepts=self.concepts, progress=False, **options)

    @torch.no_grad()
    def forward(self) -> None:
        """The yardstick: the bare loop over the batches."""
        for images, _ in self.batches:
            self.model(images)

    @torch.no_grad()
    def forward_to(self, layer: str) -> None:
        """The same without what comes after the layer, which dissect() does not compute either."""
        for images, _ in self.batches:
            self.until(layer, images)

    @torch.no_grad()
    def until(self, layer: str, images):
        """The layer's output."""
        output = (images - 0.5) * 4
        for name, module in self.model.features.named_children():
            output = module(output)
            if f"features.{name}" == layer:
                return output

    @torch.no_grad()
    def check(self, layer, found, units: int = 4) -> None:
        """Compares thresholds and intersections of a few units with what a sort and a comparison give."""
        maps = torch.cat([self.until(layer, images)[:, :units].contiguous() for images, _ in self.batches])
        planes = torch.cat([planes for _, planes in self.batches])
        values = upsample(maps, found.grid.rows, found.grid.columns)
        for unit in range(units):
            samples = values[:, unit].flatten()
            threshold = samples.topk(samples.numel() // 100 + 1).values[-1]
            assert found.thresholds[unit] == threshold
            for label in (1, 2, found.intersection.shape[1] - 1):
                both = (values[:, unit] > threshold) & (planes == label).any(1)
                assert found.intersection[unit, label] == both.sum()


@pytest.fixture(scope="module", params=["scenes", "noise"])
def job(request):
    """One for all, since making the network takes seconds."""
    return Job(request.config.getoption("benchmark_enable"), request.param)


def test_dissect_conv5_3(compare, job):
    layer = CONVOLUTIONS[-1]
    job.check(layer, job.dissect(layer)[layer])
    others = {
        "forward": job.forward,
        "forward to the layer": lambda: job.forward_to(layer),
        "without decoys and intervals": lambda: job.dissect(layer, decoys=0, resamples=0),
        "half of the images": lambda: job.dissect(layer, 0.5),
    }
    compare(lambda: job.dissect(layer), others, per=job.images, rounds=3)


def test_dissect_all_13_convolutions(compare, job):
    layers = CONVOLUTIONS if compare.enabled else CONVOLUTIONS[:7:3]
    found = job.dissect(layers)
    for layer in (CONVOLUTIONS[0], CONVOLUTIONS[6]):
        job.check(layer, found[layer])
    others = {"forward": job.forward, "half of the images": lambda: job.dissect(layers, 0.5)}
    compare(lambda: job.dissect(layers), others, per=job.images, rounds=3)


@pytest.fixture(scope="module", params=["scenes", "noise"])
def many(request):
    """256 images, of which what a run costs once is a hundredth."""
    return Job(request.config.getoption("benchmark_enable"), request.param, batches=32)


def test_dissect_conv5_3_of_256_images(compare, many):
    layer = CONVOLUTIONS[-1]
    many.check(layer, many.dissect(layer)[layer])
    compare(lambda: many.dissect(layer), {"forward": many.forward}, per=many.images, rounds=3)
