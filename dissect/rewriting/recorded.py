"""Steps that a GPU repeats by itself: queueing a small one takes the host longer than the device needs for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Recorded:
    """A call that reads and writes tensors in place, recorded on a GPU (`torch.cuda.CUDAGraph`), and replayed.

    The first call is made as it is, since libraries prepare their work then; the second one is recorded.

    Args:
        call: without arguments; it must not wait for the device. Its tensors stay at their addresses.
        device: the GPU.
    """

    def __init__(self, call: Callable[[], Tensor], device: torch.device) -> None:
        self._call, self._device = call, device
        self._graph: torch.cuda.CUDAGraph | None = None
        self._found: Tensor | None = None

    def __call__(self) -> Tensor:
        """What the call gives."""
        with torch.cuda.device(self._device):
            if self._found is None:
                self._found = self._prepared()
                return self._found
            if self._graph is None:
                self._graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(self._graph):
                    self._found = self._call()
            self._graph.replay()
            return self._found.clone()

    def _prepared(self) -> Tensor:
        """On a stream of its own, as what is recorded."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            found = self._call()
        here.wait_stream(aside)
        found.record_stream(here)
        return found
