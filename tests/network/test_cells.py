"""Tokens and maps are read as rows and columns of the image only where a pass does not tell that they are none."""

import pytest
import torch
from other_networks import SIDE, of_others, of_transformers
from torch import nn

import dissect
from dissect.network.cells import CellTracker, in_order
from dissect.network.outputs import first_tensor

OPTIONS = {"fraction": 0.1, "progress": False, "decoys": 0, "resamples": 0}


class Tokens(nn.Module):
    """Patches [N, U, 4, 6] of images 16x24 as a way of ordering them makes tokens or maps of them."""

    def __init__(self, order):
        super().__init__()
        self.patch, self.fc, self.order = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 5), order

    def forward(self, x):
        return self.fc(self.order(self.patch(x)))


def rows(x):
    return x.flatten(2).transpose(1, 2)


def token(x, count=1):
    return torch.zeros(len(x), count, x.shape[1])


def windows(x):
    n, u, h, w = x.shape
    return x.view(n, u, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(n, h * w, u)


def windows_back(x):
    n, u, h, w = x.shape
    return windows(x).view(n, h // 2, w // 2, 2, 2, u).permute(0, 1, 3, 2, 4, 5).reshape(n, h * w, u)


def attended(x):
    x = rows(x)
    return x + (x @ x.transpose(1, 2)).softmax(-1) @ x


GOOD = {
    "row by row": rows,
    "class and registers first": lambda x: torch.cat([token(x, 5), rows(x)], 1),
    "in windows and back": windows_back,
    "attention": attended,
    "heads": lambda x: rows(x).view(len(x), 24, 2, 4).permute(0, 2, 1, 3).permute(0, 2, 1, 3).reshape(len(x), 24, 8),
    "gated": lambda x: rows(x * x.mean((2, 3), keepdim=True).sigmoid()),
    "pooled and back": lambda x: rows(nn.functional.interpolate(nn.functional.max_pool2d(x, 2), scale_factor=2)),
    "repeated": lambda x: rows(x[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)),
    "mixed places": lambda x: rows(x) + (rows(x).transpose(1, 2) @ torch.ones(24, 24)).transpose(1, 2),
    "unknown": lambda x: rows(x).sort(1).values,
}
BAD = {
    "column by column": (lambda x: x.permute(0, 3, 2, 1).flatten(1, 2), "row 0, column 1 is row 1, column 0"),
    "windows": (windows, "row 0, column 2 is row 1, column 0"),
    "a class token last": (lambda x: torch.cat([rows(x), token(x)], 1), "row 0, column 5 is row 1, column 0"),
    "tokens for a row last": (lambda x: torch.cat([rows(x), token(x, 6)], 1), "row 3, column 0 is no cell"),
    "mirrored": (lambda x: rows(x.flip(3)), "row 0, column 1 is row 0, column 4"),
    "shuffled": (lambda x: rows(x)[:, torch.arange(23, -1, -1)], "row 0, column 1 is row 3, column 4"),
    "gathered": (
        lambda x: rows(x).gather(1, torch.arange(24).roll(1)[:, None].expand(len(x), 24, 8)),
        "row 0, column 1 is row 0, column 0",
    ),
}


def dissected(model, **options):
    torch.manual_seed(0)
    images, planes = torch.rand(5, 3, 16, 24), torch.randint(0, 3, (5, 1, 16, 24))
    return dissect.dissect(model.eval(), "fc", [(images, planes)], **OPTIONS, **options)


@pytest.mark.parametrize("order", GOOD)
def test_tokens_row_by_row_are_read(order):
    assert dissected(Tokens(GOOD[order]), tokens=(4, 6))["fc"].num_units == 5


def test_images_with_channels_last_say_nothing_of_tokens():
    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(48, 5)

        def forward(self, x):  # [N, H, W, 3]
            return self.fc(x.view(len(x), 4, 4, 6, 4, 3).transpose(2, 3).reshape(len(x), 24, 48))

    batches = [(torch.rand(5, 16, 24, 3), torch.randint(0, 3, (5, 1, 16, 24)))]
    found = dissect.dissect(Patches().eval(), "fc", batches, tokens=(4, 6), **OPTIONS)
    assert found["fc"].num_units == 5


@pytest.mark.parametrize("order", BAD)
def test_tokens_in_another_order_are_refused(order):
    make, told = BAD[order]
    with pytest.raises(ValueError, match=f"the last 4x6 tokens of layer 'fc' must be rows and columns .*{told}"):
        dissected(Tokens(make), tokens=(4, 6))


def test_a_grid_that_is_turned_is_refused_with_the_right_one():
    with pytest.raises(ValueError, match=r"the last 6x4 tokens .* give tokens=\(4, 6\)"):
        dissected(Tokens(rows), tokens=(6, 4))


def test_maps_that_are_turned_are_refused_with_their_layout():
    turned, plain = Tokens(lambda x: x.permute(0, 3, 2, 1)), Tokens(lambda x: x.permute(0, 2, 3, 1))
    turned.load_state_dict(plain.state_dict())
    turned.fc, plain.fc = nn.Sequential(turned.fc, Doubled()), nn.Sequential(plain.fc, Doubled())
    with pytest.raises(ValueError, match=r"maps of layer 'fc' must be rows and columns of the image.*layout='NWHU'"):
        dissected(turned)
    assert torch.equal(dissected(turned, layout="NWHU")["fc"].intersection, dissected(plain)["fc"].intersection)


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


@pytest.mark.parametrize("name", of_others())
def test_every_layer_of_other_networks_has_its_cells_in_order(name):
    model, images, known, tracker = of_others()[name].eval(), torch.rand(1, 3, SIDE, SIDE), [], CellTracker()

    def look(module, args, output):
        known.append(tracker.of(first_tensor(output)))

    for module in model.modules():
        module.register_forward_hook(look)
    with torch.no_grad(), tracker:
        tracker.begin(images)
        model(images)
    maps = [cells for cells in known if cells is not None and cells.ndim == 4 and len(cells) == 1]
    assert all(in_order(cells[0, 0]) or in_order(cells[0, :, :, 0]) for cells in maps)
    assert len(maps) + sum(cells is not None and cells.ndim == 3 for cells in known) >= 3


def test_hiera_has_its_tokens_in_units_until_its_last_stage(missing):
    try:
        import transformers
    except ImportError as error:
        missing("transformers", str(error))
    torch.manual_seed(0)
    model = transformers.HieraModel(
        transformers.HieraConfig(
            embed_dim=10, image_size=(64, 64), depths=[1, 1], num_heads=[1, 2], num_query_pool=1,
            masked_unit_attention=[True, False],
        )
    ).eval()  # fmt: skip
    batches = [(torch.rand(2, 3, 64, 64), torch.randint(0, 3, (2, 1, 64, 64)))]
    with pytest.raises(ValueError, match=r"the last 16x16 tokens .* must be rows and columns of the image"):
        dissect.dissect(model, "encoder.stages.0", batches, tokens=(16, 16), **OPTIONS)
    assert dissect.dissect(model, "embeddings", batches, tokens=(16, 16), **OPTIONS)["embeddings"].num_units == 10
    vit = of_transformers(transformers)["ViT"].eval()
    assert dissect.dissect(vit, "layers.1", batches, tokens=(4, 4), **OPTIONS)["layers.1"].num_units == 20
