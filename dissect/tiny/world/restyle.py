"""The same scene in another look: colours, materials and textures change, the shapes stay."""

from __future__ import annotations

from dissect.tiny.world.canvas import Color, Surface
from dissect.tiny.world.rng import Rng
from dissect.tiny.world.vocabulary import MATERIALS, TEXTURES

# Full colours and greys, of about the same brightness.
_TINTS: tuple[Color, ...] = (
    (210, 80, 70), (214, 130, 60), (200, 178, 70), (110, 170, 80), (70, 160, 170), (90, 120, 214), (150, 100, 200),
    (220, 130, 170), (150, 150, 150), (150, 110, 80), (170, 160, 140),
)  # fmt: skip


class Restyle:
    """Dresses every surface of one scene anew (see `canvas.Dress`).

    Surfaces of one thing that were of one material stay alike: they share their new material, texture and tint. Each
    keeps how light it was, so that things keep their shading; what had no material keeps none.

    Args:
        key: names the look; a pure function of it.
    """

    def __init__(self, *key: str | int) -> None:
        self._key = key
        self._looks: dict[tuple[int, str, str, str], tuple[Color, str, str]] = {}

    def _look(self, seed: int, name: str, surface: Surface) -> tuple[Color, str, str]:
        which = (seed, name, surface.material, surface.texture)
        if which not in self._looks:
            rng = Rng(*self._key, *which)
            material = rng.pick(MATERIALS) if surface.material else ""
            texture = rng.pick(("", *TEXTURES)) if surface.material else ""
            self._looks[which] = rng.jitter(rng.pick(_TINTS), 24), material, texture
        return self._looks[which]

    def __call__(self, seed: int, name: str, surface: Surface) -> Surface:
        """What this surface looks like now."""
        tint, material, texture = self._look(seed, name, surface)
        lightness = max(40, sum(surface.color)) * 256 // max(1, sum(tint))
        red, green, blue = (min(250, channel * lightness >> 8) for channel in tint)
        return Surface((red, green, blue), material, texture)
