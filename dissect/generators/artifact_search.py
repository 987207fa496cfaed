"""Finds units whose images look unreal, by the Frechet distance of the images that maximise each (thesis, A.1)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dissect import ops
from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.generators.artifact_features import ImageFeatures, Real, Seeing, gather, settings_of
from dissect.generators.artifact_units import ArtifactUnits
from dissect.generators.rendering import Latents, Renderer
from dissect.network.layouts import LayoutOption
from dissect.stats import FrechetReference

#: One of so many z maximises a unit: 10,000 of 200,000, as published.
ONE_OF = 20
#: Images that maximise a unit whose numbers are kept.
SHOWN = 10


@speaks
def artifact_units(
    generator: nn.Module,
    layer: str,
    z: Latents,
    real: Real,
    *,
    features: ImageFeatures | None = None,
    top: int | None = None,
    draws: int = 5,
    seed: int = 0,
    batch_size: int = 32,
    layout: LayoutOption | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> ArtifactUnits:
    """Scores every unit of a layer by how unreal the images look that maximise it (thesis, A.1).

    For unit u the images whose highest activation of u is largest are compared with real ones, by the Frechet distance
    of their features (`dissect.stats.frechet_distance`). Such a sample is skewed by what u draws, be it an artifact or
    a rare thing; units that stand out are candidates for artifacts, no more. Published: 10,000 of 200,000 images
    against 50,000 real ones, Inception features.

    Memory: the peaks and features of all z, 4 N (U + D) bytes, and the features of the real images.

    Args:
        generator: see `effect`.
        layer: see `effect`.
        z: see `effect`; the more the better, since fewer images than features give distances that are mostly noise.
        real: images of the generator's size, uint8 or in [0, 1]; what comes with them is not looked at.
        features: from images uint8 [N, 3, H, W] to features [N, D], a function; by default `inception_features`.
        top: how many images maximise a unit; by default a twentieth of all.
        draws: how many random samples of as many images are beside them.
        seed: of these.
        batch_size: see `effect`.
        layout: see `effect`.
        resume: see `effect`.
        progress: show a bar.

    Returns:
        An `ArtifactUnits`.

    Raises:
        KeyError: a layer that is not there.
        ImportError: no features were given, and torch-fidelity is not installed.
        TypeError, ValueError: see the rules above; fewer than 2 images that maximise a unit; real images of another
            size or range; features that are none; a folder to resume from that holds another run.

    Example:
        >>> from dissect import generators, tiny
        >>> from dissect.tiny import judge
        >>> street, real = tiny.generator(), tiny.TinyScenes("val", 64, 8, family="street")
        >>> found = generators.artifact_units(
        ...     street, "layer4", dissect.latents(street, 8, seed=5), real, features=judge.features, top=4,
        ...     progress=False,
        ... )
        >>> len(found.worst(3)), found.top_images.shape
        (3, torch.Size([128, 4]))
    """
    draws, seed = integer("draws", draws, 0), seed_number(seed)
    renderer = Renderer(generator, layer, z, None, integer("batch_size", batch_size), layout)
    count = len(renderer)
    top = count // ONE_OF if top is None else integer("top", top)
    if not 2 <= top <= count:
        raise refusal(
            ValueError(f"top must be from 2 to the {count} z (by default a {ONE_OF}th of these), but is {top}.")
        )
    seeing = Seeing(features, renderer)

    def own(rows: slice) -> dict[str, Tensor]:
        maps, images = renderer.plain(rows)
        return {"peaks": ops.image_peaks(maps).cpu(), "features": seeing.generated(images)}

    known, found = gather(renderer, seeing, real, own, {"function": "artifact_units"}, resume, progress)
    reference = FrechetReference(known)
    order = found["peaks"].sort(dim=0, descending=True, stable=True).indices[:top].T
    chance = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(count, generator=chance)[:top] for _ in range(draws)]
    distances, random = (
        torch.tensor([reference.distance(found["features"][rows]) for rows in samples], dtype=torch.float64)
        for samples in (order, drawn)
    )
    mixed, floor = torch.randperm(len(known), generator=chance), None
    if len(known) >= 2 * top:
        floor = FrechetReference(known[mixed[top:]]).distance(known[mixed[:top]])
    settings = {"seed": seed, "draws": draws, **settings_of(renderer, seeing)}
    return ArtifactUnits(
        layer, distances, random, floor, top, count, len(known), known.shape[1], order[:, :SHOWN].contiguous(),
        renderer.keys(), settings,
    )  # fmt: skip
