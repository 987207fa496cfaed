"""What a dissection does beside counting, and other ops, against their yardsticks; equality asserted first."""

import math
import time

import pytest
import torch
import torch.nn.functional as F
from baselines import RunningQuantile
from workload import NUM_LABELS, Workload, label_planes, settle

from dissect import ops
from dissect.data.pictures import to_pictures
from dissect.devices import DeferredReads, checksum
from dissect.dissection.kept import Pictures
from dissect.stats import Peaks, TailThreshold


def test_thresholds_at_pixels(compare):
    work = Workload(16, 512, 14, 224) if compare.enabled else Workload(1, 64, 14, 224)
    state = settle([work.activations], 0.01, size=work.size)
    work.upsample()
    values = work.upsampled.transpose(0, 1).flatten(1)
    rank = values.shape[1] // 100
    assert torch.equal(state.threshold(), values.topk(rank + 1).values[:, -1])
    # A data set of 256 images: what is done once per visit should weigh little, as it does in use.
    count = 16 if compare.enabled else 1
    batches = [torch.randn(work.activations.shape, generator=torch.Generator().manual_seed(i)) for i in range(count)]
    others = {"upsample": lambda: [work.upsample() for _ in batches]}
    compare(lambda: settle(batches, 0.01, size=work.size), others, per=count * len(work.activations))


@pytest.mark.parametrize("positions", ["feature", "pixel"])
def test_thresholds_beside_the_published_sketch(compare, positions):
    images = {"feature": 256, "pixel": 2}[positions] if compare.enabled else 1
    activations = torch.randn(images, 512, 14, 14, generator=torch.Generator().manual_seed(0))
    size = (224, 224) if compare.enabled else (56, 56)

    def values(maps):
        return maps if positions == "feature" else F.interpolate(maps, size, mode="bilinear")

    def published():
        sketch = RunningQuantile(512)
        for image in activations:
            sketch.add(values(image[None])[0].permute(1, 2, 0).reshape(-1, 512))
        return sketch.quantiles(0.99)

    def ours():
        return settle(activations.split(32), 0.01, positions=positions, size=size).threshold()

    samples = values(activations).transpose(0, 1).flatten(1)
    exact = samples.topk(samples.shape[1] // 100 + 1).values[:, -1]
    torch.testing.assert_close(ours(), exact, rtol=1e-5, atol=0)
    above = (samples > published()[:, None]).double().mean(1)
    compare.benchmark.extra_info["fires on"] = {
        "ours": 0.01,
        "published, farthest": float(above[(above - 0.01).abs().argmax()]),
    }
    del samples
    compare(ours, {"published": published}, per=images)


def one_visit_of_features(compare, images):
    activations = torch.randn(images if compare.enabled else 1, 512, 14, 14)
    state, copy = TailThreshold(0.01, positions="feature"), torch.empty_like(activations)
    state.add(activations)
    compare(lambda: state.add(activations), {"copy": lambda: copy.copy_(activations)}, per=len(activations))


def test_one_visit_of_features(compare):
    """A batch of 13 MB, which a near cache may hold as the copy is made."""
    one_visit_of_features(compare, 32)


def test_one_visit_of_features_in_memory(compare):
    """The same of 103 MB."""
    one_visit_of_features(compare, 256)


def test_peaks_of_images(compare):
    activations = torch.randn(32 if compare.enabled else 2, 512, 14, 14).contiguous(memory_format=torch.channels_last)
    assert torch.equal(ops.image_peaks(activations), activations.amax((2, 3)))
    copy, numbers = torch.empty_like(activations), torch.arange(len(activations))
    others = {"copy": lambda: copy.copy_(activations), "eager": lambda: activations.amax((2, 3)).topk(9, 0)}
    compare(lambda: Peaks(9).add(activations, numbers), others, per=len(activations))


def test_what_ends_the_first_visit(compare):
    """`advance()` of 512 units: once per visit and layer, however many images there were."""
    state = TailThreshold(0.01, size=(224, 224) if compare.enabled else (56, 56))
    activations = torch.randn(8 if compare.enabled else 1, 512, 14, 14)
    state.add(activations)
    again = TailThreshold(0.01, size=state.size)
    again.add(activations)
    saved = state.state_dict()

    def advance():
        state.load_state_dict(saved)
        state.advance()

    others = {
        "one batch of it": lambda: again.add(activations),
        "loading the state": lambda: state.load_state_dict(saved),
    }
    compare(advance, others, per=len(activations))


def test_checksum_of_images(compare):
    images = torch.rand(8 if compare.enabled else 1, 3, 224, 224)
    copy = torch.empty_like(images)
    assert checksum(images) != checksum(images.flip(0) if len(images) > 1 else images + 1)
    compare(lambda: checksum(images), {"copy": lambda: copy.copy_(images)}, per=len(images))


def test_pictures_of_images(compare):
    images = torch.rand(32 if compare.enabled else 1, 3, 224, 224)
    copy, numbers, late = torch.empty_like(images), torch.arange(len(images)), DeferredReads()

    def pictures():
        kept = Pictures(to_pictures, late)
        kept.keep(numbers, images, numbers)
        late.flush()
        return kept.stacked()

    assert torch.equal(pictures()[1], to_pictures(images))
    compare(pictures, {"copy": lambda: copy.copy_(images)}, per=len(images))


def test_encode_labels(compare):
    planes = label_planes(8 if compare.enabled else 1, 224, False, torch.Generator().manual_seed(0))
    expected = ops.encode_labels(planes[:1], NUM_LABELS, backend="reference")
    assert torch.equal(ops.encode_labels(planes[:1], NUM_LABELS).planes, expected.planes)
    copy = torch.empty_like(planes)
    compare(lambda: ops.encode_labels(planes, NUM_LABELS), {"copy": lambda: copy.copy_(planes)}, per=len(planes))


def test_blend_three_of_512_units_in_place(compare):
    features, alpha = torch.randn(16, 512, 28, 28), torch.zeros(512)
    alpha[[3, 200, 400]] = 1.0
    expected = ops.blend_units(features, alpha, backend="reference")
    few = features[:, :3].clone()
    copy = torch.empty_like(few)
    assert torch.equal(ops.blend_units(features, alpha, inplace=True), expected)
    compare(
        lambda: ops.blend_units(features, alpha, inplace=True),
        {"copy of 3 planes": lambda: copy.copy_(few), "eager": lambda: features.mul_(1 - alpha[:, None, None])},
        per=len(features),
    )


def discs(count, size):
    """Round components, about as large as objects are, of labels 1 to 9."""
    across = math.ceil(math.sqrt(count))
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    labels = torch.zeros(size, size, dtype=torch.int64)
    for number in range(count):
        centre = [(place + 0.5) * size / across for place in divmod(number, across)]
        radius = size / across * (0.25 + 0.15 * (number % 7) / 7)
        labels[(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2] = number % 9 + 1
    return labels


def halves_by_masks(labels, measure):
    """The published way: scikit-image's numbers, and for each component a mask that is cut."""
    halves = torch.zeros(2, *labels.shape, dtype=torch.uint8)
    numbered, count = measure.label(labels.numpy(), return_num=True, connectivity=2)
    numbered = torch.from_numpy(numbered)
    for number in range(1, count + 1):
        mask = numbered == number
        rows, columns = (mask.any(axis).nonzero()[[0, -1], 0] for axis in (1, 0))
        middle_row, middle_column = (int(ends.sum() + 1) // 2 for ends in (rows, columns))
        cut = mask.repeat(4, 1, 1)
        cut[0, middle_row:], cut[1, :middle_row] = False, False
        cut[2, :, middle_column:], cut[3, :, :middle_column] = False, False
        halves += cut[[0, 2]] + 2 * cut[[1, 3]]
    return halves


@pytest.mark.parametrize("kind", ["smooth", "noise"])
def test_upsample_argmax(compare, kind):
    """A segmentation network's logits: 150 labels, 64x64 to 512x512; smooth as of scenes, or noise, the worst."""
    images, labels, coarse = (2, 150, 8) if compare.enabled else (1, 5, 4)
    source, target = (64, 512) if compare.enabled else (8, 32)
    generator = torch.Generator().manual_seed(0)
    if kind == "smooth":
        logits = F.interpolate(
            torch.randn(images, labels, coarse, coarse, generator=generator), (source, source), mode="bicubic"
        )
    else:
        logits = torch.randn(images, labels, source, source, generator=generator)
    logits = (logits * 256).round() / 256  # so that every order of rounding agrees

    def eager():
        return F.interpolate(logits, (target, target), mode="bilinear").argmax(1)

    assert torch.equal(ops.upsample_argmax(logits, (target, target)), eager().int())
    compare(lambda: ops.upsample_argmax(logits, (target, target)), {"eager": eager}, per=images)


def test_component_halves_of_40_components(compare):
    measure = pytest.importorskip("skimage.measure")
    labels = discs(40, 256)
    assert torch.equal(ops.component_halves(labels[None])[0], halves_by_masks(labels, measure))
    others = {"scikit-image and masks": lambda: halves_by_masks(labels, measure)}
    compare(lambda: ops.component_halves(labels[None]), others, clock=time.thread_time)
