"""Maps copied plane by plane, and maps whose units are neighbours: the same bits as PyTorch's own copy."""

import pytest
import torch

from dissect import ops
from dissect.grid import Grid
from dissect.ops.native import copied_planes
from dissect.reference import keys_of


def pixels(generator, dtype=torch.float32):
    """[N, U, h, w] maps whose units are neighbours, some of them cut out of larger ones."""
    n, c, h, w = (int(torch.randint(1, most, (), generator=generator)) for most in (4, 70, 20, 36))
    wide = torch.randn(n, h + 2, w + 3, c + 5, generator=generator).to(dtype)
    cut = wide[:, 1 : h + 1, 1 : w + 1, :c].permute(0, 3, 1, 2)
    return [cut, cut.contiguous(memory_format=torch.channels_last), cut.transpose(2, 3)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("seed", range(10))
def test_every_level_copies_all_bits(seed, dtype, simd):
    for maps in pixels(torch.Generator().manual_seed(seed), dtype):
        maps[0, 0, 0, 0], maps[0, -1, -1, -1] = float("nan"), -0.0
        whole = torch.int32 if dtype == torch.float32 else torch.int16
        copy = copied_planes(maps)
        assert copy.is_contiguous()
        assert torch.equal(copy.view(whole), maps.contiguous().view(whole))


def other_tensors():
    maps = torch.randn(2, 3, 4, 5)
    return {
        "planes": maps,
        "every second column": maps[..., ::2],
        "expanded": maps[:, :1].expand(2, 3, 4, 5),
        "integers": torch.arange(24).view(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
        "doubles": maps.double().contiguous(memory_format=torch.channels_last),
        "vectors": torch.randn(3, 7)[:, ::2],
        "volumes": torch.randn(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d),
        "no images": maps[:0].contiguous(memory_format=torch.channels_last),
        "a negative view": torch.randn(2, 3, 4, 5, dtype=torch.complex64).conj().imag,
        "a parameter": torch.nn.Parameter(maps.contiguous(memory_format=torch.channels_last)).detach(),
        "large": torch.randn(3, 2, 600, 601),
    }


@pytest.mark.parametrize("name", other_tensors())
def test_whatever_a_layer_gives(name):
    tensor = other_tensors()[name]
    copy = copied_planes(tensor)
    assert copy.is_contiguous()
    assert copy.data_ptr() != tensor.data_ptr() or not tensor.numel()
    assert torch.equal(copy, tensor)


def test_a_subclass_stays_one():
    class Own(torch.Tensor):
        pass

    assert isinstance(copied_planes(torch.randn(2, 3, 4, 5).as_subclass(Own)), Own)


@pytest.mark.parametrize("seed", range(10))
def test_ops_read_neighbouring_units_as_they_read_planes(seed, simd):
    generator = torch.Generator().manual_seed(seed)
    for maps in pixels(generator):
        planes = maps.contiguous()
        units, grid = maps.shape[1], Grid.half_pixel(maps.shape[2:], (40, 50))
        labels = torch.randint(0, 4, (len(maps), 1, 40, 50), generator=generator)
        thresholds = torch.randn(units, generator=generator)
        found = [ops.iou_counts(part, thresholds, labels, 4, grid=grid).intersection for part in (maps, planes)]
        assert torch.equal(*found)
        assert torch.equal(ops.image_peaks(maps), planes.amax((2, 3)))
        tails = []
        for part in (maps, planes):
            low = keys_of(thresholds)
            bins, above = torch.zeros(units, 64, dtype=torch.int64), torch.zeros(units, dtype=torch.int64)
            ops.tail_histogram(part, low, low + (1 << 24), torch.full((units,), 19), bins, above, grid=grid)
            tails.append(torch.cat([bins, above[:, None]], 1))
        assert torch.equal(*tails)


@pytest.mark.parametrize("seed", range(6))
def test_one_bad_value_anywhere_is_found_and_named(seed, simd):
    generator = torch.Generator().manual_seed(seed)
    for maps in pixels(generator):
        for part in (maps, maps.contiguous()):
            image, unit, y, x = (int(torch.randint(0, size, (), generator=generator)) for size in part.shape)
            kept = float(part[image, unit, y, x])
            part[image, unit, y, x] = (float("nan"), float("inf"), -(2.0**126))[seed % 3]
            with pytest.raises(ValueError, match=f"image {image} of the batch, unit {unit}, is not"):
                ops.image_peaks(part)
            part[image, unit, y, x] = kept
