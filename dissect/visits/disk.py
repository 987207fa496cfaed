"""Maps in temporary files, between visits."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from dissect.arguments import tell
from dissect.devices import checksum
from dissect.files.tensorfile import read_tensors
from dissect.files.tensors import save_file

#: How often a step is read again after the first visit: twice for thresholds, as a rule, and once for the counts.
VISITS = 3


class Disk:
    """Temporary files, as long as they pay."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._folder: Path | None = None
        self._checksums: dict[Path, dict[str, int]] = {}  # of each file's maps
        self._told = False
        self._bytes = self._seconds = 0.0  # written so far, and what writing once and reading `VISITS` times takes

    def write(self, index: int, maps: dict[str, Tensor], seconds: float) -> Path | None:
        """The file in which these maps are now; None if there is no room or computing, which took so long, is faster.

        The first file tells how fast the disk is, so it is written in any case.
        """
        size = sum(part.nbytes for part in maps.values())
        expected = size * self._seconds / self._bytes if self._bytes else 0.0
        if size > self._budget or expected > VISITS * seconds:
            return None
        folder = self._folder = self._folder or Path(tempfile.mkdtemp(prefix="dissect-"))
        path = folder / f"{index}.safetensors"
        begin = time.perf_counter()
        try:
            parts = {name: part.cpu().contiguous() for name, part in maps.items()}
            self._checksums[path] = {name: int(checksum(part)) for name, part in parts.items()}
            save_file(parts, path)
        except OSError as error:
            path.unlink(missing_ok=True)
            self._budget = 0
            tell(f"what is left is computed again at each visit, since {error}.")
            return None
        written = time.perf_counter()
        self.recover(path, list(maps))
        self._seconds += written - begin + VISITS * (time.perf_counter() - written)
        self._bytes += size
        self._budget -= size
        return path

    def recover(self, path: Path, names: list[str]) -> dict[str, Tensor] | None:
        """Some of the maps in a file; None, and a warning once, if it does not hold them as they were written."""
        try:
            maps, why = self.read(path, names), "has changed since it was written"
        except (OSError, SafetensorError, KeyError) as error:
            maps, why = {}, f"cannot be read: {error}"
        if len(maps) == len(names) and all(int(checksum(maps[name])) == self._checksums[path][name] for name in names):
            return maps
        if not self._told:
            tell(f"what the temporary file {path} held is computed again: it {why}.")
        self._told = True
        return None

    def read(self, path: Path, names: list[str]) -> dict[str, Tensor]:
        """Some of the maps in a file, unchecked."""
        return read_tensors(path, names)[0]

    def close(self) -> None:
        """Removes all files."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
