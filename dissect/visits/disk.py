"""Maps in temporary files, between visits."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from dissect.arguments import tell
from dissect.devices import checksum
from dissect.files.tensorfile import read_tensors
from dissect.files.tensors import save_file
from dissect.ops import HotCells

#: A layer's maps [N, U, h, w], or what stands for them.
Maps = Tensor | HotCells

#: How often a step is read again after the first visit: twice for thresholds, as a rule, and once for the counts.
VISITS = 3


@dataclass(frozen=True)
class _Written:
    """How a layer's maps lie in a file.

    Attributes:
        checksums: of the tensors, by their names in the file.
        hot: size and reach of the hot cells that they are; None if they are maps.
    """

    checksums: dict[str, int]
    hot: tuple[tuple[int, int], int] | None

    def maps(self, tensors: dict[str, Tensor]) -> Maps:
        """What they are; hot cells are those that an engine made, by their checksums."""
        parts = [tensors[name] for name in self.checksums]
        if self.hot is None:
            return parts[0]
        floors, peaks, starts, counts, places, values = parts
        found = HotCells(floors, peaks, starts, counts, places, values, *self.hot)
        found.trust()
        return found


class Disk:
    """Temporary files, as long as they pay."""

    def __init__(self, budget: int) -> None:
        self.left = budget  # bytes
        self._folder: Path | None = None
        self._written: dict[Path, dict[str, _Written]] = {}  # by file and layer
        self._told = False
        self._bytes = self._seconds = 0.0  # written so far, and what writing once and reading `VISITS` times takes

    def write(self, index: int, maps: Mapping[str, Maps], seconds: float) -> Path | None:
        """The file in which these maps are now; None if there is no room or computing, which took so long, is faster.

        The first file tells how fast the disk is, so it is written in any case.
        """
        size = sum(part.nbytes for part in maps.values())
        expected = size * self._seconds / self._bytes if self._bytes else 0.0
        if size > self.left or expected > VISITS * seconds:
            return None
        folder = self._folder = self._folder or Path(tempfile.mkdtemp(prefix="dissect-"))
        path = folder / f"{index}.safetensors"
        begin = time.perf_counter()
        try:
            save_file(self._noted(path, maps), path)
        except OSError as error:
            path.unlink(missing_ok=True)
            self.left = 0
            tell(f"what is left is computed again at each visit, since {error}.")
            return None
        written = time.perf_counter()
        self.recover(path, list(maps))
        self._seconds += written - begin + VISITS * (time.perf_counter() - written)
        self._bytes += size
        self.left -= size
        return path

    def _noted(self, path: Path, maps: Mapping[str, Maps]) -> dict[str, Tensor]:
        """The tensors of a file, of which it is noted what they are."""
        tensors: dict[str, Tensor] = {}
        self._written[path] = {}
        for place, (name, part) in enumerate(maps.items()):
            parts = {"maps": part.cpu().contiguous()} if isinstance(part, Tensor) else part.tensors()
            named = {f"{place}.{key}": value for key, value in parts.items()}
            sums = {key: int(checksum(value)) for key, value in named.items()}
            self._written[path][name] = _Written(sums, None if isinstance(part, Tensor) else (part.size, part.reach))
            tensors |= named
        return tensors

    def recover(self, path: Path, names: list[str]) -> dict[str, Maps] | None:
        """Some of the maps in a file; None, and a warning once, if it does not hold them as they were written."""
        layers = {name: self._written[path][name] for name in names}
        sums = {key: value for layer in layers.values() for key, value in layer.checksums.items()}
        try:
            tensors, why = self.read(path, list(sums)), "has changed since it was written"
        except (OSError, SafetensorError, KeyError) as error:
            tensors, why = {}, f"cannot be read: {error}"
        if len(tensors) == len(sums) and all(int(checksum(tensors[key])) == value for key, value in sums.items()):
            return {name: layer.maps(tensors) for name, layer in layers.items()}
        if not self._told:
            tell(f"what the temporary file {path} held is computed again: it {why}.")
        self._told = True
        return None

    def hot(self, path: Path) -> set[str]:
        """The layers of which a file holds hot cells."""
        return {name for name, written in self._written[path].items() if written.hot is not None}

    def read(self, path: Path, names: list[str]) -> dict[str, Tensor]:
        """Some of the tensors in a file, unchecked."""
        return read_tensors(path, names)[0]

    def close(self) -> None:
        """Removes all files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
