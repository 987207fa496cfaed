"""How a layer's output becomes maps, and how label planes get the segmentation's size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from dissect.arguments import check_precision, refusal
from dissect.network.directions import CheckedDirections, LayerDirections, given_directions
from dissect.network.layouts import LayoutOption, Layouts, to_maps
from dissect.network.outputs import first_tensor

#: Tokens that a vision transformer may have beside those of its grid; fewer than a row of it are taken for such too.
MOST_OTHER_TOKENS = 8


@dataclass(frozen=True)
class Readout:
    """How a layer's output becomes maps, and planes get their size. See `dissect.dissect`.

    With `expects_relu`, `relu` is a preset's: it is told where no ReLU follows. Maps along `directions` are those of
    what `relu` has left; `most_directions` are as many as results have room for, where that is known.
    """

    relu: bool = False
    step: int | None = None
    tokens: Mapping[str, tuple[int, int]] | None = None
    expects_relu: bool = False
    layout: LayoutOption | None = None
    ignore: tuple[int, ...] = ()
    directions: Mapping[str, CheckedDirections] = field(default_factory=dict)
    most_directions: int | None = None

    @classmethod
    def of(
        cls,
        settings: Mapping[str, Any],
        layers: Iterable[str],
        directions: Mapping[str, LayerDirections] | None = None,
    ) -> Readout:
        """How a dissection with these settings read outputs of some of its layers, and planes.

        Args:
            settings: of the dissection.
            layers: some of its layers.
            directions: those of the dissection, of which settings hold a digest alone.

        Raises:
            TypeError, ValueError: directions that are not those of the dissection.
        """
        layers = list(layers)
        along = given_directions(directions, layers)
        told_directions = settings.get("directions", {})
        for name in layers:
            told, given = told_directions.get(name), along[name].told if name in along else None
            if told != given:
                rule = "those of the dissection" if told else "left out: the dissection is of the layer's units"
                state = "are not given" if given is None else "are others" if told else "are given"
                raise refusal(ValueError(f"directions of layer {name!r} must be {rule}, but {state}."))
        tokens = settings.get("tokens")
        grids = tokens if isinstance(tokens, Mapping) else dict.fromkeys(layers, tokens) if tokens else {}
        layouts = settings.get("layouts", {})
        return cls(
            settings["relu"],
            settings["step"],
            {name: (grid[0], grid[1]) for name, grid in grids.items()},
            layout={name: layouts[name][0] for name in layers if name in layouts} or None,
            ignore=tuple(settings.get("ignore", ())),
            directions=along,
        )

    def maps(self, layer: str, output: Any, layouts: Layouts, images: int, vectors: bool = False) -> Tensor:
        """[N, U, h, w] of a layer's output; of tokens the last h * w, row by row.

        Args:
            layer: its name.
            output: what it gave.
            layouts: where units are in it.
            images: how many went in.
            vectors: whether [N, U] may be maps of one cell, as where no planes ask for places.

        Raises:
            ValueError: neither maps nor tokens that fit the token grid.
        """
        output = first_tensor(output)
        if not isinstance(output, Tensor) or output.ndim not in ((2, 3, 4) if vectors else (3, 4)):
            got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            vector = isinstance(output, Tensor) and output.ndim == 2
            hint = "; vectors have no place to overlap a concept: dissect them without planes" if vector else ""
            raise refusal(ValueError(f"layer {layer!r} must give maps [N, U, h, w], but gave {got}{hint}."))
        check_precision(layer, output)
        if 0 in output.shape[1:]:
            raise refusal(
                ValueError(f"layer {layer!r} must have at least one unit and one place, but gave {list(output.shape)}.")
            )
        try:
            axes = layouts.of(layer, output, images).axes
        except ValueError as error:
            raise refusal(ValueError(f"{error}")) from None
        maps = to_maps(output, axes)
        maps = maps[:, :, None, None] if maps.ndim == 2 else maps
        if "T" in axes:
            maps = self._from_tokens(layer, maps, list(output.shape))
        if len(axes) > 2:
            layouts.check_cells(layer, axes, (self.tokens or {})[layer] if "T" in axes else None)
        maps = maps.clamp(min=0) if self.relu else maps
        return self._along(layer, maps) if layer in self.directions else maps

    def _along(self, layer: str, maps: Tensor) -> Tensor:
        """The maps along a layer's directions.

        Raises:
            TypeError, ValueError: see `CheckedDirections.read`; more directions than there is room for.
        """
        found, most = self.directions[layer].read(maps), self.most_directions
        if most is not None and found.shape[1] > most:
            raise refusal(
                ValueError(
                    f"memory_budget must have room for tables of directions x concepts, but layer {layer!r} has "
                    f"{found.shape[1]} directions and only {most} fit; give a larger one, or a part of the directions "
                    f"at a time (directions[:{most}], encoder[:{most}])."
                )
            )
        return found

    def _from_tokens(self, layer: str, tokens: Tensor, shape: list[int]) -> Tensor:
        """[N, U, h, w] of the last h * w of tokens [N, U, T, 1]."""
        grid = (self.tokens or {}).get(layer)
        if grid is None:
            raise refusal(
                ValueError(
                    f"layer {layer!r} must give maps [N, U, h, w], but gave {shape}; give tokens=(h, w), the grid "
                    "of its tokens, or tokens={layer: (h, w)}, where that is taken, else name a layer that gives maps."
                )
            )
        others = tokens.shape[2] - grid[0] * grid[1]
        if not 0 <= others <= max(grid[1] - 1, MOST_OTHER_TOKENS):
            raise refusal(
                ValueError(
                    f"tokens must be the grid of the {tokens.shape[2]} tokens of layer {layer!r}, up to a few "
                    f"class and register tokens before it, but {grid[0]}x{grid[1]} leaves {others}."
                )
            )
        output: Tensor = tokens[:, :, others:, 0].unflatten(2, grid)
        return output

    def planes(self, planes: Tensor, images: Tensor) -> Tensor:
        """The planes at the segmentation's size: of each step x step pixels the one at the centre.

        Raises:
            ValueError: planes that have neither the images' size nor already the segmentation's.
        """
        if self.step is None:
            return planes
        full, wanted = tuple(images.shape[2:]), tuple(size // self.step for size in images.shape[2:])
        if tuple(planes.shape[2:]) == wanted:
            return planes
        if tuple(planes.shape[2:]) != full:
            raise refusal(
                ValueError(
                    f"planes must have the images' size {full} or {wanted}, one pixel in {self.step} each way, "
                    f"but have {tuple(planes.shape[2:])}."
                )
            )
        centre = self.step // 2
        return planes[:, :, centre :: self.step, centre :: self.step][:, :, : wanted[0], : wanted[1]].contiguous()
