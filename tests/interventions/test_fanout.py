"""follow and FanOut: what follows a layer, and that running only that gives what running everything gives."""

import warnings

import pytest
import torch
from torch import nn

import dissect
from dissect.interventions.fanout import FanOut
from dissect.interventions.flow import follow
from dissect.network.modes import check_evaluating

from ..classifiers.networks import Choosing, Encoder, Residual, Tokens, chain, settled
from ..network.test_trace import hooks


def one_by_one(model, layer, images, alpha, fill):
    """The whole network once per set."""
    rows = []
    for row in alpha:
        units = row.nonzero().flatten()
        with torch.no_grad(), dissect.ablate(model, layer, units, value=fill[units]):
            rows.append(model(images))
    return torch.stack(rows)


def singles(units):
    return torch.cat([torch.zeros(1, units), torch.eye(units)])


CASES = [
    (chain, "0", None), (chain, "2", "9"), (chain, "3", "9"), (chain, "4", "9"), (chain, "5", "9"), (chain, "9", "12"),
    (chain, "12", None), (Residual, "stem", None), (Residual, "blocks.0.conv1", None), (Residual, "blocks.0.bn2", None),
    (Residual, "blocks.0", None), (Residual, "blocks.2", "fc"), (Residual, "pool", "fc"), (Tokens, "patches", None),
    (Tokens, "block", None), (Tokens, "block.linear1", None), (lambda: Tokens(batch=3), "patches", None),
    (Encoder, "patches", None),
    (lambda: Residual().to(memory_format=torch.channels_last), "blocks.2", "fc"),
]  # fmt: skip


@pytest.mark.parametrize("budget", [2**24, 60_000, 1])
@pytest.mark.parametrize(("make", "layer", "linear"), CASES)
def test_equals_the_whole_network_once_per_set(make, layer, linear, budget):
    model, images = settled(make()), torch.randn(3, 3, 8, 8)
    flow = follow(model, layer, images)
    assert flow.linear == linear
    units = flow.num_units
    for fill in (torch.zeros(units), torch.randn(units)):
        fan = FanOut(model, layer, flow, fill, images, budget)
        for alpha in (singles(units), (torch.rand(5, units) < 0.5).float()):
            expected = one_by_one(model, layer, images, alpha, fill)
            torch.testing.assert_close(fan(images, alpha), expected, rtol=1e-4, atol=1e-5)
            assert not torch.allclose(expected[0], expected[1:].mean(0))
    assert hooks(model) == 0
    assert not any("forward" in vars(part) for part in model.modules())


@pytest.mark.parametrize(("make", "layer"), [(chain, "2"), (Residual, "blocks.0.bn1")])
def test_a_network_in_bfloat16(make, layer):
    model, images = settled(make()).bfloat16(), torch.randn(3, 3, 8, 8).bfloat16()
    flow = follow(model, layer, images)
    fan = FanOut(model, layer, flow, torch.zeros(6), images, 2**24)
    for alpha in (singles(6), (torch.rand(5, 6) < 0.5).float()):
        expected = one_by_one(model, layer, images, alpha, torch.zeros(6))
        torch.testing.assert_close(fan(images, alpha), expected, rtol=0.05, atol=0.02)


def test_what_comes_before_runs_once():
    model, images, ran = chain(), torch.randn(3, 3, 8, 8), []
    flow = follow(model, "2", images)
    fan = FanOut(model, "2", flow, torch.zeros(6), images[:1], 2**24)
    model[0].register_forward_hook(lambda _, args, __: ran.append(tuple(args[0].shape)))
    model[9].register_forward_hook(lambda _, args, __: ran.append(tuple(args[0].shape)))
    fan(images, singles(6))
    assert ran == [(3, 3, 8, 8), (3, 150)]  # the large product too: only its change is computed for each set


@pytest.mark.parametrize(("layer", "linear"), [("2", "9"), ("12", None)])
def test_chunks_that_memory_asks_for_replay_what_comes_before(layer, linear):
    model, images, ran = chain(), torch.randn(3, 3, 8, 8), []
    flow = follow(model, layer, images)
    assert flow.linear == linear
    fan = FanOut(model, layer, flow, torch.zeros(flow.num_units), images[:1], 1)  # one set at a time
    expected = fan(images, singles(flow.num_units))
    kind = type(model[0])
    forward = kind.forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "forward", lambda self, x: ran.append(self) or forward(self, x))
        assert torch.equal(fan(images, singles(flow.num_units)), expected)
    assert ran.count(model[0]) == 1


@pytest.mark.parametrize(("make", "channels"), [(lambda: settled(Residual()).blocks, 6), (lambda: chain()[:5], 3)])
def test_what_a_network_gives_need_not_be_of_classes(make, channels):
    model, images = make(), torch.randn(3, channels, 8, 8)
    layer = next(name for name, part in model.named_modules() if isinstance(part, nn.Conv2d))
    flow = follow(model, layer, images)
    assert len(flow.shape) == 3
    for budget in (2**24, 1):
        fan = FanOut(model, layer, flow, torch.zeros(flow.num_units), images[:1], budget)
        alpha = singles(flow.num_units)
        expected = one_by_one(model, layer, images, alpha, torch.zeros(flow.num_units))
        found = fan(images, alpha)
        assert found.shape == (flow.num_units + 1, 3, *flow.shape)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_memory_bounds_how_many_go_together():
    model, images = settled(Residual()), torch.randn(5, 3, 8, 8)
    flow = follow(model, "stem", images)
    assert flow.floats == 8 * 64
    seen = []
    model.blocks[2].conv2.register_forward_hook(lambda _, __, output: seen.append(output))
    fan = FanOut(model, "stem", flow, torch.zeros(6), images[:1], 14 * 3 * 4 * flow.floats)
    assert (fan.rows, fan.group(7), fan.group(100)) == (14, 2, 1)
    assert len(fan(images[:2], singles(6))) == 7
    assert len(seen) == 1


def test_who_reads_the_layer():
    model, images = settled(Residual()), torch.randn(2, 3, 8, 8)
    assert follow(model, "stem", images).consumers == ("AddBackward0 before blocks.0.relu", "blocks.0.conv1")
    assert follow(model, "blocks.0.bn1", images).consumers == ("blocks.0.relu",)
    assert follow(model, "fc", images).consumers == ("the predictions",)


class AddsThenDrops(nn.Module):
    """A skip connection that no module makes, before a dropout that gives what it is given."""

    def __init__(self, joined=False, by_name=False):
        super().__init__()
        self.relu, self.by_name = nn.ReLU(), by_name
        self.stem, self.conv, self.drop = nn.Conv2d(3, 4, 3, stride=4), nn.Conv2d(4, 4, 1), nn.Dropout()
        self.fc, self.joined = nn.Linear(16 * (1 + joined), 5), joined

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([self.conv(x), x], 1) if self.joined else x + self.conv(x)
        return self.fc((self.relu(input=x) if self.by_name else self.drop(x)).flatten(1))


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("joined", [False, True])
def test_a_module_takes_no_name_from_what_it_was_given(joined, by_name):
    model, images = AddsThenDrops(joined, by_name).eval(), torch.randn(3, 3, 8, 8)
    flow = follow(model, "conv", images)
    assert flow.linear is None
    assert flow.consumers[0].startswith("CatBackward0" if joined else "AddBackward0")
    fan = FanOut(model, "conv", flow, torch.zeros(4), images[:1], 2**20)
    expected = one_by_one(model, "conv", images, singles(4), torch.zeros(4))
    torch.testing.assert_close(fan(images, singles(4)), expected, rtol=1e-4, atol=1e-5)
    plain = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(), nn.Flatten(), nn.Linear(256, 5)).eval()
    assert follow(plain, "0", images).linear == "3"


class Scaled(nn.Linear):
    """Not what its weights say."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_a_layer_that_computes_something_else_than_its_type_is_run_as_it_is():
    model, images = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), Scaled(256, 5)).eval(), torch.randn(3, 3, 8, 8)
    flow = follow(model, "0", images)
    assert flow.linear is None
    fan = FanOut(model, "0", flow, torch.zeros(4), images[:1], 2**20)
    expected = one_by_one(model, "0", images, singles(4), torch.zeros(4))
    torch.testing.assert_close(fan(images, singles(4)), expected, rtol=1e-4, atol=1e-5)


class Reshaped(nn.Module):
    """Flattens with channels last, so that a unit's inputs are not neighbours."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(16, 5)

    def forward(self, x):
        return self.fc(nn.functional.adaptive_avg_pool2d(self.conv(x), 2).permute(0, 2, 3, 1).flatten(1))


class Functional(Reshaped):
    def forward(self, x):
        return self.fc(nn.functional.max_pool2d(self.conv(x).relu(), 4).flatten(1))


def test_no_short_cut_where_units_are_not_apart():
    images = torch.randn(2, 3, 8, 8)
    assert follow(Reshaped().eval(), "conv", images).linear is None
    assert follow(Functional().eval(), "conv", images).linear == "fc"
    tokens = nn.Sequential(nn.Flatten(2), nn.Linear(64, 4), nn.Flatten(), nn.Linear(12, 5)).eval()
    assert follow(tokens, "1", images).linear is None
    for model, layer in ((Reshaped().eval(), "conv"), (Functional().eval(), "conv"), (tokens, "1")):
        flow = follow(model, layer, images)
        fan = FanOut(model, layer, flow, torch.zeros(4), images[:1], 2**20)
        expected = one_by_one(model, layer, images, singles(4), torch.zeros(4))
        torch.testing.assert_close(fan(images, singles(4)), expected, rtol=1e-4, atol=1e-5)


def test_a_layer_that_takes_no_fan_out_is_named_once():
    model, images = Choosing().eval(), torch.randn(3, 3, 8, 8)
    fan = FanOut(model, "conv", follow(model, "conv", images), torch.zeros(4), images[:1], 2**20)
    with pytest.warns(UserWarning, match="layer 'choose' cannot take several sets of units at once, so they run one"):
        found = fan(images, singles(4))
    torch.testing.assert_close(found, one_by_one(model, "conv", images, singles(4), torch.zeros(4)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fan(images, singles(4))
    assert hooks(model) == 0


def test_a_skip_connection_that_is_added_in_place_to_what_was_not_edited():
    model, images = settled(Residual()), torch.randn(3, 3, 8, 8)
    layer = "blocks.1.downsample"
    flow = follow(model, layer, images)
    fan = FanOut(model, layer, flow, torch.zeros(8), images[:1], 2**20)
    with pytest.warns(UserWarning, match=r"layer 'blocks\.1' cannot take several sets"):
        found = fan(images, singles(8))
    torch.testing.assert_close(found, one_by_one(model, layer, images, singles(8), torch.zeros(8)))


class Dead(nn.Module):
    def __init__(self):
        super().__init__()
        self.side, self.fc = nn.Conv2d(3, 2, 1), nn.Linear(3, 5)

    def forward(self, x):
        self.side(x)
        return self.fc(x.mean((2, 3)))


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.conv(x), x


def test_bad_networks():
    images = torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match="layer 'side' must have a path to the predictions"):
        follow(Dead().eval(), "side", images)
    with pytest.raises(RuntimeError, match=r"layer 'blocks\.0\.relu' ran twice"):
        follow(settled(Residual()), "blocks.0.relu", images)
    with pytest.raises(ValueError, match=r"predictions \[N, classes\] with N=2, but gave \[2, 6, 8, 8\]"):
        dissect.unit_importance(
            chain()[:3].eval(), "0", [(images, torch.tensor([0, 1]))], [(images, torch.tensor([0, 1]))]
        )
    with pytest.raises(ValueError, match=r"must give a tensor \[N, \.\.\.\] with N=2, but gave tuple; wrap it"):
        follow(Pair().eval(), "conv", images)
    with pytest.raises(KeyError, match="no layer 'conv9'"):
        follow(chain(), "conv9", images)
    model = chain()
    model[8].train()
    with pytest.raises(ValueError, match=r"8 \(Dropout\) is in training mode \(batch statistics, dropout\); call"):
        check_evaluating(model)
    with pytest.raises(ValueError, match="normalises with the batch's statistics"):
        check_evaluating(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)).eval())


class Twice(nn.Module):
    """The linear layer behind the units runs twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 4)

    def forward(self, images):
        return self.fc(self.fc(self.pool(self.conv(images)).flatten(1)))


class Regrouped(nn.Module):
    """The linear layer behind the units sees two rows of each image."""

    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.fc = nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2), nn.Linear(8, 3)

    def forward(self, images):
        return self.fc(self.pool(self.conv(images)).flatten(1).view(-1, 8)).view(len(images), 2, 3).sum(1)


@pytest.mark.parametrize(("kind", "classes"), [(Twice, 4), (Regrouped, 3)])
def test_a_linear_layer_that_does_not_see_each_image_once_is_run_as_it_is(kind, classes):
    model, images = kind().eval(), torch.randn(12, 3, 6, 6)
    assert follow(model, "conv", images).linear is None
    labels = torch.arange(12) % classes
    found = dissect.unit_importance(model, "conv", [(images, labels)], [(images, labels)], progress=False)
    for unit in range(4):
        with torch.no_grad(), dissect.ablate(model, "conv", [unit]):
            own = model(images)[torch.arange(12), labels]
        expected = torch.stack([own[labels == number].double().mean() for number in range(classes)])
        torch.testing.assert_close(found.mean_logit()[unit], expected, rtol=1e-4, atol=1e-5)
