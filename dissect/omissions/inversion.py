"""What inverting some images gave, as a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.files.checked import Array, Text, Whole, fields, require
from dissect.files.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@speaks
@dataclass(frozen=True, eq=False)
class Inversion(Result):
    """What inverting some images gave.

    Attributes:
        method: how, see `LayerInverter.invert`.
        z: [N, ...].
        deltas: what was added to the outputs of g_1, g_2, ..., of each [N, ...].
        r: [N, ...], the n-th layer's output.
        images: [N, 3, H, W], what the generator makes of r.
        losses: [N] float32, of the best step; of the images alone where nothing was optimised.
        diverged: [N] bool, where the loss became infinite or NaN; what was best before is kept.
        steps: how many there were.
        generator: the fingerprint of the generator; empty where it is not known.

    Example:
        >>> import tempfile
        >>> model = dissect.models.ProGAN((4, 4, 4), z_channels=4).eval()
        >>> inverter = dissect.omissions.LayerInverter.untrained(model, ["layer1", "layer2"], width=2)
        >>> found = inverter.invert(model(dissect.latents(model, 3)).detach(), "d", progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = found.save(f"{folder}/three")
        ...     path.name, torch.equal(dissect.load(path).images, found.images)
        ('three.inversion', True)
    """

    kind = "inversion"
    suffix = ".inversion"

    method: str
    z: Tensor
    deltas: tuple[Tensor, ...]
    r: Tensor
    images: Tensor
    losses: Tensor
    diverged: Tensor
    steps: int
    generator: str = ""

    def __repr__(self) -> str:
        return f"<Inversion of {len(self.z)} images by ({self.method}), mean loss {float(self.losses.mean()):.3f}>"

    def plot(self, images: Tensor | None = None) -> Figure:
        """A row of reconstructions, below the images [N, 3, H, W] in [-1, 1] that were inverted, where they are given.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: images of another shape.
        """
        from dissect import plots

        if images is not None and (not isinstance(images, Tensor) or images.shape != self.images.shape):
            got = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise refusal(ValueError(f"images must have shape {list(self.images.shape)}, but got {got}."))
        rows = {"images": images, f"reconstructions ({self.method})": self.images}
        shown = {name: list(row.detach().cpu().add(1).div(2)) for name, row in rows.items() if row is not None}
        with plots.drawing():
            figure = plots.new_figure(0.4 + 1.2 * len(self.images), 1.5 * len(shown))
            plots.tiles(figure, list(shown.values()), list(shown))
        return figure

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See `Result`."""
        tensors = {name: getattr(self, name) for name in ("z", "r", "images", "losses", "diverged")}
        tensors |= {f"delta{number}": delta for number, delta in enumerate(self.deltas, 1)}
        meta = {name: getattr(self, name) for name in ("method", "steps", "generator")}
        return {name: tensor.detach() for name, tensor in tensors.items()}, meta

    @classmethod
    def from_contents(cls, what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> Inversion:
        """See `Result`."""
        fields(what, meta, {"method": Text(), "steps": Whole(), "generator": Text()})
        deltas = [tensors[name] for name in sorted(tensors) if name.startswith("delta")]
        rules = {
            "images": Array(torch.float32, "N C H W"), "losses": Array(torch.float32, "N"),
            "diverged": Array(torch.bool, "N"),
        }  # fmt: skip
        fields(what, tensors, rules)
        others = [tensors.get("z"), tensors.get("r"), *deltas]
        count = len(tensors["images"])
        good = all(part is not None and part.dtype == torch.float32 and part.ndim > 1 and len(part) == count
                   for part in others)  # fmt: skip
        require(what, good and count > 0, "z, r and deltas are floats of as many images, one at least")
        require(what, all(f"delta{number}" in tensors for number in range(1, len(deltas) + 1)), "no delta is left out")
        return cls(
            meta["method"], tensors["z"], tuple(deltas), tensors["r"], tensors["images"], tensors["losses"],
            tensors["diverged"], meta["steps"], meta["generator"],
        )  # fmt: skip
