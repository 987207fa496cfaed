"""torch's streams, graphs, compiler and autocast on a GPU; states and dissect() that stay there."""

import warnings

import pytest
import torch
from torch import nn

import dissect
from dissect import devices as transfer
from dissect import ops, stats
from dissect.ops.encode_labels import Encoding


@pytest.fixture
def planes(device):
    """Label planes as a data set gives them, some pixels with the same label twice."""
    return torch.randint(0, 9, (8, 2, 50, 50), device=device)


@pytest.fixture
def problem(device, planes):
    """Maps, thresholds and encoded labels."""
    maps = torch.randn(8, 40, 13, 13, device=device, dtype=torch.bfloat16)
    return maps, torch.full((40,), 1.5, device=device), ops.encode_labels(planes, 9)


def reference_counts(maps, thresholds, labels):
    return ops.iou_counts(maps.cpu(), thresholds.cpu(), labels.planes.cpu(), labels.num_labels).intersection


# What PyTorch's compiler warns of depends on its version.
@pytest.mark.filterwarnings("default")
def test_compiles_without_a_graph_break(serving, problem):
    counting, blending = serving("iou_counts"), serving("blend_units")

    def count(maps, thresholds):
        blended = ops.blend_units(maps, thresholds.clamp(0, 1), 0.5, backend=blending)
        return ops.iou_counts(blended, thresholds, problem[2], backend=counting).intersection + 1

    maps, thresholds, _ = problem
    compiled = torch.compile(count, fullgraph=True)
    assert torch.equal(compiled(maps, thresholds), count(maps, thresholds))


def test_a_captured_graph_counts_what_is_in_its_inputs_now(serving, problem):
    maps, thresholds, labels = problem
    backend = serving("iou_counts")
    expected = reference_counts(maps, thresholds, labels)
    ops.iou_counts(maps, thresholds, labels, backend=backend)  # compiles, and copies the grid
    held, graph = torch.zeros_like(maps), torch.cuda.CUDAGraph()
    torch.cuda.synchronize(maps.device)
    with torch.cuda.device_of(maps), torch.cuda.graph(graph):
        counts = ops.iou_counts(held, thresholds, labels, backend=backend)
    held.copy_(maps)
    graph.replay()
    assert torch.equal(counts.intersection.cpu(), expected)


def test_another_stream(serving, problem):
    maps, thresholds, labels = problem
    backend = serving("iou_counts")
    stream = torch.cuda.Stream(maps.device)
    stream.wait_stream(torch.cuda.current_stream(maps.device))
    with torch.cuda.stream(stream):
        later = torch.zeros_like(maps)
        torch.cuda._sleep(50_000_000)  # a launch on another stream would not wait for the copy
        later.copy_(maps)
        counts = ops.iou_counts(later, thresholds, labels, backend=backend)
    stream.synchronize()
    assert torch.equal(counts.intersection.cpu(), reference_counts(maps, thresholds, labels))


def test_autocast_changes_nothing(serving, problem):
    maps, thresholds, labels = problem
    maps = maps.float()
    with torch.autocast("cuda", torch.bfloat16):
        counts = ops.iou_counts(maps, thresholds, labels, backend=serving("iou_counts"))
        blended = ops.blend_units(maps, thresholds.clamp(0, 1), 0.25, backend=serving("blend_units"))
    assert torch.equal(counts.intersection.cpu(), reference_counts(maps, thresholds, labels))
    assert torch.equal(blended.cpu(), ops.blend_units(maps.cpu(), thresholds.clamp(0, 1).cpu(), 0.25))


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_launches_wait_for_nothing(serving, problem, planes):
    maps, thresholds, labels = problem
    counting, tails, peaking = (serving(op) for op in ("iou_counts", "tail_histogram", "image_peaks"))
    sweep = stats.ThresholdSweep(
        thresholds[:, None] + torch.arange(5, device=maps.device), 9, backend=serving("threshold_sweep")
    )
    state = stats.TailThreshold(0.01, size=(50, 50), backend=tails)
    state.add(maps)  # opens the windows
    tally = stats.IouTally(thresholds, 9, backend=counting)
    numbers, peaks = torch.arange(8), stats.Peaks(3)
    tally.add(maps, labels, numbers)  # pins memory, makes the stream for copies
    peaks.add(maps, numbers)
    sweep.add(maps, labels)
    torch.cuda.synchronize(maps.device)
    try:
        torch.cuda.set_sync_debug_mode("error")
        state.add(maps)
        tally.add(maps, labels, numbers)
        peaks.add(maps, numbers)
        sweep.add(maps, labels)
        ops.image_peaks(maps, status=ops.new_status(maps.device), backend=peaking)
        encoding = Encoding(planes, 9)
        size = encoding.size.to("cpu", non_blocking=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize(maps.device)
    assert torch.equal(encoding.labels(size).runs, labels.runs)


def waits(function):
    """How often it waits for the device."""
    function()  # compiles, and copies the grid
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            function()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in told)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_counts_by_image_wait_as_often_for_many_images_as_for_one(serving, problem, planes):
    maps, thresholds, labels = problem
    one, backend = ops.encode_labels(planes[:1], 9), serving("iou_counts_by_image")
    most, least = (
        waits(lambda given=given: ops.iou_counts_by_image(given[0], thresholds, given[1], backend=backend))
        for given in ((maps, labels), (maps[:1], one))
    )
    assert most == least


@pytest.mark.parametrize("positions", ["pixel", "feature"])
def test_thresholds(serving, problem, positions):
    found = []
    for maps, backend in ((problem[0], serving("tail_histogram")), (problem[0].cpu(), "auto")):
        state = stats.TailThreshold(0.01, positions=positions, size=(50, 50), backend=backend)
        while True:
            for batch in maps.split(3):
                state.add(batch)
            if state.advance():
                break
        found.append(state.threshold().cpu())
    assert torch.equal(*found)


def test_states_go_on_where_the_activations_are(serving, problem, tmp_path):
    maps, thresholds, labels = problem
    backend = serving("iou_counts")
    whole, half, rest = (stats.IouTally(thresholds, 9, backend=backend) for _ in range(3))
    numbers = torch.arange(8)
    whole.add(maps, labels, numbers)
    half.add(maps, labels, numbers)
    rest.load(half.save(tmp_path / "half"))
    rest.add(maps, labels, numbers + 8)
    assert torch.equal(rest.intersection(), 2 * whole.intersection())
    assert rest.intersection().device == maps.device


@pytest.mark.filterwarnings("ignore::dissect.ops.BackendWarning")
def test_dissect_on_a_gpu_equals_dissect_on_a_cpu(device):
    # A network of one exact operation, since a convolution's bits are the device's own.
    images, planes = torch.rand(20, 3, 16, 16), torch.randint(0, 5, (20, 2, 16, 16))
    batches = [(images[at : at + 8], planes[at : at + 8]) for at in range(0, 20, 8)]
    results = [
        dissect.dissect(nn.Sequential(nn.MaxPool2d(2), nn.PReLU(3, 0.25)).to(place), "0", batches, progress=False)
        for place in ("cpu", device)
    ]
    layers = [result["0"] for result in results]
    names = "thresholds intersection unit_area union_area label_area peaks peak_images peak_maps"
    for name in names.split():
        assert torch.equal(getattr(layers[0], name), getattr(layers[1], name)), name


def test_copies_wait_for_what_they_copy_and_nobody_for_them(device):
    sent, expected, late, told = [], [], transfer.DeferredReads(), []
    for seed in range(20):
        value = torch.randn(1 << 20, generator=torch.Generator().manual_seed(seed))
        torch.cuda._sleep(1_000_000)
        moved = transfer.to_device(value, device)
        late.call(told.append, moved + 1)
        sent.append(transfer.checksum(moved))
        expected.append(int(transfer.checksum(value)))
        del moved
    late.flush()
    assert [int(one) for one in sent] == expected
    for seed, value in enumerate(told):
        assert torch.equal(value, torch.randn(1 << 20, generator=torch.Generator().manual_seed(seed)) + 1)
