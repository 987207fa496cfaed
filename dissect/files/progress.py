"""Runs that were interrupted and go on: everything a dissection has learned so far, in one file."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from dissect.arguments import refusal
from dissect.files.checked import Maybe, Of, Whole, fields, named
from dissect.files.tensors import load_tensors, save_tensors, sweep

FORMAT = ("progress", 3)
FILE = "progress.safetensors"

#: Seconds between saves at least, and how many times longer than a save itself they are apart at least.
EVERY, TIMES = 30.0, 50


class Saved(Protocol):
    """What can be saved in the middle."""

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, as tensors, JSON values, and dictionaries of such."""


class Resumable(Saved, Protocol):
    """What can be saved in the middle, and goes on from there."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`."""


class Finishing(Resumable, Protocol):
    """What can be saved in the middle, and has an end."""

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""


def versioned(state: Saved) -> dict[str, Any]:
    """Its `state_dict`, with the version of its layout: the class's attribute `version`, 1 by default."""
    return {"version": _version(state), **state.state_dict()}


def go_on(state: Resumable, saved: dict[str, Any]) -> None:
    """Goes on from what `versioned` gave.

    Raises:
        ValueError: it was of another version, or holds what cannot be.
    """
    state.load_state_dict(of_version(state, saved))


def of_version(state: object, saved: dict[str, Any]) -> dict[str, Any]:
    """What `versioned` gave, without the version, which is 1 where there is none, as in parts of earlier files.

    Raises:
        ValueError: it was of another version.
    """
    fields(f"the {type(state).__name__} of the run", saved, {"version": Maybe(Whole(1))})
    if (version := saved.get("version") or 1) != _version(state):
        raise refusal(
            ValueError(
                f"its {type(state).__name__} is of version {version}, but this version of dissect goes on "
                f"from version {_version(state)} alone; {_ANEW}."
            )
        )
    return {name: value for name, value in saved.items() if name != "version"}


def _version(state: object) -> int:
    return getattr(type(state), "version", 1)


_ANEW = "delete that file to begin anew (dissect run, dissect classify: --fresh)"


class Progress:
    """Saves a run now and then, and brings it back.

    What survives a kill at any point: all that was done up to the last save, at most 30 seconds (or 50 times what a
    save takes, if that is longer) before it. The file is replaced whole, so there is always one that is complete.

    Args:
        folder: where the file is; None saves nothing.
        about: what the run depends on, by name; a run that is brought back must depend on the same.

    Raises:
        OSError: the folder cannot be made, or not be written to; that is told at once, unless the folder holds a run,
            which may be finished: then `restore` tells it of one that is not.
        ValueError: `restore` found a run of something else (says what), or a damaged file.
    """

    def __init__(self, folder: str | Path | None, about: dict[str, Any]) -> None:
        self._path = None if folder is None else Path(folder) / FILE
        self._about = about
        if self._path is not None and not self._path.exists():
            self._check_writable(self._path.parent)
        if self._path is not None:
            sweep(self._path)
        self._next = time.monotonic() + EVERY

    def restore(self, run: Finishing) -> bool:
        """Brings back what was saved, if anything was, and says whether it was."""
        if self._path is None or not self._path.exists():
            return False
        tensors, meta = load_tensors(self._path, *FORMAT)
        fields(str(self._path), meta, {"about": Of(dict), "state": Of(dict)})
        # Files of before say less.
        changed = sorted(name for name, value in meta["about"].items() if self._about.get(name) != value)
        if changed:
            raise refusal(
                ValueError(
                    f"resume must name a folder whose run had the same {', '.join(changed)}, but {self._path} holds "
                    f"one with another{_told(meta['about'], self._about, changed)}; choose another folder (dissect "
                    f"run: --out), or {_ANEW}."
                )
            )
        if "steps" not in meta["state"]:
            raise refusal(ValueError(f"{self._path} is of a version of dissect that kept less; {_ANEW}."))
        with named(self._path):
            run.load_state_dict(_nested(tensors, meta["state"]))
        if not run.done:
            self._check_writable(self._path.parent)
        return True

    @staticmethod
    def _check_writable(folder: Path) -> None:
        """What cannot be written to is told before the work, and not at the first save."""
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))

    @contextmanager
    def keeping(self, run: Resumable) -> Iterator[None]:
        """Within the block Ctrl-C first saves the run, which must be whole then (see `deferred_interrupts`)."""
        try:
            yield
        except KeyboardInterrupt:
            self.save(run, now=True)
            raise

    def save(self, run: Resumable, now: bool = False) -> None:
        """Saves the run if it is time to, or `now`."""
        if self._path is None or not (now or time.monotonic() >= self._next):
            return
        begin = time.monotonic()
        tensors, state = _flat(run.state_dict())
        save_tensors(self._path, *FORMAT, tensors, {"about": self._about, "state": state})
        end = time.monotonic()
        self._next = end + max(EVERY, TIMES * (end - begin))


def _told(was: dict[str, Any], now: dict[str, Any], changed: list[str]) -> str:
    """An earlier and a present value, where they are short: of lists of options those that differ."""
    pairs: list[tuple[Any, Any]] = []
    for name in changed:
        one, other = was[name], now.get(name)
        if isinstance(one, list) and isinstance(other, (list, tuple)) and len(one) == len(other):
            pairs += zip(one, other)
        else:
            pairs.append((one, other))
    plain = [pair for pair in pairs if pair[0] != pair[1] and all(isinstance(each, _SHORT) for each in pair)]
    short = [told for told in (f"{one!r}, now {other!r}" for one, other in plain) if len(told) <= LONGEST]
    return f" ({'; '.join(short[:MOST])})" if short else ""


#: What is shown of changed options: plain values, in so many letters at most, and so many of them.
_SHORT, LONGEST, MOST = (str, int, float, bool, type(None)), 60, 5


def _flat(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of nested dicts by path, and the dicts without them."""
    tensors: dict[str, Tensor] = {}
    rest: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(value, dict):
            inner, rest[name] = _flat(value)
            tensors |= {f"{name}/{path}": tensor for path, tensor in inner.items()}
        else:
            rest[name] = value
    return tensors, rest


def _nested(tensors: dict[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `_flat`."""
    state = {name: _nested({}, value) if isinstance(value, dict) else value for name, value in rest.items()}
    for path, tensor in tensors.items():
        place: Any = state
        *folders, name = path.split("/")
        for folder in folders:
            place = place.get(folder) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise refusal(ValueError(f"tensor {path!r} must lie in a part of the state, but there is none."))
        place[name] = tensor
    return state
