"""Runs a network with many sets of units ablated at once: what comes before the layer runs once per batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dissect import ops
from dissect.arguments import tell
from dissect.interventions.flow import Flow
from dissect.interventions.replay import Replays
from dissect.network.forwards import instead, own_forward
from dissect.network.graph import edit_first
from dissect.network.hooks import Hooks
from dissect.network.layouts import from_maps, to_maps
from dissect.network.trace import FAILURES, Trace

#: How many tensors of the largest size are alive at once in what follows the layer.
_ALIVE = 3


class FanOut:
    """What a network gives without sets of units of a layer: logits, images, feature maps, any tensor.

    The network runs under `torch.func.vmap` over the sets: N images enter, the layer's output becomes S x N, one copy
    per set with its units blended with their fill, and only from there on everything runs for each. Operations that
    join the two, as a skip connection around the layer does, work as they should, and so does a hard-coded batch size.
    Where memory does not allow all sets at once, they are taken in chunks, which replay what came before (`Replay`).

    Where only layers that treat each unit alone (ReLU, pooling, flattening) separate the layer from a fully connected
    one (`Flow.linear`), the copies are made there: with z(u) the inputs of that layer that belong to unit u, W(u) the
    weights of these and f(u) what they are when the unit has its fill, a network without unit u has ::

        W x + b  +  W(u) (f(u) - z(u))

    so that one small product per unit replaces the large one.

    Where some later layer fails under vmap (values that decide what is computed, numpy), sets run one at a time, from
    the layer on, and a warning says so once and names the layer.

    Args:
        model: a network in evaluation mode that gives a tensor [N, ...].
        layer: a layer's name.
        flow: what `follow` found.
        fill: [U] float32, what ablated units give.
        images: [N, ...] some images of the kind that will come, as many as the network takes.
        memory_budget: bytes that what follows the layer may take.
    """

    def __init__(
        self, model: nn.Module, layer: str, flow: Flow, fill: Tensor, images: Tensor, memory_budget: int
    ) -> None:
        self._model, self._layer, self._flow, self._fill = model, layer, flow, fill
        self._images, self._together = images, True
        self._replays: Replays | None = None  # not looked at
        self._update: _LinearUpdate | None = None
        rows = memory_budget // (4 * _ALIVE * flow.floats)
        if flow.linear is not None:
            module: Any = model.get_submodule(flow.linear)
            with (
                torch.no_grad(),
                Trace(model, layer, edit=self._filled, clone=False, detach=False),
                Trace(model, flow.linear, inputs=True) as trace,
            ):
                model(images)
                (filled,), _ = trace.inputs(flow.linear)
            self._update = _LinearUpdate(module, flow.num_units, filled[0])
            rows = memory_budget // (4 * _ALIVE * max(module.out_features, module.in_features))
        #: How many images times sets go through what follows at once.
        self.rows = max(1, rows)

    def group(self, num_sets: int) -> int:
        """How many images memory allows at a time with so many sets."""
        return max(1, self.rows // num_sets)

    def __call__(self, images: Tensor, alpha: Tensor) -> Tensor:
        """Outputs [S, N, ...] of images [N, ...] for sets alpha [S, U], 1 for each unit that is ablated.

        Where memory does not allow all sets for one image, sets are taken in chunks.
        """
        chunks = alpha.to(images.device).split(max(1, self.rows // len(images)))
        with torch.no_grad():
            if not self._together:
                return self._run_apart(images, chunks)
            try:
                return self._run_together(images, chunks)
            except torch.OutOfMemoryError:
                raise
            except FAILURES as error:
                reason = str(error).strip().split("\n")[0]
                where = _failing_layer(self._model, lambda: self._run_together(images, chunks))
                found = self._run_apart(images, chunks)  # which raises if it is not the sets' fault
                self._together = False
                tell(
                    f"layer {where!r} cannot take several sets of units at once, so they run one at a time, which is "
                    f"slow: {reason}"
                )
                return found

    def _run_together(self, images: Tensor, chunks: Sequence[Tensor]) -> Tensor:
        with _kernels_with_vmap(self._model, images.device):
            run = self._again(images, len(chunks))
            return torch.cat([torch.func.vmap(lambda one: self._with_set(run, one))(chunk) for chunk in chunks])

    def _run_apart(self, images: Tensor, chunks: Sequence[Tensor]) -> Tensor:
        sets = torch.cat([*chunks])
        run = self._again(images, len(sets))
        return torch.stack([self._with_set(run, one) for one in sets])

    def _again(self, images: Tensor, times: int) -> Callable[[], Any]:
        """Runs the network on the images, as often as is said; what comes before the edit is computed once."""
        if times == 1:
            return partial(self._model, images)
        if self._replays is None:
            self._replays = Replays(self._model, self._flow.linear or self._layer, self._images)
        return self._replays.of(images)

    def _with_set(self, run: Callable[[], Any], alpha: Tensor) -> Tensor:
        """What the network gives without one set, alpha [U]; under vmap, for all sets."""
        if self._update is None:
            edit = partial(self._blended, alpha=alpha)
            with Trace(self._model, self._layer, edit=edit, clone=False, detach=False):
                output: Tensor = run()
                return output
        with Hooks() as hooks:
            hooks.after(
                self._model.get_submodule(self._flow.linear or ""),
                lambda _, args, kwargs, output: _Update.apply(args[0], output, alpha, self._update),
                edits=True,
            )
            output = run()
            return output

    def _blended(self, output: Any, layer: str, alpha: Tensor) -> Any:
        def blend(first: Any) -> Tensor:
            output: Tensor = _Blend.apply(first, alpha, self._fill.to(first.device), self._flow.axes)
            return output

        return edit_first(output, blend)

    def _filled(self, output: Any, layer: str) -> Any:
        return self._blended(output, layer, torch.ones_like(self._fill))


class _Blend(torch.autograd.Function):
    """`ops.blend_units` at a layer's output, which under vmap makes one blended copy per set."""

    @staticmethod
    def forward(output: Tensor, alpha: Tensor, fill: Tensor, axes: str) -> Tensor:
        return from_maps(ops.blend_units(to_maps(output, axes), alpha, fill), axes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], output: Tensor, alpha: Tensor, fill: Tensor, axes: str) -> Any:
        images = output.shape[axes.index("N")]
        alpha = alpha.repeat_interleave(images, 0)
        if axes[0] == "N":
            copies = output.repeat(info.batch_size, *[1] * (output.ndim - 1))
            ops.blend_units(to_maps(copies, axes), alpha, fill, inplace=True)
            return copies.unflatten(0, (info.batch_size, -1)), 0
        maps = to_maps(output, axes).repeat(info.batch_size, 1, 1, 1)
        ops.blend_units(maps, alpha, fill, inplace=True)
        return torch.stack([from_maps(part, axes) for part in maps.split(images)]), 0


class _LinearUpdate:
    """A fully connected layer whose inputs belong to units, each the same number of them.

    Args:
        module: the layer.
        num_units: U.
        filled: [U * K] its inputs where every unit has its fill.
    """

    def __init__(self, module: nn.Linear, num_units: int, filled: Tensor) -> None:
        self.module, self.filled = module, filled.unflatten(0, (num_units, -1))  # [U, K]
        self._weight = module.weight.detach().unflatten(1, (num_units, -1)).permute(1, 2, 0)  # [U, K, O]

    def __call__(self, inputs: Tensor, outputs: Tensor, alpha: Tensor) -> Tensor:
        """[S, N, O]: what the layer gives without each set alpha [S, U], from what it was given and gave for all."""
        parts = inputs.unflatten(1, self.filled.shape)  # [N, U, K]
        if int((alpha != 0).sum(1).max()) > 1:
            copies = parts.repeat(len(alpha), 1, 1)[..., None]
            value = self.filled[None, :, :, None]
            ops.blend_units(copies, alpha.repeat_interleave(len(inputs), 0), value, inplace=True)
            rows = nn.functional.linear(copies.flatten(1), self.module.weight, self.module.bias)
            output: Tensor = rows.unflatten(0, (len(alpha), -1))
            return output
        sets, units = (alpha != 0).nonzero(as_tuple=True)
        change = (self.filled - parts)[:, units] * alpha[sets, units][:, None].to(parts.dtype)  # [N, S, K]
        updated = outputs.repeat(len(alpha), 1, 1)
        where = _slice(sets)
        updated[where] = updated[where].baddbmm_(change.transpose(0, 1), self._weight[_slice(units)])
        return updated


def _slice(numbers: Tensor) -> slice | Tensor:
    """A slice, which copies nothing, where numbers follow on one another."""
    first = int(numbers[0]) if len(numbers) else 0
    run = range(first, first + len(numbers))
    return slice(run.start, run.stop) if numbers.tolist() == list(run) else numbers


class _Update(torch.autograd.Function):
    """`_LinearUpdate` in place of a fully connected layer's output, for all sets of a vmap at once."""

    @staticmethod
    def forward(inputs: Tensor, outputs: Tensor, alpha: Tensor, update: _LinearUpdate) -> Tensor:
        return update(inputs, outputs, alpha[None])[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], inputs: Tensor, outputs: Tensor, alpha: Tensor, update: Any) -> Any:
        return update(inputs, outputs, alpha), 0


class _Fold(torch.autograd.Function):
    """A module that treats each image alone: under vmap the copies are just more images.

    torch's own rule for batch normalisation copies its input twice.
    """

    @staticmethod
    def forward(images: Tensor, forward: Callable[[Tensor], Tensor]) -> Tensor:
        return forward(images)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], images: Tensor, forward: Callable[[Tensor], Tensor]) -> Any:
        images = images.movedim(in_dims[0], 0)
        return forward(images.flatten(0, 1)).unflatten(0, images.shape[:2]), 0


def _folds(module: nn.Module) -> bool:
    """Whether a module is a batch normalisation that treats each image alone, as its class does."""
    kind = nn.modules.batchnorm._BatchNorm
    if not isinstance(module, kind) or module.training or module.running_mean is None:
        return False
    return type(module).forward is kind.forward and own_forward(module) is None


@contextmanager
def _kernels_with_vmap(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Within, what vmap would run slowly runs by kernels that it knows how to batch."""
    norms = [part for part in model.modules() if _folds(part)]
    with (
        _slow_attention(),
        instead(norms, lambda _, run, images: _Fold.apply(images, run)),
        sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext(),
    ):
        yield


#: Of the process's one switch of fused attention, how many turned it off, and what it was before the first did.
_switch = threading.Lock()
_off = [0, 1]


@contextmanager
def _slow_attention() -> Iterator[None]:
    """Without torch's fused attention, which vmap cannot run, until the last thread that asks for it is done."""
    with _switch:
        if not _off[0]:
            _off[1] = torch.backends.mha.get_fastpath_enabled()
        _off[0] += 1
        torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        with _switch:
            _off[0] -= 1
            if not _off[0]:
                torch.backends.mha.set_fastpath_enabled(bool(_off[1]))


def _failing_layer(model: nn.Module, run: Callable[[], Any]) -> str:
    """The name of the innermost layer in which a run fails."""
    running: list[str] = []
    with Hooks() as hooks:
        for name, module in model.named_modules():
            hooks.before(module, lambda *_, name=name: running.append(name))
            hooks.after(module, lambda *_: running.pop() and None)
        try:
            run()
        except FAILURES:
            pass
    return running[-1] if running else ""
