"""The places over which units are optimised: those from which a class is to go, and those where it is to appear."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dissect.arguments import refusal
from dissect.files.checked import Array, Of, fields
from dissect.generators.counting import Counter
from dissect.generators.regions import block_masks, enlarged
from dissect.generators.rendering import Renderer
from dissect.interventions.intervention import insert
from dissect.visits.run import Run, Visit
from dissect.visits.store import Step

#: Locations of a kind that are trained on at most.
MOST = 1000
#: In how many places of a z insertion of the class is tried.
TRIES = 5


class Locations(NamedTuple):
    """Blocks of cells in images of some z.

    Attributes:
        z: [n] int64, numbers of the z.
        firsts: [n, 2] int64, the first cell of each block.
        presence: [n] float32, the share of the block's pixels that show the class, or do once k is inserted there.
    """

    z: Tensor
    firsts: Tensor
    presence: Tensor

    def best(self, count: int) -> Locations:
        """Those with the highest presence, which must be above 0."""
        order = self.presence.sort(descending=True, stable=True).indices
        order = order[self.presence[order] > 0][:count]
        return Locations(*(part[order] for part in self))


class PlacesRun(Run):
    """One visit to places where the class is not, to see whether it appears when all units are set to k there.

    Args:
        renderer: makes the images.
        counter: sees the class.
        presence: [N, h', w'] of each block's pixels the share that shows the class.
        level: [U] k.
        block: its rows and columns.
        chance: draws places.

    Attributes:
        parts: numbers of the places that are tried in each step.
        removals: once the visit has ended, the places from which the class is to go.
        insertions: those where it is to appear, as many.
    """

    def __init__(
        self, renderer: Renderer, counter: Counter, presence: Tensor, level: Tensor, block: int, chance: torch.Generator
    ) -> None:
        self._renderer, self._counter, self._level, self._block = renderer, counter, level, block
        self._presence = presence
        columns = presence.shape[2]
        if not bool(presence.any()):
            raise refusal(ValueError(f"{counter.name!r} appears at none of the places of the sample's images."))
        self._z, place = _tried(presence.flatten(1), chance)
        self._firsts = torch.stack([place // columns, place % columns], 1)
        self._found, self._done = torch.zeros(len(place)), False
        self.parts = torch.arange(len(place)).split(renderer.batch_size) if len(place) else ()
        self.removals = self.insertions = Locations(self._z[:0], self._firsts[:0], self._found[:0])

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return None if self._done else Visit("places", data="places")

    def compute(self, step: Step) -> tuple[Tensor, Tensor]:
        """See `Run`: of the pixels in each place the share that shows the class when all units are at k there."""
        renderer, counter, part = self._renderer, self._counter, step.numbers
        blocks = block_masks(self._firsts[part], self._block, renderer.map_size)[:, None].to(renderer.device)
        everything = torch.arange(renderer.num_units)
        with (
            torch.no_grad(),
            insert(
                renderer.generator, renderer.layer, everything, value=self._level, mask=blocks, layout=renderer.layout
            ),
        ):
            images = renderer.render(self._z[part])
        carries = counter.carries(counter.planes(int(part[0]) // renderer.batch_size, images))
        inside = enlarged(blocks[:, 0] > 0, carries.shape[1:])
        return part, ((carries & inside).flatten(1).sum(1) / inside.flatten(1).sum(1)).cpu()

    def add(self, found: tuple[Tensor, Tensor]) -> None:
        """See `Run`."""
        self._found[found[0]] = found[1]

    def end_visit(self) -> None:
        """See `Run`.

        Raises:
            ValueError: there are no places of one kind.
        """
        flat, columns = self._presence.flatten(1), self._presence.shape[2]
        even = torch.arange(0, len(flat), 2)
        share, best = flat[even].max(1)
        removals = Locations(even, torch.stack([best // columns, best % columns], 1), share).best(MOST)
        insertions = Locations(self._z, self._firsts, self._found).best(MOST)
        number = min(len(removals.z), len(insertions.z))
        if not number:
            what = "is in no image of even number" if not len(removals.z) else (
                f"appears at none of {len(self._z)} places where it was not, when all units are set to k in "
                f"{self._block}x{self._block} cells"
            )  # fmt: skip
            raise refusal(
                ValueError(f"{self._counter.name!r} {what}; give more z, another layer or value, or a larger block.")
            )
        self.removals, self.insertions, self._done = removals.best(number), insertions.best(number), True

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        return {"found": self._found, "done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`."""
        rules = {"found": Array(torch.float32, f"{len(self._found)}", 0, 1), "done": Of(bool)}
        fields("the places", state, rules)
        self._found = state["found"].clone()
        if state["done"]:
            self.end_visit()


def _tried(presence: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """The z of odd number and for each some places without the class, drawn more often where it usually is.

    Args:
        presence: [N, P] of the class at each place.
        chance: draws.
    """
    odd = torch.arange(1, len(presence), 2)
    popular, tries = presence.sum(0), min(TRIES, presence.shape[1])
    place = torch.zeros(len(odd), tries, dtype=torch.int64)
    for row in range(len(odd)):
        place[row] = torch.multinomial(popular + popular.mean() / 10, tries, generator=chance)
    z, place = odd.repeat_interleave(tries), place.flatten()
    free = presence[z, place] == 0
    return z[free], place[free]
