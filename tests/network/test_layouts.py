"""The units are the units, in every layout: other libraries' networks layer by layer, and what is refused."""

import pytest
import torch
from other_networks import PLACES, SIDE, of_others, of_transformers
from torch import nn

import dissect
from dissect.network.layouts import Layouts, from_maps, to_maps
from dissect.network.listing import list_layers
from dissect.network.outputs import first_tensor
from dissect.network.tracking import UnitTracker

NAMES = ("ViT", "CLIP's vision tower", "ResNet", "ConvNeXt", "Swin", "SegFormer")
OTHERS = tuple(of_others())
IMAGES = 3


@pytest.fixture(scope="module")
def networks(missing):
    try:
        import transformers
    except ImportError as error:
        missing("transformers", str(error))
    torch.manual_seed(0)
    return of_transformers(transformers)


def check_every_layer(model):
    """Each layer's number of units is its weights', and an edit of one changes that channel alone."""
    model.eval()
    images, checked = torch.rand(IMAGES, 3, SIDE, SIDE), 0
    for row in list_layers(model, images):
        if not row.output or row.note or "position" in row.layer:
            continue
        with torch.no_grad(), dissect.Trace(model, row.layer) as trace:
            model(images)
        before = first_tensor(trace[row.layer])
        channels = [axis for axis in range(1, before.ndim) if before.shape[axis] not in PLACES]
        assert len(channels) == 1, (row, before.shape)  # so the networks were made
        assert row.units == before.shape[channels[0]], row
        module = model.get_submodule(row.layer)
        for name in ("out_channels", "out_features", "num_features"):
            assert getattr(module, name, row.units) == row.units, row
        unit = row.units // 2
        with (
            torch.no_grad(),
            dissect.insert(model, row.layer, [unit], value=7.0),
            dissect.Trace(model, row.layer) as trace,
        ):
            model(images)
        after = first_tensor(trace[row.layer])
        expected = before.index_fill(channels[0], torch.tensor([unit]), 7.0)
        assert torch.equal(after, expected), row
        checked += 1
    return checked


@pytest.mark.parametrize(("name", "layers"), list(zip(NAMES, (29, 29, 38, 23, 64, 54))))
def test_every_layer_of_transformers_networks(networks, name, layers):
    assert check_every_layer(networks[name]) >= layers


@pytest.mark.parametrize("name", OTHERS)
def test_every_layer_of_other_blocks(name):
    assert check_every_layer(of_others()[name]) >= 5


def test_tokens_of_every_layer_are_counted_as_those_of_an_identity_after_it():
    class ViT(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.fc, self.same = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 24), nn.Identity()

        def forward(self, x):
            return self.same(self.fc(self.patch(x).flatten(2).transpose(1, 2)))

    images, planes = torch.rand(8, 3, 16, 16), torch.randint(0, 3, (8, 1, 16, 16))
    d = dissect.dissect(ViT().eval(), ["fc", "same"], [(images, planes)], tokens=(4, 4), fraction=0.1, progress=False)
    assert d["fc"].num_units == 24
    assert torch.equal(d["fc"].intersection, d["same"].intersection)
    assert d.settings["layouts"] == {"fc": ["NTU", "module"], "same": ["NTU", "pass"]}


def test_a_pyramid_has_a_grid_per_layer_and_images_may_come_second():
    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.fine, self.coarse, self.fc = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 6, 2, 2), nn.Linear(6, 5)
            self.second = nn.Linear(6, 6)

        def forward(self, x):
            fine = self.fine(x)
            coarse = self.second(self.coarse(fine).flatten(2).permute(2, 0, 1))  # [T, N, U]
            return self.fc(fine.flatten(2).transpose(1, 2)), coarse

    model, images, planes = Pyramid().eval(), torch.rand(7, 3, 16, 16), torch.randint(0, 3, (7, 1, 16, 16))
    options = {"fraction": 0.1, "progress": False}
    d = dissect.dissect(model, ["fc", "second"], [(images, planes)], tokens={"fc": (4, 4), "second": (2, 2)}, **options)
    assert d["fc"].grid.source_shape == (4, 4)
    assert d["second"].grid.source_shape == (2, 2)
    assert d.settings["layouts"]["second"] == ["TNU", "module"]
    told = dissect.dissect(model, "second", [(images, planes)], tokens=(2, 2), layout="TNU", **options)
    assert torch.equal(told["second"].intersection, d["second"].intersection)
    with pytest.raises(ValueError, match="tokens must be of layers"):
        dissect.dissect(model, "fc", [(images, planes)], tokens={"fine": (4, 4)}, **options)


def test_as_many_tokens_as_images_are_told_apart_by_another_pass():
    class Even(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.fc = nn.Conv2d(3, 5, 8, 8), nn.Linear(5, 5)

        def forward(self, x):
            return self.fc(self.patch(x).flatten(2).permute(2, 0, 1))

    model, images, planes = Even().eval(), torch.rand(4, 3, 16, 16), torch.randint(0, 3, (4, 1, 16, 16))
    d = dissect.dissect(model, "fc", [(images, planes)], tokens=(2, 2), fraction=0.1, progress=False)
    assert d.settings["layouts"]["fc"][0] == "TNU"


def test_what_else_a_layer_gives_is_left_alone():
    class Cache:
        def __init__(self, keys):
            self.keys = keys

    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            found = self.conv(x)
            return found, Cache(found)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.attend = Attend()

        def forward(self, x):
            return self.attend(x)[0].relu_()

    images, planes = torch.rand(4, 3, 6, 6), torch.randint(0, 3, (4, 1, 6, 6))
    options = {"fraction": 0.1, "progress": False}
    model = Net().eval()
    d = dissect.dissect(model, ["attend", "attend.conv"], [(images, planes)], **options)
    assert torch.equal(d["attend"].intersection, d["attend.conv"].intersection)
    assert d.settings["layouts"]["attend"] == ["NUHW", "pass"]


class Unfollowed(nn.Module):
    """Sorted numbers: nobody knows to which unit each belongs."""

    def forward(self, x):
        return x.sort(1).values


def test_what_is_not_certain_is_refused_or_given():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Unfollowed()).eval()
    images, planes = torch.rand(4, 3, 6, 6), torch.randint(0, 3, (4, 1, 6, 6))
    options = {"fraction": 0.1, "progress": False}
    with pytest.raises(ValueError, match=r"units of layer '1' \(Unfollowed\) must be known.* give layout='NUHW'"):
        dissect.dissect(model, "1", [(images, planes)], **options)
    with pytest.raises(ValueError, match="units of layer '1'"), dissect.ablate(model, "1", [0]):
        model(images)
    assert dissect.dissect(model, "1", [(images, planes)], layout="NUHW", **options)["1"].num_units == 4
    with dissect.ablate(model, "1", [0], layout={"1": "NHWU"}):
        assert not model(images)[..., 0].any()
    for layout, message in (("NCHW", "an order of NUHW"), ("NTU", "4 letters"), ("HUNW", "put N where its 4 images")):
        with pytest.raises(ValueError, match=message):
            dissect.dissect(model, "1", [(images[..., :5], planes[..., :5])], layout=layout, **options)
    with pytest.raises(ValueError, match="put U where its 4 units are"):
        dissect.dissect(model, "0", [(images, planes)], layout="NHWU", **options)
    with pytest.raises(ValueError, match="layout must be of layers"):
        dissect.ablate(model, "1", [0], layout={"0": "NUHW"})


def test_parts_of_images_are_no_images():
    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 5, 1), nn.Linear(5, 5)

        def forward(self, x):
            return self.fc(self.conv(x).permute(0, 2, 3, 1).reshape(-1, 4, 5))

    images, planes = torch.rand(3, 3, 4, 4), torch.randint(0, 3, (3, 1, 4, 4))
    with pytest.raises(ValueError, match=r"one map or vector per image, but gave \[12, 4, 5\] of 3 images"):
        dissect.dissect(Windows().eval(), "fc", [(images, planes)], tokens=(2, 2), fraction=0.1, progress=False)


def test_importance_of_channels_that_come_last_is_that_of_ablation_by_hand():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.block, self.head = nn.Conv2d(3, 6, 4, 4), Residual(6), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.block(self.patch(x).permute(0, 2, 3, 1)).mean((1, 2)))

    model, images, classes = Net().eval(), torch.rand(12, 3, 8, 8), torch.arange(12) % 3
    found = dissect.unit_importance(
        model, "block", [(images, classes)], [(images, classes)], fill="mean", progress=False
    )
    assert found.num_units == 6
    with torch.no_grad():
        maps = model.block(model.patch(images).permute(0, 2, 3, 1))
        assert torch.allclose(found.fill, maps.mean((0, 1, 2)), atol=1e-6)
        whole = model(images)
        for row in found.top(1, 6):
            with dissect.insert(model, "block", [row.unit], value=float(found.fill[row.unit])):
                lost = (whole - model(images))[classes == 1, 1].mean()
            assert abs(row.val_logit_drop - float(lost)) < 1e-5


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x):
        return x + self.fc(x)


def test_units_are_followed_through_moves_and_lost_where_they_mix():
    conv, x = nn.Conv2d(3, 5, 1), torch.rand(2, 3, 4, 4)
    with torch.no_grad(), UnitTracker() as tracker:
        maps = conv(x)
        seen = {
            "kept": tracker.axis(maps * 2 + 1),
            "last": tracker.axis(maps.permute(0, 2, 3, 1).reshape(2, 16, 5)),
            "rolled": tracker.axis(maps.permute(0, 2, 3, 1).roll(1, 1)),
            "pooled": tracker.axis(nn.functional.max_pool2d(maps, 2)),
            "averaged": tracker.axis(maps.mean((2, 3))),
            "joined": tracker.axis(torch.cat([maps, maps], 1)),
            "halved": tracker.axis(maps[:, 1:3]),
            "with a token": tracker.axis(torch.cat([torch.zeros(2, 1, 5), maps.flatten(2).transpose(1, 2)], 1)),
            "flattened": tracker.axis(maps.flatten(1)),
            "over units": tracker.axis(maps.mean(1)),
            "disagreeing": tracker.axis(maps[:, :4] + maps[:, :4].transpose(1, 2)),
            "one": tracker.axis(nn.functional.conv2d(x, torch.rand(1, 3, 1, 1)).relu()),
            "gated": tracker.axis(maps * nn.functional.conv2d(x, torch.rand(1, 3, 1, 1)).sigmoid()),
            "activated": tracker.axis(nn.functional.hardswish(nn.PReLU()(nn.functional.logsigmoid(maps)))),
            "halves": tracker.axis(nn.functional.glu(maps[:, :4], 1)),
            "heads": tracker.axis(attended(maps[:, :4].flatten(2).transpose(1, 2))),
        }
    assert seen == {
        "kept": 1, "last": 2, "rolled": 3, "pooled": 1, "averaged": 1, "joined": 1, "halved": 1, "with a token": 2,
        "flattened": 1, "over units": None, "disagreeing": None, "one": 1, "gated": 1, "activated": 1, "halves": 1,
        "heads": 2,
    }  # fmt: skip


def attended(x):
    """Two heads of attention as transformers writes them, by plain products."""
    heads = x.view(len(x), -1, 2, 2).transpose(1, 2)
    weights = (heads @ heads.transpose(-1, -2)).softmax(-1)
    return (weights @ heads).transpose(1, 2).contiguous().view(x.shape)


@pytest.mark.parametrize("axes", ["NUHW", "NHWU", "UHNW", "NTU", "NUT", "TNU", "NU", "UN"])
def test_maps_there_and_back(axes):
    output = torch.rand([2, 3, 4, 5][: len(axes)])
    maps = to_maps(output, axes)
    assert maps.shape[1] == output.shape[axes.index("U")]
    assert torch.equal(from_maps(maps, axes), output)
    assert maps.data_ptr() == output.data_ptr()


def test_an_exchanged_forward_is_not_taken_for_its_class():
    conv = nn.Conv2d(3, 4, 1)
    plain = conv.forward
    conv.forward = lambda x: plain(x).permute(0, 2, 3, 1)
    model = nn.Sequential(conv).eval()
    with torch.no_grad(), dissect.ablate(model, "0", [2]):
        output = model(torch.rand(2, 3, 5, 5))
    assert not output[..., 2].any()
    assert bool((output[:, 2] != 0).any())
    assert Layouts(model, ["0"]).may_be_uncertain() == ["0"]


def test_what_is_multiplied_must_be_weights():
    """W x has its units on the first axis, x W on the last; a matrix of data says nothing of either."""
    weight, x = nn.Parameter(torch.rand(5, 3)), torch.rand(4, 3)
    with torch.no_grad(), UnitTracker() as tracker:
        assert tracker.axis(x @ weight.t()) == 1
        assert tracker.axis(x @ (weight / weight.norm()).t()) == 1  # of weights alone
        assert tracker.axis(weight @ x.t()) is None
        assert tracker.axis(x @ torch.rand(3, 6)) is None
        normed = nn.functional.normalize(nn.functional.linear(x, weight), dim=1)
        assert tracker.axis(normed) == 1
        maps = nn.functional.conv2d(torch.rand(2, 3, 4, 4), torch.rand(5, 3, 1, 1))
        assert tracker.axis(torch.maximum(maps, maps.flip(2))) == 1
        assert tracker.axis(torch.linalg.vector_norm(maps, 2, dim=(2, 3))) == 1
        assert tracker.axis(torch.linalg.vector_norm(maps, 2, dim=1)) is None
