"""The two updates, on networks so simple that the losses can be computed by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from dissect.tiny.training import adversarial
from dissect.tiny.training.adversarial import Adversaries
from dissect.tiny.training.run import set_pace


class Plain(nn.Module):
    """Images that are a parameter times z."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, z, resolution, fade, seeds):
        return (self.gain * z)[:, :, None, None].expand(-1, 3, resolution, resolution)


class Linear(nn.Module):
    """A score that is the images' dot product with a parameter, so that its gradient is that parameter."""

    def __init__(self, size=4):
        super().__init__()
        self.weight = nn.Parameter(torch.full((3, size, size), 0.1))

    def forward(self, images, fade):
        return (images * self.weight).sum((1, 2, 3))


@pytest.fixture(autouse=True)
def _plain_descent(monkeypatch):
    """Gradients are read off by a step of plain descent, in float32."""
    monkeypatch.setattr(torch.optim, "Adam", lambda groups, lr, betas: torch.optim.SGD(groups, lr=1.0))
    monkeypatch.setattr(torch, "autocast", lambda *_: torch.enable_grad())


def stepped(loss, number=1, pace=1.0, **options):
    generator, critic = Plain(), Linear()
    both = Adversaries(generator, copy.deepcopy(generator), critic, loss, **options)
    real, z = torch.linspace(-1, 1, 96).view(2, 3, 4, 4), torch.tensor([[1.0], [2.0]])
    before = critic.weight.detach().clone()
    set_pace(both.optimizers, pace)
    losses = both.step(number, real, z, torch.zeros(2, dtype=torch.int64), 1.0, torch.Generator().manual_seed(0))
    return both, losses, real, z, before


def test_logistic_by_hand():
    both, (loss_g, loss_d), real, z, weight = stepped("logistic")
    fake = (0.5 * z)[:, :, None, None].expand(-1, 3, 4, 4)
    score = (fake * weight).sum((1, 2, 3)).detach()
    assert loss_g == pytest.approx(float(softplus(-score).mean()))
    assert loss_d == pytest.approx(float(softplus(score).mean() + softplus(-(real * weight).sum((1, 2, 3))).mean()))
    slope = -(torch.sigmoid(-score) * 48 * 0.1 * z[:, 0]).mean()
    assert both.generator.gain.item() == pytest.approx(0.5 - float(slope), rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"r1_gamma": 2.0}])
def test_r1_is_the_squared_gradient_and_lazy(options):
    with_penalty, without = (stepped("logistic", number, **options)[0] for number in (16, 17))
    gamma = options.get("r1_gamma", adversarial.R1_GAMMA) * (4 / 64) ** 2
    extra = without.discriminator.weight - with_penalty.discriminator.weight
    assert torch.allclose(extra, torch.full_like(extra, gamma * adversarial.R1_EVERY * 0.1), rtol=1e-3)


def test_wgan_by_hand():
    both, (loss_g, loss_d), real, z, weight = stepped("wgan")
    fake = (0.5 * z)[:, :, None, None].expand(-1, 3, 4, 4)
    on_fake, on_real = (fake * weight).sum((1, 2, 3)), (real * weight).sum((1, 2, 3))
    assert loss_g == pytest.approx(-float(on_fake.mean()))
    assert loss_d == pytest.approx(float(on_fake.mean() - on_real.mean()), rel=1e-5)
    norm = weight.norm()
    slope = fake.mean(0) - real.mean(0)
    slope = slope + 10 * 2 * (norm - 1) * weight / norm
    slope = slope + 0.001 * 2 * (on_real[:, None, None, None] * real).mean(0)
    assert torch.allclose(both.discriminator.weight, weight - slope, atol=1e-5)


class Places(nn.Module):
    """A feature critic with two scores of each image, by one parameter."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ParameterList([torch.tensor(0.2)])

    def forward(self, images):
        return [self.heads[0] * images[:, :, :2].mean((1, 3)).flatten()]


def test_a_feature_critic_s_losses_are_added_by_hand():
    critic = Places()
    both, (loss_g, loss_d), real, z, weight = stepped("logistic", feature_critic=critic)
    fake = (0.5 * z)[:, :, None, None].expand(-1, 3, 4, 4)
    on_fake, on_real = ((images * weight).sum((1, 2, 3)) for images in (fake, real))
    seen_fake, seen_real = (images[:, :, :2].mean((1, 3)) for images in (fake, real))
    expected = softplus(-on_fake).mean() + softplus(-0.2 * seen_fake).mean()
    assert loss_g == pytest.approx(float(expected))
    slopes = (torch.sigmoid(-on_fake) * 48 * 0.1 * z[:, 0]).mean() + (torch.sigmoid(-0.2 * seen_fake) * 0.2 * z).mean()
    assert both.generator.gain.item() == pytest.approx(0.5 + float(slopes), rel=1e-5)
    told = softplus(on_fake).mean() + softplus(-on_real).mean()
    told = told + softplus(0.2 * seen_fake).mean() + softplus(-0.2 * seen_real).mean()
    assert loss_d == pytest.approx(float(told))
    slope = (torch.sigmoid(0.2 * seen_fake) * seen_fake).mean() - (torch.sigmoid(-0.2 * seen_real) * seen_real).mean()
    assert critic.heads[0].item() == pytest.approx(0.2 - float(slope), rel=1e-5)


def test_a_critic_without_slope_keeps_its_weights_finite():
    generator, critic = Plain(), Linear()
    torch.nn.init.zeros_(critic.weight)
    both = Adversaries(generator, copy.deepcopy(generator), critic, "wgan")
    seeds = torch.zeros(2, dtype=torch.int64)
    both.step(1, torch.ones(2, 3, 4, 4), torch.ones(2, 1), seeds, 1.0, torch.Generator())
    assert critic.weight.isfinite().all()


def test_the_average_forgets_half_in_its_half_life():
    both = stepped("logistic", half_life=2)[0]
    assert both.average.gain.item() == pytest.approx((0.5 + both.generator.gain.item()) / 2)


def test_a_step_at_half_the_pace_goes_half_as_far():
    moved = {}
    for pace in (1.0, 0.5, 0.0):
        both, *_, before = stepped("wgan", pace=pace)
        moved[pace] = [both.generator.gain.item() - 0.5, float((both.discriminator.weight - before).detach().sum())]
    assert all(moved[1.0])
    assert moved[0.5] == pytest.approx([distance / 2 for distance in moved[1.0]], rel=1e-3)
    assert moved[0.0] == [0, 0]


def test_losses_that_there_are_none_of_are_refused():
    with pytest.raises(ValueError, match=r"loss must be one of \('logistic', 'wgan'\), but got 'hinge'"):
        Adversaries(Plain(), Plain(), Linear(), "hinge")


def test_a_loss_that_is_no_number_stops_the_training():
    both = stepped("logistic")[0]
    z = torch.full((2, 1), torch.nan)
    with pytest.raises(FloatingPointError, match="generator's loss is nan"):
        both.step(1, torch.zeros(2, 3, 4, 4), z, torch.zeros(2, dtype=torch.int64), 1.0, torch.Generator())
