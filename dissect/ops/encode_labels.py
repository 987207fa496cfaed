"""encode_labels: what depends on the label planes alone, computed once per data set."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch._subclasses import FakeTensor

from dissect import reference
from dissect.devices import to_device
from dissect.ops import checks
from dissect.ops.dispatch import implementation, register
from dissect.ops.encoded import checked_labels
from dissect.ops.known import remember
from dissect.ops.native import LABEL_DTYPES

#: Tables hold labels as int32.
MOST_LABELS = 1 << 31


@dataclass(frozen=True)
class EncodedLabels:
    """Label planes in the form that every op takes. Made by `encode_labels`; its fields may change between versions.

    Fields that come from elsewhere are checked, so that kernels can trust them, which takes as long as to encode.

    The labels of a pixel in all planes are one combination of its image. The combinations are numbered as they first
    occur, row by row; number 0 is that without any label.

    Attributes:
        runs: [N, H, W]; the pixel's combination in the low bits, in the high ones the first column after x with another
            combination, or W. int32 with 17 low bits if H * W < 2^17 and W < 2^14, else int64 with 32.
        table: [T, K] int32, the labels of every combination, image after image, no label twice in a row.
        offsets: [N + 1] int64, where each image's combinations begin in the table.
        area: [N, C] int64, pixels that carry each label, 0 for label 0.

    Raises:
        TypeError: a field that is no plain tensor.
        ValueError: fields that are not what `encode_labels` gives; says what.
    """

    runs: Tensor
    table: Tensor
    offsets: Tensor
    area: Tensor

    def __post_init__(self) -> None:
        for field, value in zip(fields(self), checked_labels(self.runs, self.table, self.offsets, self.area)):
            object.__setattr__(self, field.name, value)
        self._remember()

    @classmethod
    def _trusted(cls, *values: Tensor) -> EncodedLabels:
        """Of fields that `encode_labels` just made."""
        labels = object.__new__(cls)
        for field, value in zip(_FIELDS, values):
            object.__setattr__(labels, field, value)
        labels._remember()
        return labels

    def _remember(self) -> None:
        remember(self.runs, self.table, self.offsets, facts=(self.num_labels,))

    def to(self, device: torch.device) -> EncodedLabels:
        """The same labels on a device."""
        if self.runs.device == device:
            return self
        return EncodedLabels._trusted(*(to_device(getattr(self, name), device) for name in _FIELDS))

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """[N, K, h, w] int32: the planes at some rows [h] and columns [w] alone, see `planes`."""
        device = self.runs.device
        runs = self.runs[:, rows.to(device)][..., columns.to(device)]
        return reference.decode_labels(runs, self.table, self.offsets)

    @property
    def planes(self) -> Tensor:
        """[N, K, H, W] int32: the planes again, but for labels that an earlier plane already says, which are 0."""
        return reference.decode_labels(self.runs, self.table, self.offsets)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.runs.shape[1], self.runs.shape[2]

    @property
    def num_labels(self) -> int:
        """C: labels lie in [0, C)."""
        return self.area.shape[1]

    def __len__(self) -> int:
        return self.runs.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))


_FIELDS = tuple(field.name for field in fields(EncodedLabels))


def encode_labels(planes: Tensor, num_labels: int, *, backend: str = "auto") -> EncodedLabels:
    """Checks label planes and prepares them for counting, once, however often they are counted.

    A pixel carries label c if any plane says c, and counts once for it. Label 0 is "no label", never a concept.

    Args:
        planes: [N, K, H, W] uint8, int16, int32 or int64 with values in [0, num_labels).
        num_labels: C, label 0 included.
        backend: "auto", "cpp", "triton" or "reference"; all give the same bits. A GPU is waited for, since how
            many combinations there are depends on the labels.

    Raises:
        TypeError: planes that are no plain tensor, or of another dtype; num_labels that is no integer.
        ValueError: another shape, num_labels below 1, or a label outside [0, num_labels); names the image.
        BackendUnavailableError: an explicit backend is not here.

    Example:
        >>> labels = dissect.ops.encode_labels(torch.tensor([[[[1, 1, 2]], [[2, 1, 0]]]]), num_labels=3)
        >>> labels.area  # column 0: planes 1 and 2; column 1: only 1; column 2: only 2
        tensor([[0, 2, 2]])
    """
    checks.backend("encode_labels", backend)
    num_labels = _check(planes, num_labels)
    return EncodedLabels._trusted(*torch.ops.dissect.encode_labels(planes, num_labels, backend))


class Encoding:
    """`encode_labels` in two steps, for those who do not wait for a GPU.

    The first looks for the combinations of labels there; when the `size` of the result has come to the CPU, `labels`
    writes it. On a CPU all is done in the second step.

    Args:
        planes: as of `encode_labels`; they must stay as they are until `labels` was called.
        num_labels: as of `encode_labels`.
        backend: as of `encode_labels`.

    Attributes:
        size: an integer tensor on the device of the planes.

    Example:
        >>> encoding = Encoding(torch.tensor([[[[1, 1, 2]], [[2, 1, 0]]]]), num_labels=3)
        >>> encoding.labels(encoding.size.cpu()).area
        tensor([[0, 2, 2]])
    """

    def __init__(self, planes: Tensor, num_labels: int, backend: str = "auto") -> None:
        self._planes, self._num_labels = planes, _check(planes, num_labels)
        self._found = implementation("encode_labels", backend, planes.device)(planes, self._num_labels)
        self.size: Tensor = self._found.size

    def labels(self, size: Tensor) -> EncodedLabels:
        """The labels, encoded; `size` is that of this encoding, on the CPU.

        Raises:
            ValueError: a label outside [0, num_labels); names the image.
        """
        return EncodedLabels._trusted(*self._fields(size))

    def _fields(self, size: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        planes, num_labels = self._planes, self._num_labels
        num_rows, out_of_range = size.tolist()
        if out_of_range:
            checks.labels("encode_labels", planes, num_labels)  # finds and names the first one
            raise RuntimeError("encode_labels: planes must not change while they are encoded, but did.")
        num_images, _, height, width = planes.shape
        runs = planes.new_empty((num_images, height, width), dtype=reference.run_dtype(height, width))
        label_area = planes.new_zeros((num_images, num_labels), dtype=torch.int64)
        return runs, *self._found.write(num_rows, runs, label_area), label_area


def _check(planes: Tensor, num_labels: int) -> int:
    """The number of labels."""
    checks.tensor("encode_labels", "planes", planes)
    checks.on_a_device("encode_labels", "planes", planes)
    if isinstance(planes, FakeTensor) and planes.fake_mode.shape_env is None:
        raise TypeError(
            "encode_labels: planes must hold values, since the result's size depends on them, but are fake."
        )
    if planes.dtype not in LABEL_DTYPES:
        raise TypeError(f"encode_labels: planes must be uint8, int16, int32 or int64, but got {planes.dtype}.")
    if planes.ndim != 4 or min(planes.shape[1:]) < 1:
        raise ValueError(
            f"encode_labels: planes must have shape [N, K, H, W] with K, H, W >= 1, but got {list(planes.shape)}."
        )
    count = checks.integer("encode_labels", "num_labels", num_labels, 1)
    if count > MOST_LABELS:
        raise ValueError(f"encode_labels: num_labels must be at most 2^31, since labels are int32, but got {count}.")
    return count


def _encode_labels(planes: Tensor, num_labels: int, backend: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    encoding = Encoding(planes, num_labels, backend)
    return encoding._fields(encoding.size.cpu())


def _shapes(planes: Tensor, num_labels: int, backend: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    num_images, num_planes, height, width = planes.shape
    rows = torch.library.get_ctx().new_dynamic_size()
    return (
        planes.new_empty((num_images, height, width), dtype=reference.run_dtype(height, width)),
        planes.new_empty((rows, num_planes), dtype=torch.int32),
        planes.new_empty((num_images + 1,), dtype=torch.int64),
        planes.new_empty((num_images, num_labels), dtype=torch.int64),
    )


register(
    "encode_labels(Tensor planes, int num_labels, str backend) -> (Tensor, Tensor, Tensor, Tensor)",
    _encode_labels,
    _shapes,
)
