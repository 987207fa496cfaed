"""Replay: a network that runs again from a layer on gives the bits of whole runs, and computes no more than it must."""

import copy
import threading
import warnings

import pytest
import torch
from torch import nn

import dissect
from dissect.interventions.replay import Replay, Replays

from ..classifiers.networks import Encoder, Residual, Tokens, chain, settled
from ..network.test_trace import hooks


def progan():
    return dissect.models.ProGAN((8, 8, 6), z_channels=5).eval()


def stylegan2():
    return dissect.models.StyleGAN2((8, 8, 6), w_channels=5, mapping_layers=2).eval()


def images():
    return (torch.randn(3, 3, 8, 8),)


def z():
    return (torch.randn(3, 5),)


CASES = [
    (chain, "0", images), (chain, "1", images), (chain, "5", images), (chain, "12", images),
    *((Residual, layer, images) for layer in ("stem", "blocks.0.conv1", "blocks.0.bn2", "blocks.1.downsample",
                                              "blocks.1", "fc")),
    (Tokens, "block.linear1", images), (Encoder, "layer", images), (Encoder, "layer.linear2", images),
    (progan, "layer1", z), (progan, "layer3.up", z), (progan, "layer4", z), (progan, "output_16x16.conv", z),
    (stylegan2, "layer1", z), (stylegan2, "layer3", z), (stylegan2, "layer4.conv", z), (stylegan2, "to_rgb2", z),
]  # fmt: skip


def runs(model):
    """The modules without parts that compute, in the order of their calls."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        for kind in {type(part) for part in model.modules()}:
            forward = kind.forward

            def watched(self, *args, forward=forward, **kwargs):
                if not any(self.children()):
                    seen.append(self)
                return forward(self, *args, **kwargs)

            patch.setattr(kind, "forward", watched)
        yield seen


@pytest.fixture
def watch():
    made = []

    def begin(model):
        made.append(runs(model))
        return next(made[-1])

    yield begin
    for each in made:
        each.close()


@pytest.mark.parametrize(("make", "layer", "inputs"), CASES)
def test_gives_the_bits_of_whole_runs(make, layer, inputs):
    model, given = settled(make()), inputs()
    before = [part.clone() for part in given]
    with torch.no_grad():
        plain, replay = model(*given), Replay(model, [layer], *given)
        with dissect.Trace(model, layer, retain="before") as trace:
            model(*given)
            layout = {4: "NUHW", 3: "NTU", 2: "NU"}[trace[layer].ndim]
        assert torch.equal(replay(), plain)
        edited = []
        for unit in range(3):
            with dissect.ablate(model, layer, [unit], value=9.0, layout=layout):
                edited.append(replay())
                assert torch.equal(edited[-1], model(*given))
        assert not all(torch.equal(each, plain) for each in edited)
        assert torch.equal(replay(), plain)
    assert all(torch.equal(part, own) for part, own in zip(given, before))
    assert hooks(model) == 0
    assert not any("forward" in vars(part) for part in model.modules())


def test_only_what_follows_the_layer_computes(watch):
    for make, layer, given in ((chain, "3", images()), (progan, "layer4", z()), (Residual, "blocks.0", images())):
        model = settled(make())
        seen = watch(model)
        with torch.no_grad():
            model(*given)
            whole = [*seen]
            replay = Replay(model, [layer], *given)
            seen.clear()
            replay()
        last = max(at for at, part in enumerate(whole) if part in {*model.get_submodule(layer).modules()})
        # What changes its input in place runs again before the layer too.
        found, rest = ([part for part in parts if not getattr(part, "inplace", False)] for parts in (seen, whole))
        assert found == [part for part in whole[last + 1 :] if not getattr(part, "inplace", False)]
        assert 0 < len(found) < len(rest)


def test_a_layer_that_runs_more_than_once_is_edited_every_time():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))
    model.append(model[1])
    replay = Replay(model, ["1"], *images())
    inputs = replay._args
    with torch.no_grad(), dissect.ablate(model, "1", [0], value=2.0):
        expected = model(*inputs)
        assert (expected[:, 0] == 2).all()
        assert torch.equal(replay(), expected)


class Skips(nn.Module):
    """A skip connection that the rest changes in place, beside the layer, and one that looks at it before a change."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.layer = nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.Conv2d(3, 3, 1)
        self.same, self.flat = nn.Identity(), nn.Flatten()

    def forward(self, x):
        x = self.first(x)
        least = x.amin()
        twin, rows = self.same(x), self.flat(x)
        self.act(x)
        y = self.layer(x)
        x += 1
        return y + x * least + twin + rows.view(x.shape)


def test_what_is_changed_in_place_is_so_every_time():
    model, (given,) = Skips(), images()
    with torch.no_grad():
        replay = Replay(model, ["layer"], given)
        for unit in range(3):
            with dissect.ablate(model, "layer", [unit]):
                expected = model(given)
                assert torch.equal(replay(), expected)


class Remembers(nn.Module):
    """Features are handed on by a list that empties."""

    def __init__(self):
        super().__init__()
        self.down, self.layer, self.up = Keeps(), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.layer(self.down(x))
        return self.up(x) + self.down.kept.pop()


class Keeps(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 3, 1)
        self.kept = []

    def forward(self, x):
        self.kept.append(super().forward(x))
        return self.kept[-1] * 2


def test_modules_with_other_effects_are_run_whole_which_is_told():
    model, (given,) = Remembers(), images()
    with pytest.warns(UserWarning, match="all of the network runs for each edit of layer 'layer'"):
        replays = Replays(model, "layer", given)
    run = replays.of(given)
    with torch.no_grad(), dissect.ablate(model, "layer", [0]):
        assert torch.equal(run(), model(given))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Replays(progan(), "layer2", *z())


class Alias(nn.Module):
    """The rest changes in place what a module before the layer has kept, and reads it there."""

    def __init__(self):
        super().__init__()
        self.down, self.layer = Holds(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.down(x)
        x += self.layer(x)
        return self.down.kept * 3


class Holds(nn.Conv2d):
    def forward(self, x):
        self.kept = super().forward(x)
        return self.kept


class Faint(nn.Module):
    """An effect that rounding could hide."""

    def __init__(self):
        super().__init__()
        self.down, self.layer = Adds(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        self.down.sum = 0
        return self.layer(self.down(x)) + self.down.sum


class Adds(nn.Conv2d):
    def forward(self, x):
        self.sum += 1e-6 * x.sum()
        return super().forward(x)


@pytest.mark.parametrize("kind", [Alias, Faint])
def test_effects_that_a_whole_run_leaves_behind_or_that_are_small_are_noticed(kind):
    model, (given,) = kind(), images()
    with pytest.warns(UserWarning, match="all of the network runs for each edit of layer 'layer'"):
        run = Replays(model, "layer", given).of(given)
    with torch.no_grad(), dissect.ablate(model, "layer", [0], value=5.0):
        assert torch.equal(run(), model(given))


def test_hooks_of_others_and_outer_edits_act_as_they_do():
    model, (given,) = settled(chain()), images()
    model[0].register_forward_hook(lambda _, __, output: output.mul_(2))  # of what is replayed
    with torch.no_grad(), dissect.ablate(model, "0", [1]), dissect.ablate(model, "2", [2]):
        replay = Replay(model, ["2"], given)
        with dissect.ablate(model, "2", [0]):
            expected = model(given)
            assert torch.equal(replay(), expected)
            assert torch.equal(replay(), expected)


class Raising(nn.Module):
    def forward(self, x):
        raise RuntimeError("no")


def test_other_threads_copies_and_errors():
    model, (given,) = settled(chain()), images()
    other = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected, replay, found = model(other), Replay(model, ["3"], given), []

        def elsewhere(*_):
            with torch.no_grad():
                found.extend([model(other), copy.deepcopy(model)(other), Replay(model, ["4"], other)()])

        def start(*_):
            handle.remove()  # else it would start others
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            found.append(copy.deepcopy(model)(other))

        handle = model[2].register_forward_hook(start)
        plain = replay()
        assert torch.equal(plain, model(given))
    assert len(found) == 4
    assert all(torch.equal(each, expected) for each in found)
    model.append(Raising())
    replay = Replay(model, ["3"], given)
    with pytest.raises(RuntimeError, match="no"), torch.no_grad():
        replay()
    assert not any("forward" in vars(part) for part in model.modules())


def test_forwards_that_were_exchanged_are_kept():
    model, (given,) = settled(chain()), images()
    own = model[0].forward = lambda x: nn.Conv2d.forward(model[0], x) + 1
    with torch.no_grad():
        replay = Replay(model, ["2"], given)
        assert torch.equal(replay(), model(given))
    assert vars(model[0])["forward"] is own


def test_a_layer_that_does_not_run_and_one_that_is_not_there():
    model, (given,) = Residual(), images()
    model.idle = nn.Conv2d(3, 3, 1)
    settled(model)
    with torch.no_grad():
        assert torch.equal(Replay(model, ["idle"], given)(), model(given))
    with pytest.raises(KeyError, match="no layer 'nothing'"):
        Replay(model, ["nothing"], given)
