"""Edits along directions: a layer's output is moved until its directions read a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.network.directions import CheckedDirections, LayerDirections, given_directions, product

#: Along what the output is moved, see `Along`.
AlongOption = Literal["own", "dual"]


class Along:
    """How the output of one layer is edited along directions.

    Where the chosen directions c read r_c, they read ``alpha * value + (1 - alpha) * r_c`` after the edit, by the move
    ``x + sum_c d_c alpha_c (value_c - r_c)``. Of one direction v, d is ``v / |v|^2``: ablation takes x's component
    along v away, ``x - (x . v) v / |v|^2``. Of several that are not orthogonal the d_c are dual to them (each is read
    as 1 by its own direction and as 0 by the others), and that in one of two ways:

    - "own": dual among the chosen ones (the columns of their pseudoinverse): the least change of x. Directions that
      were not chosen may read something else afterwards.
    - "dual": among all directions of the set: those that were not chosen read what they did, as units do.

    What no direction reads, of fewer directions than units, stays. An encoder's features are read by it and moved along
    the rows of its `decoder` [V, U], once, so that it need not read the value afterwards.

    Args:
        layer: its name.
        given: directions [V, U], or an encoder that has a `decoder`.
        along: "own" or "dual".

    Raises:
        TypeError, ValueError: see `CheckedDirections`; an encoder without a decoder, or with "dual".
    """

    def __init__(self, layer: str, given: LayerDirections, along: AlongOption) -> None:
        if along not in get_args(AlongOption):
            raise refusal(ValueError(f"along must be one of {get_args(AlongOption)}, but got {along!r}."))
        self._layer, self._dual = layer, along == "dual"
        self._directions = CheckedDirections(layer, given)
        matrix = self._directions.matrix
        decoder = getattr(given, "decoder", None) if matrix is None else matrix
        if not isinstance(decoder, Tensor) or decoder.ndim != 2:
            raise refusal(
                TypeError(
                    f"the encoder of layer {layer!r} must have a tensor `decoder` [V, U], along which its features are "
                    f"edited, but has {type(decoder).__name__}."
                )
            )
        if matrix is None and self._dual:
            raise refusal(ValueError("along must be 'own' for an encoder, whose decoder says it, but is 'dual'."))
        self._decoder = decoder.detach()
        self._moves: dict[tuple[int, ...], Tensor] = {}  # [C, U] of the chosen ones that were met

    @property
    def count(self) -> int:
        """V."""
        return len(self._decoder)

    def moved(
        self,
        maps: Tensor,
        chosen: Tensor,
        alpha: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        band: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """[N, U, h, w]: the maps after the edit, of their own dtype.

        Args:
            maps: [N, U, h, w].
            chosen: [C] numbers of directions.
            alpha: [C].
            value: [C].
            mask: where, broadcasts to [N, 1, h, w].
            band: [C] and [C]: only where a direction reads more than the first and at most the second.

        Raises:
            ValueError: directions of another length, or chosen ones of which one is a combination of others.
        """
        if not len(chosen):
            return maps
        if self._decoder.shape[1] != maps.shape[1]:
            raise refusal(
                ValueError(
                    f"directions of layer {self._layer!r} must have length U={maps.shape[1]}, its units, but have "
                    f"{self._decoder.shape[1]}."
                )
            )
        matrix = self._directions.matrix
        if matrix is None:
            read = self._directions.read(maps)[:, chosen.to(maps.device)]
        else:
            read = product(matrix[chosen].to(maps.device), maps)
        change = alpha.view(-1, 1, 1) * (value.view(-1, 1, 1) - read)
        if band is not None:
            low, high = (end.view(-1, 1, 1) for end in band)
            change = change * ((read > low) & (read <= high))
        moved = product(self._moved_along(chosen).T.to(maps.device), change)
        return (maps + (moved if mask is None else moved * mask.to(moved.device))).to(maps.dtype)

    def _moved_along(self, chosen: Tensor) -> Tensor:
        """[C, U]: what is added to the output to raise the reading of each of the chosen ones by 1."""
        key = tuple(chosen.tolist())
        if key not in self._moves:
            self._moves = {key: self._found_moves(chosen)}
        return self._moves[key]

    def _found_moves(self, chosen: Tensor) -> Tensor:
        if self._directions.matrix is None:
            return self._decoder[chosen.to(self._decoder.device)].float()
        among = self._decoder if self._dual else self._decoder[chosen]
        rank = int(torch.linalg.matrix_rank(among.double(), rtol=max(among.shape) * torch.finfo(torch.float32).eps))
        if rank < len(among):
            which = "of the set, among which duals are sought," if self._dual else "that are set together"
            raise refusal(
                ValueError(
                    f"directions of layer {self._layer!r} {which} must be linearly independent, but {len(among)} have "
                    f"rank {rank}; leave out those that others give."
                )
            )
        moves: Tensor = torch.linalg.pinv(among.double()).T.float()
        return moves[chosen] if self._dual else moves


def along_layers(
    directions: Mapping[str, LayerDirections] | None, layers: list[str], value: Tensor | float, along: AlongOption
) -> dict[str, Along]:
    """By layer how it is edited along directions."""
    if directions is None:
        return {}
    given_directions(directions, layers)  # refuses what are none
    if isinstance(value, Tensor) and value.ndim > 1:
        raise refusal(ValueError(f"value must be a number or one per direction, but has shape {list(value.shape)}."))
    return {name: Along(name, given, along) for name, given in directions.items()}
