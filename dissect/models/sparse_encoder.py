"""Sparse autoencoders, as far as directions need them: the encoder, the decoder's rows, and readers of their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.models.reading import read

Activation = Literal["relu", "topk", "jumprelu"]


@speaks
class SparseEncoder(nn.Module):
    """Features of a layer's units: ``activation(W (a - shift) + bias)`` at each place of the maps a.

    The activation is "relu"; "topk", which keeps at each place the k largest and takes the ReLU of them (Gao et al.
    2024); or "jumprelu", ``z`` where ``z > threshold`` and ``z > 0``, else 0 (Rajamanoharan et al. 2024). It stands
    where `dissect.dissect` takes directions: ``directions={layer: encoder}``. A slice, ``encoder[:4096]``, has some of
    the features alone, with the values that they have among all, so that tens of thousands are dissected in parts.

    Args:
        weight: [V, U] float32: W.
        bias: [V].
        decoder: [V, U], the direction in which each feature is written; interventions move along it.
        shift: [U], what is taken from the maps first; nothing by default.
        activation: one of them.
        k: how many "topk" keeps.
        threshold: [V], of "jumprelu".

    Raises:
        TypeError, ValueError: shapes that do not fit, numbers that are not finite, an activation without its option.

    Example:
        >>> weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> encoder = SparseEncoder(weight, torch.zeros(3), activation="topk", k=1)
        >>> encoder(torch.tensor([[[[2.0]], [[1.0]]]])).flatten().tolist()
        [0.0, 0.0, 3.0]
    """

    weight: Tensor
    bias: Tensor
    decoder: Tensor | None
    shift: Tensor | None
    threshold: Tensor | None

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        decoder: Tensor | None = None,
        shift: Tensor | None = None,
        activation: Activation = "relu",
        k: int | None = None,
        threshold: Tensor | None = None,
    ) -> None:
        super().__init__()
        if activation not in get_args(Activation):
            raise refusal(ValueError(f"activation must be one of {get_args(Activation)}, but got {activation!r}."))
        if not isinstance(weight, Tensor) or weight.ndim != 2 or not weight.numel():
            got = list(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
            raise refusal(ValueError(f"weight must have shape [V, U], but got {got}."))
        features, units = weight.shape
        for name, wanted in (("k", "topk"), ("threshold", "jumprelu")):
            if ((k if name == "k" else threshold) is None) == (activation == wanted):
                raise refusal(ValueError(f"{name} must be given with activation {wanted!r}, and with no other."))
        parts = {"weight": (weight, (features, units)), "bias": (bias, (features,)), "shift": (shift, (units,)),
                 "decoder": (decoder, (features, units)), "threshold": (threshold, (features,))}  # fmt: skip
        for name, (value, shape) in parts.items():
            self.register_buffer(name, None if value is None else _checked(name, value, shape))
        self.activation = activation
        self.k = None if k is None else integer("k", k)
        if self.k is not None and self.k > features:
            raise refusal(ValueError(f"k must be at most the {features} features, but is {self.k}."))
        self._chosen = slice(None)
        self.eval()

    def extra_repr(self) -> str:
        """What it is, which is part of what tells it from another."""
        chosen = "" if self._chosen == slice(None) else f", features {self._chosen.start} to {self._chosen.stop - 1}"
        return f"{list(self.weight.shape)}, {self.activation}{'' if self.k is None else f' {self.k}'}{chosen}"

    def __len__(self) -> int:
        return len(range(*self._chosen.indices(len(self.weight))))

    def __getitem__(self, features: slice) -> SparseEncoder:
        """Some of the features, one after another, as they are among all.

        Raises:
            TypeError: no slice.
            ValueError: an empty one, or one with steps.
        """
        if not isinstance(features, slice):
            raise refusal(TypeError(f"features must be a slice, as [:4096], but got {features!r}."))
        all_features = range(len(self.weight))[self._chosen]
        chosen = all_features[features]
        if not len(chosen) or chosen.step != 1:
            raise refusal(ValueError(f"{features} must choose some of {len(all_features)}, one after another."))
        parts = {name: getattr(self, name) for name in ("weight", "bias", "shift", "threshold", "decoder")}
        if self.activation != "topk":  # then no other feature decides of these
            rows = slice(chosen.start - all_features.start, chosen.stop - all_features.start)
            parts = {name: value if value is None or name == "shift" else value[rows] for name, value in parts.items()}
        decoder = parts.pop("decoder")
        part = SparseEncoder(**parts, activation=self.activation, k=self.k)
        if self.activation == "topk":
            part._chosen = slice(chosen.start, chosen.stop)
            decoder = None if decoder is None else decoder[features]
        part.decoder = decoder
        return part

    def forward(self, maps: Tensor) -> Tensor:
        """[N, V, h, w] of maps [N, U, h, w]; V are the chosen features.

        Raises:
            ValueError: maps of another number of units.
        """
        if maps.ndim != 4 or maps.shape[1] != self.weight.shape[1]:
            raise refusal(
                ValueError(
                    f"maps must have shape [N, U, h, w] with U={self.weight.shape[1]}, but got {list(maps.shape)}."
                )
            )
        maps = maps.float() if self.shift is None else maps.float() - self.shift[:, None, None]
        found: Tensor = (self.weight @ maps.flatten(2)).unflatten(2, maps.shape[2:]) + self.bias[:, None, None]
        if self.threshold is not None:
            return found.relu() * (found > self.threshold[:, None, None])
        if self.k is None:
            return found.relu()
        values, places = found.topk(self.k, 1)
        kept: Tensor = torch.zeros_like(found).scatter_(1, places, values.relu())
        return kept[:, self._chosen]


@speaks
def load_sparse_encoder(path: str | Path) -> SparseEncoder:
    """A sparse autoencoder in one of the published layouts; nothing in it is unpickled or run.

    - SAELens: a folder with ``cfg.json`` and ``sae_weights.safetensors`` (W_enc [U, V], W_dec [V, U], b_enc, b_dec,
      threshold), of the architectures "standard", "topk" and "jumprelu"; ``apply_b_dec_to_input`` is kept to.
    - EleutherAI's sparsify: ``cfg.json`` and ``sae.safetensors`` (encoder.weight [V, U], encoder.bias, W_dec, b_dec),
      top k.
    - Gemma Scope: ``params.npz`` (W_enc [U, V], W_dec [V, U], b_enc, b_dec, threshold), JumpReLU.

    Args:
        path: the folder, or the .npz file.

    Raises:
        FileNotFoundError: none of these files.
        ValueError: another architecture, activations that are normalised or reshaped first, or weights that do not
            fit; says which.
    """
    path = Path(path)
    if path.suffix == ".npz" or (path / "params.npz").is_file():
        return _gemma_scope(path if path.suffix == ".npz" else path / "params.npz")
    if (path / "cfg.json").is_file():
        config = _config(path / "cfg.json")
        if (path / "sae.safetensors").is_file():
            return _sparsify(config, path / "sae.safetensors")
        return _sae_lens(config, path / "sae_weights.safetensors")
    raise refusal(
        FileNotFoundError(f"{path} must hold cfg.json with sae_weights.safetensors or sae.safetensors, or params.npz.")
    )


def _sae_lens(config: Mapping[str, Any], path: Path) -> SparseEncoder:
    weights = _tensors(path, ("W_enc", "W_dec", "b_enc", "b_dec"))
    architecture, kind = config.get("architecture", "standard"), config.get("activation_fn_str", "relu")
    _require(path, architecture in ("standard", "topk", "jumprelu"), f"architecture {architecture!r}")
    _require(path, kind in ("relu", "topk"), f"activation_fn_str {kind!r}")
    for name, usual in (
        ("normalize_activations", "none"), ("reshape_activations", "none"), ("rescale_acts_by_decoder_norm", False),
        ("finetuning_scaling_factor", False),
    ):  # fmt: skip
        _require(path, config.get(name, usual) in (usual, None), f"{name} {config.get(name)!r}")
    options: dict[str, Any] = {}
    if architecture == "jumprelu":
        _require(path, "threshold" in weights, "no threshold")
        options = {"activation": "jumprelu", "threshold": weights["threshold"]}
    elif "topk" in (architecture, kind):
        k = config.get("k", (config.get("activation_fn_kwargs") or {}).get("k"))
        _require(path, isinstance(k, int), f"k {k!r}")
        options = {"activation": "topk", "k": k}
    shifts = config.get("apply_b_dec_to_input", True)
    _require(path, isinstance(shifts, bool), f"apply_b_dec_to_input {shifts!r}")
    shift = weights["b_dec"] if shifts else None
    return SparseEncoder(weights["W_enc"].T, weights["b_enc"], decoder=weights["W_dec"], shift=shift, **options)


def _sparsify(config: Mapping[str, Any], path: Path) -> SparseEncoder:
    weights = _tensors(path, ("encoder.weight", "encoder.bias", "W_dec", "b_dec"))
    for name, usual in (("activation", "topk"), ("transcode", False), ("skip_connection", False)):
        _require(path, config.get(name, usual) == usual, f"{name} {config.get(name)!r}")
    k = config.get("k")
    _require(path, isinstance(k, int), f"k {k!r}")
    parts: dict[str, Any] = {"decoder": weights["W_dec"], "shift": weights["b_dec"]}
    return SparseEncoder(weights["encoder.weight"], weights["encoder.bias"], **parts, activation="topk", k=k)


def _gemma_scope(path: Path) -> SparseEncoder:
    names = ("W_enc", "W_dec", "b_enc", "threshold")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(np.asarray(file[name])) for name in names}
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever zip and numpy raise of damaged files
        raise refusal(ValueError(f"{path} must hold {', '.join(names)} as numpy arrays, but: {error}")) from error
    parts: dict[str, Any] = {"decoder": arrays["W_dec"], "threshold": arrays["threshold"]}
    return SparseEncoder(arrays["W_enc"].T, arrays["b_enc"], **parts, activation="jumprelu")


def _tensors(path: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    weights, _ = read(path)
    missing = [name for name in names if name not in weights]
    _require(path, not missing, f"no {', '.join(missing)}")
    return weights


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise refusal(ValueError(f"{path} must be JSON, but: {error}")) from error
    if not isinstance(config, dict):
        raise refusal(ValueError(f"{path} must hold a JSON object, but holds {type(config).__name__}."))
    return config


def _require(path: Path, holds: bool, what: str) -> None:
    if not holds:
        raise refusal(ValueError(f"{path.parent} must be a sparse autoencoder that this reads, but has {what}."))


def _checked(name: str, value: Any, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape or not value.is_floating_point():
        got = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise refusal(ValueError(f"{name} must be floats of shape {list(shape)}, but got {got}."))
    if not bool(value.isfinite().all()):
        raise refusal(ValueError(f"{name} must be finite, but is not."))
    return value.detach().float().contiguous()
