"""What the generators share: the check of z, and pixel normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dissect.arguments import refusal, speaks


@speaks
class Generator(nn.Module):
    """A network from a normal vector z to an image [N, 3, R, R], nominally in [-1, 1].

    Args:
        channels: units at 4x4, 8x8, ...; their number decides the resolution.
        z_channels: length of z.

    Raises:
        ValueError: no channels, or a number that is not positive.
    """

    def __init__(self, channels: Sequence[int], z_channels: int) -> None:
        super().__init__()
        if not channels:
            raise refusal(ValueError("channels must name at least the units at 4x4, but got none."))
        if min(*channels, z_channels) < 1:
            raise refusal(
                ValueError(
                    f"channels and the length of z must be positive, but got {tuple(channels)} and {z_channels}."
                )
            )
        self.channels = tuple(channels)
        self.z_channels = z_channels

    @property
    def resolution(self) -> int:
        """R, rows and columns of an image."""
        side: int = 4 * 2 ** (len(self.channels) - 1)
        return side

    @property
    def z_shape(self) -> tuple[int, ...]:
        """The shape of one image's z, as `dissect.latents` gives it."""
        return (self.z_channels,)

    def checked(self, vectors: Tensor, letter: str = "z") -> Tensor:
        """The vectors as [N, z_channels]; a trailing 1x1 is dropped.

        Raises:
            TypeError: no tensor, or not of the weights' dtype.
            ValueError: another shape, or on another device than the weights.
        """
        length = self.z_channels
        weight = next(self.parameters())
        dtype = weight.dtype
        if not isinstance(vectors, Tensor) or vectors.dtype != dtype:
            got = vectors.dtype if isinstance(vectors, Tensor) else type(vectors).__name__
            raise refusal(TypeError(f"{letter} must be a tensor of {dtype}, as the weights are, but got {got}."))
        if vectors.dim() not in (2, 4) or vectors.shape[1] != length or any(n != 1 for n in vectors.shape[2:]):
            hint = "; dissect.latents makes z that fit" if letter == "z" else ""
            raise refusal(
                ValueError(
                    f"{letter} must have shape [N, {length}] or [N, {length}, 1, 1], but got "
                    f"{list(vectors.shape)}{hint}."
                )
            )
        if vectors.device != weight.device:
            raise refusal(
                ValueError(f"{letter} must be on {weight.device}, as the weights are, but is on {vectors.device}.")
            )
        return vectors.flatten(1)


class PixelNorm(nn.Module):
    """`x / sqrt(mean over channels of x^2 + 1e-8)` at every pixel (Karras et al. 2018, section 4.2).

    The mean is taken in float32 if x is of a smaller type.
    """

    def forward(self, x: Tensor) -> Tensor:
        """X of any shape [N, C, ...], normalised."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (wide / torch.sqrt(wide.square().mean(dim=1, keepdim=True) + 1e-8)).to(x.dtype)
