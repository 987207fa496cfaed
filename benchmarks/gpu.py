"""The ops on a GPU: medians of CUDA events, warm, over inputs that no cache holds; equality asserted first.

``python benchmarks/gpu.py PART`` measures a part (one of gpu_stages.PARTS). Each row is written
into build/gpu/<gpu>.json as soon as it is known, and at the end into benchmarks/results; what is there, of the same
tree, is not measured again. Bytes are those that must move: each input read once, each output written once; their
share is of what a large copy on the device moves, "copy" being measured first. A row holds its floor and, where it has
one, its target; `host_us` is what a call costs the host, which queues it.
"""

import datetime
import json
import platform
import re
import shutil
import subprocess
import sys
from functools import cache, partial
from itertools import product

import torch
import torch.nn.functional as F
from baselines import eager_iou_counts, published_iou_counts
from gpu_hot import hot_rows
from gpu_narrow import narrow_rows
from gpu_rewriting import descent_row
from gpu_stages import FOLDER, ROOT, tree
from gpu_timing import host_microseconds, milliseconds, rotation, row, with_targets
from networks import Replayed, resnet152
from tables import RESULTS, kernels_hash
from workload import NUM_LABELS, NUM_PLANES

import dissect
from dissect import ops, stats
from dissect.models import VGG

DEVICE = torch.device("cuda")
BATCH = 256
QUEUED = 10  # calls of an op that are timed together
EQUAL_IMAGES = 48  # of the maps that the CPU sees too; their numbers are exact in bfloat16
SHAPES = {
    "512 units 14x14 to 224x224": (512, 14, 224),
    "512 units 14x14 to 56x56": (512, 14, 56),
    "256 units 56x56 to 224x224": (256, 56, 224),
}
LAYOUTS = {"channels_last": torch.channels_last, "contiguous_format": torch.contiguous_format}


def random_maps(count, units, size, layout, seed):
    """Normal bf16 maps in multiples of 1/32: enlarged by powers of two they are the same in every order of rounding."""
    generator = torch.Generator(DEVICE).manual_seed(seed)
    maps = torch.randn(count, units, size, size, device=DEVICE, generator=generator).mul_(32).round_().div_(32)
    return maps.to(torch.bfloat16, memory_format=layout)


def random_planes(count, size, seed):
    """Patches of an eighth of the image, as in workload.py."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, NUM_LABELS, (count, NUM_PLANES, 8, 8), generator=generator)
    return coarse.repeat_interleave(size // 8, 2).repeat_interleave(size // 8, 3).to(torch.int16)


def thresholds_of(batches, share=0.01, **options):
    """All visits."""
    state = stats.TailThreshold(share, **options)
    while True:
        for maps in batches:
            state.add(maps)
        if state.advance():
            return state


def copy_rows(copy):
    yield "copy of 1 GiB", measure_copy


def measure_copy():
    pairs = [(torch.randn(1 << 28, device=DEVICE), torch.empty(1 << 28, device=DEVICE)) for _ in range(2)]
    ms = milliseconds(lambda pair: pair[1].copy_(pair[0]), pairs, calls=QUEUED)
    return row(ms, bytes_moved=2 * pairs[0][0].nbytes)


def iou_counts_rows(copy):
    for (name, sizes), layout, backend in product(SHAPES.items(), LAYOUTS, serving("iou_counts")):
        yield f"iou_counts[{name}, {layout}, {backend}]", partial(iou_counts_row, *sizes, layout, backend, copy)


def iou_counts_row(units, source, target, layout, backend, copy):
    count = rotation(BATCH * units * source**2 * 2)
    batches = [random_maps(BATCH, units, source, LAYOUTS[layout], seed) for seed in range(count)]
    planes = random_planes(BATCH, target, 0)
    labels = ops.encode_labels(planes.to(DEVICE), NUM_LABELS)
    thresholds = thresholds_of(batches[:1], size=(target, target)).threshold()
    counts = ops.iou_counts(batches[0], thresholds, labels, backend=backend).check()
    share = float(counts.unit_area.sum() / (BATCH * units * target**2))
    if not 0.009 <= share <= 0.01:
        raise ValueError(f"the workload must fire on 0.9 to 1.0 % of the pixels, but fires on {share:.4%}.")
    few = slice(0, 4)
    expected = ops.iou_counts(batches[0][few].cpu(), thresholds.cpu(), planes[few], NUM_LABELS)
    on_device = planes[few].to(DEVICE)
    ours = ops.iou_counts(batches[0][few], thresholds, ops.encode_labels(on_device, NUM_LABELS), backend=backend)
    if not torch.equal(ours.intersection.cpu(), expected.intersection):
        raise AssertionError("ours differs from the CPU's counts")
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    call = partial(ops.iou_counts, thresholds=thresholds, labels=labels, backend=backend)
    ms = milliseconds(call, batches, calls=QUEUED)
    peak = torch.cuda.max_memory_allocated() - held
    host = host_microseconds(call, batches)
    per_image = rivals(units, source, target)
    moved = batches[0].nbytes + labels.nbytes + 8 * units * (NUM_LABELS + BATCH)
    faster = {name: other * BATCH / ms for name, other in per_image.items()}
    return row(
        ms, BATCH, moved, copy, faster=faster, times_published=faster["published"], peak_bytes=peak, host_us=host
    )


def sweep_rows(copy):
    for backend in serving("threshold_sweep"):
        name = f"threshold_sweep[64 edges, 512 units 14x14 to 224x224, {backend}]"
        yield name, partial(beside_iou_counts, "threshold_sweep", backend, copy)
    for backend in serving("iou_counts_by_image"):
        name = f"iou_counts_by_image[512 units 14x14 to 224x224, {backend}]"
        yield name, partial(beside_iou_counts, "iou_counts_by_image", backend, copy)


def beside_iou_counts(op, backend, copy):
    """What an op costs that counts more than one iou_counts of the same backend."""
    batches = [
        random_maps(BATCH, 512, 14, torch.channels_last, seed) for seed in range(rotation(BATCH * 512 * 196 * 2))
    ]
    labels = ops.encode_labels(random_planes(BATCH, 224, 0).to(DEVICE), NUM_LABELS)
    thresholds = thresholds_of(batches[:1], size=(224, 224)).threshold()
    counting = partial(ops.iou_counts, thresholds=thresholds, labels=labels, backend=backend)
    expected = counting(batches[0]).check().intersection
    if op == "iou_counts_by_image":
        call = partial(ops.iou_counts_by_image, thresholds=thresholds, labels=labels, backend=backend)
        counts = call(batches[0]).check()
        found = torch.zeros_like(expected).index_put_((counts.units, counts.labels), counts.counts.long(), True)
    else:
        lowest = thresholds_of(batches[:1], share=0.05, size=(224, 224)).threshold()
        edges = stats.edges_between(lowest, batches[0].float().amax((0, 2, 3)))
        edges[:, 32] = thresholds  # so that one of them is iou_counts' own
        edges, bins = edges.sort(1).values, torch.zeros(512, NUM_LABELS, 64, dtype=torch.int64, device=DEVICE)
        call = partial(ops.threshold_sweep, edges=edges, labels=labels, bins=bins, backend=backend)
        at = torch.searchsorted(edges, thresholds[:, None])[:, None].expand(-1, NUM_LABELS, -1)
        found = call(batches[0]).check().intersection.gather(2, at)[..., 0]
    if not torch.equal(found, expected):
        raise AssertionError(f"{op} differs from iou_counts")
    ms, other = (milliseconds(each, batches, calls=1 + 9 * (op == "threshold_sweep")) for each in (call, counting))
    moved = batches[0].nbytes + labels.nbytes
    return row(ms, BATCH, moved, copy, faster={"one iou_counts": other / ms}, times_iou_counts=ms / other)


@cache
def rivals(units, source, target):
    """Milliseconds per image of what iou_counts is measured against, at four images, where all fire alike."""
    maps = random_maps(4, units, source, torch.contiguous_format, 0).float()
    planes = random_planes(4, target, 0).to(DEVICE, torch.int64)
    thresholds = thresholds_of([maps], size=(target, target)).threshold()
    expected = ops.iou_counts(maps, thresholds, planes, NUM_LABELS).check().intersection
    found = {}
    for name, function in {"eager": eager_iou_counts, "published": published_iou_counts}.items():
        call = partial(function, thresholds=thresholds, planes=planes, num_labels=NUM_LABELS)
        if not torch.equal(call(maps), expected):
            raise AssertionError(f"{name} differs from ours")
        found[name] = milliseconds(call, [maps], 3, 1.0) / 4
    return found


def thresholds_rows(copy):
    for backend in serving("tail_histogram"):
        name = f"TailThreshold[512 units 14x14 to 224x224, all visits, {backend}]"
        yield name, partial(thresholds_row, backend, copy)
    yield from narrow_rows(copy, serving)


def thresholds_row(backend, copy):
    batches = [random_maps(BATCH, 512, 14, torch.channels_last, seed) for seed in range(8)]
    state = thresholds_of(batches, size=(224, 224), backend=backend)
    values = torch.cat([F.interpolate(maps[:, :4].float(), (224, 224), mode="bilinear") for maps in batches])
    samples = values.transpose(0, 1).flatten(1)
    exact = samples.sort(dim=1, descending=True).values[:, samples.shape[1] // 100]
    if not torch.equal(state.threshold()[:4], exact):
        raise AssertionError("TailThreshold differs from a sort")
    del values, samples
    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    ms = milliseconds(lambda all: thresholds_of(all, size=(224, 224), backend=backend), [batches], 5)
    peak = torch.cuda.max_memory_allocated() - held
    moved = state.visit * sum(maps.nbytes for maps in batches)
    return row(ms, BATCH * len(batches), moved, copy, visits=state.visit, peak_bytes=peak)


def maps_rows(copy):
    for layout in LAYOUTS:
        for backend in serving("observe"):
            yield f"observe[512 units 14x14, {layout}, {backend}]", partial(observe_row, layout, backend, copy)
        for backend in serving("image_peaks"):
            yield f"image_peaks[512 units 14x14, {layout}, {backend}]", partial(peaks_row, layout, backend, copy)
        for backend, blended in product(serving("blend_units"), (3, 512)):
            name = f"blend_units[{blended} of 512 units 14x14 in place, {layout}, {backend}]"
            yield name, partial(blend_row, layout, blended, backend, copy)


def feature_batches(layout):
    return [random_maps(BATCH, 512, 14, LAYOUTS[layout], seed) for seed in range(rotation(BATCH * 512 * 196 * 2))]


def peaks_row(layout, backend, copy):
    batches, status = feature_batches(layout), ops.new_status(DEVICE)
    if not torch.equal(ops.image_peaks(batches[0], backend=backend), batches[0].float().amax((2, 3))):
        raise AssertionError("image_peaks differs from amax")
    call = partial(ops.image_peaks, status=status, backend=backend)
    ms = milliseconds(call, batches, calls=QUEUED)
    eager = milliseconds(lambda maps: maps.amax((2, 3)), batches, calls=QUEUED)
    host = host_microseconds(call, batches)
    return row(ms, BATCH, batches[0].nbytes, copy, faster={"eager": eager / ms}, host_us=host)


def observe_row(layout, backend, copy):
    """The window that the first visit of thresholds over features would open: from twice the tail's rank upwards."""
    batches = feature_batches(layout)
    units, samples = 512, batches[0].transpose(0, 1).flatten(1)
    low = dissect.reference.keys_of(samples.sort(dim=1).values[:, samples.shape[1] * 98 // 100])
    high, shift = torch.full_like(low, (1 << 16) - 1), torch.full_like(low, 4)
    bins, above = torch.zeros(units, 4096, dtype=torch.int64, device=DEVICE), torch.zeros_like(low)
    thresholds = torch.full((units,), 2.0, device=DEVICE)
    expected = dissect.reference.observe(
        batches[0][:4].cpu(), low.cpu(), high.cpu(), shift.cpu(), 4096, thresholds.cpu()
    )
    seen = ops.observe(batches[0][:4], low, high, shift, bins, above, thresholds=thresholds, backend=backend)
    for ours, theirs in zip((seen.peaks, bins, above, seen.unit_area), expected):
        if not torch.equal(ours.cpu(), theirs):
            raise AssertionError("observe differs from the reference")

    def call(maps):
        ops.observe(maps, low, high, shift, bins, above, thresholds=thresholds, backend=backend)

    ms = milliseconds(call, batches, calls=QUEUED)
    eager = milliseconds(lambda maps: (maps.amax((2, 3)), (maps > 2.0).sum((2, 3))), batches, calls=QUEUED)
    moved = batches[0].nbytes + 12 * BATCH * units
    faster, host = {"eager, peaks and areas only": eager / ms}, host_microseconds(call, batches)
    return row(ms, BATCH, moved, copy, faster=faster, host_us=host)


def blend_row(layout, blended, backend, copy):
    """With alpha 2 and value 1/4 a map becomes 1/2 minus itself: however often, it stays as random as it was."""
    batches = feature_batches(layout)
    alpha, units = torch.zeros(512, device=DEVICE), torch.linspace(0, 511, blended).long().to(DEVICE)
    alpha[units] = 2.0
    expected = ops.blend_units(batches[0][:2].cpu(), alpha.cpu(), 0.25)
    if not torch.equal(ops.blend_units(batches[0][:2], alpha, 0.25, backend=backend).cpu(), expected):
        raise AssertionError("blend_units differs from the CPU's")

    def eager(maps):
        if blended < 512:
            maps[:, units] = 0.5 - maps[:, units]
        else:
            maps.mul_(-1).add_(0.5)

    rival = batches[0][:2].clone()
    eager(rival)
    torch.testing.assert_close(rival.cpu(), expected)
    call = partial(ops.blend_units, alpha=alpha, value=0.25, inplace=True, backend=backend)
    ms = milliseconds(call, batches, calls=QUEUED)
    others = milliseconds(eager, batches, calls=QUEUED)
    faster, host = {"eager, which knows alpha and value": others / ms}, host_microseconds(call, batches)
    return row(ms, BATCH, 2 * batches[0].nbytes * blended // 512, copy, faster=faster, host_us=host)


def dissect_rows(copy):
    for name, *of in DISSECTED:
        yield f"dissect[{name}]", partial(dissect_row, *of)


def vgg_layers():
    blocks = [(block, layer) for block, depth in enumerate((2, 2, 3, 3, 3), 1) for layer in range(1, depth + 1)]
    return [f"features.conv{block}_{layer}" for block, layer in blocks]


VGG16 = partial(VGG, (64, 128, 256, 512, 512), 1000, 4096, 7)
#: A name, what makes the network, the layers, and the memory budget.
DISSECTED = (
    ("VGG-16 conv5_3", VGG16, vgg_layers()[-1:], 64 << 30),
    ("ResNet-152 layer4", resnet152, ["layer4"], 64 << 30),
    ("VGG-16 all 13 layers, 16 GiB kept", VGG16, vgg_layers(), 16 << 30),
    ("VGG-16 all 13 layers", VGG16, vgg_layers(), 64 << 30),
)


def dissected(make):
    """A bfloat16 network, and batches of images and planes on the device."""
    torch.manual_seed(0)
    model = make().eval().to(DEVICE, torch.bfloat16, memory_format=torch.channels_last)
    images = torch.rand(8 * BATCH, 3, 224, 224, device=DEVICE, dtype=torch.bfloat16)
    images = images.contiguous(memory_format=torch.channels_last)
    planes = random_planes(len(images), 224, 0).to(DEVICE)
    return model, [(images[at : at + BATCH], planes[at : at + BATCH]) for at in range(0, len(images), BATCH)]


def dissect_row(make, layers, budget):
    """dissect() over a network beside its bare forward loop."""
    model, batches = dissected(make)
    few = [part[:EQUAL_IMAGES] for part in batches[0]]
    for layer in dict.fromkeys((layers[0], layers[-1])):
        assert_equal_on_the_cpu(model, layer, *few)

    @torch.inference_mode()
    def forward(_):
        for batch, _ in batches:
            model(batch)

    torch.cuda.reset_peak_memory_stats()
    held = torch.cuda.memory_allocated()
    bare = milliseconds(forward, [None], 3, 1.0)
    own = torch.cuda.max_memory_allocated() - held
    torch.cuda.reset_peak_memory_stats()
    ms = milliseconds(
        lambda _: dissect.dissect(model, layers, batches, memory_budget=budget, progress=False), [None], 3, 1.0
    )
    beyond = torch.cuda.max_memory_allocated() - held - own
    found = {"times_of_forward": ms / bare, "forward_ms": bare, "floor_ms": bare}
    return row(ms, BATCH * len(batches), **found, peak_bytes=beyond, memory_budget=budget)


@torch.inference_mode()
def assert_equal_on_the_cpu(model, layer, images, planes):
    """That dissect() finds in maps of the layer on the device, to the bit, what it finds in them on the CPU."""
    with dissect.Trace(model, layer, stop=True) as trace:
        model(images)
    numbers = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    numbered = numbers.expand(-1, 3, *images.shape[2:]).to(images.dtype)
    found = []
    for device in (images.device, torch.device("cpu")):
        batch = (numbered.to(device), planes.to(device))
        network = Replayed(trace[layer].to(device))
        found.append(dissect.dissect(network, "maps", [batch], progress=False)["maps"])
    for name in ("thresholds", "intersection", "unit_area", "union_area", "label_area", "peaks", "peak_images"):
        assert torch.equal(getattr(found[0], name), getattr(found[1], name)), f"{layer}: {name}"


def serving(op):
    """The backends that serve an op here."""
    return [name for name, reason in ops.backends(op, DEVICE) if reason is None]


PARTS = {
    "copy": copy_rows,
    "iou_counts": iou_counts_rows,
    "sweep": sweep_rows,
    "thresholds": thresholds_rows,
    "maps": maps_rows,
    "hot": lambda copy: hot_rows(copy, BATCH, random_maps, random_planes),
    "dissect": dissect_rows,
    "rewriting": lambda _: [("insert[512 units 3x3, 2001 steps]", descent_row)],
}


def short(name):
    """h200 for "NVIDIA H200", h100 for "NVIDIA H100 80GB HBM3"."""
    found = re.search(r"[A-Z]+\d+\w*", name)
    return (found[0] if found else name.replace(" ", "-")).lower()


def main(part):
    name = torch.cuda.get_device_name()
    path = FOLDER / f"{short(name)}.json"  # where calls keep what they leave
    kept = json.loads(path.read_text()) if path.exists() else {}
    rows = kept["rows"] if kept.get("kernels") == kernels_hash("gpu") else {}
    copy = rows.get("copy of 1 GiB", {}).get("gb_per_s")
    for label, measure in PARTS[part](copy):
        if rows.get(label, {}).get("tree") != tree():
            rows[label] = {**with_targets(label, measure()), "tree": tree()}
            write(path, name, rows)
            torch.cuda.empty_cache()
        print(label, json.dumps(rows[label]), flush=True)
    RESULTS.mkdir(exist_ok=True)
    shutil.copy(path, RESULTS)


def write(path, name, rows):
    """All rows so far; whole, or what was there before."""
    commit = ""
    if shutil.which("git"):
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT)
        commit = done.stdout.strip()
    result = {
        "kind": "gpu", "machine": name, "cuda": torch.version.cuda, "python": platform.python_version(),
        "torch": torch.__version__, "commit": commit, "day": datetime.date.today().isoformat(),
        "kernels": kernels_hash("gpu"), "rows": rows,
    }  # fmt: skip
    FOLDER.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(result, indent=1) + "\n")
    unfinished.replace(path)


if __name__ == "__main__":
    main(sys.argv[1])
