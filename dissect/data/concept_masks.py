"""Masks of concepts as files, a sparse matrix each, as the code of compositional explanations keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dissect import extras
from dissect.arguments import integer, refusal, speaks
from dissect.concepts import Concepts
from dissect.data.batches import Batches
from dissect.data.planes import label_planes
from dissect.files.tensors import replacing

#: Of the files' names.
SUFFIX = ".npz"


@speaks
def write_concept_masks(
    folder: str | Path,
    data: Dataset[Any] | Iterable[Any],
    concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]],
    *,
    size: tuple[int, int] | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Writes the label planes of images as a mask per concept, for code that takes masks in the place of planes.

    The files are those of "Guaranteed Optimal Compositional Explanations for Neurons" (La Rosa & Gilpin 2026,
    aiea-lab/optimal-compositional-explanations, `utils/mask_utils.py`): `NAME.npz` of each concept, a scipy sparse
    matrix (CSR, bool) [N, H * W] whose row n says row by row where image n shows it. Their functions take these as
    `masks`, and what is returned here as `disjoint_info`. Those of the package compositional-explanations (0.0.3.4)
    take dense ones, ``torch.from_numpy(scipy.sparse.load_npz(path).toarray())``.

    The planes are visited once. Masks are gathered in a temporary folder, so that one is in memory at a time; what was
    interrupted has written none of them, or some whole, and begins anew.

    Args:
        folder: for the files; of the same names are replaced.
        data: (image, planes) as a Dataset, or an iterable of batches of such; images are not looked at.
        concepts: names of the labels, from 1 on.
        size: (H, W) of the masks, each pixel of which is the nearest of the planes' ("nearest" of
            `torch.nn.functional.interpolate`, as their code does it); the planes' own by default.
        batch_size: of a Dataset.

    Returns:
        [C - 1, C - 1] bool, in the order of the concepts: whether no pixel has both; False of a concept and itself.

    Raises:
        ImportError: scipy is missing (extra `experiments`).
        ValueError: no images; images without planes; planes of several sizes; a label outside the concepts; two
            concepts of one name, or a name that is no file's.

    Example:
        >>> import tempfile
        >>> data = [(torch.rand(2, 3, 2, 2), torch.tensor([[[[0, 1], [2, 2]]], [[[1, 1], [1, 1]]]]))]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     disjoint = write_concept_masks(folder, data, ["sky", "sea"])
        ...     planes, concepts = read_concept_masks(folder, (2, 2), names=["sky", "sea"])
        >>> disjoint.tolist(), concepts.names, planes[0].tolist()
        ([[False, True], [True, False]], ('-', 'sky', 'sea'), [[[0, 1], [2, 2]]])
    """
    extras.require("write_concept_masks", "experiments", "scipy.sparse")
    names = Concepts.of(concepts).names
    _check_names(names[1:])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    together = np.zeros((len(names), len(names)), dtype=bool)
    with TemporaryDirectory(prefix=".masks-", dir=folder) as kept:
        counts: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        shape: torch.Size | None = None
        for batch in Batches(data, integer("batch_size", batch_size)):
            planes = _planes_of(batch.planes, batch.images, len(counts), size, len(names))
            shape = shape or planes.shape[2:]
            if planes.shape[2:] != shape:
                got = f"batch {len(counts)} has another"
                raise refusal(ValueError(f"planes must be of one size, but {got}; give size=."))
            counts.append(_gather(Path(kept), planes.flatten(2).numpy(), together))
        if shape is None:
            raise refusal(ValueError("data must hold images, but held none."))
        pixels = np.concatenate(counts)
        for label, name in enumerate(names[1:], 1):
            _write(folder / f"{name}{SUFFIX}", Path(kept) / str(label), pixels[:, label], shape.numel())
    disjoint = ~together[1:, 1:]
    np.fill_diagonal(disjoint, False)
    return torch.from_numpy(disjoint)


@speaks
def read_concept_masks(
    folder: str | Path, size: tuple[int, int], *, names: Sequence[str] | None = None
) -> tuple[Tensor, Concepts]:
    """Reads masks that `write_concept_masks`, or the code that it names, has written, as label planes.

    Args:
        folder: of the files, `NAME.npz` each.
        size: (H, W) of the masks, which the files do not say.
        names: which concepts, in the order of their labels; all in the order of their names by default.

    Returns:
        planes [N, K, H, W] int32, with as many planes K as masks overlap; and the concepts. With images in the same
        order they are a data set: ``torch.utils.data.TensorDataset(images, planes)``.

    Raises:
        ImportError: scipy is missing (extra `experiments`).
        FileNotFoundError: no such file, or none at all.
        ValueError: no sparse matrices of 0 and 1, or of other shapes; says which.

    Example: see `write_concept_masks`.
    """
    extras.require("read_concept_masks", "experiments", "scipy.sparse")
    height, width = (integer(name, side) for name, side in zip(("rows", "columns"), size))
    folder = Path(folder)
    found = sorted(path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}")) if names is None else [*names]
    if not found:
        raise refusal(
            FileNotFoundError(f"folder must hold masks, NAME{SUFFIX} of each concept, but {folder} has none.")
        )
    _check_names(found)
    planes: list[np.ndarray[Any, np.dtype[np.int32]]] = []
    images = -1
    for label, name in enumerate(found, 1):
        rows, at = _read(folder / f"{name}{SUFFIX}", height * width, images)
        images = rows
        for plane in planes:
            free = plane[at] == 0
            plane[at[free]] = label
            at = at[~free]
        if len(at):
            planes.append(np.zeros(images * height * width, dtype=np.int32))
            planes[-1][at] = label
    planes = planes or [np.zeros(images * height * width, dtype=np.int32)]
    stacked = np.stack([plane.reshape(images, height, width) for plane in planes], 1)
    return torch.from_numpy(stacked), Concepts.of(found)


def _check_names(names: Sequence[str]) -> None:
    if len({*names}) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise refusal(ValueError(f"concepts must have different names, as their files do, but two are {twice!r}."))
    for name in names:
        if not name or name.startswith(".") or any(sign in name for sign in ("/", "\\", "\0")):
            raise refusal(ValueError(f"concepts must have names that files can have, but one is {name!r}."))


def _planes_of(planes: Any, images: Tensor, batch: int, size: tuple[int, int] | None, num_labels: int) -> Tensor:
    """[N, K, H, W] int64 of a batch, at the masks' size."""
    if not isinstance(planes, Tensor):
        raise refusal(ValueError(f"data must have label planes, but batch {batch} comes without."))
    planes = label_planes(planes, images, batch)
    if planes.ndim != 4 or planes.is_floating_point() or not planes.numel():
        raise refusal(
            ValueError(f"planes of batch {batch} must be integers [N, K, H, W], but are {list(planes.shape)}.")
        )
    low, high = (int(end) for end in planes.aminmax())
    if low < 0 or high >= num_labels:
        raise refusal(
            ValueError(f"planes must hold labels in [0, {num_labels}), but batch {batch} has {low} to {high}.")
        )
    if size is not None:  # exact, as labels lie below 2^20
        planes = torch.nn.functional.interpolate(planes.float(), size, mode="nearest")
    whole: Tensor = planes.long().cpu()
    return whole


def _gather(
    folder: Path, planes: np.ndarray[Any, Any], together: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Appends where each label is to its file, notes which come together, and gives [N, C] pixels of each."""
    number, depth, _ = planes.shape
    num_labels = len(together)
    for one in range(depth):
        for other in range(one + 1, depth):
            pairs = np.unique(planes[:, one] * num_labels + planes[:, other])
            together[pairs // num_labels, pairs % num_labels] = True
            together[pairs % num_labels, pairs // num_labels] = True
    counts = np.zeros((number, num_labels), dtype=np.int64)
    for label in np.unique(planes).tolist():
        carries = (planes == label).any(1)
        counts[:, label] = carries.sum(1)
        if label:
            with (folder / str(label)).open("ab") as file:
                carries.nonzero()[1].astype(np.int32).tofile(file)
    return counts


def _write(path: Path, gathered: Path, pixels: np.ndarray[Any, Any], area: int) -> None:
    from scipy import sparse

    columns = np.fromfile(gathered, dtype=np.int32) if gathered.exists() else np.zeros(0, dtype=np.int32)
    begins = np.concatenate([[0], pixels.cumsum()])
    mask = sparse.csr_matrix((np.ones(len(columns), dtype=bool), columns, begins), shape=(len(pixels), area))
    with replacing(path) as partial, partial.open("wb") as file:
        sparse.save_npz(file, mask)


def _read(path: Path, area: int, images: int) -> tuple[int, np.ndarray[Any, Any]]:
    """How many images a mask has, and where it is 1 in all of them, one after the other."""
    from scipy import sparse

    if not path.is_file():
        raise refusal(FileNotFoundError(f"folder must hold {path.name}, but {path.parent} does not."))
    try:
        with path.open("rb") as file:
            mask = sparse.load_npz(file)  # which takes no pickled objects
    except Exception as error:  # numpy, zipfile and scipy raise many kinds of a file that is none
        raise refusal(ValueError(f"{path} must be a scipy sparse matrix, but cannot be read: {error}")) from error
    if mask.format != "csr" or mask.dtype.kind not in "bui" or mask.ndim != 2:
        raise refusal(ValueError(f"{path} must be a CSR matrix of bool, but is {mask.format} of {mask.dtype}."))
    rows, columns = mask.shape
    if columns != area or rows < 1 or images not in (-1, rows):
        wanted = f"[{'N' if images < 0 else images}, {area}]"
        raise refusal(
            ValueError(f"{path} must have shape {wanted}, images and their pixels, but has {[rows, columns]}.")
        )
    begins, at = mask.indptr.astype(np.int64), mask.indices.astype(np.int64)
    whole = len(begins) == rows + 1 and begins[0] == 0 and begins[-1] == len(at) == len(mask.data)
    if not whole or (np.diff(begins) < 0).any() or ((at < 0) | (at >= area)).any() or (mask.data.astype(int) > 1).any():
        raise refusal(ValueError(f"{path} must hold 0 and 1 at places within its shape, but does not."))
    found = np.repeat(np.arange(rows), np.diff(begins)) * area + at
    return rows, np.unique(found[mask.data.astype(bool)])
