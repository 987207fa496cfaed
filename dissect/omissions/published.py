"""Encoders in the layout of the published checkpoints of layer-wise inversion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaks
from dissect.models import checkpoint
from dissect.omissions.inverter import LayerInverter

#: What hybrid checkpoints have before each key.
PREFIX = "model."
_COUNTS = "num_batches_tracked"


@speaks
def load_encoder(path: str | Path, generator: nn.Module, layers: Sequence[str]) -> LayerInverter:
    """The inverter whose encoders are in a file of the published layout (ganseeing's ``*_invert_hybrid_cse``).

    ::

        resnet.*           e_f, a ResNet-18 whose last part, layer5, is conv5 and relu5
        inv{n}.* ... inv1.*  e_n, ..., e_1: conv1, bn1, conv2, bn2, conv3; inv2 has no conv3, inv1 neither bn2 nor conv3

    perhaps with "model." before all keys, perhaps within ``state_dict`` of a training's snapshot. As ``inv2`` has no
    1x1 convolution, e_2's is the identity, which changes nothing. The file does not tell of which generator its
    encoders are, so that cannot be checked: `recovery` on generated images shows it.

    Args:
        path: of the file, read as tensors only.
        generator: that it inverts, see `LayerInverter.train`.
        layers: g_1, ..., g_n; of the published ones ``["layer1", "layer2", "layer3", "layer4"]``.

    Raises:
        FileNotFoundError: no such file.
        KeyError, TypeError: see `LayerInverter.train`.
        ValueError: see there; another layout, keys that are missing or too many, weights of other shapes than the
            generator's layers need, or that are not finite; names them.

    Example:
        >>> street = dissect.tiny.generator()
        >>> load_encoder("church_invert_hybrid_cse-43e52428.pth", street, ["layer1", "layer2"])  # doctest: +SKIP
        <LayerInverter of layer1, layer2 ...>
    """
    state, _ = checkpoint.read(path, "state_dict")
    if state and all(name.startswith(PREFIX) for name in state):
        state = {name.removeprefix(PREFIX): value for name, value in state.items()}
    first = state.get("resnet.conv1.weight")
    if first is None or first.ndim != 4:
        raise refusal(
            ValueError(f"{path} must hold encoders with a weight resnet.conv1.weight of 4 dimensions, but does not.")
        )
    inverter = LayerInverter.untrained(generator, layers, width=len(first))
    own = inverter.encoder.state_dict()
    identity = _identity(inverter)
    names = {name: _published(name) for name in own if name not in identity and not name.endswith(_COUNTS)}
    held = {name: value for name, value in state.items() if not name.endswith(_COUNTS)}
    checkpoint.check_fit(held, {names[name]: own[name].shape for name in names}, path, "the generator's encoders")
    filled = {name: held[published].to(own[name]) for name, published in names.items()}
    inverter.encoder.load_state_dict(own | identity | filled)
    inverter.settings = [{"stage": "published", "file": Path(path).name}]
    return inverter


def _published(name: str) -> str:
    """A file's key of one of the encoder's."""
    part, _, rest = name.partition(".")
    if part == "image":
        return f"resnet.layer5.{rest}" if rest.startswith("conv5") else f"resnet.{rest}"
    number, _, rest = rest.partition(".")
    return f"inv{int(number) + 1}.{rest}"


def _identity(inverter: LayerInverter) -> dict[str, Tensor]:
    """The 1x1 convolution of e_2, which the files lack.

    Raises:
        ValueError: e_2 must change the number of units or the size, which cannot be done without.
    """
    if len(inverter.layers) < 2:
        return {}
    one, two = inverter.encoder.shapes[1:3]
    if one != two:
        raise refusal(
            ValueError(
                "layers must have a second one whose output is of the first one's shape, as published encoders have "
                f"no convolution that changes it, but these are {list(two)} and {list(one)}."
            )
        )
    return {
        "layers.1.conv3.weight": torch.eye(one[0])[:, :, None, None], "layers.1.conv3.bias": torch.zeros(one[0]),
    }  # fmt: skip
