"""What the pages work with: a generator's z set, its one lock, and whether its weights are still those."""

from __future__ import annotations

import inspect
import threading
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from dissect.arguments import refusal
from dissect.models.latent import latents, noise_seeds
from dissect.network.identity import weights_fingerprint

_guard = threading.Lock()
_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()


def lock_of(generator: nn.Module) -> threading.RLock:
    """The one lock of a generator, whoever works with it."""
    with _guard:
        return _locks.setdefault(generator, threading.RLock())


def z_set(generator: nn.Module, count: int, seed: int) -> Any:
    """The first z of a set, with noise seeds where the generator takes them."""
    z: Tensor = latents(generator, count, seed)
    if "noise" not in inspect.signature(generator.forward).parameters:
        return z
    return z, noise_seeds(count, seed).to(z.device)


class Weights:
    """The weights that a generator had.

    Attributes:
        fingerprint: of them.
    """

    def __init__(self, generator: nn.Module) -> None:
        self._tensors = (*generator.parameters(), *generator.buffers())
        self.fingerprint, self._versions = weights_fingerprint(generator), self._now()

    def check(self, maker: str) -> None:
        """Refuses to go on with others.

        Raises:
            RuntimeError: something was written to them.
        """
        if self._versions != self._now():
            raise refusal(RuntimeError(f"the generator's weights have changed, so make another {maker} of it."))

    def _now(self) -> tuple[int, ...]:
        """Counts what was done to weights in place."""
        return tuple(value._version for value in self._tensors)
