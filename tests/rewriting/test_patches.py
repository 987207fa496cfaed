"""Patches drawn alone, by the generator's own layers on what was cut out by hand."""

import pytest
import torch
from rewriting import nets
from torch import nn

from dissect.rewriting import Memory, draw_patches, draw_values, patch_distances
from dissect.stats import frechet_distance


def test_progan_draws_what_its_layers_draw_of_a_crop():
    model = nets.progan()
    memory, z = Memory(model, "layer5"), nets.z_of(model, 3)
    corners = torch.tensor([[0, 0], [3, 9], [12, 4]])
    found = draw_patches(memory, z, 4, corners)
    maps = memory.keys(z).maps
    crops = torch.stack([each[:, r : r + 4, c : c + 4] for each, (r, c) in zip(maps, corners.tolist())])
    children = dict(model.named_children())
    layer = children["layer5"]
    with torch.no_grad():
        x = nn.Sequential(*list(layer.children())[list(layer._modules).index("conv") :])(crops)
        for name in list(children)[list(children).index("layer5") + 1 :]:
            x = children[name](x)
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize("layer", ["layer2", "layer3", "layer4", "layer5", "layer6"])
def test_a_patch_of_everything_is_the_whole_image(layer):
    for model in (nets.stylegan2(), nets.progan()):
        memory, inputs = Memory(model, layer), nets.z_of(model, 2)
        side = memory.keys(inputs).maps.shape[2]
        with torch.no_grad():
            whole = model(inputs[0], noise=inputs[1]) if isinstance(inputs, tuple) else model(inputs)
        found = draw_patches(memory, inputs, side, torch.zeros(2, 2, dtype=torch.int64))
        torch.testing.assert_close(found, whole)


@pytest.mark.parametrize(("layer", "factor"), [("layer5", 2), ("layer6", 1)])
def test_a_stylegan2_cuts_what_coarser_layers_drew(layer, factor):
    model = nets.stylegan2()
    with torch.no_grad():
        model.to_rgb3.conv.weight.zero_()  # so that the image is what coarser layers drew
    z, seeds = nets.z_of(model, 1)
    with torch.no_grad():
        whole = model(z, noise=seeds)
    found = draw_patches(Memory(model, layer), (z, seeds), 2, torch.tensor([[1, 2]]))
    rows, columns = slice(factor, 3 * factor), slice(2 * factor, 4 * factor)
    torch.testing.assert_close(found, whole[:, :, rows, columns])


def test_values_that_are_drawn_alone():
    model = nets.stylegan2()
    memory, inputs = Memory(model, "layer6"), nets.z_of(model, 2)
    masks = torch.zeros(2, 16, 16)
    masks[:, 4, 5] = 1
    values = memory.values(memory.keys(inputs)) * masks[:, None]
    rgb = model.to_rgb3
    with torch.no_grad():
        w = model.mapping(inputs[0])
        expected = rgb.conv(rgb.modulate(values, rgb.style(w))) + rgb.bias[:, None, None]
    torch.testing.assert_close(draw_values(memory, inputs, masks), expected)


def test_distances_are_of_the_features():
    model = nets.progan()
    z = nets.z_of(model, 6)
    rows = patch_distances(model, ["layer4", "layer5"], z, lambda images: images.mean((2, 3)), (2, 8, 99), batch_size=4,
                           progress=False)  # fmt: skip
    assert [row[:3] for row in rows] == [("layer4", 2, 4), ("layer4", 8, 16), ("layer5", 2, 2), ("layer5", 8, 8)]
    with torch.no_grad():
        whole = model(z).mean((2, 3))
    assert rows[1].distance == pytest.approx(
        frechet_distance(whole, whole), abs=1e-3
    )  # all of the map, all of the image
    assert rows[1].floor == pytest.approx(0, abs=1e-3)
    again = patch_distances(
        model, ["layer4"], z, lambda images: images.mean((2, 3)), (2,), batch_size=6, progress=False
    )
    assert again[0].distance == pytest.approx(rows[0].distance, rel=1e-4)  # places do not depend on the batch
    other = patch_distances(model, ["layer4"], z, lambda images: images.mean((2, 3)), (2,), seed=1, progress=False)
    assert abs(other[0].distance - rows[0].distance) > 1e-3


def test_what_is_refused():
    model = nets.progan()
    memory, z = Memory(model, "layer4"), nets.z_of(model, 2)
    places = torch.zeros(2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match="squares of 4 must lie within maps"):
        draw_patches(memory, z, 4, places + 5)
    with pytest.raises(ValueError, match=r"corners must be \[2, 2\]"):
        draw_patches(memory, z, 4, places[:1])
    with pytest.raises(ValueError, match="masks must be one per image"):
        draw_values(memory, z, torch.ones(1, 4, 4))
    with pytest.raises(ValueError, match="a size that fits"):
        patch_distances(model, ["layer4"], z, lambda images: images.mean((2, 3)), [50], progress=False)
    with pytest.raises(ValueError, match="at least one each"):
        patch_distances(model, [], z, lambda images: images.mean((2, 3)), progress=False)
    styled = nets.stylegan2()
    z, _ = nets.z_of(styled, 2)
    with pytest.raises(ValueError, match="must be \\(z, noise seeds\\) of a StyleGAN2"):
        draw_patches(Memory(styled, "layer4"), z, 4, places)
