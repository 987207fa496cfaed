"""What all streaming statistics share: one file per state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from dissect.arguments import refusal, speaks
from dissect.files.checked import named, require
from dissect.files.tensors import load_tensors, save_tensors
from dissect.grid import Grid
from dissect.ops import HotCells, checks

if TYPE_CHECKING:
    from typing_extensions import Self


@speaks
class State:
    """A statistic that can be saved in the middle and goes on from there.

    Subclasses have `add`, `merge`, `state_dict` and `load_state_dict`; all counts in them are integers. A state is
    where the activations are. On a GPU `add` waits for nothing, and every reader tells of bad data; a CPU refuses it.
    """

    #: The version of a state's `state_dict`.
    version: ClassVar[int] = 1

    #: Keys of a state that files of earlier versions lack.
    since: ClassVar[tuple[str, ...]] = ()

    #: The attributes that hold tensors.
    tensors: ClassVar[tuple[str, ...]] = ()

    #: [] int32 on the device: 1 + the batch that held bad data, or 0.
    _status: Tensor | None = None

    def check(self) -> None:
        """Waits for the device.

        Raises:
            ValueError: bad data was added; names the batch.
        """
        number = 0 if self._status is None else int(self._status)
        if number:
            raise refusal(
                ValueError(
                    "activations must be finite and below 2^126 in magnitude, but those of "
                    f"{self._batch_name(number - 1)} are not; its counts are worthless, go on from one saved before."
                )
            )

    def _batch_name(self, number: int) -> str:
        return f"batch {number} since the state was made or loaded"

    def _note(self, status: Tensor, batch: int) -> None:
        """Remembers the first batch with bad data, without waiting to know whether there is one."""
        seen = torch.zeros_like(status) if self._status is None else self._status.to(status.device)
        self._status = torch.where((seen == 0) & (status != 0), batch + 1, seen)

    def _agree(self, same: dict[str, bool]) -> None:
        """Refuses to merge states of which something, by its name, is not the same."""
        for name, equal in same.items():
            if not equal:
                raise refusal(ValueError(f"states to merge must agree, but their {name} differs."))

    def _move(self, device: torch.device) -> None:
        """Goes where the activations are."""
        for name in self.tensors:
            setattr(self, name, getattr(self, name).to(device))

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
            ValueError: a damaged file, another state's, a newer version, missing or unknown keys, content that cannot
                be, or a state that was made with other arguments; names the file.
        """
        tensors, meta = load_tensors(path, type(self).__name__, self.version)
        state = {**meta, **tensors}
        expected = self.state_dict().keys()
        if {*state, *self.since} != expected:
            extra, missing = sorted(state.keys() - expected), sorted(expected - state.keys() - {*self.since})
            raise ValueError(
                f"{path} must hold the keys of a {type(self).__name__}: unknown {extra}, missing {missing}."
            )
        with named(path):
            self.load_state_dict(state)


@speaks
class Counts(State):
    """A state of counts that add up: a subclass says which, and by what states of other images are the same.

    It has a `grid`, `_batch`, the number of batches that were added, and for each of `counts` a tensor of integers in
    the attribute of this name with "_" in front.
    """

    #: Names of what is counted.
    counts: ClassVar[tuple[str, ...]] = ()

    grid: Grid | None
    _batch: int

    def _made_alike(self, other: Self) -> dict[str, bool]:
        """Whether another state was made with the same arguments, by the names of these; of the grid it is known."""
        raise NotImplementedError

    def merge(self, other: Self) -> None:
        """Adds the counts of other images.

        Raises:
            ValueError: the two were not made with the same arguments; says which differ. Or bad data was added.
        """
        self.check()
        other.check()
        self._agree(self._made_alike(other) | {"grid": grid_key(self.grid) == grid_key(other.grid)})
        for name in self.counts:
            own = getattr(self, f"_{name}")
            own += getattr(other, f"_{name}").to(own.device)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors and JSON values."""
        self.check()
        counts = {name: getattr(self, f"_{name}").clone() for name in self.counts}
        return {**counts, "grid": grid_key(self.grid)}

    def _check_counts(self, what: str, state: dict[str, Any]) -> None:
        """Refuses counts of another shape than this state's, and those of another grid."""
        for name in self.counts:
            shape = getattr(self, f"_{name}").shape
            require(what, state[name].shape == shape, f"its {name} has this state's shape {list(shape)}")
        require(what, state["grid"] == grid_key(self.grid), "its grid is this state's")

    def _take_counts(self, state: dict[str, Any]) -> None:
        """Goes on from the counts of a state that was checked."""
        self._status, self._batch = None, 0
        for name in self.counts:
            setattr(self, f"_{name}", state[name].to(getattr(self, f"_{name}").device, copy=True))


def grid_key(grid: Grid | None) -> str | None:
    """What tells a grid from others in a file, as text; None for the default one."""
    return None if grid is None else grid.key


def image_numbers(state: str, images: Tensor, activations: Tensor | HotCells) -> Tensor:
    """[N] the global numbers of a batch's images, as they came; a GPU is not waited for.

    Raises:
        TypeError: no tensor, or no integers.
        ValueError: another shape; on a CPU, a number that is named twice.
    """
    checks.tensor(state, "images", images, "a torch.Tensor of image numbers")
    if images.is_floating_point() or images.dtype == torch.bool:
        raise refusal(TypeError(f"images must be image numbers, integers, but are {images.dtype}."))
    if images.shape != activations.shape[:1]:
        raise refusal(ValueError(f"images must have shape [N={len(activations)}], but got {list(images.shape)}."))
    if images.device.type == "cpu":
        numbers = images.sort().values
        twice = numbers[1:][numbers[1:] == numbers[:-1]]
        if len(twice):
            raise refusal(ValueError(f"images must be added once each, but {int(twice[0])} came twice in a batch."))
    return images
