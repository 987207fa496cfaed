"""Which generators are trained on the tiny scenes, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dissect.arguments import refusal, speaks
from dissect.models import Discriminator, ProGAN, StyleGAN2
from dissect.tiny.training.adversarial import HALF_LIFE, LOSSES, R1_GAMMA, RATE

KINDS = ("progan", "stylegan2")


@speaks
@dataclass(frozen=True)
class Recipe:
    """One training; its seeds are given on the command line.

    Args:
        kind: "progan" or "stylegan2".
        family: of the scenes.
        watermark: stamp text on some of them, see `TinyScenes`.
        channels: the generator's at 4x4, 8x8, ...; their number decides the resolution.
        critic: the discriminator's.
        z_channels: length of z.
        loss: "logistic" (non-saturating, with R1) or "wgan" (with gradient penalty).
        pixel_norm: of `ProGAN`.
        after_conv: of `ProGAN`; weights that nothing scales ("bias", "batch_norm") want a smaller `rate`.
        minibatch_stddev: of the discriminator.
        feature_critic: let a `FeatureCritic` judge beside it.
        rate: the generator's learning rate.
        r1_gamma: of the logistic loss's R1 penalty at 64x64.
        half_life: images after which the average of the generator's weights has forgotten half.
        stages: (resolution, thousands of images) one after another; a quarter of each fades in, but for the first and
            those that only go on at the resolution before.
        cooldown: thousands of images, the last ones, over which both learning rates go down to zero.
        scenes: how many different ones are drawn for it.
    """

    kind: str = "progan"
    family: str = "street"
    watermark: bool = False
    channels: tuple[int, ...] = (128, 128, 128, 48, 24)
    critic: tuple[int, ...] = (128, 128, 128, 48, 24)
    z_channels: int = 128
    loss: str = "logistic"
    pixel_norm: str = "every"
    after_conv: str = "wscale"
    minibatch_stddev: bool = True
    feature_critic: bool = False
    rate: float = RATE
    r1_gamma: float = R1_GAMMA
    half_life: int = HALF_LIFE
    stages: tuple[tuple[int, int], ...] = ((8, 50), (16, 120), (32, 160), (64, 400))
    cooldown: int = 0
    scenes: int = 28000

    def __post_init__(self) -> None:
        """Raises a ValueError where a choice is none of those above."""
        for name, choices in (("kind", KINDS), ("loss", LOSSES)):
            if getattr(self, name) not in choices:
                raise refusal(ValueError(f"{name} must be one of {choices}, but got {getattr(self, name)!r}."))
        sizes = [resolution for resolution, _ in self.stages]
        grown = [4 << level for level in range(len(self.channels))]
        if not sizes or sizes != sorted(sizes) or sizes[-1] != grown[-1] or not {*sizes} <= {*grown}:
            raise refusal(ValueError(f"stages must grow to {grown[-1]}, among {grown}, but got {self.stages}."))
        if not 0 <= self.cooldown * 1000 <= self.images:
            raise refusal(ValueError(f"cooldown must be at most all {self.images} images, but got {self.cooldown}000."))

    @classmethod
    def of(cls, written: dict[str, Any]) -> Recipe:
        """The recipe from JSON, which has lists in the place of tuples."""
        return cls(**{name: _tuples(value) for name, value in written.items()})

    @property
    def resolution(self) -> int:
        """Rows and columns of the images in the end."""
        return 4 << (len(self.channels) - 1)

    def generator(self, seed: int, resolution: int | None = None) -> ProGAN | StyleGAN2:
        """The untrained generator; with a resolution, as it is while it has grown to no more."""
        channels = self.channels[: resolution.bit_length() - 2] if resolution else self.channels
        if self.kind == "stylegan2":
            return StyleGAN2(channels, self.z_channels, mapping_layers=4, seed=seed)
        return ProGAN(channels, self.z_channels, pixel_norm=self.pixel_norm, after_conv=self.after_conv, seed=seed)

    def discriminator(self, seed: int) -> Discriminator:
        """The untrained discriminator."""
        residual = self.kind == "stylegan2"
        return Discriminator(self.critic, minibatch_stddev=self.minibatch_stddev, residual=residual, seed=seed)

    def stage(self, seen: int) -> tuple[int, float]:
        """Resolution and fade once so many images were shown; (the last, 1) at and beyond the end."""
        before = self.stages[0][0]
        for resolution, thousands in self.stages:
            if seen < thousands * 1000:
                return resolution, 1.0 if resolution == before else min(1.0, seen / (thousands * 250))
            seen, before = seen - thousands * 1000, resolution
        return self.stages[-1][0], 1.0

    def grown(self, seen: int) -> int:
        """The largest resolution that has faded in once so many images were shown, where stages double it."""
        resolution, fade = self.stage(seen)
        return resolution if fade == 1 else resolution // 2

    def pace(self, seen: int) -> float:
        """What learning rates are multiplied with once so many images were shown."""
        left = self.images - seen
        return min(1.0, max(0.0, left / (self.cooldown * 1000))) if self.cooldown else 1.0

    @property
    def images(self) -> int:
        """How many images are shown in all."""
        return 1000 * sum(thousands for _, thousands in self.stages)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


#: At 32x32 for what is compared: Progressive GANs as in thesis Figure 4-7, a baseline, the same with minibatch standard
#: deviation, and that with pixel normalisation too (here all have scaled weights and the logistic loss); and the
#: baseline that the thesis calls WGAN-GP (Figure A-5), which does not grow.
_SMALL = Recipe(
    channels=(96, 96, 96, 48), critic=(96, 96, 96, 48), r1_gamma=5.0, half_life=10_000,
    stages=((8, 50), (16, 80), (32, 150)),
)  # fmt: skip

#: At 64x64: a strong R1 penalty, else the discriminator runs away, and a feature critic, with which the distance fell
#: on. docs/generators.md has the distances of what was tried.
_STEADY = Recipe(r1_gamma=1.0, half_life=20_000, feature_critic=True)

#: By the name of the weights' file.
RECIPES = {
    "progan-street": Recipe(
        channels=(128, 128, 128, 96, 48), r1_gamma=0.5, half_life=20_000, feature_critic=True,
        stages=((8, 50), (16, 120), (32, 160), (64, 400), (64, 370)),
    ),
    "stylegan2-street-watermark": replace(
        _STEADY, kind="stylegan2", watermark=True, channels=(128, 128, 128, 128, 64),
        stages=((8, 50), (16, 80), (32, 100), (64, 400), (64, 770)), cooldown=100,
    ),
    "progan-room": replace(_STEADY, family="room"),
    "progan-room-small": replace(_SMALL, family="room"),
    "progan-street-small": _SMALL,
    "progan-street-small-no-pixelnorm": replace(_SMALL, pixel_norm="none"),
    "progan-street-small-baseline": replace(_SMALL, pixel_norm="none", minibatch_stddev=False),
    "wgangp-street-small": replace(
        _SMALL, loss="wgan", minibatch_stddev=False, rate=0.0002, stages=((32, 100),),
        pixel_norm="none", after_conv="batch_norm",
    ),
}  # fmt: skip
