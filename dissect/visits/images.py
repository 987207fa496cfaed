"""Steps of data sets as they are: images, and what comes with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dissect.data import Batch, Batches
from dissect.devices import checksum
from dissect.files.checked import Of, fields
from dissect.network.identity import code_of, fingerprint
from dissect.visits.run import Visit
from dissect.visits.same import Same
from dissect.visits.store import Step


def identity(model: nn.Module, data: Iterable[Batches]) -> dict[str, Any]:
    """What tells a run over data sets by a model from another: for `finish`, beside its options."""
    return {"model": [fingerprint(model), code_of(model)], "data": [batches.identity() for batches in data]}


class Images:
    """The steps of one or several data sets, without activations; see `dissect.visits.run.Steps`.

    Args:
        data: the data sets' batches by their titles, which messages say, and by which visits ask (`Visit.data`).
    """

    def __init__(self, data: dict[str, Batches]) -> None:
        self._data = data
        # Saved runs know an attack's by "attack: images", where the function's name is no part of the title.
        self._same = {title: Same(title.rpartition(": ")[2]) for title in data}

    def count(self, visit: Visit) -> int | None:
        """See `Steps`."""
        return self._data[visit.data].count()

    def visit(self, visit: Visit, start: int) -> Iterator[Step]:
        """See `Steps`."""
        same, count = self._same[visit.data], start
        for count, batch in enumerate(self._data[visit.data].visit(start), start + 1):
            if batch is not None:
                same.check(count - 1, _sums(batch))
                yield Step(batch.numbers, batch.planes, {}, batch.images)
        same.end(count)

    def known(self) -> Iterator[None]:
        """See `Steps`: all batches that were met are read again, since they are part of what a run has counted."""
        for title, same in self._same.items():
            known, whole, count = len(same.sums), same.count is not None, 0
            for count, batch in enumerate(self._data[title] if known else (), 1):
                same.check(count - 1, _sums(batch))
                yield
                if count == known and not whole:
                    break
            if count != known or whole:
                same.end(count)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {title: same.state_dict() for title, same in self._same.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        fields("the data sets", state, dict.fromkeys(self._same, Of(dict)))
        for title, same in self._same.items():
            same.load_state_dict(state[title])


def _sums(batch: Batch) -> list[int]:
    """Of the images and what comes with them."""
    parts = [part for part in (batch.images, batch.planes) if isinstance(part, Tensor)]
    sums: list[int] = torch.stack([checksum(part).cpu() for part in parts]).tolist()
    return sums
