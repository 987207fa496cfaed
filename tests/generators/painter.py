"""A generator whose units are known to draw colours, and segmenters of these colours."""

import torch
from torch import nn

from dissect.models.noise import seeded_noise


class Painter(nn.Module):
    """8 units on a 4x4 map: units 0 and 1 make red, unit 2 makes green, the others nothing; images are 8x8."""

    z_shape = (5,)

    def __init__(self, scale=1.0, chance=False):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.features, self.up = (
            nn.Linear(5, 4 * 16),
            nn.Conv2d(4, 8, 3, padding=1),
            nn.Upsample(scale_factor=2),
        )
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
        self.scale, self.chance = scale, chance

    def maps(self, z, noise=None):
        maps = self.features(self.first(z).view(-1, 4, 4, 4))
        return maps if noise is None else maps + 0.5 * seeded_noise(noise, 0, 4, 4)

    def paint(self, maps):
        red, green = maps[:, 0] + maps[:, 1], maps[:, 2]
        images = torch.tanh(self.up(torch.stack([red, green, torch.full_like(red, -2.0)], 1)))
        return images * self.scale

    def forward(self, z, noise=None):
        maps = self.features(self.first(z).view(-1, 4, 4, 4))
        if noise is not None:
            maps = maps + 0.5 * seeded_noise(noise, 0, 4, 4)
        if self.chance:
            maps = maps + torch.randn_like(maps)
        return self.paint(maps)


class Drawn(Painter):
    """Noise is added by the layer that is edited, so that edits come after it."""

    def __init__(self):
        super().__init__()
        self.noise = nn.Identity()

    def forward(self, z, noise=None):
        return self.paint(self.noise(self.maps(z, noise)))


class Colours:
    """Red is label 1, green 2; blue, 3, is never there. Counts how many images it has seen."""

    concepts = (("red", "color"), ("green", "color"), ("blue", "color"))

    def __init__(self, level=0.5):
        self.level, self.seen = level, 0

    def __call__(self, images):
        self.seen += len(images)
        return torch.stack([(images[:, at] > self.level).long() * (at + 1) for at in range(3)], 1)

    def scores(self, images, concept):
        at = concept - 1 if isinstance(concept, int) else [name for name, _ in self.concepts].index(concept)
        return torch.sigmoid(8 * (images[:, at] - self.level))


def pixels(images, level=0.5):
    """[N, 4]: pixels of each label."""
    counts = [(images[:, at] > level).flatten(1).sum(1) for at in range(3)]
    return torch.stack([torch.zeros_like(counts[0]), *counts], 1)
