"""A dissection of activations that are at hand, without the network that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from dissect.arguments import refusal, speaks
from dissect.dissection.result import Dissection
from dissect.dissection.run import dissect

#: What `dissect.dissect` takes, and what is not of a network that is at hand.
_OF_A_NETWORK = ("segmenter", "segment", "tokens", "layout", "thresholds_from")
#: Numbers of images are floats on their way.
_MOST = 1 << 24


@speaks
def dissect_activations(
    activations: Tensor | Mapping[str, Tensor],
    planes: Tensor,
    concepts: Any = None,
    *,
    pictures: Tensor | None = None,
    **options: Any,
) -> Dissection:
    """The dissection of units whose activations were computed elsewhere: by another library, on another day.

    What `dissect.dissect` finds of a network's layers, equation 1 there, with thresholds, decoys and intervals; the
    result is saved, compared and made a page of as any other.

    Args:
        activations: of a layer [N, U, h, w], float32, float16 or bfloat16; or of several by their names.
        planes: [N, K, H, W] integers, the labels of the images, 0 for "no label".
        concepts: as of `dissect.dissect`.
        pictures: [N, 3, h', w'] uint8, the images for the result's page; grey ones in their place without.
        options: others of `dissect.dissect`, but for what is of a network: segmenter, segment, tokens, layout and
            thresholds_from.

    Raises:
        TypeError, ValueError: activations, planes or pictures of other shapes, dtypes or numbers of images; options of
            a network; and what `dissect.dissect` refuses.

    Example:
        >>> maps = torch.nn.functional.avg_pool2d(torch.rand(8, 3, 12, 12), 3)
        >>> planes = (torch.nn.functional.interpolate(maps[:, :1], size=16) > 0.6).long()
        >>> d = dissect.dissect_activations(
        ...     maps, planes, ["bright"], fraction=0.2, decoys=0, resamples=0, progress=False)
        >>> d["activations"]
        <LayerDissection of 'activations': 3 units, 1 concepts, maps of 4x4 on planes of 16x16>
    """
    for name in _OF_A_NETWORK:
        if name in options:
            raise refusal(ValueError(f"{name} must not be given, since there is no network; give the planes."))
    named = {"activations": activations} if isinstance(activations, Tensor) else dict(activations)
    count = _checked(named, planes, pictures)
    model, images = as_network(named, planes)
    grey = torch.tensor(128, dtype=torch.uint8).expand(count, 3, *planes.shape[2:])
    shown = grey if pictures is None else pictures
    return dissect(
        model, list(named), images, concepts=concepts,
        layout=dict.fromkeys(named, "NUHW"), pictures=lambda images: shown[images[:, 0, 0, 0].long().cpu()], **options,
    )  # fmt: skip


def as_network(activations: Mapping[str, Tensor], planes: Tensor) -> tuple[GivenActivations, TensorDataset]:
    """A network that gives activations, and its images with their planes: for what asks for a network.

    Args:
        activations: by layer, [N, U, h, w].
        planes: [N, K, H, W].
    """
    numbers = torch.arange(len(planes), dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, -1, *planes.shape[2:])
    return GivenActivations(activations).eval(), TensorDataset(numbers, planes)


class GivenActivations(nn.Module):
    """A network of which all is known that its layers give: it takes images that are their own numbers, [N, 1, H, W].

    Args:
        activations: by layer, [N, U, h, w].
    """

    def __init__(self, activations: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._names = list(activations)
        for number, (name, maps) in enumerate(activations.items()):
            self.register_buffer(f"_maps{number}", maps.detach())  # so that a fingerprint tells them from others
            _placed(self, name.split("."), nn.Identity())

    def forward(self, numbers: Tensor) -> Tensor:
        """The last layer's."""
        at = numbers[:, 0, 0, 0].long()
        for number, name in enumerate(self._names):
            maps: Tensor = self.get_submodule(name)(self.get_buffer(f"_maps{number}")[at])
        return maps


def _placed(module: nn.Module, path: list[str], layer: nn.Module) -> None:
    """Puts a layer at its name, below modules of the first parts of it."""
    first, *rest = path
    if not rest:
        module.add_module(first, layer)
        return
    if first not in dict(module.named_children()):
        module.add_module(first, nn.Module())
    _placed(module.get_submodule(first), rest, layer)


def _checked(named: dict[str, Tensor], planes: Tensor, pictures: Tensor | None) -> int:
    """How many images there are."""
    if not named:
        raise refusal(ValueError("activations must be of at least one layer, but there are none."))
    if not isinstance(planes, Tensor) or planes.ndim != 4 or planes.is_floating_point():
        told = f"{planes.dtype} {list(planes.shape)}" if isinstance(planes, Tensor) else type(planes).__name__
        raise refusal(ValueError(f"planes must be integers [N, K, H, W], but are {told}."))
    for name, maps in named.items():
        if not isinstance(maps, Tensor) or maps.ndim != 4 or not maps.is_floating_point():
            told = f"{maps.dtype} {list(maps.shape)}" if isinstance(maps, Tensor) else type(maps).__name__
            raise refusal(ValueError(f"activations must be floats [N, U, h, w], but those of {name!r} are {told}."))
        if len(maps) != len(planes):
            raise refusal(
                ValueError(f"activations must be of the {len(planes)} images of planes, but {name!r} has {len(maps)}.")
            )
    if pictures is not None and (
        pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[:2] != (len(planes), 3)
    ):
        raise refusal(
            ValueError(
                f"pictures must be uint8 [{len(planes)}, 3, H, W], but are {pictures.dtype} {list(pictures.shape)}."
            )
        )
    if len(planes) >= _MOST:
        raise refusal(ValueError(f"activations must be of fewer than {_MOST:,} images, but are of {len(planes):,}."))
    return len(planes)
