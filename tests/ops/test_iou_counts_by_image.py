"""iou_counts_by_image: a literal table, bits, laws, errors."""

import pytest
import torch
from generate import DTYPES, LAYOUTS, laid_out, random_case

from dissect import Grid, ops, reference
from dissect.ops.backends.arguments import Labels, Tables
from dissect.ops.backends.composed import by_image

ENTRIES = ("images", "units", "labels", "counts")


def table_of(counts):
    """Rows of image, unit, label, pixels."""
    return torch.stack([getattr(counts, name) for name in ENTRIES], 1).tolist()


def dense(counts):
    """[N, U, C] int64."""
    table = torch.zeros(*counts.unit_area.shape, counts.label_area.shape[1], dtype=torch.int64)
    table[counts.images.long(), counts.units.long(), counts.labels.long()] = counts.counts.long()
    return table


def assert_same(ours, expected):
    for name in ours._fields:
        one, other = getattr(ours, name), getattr(expected, name)
        assert one.dtype == other.dtype, name
        assert torch.equal(one, other), name


def test_by_hand(backend):
    maps = torch.tensor([[[[0.0, 1.0, 2.0, 3.0]], [[9.0, 9.0, 9.0, 9.0]]], [[[5.0, 5.0, 0.0, 0.0]], [[10.0, 0, 0, 0]]]])
    planes = torch.tensor([[[[1, 1, 3, 0]], [[0, 3, 1, 1]]], [[[2, 0, 2, 2]], [[2, 0, 0, 0]]]], dtype=torch.int16)
    counts = ops.iou_counts_by_image(maps, torch.tensor([1.0, 9.0]), planes, 4, backend=backend)
    # In image 0 unit 0 fires on the last two pixels, which carry 1 and 3, and 1. Unit 1 fires nowhere.
    # In image 1 unit 0 fires on the first two, of which one carries 2, in both planes, and unit 1 on the first.
    assert table_of(counts) == [[0, 0, 1, 2], [0, 0, 3, 1], [1, 0, 2, 1], [1, 1, 2, 1]]
    assert [getattr(counts, name).dtype for name in ENTRIES] == [torch.int32] * 4
    assert counts.intersection.tolist() == [[0, 2, 1, 1], [0, 0, 1, 0]]
    assert counts.unit_area.tolist() == [[2, 0], [2, 1]]
    assert counts.label_area.tolist() == [[0, 4, 0, 2], [0, 0, 3, 0]]
    assert counts.check() is counts


@pytest.mark.parametrize("seed", range(150))
def test_every_level_equals_the_reference(seed, simd):
    case = random_case(seed)
    ours, expected = (
        ops.iou_counts_by_image(
            case.activations, case.thresholds, case.planes, case.num_labels, grid=case.grid, backend=b
        )
        for b in ("cpp", "reference")
    )
    assert_same(ours, expected)


@pytest.mark.parametrize("num_labels", [15, 17, 64, 70, 30_000])
def test_many_labels(num_labels, simd):
    # An image's labels are looked through 16 at a time. Every pixel of the first image carries another label, so that
    # the engine's lists must grow.
    planes = torch.randint(0, num_labels, (3, 2, 16, 16), dtype=torch.int32)
    planes[0, 0] = torch.arange(256).view(16, 16) % num_labels
    planes[2] = num_labels - 1
    arguments = (torch.randn(3, 64, 8, 8), torch.zeros(64), planes, num_labels)
    assert_same(*(ops.iou_counts_by_image(*arguments, backend=b) for b in ("cpp", "reference")))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layouts_and_dtypes_do_not_matter(dtype, layout, backend):
    maps = laid_out(torch.randn(2, 19, 5, 6).to(dtype), layout)
    arguments = (torch.randn(19), torch.randint(0, 4, (2, 2, 17, 21)), 4)
    ours = ops.iou_counts_by_image(maps, *arguments, backend=backend)
    assert_same(ours, ops.iou_counts_by_image(maps.float().contiguous(), *arguments, backend="reference"))


def problem(images=5, units=21, num_labels=9):
    return (
        torch.randn(images, units, 6, 6),
        torch.randn(units),
        torch.randint(0, num_labels, (images, 3, 20, 22)),
        num_labels,
    )


def test_the_rest_is_that_of_iou_counts(backend):
    arguments = problem()
    grid = Grid.half_pixel((6, 6), (20, 22), border="zeros")
    ours = ops.iou_counts_by_image(*arguments, grid=grid, backend=backend)
    for name, value in ops.iou_counts(*arguments, grid=grid, backend=backend)._asdict().items():
        assert torch.equal(getattr(ours, name), value), name


def test_each_image_is_that_of_a_batch_of_its_own(backend):
    maps, thresholds, planes, num_labels = problem()
    whole = dense(ops.iou_counts_by_image(maps, thresholds, planes, num_labels, backend=backend))
    for image in range(5):
        one = slice(image, image + 1)
        alone = ops.iou_counts(maps[one], thresholds, planes[one], num_labels, backend="reference")
        assert torch.equal(whole[image], alone.intersection)


def test_laws(backend):
    maps, thresholds, planes, num_labels = problem()
    counts = ops.iou_counts_by_image(maps, thresholds, planes, num_labels, backend=backend)
    per_image = dense(counts)
    assert torch.equal(per_image.sum(0), counts.intersection)
    assert (per_image <= counts.unit_area[:, :, None]).all()
    assert (per_image <= counts.label_area[:, None]).all()
    assert (counts.labels > 0).all()
    assert (counts.counts > 0).all()
    keys = (counts.images.long() * 21 + counts.units) * num_labels + counts.labels
    assert (keys.diff() > 0).all()
    # A split batch adds up.
    parts = [ops.iou_counts_by_image(maps[i : i + 2], thresholds, planes[i : i + 2], num_labels) for i in (0, 2, 4)]
    moved = [[row[0] + first, *row[1:]] for first, part in zip((0, 2, 4), parts) for row in table_of(part)]
    assert moved == table_of(counts)
    # Units and labels have no order.
    order = torch.randperm(21)
    shuffled = ops.iou_counts_by_image(maps[:, order], thresholds[order], planes, num_labels, backend=backend)
    assert torch.equal(dense(shuffled), per_image[:, order])
    rename = torch.cat([torch.zeros(1, dtype=torch.int64), torch.randperm(8) + 1])
    renamed = ops.iou_counts_by_image(maps, thresholds, rename[planes], num_labels, backend=backend)
    assert torch.equal(dense(renamed)[:, :, rename], per_image)


@pytest.mark.parametrize(("room", "blocks"), [(1, [1, 1, 2, 1, 1]), (3, [3, 2, 1]), (6, [5, 1]), (100, [6])])
def test_blocks_of_images_fit_in_the_workspace(room, blocks):
    """How GPUs do it, with the reference as the kernel: an image has one label, or two, or none."""
    planes = torch.zeros(6, 2, 4, 6, dtype=torch.uint8)
    for image, labels in enumerate([[3], [1, 3], [], [1], [2, 3], [1]]):
        for label in labels:
            planes[image, label % 2, :, 2 * label - 2 : 2 * label] = label
    maps, thresholds, labels = torch.randn(6, 5, 3, 3), torch.zeros(5), ops.encode_labels(planes, 4)
    grid, launched = Grid.half_pixel((3, 3), (4, 6)), []

    def count_images(maps, thresholds, labels, tables, starts, counts, status):
        launched.append(len(maps))
        assert len(counts) <= 5 * max(room, 2)
        areas = []
        for image, (start, end) in enumerate(zip(starts.tolist(), starts[1:].tolist())):
            one = slice(image, image + 1)
            numbers = reference.decode_labels(labels.runs[one], labels.table, labels.offsets[image : image + 2])
            shared, area = reference.iou_counts(maps[one], thresholds, numbers, end - start + 1, *tables)
            counts[start * 5 : end * 5] += shared[:, 1:].flatten().int()
            areas.append(area)
        return torch.cat(areas)

    fields, status = Labels(labels.runs, labels.table, labels.offsets, 4), ops.new_status(maps.device)
    ours = by_image(count_images, 4 * 5 * room)(maps, thresholds, fields, Tables(grid.rows, grid.columns), status)
    expected = reference.iou_counts_by_image(maps, thresholds, planes, 4, grid.rows, grid.columns)
    assert all(map(torch.equal, ours, expected))
    assert launched == blocks


def test_threads_do_not_matter():
    arguments = problem(units=70)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(ops.iou_counts_by_image(*arguments, backend="cpp"))
    finally:
        torch.set_num_threads(before)
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_count(shape, backend):
    planes = torch.ones(shape[0], 1, 4, 4, dtype=torch.uint8)
    counts = ops.iou_counts_by_image(torch.ones(*shape, 2, 2), torch.zeros(shape[1]), planes, 3, backend=backend)
    assert counts.intersection.shape == (shape[1], 3)
    assert counts.unit_area.shape == shape
    assert [getattr(counts, name).shape for name in ENTRIES] == [(0,)] * 4


def test_images_without_labels(backend):
    planes = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    counts = ops.iou_counts_by_image(torch.ones(2, 3, 2, 2), torch.zeros(3), planes, 1, backend=backend)
    assert table_of(counts) == []
    assert (counts.unit_area == 16).all()


def test_compiles_without_a_graph_break():
    def count(maps, thresholds, planes):
        counts = ops.iou_counts_by_image(maps.relu(), thresholds, planes, 5)
        return counts.intersection * 2, counts.counts + counts.units, counts.images

    arguments = (torch.randn(2, 7, 3, 3), torch.zeros(7), torch.randint(0, 5, (2, 2, 4, 6)))
    compiled = torch.compile(count, fullgraph=True, backend="aot_eager")
    assert all(map(torch.equal, compiled(*arguments), count(*arguments)))


def test_opcheck():
    labels = ops.encode_labels(torch.randint(0, 5, (2, 2, 4, 6)), 5)
    grid = Grid.half_pixel((3, 3), (4, 6))
    encoded = (labels.runs, labels.table, labels.offsets, 5, grid.rows, grid.columns)
    for backend in ("auto", "reference"):
        arguments = (torch.randn(2, 7, 3, 3), torch.randn(7), *encoded, backend)
        torch.library.opcheck(torch.ops.dissect.iou_counts_by_image.default, arguments)


GOOD = (torch.zeros(2, 3, 2, 2), torch.zeros(3), torch.zeros(2, 1, 4, 4, dtype=torch.int32), 3)


@pytest.mark.parametrize(
    ("position", "value", "error", "message"),
    [
        (0, torch.zeros(2, 3, 2, 2).double(), TypeError, "activations must be float32, float16 or bfloat16, but got"),
        (1, torch.zeros(4), ValueError, r"thresholds must have shape \[U\] with U=3 .*but got \[4\]"),
        (1, torch.tensor([0, float("nan"), 0]), ValueError, "thresholds must not be NaN, but unit 1's is"),
        (2, torch.zeros(1, 1, 4, 4, dtype=torch.int32), ValueError, "labels must be of N=2 images, but got 1"),
        (3, None, ValueError, "num_labels must be given with label planes"),
    ],
)
def test_errors(position, value, error, message, backend):
    arguments = [*GOOD[:position], value, *GOOD[position + 1 :]]
    with pytest.raises(error, match=f"iou_counts_by_image: {message}"):
        ops.iou_counts_by_image(*arguments, backend=backend)


def test_segmentations_that_do_not_fit_in_32_bits_are_refused():
    labels = ops.encode_labels(torch.zeros(1, 1, 1, 1, dtype=torch.uint8), 2)
    large = ops.EncodedLabels._trusted(
        labels.runs.long().expand(1, 1 << 16, 1 << 15), labels.table, labels.offsets, labels.area
    )
    with pytest.raises(ValueError, match=r"must have fewer than 2\^31 pixels, but got 65536 x 32768"):
        ops.iou_counts_by_image(torch.zeros(1, 1, 1, 1), torch.zeros(1), large)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -(2.0**126)])
def test_bad_values_are_named(bad, backend):
    maps = torch.zeros(3, 5, 2, 3)
    maps[1, 4, 1, 2] = bad
    planes = torch.zeros(3, 1, 4, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"^iou_counts_by_image: .*but image 1 of the batch, unit 4, is not"):
        ops.iou_counts_by_image(maps, torch.zeros(5), planes, 3, backend=backend)
