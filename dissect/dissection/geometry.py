"""Where a dissection samples each layer's maps: by the rules' kind of grid, or on grids that the caller gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from dissect.arguments import refusal
from dissect.dissection.presets import GRIDS, GridName, Preset
from dissect.grid import Border, Grid
from dissect.network.receptive_field import receptive_field
from dissect.visits.store import Step

MapSize = tuple[int, int]
#: One grid for every layer, one by layer, or what gives one of (layer, size of its maps, size of the planes).
GivenGrid = Grid | Mapping[str, Grid] | Callable[[str, MapSize, MapSize], Grid]


class Geometry:
    """The grid of each layer.

    Args:
        model: whose passes are followed, for grids of receptive fields.
        layers: all that are dissected.
        rules: what kind of grid, and its border.
        given: the grids, in the place of the rules'.

    Raises:
        TypeError: `given` is none of `GivenGrid`, or holds something else than grids.
        ValueError: it is a mapping of other layers.
    """

    def __init__(self, model: nn.Module, layers: list[str], rules: Preset, given: GivenGrid | None = None) -> None:
        self._model, self._rules, self._given = model, rules, given
        if isinstance(given, Mapping):
            if set(given) != set(layers):
                raise refusal(
                    ValueError(f"grid must hold a Grid of each layer, {layers}, and no more, but holds {list(given)}.")
                )
            for layer, grid in given.items():
                _check_grid(f"of layer {layer!r}", grid)
        elif given is not None and not isinstance(given, Grid) and not callable(given):
            raise refusal(
                TypeError(
                    f"grid must be one of {GRIDS}, a Grid, a mapping of layers to Grids, or a function "
                    f"(layer, map size, plane size) -> Grid, but got {type(given).__name__}."
                )
            )

    def grid(self, layer: str, source: MapSize, target: MapSize, images: Tensor) -> Grid:
        """For maps of `source` on planes of `target`.

        Args:
            layer: its name.
            source: (h, w) of its maps.
            target: (H, W) of the planes.
            images: [N, 3, H', W'], a batch.

        Raises:
            TypeError, ValueError: no grid, or one for other sizes; or a layer whose receptive fields are not known.
        """
        if self._given is not None:
            return self._given_grid(layer, source, target)
        border = self._rules.border
        if self._rules.grid == "half_pixel":
            return Grid.half_pixel(source, target, border=border)
        field = receptive_field(self._model, layer, images[:1])
        make = Grid.netdissect if self._rules.grid == "netdissect" else Grid.receptive_field
        try:
            return make([field.layer], source, target, image=(images.shape[2], images.shape[3]), border=border)
        except ValueError as error:
            raise refusal(ValueError(f"layer {layer!r}: {error}")) from None

    def check_same(self, layer: str, grid: Grid) -> None:
        """Whether a layer's grid of an interrupted run is the one that is given now.

        Raises:
            ValueError: it is not.
        """
        if self._given is None:  # then the rules say it, and these are compared
            return
        if self._given_grid(layer, grid.source_shape, grid.target_shape).key != grid.key:
            raise refusal(
                ValueError(
                    f"resume must name a folder whose run had the same grid, but the one there had another for "
                    f"layer {layer!r}; choose another folder (dissect run: --out), or delete what is in it to begin "
                    "anew."
                )
            )

    def settings(self, grids: Mapping[str, Grid] = MappingProxyType({})) -> dict[str, Any]:
        """What a result says of grids that were given, in the place of the rules' kind and border.

        Args:
            grids: of the layers, each of which is told by a digest; none before they are known.
        """
        if self._given is None:
            return {}
        return {"grid": "given", "border": "given", "grids": {layer: grid.key[:16] for layer, grid in grids.items()}}

    def _given_grid(self, layer: str, source: MapSize, target: MapSize) -> Grid:
        given = self._given
        if isinstance(given, Mapping):
            given = given[layer]
        found = given if isinstance(given, Grid) or given is None else given(layer, source, target)
        grid = _check_grid(f"of layer {layer!r}", found)
        check_fits(f"layer {layer!r}", grid, source, target)
        return grid


def check_fits(where: str, grid: Grid, source: Iterable[int], target: Iterable[int] | None) -> None:
    """Refuses a feature map or a segmentation that a grid was not made for; says where that was."""
    try:
        grid.check(where, tuple(source), None if target is None else tuple(target))
    except ValueError as error:
        refusal(error)
        raise


def named_or_given(
    grid: GridName | GivenGrid | None, border: Border | None
) -> tuple[GridName | None, GivenGrid | None]:
    """The kind of grid that `dissect` was asked for by name, and the grids that it was given; one of them is None.

    Raises:
        ValueError: a border beside grids that were given, which have their own.
    """
    if grid is None or isinstance(grid, str):
        return grid, None
    if border is not None:
        raise refusal(ValueError(f"border must not be given beside a Grid, which has its own, but is {border!r}."))
    return None, grid


def _check_grid(whose: str, grid: object) -> Grid:
    if not isinstance(grid, Grid):
        raise refusal(TypeError(f"grid {whose} must be a dissect.Grid, but is {type(grid).__name__}."))
    return grid


def plane_size(step: Step, reduced: int | None) -> tuple[int, int]:
    """(H, W) of a step's planes; without them what they would have, by the preset's `step`."""
    if step.labels is not None:
        return step.labels.size
    if step.planes is not None:
        return step.planes.shape[2], step.planes.shape[3]
    rows, columns = (side // (reduced or 1) for side in step.shown.shape[2:])
    return max(1, rows), max(1, columns)
