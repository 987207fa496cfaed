"""hot_cells: literal tables, bits, the laws by which they stand for maps, errors."""

from dataclasses import replace

import pytest
import torch
from generate import random_case

from dissect import Grid, ops, reference
from dissect.ops import HotCells

FIELDS = ("floors", "peaks", "counts", "starts", "places", "values")


def equal(one: HotCells, other: HotCells) -> bool:
    same = all(torch.equal(getattr(one, name), getattr(other, name)) for name in FIELDS)
    return same and (one.size, one.reach) == (other.size, other.reach)


def floors_of(case, seed):
    """[U] at values of the maps, some -inf, where all is kept; and [N, U] below them."""
    generator = torch.Generator().manual_seed(seed)
    floors = case.thresholds.clone()
    floors[torch.rand(len(floors), generator=generator) < 0.2] = -torch.inf
    share = torch.rand(len(case.activations), len(floors), generator=generator)
    return floors, torch.minimum(floors, floors * torch.where(floors > 0, share, 1 + share))


def test_by_hand(backend_of_hot_cells):
    maps = torch.tensor([[[[0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0]]]])
    hot = ops.hot_cells(maps, torch.tensor([1.0]), backend=backend_of_hot_cells)
    assert hot.places.tolist() == [2, 3, 6, 7, 10, 11]
    assert hot.values.tolist() == [0.0, 0.0, 0.0, 2.0, 0.0, 0.0]
    assert hot.peaks.tolist() == [[2.0]]
    assert ops.hot_cells(maps, torch.tensor([1.0]), reach=0, backend=backend_of_hot_cells).places.tolist() == [7]
    assert ops.hot_cells(maps, torch.tensor([2.0]), backend=backend_of_hot_cells).counts.tolist() == [[0]]
    whole = ops.hot_cells(maps, torch.tensor([-torch.inf]), backend=backend_of_hot_cells)
    assert torch.equal(whole.maps(), maps)
    # The zeros that a grid may have around a map are above -0.5, so that the border is kept; the rest is not above it.
    border = ops.hot_cells(maps.clamp(max=0) - 1, torch.tensor([-0.5]), backend=backend_of_hot_cells)
    assert border.places.tolist() == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
    assert border.maps()[0, 0, 1].tolist() == [-1.0, -0.5, -0.5, -1.0]
    assert torch.equal(whole.whole(torch.tensor([0]), torch.tensor([0])), maps[0])


@pytest.fixture(params=["cpp", "reference", "torch"])
def backend_of_hot_cells(request):
    return request.param


@pytest.mark.parametrize("seed", range(60))
def test_every_level_equals_the_reference(seed, simd):
    case = random_case(seed)
    for floors in floors_of(case, seed):
        for reach in (0, 1):
            ours, expected = (
                ops.hot_cells(case.activations, floors, reach=reach, backend=backend)
                for backend in ("cpp", "reference")
            )
            assert equal(ours, expected)
            kept = reference.hot_cells(case.activations, expected.floors, reach)
            rest = expected.floors.clamp(-(2.0**126), 0)[..., None, None]
            assert torch.equal(ours.maps(), torch.where(kept, case.activations.float(), rest))


@pytest.mark.parametrize("seed", range(40))
def test_higher_floors_keep_of_hot_cells_what_they_keep_of_the_maps(seed, simd):
    case = random_case(seed)
    high, low = floors_of(case, seed)
    lower = ops.hot_cells(case.activations, low)
    for backend in ("cpp", "reference"):
        assert equal(ops.hot_cells(lower, high, backend=backend), ops.hot_cells(case.activations, high))


@pytest.mark.parametrize("seed", range(40))
def test_counts_and_tails_above_the_floors_are_those_of_the_maps(seed, simd):
    case = random_case(seed)
    floors, lower = floors_of(case, seed)
    reach = 0 if case.grid is not None and case.grid.is_identity else 1
    labels = ops.encode_labels(case.planes, case.num_labels)
    maps, units = case.activations, len(floors)
    low = torch.where(floors == -torch.inf, 0, reference.keys_of(floors) + 1)
    high, shift = torch.full_like(low, 2**32 - 1), torch.full_like(low, 20)
    for hot in (ops.hot_cells(maps, floors, reach=reach), ops.hot_cells(maps, lower, reach=reach)):
        for backend in ("cpp", "reference"):
            found, expected = (
                ops.iou_counts_by_image(part, floors, labels, grid=case.grid, backend=backend) for part in (hot, maps)
            )
            assert all(map(torch.equal, found, expected))
            areas = ops.iou_counts(hot, floors, labels, grid=case.grid, backend=backend).unit_area
            assert torch.equal(areas, expected.unit_area)
            grid = case.grid or Grid.half_pixel(tuple(maps.shape[2:]), tuple(case.planes.shape[2:]))
            tails = []
            for part in (hot, maps):
                bins, above = torch.zeros(units, 4096, dtype=torch.int64), torch.zeros(units, dtype=torch.int64)
                ops.tail_histogram(part, low, high, shift, bins, above, grid=grid, backend=backend)
                tails.append((bins, above))
            assert all(map(torch.equal, *tails))


def test_images_are_slices_that_share_entries():
    maps = torch.randn(5, 3, 4, 4)
    hot = ops.hot_cells(maps, torch.full((3,), 0.5))
    assert torch.equal(hot[1::2].maps(), hot.maps()[1::2])
    assert hot[1::2].values.data_ptr() == hot.values.data_ptr()
    thresholds, planes = torch.full((3,), 0.6), torch.randint(0, 3, (2, 1, 9, 9))
    found, expected = (ops.iou_counts(part, thresholds, planes, 3) for part in (hot[1::2], maps[1::2]))
    assert torch.equal(found.intersection, expected.intersection)


def test_places_of_large_maps_need_more_bits():
    maps = torch.zeros(1, 2, 257, 256)
    maps[0, :, 256, 255] = 1.0
    hot = ops.hot_cells(maps, torch.zeros(2), reach=0)
    assert hot.places.dtype == torch.int32
    assert hot.places.tolist() == [257 * 256 - 1] * 2
    assert ops.hot_cells(maps[..., 1:, :], torch.zeros(2)).places.dtype == torch.uint16


def test_errors():
    maps, floors = torch.randn(2, 3, 4, 4), torch.full((3,), 0.5)
    with pytest.raises(TypeError, match=r"floors must be float32, but got torch.float64"):
        ops.hot_cells(maps, floors.double())
    with pytest.raises(ValueError, match=r"floors must have shape \[3\] or \[2, 3\], but got \[2\]"):
        ops.hot_cells(maps, floors[:2])
    for bad in (torch.inf, torch.nan):
        with pytest.raises(ValueError, match="floors must be finite"):
            ops.hot_cells(maps, floors * bad)
    with pytest.raises(ValueError, match="reach must be 0 or 1, but got 2"):
        ops.hot_cells(maps, floors, reach=2)
    bad = maps.clone()
    bad[1, 2, 3, 3] = torch.nan
    for layout in (torch.contiguous_format, torch.channels_last):
        with pytest.raises(ValueError, match="image 1 of the batch, unit 2"):
            ops.hot_cells(bad.contiguous(memory_format=layout), floors)
    hot = ops.hot_cells(maps, floors)
    with pytest.raises(ValueError, match="floors must not be below the floors of the hot cells, but unit 0's is"):
        ops.hot_cells(hot, floors - 0.1)
    with pytest.raises(ValueError, match="reach must be that of the hot cells, 1, but got 0"):
        ops.hot_cells(hot, floors, reach=0)
    with pytest.raises(ValueError, match="must have been kept"):
        hot.whole(torch.tensor([0]), torch.tensor([0]))


def test_what_hot_cells_cannot_answer_is_refused():
    maps, floors = torch.randn(2, 3, 4, 4), torch.full((3,), 0.5)
    planes = torch.randint(0, 3, (2, 1, 8, 8))
    hot, cells = ops.hot_cells(maps, floors), ops.hot_cells(maps, floors, reach=0)
    with pytest.raises(ValueError, match="thresholds must not be below the floors of the hot cells, but unit 1's is"):
        ops.iou_counts(hot, torch.tensor([0.5, 0.4, 0.5]), planes, 3)
    with pytest.raises(ValueError, match="hot cells must have a reach of 1, as the grid's, but have one of 0"):
        ops.iou_counts(cells, floors, planes, 3)
    zeros, bins = torch.zeros(3, dtype=torch.int64), torch.zeros(3, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="sample must be \"value\" of hot cells, but got 'min'"):
        ops.tail_histogram(hot, zeros, zeros, zeros, bins, zeros.clone(), sample="min")


def test_entries_made_by_hand_are_looked_at():
    maps, planes = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 1, 8, 8))
    floors = torch.full((3,), 0.5)
    hot = ops.hot_cells(maps, floors)
    ops.iou_counts(replace(hot, starts=hot.starts.clone()), floors, planes, 3)
    torn = [
        ("counts must be contiguous", {"counts": hot.counts.T.contiguous().T}),
        ("places must be contiguous", {"places": hot.places.int()}),
        ("places must be contiguous", {"values": hot.values[:-1]}),
        ("values must be contiguous float32", {"values": hot.values.double()}),
        ("entries and cells that there are", {"starts": hot.starts + 1}),
        ("entries and cells that there are", {"places": (hot.places.int() + 16).to(torch.uint16)}),
        ("places must rise", {"places": hot.places.int().flip(0).to(torch.uint16)}),
    ]
    for message, change in torn:
        with pytest.raises(ValueError, match=f"hot cells: .*{message}"):
            ops.iou_counts(replace(hot, **change), floors, planes, 3)
    hot.counts[0, 0] = 10**6  # what was trusted is looked at again once it was written into
    with pytest.raises(ValueError, match="entries and cells"):
        ops.iou_counts(hot, floors, planes, 3)


def test_opcheck():
    arguments = (torch.randn(2, 3, 4, 4), torch.full((2, 3), 0.5), 1, "auto")
    torch.library.opcheck(torch.ops.dissect.hot_cells.default, arguments, test_utils=("test_schema", "test_faketensor"))
