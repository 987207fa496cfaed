"""Along which axis of a layer's output its units lie, by following them through the operations of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from dissect.network.hooks import Hooks

#: Operations that write units to the axis after the batch's, or to the last one, whatever they are given.
_TO_AXIS_1 = {
    "convolution", "_convolution", "mkldnn_convolution", "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d",
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
    "_batch_norm_with_update", "_batch_norm_no_update", "cudnn_batch_norm", "instance_norm", "group_norm",
    "native_group_norm",
}  # fmt: skip
_TO_LAST = {
    "linear", "embedding", "_native_multi_head_attention", "_transformer_encoder_layer_fwd", "lstm", "gru", "rnn_tanh",
    "rnn_relu", "mkldnn_rnn_layer", "_thnn_fused_lstm_cell",
}  # fmt: skip
#: Those that multiply by a matrix, which is one of weights only if it holds no units itself.
PRODUCTS = {"mm": 1, "addmm": 2, "bmm": 1, "baddbmm": 2, "matmul": 1}
LAYER_NORMS = {"layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm"}
#: Those that leave each unit where it is, while the other axes may change their sizes.
_POOLINGS = {
    "max_pool1d", "max_pool2d", "max_pool2d_with_indices", "avg_pool1d", "avg_pool2d", "_adaptive_avg_pool2d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "fractional_max_pool2d",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_linear1d", "upsample_bilinear2d", "_upsample_bilinear2d_aa",
    "upsample_bicubic2d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "grid_sampler_2d",
    "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d", "pad",
    "_softmax", "_log_softmax", "softmax", "log_softmax", "native_dropout", "cumsum", "blend_units",
}  # fmt: skip
#: Those that move numbers and compute none.
MOVES = {
    "permute", "transpose", "transpose_", "t", "movedim", "view", "_unsafe_view", "reshape", "_reshape_alias",
    "flatten", "unflatten", "expand", "slice", "select", "unsqueeze", "unsqueeze_", "squeeze", "squeeze_", "cat",
    "stack", "split", "split_with_sizes", "chunk", "unbind", "clone", "contiguous", "alias", "detach", "detach_",
    "roll", "flip", "repeat", "index_select", "index", "unfold", "channel_shuffle", "native_channel_shuffle",
    "pixel_shuffle", "pixel_unshuffle", "lift_fresh", "_to_copy", "to", "diagonal", "narrow", "swapaxes",
}  # fmt: skip
REDUCTIONS = {"mean", "sum", "amax", "amin", "max", "min", "var", "std", "norm", "linalg_vector_norm", "logsumexp"}
#: Those that write into some places of their first operand, or work on each number alone without torch saying so.
POINTWISE = {
    "where", "copy", "copy_", "fill_", "zero_", "masked_fill_", "gelu_", "hardswish", "hardswish_", "_prelu_kernel",
    "prelu", "log_sigmoid_forward", "rrelu_with_noise", "index_put_", "index_copy_", "scatter_", "dropout_",
}  # fmt: skip


class UnitTracker(TorchDispatchMode):
    """Within a ``with`` block, knows of each tensor which unit each of its numbers belongs to, or that this is unknown.

    What a convolution, a product with weights or a normalisation gives has its units on a known axis; operations that
    move numbers, as a permutation, a reshaping or a roll, are done to the units' numbers as well; of those that work
    on each number alone the units stay. Attention mixes places and keeps units. After any other operation, and where
    operands disagree, nothing is known. Nothing that is computed changes.

    Example:
        >>> conv, images = torch.nn.Conv2d(3, 5, 1), torch.rand(2, 3, 4, 4)
        >>> with UnitTracker() as tracker:
        ...     maps = conv(images).permute(0, 2, 3, 1).relu()
        >>> maps.shape, tracker.axis(maps), tracker.axis(images)
        (torch.Size([2, 4, 4, 5]), 3, None)
    """

    def __init__(self) -> None:
        super().__init__()
        self._units = WeakTensorKeyDictionary()  # by tensor: [shape] int32, the unit of each number; or nothing
        self._weights = WeakTensorKeyDictionary()  # parameters, and what was computed of parameters alone

    def begin(self, inputs: Any) -> None:
        """Tells that these are images [N, C, H, W] or vectors [N, C], however nested: their units are on axis 1."""
        for part in tree_leaves(inputs):
            if isinstance(part, Tensor) and part.is_floating_point() and part.ndim in (2, 4):
                self._units[part] = _numbered(part.shape, 1, part.device)

    def axis(self, output: Tensor) -> int | None:
        """The axis along which a tensor's units lie; None where it is not known."""
        units = self._units.get(output)
        if units is None or not units.numel():
            return None
        single = [axis for axis in range(1, units.ndim) if units.shape[axis] == 1]
        if len(single) == 1 and not units.any():  # one unit: it changes along no axis
            return single[0]
        return _axis(units)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operation, and follows the units through it."""
        kwargs = kwargs or {}
        # Looked up before: an operation in place changes what its input holds.
        operands = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
        known = {id(part): self._units.get(part) for part in operands}
        weights = [isinstance(part, nn.Parameter) or part in self._weights for part in operands]
        of_weights = {id(part) for part, weight in zip(operands, weights) if weight}
        output = func(*args, **kwargs)
        for place, part in enumerate(output if isinstance(output, (tuple, list)) else [output]):
            if isinstance(part, Tensor):
                if weights and all(weights):
                    self._weights[part] = True
                    continue
                units = _follow(func, args, kwargs, place, part, known, of_weights)
                if units is not None:
                    self._units[part] = _renumbered(units)
                elif part in self._units:
                    del self._units[part]
        return output


def _follow(
    func: Any, args: Any, kwargs: Any, place: int, output: Tensor, known: dict[int, Any], weights: set[int]
) -> Tensor | None:
    """The units of an operation's output, or of one of several."""
    name = func._overloadpacket.__name__
    first = known.get(id(args[0])) if args and isinstance(args[0], Tensor) else None
    if name in MOVES:
        return _moved(func, args, kwargs, place, output, known)
    if place > 0 and name not in REDUCTIONS:
        return None  # statistics, indices
    if name in _TO_AXIS_1:
        return _numbered(output.shape, 1, output.device) if output.ndim > 1 else None
    if name in _TO_LAST:
        return _numbered(output.shape, output.ndim - 1, output.device)
    if name in LAYER_NORMS:
        over = args[1] if len(args) > 1 else kwargs.get("normalized_shape", ())
        return _numbered(output.shape, output.ndim - 1, output.device) if len(over) == 1 else first
    if name in PRODUCTS:
        return _product(args[PRODUCTS[name]], output, known, weights)
    if name.startswith("_scaled_dot_product") or name == "scaled_dot_product_attention":
        return _over_places(known.get(id(args[2])), output)
    if name in REDUCTIONS and torch.Tag.pointwise not in func.tags and "other" not in _names(func):
        return _reduced(first, argument_of(func, args, kwargs, "dim"), output)
    if name in _POOLINGS:
        return _pooled(first, output)
    if name == "glu":
        axis = None if first is None else _axis(first)
        return None if axis is None else _numbered(output.shape, axis, output.device)
    if torch.Tag.pointwise in func.tags or name in POINTWISE or name in REDUCTIONS:
        return _agreed(
            [known.get(id(part)) for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)], output
        )
    return None


def _moved(func: Any, args: Any, kwargs: Any, place: int, output: Tensor, known: dict[int, Any]) -> Tensor | None:
    """The same operation on the units' numbers. Of tensors put together, what is unknown is like the others."""
    name = func._overloadpacket.__name__
    if name in ("_to_copy", "to", "contiguous", "alias", "lift_fresh", "detach_"):
        found = known.get(id(args[0])) if isinstance(args[0], Tensor) else None
        return found if found is not None and found.shape == output.shape else None
    parts = [part for part in tree_leaves(args[:1]) if isinstance(part, Tensor)]
    units = [known.get(id(part)) for part in parts]
    axes = {_axis(part) for part in units if part is not None}
    if not axes:
        return None
    axis = axes.pop()
    filled = {id(part): of for part, of in zip(parts, units)}
    for part, of in zip(parts, units):
        if of is None:
            if axes or axis is None:
                return None
            filled[id(part)] = _numbered(part.shape, axis, part.device)
    put = tree_map(lambda part: filled.get(id(part), part) if isinstance(part, Tensor) else part, args[:1])
    plain = getattr(func._overloadpacket, func._overloadname)
    if name.endswith("_"):  # the numbers of another tensor must not move with it
        put = tree_map(lambda part: part.clone() if isinstance(part, Tensor) else part, put)
    try:
        found = plain(*put, *args[1:], **{key: value for key, value in kwargs.items() if key != "memory_format"})
    except RuntimeError:  # what is not made for integers
        return None
    found = found[place] if isinstance(found, (tuple, list)) else found
    return found.contiguous() if found.shape == output.shape else None  # so that every view can be taken of it


def _numbered(shape: torch.Size, axis: int, device: torch.device) -> Tensor:
    """[shape] int32: the place along an axis."""
    numbers = torch.arange(shape[axis], dtype=torch.int32, device=device)
    return numbers.view([-1 if at == axis else 1 for at in range(len(shape))]).expand(shape).contiguous()


def _axis(units: Tensor) -> int | None:
    """The only axis along which the unit changes; of one unit, or units spread over several axes, None."""
    changing = [
        axis
        for axis in range(units.ndim)
        if units.shape[axis] > 1 and not torch.equal(units.narrow(axis, 0, 1).expand_as(units), units)
    ]
    return changing[0] if len(changing) == 1 else None


def _renumbered(units: Tensor) -> Tensor:
    """From 0 on: a unit's number is its place in the tensor at hand."""
    axis = _axis(units)
    return units if axis is None else _numbered(units.shape, axis, units.device)


def _product(matrix: Tensor, output: Tensor, known: dict[int, Any], weights: set[int]) -> Tensor | None:
    """Of x W, with W of weights, the last axis; of attention times values the values' units."""
    of = known.get(id(matrix))
    if of is not None:
        return _over_places(of, output)
    product = matrix.ndim == 2 and id(matrix) in weights
    return _numbered(output.shape, output.ndim - 1, output.device) if product else None


def _over_places(values: Tensor | None, output: Tensor) -> Tensor | None:
    """Sums over places (the last axis but one) of values, whose units are the same at all places."""
    if values is None or values.ndim < 2 or values.ndim != output.ndim or values.shape[-1] != output.shape[-1]:
        return None
    one = values[..., :1, :]
    if not torch.equal(one.expand_as(values), values) or one.shape[:-2] != output.shape[:-2]:
        return None
    return one.expand(output.shape).contiguous()


def _names(func: Any) -> list[str]:
    return [argument.name for argument in func._schema.arguments]


def argument_of(func: Any, args: Any, kwargs: Any, name: str) -> Any:
    """What an operation was given under this name, or None."""
    if name in kwargs or name not in _names(func):
        return kwargs.get(name)
    place = _names(func).index(name)
    return args[place] if place < len(args) else None


def _reduced(first: Tensor | None, over: Any, output: Tensor) -> Tensor | None:
    """Over some axes, of which none is the units'."""
    axis = None if first is None else _axis(first)
    if first is None or axis is None or over is None or not output.ndim:
        return None
    dims = {dim % first.ndim for dim in ([over] if isinstance(over, int) else over)} or {*range(first.ndim)}
    if axis in dims:
        return None
    return _numbered(
        output.shape, axis if output.ndim == first.ndim else axis - sum(d < axis for d in dims), first.device
    )


def _pooled(first: Tensor | None, output: Tensor) -> Tensor | None:
    axis = None if first is None else _axis(first)
    if first is None or axis is None or output.ndim != first.ndim or output.shape[axis] != first.shape[axis]:
        return None
    return _numbered(output.shape, axis, first.device)


def _agreed(operands: list[Tensor | None], output: Tensor) -> Tensor | None:
    """Of an operation on each number alone what its operands' units are, where no two of them disagree."""
    found: Tensor | None = None
    single: Tensor | None = None  # of one unit, as a gate over places is: it is multiplied with each of the others
    for units in operands:
        if units is None or units.ndim > output.ndim:
            continue
        try:
            spread = units.expand(output.shape)
        except RuntimeError:
            continue
        axis = _axis(units)
        if axis is not None and units.shape[axis] != output.shape[axis + output.ndim - units.ndim]:
            continue
        if axis is None and not units.any():
            single = spread
            continue
        if found is not None and not torch.equal(found, spread):
            return None
        found = spread
    found = single if found is None else found
    return None if found is None else found.contiguous()


class TrackedPasses:
    """Within a ``with`` block, follows units through the passes of a model that are made there, while that is asked.

    Args:
        model: the network.
        wanted: called before each pass; whether to follow it.
    """

    def __init__(self, model: nn.Module, wanted: Callable[[], bool]) -> None:
        self._model, self._wanted, self._hooks = model, wanted, Hooks()
        #: Of the pass under way, if it is followed.
        self.tracker: UnitTracker | None = None

    def __enter__(self) -> TrackedPasses:
        self._hooks.__enter__()
        self._hooks.before(self._model, self._begin)
        self._hooks.after(self._model, lambda *_: self._end())
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.__exit__()
        self._end()

    def _begin(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._end()  # of a pass that was broken off
        if self._wanted():
            self.tracker = UnitTracker()
            self.tracker.begin((args, kwargs))
            self.tracker.__enter__()

    def _end(self) -> None:
        if self.tracker is not None:
            tracker, self.tracker = self.tracker, None
            tracker.__exit__(None, None, None)
