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


class Moved(nn.Module):
    """Maps [N, 6, 8, 12] of images 16x24, moved, read by a module that gives maps whatever their cells are."""

    def __init__(self, move, last):
        super().__init__()
        self.stem, self.fc, self.move, self.calls = nn.Conv2d(3, 6, 2, 2), last, move, 0

    def forward(self, x):
        self.calls += 1
        return self.fc(self.move(self.stem(x)))


MOVES = {
    "mirrored": lambda x: x.flip(3),
    "turned": lambda x: x.transpose(2, 3),
    "picked": lambda x: x[:, :, :, torch.arange(11, -1, -1)],
    "gathered": lambda x: x.gather(3, torch.arange(11, -1, -1).expand_as(x)),
    "rolled": lambda x: x.roll(3, 3),
    "reshaped": lambda x: x.reshape(len(x), 6, 12, 8),
    "unfolded": lambda x: nn.functional.unfold(x, 2, stride=2).reshape(len(x), 6, 4, 24),
}
READERS = {
    "normalisation": lambda: nn.BatchNorm2d(6),
    "pooling": lambda: nn.MaxPool2d(2),
    "convolution": lambda: nn.Conv2d(6, 5, 3, padding=1, stride=2),
    "ReLU behind two": lambda: nn.Sequential(nn.Conv2d(6, 6, 1), nn.MaxPool2d(2), nn.ReLU()),
}


def test_units_of_which_some_are_mirrored_are_refused():
    some = lambda x: torch.cat([x[:, :3], x[:, 3:].flip(3)], 1)  # noqa: E731
    for reader in ("normalisation", "pooling"):
        with pytest.raises(ValueError, match="maps of layer 'fc' must be rows and columns of the image, but followed"):
            dissected(Moved(some, READERS[reader]()))


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("move", MOVES)
def test_maps_in_another_order_are_refused_whatever_reads_them(move, reader):
    with pytest.raises(ValueError, match="maps of layer 'fc' must be rows and columns of the image, but followed"):
        dissected(Moved(MOVES[move], READERS[reader]()))


def convolved_in_windows(x):
    """As EfficientViT does: windows of 4x4 lie side by side as images do, and a convolution reads each."""
    n, u, h, w = x.shape
    cut = x.view(n, u, h // 4, 4, w // 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, u, 4, 4)
    read = nn.functional.conv2d(cut, torch.ones(u, 1, 3, 3), padding=1, groups=u)
    return read.view(n, h // 4, w // 4, u, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(x.shape)


@pytest.mark.parametrize(
    "move",
    [
        convolved_in_windows,
        lambda x: nn.functional.fold(nn.functional.unfold(x, 2, stride=2), (8, 12), 2, stride=2),
        lambda x: nn.functional.conv2d(x.flip(3), torch.ones(6, 6, 3, 3), padding=1).flip(3),
        lambda x: x.permute(0, 2, 3, 1).relu().permute(0, 3, 1, 2),
        lambda x: x.view(len(x), 2, 3, 8, 12).transpose(1, 2).reshape(x.shape),
        lambda x: torch.cat([x[:, :3, 0::2, 0::2], x[:, 3:, 1::2, 1::2]], 1),
    ],
    ids=[
        "convolved in windows",
        "folded again",
        "mirrored back",
        "channels last and back",
        "channels shuffled",
        "every second",
    ],
)
def test_maps_that_are_back_in_order_are_read(move):
    assert dissected(Moved(move, nn.BatchNorm2d(6)))["fc"].num_units == 6


def test_a_layer_is_followed_once_where_something_moved_and_else_never():
    for move, passes in ((nn.Identity(), 0), (lambda x: x.transpose(2, 3).transpose(2, 3), 1)):
        model = Moved(move, nn.BatchNorm2d(6)).eval()
        batches = [(torch.rand(5, 3, 16, 24), torch.randint(0, 3, (5, 1, 16, 24)))] * 3
        dissect.dissect(model, "fc", batches, **OPTIONS)
        assert model.calls == 3 + passes  # activations are kept


def test_a_network_that_takes_batches_of_one_size_is_read_all_the_same():
    class OfFive(Moved):
        def forward(self, x):
            assert len(x) == 5, "as timm asserts what it takes"
            return super().forward(x)

    assert dissected(OfFive(lambda x: x.transpose(2, 3).transpose(2, 3), nn.BatchNorm2d(6)))["fc"].num_units == 6
    with pytest.raises(ValueError, match="maps of layer 'fc' must be rows and columns of the image, but followed"):
        dissected(OfFive(MOVES["mirrored"], nn.BatchNorm2d(6)))


def test_what_is_compiled_runs_compiled_from_the_first_pass_on():
    torch._dynamo.reset()  # it keeps what other tests compiled with this, of one code object, up to a limit
    calls = []

    def backend(graph, _):
        return lambda *given: calls.append(1) or graph(*given)

    doubled = torch.compile(lambda x: 2 * x, backend=backend)
    model = Moved(doubled, nn.BatchNorm2d(6)).eval()
    batches = [(torch.rand(5, 3, 16, 24), torch.randint(0, 3, (5, 1, 16, 24)))] * 3
    dissect.dissect(model, "fc", batches, **OPTIONS)
    assert len(calls) == model.calls == 3


def test_a_given_layout_is_taken_as_given():
    found = dissected(Moved(MOVES["mirrored"], nn.BatchNorm2d(6)), layout="NUHW")
    assert found.settings["layouts"]["fc"] == ["NUHW", "given"]


def test_mobilevit_v2_has_its_maps_in_patches_within_its_transformers(missing):
    try:
        import transformers
    except ImportError as error:
        missing("transformers", str(error))
    torch.manual_seed(0)
    config = transformers.MobileViTV2Config(image_size=64, width_multiplier=0.25)
    model, stage = transformers.MobileViTV2Model(config).eval(), "encoder.layer.2"
    batches = [(torch.rand(2, 3, 64, 64), torch.randint(0, 3, (2, 1, 64, 64)))]
    for layer in ("layernorm", "transformer.layer.0.ffn.conv1.convolution"):
        with pytest.raises(ValueError, match="must be rows and columns of the image, but followed through a pass"):
            dissect.dissect(model, f"{stage}.{layer}", batches, **OPTIONS)
    assert dissect.dissect(model, f"{stage}.conv_projection", batches, **OPTIONS)[f"{stage}.conv_projection"].num_units


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
