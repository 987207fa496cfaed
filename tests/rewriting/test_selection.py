"""Copy, paste and erase against plain arithmetic on whole maps; matches against a sort."""

import pytest
import torch
from rewriting import nets
from torch import nn

from dissect.rewriting import Memory, copy, erase, insert, matches, paste


def box(size, rows, columns, value=1.0):
    mask = torch.zeros(*size)
    mask[slice(*rows), slice(*columns)] = value
    return mask


def test_an_object_is_what_the_mask_covers():
    model = nets.progan()
    memory, z = Memory(model, "layer4"), nets.z_of(model)
    values = memory.values(memory.keys(z[:1]))[0]  # 8x8, of images of 16x16
    found = copy(memory, z[:1], box((16, 16), (4, 9), (0, 6)))
    assert torch.equal(found.values, values[:, 2:5, 0:3])
    assert found.alpha.tolist() == [[1, 1, 1], [1, 1, 1], [0.5, 0.5, 0.5]]


@pytest.mark.parametrize("tight", [True, False])
def test_it_is_pasted_into_the_middle_and_moved_inside(tight):
    model = nets.progan()
    memory, z = Memory(model, "layer4"), nets.z_of(model)
    copied = copy(memory, z[:1], box((16, 16), (4, 9), (0, 6)))
    keys, values = paste(memory, z[1:2], box((16, 16), (6, 8), (12, 16)), copied, tight=tight)  # row 3, columns 6 to 8
    whole = memory.keys(z[1:2])
    wanted = memory.values(whole).clone()
    place = wanted[0, :, 2:5, 5:8]
    wanted[0, :, 2:5, 5:8] = copied.alpha * copied.values + (1 - copied.alpha) * place
    here = (slice(None), slice(None), slice(2, 5), slice(5, 8)) if tight else ()
    assert torch.equal(values, wanted[here])
    assert torch.equal(keys.maps, whole.maps[here])


def test_crops_are_grown_to_whole_keys():
    model = nets.stylegan2()
    memory, z = Memory(model, "layer3"), nets.z_of(model)  # keys 4x4, values 8x8
    first, second = ((z[0][at : at + 1], z[1][at : at + 1]) for at in (0, 1))
    copied = copy(memory, first, box((16, 16), (2, 7), (4, 6)))
    assert copied.values.shape == (6, 3, 1)
    keys, values = paste(memory, second, box((16, 16), (6, 12), (6, 8)), copied)  # rows 3 to 5, column 3
    assert (keys.maps.shape[2:], values.shape[2:], keys.noise.shape[2:]) == ((2, 1), (4, 2), (4, 2))
    whole = memory.keys(second)
    assert torch.equal(keys.maps, whole.maps[:, :, 1:3, 1:2])
    assert torch.equal(keys.noise, whole.noise[:, :, 2:6, 2:4])
    plain = memory.values(whole)[:, :, 2:6, 2:4]
    assert torch.equal(values[:, :, 0], plain[:, :, 0])
    assert torch.equal(values[0, :, 1:3, 1:2], copied.values[:, :2])


def test_erased():
    """The goal is what the layer gives with the chosen units at 0 under the mask."""
    model = nets.progan()
    memory, z = Memory(model, "layer3"), nets.z_of(model, 8)
    memory.second_moment(z, progress=False)
    masks = torch.stack([box((8, 8), (1, 3), (2, 5)), box((8, 8), (4, 6), (0, 4), 0.5)])
    edit = erase(memory, z[:2], masks, goal=1, units=2, mode="closed")
    keys = memory.keys(z[:2])
    units = memory.direction(keys, 2, masks=masks, method="units").units
    assert edit.settings["erased"] == {"units": units.tolist(), "goal": 1, "images": 2}
    crop = keys[1:2].crop(slice(4, 6), slice(0, 4))
    without = crop.maps.clone()
    without[:, units] = 0
    values = nn.functional.conv2d(without, model.layer3.conv.weight.detach(), padding=1)
    wanted = insert(memory, crop, values, memory.direction(keys, 1, masks=masks), "closed")
    torch.testing.assert_close(edit.lambdas, wanted.lambdas, atol=1e-5, rtol=0)
    assert edit.rank == 1
    assert edit.apply().undo().layer == "layer3.conv"


def test_matches_are_the_largest():
    model = nets.stylegan2()
    memory, z = Memory(model, "layer4"), nets.z_of(model, 7)
    direction = nets.randn(6)
    found = matches(memory, z, direction, 3, batch_size=3, progress=False)
    maps = torch.einsum("nihw,i->nhw", memory.keys(z).maps, direction)
    torch.testing.assert_close(found.scores, maps.flatten(1).amax(1), rtol=1e-4, atol=1e-5)
    assert found.images.tolist() == maps.flatten(1).amax(1).argsort(descending=True)[:3].tolist()
    torch.testing.assert_close(found.maps, maps[found.images], rtol=1e-4, atol=1e-5)
    every = maps.flatten().sort().values
    assert found.level == pytest.approx(float(every[len(every) * 999 // 1000]), rel=1e-4)


def test_refused():
    model = nets.progan()
    memory, z = Memory(model, "layer4"), nets.z_of(model, 8)
    memory.second_moment(z, progress=False)
    all_of_it = copy(memory, z[:1], torch.ones(8, 8))
    masks = torch.ones(2, 8, 8)
    small = Memory(model, "layer2")
    for who, call, text in (
        ("copy", lambda: copy(memory, z, torch.ones(8, 8)), "inputs must be of one image, but are of 8"),
        ("copy", lambda: copy(memory, z[:1], torch.zeros(8, 8)), "mask must select something, but is 0 everywhere"),
        ("copy", lambda: copy(memory, z[:1], torch.ones(1, 8, 8)), r"mask must be \[H, W\], but is \[1, 8, 8\]"),
        ("copy", lambda: copy(memory, z[:1], torch.ones(8, 8) * 9), r"masks must be in \[0, 1\]"),
        (
            "copy",
            lambda: copy(memory, z[:1], torch.ones(16, 8)),
            "whose map is 8 by 8, or their proportions, but are 16",
        ),
        ("erase", lambda: erase(memory, z[:2], torch.ones(2, 8, 12)), "or their proportions, but are 8 by 12"),
        ("Memory", lambda: memory.direction(memory.keys(z[:2]), masks=torch.ones(2, 20, 16)), "but are 20 by 16"),
        ("Memory", lambda: memory.direction(memory.keys(z[:2]), masks=0 * masks), "must select something, but are 0"),
        (
            "paste",
            lambda: paste(small, z[:1], torch.ones(8, 8), all_of_it),
            "must fit into the image, 4 places, but has 8",
        ),
        (
            "erase",
            lambda: erase(memory, z[:2], masks, goal=2),
            "goal must be the number of an image, below 2, but is 2",
        ),
        (
            "erase",
            lambda: erase(memory, z[:2], masks * torch.tensor([0, 1])[:, None, None], units=2),
            "of the goal, image 0",
        ),
        ("matches", lambda: matches(memory, z, torch.ones(3)), r"direction must be of rank 1, 6 numbers, but is \[3\]"),
    ):
        with pytest.raises(ValueError, match=f"^{who}: .*{text}"):
            call()
