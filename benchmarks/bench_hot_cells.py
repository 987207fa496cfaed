"""Hot cells: what keeping them costs, what they save, and dissect() where memory is short; equality asserted first."""

import pytest
import torch
import torch.nn.functional as F
from bench_dissect import CONVOLUTIONS, Job
from workload import label_planes

from dissect import ops

#: Units, and the side of their maps; of 16 images, 4 of the largest.
LAYERS = {"64 units 224x224": (64, 224), "256 units 56x56": (256, 56), "512 units 14x14": (512, 14)}
TARGET, LABELS = 224, 1300
MEMORY = {"a half": 1 / 2, "a third": 1 / 3, "a fifth": 1 / 5}

pytestmark = pytest.mark.filterwarnings("ignore::dissect.DoubtfulResultWarning")


class Kept:
    """Smoothed noise, channels-last, floors at the top 2 % of its cells, and thresholds a little above."""

    def __init__(self, layer: str, full: bool) -> None:
        units, side = LAYERS[layer] if full else (4, LAYERS[layer][1] // 7)
        self.target, images = (TARGET, 4 if side == TARGET else 16) if full else (TARGET // 7, 1)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(images, units, side + 2, side + 2, generator=generator)
        self.maps = F.avg_pool2d(noise, 3, 1).contiguous(memory_format=torch.channels_last)
        cells = self.maps.transpose(0, 1).flatten(1)
        self.floors = cells.kthvalue(cells.shape[1] * 98 // 100, dim=1).values
        self.thresholds = self.floors + 0.05
        self.hot = ops.hot_cells(self.maps, self.floors)
        self.labels = ops.encode_labels(label_planes(images, self.target, False, generator), LABELS)


@pytest.fixture(scope="module", params=LAYERS)
def kept(request):
    """One for three rows, since making it takes seconds."""
    return Kept(request.param, request.config.getoption("benchmark_enable"))


def test_hot_cells(compare, kept):
    copy = torch.empty(kept.maps.shape)
    expected = ops.hot_cells(kept.maps[:1], kept.floors, backend="reference")
    found = ops.hot_cells(kept.maps[:1], kept.floors)
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.counts, expected.counts)
    others = {"copy to planes": lambda: copy.copy_(kept.maps), "peaks": lambda: ops.image_peaks(kept.maps)}
    compare(lambda: ops.hot_cells(kept.maps, kept.floors), others, per=len(kept.maps))
    compare.benchmark.extra_info["counted"] = {"of the maps' bytes": kept.hot.nbytes / kept.maps.nbytes}


def test_counts_of_hot_cells(compare, kept):
    def counts(source):
        return ops.iou_counts(source, kept.thresholds, kept.labels)

    assert torch.equal(counts(kept.hot).intersection, counts(kept.maps).intersection)
    compare(lambda: counts(kept.hot), {"of the maps": lambda: counts(kept.maps)}, per=len(kept.maps))


def test_dissect_all_13_convolutions_in_less_memory(compare, few):
    """Memory for a part of the activations: hot cells lie there in the maps' place, and few images pass again."""
    job, share = few
    layers = CONVOLUTIONS if compare.enabled else CONVOLUTIONS[:7:3]
    cells = sum(job.until(layer, job.batches[0][0][:1]).numel() for layer in layers)
    budget = int(share * cells * 4 * job.images)
    passes = []
    hook = job.model.features.conv1_1.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    found, whole = job.dissect(layers, memory_budget=budget), job.dissect(layers)
    hook.remove()
    for layer in layers:
        assert torch.equal(found[layer].thresholds, whole[layer].thresholds)
        assert torch.equal(found[layer].intersection, whole[layer].intersection)
    others = {"forward": job.forward, "memory for all": lambda: job.dissect(layers)}
    compare(lambda: job.dissect(layers, memory_budget=budget), others, per=job.images, rounds=3)
    compare.benchmark.extra_info["counted"] = {"passes of the images": (sum(passes) - job.images) / job.images}


@pytest.fixture(scope="module", params=MEMORY)
def few(request, less):
    """The same scenes, and the part of the activations for which there is memory."""
    return less, MEMORY[request.param]


@pytest.fixture(scope="module")
def less(request):
    """256 scenes of 112x112: as many as are needed for floors to be known before the memory is full."""
    return Job(request.config.getoption("benchmark_enable"), "scenes", size=112, batches=32)
