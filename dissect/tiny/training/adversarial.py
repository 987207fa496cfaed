"""One step of adversarial training: the losses, their gradient penalties, and the two updates."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dissect.arguments import refusal, speaks
from dissect.tiny.training.feature_critic import FeatureCritic

LOSSES = ("logistic", "wgan")
RATE, BETAS = 0.0025, (0.0, 0.99)
#: The R1 penalty at 64x64; it goes with the number of pixels, as the squared norm of a gradient does.
R1_GAMMA = 0.3
#: Steps between penalties; each then counts for all of them (Karras et al. 2020, "lazy regularization").
R1_EVERY = 16
GRADIENT_PENALTY, DRIFT = 10.0, 0.001
#: Images after which the average of the weights has forgotten half.
HALF_LIFE = 5000


@speaks
class Adversaries:
    """A generator, its running average, a discriminator, and their optimisers.

    logistic (Goodfellow et al. 2014, non-saturating; R1: Mescheder et al. 2018)::

        D: mean softplus(D(G(z))) + mean softplus(-D(x)) + gamma / 2 * mean |grad D(x)|^2
        G: mean softplus(-D(G(z)))

    wgan (Gulrajani et al. 2017; drift: Karras et al. 2018)::

        D: mean D(G(z)) - mean D(x) + 10 mean (|grad D(x')| - 1)^2 + 0.001 mean D(x)^2,   x' between x and G(z)
        G: -mean D(G(z))

    Scores of a feature critic are compared in the same way, without a penalty, and all losses are added.

    Args:
        generator: called with (z, resolution, fade, seeds).
        average: a second one of the same shape and weights.
        discriminator: called with (images, fade).
        loss: "logistic" or "wgan".
        rate: the generator's learning rate.
        r1_gamma: of the R1 penalty at 64x64.
        half_life: images after which the average of the weights has forgotten half.
        feature_critic: judges beside the discriminator; learns at the same rate.
    """

    def __init__(
        self,
        generator: nn.Module,
        average: nn.Module,
        discriminator: nn.Module,
        loss: str,
        rate: float = RATE,
        r1_gamma: float = R1_GAMMA,
        half_life: int = HALF_LIFE,
        feature_critic: FeatureCritic | None = None,
    ) -> None:
        self.generator, self.average, self.discriminator = generator, average.requires_grad_(False), discriminator
        if loss not in LOSSES:
            raise refusal(ValueError(f"loss must be one of {LOSSES}, but got {loss!r}."))
        self.loss, self.r1_gamma, self.half_life = loss, r1_gamma, half_life
        self.feature_critic = feature_critic
        heads = [] if feature_critic is None else [feature_critic.heads]
        self._judges = nn.ModuleList([discriminator, *heads])
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=its_rate, betas=BETAS)
            for network, its_rate in ((generator, rate), (self._judges, RATE))
        ]

    def step(
        self, number: int, real: Tensor, z: Tensor, seeds: Tensor, fade: float, chance: torch.Generator
    ) -> tuple[float, float]:
        """Updates the generator, then the discriminator on the same generated images.

        Args:
            number: of the step; decides when R1 is due.
            real: images [N, 3, R, R] in [-1, 1], faded as generated ones are.
            z: [N, z_channels].
            seeds: of the noise, int64 [N].
            fade: see `Growing`.
            chance: where random numbers come from.

        Returns:
            The losses of generator and discriminator, the feature critic's added, without penalties.

        Raises:
            FloatingPointError: a loss is not finite; nothing was updated by it.
        """
        device = real.device.type
        self._judges.requires_grad_(False)
        with torch.autocast(device, torch.bfloat16):
            fake = self.generator(z, real.shape[-1], fade, seeds)
            scores = self._scores(fake, fade)
        loss_g = _sum(softplus(-score).mean() if self.loss == "logistic" else -score.mean() for score in scores)
        self._update(0, loss_g)
        self._average(len(real))

        self._judges.requires_grad_(True)
        fake = fake.detach().float().contiguous(memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16):
            on_fake, on_real = self._scores(fake, fade), self._scores(real, fade)
        pairs = list(zip(on_fake, on_real, strict=True))
        if self.loss == "logistic":
            loss_d = _sum(softplus(false).mean() + softplus(-true).mean() for false, true in pairs)
            penalty = self._r1(real, fade) if number % R1_EVERY == 0 else 0.0
        else:
            loss_d = _sum(false.mean() - true.mean() for false, true in pairs)
            penalty = self._gradient_penalty(real, fake, fade, chance) + DRIFT * on_real[0].square().mean()
        self._update(1, loss_d + penalty)
        return float(loss_g.detach()), float(loss_d.detach())

    def _scores(self, images: Tensor, fade: float) -> list[Tensor]:
        """The discriminator's, then the feature critic's."""
        others = [] if self.feature_critic is None else self.feature_critic(images)
        return [self.discriminator(images, fade).float(), *others]

    def _update(self, which: int, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the {('generator', 'discriminator')[which]}'s loss is {loss.item()}, but must be finite; a smaller "
                "rate or, for the logistic loss, a larger r1_gamma may keep it so."
            )
        optimizer = self.optimizers[which]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def _average(self, images: int) -> None:
        keep = 0.5 ** (images / self.half_life)
        for ours, theirs in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            ours.lerp_(theirs, 1 - keep)
        for mine, its in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            mine.copy_(its)

    def _r1(self, real: Tensor, fade: float) -> Tensor:
        real = real.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.discriminator(real, fade).sum(), real, create_graph=True)
        gamma = self.r1_gamma * (real.shape[-1] / 64) ** 2
        return gamma / 2 * R1_EVERY * gradient.square().sum((1, 2, 3)).mean()

    def _gradient_penalty(self, real: Tensor, fake: Tensor, fade: float, chance: torch.Generator) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, generator=chance).to(real.device)
        between = torch.lerp(real, fake, share).requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.discriminator(between, fade).sum(), between, create_graph=True)
        # Not quite zero, where the root has no slope.
        return GRADIENT_PENALTY * ((gradient.square().sum((1, 2, 3)) + 1e-12).sqrt() - 1).square().mean()


def _sum(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).sum()
