"""ablate, insert and keep: what they change, what they leave, and what can be written into weights."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import dissect

from ..network.test_trace import hooks


def network():
    """Unit u of layer "0" is (u + 1) times the image, whatever its sign; the ReLU works in place."""
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(inplace=True), nn.Conv2d(3, 1, 1, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1))
    return model


IMAGE = torch.tensor([[[[1.0, 2.0]]]])


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda m: dissect.ablate(m, "0", [1]), [301, 602]),
        (lambda m: dissect.ablate(m, "0", torch.tensor([0, 2])), [20, 40]),
        (lambda m: dissect.ablate(m, "0", [2], alpha=0.5), [171, 342]),
        (lambda m: dissect.ablate(m, "0", [0, 1], value=torch.tensor([5.0, 7.0])), [375, 675]),
        (lambda m: dissect.ablate(m, "0", []), [321, 642]),
        (lambda m: dissect.insert(m, "0", [0], value=4.0, mask=torch.tensor([[0.0, 1.0]])), [321, 644]),
        (lambda m: dissect.insert(m, "0", [1], value=torch.tensor([[8.0, 9.0]])), [381, 692]),
        (lambda m: dissect.keep(m, "0", [2]), [300, 600]),
        (lambda m: dissect.keep(m, "0", [2], value=1.0), [311, 611]),
        (lambda m: dissect.keep(m, "0", []), [0, 0]),
        (lambda m: dissect.ablate(m, {"0": [0], "1": [1]}), [300, 600]),
    ],
)
def test_by_hand(edit, expected):
    model = network()
    with edit(model):
        assert model(IMAGE).flatten().tolist() == expected
    assert model(IMAGE).flatten().tolist() == [321, 642]
    assert hooks(model) == 0


def test_blocks_nest_and_end_with_an_exception():
    model = network()
    outer = dissect.ablate(model, "0", [0])

    def fail_within():
        with outer:
            with dissect.ablate(model, "0", [1]):
                assert model(IMAGE).flatten().tolist() == [300, 600]
            with dissect.insert(model, "0", [0], value=1.0):  # the inner one has the last word
                assert model(IMAGE).flatten().tolist() == [321, 641]
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_within()
    assert hooks(model) == 0
    with outer:  # and can be used again
        assert model(IMAGE).flatten().tolist() == [320, 640]


def test_masks_per_image():
    model, images = network(), IMAGE.repeat(2, 1, 1, 1)
    mask = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1).expand(2, 1, 1, 2)
    with dissect.ablate(model, "0", [2], mask=mask):
        assert model(images).flatten().tolist() == [21, 42, 321, 642]


def test_vectors_tokens_and_tuples():
    linear, x = nn.Sequential(nn.Linear(4, 5)), torch.randn(2, 4)
    with dissect.ablate(linear, "0", [1, 3]):
        assert torch.equal(linear(x), linear[0].forward(x) * torch.tensor([1.0, 0, 1, 0, 1]))
    tokens = torch.randn(2, 7, 4)
    with dissect.keep(linear, "0", [2]):
        assert torch.equal(linear(tokens), linear[0].forward(tokens) * torch.tensor([0, 0, 1.0, 0, 0]))
    recurrent = nn.Sequential(nn.LSTM(4, 3, batch_first=True))
    with dissect.ablate(recurrent, "0", [0]):
        output, (hidden, _) = recurrent(tokens)
    assert not output[..., 0].any()
    assert hidden.any()


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Sequential(nn.Conv1d(2, 3, 1), nn.ReLU(), nn.Dropout()), (4, 2, 5)),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Dropout()), (4, 5, 6, 2)),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Dropout()), (4, 5, 2)),
        (lambda: nn.Sequential(nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout()), (4, 3, 5)),
        (lambda: nn.Sequential(nn.BatchNorm1d(3), nn.ReLU(), nn.Dropout()), (4, 3)),
    ],
    ids=["convolution", "over maps", "tokens", "normalisation", "of vectors"],
)
@pytest.mark.parametrize("layer", ["0", "1", "2"])
def test_units_lie_where_their_module_puts_them(make, shape, layer):
    model, x = make().eval(), torch.randn(shape)
    with torch.no_grad():
        plain = model(x)
        edit = dissect.insert(model, layer, [2], value=7.0)
        with edit:
            edited = model(x)
    axis = next(axis for axis, size in enumerate(edited.shape) if axis and size == 3)
    assert (edited.movedim(axis, 0)[2] == 7).all()
    assert torch.equal(edited.movedim(axis, 0)[:2], plain.movedim(axis, 0)[:2])
    edit.write()
    with torch.no_grad():
        assert torch.equal(model(x), edited)


def test_a_normalisation_over_channels_that_come_last():
    model, x = nn.Sequential(nn.LayerNorm(3)), torch.randn(2, 4, 5, 3)
    with dissect.ablate(model, "0", [1]):
        assert torch.equal(model(x), model[0].forward(x) * torch.tensor([1.0, 0, 1]))

    class OfMaps(nn.LayerNorm):
        """As torchvision's LayerNorm2d: its units come first."""

        def forward(self, x):
            return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    model = nn.Sequential(OfMaps(3))
    with dissect.ablate(model, "0", [1]):
        assert not model(torch.randn(2, 3, 4, 5))[:, 1].any()


def test_one_signal_without_a_batch_is_refused():
    model = nn.Sequential(nn.Conv1d(1, 2, 1))
    with pytest.raises(ValueError, match=r"layer '0' must give .*, but gave \[2, 5\]"), dissect.ablate(model, "0", 0):
        model(torch.randn(1, 5))


def test_the_default_dtype_changes_nothing():
    model = network()
    torch.set_default_dtype(torch.float64)
    try:
        with dissect.ablate(model, "0", [1]), torch.no_grad():
            assert model(IMAGE).flatten().tolist() == [301, 602]
    finally:
        torch.set_default_dtype(torch.float32)


class Reads(nn.Module):
    """Calls a layer or reads its weights itself."""

    def __init__(self):
        super().__init__()
        self.before, self.layer = nn.Identity(), nn.Linear(4, 3)

    def forward(self, x, calls):
        x = self.before(x)
        return self.layer(x) if calls else nn.functional.linear(x, self.layer.weight)


def test_a_layer_that_was_passed_by_is_told():
    model, x = Reads(), torch.randn(2, 4)
    edit = dissect.ablate(model, "layer", [0])
    with pytest.warns(UserWarning, match="layer 'layer' was not edited, since it was not called while"), edit:
        model(x, False)
    with edit, edit:
        model(x, True)
        model(x, False)
    with edit:  # nothing ran
        pass
    with edit, dissect.Trace(model, "before", stop=True) as trace:  # nor was it to
        trace.run(x, True)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), edit:  # which is what is to be told
        model(x.T, False)


def test_gradients_reach_alpha_and_value():
    model = network()
    alpha, value = torch.full((2,), 0.5, requires_grad=True), torch.tensor(3.0, requires_grad=True)
    with dissect.ablate(model, "1", [0, 1], alpha=alpha, value=value):
        model(IMAGE).sum().backward()
    assert alpha.grad.tolist() == [3 - 1 + 3 - 2, 10 * (3 - 2) + 10 * (3 - 4)]
    assert value.grad.item() == pytest.approx(0.5 * 11 * 2)


def deep():
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Dropout(),
        nn.Conv2d(6, 5, 3, groups=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(45, 4),
    ).eval()  # fmt: skip
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    with torch.no_grad():
        model[1].weight.normal_()
    return model


@pytest.mark.parametrize(
    ("layer", "units", "value"),
    [("0", [1, 4], 0.0), ("0", [2], -1.5), ("1", [0, 5], 2.25), ("2", [3], 0.75), ("3", [0, 3], 0.5),
     ("4", [4], 0.0), ("5", [0], 0.0), ("7", [1], 8.0), ("1", [5, 0], torch.tensor([1.0, -2.0]))],
)  # fmt: skip
@pytest.mark.parametrize("kind", [dissect.insert, dissect.keep])
def test_written_into_weights_to_the_bit(layer, units, value, kind):
    model, images = deep(), torch.randn(2, 3, 5, 5)
    if kind is dissect.keep and isinstance(value, torch.Tensor):
        value = 0.0
    with torch.no_grad():
        edit = kind(model, layer, units, value=value)
        with edit:
            expected = model(images)
        plain = model(images)
        edit.write()
        assert torch.equal(model(images), expected)
        assert not torch.equal(plain, expected)


class Forked(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 1), nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(x)) + self.conv(x)


def twice():
    act = nn.ReLU()
    return nn.Sequential(nn.Conv2d(3, 3, 1), act, nn.Conv2d(3, 3, 1), act)


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    return model


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda: dissect.ablate(deep(), "0", [1], alpha=0.5), "mask must be None and alpha 1"),
        (lambda: dissect.ablate(deep(), "0", [1], mask=torch.ones(5, 5)), "mask must be None and alpha 1"),
        (lambda: dissect.insert(deep(), "0", [1], value=torch.ones(5, 5)), "value must be a number or one per unit"),
        (lambda: dissect.insert(deep(), "2", [1], value=-1.0), "after the ReLU '2' a unit cannot have a negative"),
        (lambda: dissect.insert(deep(), "4", [1], value=1.0), "layer '4' has no bias"),
        (lambda: dissect.insert(deep(), "0", [1, 2], value=torch.ones(3)), "one entry per unit, 2, but has 3"),
        (lambda: dissect.ablate(deep(), "6", [1]), "layer '6' must be the outputs of a convolution.* is Flatten"),
        (lambda: dissect.ablate(deep(), "0", [6]), "units of layer '0' must be below 6, but one is 6"),
        (lambda: dissect.ablate(Forked(), "relu", [1]), "what feeds 'relu' is not known"),
        (lambda: dissect.ablate(twice(), "1", [1]), r"'1' runs in several places, \['1', '3'\], each after"),
        (lambda: dissect.ablate(tied(), "0", [1]), r"shared by \['0', '1'\]"),
        (
            lambda: dissect.ablate(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))), "0", [1]),
            "are computed from others",
        ),
    ],
)
def test_what_cannot_be_written_changes_nothing(edit, told):
    intervention = edit()
    before = {name: value.clone() for name, value in intervention._model.state_dict().items()}
    with pytest.raises(ValueError, match=told):
        intervention.write()
    for name, value in intervention._model.state_dict().items():
        assert torch.equal(value, before[name])


def test_several_layers_are_written_all_or_none():
    model = deep()
    with pytest.raises(ValueError, match="layer '6'"):
        dissect.ablate(model, {"0": [0], "6": [0]}).write()
    assert model[0].weight[0].all()


def test_bad_units():
    model = network()
    for units, told in (([-1], "must not be negative, but one is -1"), ([1, 2, 1], "once, but 1 is repeated")):
        with pytest.raises(ValueError, match=told):
            dissect.ablate(model, "0", units)
    for units in ([0.5], [True], torch.zeros(2, 2, dtype=torch.int64), True, 1.5, "12"):
        with pytest.raises(TypeError, match="must be a list of integers"):
            dissect.ablate(model, "0", units)
    with pytest.raises(KeyError, match="no layer 'conv'"):
        dissect.ablate(model, "conv", [0])
    with pytest.raises(TypeError, match="a name with units beside it"):
        dissect.ablate(model, "0")
    with dissect.ablate(model, "0", [3]), pytest.raises(ValueError, match="below 3, but one is 3"):
        model(IMAGE)
    with dissect.ablate(model, "0", [0, 1], alpha=torch.ones(3)), pytest.raises(ValueError, match="one per unit, 2"):
        model(IMAGE)
    flat = nn.Sequential(nn.Flatten(0))
    with dissect.ablate(flat, "0", [0]), pytest.raises(ValueError, match=r"must give \[N, U, h, w\]"):
        flat(IMAGE)
    assert hooks(model) == 0


def test_one_unit_and_one_value_per_unit():
    model = network()
    for units, value in ((1, 7.0), (np.int64(1), np.float32(7)), ([0, 1], [5, 7]), ([0, 1], np.array([5.0, 7.0]))):
        with dissect.ablate(model, "0", units, value=value):
            output = model[0](IMAGE)
        assert bool((output[:, 1] == 7).all()), units
    for name, wrong in (("value", "x"), ("alpha", ["x"])):
        with pytest.raises(TypeError, match=f"{name} must be a number, a list of one per unit or a tensor, but got"):
            dissect.ablate(model, "0", [0], **{name: wrong})


@pytest.mark.parametrize("alpha", [2, -0.5, math.nan, [0.5, 2.0], torch.tensor([1.0, 2.0])])
def test_alpha_is_a_share(alpha):
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], but (is|holds) (2|-0\.5|nan)\."):
        dissect.ablate(network(), "0", [0, 1], alpha=alpha)


def test_shown_in_a_line():
    edit = dissect.keep(network(), {"0": [0, 1], "1": 2}, value=torch.zeros(2), mask=torch.ones(2, 2))
    expected = "all but 2 units of '0', all but 1 unit of '1': value of shape [2], alpha 1, mask of shape [2, 2]"
    assert repr(edit) == f"<Intervention on {expected}>"


class Skip(nn.Module):
    """Reads the stem's output in three places, one of them the output itself."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.unread = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(3, 4, 1)
        self.never = nn.ReLU()

    def forward(self, x, *, scale):
        stem = self.stem(x)
        self.unread(x)
        return {"maps": [self.conv(stem) * scale + stem], "stem": stem}


def test_who_sees_an_edit_is_told():
    edit = dissect.ablate(Skip(), {"stem": [0], "conv": [1], "unread": [2]})
    assert edit.consumers(torch.rand(1, 3, 2, 2), scale=2.0) == {
        "stem": ("AddBackward0", "conv", "the output"),
        "conv": ("MulBackward0",),
        "unread": (),
    }


def test_a_layer_that_autograd_cannot_follow_is_named():
    class Numpy(nn.Module):
        def forward(self, x):
            return torch.from_numpy(x.numpy())

    edit = dissect.ablate(nn.Sequential(nn.Conv2d(3, 4, 1), Numpy()), "0", [1])
    with pytest.raises(RuntimeError, match="'1' cannot run while autograd looks for what follows layer '0'"):
        edit.consumers(torch.rand(1, 3, 2, 2))
    with pytest.raises(KeyError, match="layer 'never' has not run"):
        dissect.ablate(Skip(), "never", [0]).consumers(torch.rand(1, 3, 2, 2), scale=2.0)


def test_a_layer_that_runs_again_is_ablated_again():
    """In one pass, and where the model itself is never called, so that no pass begins."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 3, 1), nn.ReLU()

        def encode(self, x):
            return self.act(self.conv(x))

        def forward(self, x):
            return self.act(self.conv(self.encode(x)))

    model, images = Shared().eval(), torch.rand(2, 3, 4, 4)
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match="the axis of the units of layer 'act'"),
        dissect.ablate(model, "act", [1]),
    ):
        model.encode(images)  # no pass of the model, in which units could be followed
    with torch.no_grad(), dissect.ablate(model, "act", [1], layout="NUHW"):
        for _ in range(2):
            assert not model.encode(images)[:, 1].any()
        found = model(images)
    with torch.no_grad():
        first = model.encode(images)
        first[:, 1] = 0
        expected = model.act(model.conv(first))
        expected[:, 1] = 0
    assert torch.equal(found, expected)
