"""Which cell of the image each number of a tensor belongs to, followed through the operations of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from types import EllipsisType, NoneType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from dissect.network.tracking import LAYER_NORMS, MOVES, POINTWISE, PRODUCTS, REDUCTIONS, argument_of

#: Of a number that no cell of the image has, as those of class tokens.
NOWHERE = -1
#: Cells are numbered by row and column: the row in the upper bits.
_ROW = 1 << 16
#: Operations on maps [N, U, h, w] that give others, whose cells lie in the same order.
_OF_MAPS = {
    "convolution", "_convolution", "mkldnn_convolution", "conv2d", "conv_transpose2d", "max_pool2d", "avg_pool2d",
    "max_pool2d_with_indices", "mkldnn_max_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool2d",
    "adaptive_max_pool2d", "upsample_nearest2d", "upsample_bilinear2d", "_upsample_bilinear2d_aa", "upsample_bicubic2d",
    "_upsample_nearest_exact2d", "reflection_pad2d", "replication_pad2d", "pixel_shuffle", "pixel_unshuffle",
}  # fmt: skip
#: Those that leave each number at its cell, beside what torch calls pointwise.
_KEEPING = {
    *POINTWISE, *LAYER_NORMS, "batch_norm", "native_batch_norm", "_native_batch_norm_legit", "cudnn_batch_norm",
    "_native_batch_norm_legit_no_training", "_batch_norm_with_update", "_batch_norm_no_update", "group_norm",
    "native_group_norm", "instance_norm", "_softmax", "_safe_softmax", "softmax", "_log_softmax", "log_softmax",
    "native_dropout", "blend_units", "_native_multi_head_attention", "_transformer_encoder_layer_fwd",
}  # fmt: skip
_MOVING = (MOVES | {"gather", "constant_pad_nd", "im2col", "col2im"}) - _OF_MAPS
#: What may put cells in another order, of tensors of three axes or more; an index with tensors or lists may, too.
_ORDERING = {
    "permute", "transpose", "transpose_", "movedim", "moveaxis", "swapaxes", "swapdims", "flip", "fliplr", "flipud",
    "roll", "rot90", "index_select", "gather", "take", "take_along_dim", "unfold", "fold", "as_strided", "view",
    "reshape", "unflatten", "view_as", "reshape_as", "einsum",
}  # fmt: skip
_TURNED = (Tensor.T.__get__, Tensor.mT.__get__, Tensor.H.__get__, Tensor.mH.__get__)  # type: ignore[attr-defined]


class MoveWatch(TorchFunctionMode):
    """Within a ``with`` block, sees whether anything was called that may put cells in another order.

    What is compiled runs as it would without (a `TorchDispatchMode` would end that for good). What compiled or scripted
    code does within is not seen.

    Attributes:
        moved: whether there was, so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.moved = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Calls a function of torch, and looks at its name."""
        kwargs = kwargs or {}
        if not self.moved and (getattr(func, "__name__", "") in _ORDERING or func in _TURNED or _picks(func, args)):
            parts = tree_leaves((args, kwargs))
            self.moved = any(isinstance(part, Tensor) and part.ndim >= 3 for part in parts)
        return func(*args, **kwargs)


def _picks(func: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    """Whether this is an index of more than numbers and slices, whose steps are never negative."""
    if func is not Tensor.__getitem__:
        return False
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    return not all(isinstance(part, (int, slice, EllipsisType, NoneType)) for part in index)


class CellTracker(TorchDispatchMode):
    """Within a ``with`` block, knows which cell of the images each number of a tensor belongs to, where that is sure.

    Cells of maps are numbered as convolutions, poolings and interpolations give them, row by row. What moves numbers
    moves their cells; a product with weights, a normalisation and a residual sum keep them, and so do convolutions and
    poolings of maps whose cells are in another order; in attention those of the queries stay. After any other operation
    nothing is known. Nothing that is computed changes.

    Example:
        >>> conv, images = torch.nn.Conv2d(3, 5, 2, 2), torch.rand(1, 3, 4, 6)
        >>> with CellTracker() as tracker:
        ...     tracker.begin(images)
        ...     tokens = conv(images).flatten(2).transpose(1, 2)
        >>> cells = tracker.of(tokens)[0, :, 0]
        >>> in_order(cells.view(2, 3)), in_order(cells.view(3, 2)), in_order(cells.flip(0).view(2, 3))
        (True, False, False)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._cells = WeakTensorKeyDictionary()  # by tensor: [shape] int32

    def begin(self, inputs: Any) -> None:
        """Tells that these are images [N, C, H, W], however nested; of others, as [N, H, W, 3], nothing is known."""
        for part in tree_leaves(inputs):
            if isinstance(part, Tensor) and are_images(part):
                self._cells[part] = _of_maps(part)

    def of(self, tensor: Tensor) -> Tensor | None:
        """[shape] int32: a number for each cell, `NOWHERE` where there is none; None if nothing is known."""
        cells: Tensor | None = self._cells.get(tensor)
        return cells

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation, and follows the cells through it."""
        kwargs = kwargs or {}
        # Looked up before: an operation in place changes what its input holds.
        operands = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
        known = {id(part): cells for part in operands if (cells := self._cells.get(part)) is not None}
        output = func(*args, **kwargs)
        for place, part in enumerate(output if isinstance(output, (tuple, list)) else [output]):
            if isinstance(part, Tensor):
                cells = _follow(func, args, kwargs, place, part, known) if known else None
                if cells is not None and cells.shape == part.shape and _tells(cells):
                    self._cells[part] = cells
                elif part in self._cells:
                    del self._cells[part]
        return output


def are_images(inputs: Tensor) -> bool:
    """Whether these are taken for images [N, C, H, W], whose cells can be followed; z and [N, H, W, 3] are not.

    Example:
        >>> are_images(torch.rand(2, 3, 8, 8)), are_images(torch.rand(2, 512, 1, 1)), are_images(torch.rand(2, 512))
        (True, False, False)
    """
    return inputs.is_floating_point() and inputs.ndim == 4 and (inputs.shape[1] <= 4 or inputs.shape[3] > 4)


def in_order(cells: Tensor) -> bool:
    """Whether cells [h, w], or all of [..., h, w], are rows and columns of the image: left to right, and downwards."""
    rows, columns = cells // _ROW, cells % _ROW
    lined = bool((rows == rows[..., :1]).all()) and bool((columns == columns[..., :1, :]).all())
    return lined and bool((rows.diff(dim=-2) >= 0).all()) and bool((columns.diff(dim=-1) >= 0).all())


def out_of_order(cells: Tensor) -> str | None:
    """Where cells [h, w] are not rows and columns of the image, in words; None where they are, or nothing is known."""
    if int(cells.max()) < 0 or (int(cells.min()) >= 0 and in_order(cells)):
        return None
    rows, columns = cells // _ROW, cells % _ROW
    wrong = (rows != rows[:, :1]) | (columns != columns[:1]) | (cells < 0)
    wrong[1:] |= rows.diff(dim=0) < 0
    wrong[:, 1:] |= columns.diff(dim=1) < 0
    at = int(wrong.flatten().int().argmax())
    row, column = divmod(at, cells.shape[1])
    where = f"what is read as row {row}, column {column} is"
    if int(cells[row, column]) < 0:
        return f"{where} no cell of the image, as class tokens and padding are"
    of_image = f"row {int(rows[row, column])}, column {int(columns[row, column])} of its cells"
    return f"{where} {of_image}, and the first is row {int(rows[0, 0])}, column {int(columns[0, 0])}"


def _of_maps(maps: Tensor) -> Tensor:
    rows, columns = (torch.arange(size, dtype=torch.int32, device=maps.device) for size in maps.shape[-2:])
    return (rows[:, None] * _ROW + columns).expand(maps.shape).contiguous()


def _tells(cells: Tensor) -> bool:
    """Whether there are two cells or more: of one place, as of a gate, no order could be wrong."""
    return bool(cells.numel()) and int(cells.max()) > max(int(cells.min()), 0)


def _follow(func: Any, args: Any, kwargs: Any, place: int, output: Tensor, known: dict[int, Tensor]) -> Tensor | None:
    """The cells of an operation's output, or of one of several."""
    name = func._overloadpacket.__name__
    first = known.get(id(args[0])) if args and isinstance(args[0], Tensor) else None
    if name in _MOVING:
        return _moved(func, args, kwargs, place, output, known)
    if place > 0:
        return None  # statistics, indices
    if name in _OF_MAPS:
        return _of_other_maps(func, args, kwargs, first, output)
    if name in PRODUCTS:
        one, other = (known.get(id(args[place])) for place in (PRODUCTS[name] - 1, PRODUCTS[name]))
        return _product(one, other, output)
    if name == "linear" or name.startswith(("_scaled_dot_product", "scaled_dot_product")):
        return _of_rows(first, output)
    if name in REDUCTIONS and torch.Tag.pointwise not in func.tags and argument_of(func, args, kwargs, "other") is None:
        return _reduced(first, argument_of(func, args, kwargs, "dim"), output)
    if torch.Tag.pointwise in func.tags or name in _KEEPING or name in REDUCTIONS:
        operands = [known.get(id(part)) for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
        return _agreed([cells for cells in operands if cells is not None and cells.shape == output.shape])
    return None


def _moved(func: Any, args: Any, kwargs: Any, place: int, output: Tensor, known: dict[int, Tensor]) -> Tensor | None:
    """The same operation on the cells' numbers; what has none is nowhere."""
    name = func._overloadpacket.__name__
    if name in ("_to_copy", "to", "contiguous", "alias", "lift_fresh", "detach_"):
        return known.get(id(args[0]))

    def numbers(part: Any) -> Any:
        if not isinstance(part, Tensor):
            return part
        cells = known.get(id(part))
        found = torch.full(part.shape, NOWHERE, dtype=torch.int32, device=part.device) if cells is None else cells
        return found.clone() if name.endswith("_") else found  # those of another tensor must not move with it

    if name in ("im2col", "col2im"):
        return _of_windows(func, args, kwargs, known.get(id(args[0])))
    put = [tree_map(numbers, args[0]), *args[1:]]
    if name == "constant_pad_nd":
        put = [put[0], args[1], NOWHERE]
    try:
        found = getattr(func._overloadpacket, func._overloadname)(
            *put, **{key: value for key, value in kwargs.items() if key != "memory_format"}
        )
    except RuntimeError:  # what is not made for integers
        return None
    found = found[place] if isinstance(found, (tuple, list)) else found
    return found.contiguous() if isinstance(found, Tensor) else None


def _of_windows(func: Any, args: Any, kwargs: Any, cells: Tensor | None) -> Tensor | None:
    """Of maps cut into windows, each place's own; of windows put back, where no two of them meet."""
    if cells is None:
        return None
    if func._overloadpacket.__name__ == "col2im":
        kernel, dilation, padding, stride = (argument_of(func, args, kwargs, name) for name in _WINDOW)
        if list(kernel) != list(stride) or {*dilation} != {1} or {*padding} != {0}:
            return None
    # Made for floats alone, of which doubles hold these numbers; from 1 on, since what they leave free is 0.
    found: Tensor = func((cells + 1).double(), *args[1:], **kwargs)
    return found.int() - 1


_WINDOW = ("kernel_size", "dilation", "padding", "stride")


def _of_other_maps(func: Any, args: Any, kwargs: Any, first: Tensor | None, output: Tensor) -> Tensor | None:
    """Of maps whose cells lie in order, or all in another; of tokens [N, U, T] only where each is looked at alone."""
    weight = argument_of(func, args, kwargs, "weight")
    if first is None:
        return None
    if first.ndim == 3 and output.ndim == 3 and weight is not None and weight.shape[2:].numel() == 1:
        each = first.amin(1, keepdim=True)
        return each.expand(output.shape).contiguous() if each.shape[2] == output.shape[2] else None
    if first.ndim != 4 or output.ndim != 4 or int(first.min()) < 0:
        return None  # of padding a convolution sees what lies beside it
    if in_order(first) and bool((first == first[:1]).all()):
        return _of_maps(output)
    alike = bool((first == first[:, :1]).all())  # the units; windows that lie side by side as images are not
    if not alike and (weight is not None or first.shape[1] != output.shape[1]):
        return None  # a convolution mixes what lies in several orders
    # Each cell's own, or that of the one which lies there in a map of another size.
    at = [torch.arange(new, device=first.device) * old // new for old, new in zip(first.shape[2:], output.shape[2:])]
    found = first[:, : 1 if alike else None, at[0]][..., at[1]]
    return found.expand(output.shape).contiguous()


def _of_rows(rows: Tensor | None, output: Tensor) -> Tensor | None:
    """What is computed of the last axis alone: the first cell of it, as of the pixels of a patch."""
    if rows is None or rows.ndim != output.ndim or rows.shape[:-1] != output.shape[:-1]:
        return None
    return rows.amin(-1, keepdim=True).expand(output.shape).contiguous()


def _product(one: Tensor | None, other: Tensor | None, output: Tensor) -> Tensor | None:
    """Of rows times weights, or of two of places, as queries times keys, those of the rows; else of the columns."""
    if one is not None and (other is None or bool((one == one[..., :1]).all())):
        return _of_rows(one, output)
    if one is None and other is not None and other.ndim == output.ndim and bool((other == other[..., :1, :]).all()):
        return other[..., :1, :].expand(output.shape).contiguous()
    return None


def _reduced(first: Tensor | None, over: Any, output: Tensor) -> Tensor | None:
    """Over some axes: the first cell of what becomes one, as of a pooling of queries."""
    if first is None or over is None or over == []:
        return None
    return first.amin(over, keepdim=output.ndim == first.ndim)


def _agreed(operands: list[Tensor]) -> Tensor | None:
    """Of an operation on each number alone its operands' cells, where no two of them disagree."""
    found: Tensor | None = None
    for cells in operands:
        if found is not None and bool(((found != cells) & (found >= 0) & (cells >= 0)).any()):
            return None
        found = cells if found is None else torch.maximum(found, cells)
    return found
