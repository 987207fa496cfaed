"""How far apart two sets of images are, by the features that a network has of them."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(features: Tensor, others: Tensor) -> float:
    """The Frechet distance of two normal distributions with the means m and covariances S of two samples.

    ::

        |m1 - m2|^2 + trace(S1 + S2 - 2 (S1^(1/2) S2 S1^(1/2))^(1/2))

    (Heusel et al. 2017, equation 6; with the features of a classifier the "FID", with areas of segments the Frechet
    Segmentation Distance of Bau et al. 2019). Computed in float64 from symmetric eigenvalue problems; covariances
    divide by N - 1. Samples of finite size never have distance 0, so state a distance of two samples of the same
    distribution beside it.

    Args:
        features: [N, D].
        others: [M, D].

    Returns:
        The distance, at least 0, in squared units of the features.

    Raises:
        ValueError: shapes that do not go together, fewer than two rows, or values that are not finite.

    Example:
        >>> from dissect.stats import frechet_distance
        >>> round(frechet_distance(torch.tensor([[0.0], [2.0]]), torch.tensor([[3.0], [5.0]])), 6)
        9.0
    """
    for name, sample in (("features", features), ("others", others)):
        if sample.dim() != 2 or len(sample) < 2 or sample.shape[1] != features.shape[1]:
            raise ValueError(
                f"frechet_distance: {name} must be [N, D] with at least two rows and the same D, "
                f"but features is {list(features.shape)} and others is {list(others.shape)}."
            )
        if not torch.isfinite(sample).all():
            raise ValueError(f"frechet_distance: {name} must be finite.")
    (mean, covariance), (other_mean, other_covariance) = (_moments(sample) for sample in (features, others))
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    mixed = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * mixed
    found: float = max(0.0, distance.item())
    return found


def _moments(sample: Tensor) -> tuple[Tensor, Tensor]:
    wide = sample.detach().to("cpu", torch.float64)
    mean = wide.mean(0)
    centred = wide - mean
    return mean, centred.T @ centred / (len(wide) - 1)
