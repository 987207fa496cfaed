"""The attack of Carlini & Wagner on images, and the noise that it is compared with."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaks
from dissect.extras import require
from dissect.network.modes import check_evaluating


class CarliniWagner(NamedTuple):
    """Settings of the targeted L2 attack (Carlini & Wagner 2017, section VI).

    It looks for the image x' nearest to x that the network names as the target t: Adam minimises ``|x' - x|^2 + c *
    max(0, max over i != t of z_i(x') - z_t(x') + confidence)`` with z the logits, and a search by halves looks for
    the smallest c that works. For the embedded network and scenes of 128 x 128 these settings take 2.4 seconds of a
    core an image and reached 305 of 309 targets; `PUBLISHED`, which the paper used, would take 750 times as many steps.

    Attributes:
        binary_search_steps: how many c are tried.
        steps: Adam steps for each c.
        stepsize: of Adam, in the space of arctanh.
        initial_const: the first c; ten times as large after each failure, until one works.
        confidence: by how much the target's logit must exceed the others'.
    """

    binary_search_steps: int = 3
    steps: int = 40
    stepsize: float = 0.005
    initial_const: float = 3.0
    confidence: float = 0.0


#: The settings that nobody chose.
DEFAULT = CarliniWagner()
#: Those of PNAS 2020: foolbox's own. (It attacked 1,000 images to five fixed classes.)
PUBLISHED = CarliniWagner(binary_search_steps=9, steps=10_000, stepsize=0.01, initial_const=0.001)


@speaks
def adversarial(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    settings: CarliniWagner = DEFAULT,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> tuple[Tensor, Tensor]:
    """The nearest images that the network names as the targets, as `CarliniWagner` finds them.

    Every image is attacked for itself: the others of the batch have no part in it. But the network rounds otherwise in
    a batch of another size, and after a hundred steps that may lead to another image: equal bits need equal batches.

    Args:
        model: a classifier that gives logits [N, C], in eval mode.
        images: [N, 3, H, W] float32 within the bounds, on the model's device.
        targets: [N] int64 on the same device.
        settings: of the attack.
        bounds: the least and the largest value that a pixel can have.

    Returns:
        [N, 3, H, W] float32, and [N] bool: whether the target was reached. Where not, the image is unchanged.

    Raises:
        ImportError: foolbox is missing; it comes with the extra `experiments`.
        ValueError: a network in training mode, or pixels out of bounds.
    """
    foolbox = load_foolbox()
    check_evaluating(model)
    if not len(images):
        return images, torch.zeros(0, dtype=torch.bool, device=images.device)
    least, largest = float(images.min()), float(images.max())
    if not bounds[0] <= least <= largest <= bounds[1]:
        raise refusal(
            ValueError(
                f"images must lie within bounds={bounds}, but go from {least:g} to {largest:g}; give other "
                "bounds, or images as they are before normalisation and a model that normalises."
            )
        )
    # Stopping early would look at the sum of a batch's losses, and so tie an image to its neighbours.
    search = foolbox.attacks.L2CarliniWagnerAttack(**settings._asdict(), abort_early=False)
    with _without_weight_gradients(model), torch.enable_grad():
        wrapped = foolbox.PyTorchModel(model, bounds=bounds, device=images.device)
        found = search.run(wrapped, images, foolbox.criteria.TargetedMisclassification(targets)).detach()
    # Foolbox gives black images where it fails.
    with torch.no_grad():
        reached = (model(found).argmax(1) == targets) & found.flatten(1).any(1)
    return torch.where(reached[:, None, None, None], found, images), reached


@speaks
def with_noise(
    images: Tensor, norms: Tensor, numbers: Tensor, seed: int = 0, bounds: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Images with normal noise of given L2 norms.

    Noise that would leave the bounds has its sign turned, so that the norm stays; it is cut where neither fits.

    Args:
        images: [N, 3, H, W] within the bounds.
        norms: [N], of the noise.
        numbers: [N] int64, each image's number, which with `seed` decides its noise.
        seed: of the noise.
        bounds: the least and the largest value that a pixel can have.

    Example:
        >>> images = torch.zeros(2, 3, 4, 4)
        >>> noisy = with_noise(images, torch.tensor([0.5, 0.0]), torch.tensor([7, 8]))
        >>> [round(float(image.norm()), 4) for image in noisy], bool((noisy >= 0).all())
        ([0.5, 0.0], True)
    """
    noisy = images.clone()
    for at, number in enumerate(numbers.tolist()):
        draws = np.random.default_rng([seed, number]).standard_normal(images.shape[1:])
        noise = torch.from_numpy(draws * float(norms[at]) / np.linalg.norm(draws)).to(images)
        outside = (images[at] + noise < bounds[0]) | (images[at] + noise > bounds[1])
        noisy[at] += torch.where(outside, -noise, noise)
    return noisy.clamp(*bounds)


def load_foolbox() -> Any:
    """The library of the attack.

    Raises:
        ImportError: it is missing; names the extra.
    """
    # Its zoo, unused here, imports GitPython, which refuses machines without git unless told to be quiet.
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    with warnings.catch_warnings():
        # Its blur attack, unused here, imports from a place that scipy is about to give up.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        require("attack", "experiments", "foolbox")
        import foolbox
    return foolbox


@contextmanager
def _without_weight_gradients(model: nn.Module) -> Iterator[None]:
    """Only the images need gradients: weights' would take time, and stay behind in the user's network."""
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        for weight in learning:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in learning:
            weight.requires_grad_(True)
