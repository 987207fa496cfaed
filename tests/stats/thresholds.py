"""What the tests of TailThreshold share: maps of all kinds, visits until done, and a sort."""

from fractions import Fraction

import torch

KINDS = ("normal", "relu", "ties", "constant", "tiny", "huge", "subnormal")


def maps_of(kind, shape, dtype=torch.float32):
    maps = torch.randn(shape)
    maps = {
        "normal": maps,
        "relu": (maps - 1).relu(),
        "ties": maps.round(),
        "constant": torch.full(shape, -0.0),
        "tiny": maps * 1e-30,
        "huge": maps * 1e37,
        "subnormal": maps * 1e-42,
    }[kind]
    return maps.clamp(-60000, 60000).to(dtype) if dtype == torch.float16 else maps.to(dtype)


def settle(state, batches):
    """Visits until done; returns the number of visits."""
    for visit in range(1, 12):
        for batch in batches:
            state.add(batch)
        if state.advance():
            return visit
    raise AssertionError("did not settle")


def order_statistic(values, fraction):
    """[U] from [U, M]: the (floor(q * M) + 1)-th largest, by sorting."""
    rank = int(Fraction(str(fraction)) * values.shape[1]) + 1
    return values.sort(1, descending=True).values[:, rank - 1]
