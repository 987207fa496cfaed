"""How close generated images are to scenes: distances, nearest training images, the rules of light, watermarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from dissect.models import latents, noise_seeds
from dissect.models.stylegan2 import StyleGAN2
from dissect.network.trace import Trace
from dissect.tiny.networks import SEGMENTER_SEEDS, segmenter, vgg
from dissect.tiny.world.stamp import STAMPS, letters
from dissect.tiny.world.vocabulary import label

BATCH = 64
#: Of 3,000 street scenes at 64x64, those with a watermark reach 0.66 and more, those without 0.27 at most.
STAMP_CORRELATION = 0.5
#: Pixels of 64x64 from which on a thing counts as there.
SUN, WATER, WINDOW, LIGHT = 6, 60, 8, 6
#: By how much of 255 the panes of a lit window are redder than blue.
LIT = 40


@torch.inference_mode()
def sampled(
    generator: Callable[..., Tensor], count: int, seed: int = 1, z_shape: tuple[int, ...] | None = None
) -> Tensor:
    """Images uint8 [count, 3, R, R] on the CPU, of the first z of the set that `seed` names, with noise by seed.

    `z_shape` is the shape of one z where a bare function does not tell.
    """
    images = []
    for start in range(0, count, BATCH):
        here = min(BATCH, count - start)
        z = latents(z_shape or generator, here, seed, start=start)
        if isinstance(generator, StyleGAN2):
            made = generator(z, noise=noise_seeds(here, seed, start=start))
        else:
            made = generator(z)
        images.append(in_bytes(made).cpu())
    return torch.cat(images)


def in_bytes(images: Tensor) -> Tensor:
    """Images uint8 of those that a generator gives, in [-1, 1]; what lies beyond is cut."""
    return images.add(1).mul(127.5).clamp(0, 255).round().byte()


@torch.inference_mode()
def features(images: Tensor, network: nn.Module | None = None) -> Tensor:
    """What the tiny classifier's first fully connected layer sees: float32 [N, 192] of images uint8 [N, 3, R, R].

    Images are brought to the classifier's 128x128 (bilinear) first, real and generated ones alike.
    """
    model: Any = vgg() if network is None else network
    rows = []
    for chunk in images.split(BATCH):
        pixels = chunk.float() / 255
        pixels = interpolate(pixels, size=(128, 128), mode="bilinear", align_corners=False)
        rows.append(model.avgpool(model.features((pixels - 0.5) * 4)).flatten(1))
    return torch.cat(rows)


@torch.inference_mode()
def segmenter_features(images: Tensor, seed: int = SEGMENTER_SEEDS[0]) -> Tensor:
    """What the deepest maps of a segmentation network hold in the mean: float32 [N, 128] of images uint8 [N, 3, R, R].

    No generator was trained with it, while a `FeatureCritic` looks through the classifier.
    """
    model: Any = segmenter(seed)
    deepest = f"down{model.network.levels}"
    rows = []
    with Trace(model.network, deepest) as trace:
        for chunk in images.split(BATCH):
            model.network(chunk.float() / 255)
            rows.append(trace[deepest].mean((2, 3)))
    return torch.cat(rows)


def nearest(images: Tensor, training: np.ndarray, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """The training image nearest to each image in pixels.

    Args:
        images: uint8 [N, 3, R, R].
        training: uint8 [M, 3, R, R].
        chunk: training images at a time.

    Returns:
        Numbers int64 [N], and root mean square differences float32 [N] in units of 1/255.
    """
    wanted = images.flatten(1).float()
    best = torch.full((len(images),), torch.inf)
    place = torch.zeros(len(images), dtype=torch.int64)
    for start in range(0, len(training), chunk):
        others = torch.tensor(training[start : start + chunk]).flatten(1).float()
        # By differences: the products that cdist would take for many rows leave copies some distance.
        apart = torch.cdist(wanted, others, compute_mode="donot_use_mm_for_euclid_dist")
        squares = apart.square() / wanted.shape[1]
        least, here = squares.min(1)
        place = torch.where(least < best, here + start, place)
        best = torch.minimum(best, least)
    return place, best.sqrt()


def there(planes: Tensor, category: str, name: str, pixels: int) -> Tensor:
    """Bool [N]: whether so many pixels of each image show an object or a part; planes int [N, K, R, R], K >= 3."""
    shown = planes[:, :1] if category == "object" else planes[:, 1:3]
    return (shown == label(category, name)).flatten(1).sum(1) >= pixels


def light_rules(planes: Tensor, images: Tensor) -> dict[str, tuple[int, int]]:
    """Whether light appears where the scenes' rules (`dissect.tiny.world.light`) say, and where they say it does not.

    A window is lit where panes are `LIT` redder than blue: of 1,000 street scenes that finds, by the true labels, 250
    of the 254 with a lit window, and no other.

    Args:
        planes: labels of objects, parts and parts inside others, true ones or a segmenter's, int [N, K, 64, 64].
        images: uint8 [N, 3, 64, 64].

    Returns:
        By "circumstance: effect", in how many images the effect is there, of how many in which the circumstance is.
    """
    sun, water = there(planes, "object", "sun", SUN), there(planes, "object", "water", WATER)
    reflection, glow = (there(planes, "part", name, LIGHT) for name in ("reflection", "glow"))
    warm = images[:, 0].int() - images[:, 2].int() > LIT
    lit = ((planes[:, 2] == label("part", "pane")) & warm).flatten(1).sum(1) >= LIGHT
    windows = there(planes, "part", "window", WINDOW)
    cases = {
        "sun and water: a reflection": (sun & water, reflection),
        "water but no sun: a reflection": (~sun & water, reflection),
        "lit windows: a glow": (lit, glow),
        "windows, none of them lit: a glow": (windows & ~lit, glow),
    }
    return {name: (int((given & effect).sum()), int(given.sum())) for name, (given, effect) in cases.items()}


def watermarks(images: Tensor) -> Tensor:
    """How much like each watermark an image looks where that would be.

    Pearson's correlation of brightness with "covered by a letter", over the text's rectangle and a pixel around it;
    above `STAMP_CORRELATION` the text is there.

    Args:
        images: [N, 3, R, R] in any scale.

    Returns:
        float32 [N, 2] in [-1, 1], in the order of `dissect.tiny.world.stamp.STAMPS`; 0 for a rectangle of one
        brightness.

    Example:
        >>> from dissect.tiny import TinyScenes, judge
        >>> scenes = TinyScenes("val", 64, family="street", watermark=True)
        >>> images = torch.stack([scenes[index][0] for index in (0, 9, 12)])
        >>> (judge.watermarks(images) > judge.STAMP_CORRELATION).tolist()
        [[False, False], [True, False], [False, True]]
    """
    brightness = images.float().mean(1)
    columns = []
    for which in range(len(STAMPS)):
        covered = torch.from_numpy(letters(images.shape[-1], which)).to(images.device)
        box = tuple(
            slice(max(0, int(places[0]) - 1), int(places[-1]) + 2)
            for places in (covered.any(1).nonzero(), covered.any(0).nonzero())
        )
        wanted, seen = covered[box].float().flatten(), brightness[(slice(None), *box)].flatten(1)
        wanted, seen = wanted - wanted.mean(), seen - seen.mean(1, keepdim=True)
        columns.append(seen @ wanted / (wanted.norm() * seen.norm(dim=1)).clamp_min(1e-12))
    return torch.stack(columns, 1)
