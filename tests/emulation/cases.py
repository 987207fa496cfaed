"""Problems for the emulated engine, through the same Python that launches it on a GPU, against the references."""

import contextlib
import ctypes
import importlib.machinery
import importlib.util
import random

import torch
from emulation import narrowing
from generate import Case, laid_out, random_case

from dissect import Grid, reference
from dissect.ops import HotCells, encode_labels
from dissect.ops.backends import cuda
from dissect.ops.backends import reference as references
from dissect.ops.backends.arguments import Blend, Brackets, Labels, Tables
from dissect.ops.backends.composed import by_image


class Emulated:
    """The engine that runs on the CPU, put in the place of the one that needs a GPU.

    A block has fewer threads than on a GPU, since each is a fiber of the CPU, or as many: 256.
    """

    def __init__(self, path, threads):
        loader = importlib.machinery.ExtensionFileLoader("_cuda", str(path))
        spec = importlib.util.spec_from_loader("_cuda", loader)
        cuda._engine = importlib.util.module_from_spec(spec)
        loader.exec_module(cuda._engine)
        cuda._guard = lambda activations: contextlib.nullcontext()
        cuda._stream = lambda device: 0
        self._library, self._threads = ctypes.CDLL(str(path)), threads

    def configure(self, schedule=0, resident=3, multiprocessors=1, error=0):
        """How threads are chosen, how many blocks run at a time, how many multiprocessors plans are made for."""
        self._library.emulation_configure(schedule, resident, multiprocessors, error, self._threads)

    def mutate(self, file, line):
        """Makes the barrier or atomic of this line a mutant; line 0: none."""
        self._library.emulation_mutate(file.encode(), line)


def same(ours, expected, what):
    """Raises where bits differ."""
    for place, (a, b) in enumerate(zip(ours, expected, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype or not torch.equal(a, b):
            raise AssertionError(f"{what}: result {place} differs from the reference's")


def new_status():
    return torch.zeros((), dtype=torch.int32)


def fields(labels):
    """As a backend takes them."""
    return Labels(labels.runs, labels.table, labels.offsets, labels.num_labels)


def test_halves(planes):
    """The first plane, of each type of labels in turn; labels below 0 are told."""
    dtype = (torch.uint8, torch.int16, torch.int32, torch.int64)[planes.shape[-1] % 4]
    first = planes[:, 0].clamp(max=3).to(dtype)
    for omit_last in (False, True):
        status = new_status()
        ours = cuda.component_halves(first, omit_last, status)
        expected = reference.component_halves(first, omit_last)
        same((ours, status), (expected, new_status()), "component_halves")
    cuda.component_halves(first.int() - 4, False, status)
    same([status], [new_status() + 1], "status of component_halves")


def test_counts(case, labels):
    tables, status = Tables(case.grid.rows, case.grid.columns), new_status()
    ours = cuda.iou_counts(case.activations, case.thresholds, fields(labels), tables, status)
    expected = reference.iou_counts(case.activations, case.thresholds, labels.planes, case.num_labels, *tables)
    same((*ours, status), (*expected, new_status()), "iou_counts")
    test_counts_by_image(case, labels)


def test_counts_by_image(case, labels):
    """All images at once, and one after the other."""
    tables = Tables(case.grid.rows, case.grid.columns)
    expected = reference.iou_counts_by_image(case.activations, case.thresholds, labels.planes, case.num_labels, *tables)
    for workspace in (1 << 28, 1):
        status = new_status()
        count = by_image(cuda._count_images, workspace)
        ours = count(case.activations, case.thresholds, fields(labels), tables, status)
        same((*ours, status), (*expected, new_status()), "iou_counts_by_image")


def test_sweep(case, labels, num_edges):
    """Edges among the samples, so that some are equal to a value, and to each other."""
    values = case.activations.float().transpose(0, 1).flatten(1)
    edges = values[:, torch.randint(values.shape[1], (num_edges,))].sort(1).values
    tables, status = Tables(case.grid.rows, case.grid.columns), new_status()
    bins = torch.ones(len(edges), case.num_labels, num_edges, dtype=torch.int64)
    unit_bins = cuda.threshold_sweep(case.activations, edges, bins, fields(labels), tables, status)
    expected = reference.threshold_sweep(case.activations, edges, labels.planes, case.num_labels, *tables)
    same((bins - 1, unit_bins, status), (*expected, new_status()), f"threshold_sweep at {num_edges} edges")


def brackets(choose, keys, num_bins):
    """Per unit a bracket between two of its samples' keys, now and then empty, with a shift that fits the bins."""
    low, high = (keys.gather(1, torch.randint(keys.shape[1], (len(keys), 1)))[:, 0] for _ in range(2))
    low, high = torch.minimum(low, high), torch.maximum(low, high)
    shift = torch.tensor([max(0, int(span).bit_length() - num_bins.bit_length() + 1) for span in high - low])
    left_out = torch.rand(len(keys)) < 0.1
    return torch.where(left_out, high + 1, low), high, shift


def test_tails(case, choose):
    num_units = case.activations.shape[1]
    for sample, grid in [("value", case.grid), ("min", case.grid), ("max", case.grid), ("value", None)]:
        keys = reference.keys_of(case.activations if grid is None else case.activations.float())
        low, high, shift = brackets(choose, keys.transpose(0, 1).flatten(1), 16)
        bins, above = torch.ones(num_units, 16, dtype=torch.int64), torch.ones(num_units, dtype=torch.int64)
        tables, status = None if grid is None else Tables(grid.rows, grid.columns), new_status()
        cuda.tail_histogram(case.activations, Brackets(low, high, shift, bins, above), tables, sample, status)
        expected = reference.tail_histogram(case.activations, low, high, shift, 16, *(tables or (None, None)), sample)
        same((bins - 1, above - 1, status), (*expected, torch.zeros_like(status)), f"tail_histogram of {sample}s")


def test_hot(case, labels, choose):
    """What is kept of maps, by the reference's backend; and that counts and tails of it are those of the maps."""
    maps, tables, status = case.activations, Tables(case.grid.rows, case.grid.columns), new_status()
    floors = case.thresholds - torch.rand(len(maps), maps.shape[1]) * choose.choice((0.0, 1.0))
    floors[torch.rand(floors.shape) < 0.1] = -torch.inf
    reach = 0 if case.grid.is_identity else 1
    own = choose.choice((0, 1))
    same(cuda.hot_cells(maps, floors, own), references.hot_cells(maps, floors, own), "hot_cells")
    hot = HotCells(floors, *starting(cuda.hot_cells(maps, floors, reach)), tuple(maps.shape[2:]), reach)
    levels = torch.where(floors == -torch.inf, case.thresholds, floors).amax(0)
    expected = reference.iou_counts(maps, levels, labels.planes, case.num_labels, *tables)
    same((*cuda.iou_counts(hot, levels, fields(labels), tables, status),), expected, "iou_counts of hot cells")
    ours = cuda.iou_counts_by_image(hot, levels, fields(labels), tables, status)
    expected = reference.iou_counts_by_image(maps, levels, labels.planes, case.num_labels, *tables)
    same(ours, expected, "iou_counts_by_image of hot cells")
    for grid in (case.grid, None):
        keys = reference.keys_of(maps.float()).transpose(0, 1).flatten(1)
        low, high, shift = brackets(choose, keys, 16)
        low = torch.maximum(low, reference.keys_of(levels) + 1)
        bins, above = torch.ones(len(low), 16, dtype=torch.int64), torch.ones_like(low)
        own_tables = None if grid is None else tables
        if grid is None and maps.element_size() == 2:
            continue  # whose keys have 16 bits there
        cuda.tail_histogram(hot, Brackets(low, high, shift, bins, above), own_tables, "value", status)
        expected = reference.tail_histogram(maps, low, high, shift, 16, *(own_tables or (None, None)), "value")
        same((bins - 1, above - 1), expected, "tail_histogram of hot cells")
    same([status], [new_status()], "status of hot cells")


def starting(found):
    """The parts of `HotCells` but for floors, size and reach, of what a backend gives."""
    peaks, counts, places, values = found
    flat = counts.flatten().long()
    return peaks, (flat.cumsum(0) - flat).view(counts.shape), counts, places, values


def operands(choose, maps):
    """Alpha with many zeros and ones, a value and a mask, each of a random shape that broadcasts."""
    images, units, height, width = maps.shape
    alpha = torch.randint(0, 4, (choose.choice((1, images)), units, 1, 1)).clamp(max=2) / 2
    value = torch.randn(choose.choice(((1, 1, 1, 1), (1, units, 1, 1), (images, units, height, width))))
    mask = torch.randint(0, 3, choose.choice(((1, 1, 1, 1), (1, 1, height, width), (images, 1, height, width)))) / 2
    return Blend(alpha, value, mask)


def test_observe(case, choose):
    maps = case.activations
    keys = reference.keys_of(maps).transpose(0, 1).flatten(1)
    low, high, shift = brackets(choose, keys, 16)
    bins, above = torch.zeros(len(low), 16, dtype=torch.int64), torch.zeros_like(low)
    blends = operands(choose, maps) if choose.random() < 0.5 else None
    thresholds = case.thresholds if choose.random() < 0.8 else None
    expected = reference.observe(maps, low, high, shift, 16, thresholds, *(blends or ()))
    ours = laid_out(maps, "contiguous").clone() if 0 in maps.stride() and blends else maps
    status = new_status()
    peaks, unit_area = cuda.observe(ours, Brackets(low, high, shift, bins, above), thresholds, blends, status)
    same((peaks, bins, above, unit_area), expected[:4], "observe")
    same((bits(ours), status), (bits(expected[4]), new_status()), "observe's blended maps")


def bits(maps):
    """Since NaN is no equal of itself."""
    return maps.contiguous().view(torch.int16 if maps.element_size() == 2 else torch.int32)


def test_blend(case, choose):
    maps, blends = case.activations, operands(choose, case.activations)
    same([cuda.image_peaks(maps, new_status())], [reference.image_peaks(maps)], "image_peaks")
    expected = bits(reference.blend_units(maps, *blends))
    same([bits(cuda.blend_units(maps, blends))], [expected], "blend_units")
    if 0 not in maps.stride():
        cuda.blend_units_(maps, blends)
        same([bits(maps)], [expected], "blend_units in place")


def test_bad_values(case, choose):
    """Every op tells of a bad value, of a threshold that is no number, and of a bracket that does not fit."""
    bad = case.activations.contiguous().clone()
    bad.view(-1)[choose.randrange(bad.numel())] = choose.choice((float("nan"), float("inf"), float("-inf")))
    bad = laid_out(bad, choose.choice(("contiguous", "channels_last", "sliced")))
    zeros = torch.zeros(bad.shape[1], dtype=torch.int64)
    labels = encode_labels(case.planes, case.num_labels, backend="reference")
    encoded = fields(labels), Tables(case.grid.rows, case.grid.columns)
    tables = encoded[1]

    def tails(high):
        return Brackets(zeros, zeros + high, zeros, torch.zeros(len(zeros), 1, dtype=torch.int64), zeros.clone())

    def sweep(maps, edges, status):
        bins = torch.zeros(len(zeros), case.num_labels, edges.shape[1], dtype=torch.int64)
        cuda.threshold_sweep(maps, edges, bins, *encoded, status)

    # Every value falls far behind the one bin of its unit, where AddressSanitizer looks.
    all_keys = (1 << (8 * case.activations.element_size())) - 1

    nan = torch.full_like(case.thresholds, float("nan"))
    calls = [
        lambda status: cuda.image_peaks(bad, status),
        lambda status: cuda.upsample_argmax(bad, tables, status),
        lambda status: cuda.tail_histogram(bad, tails(0), tables, "max", status),
        lambda status: cuda.iou_counts(bad, case.thresholds, *encoded, status),
        lambda status: cuda.iou_counts(case.activations, nan, *encoded, status),
        lambda status: cuda.iou_counts_by_image(bad, case.thresholds, *encoded, status),
        lambda status: cuda.iou_counts_by_image(case.activations, nan, *encoded, status),
        lambda status: sweep(bad, case.thresholds[:, None].expand(-1, 2), status),
        lambda status: sweep(case.activations, torch.tensor([1.0, 0.0]).expand(len(zeros), 2), status),
        lambda status: sweep(case.activations, nan[:, None], status),
        *(
            lambda status, sample=sample: cuda.tail_histogram(
                case.activations, tails((1 << 32) - 1), tables, sample, status
            )
            for sample in ("value", "min", "max")
        ),
        lambda status: cuda.tail_histogram(case.activations, tails(all_keys), None, "value", status),
        lambda status: cuda.observe(case.activations, tails(all_keys), case.thresholds, None, status),
    ]
    for call in calls:
        status = new_status()
        call(status)
        same([status], [new_status() + 1], "status")


def test_argmax(case):
    """Of maps as they are; those of one image have many ties."""
    tables, status, logits = Tables(case.grid.rows, case.grid.columns), new_status(), case.activations
    logits = logits.float().sign() if len(logits) == 1 else logits
    ours = cuda.upsample_argmax(logits, tables, status)
    same([ours, status], [reference.upsample_argmax(logits, *tables), new_status()], "upsample_argmax")


def test_narrow(case, file):
    """Of thresholds at fractions from none to nearly all of few samples, and of brackets at random.

    A mutant needs more of them, since few have two units that meet in an atomic.
    """
    seed = case.activations.numel() + case.planes.numel() + int(case.planes.sum())
    brackets = range(seed, seed + (2 if file is None else 6))
    for ours, expected in narrowing.narrowed(case, (0.01, 0.3, 0.999)[seed % 3], brackets):
        same(ours, expected, "narrow")


#: Ops that share no source with others, by their file: a mutant there changes nothing else, and one elsewhere not them.
ALONE = {
    "component_halves.cu": lambda case, file: test_halves(case.planes),
    "narrow.cu": test_narrow,
    "upsample_argmax.cu": lambda case, file: test_argmax(case),
}


def smaller(case, choose):
    """Few images and units: each of their threads is emulated."""
    images, units = min(2, len(case.activations)), min(choose.choice((1, 3, 4, 8)), case.activations.shape[1])
    return case._replace(
        activations=case.activations[:images, :units], thresholds=case.thresholds[:units], planes=case.planes[:images]
    )


def run_case(emulated, seed, schedule=None, file=None):
    """One random problem, by every op, or by those that a mutant in this file may change.

    The seed also chooses how many blocks there are and how many run at a time.
    """
    choose = random.Random(seed)
    case = smaller(random_case(seed), choose)
    emulated.configure(
        schedule=(seed % 3 if seed % 3 < 2 else seed) if schedule is None else schedule,
        resident=choose.choice((1, 2, 3)),
        multiprocessors=choose.choice((1, 4)),
    )
    if not len(case.activations):
        return
    for name, test in ALONE.items():
        if file in (None, name):
            test(case, file)
    if file in ALONE:
        return
    labels = encode_labels(case.planes, case.num_labels, backend="reference")
    test_counts(case, labels)
    test_sweep(case, labels, choose.choice((1, 2, 5, 64)))
    test_tails(case, choose)
    if seed % 3 == 0 or file is not None:
        test_hot(case, labels, choose)
    test_bad_values(case, choose)
    test_observe(case._replace(activations=case.activations.clone()), choose)
    test_blend(case, choose)


def special_cases():
    """What random problems do not reach: bands, wide runs, many planes, more labels or combinations than fit."""
    yield special((2, 3, 5, 2100), (12, 40), num_labels=5)  # maps too large to be staged whole
    yield special((1, 1, 2, 2), (1, 16384), num_labels=3)  # runs of 64 bits
    yield special((2, 2, 3, 3), (9, 9), num_labels=9, num_planes=35)
    yield special((2, 2, 3, 3), (9, 9), num_labels=13000)
    yield special((1, 2, 3, 3), (40, 40), num_labels=2000)
    yield special((1, 1, 3, 3), (48, 48), num_labels=13000)
    yield special((2, 3, 7, 5), (28, 20), num_labels=3, num_planes=2)  # small cells, of more combinations than two
    yield special((1, 9, 6, 41), (12, 82), num_labels=9)
    yield special((2, 3, 2, 300), (2, 300), num_labels=9)  # own cells, by tables that stay in device memory


def special(shape, target, num_labels, num_planes=1):
    maps = torch.randn(shape)
    planes = torch.randint(0, num_labels, (shape[0], num_planes, *target), dtype=torch.int32)
    return Case(maps, torch.full((shape[1],), 0.2), planes, num_labels, Grid.half_pixel(shape[2:], target))


def run_special_cases(emulated):
    emulated.configure(schedule=5, multiprocessors=1)
    torch.manual_seed(0)
    for case in special_cases():
        labels = encode_labels(case.planes, case.num_labels, backend="reference")
        test_counts(case, labels)
        test_sweep(case, labels, num_edges=9)
        test_tails(case, random.Random(0))
        test_hot(case, labels, random.Random(0))
        test_argmax(case)
    test_argmax(special((1, 300, 3, 70), (7, 140), num_labels=2))  # more maps than warps, more cells than lanes


def crowded_cases():
    """Few labels and one unit, so that warps and blocks add to the same counts; small cells and others."""
    for num_labels, size in ((3, 8), (13000, 8), (5, 3)):
        case = special((2, 1, size, size), (20, 20), num_labels, num_planes=2)
        yield case._replace(planes=case.planes % 3)


def sliced_cases():
    """Few maps of many cells, which several blocks share: positive and negative peaks, each layout and dtype."""
    case = special((1, 8, 18, 20), (4, 4), num_labels=3)
    below = torch.tensor([0.0, 9.0]).repeat(4)[:, None, None]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for layout in ("contiguous", "channels_last"):
            yield case._replace(activations=laid_out((case.activations - below).to(dtype), layout))


def run_crowded_cases(emulated, file=None):
    """Problems where threads meet, by the ops that a mutant in this file may change."""
    for schedule in (0, 1, 7):
        emulated.configure(schedule=schedule, resident=2, multiprocessors=1)
        torch.manual_seed(schedule)
        for case in crowded_cases():
            labels = encode_labels(case.planes, case.num_labels, backend="reference")
            for name, test in ALONE.items():
                if file in (None, name):
                    test(case, file)
            if file in ALONE:
                continue
            test_counts(case, labels)
            for num_edges in (9, 5000) if case.num_labels == 3 else ():  # room for all combinations, and for two
                test_sweep(case, labels, num_edges)
            test_tails(case, random.Random(schedule))
            test_hot(case, labels, random.Random(schedule))
        emulated.configure(schedule=schedule, resident=4, multiprocessors=8)
        for case in () if file in ALONE else sliced_cases():
            test_observe(case, random.Random(schedule))
            test_blend(case, random.Random(schedule))


def test_launch_failures(emulated):
    """They name the op, the shapes and the device."""
    emulated.configure(error=1)
    try:
        cuda.image_peaks(torch.ones(2, 3, 4, 5), new_status())
    except RuntimeError as error:
        expected = "observe: the launch failed on device 0 for activations [2, 3, 4, 5]: cudaErrorInvalidConfiguration"
        if not str(error).startswith(expected):
            raise
    else:
        raise AssertionError("a launch that failed was not told")
