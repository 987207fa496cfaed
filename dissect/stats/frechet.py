"""How far apart two sets of images are, by the features that a network has of them."""

from __future__ import annotations

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks


@speaks
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
            raise refusal(
                ValueError(
                    f"{name} must be [N, D] with at least two rows and the same D, "
                    f"but features is {list(features.shape)} and others is {list(others.shape)}."
                )
            )
        if not torch.isfinite(sample).all():
            raise refusal(ValueError(f"{name} must be finite."))
    (mean, covariance), (other_mean, other_covariance) = (_moments(sample) for sample in (features, others))
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    mixed = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * mixed
    found: float = max(0.0, distance.item())
    return found


@speaks
class FrechetReference:
    """A sample of features from which the Frechet distances of many others are measured, each for one decomposition.

    Args:
        features: [M, D], of real images for example.

    Raises:
        ValueError: see `frechet_distance`.

    Example:
        >>> from dissect.stats import FrechetReference
        >>> reference = FrechetReference(torch.tensor([[0.0], [2.0]]))
        >>> round(reference.distance(torch.tensor([[3.0], [5.0]])), 6)
        9.0
    """

    def __init__(self, features: Tensor) -> None:
        _check(features=features)
        self._mean, covariance = _moments(features)
        self._trace, (values, vectors) = covariance.trace(), torch.linalg.eigh(covariance)
        self._root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T

    def distance(self, features: Tensor, weights: Tensor | None = None) -> float:
        """The `frechet_distance` of a sample from this one.

        Args:
            features: [N, D].
            weights: [N] how often each row counts, at least two in all; as often as it stands there by default.

        Raises:
            ValueError: see `frechet_distance`.
        """
        _check(features=features)
        if features.shape[1] != len(self._mean):
            raise refusal(
                ValueError(f"features must be [N, D] with D={len(self._mean)}, but are {list(features.shape)}.")
            )
        wide = features.detach().to("cpu", torch.float64)
        counts = torch.ones(len(wide), dtype=torch.float64) if weights is None else weights.double().cpu()
        mean = counts @ wide / counts.sum()
        rows = (wide - mean) * (counts / (counts.sum() - 1)).sqrt()[:, None]
        seen = rows @ self._root  # the root of whose Gram matrix has the trace that the distance takes
        mixed = torch.linalg.eigvalsh(seen @ seen.T if len(seen) < seen.shape[1] else seen.T @ seen).clamp(min=0).sqrt()
        distance = (mean - self._mean).square().sum() + rows.square().sum() + self._trace - 2 * mixed.sum()
        found: float = max(0.0, distance.item())
        return found


def _check(**samples: Tensor) -> None:
    """Refuses a sample whose covariance cannot be told.

    Raises:
        ValueError: says why.
    """
    for name, sample in samples.items():
        if sample.dim() != 2 or len(sample) < 2:
            raise refusal(ValueError(f"{name} must be [N, D] with at least two rows, but got {list(sample.shape)}."))
        if not torch.isfinite(sample).all():
            raise refusal(ValueError(f"{name} must be finite."))


def _moments(sample: Tensor) -> tuple[Tensor, Tensor]:
    wide = sample.detach().to("cpu", torch.float64)
    mean = wide.mean(0)
    centred = wide - mean
    return mean, centred.T @ centred / (len(wide) - 1)
