"""Where the cells of maps lie in the image, followed through the operations of a forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from os.path import commonprefix
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from dissect.network.tracking import argument_of


class Field(NamedTuple):
    """Receptive fields along one axis, in pixels of the image: cell i sees `size` of them, from `offset + i step` on.

    Attributes:
        size: pixels that a cell sees.
        offset: the first of them of cell 0; negative in a padding.
        step: from one cell to the next.
    """

    size: int
    offset: int
    step: int

    @property
    def centre(self) -> float:
        """Of cell 0; that of cell i lies `i step` further on."""
        return self.offset + (self.size - 1) / 2

    def over(self, kernel: int, stride: int, padding: int, dilation: int) -> Field:
        """After a convolution or pooling, whose cells see what the cells under their window see."""
        reach = (kernel - 1) * dilation * self.step
        return Field(self.size + reach, self.offset - padding * self.step, self.step * stride)

    def around(self, other: Field) -> Field | None:
        """What encloses both, if they have the same centres; else None."""
        if (self.centre, self.step) != (other.centre, other.step):
            return None
        return self if self.size >= other.size else other


class CellPlaces(NamedTuple):
    """Where the cells of a tensor lie.

    Attributes:
        fields: of its rows and of its columns.
        axes: of the tensor, along which rows and columns lie.
        path: the modules that moved or widened the fields.
    """

    fields: tuple[Field, Field]
    axes: tuple[int, int]
    path: tuple[str, ...]


class Lost(NamedTuple):
    """The cells of a tensor lie nowhere in particular; says why."""

    why: str


#: Of what depends on the image as a whole, as a squeeze-and-excitation gate: it moves no cell that it is joined with.
EVERYWHERE = Lost("it is an average over all places")
Known = CellPlaces | Lost


class PlaceTracker(TorchDispatchMode):
    """Within a ``with`` block, knows of each tensor that comes of the images where its cells lie, or why that is lost.

    Convolutions and poolings move and widen receptive fields; operations on each number alone, normalisations and
    permutations keep them. Where ways meet, in sums and concatenations, all must have the same centres, and the field
    is the largest of theirs. After any other operation the places are lost.

    Args:
        images: [N, C, H, W], whose cells are the pixels.
        where: gives the name of the module that runs, for messages.
    """

    def __init__(self, images: Tensor, where: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._where, self._known = where, WeakTensorKeyDictionary()
        self._known[images] = CellPlaces((Field(1, 0, 1), Field(1, 0, 1)), (2, 3), ())

    def of(self, tensor: Tensor) -> Known | None:
        """What is known of a tensor; None of one that does not come of the images."""
        known: Known | None = self._known.get(tensor)
        return known

    def keep(self, given: Any, output: Any) -> None:
        """Tells that a module worked on the last axis alone, as a linear layer does, at each place."""
        known = self.of(given) if isinstance(given, Tensor) else None
        if isinstance(known, CellPlaces) and isinstance(output, Tensor) and given.shape[:-1] == output.shape[:-1]:
            if given.ndim - 1 not in known.axes:
                self._known[output] = known

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation, and follows the places through it."""
        call = _Operation(func, args, kwargs or {})
        # Looked up, and shapes kept, before: an operation in place changes what its input holds.
        operands = [
            (part.shape, self.of(part)) for part in tree_leaves((args, call.kwargs)) if isinstance(part, Tensor)
        ]
        output = func(*args, **call.kwargs)
        for part in tree_leaves(output):
            if isinstance(part, Tensor) and any(known is not None for _, known in operands):
                self._known[part] = self._followed(call, operands, part)
        return output

    def _followed(self, call: _Operation, operands: list[tuple[torch.Size, Known | None]], output: Tensor) -> Known:
        placed: list[tuple[torch.Size, CellPlaces]] = []
        for shape, known in operands:
            if isinstance(known, CellPlaces):
                placed.append((shape, known))
            elif known is not None and known is not EVERYWHERE:
                return known
        if not placed:
            return EVERYWHERE
        found = call.followed(placed, output)
        if found is None:
            return Lost(f"{call.name} in {self._where()!r} has no receptive fields that are known")
        if isinstance(found, CellPlaces) and len(placed) == 1 and found.fields != placed[0][1].fields:
            return found._replace(path=(*found.path, self._where()))
        return found


class _Operation(NamedTuple):
    """An operation with what it was given."""

    func: Any
    args: Any
    kwargs: Any

    @property
    def name(self) -> str:
        name: str = self.func._overloadpacket.__name__
        return name

    def argument(self, name: str, default: Any = None) -> Any:
        """What it was given under this name."""
        found = argument_of(self.func, self.args, self.kwargs, name)
        return default if found is None else found

    def pair(self, name: str, default: int) -> Sequence[int]:
        """An argument for rows and for columns; the default for what was given empty, as poolings' strides are."""
        value = self.argument(name, default)
        if isinstance(value, int):
            return (value, value)
        found = list(value) or [default]
        return found * 2 if len(found) == 1 else found

    def followed(self, placed: list[tuple[torch.Size, CellPlaces]], output: Tensor) -> Known | None:
        """Where the output's cells lie; None if no rule says it."""
        shape, first = placed[0]
        if self.name in _RULES:
            return _RULES[self.name](self, shape, first, output) if len(placed) == 1 else None
        if self.name == "cat" and self.argument("dim", 0) % output.ndim in first.axes:
            return None
        if self.name not in _KEEPING and torch.Tag.pointwise not in self.func.tags:
            return None
        joined: Known | None = _kept(shape, first, output)
        for shape, other in placed[1:]:
            joined = _joined(joined, _kept(shape, other, output))
        return joined


def _kept(shape: torch.Size, places: CellPlaces, output: Tensor) -> CellPlaces | None:
    """At each place alone: the same, if all its cells are still there."""
    axes = tuple(axis + output.ndim - len(shape) for axis in places.axes)
    if min(axes) < 0 or [output.shape[axis] for axis in axes] != [shape[axis] for axis in places.axes]:
        return None
    return places._replace(axes=(axes[0], axes[1]))


def _joined(one: Known | None, other: CellPlaces | None) -> Known | None:
    """Of two ways that meet."""
    if not isinstance(one, CellPlaces) or other is None or one.axes != other.axes:
        return one if isinstance(one, Lost) else None
    rows, columns = (here.around(there) for here, there in zip(one.fields, other.fields))
    if rows is None or columns is None:
        return Lost(_disagreement(one, other, 0 if rows is None else 1))
    return one._replace(fields=(rows, columns))


def _disagreement(one: CellPlaces, other: CellPlaces, axis: int) -> str:
    """Names two ways from where they part, and the centres that each gives."""
    shared = len(commonprefix([one.path, other.path]))
    ways = []
    for way in (one, other):
        names = ", ".join(map(repr, way.path[shared:])) or "no module that moves them"
        ways.append(f"by {names} they lie at {way.fields[axis].centre:g} + {way.fields[axis].step} i")
    return f"two ways from the image give other centres of the cells' {('rows', 'columns')[axis]}: " + ", ".join(ways)


def _windowed(call: _Operation, shape: torch.Size, places: CellPlaces, output: Tensor) -> CellPlaces | None:
    """A convolution, or a pooling, whose stride is its window if none is given."""
    weight = call.argument("weight")
    padding = call.argument("padding", 0)
    if call.argument("transposed", False) or isinstance(padding, str) or places.axes != _last(shape):
        return None
    windows = call.pair("kernel_size", 1) if weight is None else weight.shape[-2:]
    fields = [
        field.over(
            windows[axis],
            call.pair("stride", 1 if weight is not None else windows[axis])[axis],
            call.pair("padding", 0)[axis],
            call.pair("dilation", 1)[axis],
        )
        for axis, field in enumerate(places.fields)
    ]
    return places._replace(fields=(fields[0], fields[1]))


def _adapted(call: _Operation, shape: torch.Size, places: CellPlaces, output: Tensor) -> Known | None:
    """A pooling to a given size: of all places to one, or with equal windows."""
    if places.axes != _last(shape):
        return None
    windows = [shape[axis] / output.shape[axis] for axis in places.axes]
    if list(output.shape[-2:]) == [1, 1]:
        return EVERYWHERE
    if any(window != int(window) for window in windows):
        return None
    rows, columns = (field.over(int(w), int(w), 0, 1) for field, w in zip(places.fields, windows))
    return places._replace(fields=(rows, columns))


def _padded(call: _Operation, shape: torch.Size, places: CellPlaces, output: Tensor) -> CellPlaces | None:
    """Sides are given from the last axis on, (before, after) each."""
    sides = call.argument("pad") or call.argument("padding")
    before = [sides[2 * place] if 2 * place < len(sides) else 0 for place in (len(shape) - 1 - a for a in places.axes)]
    rows, columns = (field.over(1, 1, pad, 1) for field, pad in zip(places.fields, before))
    return places._replace(fields=(rows, columns))


def _sliced(call: _Operation, shape: torch.Size, places: CellPlaces, output: Tensor) -> CellPlaces | None:
    """Every so manyth cell, from one on."""
    dim = call.argument("dim", 0) % len(shape)
    if dim not in places.axes:
        return places
    start, fields = call.argument("start") or 0, list(places.fields)
    start = min(max(start + (shape[dim] if start < 0 else 0), 0), shape[dim])
    fields[places.axes.index(dim)] = fields[places.axes.index(dim)].over(1, call.argument("step", 1), -start, 1)
    return places._replace(fields=(fields[0], fields[1]))


def _permuted(call: _Operation, shape: torch.Size, places: CellPlaces, output: Tensor) -> CellPlaces | None:
    """Axes in another order."""
    order = list(range(len(shape)))
    if call.name == "permute":
        order = [dim % len(shape) for dim in call.argument("dims")]
    else:
        one, other = (call.argument(name) % len(shape) for name in ("dim0", "dim1"))
        order[one], order[other] = other, one
    rows, columns = (order.index(axis) for axis in places.axes)
    return places._replace(axes=(rows, columns))


def _viewed(call: _Operation, shape: torch.Size, places: CellPlaces, output: Tensor) -> CellPlaces | None:
    """Another shape, in which there is an axis of the same size, with as many numbers behind it."""
    axes = []
    for axis in places.axes:
        behind = math.prod(shape[axis + 1 :])
        same = [
            a
            for a in range(output.ndim)
            if output.shape[a] == shape[axis] and math.prod(output.shape[a + 1 :]) == behind
        ]
        if not same:
            return None
        # Of axes of one cell several may serve: the one that is as far from the end.
        axes.append(min(same, key=lambda a: abs((output.ndim - a) - (len(shape) - axis))))
    return places._replace(axes=(axes[0], axes[1])) if axes[0] != axes[1] else None


def _averaged(call: _Operation, shape: torch.Size, places: CellPlaces, output: Tensor) -> Known | None:
    """Over axes: none of the places' two, or both."""
    over = call.argument("dim")
    dims = set(range(len(shape))) if over is None or over == [] else {over} if isinstance(over, int) else set(over)
    dims = {dim % len(shape) for dim in dims}
    inside = dims & set(places.axes)
    if len(inside) == 2:
        return EVERYWHERE
    if inside:
        return None
    if output.ndim == len(shape):
        return places
    rows, columns = (axis - sum(dim < axis for dim in dims) for axis in places.axes)
    return places._replace(axes=(rows, columns))


def _unshuffled(call: _Operation, shape: torch.Size, places: CellPlaces, output: Tensor) -> CellPlaces | None:
    """Squares of pixels become the units of one cell."""
    side = call.argument("downscale_factor")
    rows, columns = (field.over(side, side, 0, 1) for field in places.fields)
    return places._replace(fields=(rows, columns)) if places.axes == _last(shape) else None


def _last(shape: torch.Size) -> tuple[int, int]:
    return len(shape) - 2, len(shape) - 1


_Rule = Callable[[_Operation, torch.Size, CellPlaces, Tensor], Known | None]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(("convolution", "_convolution", "conv2d", "mkldnn_convolution"), _windowed),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices", "avg_pool2d", "mkldnn_max_pool2d"), _windowed),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"), _adapted),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _padded),
    **dict.fromkeys(("permute", "transpose", "transpose_"), _permuted),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unsqueeze", "squeeze"), _viewed),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "var", "std", "linalg_vector_norm", "logsumexp"), _averaged),
    "slice": _sliced,
    "pixel_unshuffle": _unshuffled,
}
#: Beside what torch calls pointwise. A normalisation over places is a gate, as an average is: it moves no cell.
_KEEPING = {
    "cat", "clone", "contiguous", "alias", "detach", "_to_copy", "to", "lift_fresh", "copy_", "native_dropout",
    "dropout", "batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "_batch_norm_no_update",
    "cudnn_batch_norm", "native_group_norm", "group_norm", "instance_norm", "_native_batch_norm_legit",
    "native_layer_norm", "layer_norm", "rms_norm", "_fused_rms_norm", "_softmax", "softmax", "_log_softmax", "gelu_",
    "hardswish_", "blend_units", "prelu", "_prelu_kernel", "split", "split_with_sizes", "chunk",
}  # fmt: skip
