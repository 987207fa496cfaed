"""The perceptual distance of the papers, where its package is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.extras import require

Net = Literal["alex", "vgg", "squeeze"]
NETS: tuple[Net, ...] = get_args(Net)


@speaks
def lpips_distance(net: Net = "alex") -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS (Zhang et al. 2018) as maps [N, 1, H, W], for `rule_changes`: of the package `lpips`, and its weights.

    Args:
        net: "alex", as the thesis has it (B.2), or "vgg", as the published code does; or "squeeze".

    Raises:
        ImportError: `lpips` is not installed (extra `lpips`).
        ValueError: another network.

    Example:
        >>> from dissect import rewriting
        >>> rewriting.lpips_distance("vgg")  # doctest: +SKIP
    """
    if net not in NETS:
        raise refusal(ValueError(f"net must be one of {NETS}, but is {net!r}."))
    require("lpips_distance", "lpips", "lpips")
    import lpips

    network: Any = lpips.LPIPS(net=net, spatial=True, verbose=False).eval()

    def distance(before: Tensor, after: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = network.to(before.device)(before, after)
            return found

    return distance
