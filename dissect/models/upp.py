"""Unified Perceptual Parsing (Xiao et al. 2018): objects, parts and materials by one network, in plain PyTorch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dissect.arguments import refusal, speaks
from dissect.models.checkpoint import check_fit, counted, numbered
from dissect.models.initial import undrawn
from dissect.models.reading import listed, read
from dissect.models.resnet import ResNet

#: Rows and columns of the pyramid's pooled cells.
SCALES = (1, 2, 3, 6)


@speaks
@dataclass(frozen=True)
class UppLabels:
    """The vocabulary of the published labels.json.

    Args:
        object: names, the first stands for "no object".
        material: names, the first stands for "no material".
        scene: names.
        owners: objects that have parts, in the order of `object`, and the parts of each, in the decoder's order; an
            entry "-" stands for "no part".

    Raises:
        ValueError: an owner that is no object, owners in another order than the objects, or names twice.
    """

    object: tuple[str, ...]
    material: tuple[str, ...]
    scene: tuple[str, ...]
    owners: tuple[tuple[str, tuple[str, ...]], ...]

    def __post_init__(self) -> None:
        for what, names in (("objects", self.object), ("materials", self.material), *self.owners):
            if len(set(names)) != len(names) or not names:
                raise refusal(ValueError(f"names of labels must be there once each, but those of {what} are {names}."))
        strangers = [owner for owner, _ in self.owners if owner not in self.object[1:]]
        if strangers:
            raise refusal(ValueError(f"object_part of labels must name objects, but has {listed(strangers)}."))
        places = [self.object.index(owner) for owner, _ in self.owners]
        if places != sorted(set(places)):
            raise refusal(
                ValueError("owners of labels' parts must come in the order of the objects, as the decoder's parts do.")
            )

    @property
    def num_parts(self) -> int:
        """The decoder's outputs for parts: those of every owner."""
        return sum(len(parts) for _, parts in self.owners)

    @classmethod
    def read(cls, path: str | Path) -> UppLabels:
        """Of a file in the published layout: {"object": [], "material": [], "scene": [], "object_part": {object: []}}.

        Raises:
            ValueError: no JSON, or something is missing or of another kind.
        """
        try:
            found: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise refusal(ValueError(f"{path} must hold JSON, but does not: {error}.")) from error
        found = found if isinstance(found, dict) else {}
        parts: Any = found.get("object_part")
        fields: list[Any] = [found.get(name) for name in ("object", "material", "scene")]
        lists = [*fields, *(parts.values() if isinstance(parts, dict) else [None])]
        if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
            raise refusal(
                ValueError(
                    f"{path} must hold lists of names under object, material and scene, and one for each object under "
                    "object_part, but does not."
                )
            )
        owners = tuple((owner, tuple(names)) for owner, names in parts.items())
        return cls(tuple(fields[0]), tuple(fields[1]), tuple(fields[2]), owners)


class Decoder(nn.Module):
    """The pyramid pooling module, the feature pyramid and the heads; submodules are named as in the published files.

    Args:
        inputs: channels of the encoder's four layers.
        width: channels of the feature pyramid (published: 512).
        pooled: channels of each of the pyramid's pooled maps (published: 512).
        labels: tells how many outputs the heads have.
    """

    def __init__(self, inputs: Sequence[int], width: int, pooled: int, labels: UppLabels) -> None:
        super().__init__()
        self.ppm_conv = nn.ModuleList(_conv(inputs[-1], pooled, 1) for _ in SCALES)
        self.ppm_last_conv = _conv(inputs[-1] + len(SCALES) * pooled, width, 3)
        self.fpn_in = nn.ModuleList(_conv(channels, width, 1) for channels in inputs[:-1])
        self.fpn_out = nn.ModuleList(nn.Sequential(_conv(width, width, 3)) for _ in inputs[:-1])
        self.conv_fusion = _conv(len(inputs) * width, width, 3)
        heads = {
            "scene": len(labels.scene), "object": len(labels.object), "part": labels.num_parts,
            "material": len(labels.material),
        }  # fmt: skip
        for name, outputs in heads.items():
            pooling = [nn.AdaptiveAvgPool2d(1)] if name == "scene" else []
            layers = [_conv(width, width, 3), *pooling, nn.Conv2d(width, outputs, 1)]
            self.add_module(f"{name}_head", nn.Sequential(*layers))

    def forward(self, features: Sequence[Tensor]) -> dict[str, Tensor]:
        """Logits of objects, parts and materials, [N, labels, h, w] at the first layer's size."""
        top = features[-1]
        size = top.shape[2:]
        pooled = [conv(_resized(precise_pool(top, scale), size)) for scale, conv in zip(SCALES, self.ppm_conv)]
        x = self.ppm_last_conv(torch.cat([top, *pooled], 1))
        levels = [x]
        for level in reversed(range(len(features) - 1)):
            lateral = self.fpn_in[level](features[level])
            x = lateral + _resized(x, lateral.shape[2:])
            levels.insert(0, self.fpn_out[level](x))
        fused = self.conv_fusion(torch.cat([_resized(level, levels[0].shape[2:]) for level in levels], 1))
        sources = {"object": fused, "part": fused, "material": levels[0]}
        return {name: self.get_submodule(f"{name}_head")(source) for name, source in sources.items()}


class UPP(nn.Module):
    """The network of Unified Perceptual Parsing: a ResNet whose stem has three convolutions, and a decoder.

    Args:
        labels: the vocabulary.
        depths: blocks of the encoder's layers (published: those of ResNet-50).
        width: of the encoder's first layer.
        stem: channels of its first convolutions.
        decoder: channels of the feature pyramid.
        pooled: channels of the pyramid's pooled maps.

    Forward:
        images: [N, 3, H, W] as the network was trained: blue, green, red in 0..255, minus `MEAN`. Returns logits of
        "object", "part" and "material", each [N, labels, h, w].

    Example:
        >>> labels = UppLabels(("-", "tree"), ("-", "wood"), ("street",), (("tree", ("-", "trunk")),))
        >>> model = UPP(labels, depths=(1, 1, 1, 1), width=2, stem=(2, 2, 4), decoder=4, pooled=3).eval()
        >>> {name: tuple(logits.shape) for name, logits in model(torch.zeros(1, 3, 64, 64)).items()}["part"]
        (1, 2, 16, 16)
    """

    #: Of blue, green and red.
    MEAN = (102.9801, 115.9465, 122.7717)

    def __init__(
        self,
        labels: UppLabels,
        *,
        depths: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        stem: Sequence[int] = (64, 64, 128),
        decoder: int = 512,
        pooled: int = 512,
    ) -> None:
        super().__init__()
        self.labels = labels
        with undrawn():
            self.encoder = ResNet(depths, bottleneck=True, num_classes=None, width=width, stem=stem)
            self.decoder = Decoder([4 * width * 2**level for level in range(4)], decoder, pooled, labels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits by head."""
        logits: dict[str, Tensor] = self.decoder(self.encoder.features(images))
        return logits


@speaks
def load_upp(encoder: str | Path, decoder: str | Path, labels: str | Path, *, device: Any = "cpu") -> UPP:
    """The published segmentation network, in evaluation mode.

    Depths and widths are those of the files' weights; every key must be there, and none beside.

    Args:
        encoder: "encoder_epoch_40.pth" of upp-resnet50-upernet.
        decoder: "decoder_epoch_40.pth".
        labels: "labels.json".
        device: where the network goes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file is damaged, holds more than tensors or another network, or labels.json has other numbers of
            labels than the decoder.
    """
    vocabulary = UppLabels.read(labels)
    encoded, decoded = read(encoder)[0], read(decoder)[0]
    need = {"conv1.weight": encoded, "conv2.weight": encoded, "conv3.weight": encoded, "layer1.0.conv1.weight": encoded}
    need |= {"ppm_conv.0.0.weight": decoded, "ppm_last_conv.0.weight": decoded}
    heads = {
        "object": len(vocabulary.object), "part": vocabulary.num_parts, "material": len(vocabulary.material),
        "scene": len(vocabulary.scene),
    }  # fmt: skip
    for name in heads:
        need[_head(name, name == "scene")] = decoded
    for key, state in need.items():
        if key not in state or state[key].dim() not in (1, 4):
            path = encoder if state is encoded else decoder
            raise refusal(
                ValueError(
                    f"{path} must hold the {_part(state is encoded)} of UPP, but its keys are {listed([*state])}."
                )
            )
    others = [
        f"{name}: {len(decoded[_head(name, name == 'scene')])} in the decoder, {count} in the labels"
        for name, count in heads.items()
        if len(decoded[_head(name, name == "scene")]) != count
    ]
    if others:
        raise refusal(ValueError(f"{labels} must have as many labels as {decoder}, but differs: {'; '.join(others)}."))
    depths = [numbered(encoded, rf"layer{layer}\.(\d+)\.conv1\.weight", 0) for layer in range(1, 5)]
    with torch.device("meta"):
        model = UPP(
            vocabulary,
            depths=depths,
            width=len(encoded["layer1.0.conv1.weight"]),
            stem=[len(encoded[f"conv{number}.weight"]) for number in (1, 2, 3)],
            decoder=len(decoded["ppm_last_conv.0.weight"]),
            pooled=len(decoded["ppm_conv.0.0.weight"]),
        )
    for module, state, path in ((model.encoder, encoded, encoder), (model.decoder, decoded, decoder)):
        own = module.state_dict()
        state = counted(state, own)
        check_fit(
            state, {key: value.shape for key, value in own.items()}, path, f"the {_part(state is encoded)} of UPP"
        )
        module.load_state_dict(state, strict=True, assign=True)
    return model.eval().to(device)


def precise_pool(maps: Tensor, cells: int) -> Tensor:
    """The exact averages of maps over cells x cells equal boxes (Jiang et al. 2018, precise RoI pooling).

    A map is taken as the function that interpolates its values linearly between the places 0, 1, ..., h - 1, and that
    is 0 from -1 and h on; the boxes divide [0, h] x [0, w], so the last ones see it fall to 0, as the published code
    has it.

    Example:
        >>> precise_pool(torch.ones(1, 1, 4, 4), 1)  # (4 - 1/2)^2 / 4^2, since the last half place is missing
        tensor([[[[0.7656]]]])
    """
    rows, columns = (_box_weights(length, cells).to(maps.device, maps.dtype) for length in maps.shape[2:])
    return rows @ maps @ columns.T


def _box_weights(length: int, cells: int) -> Tensor:
    """[cells, length]: what each place weighs in the average of each box."""

    def until(end: Tensor) -> Tensor:
        """The integral of the hat 1 - |t| from -1 to `end`."""
        below, above = (end + 1).clamp(0, 1), end.clamp(0, 1)
        return below.square() / 2 + above - above.square() / 2

    ends = torch.arange(cells + 1, dtype=torch.float64)[:, None] * length / cells - torch.arange(length)
    return until(ends).diff(dim=0) * cells / length


def _conv(inputs: int, outputs: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, (size[0], size[1]), mode="bilinear", align_corners=False)


def _head(name: str, scene: bool) -> str:
    """The key of a head's last biases."""
    return f"{name}_head.{2 if scene else 1}.bias"


def _part(encoder: bool) -> str:
    return "encoder" if encoder else "decoder"
