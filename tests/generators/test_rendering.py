"""Edited images are those of whole runs, to the bit, while what ends before the layer runs once."""

import pytest
import torch
from generators.painter import Colours, Drawn, Painter

import dissect
from dissect import models
from dissect.generators.rendering import Renderer, UnitEdit


def progan():
    return models.ProGAN((8, 8, 6), z_channels=5)


def stylegan2():
    return models.StyleGAN2((8, 8, 6), w_channels=5, mapping_layers=2)


def wgangp():
    return models.WGANGP((8, 8, 6), z_channels=5)


CASES = [
    (Painter, "features", False), (Painter, "features", True), (Drawn, "noise", True), (progan, "layer3", False),
    (progan, "layer4.conv", False), (stylegan2, "layer4", True), (stylegan2, "layer3.modulate", False),
    (wgangp, "layer3.conv1", False),
]  # fmt: skip


def edits(renderer):
    """Everywhere, in some cells, in others for each z, and to a level of each z."""
    (h, w), count, units = renderer.map_size, len(renderer), renderer.num_units
    chance = torch.Generator().manual_seed(0)
    masks = (torch.rand(count, h, w, generator=chance) < 0.5).float()
    levels = torch.randn(count, units, generator=chance)
    return [
        *(UnitEdit(torch.tensor([unit])) for unit in range(units)),
        UnitEdit(torch.tensor([0, 2]), 2.0, masks[0]),
        UnitEdit(torch.tensor([1, 3]), levels[0], masks),
        UnitEdit(torch.arange(units), levels),
    ]


def whole(model, layer, z, edit, rows, axes):
    """The images of a run within `dissect.insert`."""
    value, mask = edit.value, edit.mask
    if isinstance(value, torch.Tensor):
        value = value[rows][:, :, None, None] if value.ndim == 2 else value[edit.units]
    if mask is not None and mask.ndim == 3:
        mask = mask[rows][:, None]
    extra = {"noise": z[1][rows]} if isinstance(z, tuple) else {}
    own = z[0] if isinstance(z, tuple) else z
    with torch.no_grad(), dissect.insert(model, layer, edit.units, value=value, mask=mask, layout=axes):
        return model(own[rows], **extra)


@pytest.mark.parametrize(("make", "layer", "noise"), CASES)
def test_edited_images_are_those_of_whole_runs_to_the_bit(make, layer, noise):
    model = make().eval()
    z = dissect.latents(model, 5, seed=3)
    given = (z, dissect.noise_seeds(5)) if noise else z
    renderer = Renderer(model, layer, given, Colours(), 3)
    wanted, found = edits(renderer), {}
    for rows in (slice(0, 3), slice(3, 5)):
        renderer.edited(rows, wanted, lambda at, images, rows=rows: found.update({(at, rows.start): images}))
        for at, edit in enumerate(wanted):
            assert torch.equal(found[at, rows.start], whole(model, layer, given, edit, rows, "NUHW"))
    assert len(found) == 2 * len(wanted)
    assert not torch.equal(found[0, 0], found[len(wanted) - 1, 0])


def test_the_first_layers_run_once_for_each_batch_however_many_edits_there_are(monkeypatch):
    model, ran = progan().eval(), []
    renderer = Renderer(model, "layer4", dissect.latents(model, 5, seed=3), Colours(), 3)
    all_edits = edits(renderer)
    renderer.edited(slice(0, 3), all_edits[:1], lambda *_: None)  # the first time looks whether that is right
    forward = torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, x: ran.append(self) or forward(self, x))
    renderer.edited(slice(3, 5), all_edits, lambda *_: None)
    for number in (1, 2, 3, 4):
        assert ran.count(model.get_submodule(f"layer{number}.conv")) == 1
    assert ran.count(model.get_submodule("layer5.conv")) == len(all_edits)


class Counting(Painter):
    """Each pass finds what the one before left."""

    def __init__(self):
        super().__init__()
        self.counted = Counted()

    def forward(self, z, noise=None):
        images = self.paint(self.features(self.counted(self.first(z).view(-1, 4, 4, 4))))
        return images * self.counted.kept.pop()


class Counted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.kept = []

    def forward(self, x):
        self.kept.append(0.5)
        return x * 2


def test_a_generator_whose_first_layers_do_more_is_run_as_a_whole():
    model = Counting().eval()
    z = dissect.latents(model, 4, seed=3)
    renderer, found = Renderer(model, "features", z, Colours(), 4), []
    edit = UnitEdit(torch.tensor([0]))
    with pytest.warns(UserWarning, match="all of the network runs for each edit of layer 'features'"):
        renderer.edited(slice(0, 4), [edit, edit], lambda _, images: found.append(images))
    assert all(torch.equal(images, whole(model, "features", z, edit, slice(0, 4), "NUHW")) for images in found)
