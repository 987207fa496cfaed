"""Results as files: what a method found, in one file that says of which kind it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from dissect.files.checked import named
from dissect.files.tensors import bytes_of, kind_of, load_tensors, save_tensors, tensors_of, with_suffix

R = TypeVar("R", bound="Result")

#: The classes of results that are imported, by the kind of their files.
KINDS: dict[str, type[Result]] = {}


class Result:
    """What a method found, as tensors and JSON.

    A subclass has `kind`, `suffix` and the methods `contents` and `from_contents`, each the other's inverse; `version`
    grows with a layout that earlier versions of the library cannot read. `dissect.load` then reads its files too.

    Example:
        >>> import tempfile
        >>> from dissect.files.checked import Array, fields
        >>> class Brightness(Result):
        ...     kind, suffix = "brightness", ".brightness"
        ...     def __init__(self, means):
        ...         self.means = means
        ...     def contents(self):
        ...         return {"means": self.means}, {}
        ...     @classmethod
        ...     def from_contents(cls, what, tensors, meta):
        ...         fields(what, tensors, {"means": Array(torch.float32, "N", 0, 1)})
        ...         return cls(tensors["means"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Brightness(torch.ones(2)).save(f"{folder}/photos")
        ...     path.name, dissect.load(path).means
        ('photos.brightness', tensor([1., 1.]))
    """

    #: What files of this class hold, by name; no other class has it.
    kind: ClassVar[str]
    #: The version of their layout.
    version: ClassVar[int] = 1
    #: The suffix of their names.
    suffix: ClassVar[str]

    def __init_subclass__(cls) -> None:
        KINDS[cls.kind] = cls

    def contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that is saved: tensors by name, and what JSON can hold."""
        raise NotImplementedError

    @classmethod
    def from_contents(cls: type[R], what: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> R:
        """The result that has these contents, of this or an earlier version; `what` names them in messages.

        Raises:
            ValueError: it holds what cannot be.
        """
        raise NotImplementedError

    def save(self, path: str | Path) -> Path:
        """Writes the result to one file, whole or not at all; the suffix of its kind is added where it is missing.

        Returns:
            The file's path.
        """
        return save_tensors(with_suffix(path, self.suffix), self.kind, self.version, *self.contents())

    @classmethod
    def load(cls: type[R], path: str | Path) -> R:
        """Reads what `save` wrote; the suffix may be left out.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a damaged file, another kind of file, a newer version, or content that cannot be; names the
                file.
        """
        path = Path(path) if Path(path).is_file() else with_suffix(path, cls.suffix)
        tensors, meta = load_tensors(path, cls.kind, cls.version)
        with named(path):
            return cls.from_contents(str(path), tensors, meta)


def data_of(result: Result) -> bytes:
    """The bytes of the file that `Result.save` would write."""
    return bytes_of(result.kind, result.version, *result.contents())


def result_of(kind: type[R], what: str, data: bytes) -> R:
    """The result in the bytes of a file that `Result.save` wrote; `what` names them in messages.

    Raises:
        ValueError: see `Result.load`.
    """
    tensors, meta = tensors_of(what, data, kind.kind, kind.version)
    with named(what):
        return kind.from_contents(what, tensors, meta)


def load_any(path: str | Path, usual: type[Result]) -> Result:
    """Reads a result of any class that is imported; `usual` is meant where a name without suffix has files of several.

    Raises:
        FileNotFoundError: no such file, with or without a suffix.
        ValueError: see `Result.load`; a file that holds no result; a name that has files of several kinds.
    """
    path = Path(path)
    named_so = {with_suffix(path, kind.suffix) for kind in KINDS.values()}
    found = [path] if path.is_file() else sorted(each for each in named_so if each.is_file())
    if not found:
        suffixes = ", ".join(sorted(kind.suffix for kind in KINDS.values()))
        raise FileNotFoundError(f"there is no file {path}, nor one with the suffix of a result: {suffixes}.")
    if len(found) > 1:
        found = [each for each in found if each.suffix == usual.suffix] or found
    if len(found) > 1:
        raise ValueError(f"{path} must name one file, but there are {', '.join(map(str, found))}; give one of them.")
    kind = kind_of(found[0])
    if kind not in KINDS:
        raise ValueError(f"{found[0]} must hold a result ({', '.join(KINDS)}), but holds {kind or 'something else'}.")
    return KINDS[kind].load(found[0])
