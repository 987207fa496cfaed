"""Ending a visit of several thresholds at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dissect.arguments import refusal
from dissect.stats.threshold import TailThreshold


def advance_all(states: list[tuple[str, TailThreshold]]) -> None:
    """`TailThreshold.advance` of each, but that a GPU is waited for once.

    Args:
        states: each with what a refusal calls it.

    Raises:
        ValueError: as `advance`.
    """
    begun = []
    for name, state in states:
        with _called(name):
            begun.append(state._begin_advance())
    if not begun:
        return
    found = torch.stack([facts.to(begun[0].device) for facts in begun]).tolist()
    for (name, state), facts in zip(states, found):
        with _called(name):
            state._end_advance(facts)


@contextmanager
def _called(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise refusal(error, name) from None
