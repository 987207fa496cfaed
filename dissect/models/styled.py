"""What generators with a mapping network z -> w share: truncation, the average w, and checks of w and noise seeds."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dissect.arguments import integer, refusal, speaks
from dissect.models.generator import Generator
from dissect.models.latent import normal_blocks


@speaks
class StyledGenerator(Generator):
    """A generator of which each of 2 * len(channels) layers takes a w; see `StyleGAN` and `StyleGAN2`.

    Args:
        channels: units at 4x4, 8x8, ...
        w_channels: length of z and of w.
        truncation: in [0, 1], used where a call gives none.

    Raises:
        TypeError, ValueError: truncation is no number in [0, 1]; see `Generator`.
    """

    latent_avg: Tensor | None

    def __init__(self, channels: Sequence[int], w_channels: int, truncation: float) -> None:
        super().__init__(channels, w_channels)
        self.truncation = _checked_truncation(truncation)
        self.register_buffer("latent_avg", None)

    def mapped(self, z: Tensor) -> Tensor:
        """What the mapping network makes of checked z [N, z_channels]: w of the same shape."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        """What changes its images and is no weight: its truncation."""
        return "" if self.truncation == 1 else f"truncation={self.truncation:g}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        average = state_dict.get(f"{prefix}latent_avg")
        if average is not None and self.latent_avg is None:  # a buffer now, which is filled with the others
            self.latent_avg = next(self.parameters()).new_empty(self.z_channels)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def truncate(self, w: Tensor, truncation: float) -> Tensor:
        """`latent_avg + truncation * (w - latent_avg)` of any w [..., w_channels].

        Raises:
            TypeError, ValueError: truncation is no number in [0, 1], or `latent_avg` is not known.
        """
        if _checked_truncation(truncation) == 1:
            return w
        if self.latent_avg is None:
            raise refusal(
                ValueError("truncation below 1 needs latent_avg, which is not known; call measure_latent_avg() first.")
            )
        return self.latent_avg + truncation * (w - self.latent_avg)

    @torch.no_grad()
    def measure_latent_avg(self, samples: int = 4096, seed: int = 0) -> None:
        """Sets `latent_avg` [w_channels] to the mean of w over z number 0 to `samples` - 1 of a set.

        4,096 is what the published code of StyleGAN2 uses where a checkpoint has no average (generate.py).

        Raises:
            TypeError, ValueError: samples is no positive integer.
        """
        samples = integer("samples", samples)
        weight = next(self.parameters())
        total = torch.zeros(self.z_channels, dtype=torch.float64, device="cpu")
        for z in normal_blocks(self.z_channels, samples, seed):
            total += self.mapped(z.to(weight)).sum(dim=0, dtype=torch.float64).cpu()
        self.latent_avg = (total / samples).to(weight)

    def _w_of(self, z: Tensor, latent: str) -> Tensor:
        """The w [N, w_channels], or for every layer its own, of z or of w itself; not truncated.

        Raises:
            TypeError, ValueError: another shape, dtype or device; latent is neither "z" nor "w".
        """
        if latent not in ("z", "w"):
            raise refusal(ValueError(f"latent must be 'z' or 'w', but got {latent!r}."))
        return self.mapped(self.checked(z)) if latent == "z" else self._checked_w(z)

    def _checked_w(self, w: Tensor) -> Tensor:
        if not isinstance(w, Tensor) or w.dim() != 3:
            return self.checked(w, "w")
        each = (2 * len(self.channels), self.z_channels)
        if w.shape[1:] != each:
            raise refusal(
                ValueError(
                    f"w must have shape [N, {each[1]}], or [N, {each[0]}, {each[1]}] where every layer has its "
                    f"own, but got {list(w.shape)}."
                )
            )
        return self.checked(w.flatten(0, 1), "w").view(w.shape)

    def _checked_noise(self, noise: Tensor | None, w: Tensor) -> Tensor | None:
        if noise is None:
            return None
        if not isinstance(noise, Tensor) or noise.dtype != torch.int64:
            got = noise.dtype if isinstance(noise, Tensor) else type(noise).__name__
            raise refusal(TypeError(f"noise must be None or a tensor of int64 seeds, but got {got}."))
        if noise.shape != (len(w),):
            raise refusal(ValueError(f"noise must have shape [{len(w)}], as z has, but got {list(noise.shape)}."))
        return noise.to(w.device)


def _checked_truncation(truncation: float) -> float:
    if not isinstance(truncation, numbers.Real):
        raise refusal(TypeError(f"truncation must be a number, but got {type(truncation).__name__}."))
    if not 0 <= truncation <= 1:
        raise refusal(ValueError(f"truncation must be in [0, 1], but got {truncation}."))
    return float(truncation)
