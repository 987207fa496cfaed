"""What a network sees in real and generated images, gathered in runs that can go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from dissect.arguments import refusal, speaks
from dissect.data import Batches
from dissect.data.batches import attribute_of
from dissect.data.pictures import SLACK, signed_pictures, to_pictures
from dissect.devices import to_device
from dissect.extras import require
from dissect.files.checked import Array, Of, Whole, fields
from dissect.generators.rendering import Renderer
from dissect.network.identity import code_of, fingerprint, weights_fingerprint
from dissect.visits.images import Images
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

#: From images uint8 [N, 3, H, W] to features [N, D].
ImageFeatures = Callable[[Tensor], Tensor]
#: Real images: uint8, or floats in [0, 1]; a data set that normalises them has `to_pictures`.
Real = Dataset[Any] | Tensor | Iterable[Any]
#: What the data sets of a run are called.
REAL, Z = "real images", "z"


@speaks
def inception_features(device: str | torch.device = "cpu", weights: str | Path | None = None) -> ImageFeatures:
    """The 2,048 features of the Inception network of the FID (Heusel et al. 2017), as torchmetrics has them.

    Images are made 299x299 as the published code does. The network is that of the package torch-fidelity (extra `fid`),
    which downloads its weights where it has not kept them.

    Args:
        device: where it runs.
        weights: a file of its weights; it is read by torch-fidelity, which runs what a pickle says, so trust it.

    Raises:
        ImportError: torch-fidelity is not installed; names the extra.

    Example:
        >>> features = inception_features("cuda")  # doctest: +SKIP
        >>> features(torch.zeros(2, 3, 256, 256, dtype=torch.uint8)).shape  # doctest: +SKIP
        torch.Size([2, 2048])
    """
    require("inception_features", "fid", "torch_fidelity")
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    path = None if weights is None else str(weights)
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], path).to(device).eval()

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = network(images.to(device))[0]
        return found

    return features


class Seeing:
    """A feature network, whose answers are checked.

    Args:
        features: the network; None is `inception_features`.
        renderer: makes the generator's images, whose size the real ones must have too, on whose device all are given.

    Raises:
        TypeError: features that cannot be called.
        ImportError: see `inception_features`.
    """

    def __init__(self, features: ImageFeatures | None, renderer: Renderer) -> None:
        if features is not None and not callable(features):
            raise refusal(TypeError(f"features must be a function of uint8 images, but got {type(features).__name__}."))
        self.network = features or inception_features(renderer.device)
        self._size, self._device = renderer.image_size, renderer.device

    def generated(self, images: Tensor) -> Tensor:
        """[n, D] float32 on the CPU, of images in [-1, 1], as (x + 1) / 2 in 256 steps."""
        return self._see(signed_pictures(images))

    def real(self, images: Tensor, pictures: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """[n, D] float32 on the CPU, of real images.

        Raises:
            ValueError: images of another size than the generator's, or that are neither in [0, 1] nor uint8.
        """
        if images.ndim != 4 or tuple(images.shape[2:]) != self._size:
            raise refusal(
                ValueError(
                    f"real images must be [N, 3, H, W] of the generator's size {self._size}, since blur is "
                    f"seen as a difference, but got {list(images.shape)}."
                )
            )
        if pictures is None and images.dtype != torch.uint8:
            low, high = (float(end) for end in images.aminmax())
            if not (low >= -SLACK and high <= 1 + SLACK):
                raise refusal(
                    ValueError(
                        "real images must be in [0, 1], or uint8, or of a data set that has to_pictures, but "
                        f"are in [{low:g}, {high:g}]."
                    )
                )
        return self._see(to_device((pictures or to_pictures)(images), self._device))

    def _see(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            found = self.network(images)
        if not isinstance(found, Tensor) or not found.is_floating_point() or found.shape[:1] != images.shape[:1]:
            got = f"{found.dtype} {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise refusal(ValueError(f"features must be floats [N={len(images)}, D], but are {got}."))
        found = found.detach().flatten(1).float().cpu()
        if not bool(found.isfinite().all()):
            raise refusal(ValueError("features must be finite, but are not."))
        return found


def settings_of(renderer: Renderer, seeing: Seeing) -> dict[str, Any]:
    """What a result tells of its networks and batches."""
    return {
        "batch_size": renderer.batch_size, "generator": type(renderer.generator).__name__,
        "fingerprint": fingerprint(renderer.generator), "weights": weights_fingerprint(renderer.generator),
        "features": getattr(seeing.network, "__qualname__", type(seeing.network).__name__),
    }  # fmt: skip


class Gather(Run):
    """One visit to each of some data sets, which keeps what a function makes of every batch.

    Args:
        parts: by the title of a data set, from a step to tensors float32 [n, ...] by name.
    """

    def __init__(self, parts: Mapping[str, Callable[[Step], dict[str, Tensor]]]) -> None:
        self._parts, self._titles, self._at = parts, list(parts), 0
        self._found: dict[str, dict[str, list[Tensor]]] = {title: {} for title in parts}

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        done = self._at == len(self._titles)
        return None if done else Visit(self._titles[self._at], data=self._titles[self._at])

    def compute(self, step: Step) -> Any:
        """See `Run`."""
        return self._parts[self._titles[self._at]](step)

    def add(self, found: dict[str, Tensor]) -> None:
        """See `Run`."""
        own = self._found[self._titles[self._at]]
        for name, values in found.items():
            own.setdefault(name, []).append(values)

    def end_visit(self) -> None:
        """See `Run`."""
        self._at += 1

    def __call__(self, title: str) -> dict[str, Tensor]:
        """What was kept of a data set: [N, ...] by name."""
        return {name: torch.cat(parts) for name, parts in self._found[title].items()}

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        return {"at": self._at, "found": {str(at): self(title) for at, title in enumerate(self._titles)}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`."""
        fields("the run", state, {"at": Whole(0, len(self._titles)), "found": Of(dict)})
        fields("the run", state["found"], {str(at): Of(dict) for at in range(len(self._titles))})
        for at, title in enumerate(self._titles):
            own = state["found"][str(at)]
            for name, values in own.items():
                axes = " ".join("NABC"[: values.ndim]) if isinstance(values, Tensor) else "N"
                fields("the run", own, {name: Array(torch.float32, axes, -3.4e38, 3.4e38)})
            self._found[title] = {name: [values.clone()] for name, values in own.items()}
        self._at = state["at"]


def gather(
    renderer: Renderer, seeing: Seeing, real: Real | None, own: Callable[[slice], dict[str, Tensor]],
    about: dict[str, Any], resume: str | Path | None, progress: bool,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """The features of real images [M, D], if they are given, and what `own` makes of the z, batch by batch.

    Raises:
        ValueError: fewer than two real images, or a folder to resume from that holds another run.
    """
    pictures: Any = None if real is None else attribute_of(real, "to_pictures")

    def seen(step: Step) -> dict[str, Tensor]:
        if not isinstance(step.images, Tensor):
            raise refusal(ValueError("real must give images, but gave none."))
        return {"features": seeing.real(step.images, pictures)}

    def drawn(step: Step) -> dict[str, Tensor]:
        return own(slice(int(step.numbers[0]), int(step.numbers[-1]) + 1))

    z = renderer.z if renderer.seeds is None else TensorDataset(renderer.z, renderer.seeds)
    batches = {} if real is None else {REAL: Batches(real, renderer.batch_size)}
    if resume is not None:
        networks = [renderer.generator, seeing.network]
        about = {
            **about, "layer": renderer.layer, "batch_size": renderer.batch_size,
            "networks": [[fingerprint(each), code_of(each)] for each in networks],
            "images": [each.identity() for each in batches.values()],
        }  # fmt: skip
    batches[Z] = Batches(z, renderer.batch_size)
    run = Gather({title: seen if title == REAL else drawn for title in batches})
    finish(run, Images(batches), resume=resume, about=about, progress=progress)
    features, found = torch.empty(0) if real is None else run(REAL)["features"], run(Z)
    if real is not None and len(features) < 2:
        raise refusal(ValueError(f"real must be at least two images, but is {len(features)}."))
    if any(len(values) != len(renderer) for values in found.values()):
        raise refusal(ValueError(f"the run does not hold all {len(renderer)} z; delete its folder."))
    return features, found
