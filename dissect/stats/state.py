"""What all streaming statistics share: one file per state."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from dissect.cache import load_tensors, save_tensors


class State:
    """A statistic that can be saved in the middle and goes on from there.

    Subclasses have `add`, `merge`, `state_dict` and `load_state_dict`; all counts in them are integers.
    """

    #: The version of a state's `state_dict`.
    version: ClassVar[int] = 1

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and JSON values."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`."""
        raise NotImplementedError

    def save(self, path: str | Path) -> Path:
        """Writes the state to one safetensors file, whole or not at all."""
        state = self.state_dict()
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        meta = {name: value for name, value in state.items() if name not in tensors}
        return save_tensors(path, type(self).__name__, self.version, tensors, meta)

    def load(self, path: str | Path) -> None:
        """Goes on from what `save` wrote; a state made with the same arguments.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a damaged file, another state's, a newer version, missing or unknown keys, or a state that was
                made with other arguments.
        """
        tensors, meta = load_tensors(path, type(self).__name__, self.version)
        state = {**meta, **tensors}
        expected = self.state_dict().keys()
        if state.keys() != expected:
            extra, missing = sorted(state.keys() - expected), sorted(expected - state.keys())
            raise ValueError(
                f"{path} must hold the keys of a {type(self).__name__}: unknown {extra}, missing {missing}."
            )
        self.load_state_dict(state)
