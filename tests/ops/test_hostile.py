"""Arguments that would make an engine read or write where it must not, or give other bits than the reference."""

import dataclasses
import sys
import warnings

import pytest
import torch
from dropping import printed
from torch._subclasses import FakeTensorMode

from dissect import Grid, ops
from dissect.ops import native
from dissect.reference import keys_of

pytestmark = pytest.mark.skipif(native.unavailable() is not None, reason=str(native.unavailable()))

MAPS, THRESHOLDS = torch.arange(96.0).view(2, 3, 4, 4), torch.zeros(3)
PLANES = torch.arange(128).view(2, 1, 8, 8) % 3
KEYS = keys_of(torch.zeros(3))
GRID = Grid.half_pixel((4, 4), (8, 8))
LABELS = ops.encode_labels(PLANES, 3)


def tails(maps=MAPS, low=KEYS, high=KEYS, shift=None, bins=None, above=None):
    shift = torch.zeros_like(KEYS) if shift is None else shift
    bins = torch.zeros(3, 1, dtype=torch.int64) if bins is None else bins
    above = torch.zeros_like(KEYS) if above is None else above
    ops.tail_histogram(maps, low, high, shift, bins, above)


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch will have none, some day
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.image_peaks(MAPS.to_sparse()), r"image_peaks: activations must be a plain.*got a sparse_coo"),
        (lambda: ops.image_peaks(MAPS.to_mkldnn()), r"image_peaks: activations must be a plain.*got a mkldnn"),
        (lambda: ops.image_peaks(MAPS.to("meta")), "image_peaks: activations must hold values, but is on the meta"),
        (lambda: ops.encode_labels(PLANES.to("meta"), 3), "encode_labels: planes must hold values"),
        (lambda: ops.encode_labels(PLANES.to_sparse(), 3), "encode_labels: planes must be a plain tensor"),
        (lambda: ops.blend_units(MAPS, quantized()), r"blend_units: alpha must be a plain.*quantized \(its dequantize"),
        (lambda: ops.blend_units(MAPS, torch.ones(3).to_mkldnn(), inplace=True), "blend_units: alpha must be a plain"),
        (lambda: ops.blend_units(MAPS, torch.ones(3), 0.0, torch.ones(4, 4).to_sparse()), "mask must be a plain"),
        (lambda: ops.blend_units(MAPS, torch.ones(3) * 1j), r"alpha must hold real numbers, but got torch\.complex64"),
        (lambda: ops.iou_counts(MAPS, quantized(), LABELS), "iou_counts: thresholds must be a plain tensor"),
        (lambda: ops.iou_counts(MAPS, THRESHOLDS, PLANES, 3.0), "num_labels must be an integer, but got 3.0"),
        (lambda: ops.encode_labels(PLANES, None), "encode_labels: num_labels must be an integer, but got None"),
        (lambda: ops.encode_labels(PLANES, "3"), "num_labels must be an integer, but got '3'"),
        (lambda: ops.encode_labels(PLANES, True), "num_labels must be an integer, but got True"),
        (lambda: ops.encode_labels(PLANES, [3]), r"num_labels must be an integer, but got \[3\]"),
        (lambda: ops.image_peaks(MAPS, backend=None), "image_peaks: backend must be the name of one, but got None"),
        (lambda: tails(low=KEYS.to_sparse()), "tail_histogram: low must be a plain tensor"),
    ],
)
def test_other_kinds_of_arguments_are_refused_by_name(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_nested_tensors_are_refused():
    with pytest.warns(UserWarning, match="nested"):
        nested = torch.nested.nested_tensor([MAPS[0], MAPS[1]])
    with pytest.raises(TypeError, match="activations must be a plain tensor of values, but got a nested one"):
        ops.image_peaks(nested)


def test_fake_tensors_beside_real_ones_are_refused():
    fake = FakeTensorMode().from_tensor(MAPS)
    with pytest.raises(TypeError, match="iou_counts: activations must be a tensor of values as thresholds is"):
        ops.iou_counts(fake, THRESHOLDS, LABELS)
    assert ops.image_peaks(fake).shape == (2, 3)  # alone they tell shapes


def test_too_many_labels_and_too_large_a_value():
    with pytest.raises(ValueError, match=r"num_labels must be at most 2\^31, since labels are int32"):
        ops.encode_labels(PLANES, 2**31 + 1)
    with pytest.raises(ValueError, match="blend_units: value must fit in a float"):
        ops.blend_units(MAPS, torch.ones(3), 10**400)


@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_what_cannot_be_written_in_place_is_refused(backend):
    def blend(features):
        with pytest.raises(ValueError, match=r"blend_units: features (to be written must own|must)"):
            ops.blend_units(features, torch.ones(3), inplace=True, backend=backend)

    with torch.inference_mode():
        made = torch.zeros(2, 3, 4, 4)
        ops.blend_units(made, torch.ones(3), 2.0, inplace=True, backend=backend)
    blend(made)
    blend(torch.zeros(9).as_strided((1, 3, 2, 2), (9, 2, 1, 1)))  # planes and rows overlap
    blend(torch.zeros(20).as_strided((1, 3, 2, 2), (20, 3, 2, 1)))  # the last cell of a plane begins the next one
    blend(torch._neg_view(torch.zeros(2, 3, 4, 4)))
    gaps = torch.zeros(2, 3, 9, 9)
    ops.blend_units(gaps[:, :, ::2, 1::3].mT, torch.ones(3), 1.0, inplace=True, backend=backend)
    assert gaps.sum() == 2 * 3 * 5 * 3


def test_counts_that_share_memory_are_refused():
    shared = torch.zeros(3, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="bins is written, so it must not share memory with above; clone one"):
        tails(bins=shared, above=shared.view(-1)[:3])
    with pytest.raises(ValueError, match="above is written, so it must not share memory with shift; clone one"):
        tails(above=shared.view(-1)[:3], shift=shared.view(-1)[1:4])
    tails(above=shared.view(-1)[:3], shift=shared.view(-1)[3:])


@pytest.mark.parametrize("backend", ["cpp", "reference"])
def test_where_alpha_or_mask_is_0_the_features_stay(backend):
    features = torch.tensor([1.5, -2.0, 3.0]).view(1, 3, 1, 1)
    for alpha, mask, kept in (
        ([0.0, -0.0, 0.0], [float("nan")], 3),
        ([0.0, 0.5, 1.0], [float("inf")], 1),
        ([float("inf"), float("nan"), 1.0], [0.0], 3),
    ):
        found = ops.blend_units(features, torch.tensor(alpha), 1.0, torch.tensor(mask).view(1, 1), backend=backend)
        assert torch.equal(found[0, :kept], features[0, :kept])
        other = ops.blend_units(features, torch.tensor(alpha), 1.0, torch.tensor(mask).view(1, 1), backend="reference")
        assert torch.equal(found.nan_to_num(7.0, 8.0, 9.0), other.nan_to_num(7.0, 8.0, 9.0))


def changed(**fields):
    return dataclasses.replace(LABELS, **fields)


def put(values, place, value):
    values = values.clone()
    values.view(-1)[place] = value
    return values


SHIFT = 17  # of runs in int32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"runs": put(LABELS.runs, 5, 10**6 % (1 << SHIFT) | 8 << SHIFT)}, "runs must hold combinations"),
        ({"runs": put(LABELS.runs, 5, 9 << SHIFT)}, "runs must hold combinations of their image and where each ends"),
        ({"runs": put(LABELS.runs, 5, 0)}, "runs must hold combinations of their image and where each ends"),
        ({"runs": put(LABELS.runs, 5, -1)}, "runs must hold combinations of their image and where each ends"),
        ({"runs": LABELS.runs | 8 << SHIFT}, "runs must hold combinations of their image and where each ends"),
        ({"runs": LABELS.runs.float()}, r"runs must be as encode_labels gives it, but got torch\.float32"),
        ({"runs": LABELS.runs[0]}, "runs must be as encode_labels gives it"),
        ({"table": put(LABELS.table, 2, 3)}, r"table must hold labels in \[0, 3\)"),
        ({"table": put(LABELS.table, 2, -1)}, r"table must hold labels in \[0, 3\)"),
        ({"table": LABELS.table.repeat(1, 2)}, "table must not hold a label twice in a row"),
        ({"table": LABELS.table.long()}, "table must be as encode_labels gives it"),
        ({"table": LABELS.table[:-1]}, "offsets must rise within the 5 rows of the table"),
        ({"offsets": put(LABELS.offsets, 1, 10**9)}, "offsets must rise within"),
        ({"offsets": put(LABELS.offsets, 0, -3)}, "offsets must rise within"),
        ({"offsets": LABELS.offsets[:-1]}, "offsets must be as encode_labels gives it"),
        ({"area": put(LABELS.area, 1, 5)}, "area must count each label's pixels in each image"),
        ({"area": LABELS.area.roll(1, 0)}, "area must count each label's pixels in each image"),
        ({"area": LABELS.area[:, :2]}, r"table must hold labels in \[0, 2\)"),
    ],
)
def test_labels_that_encode_labels_would_not_give_are_refused(fields, message):
    with pytest.raises(ValueError, match=f"EncodedLabels: {message}"):
        changed(**fields)
    with pytest.raises(TypeError, match="EncodedLabels: table must be a plain tensor"):
        changed(table=LABELS.table.to_sparse())


def test_labels_that_are_views_are_counted_as_what_they_show():
    planes = torch.arange(300).view(2, 2, 5, 15).div(7, rounding_mode="floor") % 6
    labels = ops.encode_labels(planes, 6)
    apart = {field.name: getattr(labels, field.name) for field in dataclasses.fields(labels)}
    spread = {name: value.repeat_interleave(2, -1)[..., ::2] for name, value in apart.items()}
    assert not any(value.is_contiguous() for name, value in spread.items() if name != "offsets")
    maps, grid = torch.randn(2, 3, 4, 4), Grid.half_pixel((4, 4), (5, 15))
    for found in (ops.EncodedLabels(**spread), ops.EncodedLabels(**apart)):
        counts = ops.iou_counts(maps, THRESHOLDS, found, grid=grid, backend="cpp")
        expected = ops.iou_counts(maps, THRESHOLDS, planes, 6, grid=grid, backend="reference")
        assert all(map(torch.equal, counts, expected))
    second = ops.EncodedLabels(labels.runs[1:], labels.table, labels.offsets[1:], labels.area[1:])
    assert torch.equal(second.planes, labels.planes[1:])


def call_directly(**changed):
    given = {
        "activations": MAPS, "thresholds": THRESHOLDS, "runs": LABELS.runs, "table": LABELS.table,
        "offsets": LABELS.offsets, "num_labels": 3, "rows": GRID.rows, "columns": GRID.columns, "backend": "cpp",
    }  # fmt: skip
    return torch.ops.dissect.iou_counts(*{**given, **changed}.values())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"activations": MAPS.double()}, "activations must be float32"),
        ({"thresholds": THRESHOLDS[:2]}, r"thresholds must be contiguous torch\.float32 \[3\]"),
        ({"thresholds": THRESHOLDS.long()}, r"thresholds must be contiguous torch\.float32 \[3\]"),
        ({"runs": LABELS.runs[:1]}, r"runs must be contiguous torch\.int32 \[2, 8, 8\], but got torch\.int32 \[1, 8"),
        ({"runs": LABELS.runs.mT}, "runs must be contiguous"),
        ({"runs": LABELS.runs.short()}, "runs must be contiguous"),
        ({"table": LABELS.table.long()}, "table must be contiguous"),
        ({"offsets": LABELS.offsets[:2]}, "offsets must be contiguous"),
        ({"rows": GRID.rows.long()}, "rows must be contiguous"),
        ({"rows": GRID.rows[:4]}, r"rows must be contiguous torch\.int32 \[8, 3\], but got torch\.int32 \[4, 3\]"),
        ({"columns": GRID.columns + 10**6}, "grid: columns must be a table of a Grid for maps of 4 cells, but entry 0"),
        ({"rows": GRID.rows.flip(0)}, "grid: rows must be a table of a Grid for maps of 4 cells, but entry"),
        ({"runs": put(LABELS.runs, 5, 9 << SHIFT)}, "runs must hold combinations of their image and where each ends"),
        ({"runs": put(LABELS.runs, 5, (1 << SHIFT) - 1 | 8 << SHIFT)}, "runs must hold combinations of their image"),
        ({"runs": put(LABELS.runs, 5, 0)}, "runs must hold combinations of their image and where each ends"),
        ({"table": put(LABELS.table, 2, 10**9)}, r"table must hold labels in \[0, 3\)"),
        ({"table": put(LABELS.table, 2, -1)}, r"table must hold labels in \[0, 3\)"),
        ({"offsets": put(LABELS.offsets, 2, 10**9)}, "offsets must rise within the 6 rows of the table"),
        ({"num_labels": 2}, r"table must hold labels in \[0, 2\)"),
        ({"num_labels": 0}, "num_labels must be at least 1, but got 0"),
        ({"runs": LABELS.runs[0]}, "activations must be .* but got .* and"),
        ({"activations": MAPS[..., :0]}, "activations must be .* but got .* and"),
        ({"table": LABELS.table.to("meta")}, "all tensors must hold values, but some are on the meta device"),
    ],
)
def test_calls_by_torch_ops_are_kept_within_memory(changed, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call_directly(**changed)


def test_other_calls_by_torch_ops_are_kept_within_memory():
    with pytest.raises(TypeError, match=r"h, w >= 1, but got torch\.float32 \[2, 3, 4, 0\]"):
        torch.ops.dissect.image_peaks(MAPS[..., :0], "cpp")
    operands = torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1, 1), torch.ones(1, 1, 4, 4)
    for op in (torch.ops.dissect.blend_units, torch.ops.dissect.blend_units_):
        with pytest.raises(TypeError, match="all tensors must hold values, but some are on the meta device"):
            op(MAPS.clone(), *operands[:2], operands[2].to("meta"), "cpp")
    assert torch.ops.dissect.blend_units(*(value.to("meta") for value in (MAPS, *operands)), "cpp").is_meta
    bins, above = torch.zeros(3, 1, dtype=torch.int64), torch.zeros(6, dtype=torch.int64)[::2]
    with pytest.raises(ValueError, match="above must be contiguous, but has stride 2"):
        torch.ops.dissect.tail_histogram(MAPS, KEYS, KEYS, KEYS * 0, bins, above, None, None, "value", "cpp")


def test_labels_are_looked_at_once(monkeypatch):
    """When they are encoded, made by hand, or come to torch.ops.dissect by themselves; and again if written into."""
    looked = []
    monkeypatch.setattr(sys.modules["dissect.ops.iou_counts"], "check_runs", lambda *fields: looked.append(fields))
    labels = ops.encode_labels(PLANES, 3)
    by_hand = ops.EncodedLabels(*(getattr(labels, field.name).clone() for field in dataclasses.fields(labels)))
    for known in (labels, by_hand):
        ops.iou_counts(MAPS, THRESHOLDS, known)
        ops.iou_counts_by_image(MAPS, THRESHOLDS, known)
        call_directly(runs=known.runs, table=known.table, offsets=known.offsets)
    assert not looked
    own = {"runs": labels.runs.clone()}
    for _ in range(3):
        call_directly(**own)
    assert len(looked) == 1
    labels.runs[0, 0, 0] += 0
    ops.iou_counts(MAPS, THRESHOLDS, labels)
    assert len(looked) == 2


def test_labels_that_were_written_into_are_refused():
    labels = ops.encode_labels(PLANES, 3)
    labels.runs[0, 0, 0] = -1
    for count in (ops.iou_counts, ops.iou_counts_by_image):
        with pytest.raises(ValueError, match="runs must hold combinations of their image"):
            count(MAPS, THRESHOLDS, labels)


FLUSHED = """
from dissect import ops, stats
import dissect
maps = (torch.arange(1, 145, dtype=torch.int32) * 7919 % 145).view(3, 3, 4, 4).view(torch.float32)
level = torch.full((3,), 70, dtype=torch.int32).view(torch.float32)
keys, bins = torch.zeros(3, dtype=torch.int64), torch.zeros(3, 1, dtype=torch.int64)
found = []
for mode in (True, False):
    torch.set_flush_denormal(mode)
    for backend in ("cpp", "reference"):
        blended = ops.blend_units(maps, torch.full((3,), 0.5), 1e-39, backend=backend)
        seen = ops.observe(maps.clone(), keys + 1, keys, keys, bins, keys.clone(), thresholds=level, backend=backend)
        bits = (blended.view(torch.int32).tolist(), seen.peaks.view(torch.int32).tolist())
        found.append((*bits, seen.unit_area.tolist()))
        counts = ops.iou_counts(maps, level, torch.ones(3, 1, 4, 4, dtype=torch.uint8), 2, backend=backend)
        found[-1] += (counts.unit_area.tolist(), dissect.reference.keys_of(maps).tolist())
    peaks = stats.Peaks(2)
    peaks.add(maps, torch.arange(3))
    net = torch.nn.Sequential(torch.nn.Identity()).eval()
    planes = torch.ones(3, 1, 9, 9, dtype=torch.uint8)
    layer = dissect.dissect(net, "0", [(maps, planes)], fraction=0.1, progress=False)["0"]
    levels = layer.thresholds.view(torch.int32).tolist()
    found += [(peaks.images().tolist(), layer.masks(0).tolist(), layer.states(), layer.peak_images.tolist(), levels)]
    print(torch.full((1,), 1e-40).gt(0).item())
print(found[0] == found[1] == found[3] == found[4], found[2] == found[5], sum(map(sum, found[0][2])) > 0)
"""


def test_results_are_the_same_where_torch_drops_subnormal_numbers():
    # The mode is as it was: numbers made in it are dropped.
    assert printed(FLUSHED, (1, 2)) == ["False", "True", "True True True"] * 2
