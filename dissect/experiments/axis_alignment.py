"""Is interpretability a property of the axes? Units against random rotations of them (Zhou et al. 2018, 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.concepts import Concepts
from dissect.dissection import LayerDissection, run
from dissect.dissection.presets import PresetName
from dissect.experiments.axis_alignment_result import AxisAlignment
from dissect.network.directions import product
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption, Layouts, from_maps, to_maps
from dissect.network.trace import Trace

#: Fig. 6.
ALPHAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@speaks
def random_rotation(count: int, seed: int) -> Tensor:
    """[U, U] float64: a rotation drawn uniformly from SO(U).

    QR of a normally distributed matrix with a positive diagonal of R (Zhou et al. 2018, section 3.2) is uniform in
    O(U); where its determinant is -1, one column is flipped.

    Example:
        >>> rotation = random_rotation(5, seed=1)
        >>> round(float(torch.linalg.det(rotation)), 6), torch.allclose(rotation @ rotation.T, torch.eye(5).double())
        (1.0, True)
    """
    drawn = torch.randn(
        integer("count", count),
        count,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(seed_number(seed)),
    )
    orthogonal, triangular = torch.linalg.qr(drawn)
    found: Tensor = orthogonal * triangular.diagonal().sign()
    if torch.linalg.det(found) < 0:
        found[:, 0] *= -1
    return found


@speaks
def fractional_rotation(rotation: Tensor, alpha: float) -> Tensor:
    """[U, U] float64: Q^alpha, on the shortest way from the identity to a rotation Q.

    Q's planes are those of Hermitian matrices, ``(Q + Q^T) / 2 + (Q - Q^T) / 2i``, which have orthogonal eigenvectors
    V; with angles t of ``V* Q V`` between -pi and pi, ``Q^alpha = V exp(i alpha t) V*``. It is what the real Schur
    decomposition of the paper gives.

    Args:
        rotation: [U, U], in SO(U).
        alpha: from 0 to 1.

    Raises:
        TypeError: no tensor.
        ValueError: no rotation, or one that turns a plane by exactly half a turn, for which there is no shortest way;
            another alpha.

    Example:
        >>> half = fractional_rotation(torch.tensor([[0.0, -1.0], [1.0, 0.0]]), 0.5)
        >>> torch.allclose(half @ half, torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double())
        True
    """
    turn = _matrix(rotation).double()
    if turn.ndim != 2 or turn.shape[0] != turn.shape[1] or not len(turn):
        raise refusal(ValueError(f"rotation must be a matrix [U, U], but has shape {list(turn.shape)}."))
    if not 0 <= alpha <= 1:
        raise refusal(ValueError(f"alpha must be from 0 to 1, but is {alpha!r}."))
    eye = torch.eye(len(turn), dtype=torch.float64)
    if not torch.allclose(turn @ turn.T, eye, atol=1e-6) or torch.linalg.det(turn) < 0:
        raise refusal(ValueError("rotation must be one, of orthonormal rows and determinant 1, but is none."))
    # The second part has an odd factor, so that no angles of different planes give the same eigenvalue.
    planes = torch.linalg.eigh((turn + turn.T) / 2 + 0.7310585 * (turn - turn.T) / 2j).eigenvectors
    angles = torch.diagonal(planes.mH @ turn.to(planes.dtype) @ planes).angle()
    found = (planes * torch.polar(torch.ones_like(angles), alpha * angles)) @ planes.mH
    if float(found.imag.abs().max()) > 1e-6:
        raise refusal(ValueError("rotation must not turn a plane by half a turn, for which there is no shortest way."))
    real: Tensor = found.real.contiguous()
    return real


def _matrix(rotation: Tensor) -> Tensor:
    """What is given, if it is a tensor."""
    if not isinstance(rotation, Tensor):
        raise refusal(TypeError(f"rotation must be a tensor [U, U], but got {type(rotation).__name__}."))
    return rotation


@speaks
def axis_alignment(
    model: nn.Module,
    layer: str,
    images: Dataset[Any] | Tensor | Iterable[Any],
    *,
    alphas: Sequence[float] = ALPHAS,
    repeats: int = 10,
    segmenter: Callable[[Tensor], Tensor] | None = None,
    concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]] | None = None,
    preset: PresetName = "default",
    fraction: float | None = None,
    detector_iou: float | None = None,
    relu: bool = True,
    layout: LayoutOption | None = None,
    at_once: int = 4,
    batch_size: int = 32,
    memory_budget: int = 4 << 30,
    seed: int = 0,
    resume: str | Path | None = None,
    progress: bool = True,
) -> AxisAlignment:
    """Dissects a layer by its units, and by as many directions that are its axes after a random rotation.

    Rotations Q are uniform in SO(U), and ``Q^alpha`` goes from the units' axes to them by the shortest way. If units
    were no more interpretable than other directions, as many concepts would be detected by rotated ones (Zhou et al.
    2018, section 3.2, Fig. 6 to 8).

    Args:
        model: the network.
        layer: a layer that gives maps.
        images: see `dissect.dissect`; with planes, or with a segmenter.
        alphas: how far the first rotation goes, above 0 and up to 1.
        repeats: how many rotations are tried in full, the first one among them; at least 10 have intervals.
        segmenter: see `dissect.dissect`.
        concepts: see `dissect.dissect`.
        preset: see `dissect.dissect`.
        fraction: see `dissect.dissect`.
        detector_iou: see `dissect.dissect`.
        relu: rotate what the ReLU after the layer leaves, as published; False: the layer's own output.
        layout: see `dissect.dissect`.
        at_once: how many rotations are dissected in one run; U directions each.
        batch_size: see `dissect.dissect`.
        memory_budget: see `dissect.dissect`.
        seed: of the rotations: repeat r has seed + r.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show bars.

    Returns:
        An `AxisAlignment`.

    Raises:
        KeyError, TypeError, ValueError: see `dissect.dissect`; alphas outside (0, 1] or twice; images without labels.

    Example: see `AxisAlignment`.
    """
    chosen = [float(alpha) for alpha in alphas]
    if len({*chosen}) < len(chosen) or not all(0 < alpha <= 1 for alpha in chosen):
        raise refusal(ValueError(f"alphas must be different numbers above 0 and up to 1, but are {alphas!r}."))
    repeats, at_once, seed = integer("repeats", repeats), integer("at_once", at_once), seed_number(seed)
    options: dict[str, Any] = {
        "segmenter": segmenter, "concepts": concepts, "preset": preset, "fraction": fraction, "relu": relu,
        "detector_iou": detector_iou, "layout": layout, "batch_size": batch_size, "memory_budget": memory_budget,
        "decoys": 0, "resamples": 0, "top_images": 1, "progress": progress,
    }  # fmt: skip
    folder = None if resume is None else Path(resume)
    plain = run.dissect(model, layer, images, resume=folder and folder / "units", **options)
    if plain.images_only:
        raise refusal(ValueError("images must come with label planes, or with a segmenter, but have no labels."))
    units = plain[layer].num_units
    turned = [(alpha, 0) for alpha in chosen] + [(1.0, repeat) for repeat in range(int(1.0 in chosen), repeats)]
    found = [_of(plain[layer])]
    for at in range(0, len(turned), at_once):
        some = turned[at : at + at_once]
        matrix = torch.cat([fractional_rotation(random_rotation(units, seed + r), alpha) for alpha, r in some]).float()
        where = folder and folder / f"rotations-{at}"
        part = run.dissect(model, layer, images, directions={layer: matrix}, resume=where, **options)
        found += _split(part[layer], units)
    kept = {name: value for name, value in plain.settings.items() if name not in ("decoys", "resamples")}
    labels, ious, tops, whose = (torch.stack(values) for values in zip(*found))
    rotations = [(0.0, 0), *turned]
    return AxisAlignment(layer, plain.concepts, rotations, labels, ious, tops, whose, {**kept, "seed": seed})


def _of(layer: LayerDissection) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Best labels and IoUs [U] of directions; of each label [C] the highest IoU, and whose it is."""
    best = layer.iou.max(0)
    return layer.best_label, layer.best_iou, best.values, best.indices


def _split(layer: LayerDissection, units: int) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The same of each rotation of several."""
    found = []
    for labels, ious, scores in zip(*(part.split(units) for part in (layer.best_label, layer.best_iou, layer.iou))):
        best = scores.max(0)
        found.append((labels, ious, best.values, best.indices))
    return found


@speaks
def rotation_error(
    model: nn.Module, layer: str, images: Tensor, rotation: Tensor, *, layout: LayoutOption | None = None
) -> tuple[float, float]:
    """How exactly ``g(Q^T (Q f(x)))`` is ``g(f(x))``: a rotated layer says all that the layer says.

    Args:
        model: g after f.
        layer: the one whose output is f(x).
        images: [N, ...] of one batch.
        rotation: [U, U], Q.
        layout: see `dissect.dissect`.

    Returns:
        The largest difference of the outputs, over the largest output; and the share of images with the same class.

    Raises:
        KeyError: no such layer.
        ValueError: no images; a rotation that is no finite [U, U] of the layer's units; outputs that are no finite
            logits [N, K, ...], or all 0.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Flatten(), torch.nn.Linear(16, 5)).eval()
        >>> error, same = rotation_error(model, "0", torch.rand(8, 3, 2, 2), random_rotation(4, seed=0))
        >>> error < 1e-5, same
        (True, 1.0)
    """
    find_layers(model, [layer])
    _matrix(rotation)
    if rotation.ndim != 2 or rotation.shape[0] != rotation.shape[1] or not bool(rotation.isfinite().all()):
        raise refusal(ValueError(f"rotation must be finite numbers [U, U], but is of shape {list(rotation.shape)}."))
    if not len(images):
        raise refusal(ValueError("images must be one at least, but are none."))
    layouts, turn = Layouts(model, [layer], layout), rotation.float()

    def there_and_back(output: Tensor, _: str) -> Tensor:
        axes = layouts.of(layer, output).axes
        maps = to_maps(output, axes)
        if maps.shape[1] != len(turn):
            raise refusal(ValueError(
                f"rotation must have shape [U, U] with U={maps.shape[1]}, the units of layer {layer!r}, but has "
                f"{list(turn.shape)}; random_rotation({maps.shape[1]}, seed) gives one."
            ))  # fmt: skip
        return from_maps(product(turn.T, product(turn, maps)), axes)

    with torch.no_grad():
        plain = model(images)
        with Trace(model, [layer], edit=there_and_back, clone=False, retain=None):
            turned = model(images)
    if plain.ndim < 2 or not bool(plain.isfinite().all()) or not bool(plain.any()):
        raise refusal(ValueError(
            f"outputs of model must be finite logits [N, K, ...] that are not all 0, else nothing is told by their "
            f"difference, but are of shape {list(plain.shape)}, from {float(plain.min()):g} to {float(plain.max()):g}."
        ))  # fmt: skip
    error = float((turned - plain).abs().max() / plain.abs().max())
    return error, float((turned.argmax(1) == plain.argmax(1)).double().mean())
