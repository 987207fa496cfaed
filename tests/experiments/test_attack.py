"""Attacks on small networks, and what they do to units."""

import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

from dissect.experiments import (
    AttackResult,
    CarliniWagner,
    adversarial,
    attack,
    attacked_again,
    with_noise,
)

pytestmark = pytest.mark.usefixtures("foolbox")

CLASSES, UNITS, IMAGES = 4, 6, 10
#: Enough for a network this small.
QUICK = CarliniWagner(binary_search_steps=2, steps=30, stepsize=0.02, initial_const=10.0)
HOPELESS = CarliniWagner(binary_search_steps=1, steps=1, stepsize=1e-6, initial_const=1e-6)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.dropout, self.out = nn.Conv2d(3, UNITS, 3), nn.Dropout(), nn.Linear(UNITS, CLASSES)

    def forward(self, images):
        return self.out(self.dropout(self.conv(images).relu().amax((2, 3))))


@pytest.fixture
def net():
    model = Net().eval()
    nn.init.normal_(model.out.weight)
    return model


@pytest.fixture
def images():
    return torch.rand(IMAGES, 3, 6, 6)


@pytest.fixture
def named(net, images):
    """What the network says of the images."""
    with torch.no_grad():
        return net(images).argmax(1)


def test_attacked_images_are_named_as_the_targets(net, images, named):
    targets = (named + 1) % CLASSES
    net.out.bias.requires_grad_(False)
    found, reached = adversarial(net, images, targets, QUICK)
    assert reached.sum() >= 5
    with torch.no_grad():
        assert (net(found).argmax(1) == targets)[reached].all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found != images).flatten(1).any(1)[reached].all()
    assert [weight.requires_grad for weight in net.parameters()] == [True, True, True, False]
    assert all(weight.grad is None for weight in net.parameters())
    assert not found.requires_grad


def test_where_the_target_is_not_reached_the_image_stays(net, images, named):
    found, reached = adversarial(net, images, (named + 1) % CLASSES, HOPELESS)
    assert not reached.any()
    assert torch.equal(found, images)


def test_an_attack_does_not_depend_on_the_batch(net, images, named):
    """But for rounding, hence float64."""
    net, images, targets = net.double(), images.double(), (named + 2) % CLASSES
    together, reached = adversarial(net, images, targets, QUICK)
    assert 0 < reached.sum()
    for at in range(IMAGES):
        alone, alone_reached = adversarial(net, images[at : at + 1], targets[at : at + 1], QUICK)
        assert alone_reached[0] == reached[at]
        torch.testing.assert_close(alone[0], together[at], rtol=0, atol=1e-6)


def test_no_images_are_no_error(net):
    found, reached = adversarial(net, torch.zeros(0, 3, 6, 6), torch.zeros(0, dtype=torch.int64), QUICK)
    assert (len(found), len(reached)) == (0, 0)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_noise_has_its_norm_also_at_the_bounds(value):
    images = torch.full((3, 3, 8, 8), value)
    norms = torch.tensor([0.0, 0.5, 2.0])
    noisy = with_noise(images, norms, torch.tensor([5, 6, 7]))
    torch.testing.assert_close((noisy - images).flatten(1).norm(dim=1), norms)
    assert 0 <= float(noisy.min()) <= float(noisy.max()) <= 1


def test_noise_belongs_to_the_image_not_to_its_place():
    images, norms = torch.full((2, 3, 8, 8), 0.5), torch.tensor([0.5, 0.5])
    noisy = with_noise(images, norms, torch.tensor([5, 6]))
    assert torch.equal(with_noise(images, norms, torch.tensor([6, 5])), noisy.flip(0))
    assert not torch.equal(noisy[0], noisy[1])
    assert not torch.equal(with_noise(images, norms, torch.tensor([5, 6]), seed=1), noisy)


def pairs(images, labels):
    return [(image, int(label)) for image, label in zip(images, labels)]


class Scenes(torch.utils.data.Dataset):
    """A list as a Dataset, which may break at an item."""

    def __init__(self, items, broken=None, error=OSError):
        self.items, self.broken, self.error, self.asked = items, broken, error, []

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        if index == self.broken:
            raise self.error("cannot be read")
        self.asked.append(index)
        return self.items[index]


def test_what_is_measured(net, images, named):
    labels = named.clone()
    labels[3] = (labels[3] + 1) % CLASSES  # the network misnames it
    result = attack(net, "conv", Scenes(pairs(images, labels)), settings=QUICK, batch_size=4, progress=False)
    kept = [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert result.images.tolist() == kept
    assert result.misnamed == 1
    assert torch.equal(result.sources, labels[kept])
    assert (result.targets != result.sources).all()
    assert result.success_rate() == float(result.reached.double().mean()) > 0.5
    with torch.no_grad():
        torch.testing.assert_close(result.before, net.conv(images[kept]).amax((2, 3)))
        found, _ = adversarial(net, images[4:8], result.targets[3:7], QUICK)
        torch.testing.assert_close(result.after[3:7], net.conv(found).amax((2, 3)), rtol=0, atol=1e-4)
        norms = (found - images[4:8]).flatten(1).norm(dim=1)
        torch.testing.assert_close(result.norms[3:7], norms, rtol=0, atol=1e-4)
        noisy = with_noise(images[4:8], result.norms[3:7], torch.arange(4, 8))
        torch.testing.assert_close(result.noise[3:7], net.conv(noisy).amax((2, 3)))
        assert torch.equal(result.noise_kept[3:7], net(noisy).argmax(1) == result.sources[3:7])


def test_a_batch_without_an_image_that_is_named_right(net, images, named):
    """The network cannot be called without an image, as one with `view(len(x), -1)` cannot."""
    wrong = named.clone()
    wrong[:4] = (wrong[:4] + 1) % CLASSES
    result = attack(net, "conv", Scenes(pairs(images, wrong)), settings=QUICK, batch_size=4, progress=False)
    assert result.images.tolist() == [4, 5, 6, 7, 8, 9]
    assert result.misnamed == 4
    assert len(result.before) == len(result.after) == len(result.noise) == 6


def test_the_published_candidates_are_those_whose_class_and_answer_are_not_the_target(net, images, named, tmp_path):
    target, labels = int(named[5]), named.clone()
    labels[3], labels[5] = target, (target + 1) % CLASSES  # image 5 is taken for one of the target's already
    options = {"settings": QUICK, "batch_size": 4, "progress": False, "targets": torch.full((IMAGES,), target)}
    with pytest.raises(ValueError, match=r'of image 3, of class .*; candidates="non_target" leaves such images out'):
        attack(net, "conv", Scenes(pairs(images, labels)), **options)
    result = attack(net, "conv", Scenes(pairs(images, labels)), candidates="non_target", **options)
    kept = [at for at in range(IMAGES) if labels[at] != target and named[at] != target]
    assert len(kept) > 5
    assert not {3, 5} & {*kept}
    assert result.images.tolist() == kept
    assert (result.misnamed, result.candidates) == (IMAGES - len(kept), "non_target")
    assert torch.equal(result.sources, labels[kept])
    with torch.no_grad():
        torch.testing.assert_close(result.before, net.conv(images[kept]).amax((2, 3)))
    assert AttackResult.load(result.save(tmp_path / "saved")).candidates == "non_target"


def test_candidates_that_are_named_wrong_are_attacked_and_keep_their_answer(net, images, named):
    labels = (named + 1) % CLASSES
    targets = (named + 2) % CLASSES
    options = {"targets": targets, "settings": HOPELESS, "progress": False}
    result = attack(net, "conv", [(images, labels)], candidates="non_target", **options)
    assert len(result.images) == IMAGES
    assert torch.equal(result.sources, labels)
    assert result.noise_kept.all()  # noise of norm 0 changes no answer
    assert len(attack(net, "conv", [(images, labels)], **options).images) == 0


def test_ctrl_c_saves_an_attack(net, images, named, tmp_path):
    scenes = Scenes(pairs(images, named), broken=7, error=KeyboardInterrupt)
    options = {"settings": QUICK, "batch_size": 3, "progress": False, "resume": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        attack(net, "conv", scenes, **options)
    rest = Scenes(pairs(images, named))
    assert len(attack(net, "conv", rest, **options).images) == 10
    assert rest.asked == list(range(10))


def test_targets_depend_on_the_image_alone(net, images, named):
    small = attack(net, "conv", Scenes(pairs(images, named)), settings=HOPELESS, batch_size=3)
    large = attack(net, "conv", Scenes(pairs(images, named)), settings=HOPELESS, batch_size=10)
    assert torch.equal(small.targets, large.targets)
    assert len(set(((small.targets - small.sources) % CLASSES).tolist())) > 1
    assert small.success_rate() == 0
    assert torch.equal(small.after, small.before)


def test_given_targets(net, images, named):
    targets = (named + 1) % CLASSES
    result = attack(net, "conv", Scenes(pairs(images, named)), targets=targets, settings=HOPELESS, progress=False)
    assert torch.equal(result.targets, targets)


def test_an_interrupted_run_goes_on(net, images, named, tmp_path, monkeypatch):
    monkeypatch.setattr("dissect.files.progress.EVERY", 0.0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)
    options = {"settings": QUICK, "batch_size": 3, "progress": False}
    whole = attack(net, "conv", Scenes(pairs(images, named)), **options)
    with pytest.raises(OSError, match="cannot be read"):
        attack(net, "conv", Scenes(pairs(images, named), broken=7), resume=tmp_path, **options)
    rest = Scenes(pairs(images, named))
    result = attack(net, "conv", rest, resume=tmp_path, **options)
    assert rest.asked == list(range(10))  # the first six to know them again
    for name, value in vars(whole).items():
        same = torch.equal(value, getattr(result, name)) if isinstance(value, torch.Tensor) else True
        assert same, name
    assert (result.misnamed, result.seed) == (0, 0)
    with pytest.raises(ValueError, match="a folder whose run had the same settings"):
        attack(net, "conv", rest, resume=tmp_path, candidates="non_target", **options)
    with pytest.raises(ValueError, match="a folder whose run had the same seed"):
        attack(net, "conv", rest, resume=tmp_path, seed=1, **options)
    for changed in (0, 4, 9):
        others = images.clone()
        others[changed, 0, 0, 0] = 1 - others[changed, 0, 0, 0]
        with pytest.raises(ValueError, match=f"images must be the same .* batch {changed // 3} have changed"):
            attack(net, "conv", Scenes(pairs(others, named)), resume=tmp_path, **options)
    with pytest.raises(ValueError, match="a folder whose run had the same images"):
        attack(net, "conv", Scenes(pairs(images, named)[:9]), resume=tmp_path, **options)
    with pytest.raises(ValueError, match="an iterable that can be visited again"):
        attack(net, "conv", iter([(images, named)]), resume=tmp_path, **options)


def test_an_attack_is_made_again_of_its_batch(net, images, named):
    labels = named.clone()
    labels[2] = (labels[2] + 1) % CLASSES  # named wrong, so not attacked
    scenes = torch.utils.data.TensorDataset(images, labels)
    result = attack(net, "conv", scenes, settings=QUICK, batch_size=4, progress=False)
    for at in result.reached.nonzero().flatten().tolist():
        image, found = attacked_again(net, scenes, result, at, batch_size=4)
        assert torch.equal(image, images[result.images[at]])
        assert (found - image).norm() == result.norms[at]
    again = attacked_again(net, scenes, result, -1, batch_size=4)
    assert torch.equal(again[0], images[-1])


def test_saved_and_loaded(net, images, named, tmp_path):
    result = attack(net, "conv", Scenes(pairs(images, named)), settings=HOPELESS, progress=False)
    again = AttackResult.load(result.save(tmp_path / "saved"))
    assert (again.layer, again.settings, again.seed, again.misnamed) == ("conv", HOPELESS, 0, 0)
    assert all(torch.equal(v, getattr(again, n)) for n, v in vars(result).items() if isinstance(v, torch.Tensor))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": [9] * IMAGES}, r"classes must be in \[0, 4\), the model's, but got"),
        ({"labels": None}, r"images must come with class numbers \[N\], integers, but came with NoneType"),
        ({"labels": [0.5] * IMAGES}, "images must come with class numbers"),
        ({"targets": [0] * 9}, "one entry per image, but there are 9"),
        ({"targets": [4] * IMAGES}, r"targets must be in \[0, 4\) and not the image's own class"),
        ({"scale": 2.0}, r"images must lie within bounds=\(0.0, 1.0\), but go from"),
        ({"training": True}, "the network must be in evaluation mode, but dropout"),
        ({"model": nn.Sequential(nn.Conv2d(3, 4, 3))}, r"model must give logits \[N=10, classes\], but gave \[10, 4"),
    ],
)
def test_what_is_refused(net, images, named, changed, message):
    model = changed.get("model", net).eval()
    if "training" in changed:
        model.dropout.train()
    labels = changed.get("labels", named)
    images = images * changed.get("scale", 1.0)
    with torch.no_grad():
        if "scale" in changed:
            labels = model(images).argmax(1)
    batch = images if labels is None else (images, torch.as_tensor(labels))
    targets = torch.tensor(changed["targets"]) if "targets" in changed else None
    layer = changed.get("layer", "0" if "model" in changed else "conv")
    with pytest.raises(ValueError, match=message):
        attack(model, layer, [batch], targets=targets, settings=HOPELESS, progress=False)


@pytest.mark.parametrize(
    ("wrong", "kind", "told"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, but got 0"),
        ({"batch_size": "8"}, TypeError, "batch_size must be an integer, but got '8'"),
        ({"seed": -1}, ValueError, "seed must be at least 0, but got -1"),
        ({"seed": 0.5}, TypeError, r"seed must be an integer, but got 0\.5"),
        ({"bounds": (1.0, 0.0)}, ValueError, r"bounds must be two finite numbers, the smaller one first, but are \(1"),
        ({"bounds": (0.0, math.nan)}, ValueError, "bounds must be two finite numbers"),
        ({"bounds": 1.0}, ValueError, r"bounds must be two numbers, but are 1\.0"),
        ({"targets": torch.zeros(10)}, ValueError, r"targets must be integers .* but are torch.float32 \[10\]"),
        ({"targets": torch.zeros(10, 1).long()}, ValueError, r"targets must be integers .* but are .* \[10, 1\]"),
        ({"settings": QUICK._replace(steps=0)}, ValueError, r"settings\.steps must be at least 1, but got 0"),
        ({"settings": QUICK._replace(stepsize=-1.0)}, ValueError, r"settings\.stepsize must be .* above 0, but is -1"),
        (
            {"settings": QUICK._replace(confidence=math.inf)},
            ValueError,
            "confidence must be a finite number, 0 or more",
        ),
        ({"layer": "nose"}, KeyError, "no layer 'nose'"),
        ({"candidates": "all"}, ValueError, r"candidates must be one of \('correct', 'non_target'\), but is 'all'"),
    ],
)
def test_wrong_options_are_told_before_the_work(net, wrong, kind, told):
    given = {"layer": "conv", "images": (pytest.fail("an image was asked for") for _ in range(1)), "progress": False}
    with pytest.raises(kind, match=told):
        attack(net, **(given | wrong))


def test_no_images_are_refused(net):
    with pytest.raises(ValueError, match="at least one batch, but held none"):
        attack(net, "conv", [], progress=False)


def test_a_target_that_is_the_own_class_is_refused(net, images, named):
    with pytest.raises(ValueError, match=f"that of image 0, of class {int(named[0])}, is {int(named[0])}"):
        attack(net, "conv", [(images, named)], targets=named, settings=HOPELESS, progress=False)


def test_without_foolbox_the_extra_is_named(net, images, named, monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(ImportError, match=r"pip install 'dissect-units\[experiments\]'"):
        attack(net, "conv", [(images, named)])


def test_random_targets_are_even(net):
    from dissect.experiments.attack import _targets

    labels = torch.full((3000,), 2)
    counts = np.bincount(_targets(None, torch.arange(3000), labels, CLASSES, 0, "correct"), minlength=CLASSES)
    assert counts[2] == 0
    assert (abs(counts[[0, 1, 3]] - 1000) < 120).all()
