"""Forward passes of a model, as far as they are needed, that give maps of its layers."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect.arguments import refusal
from dissect.network.cells import MoveWatch, are_images
from dissect.network.layouts import Layouts
from dissect.network.modes import noticed_chance, same_bits, tell_chance
from dissect.network.outputs import first_tensor, tensors
from dissect.network.rectified import ReluWatch
from dissect.network.trace import FAILURES, FirstTensorTrace, RanTwiceError, Trace
from dissect.ops import native
from dissect.visits.readout import Readout


class Inputs(NamedTuple):
    """What a model is called with: images, or z and what else its generator takes."""

    images: Tensor
    extra: dict[str, Tensor]

    def first(self, number: int) -> Inputs:
        """Of the first images alone, copied."""
        return Inputs(self.images[:number].clone(), {name: part[:number] for name, part in self.extra.items()})


class Pass(NamedTuple):
    """What a forward pass gave: maps by layer, when each had run, and the model's output if it was asked for."""

    maps: dict[str, Tensor]
    ends: dict[str, float]
    output: Any


class _MapTrace(FirstTensorTrace):
    """Its copies lie map by map where the engine reads them, more than once, however the network computes."""

    def _keep_tensor(self, tensor: Tensor) -> Tensor:
        if tensor.is_cpu:
            return native.copied_planes(tensor.detach())
        return super()._keep_tensor(tensor)


class Passes:
    """Runs a model, and knows after the first time where units are in what its layers give.

    Args:
        model: the network.
        layers: all whose maps may be asked for.
        readout: how outputs become maps.
    """

    def __init__(self, model: nn.Module, layers: list[str], readout: Readout) -> None:
        self._model, self._readout = model, readout
        self._layouts = Layouts(model, layers, readout.layout)
        self._traces: dict[tuple[object, ...], Trace] = {}  # by layers: to look for them takes a walk of all modules
        self._ends: dict[str, float] = {}
        self._ran_once = False
        self._moves = MoveWatch()  # of the first pass
        self._moved: set[str] = set()  # layers behind what may have put cells in another order, not yet followed

    @property
    def layouts(self) -> dict[str, list[str]]:
        """Of each layer that has run, how its output is laid out, and how that is known; see `Layout`."""
        return {name: list(layout) for name, layout in self._layouts.seen.items()}

    def close(self) -> None:
        """Forgets the traces, which know this object, so that their batches need not wait for the garbage collector."""
        self._traces.clear()

    def run(self, inputs: Inputs, layers: list[str], *, whole: bool = False, vectors: bool = False) -> Pass:
        """One forward pass, to the last of these layers; with `whole` to the model's end.

        Args:
            inputs: what the model is called with.
            layers: those whose maps are wanted, maybe none.
            whole: whether its output is wanted too.
            vectors: see `Readout.maps`.

        Raises:
            RanTwiceError: a layer runs twice.
            ValueError: the model changes its images in place, or gives what are no maps.
        """
        self._ends.clear()
        images = inputs.images
        version = None if images.is_inference() else images._version
        try:
            maps, output = self._traced(inputs, layers, whole, vectors) if layers else ({}, None)
            if whole and not layers:
                with torch.no_grad():
                    output = self._model(images, **inputs.extra)
        except RuntimeError as error:
            self._check_dtype(images, error)
            raise
        if version is not None and images._version != version:
            raise refusal(
                ValueError(
                    "model must leave its images as they are, but changes them in place; give it a copy of them."
                )
            )
        return Pass(maps, dict(self._ends), output)

    def _check_dtype(self, images: Tensor, error: RuntimeError) -> None:
        """Tells of a pass that failed over images of another type than all weights what to do.

        Raises:
            TypeError: they are.
        """
        types = {part.dtype for part in self._model.parameters() if part.is_floating_point()}
        if len(types) == 1 and images.dtype not in types and "type" in str(error):
            wanted = str(*types).removeprefix("torch.")
            given = str(images.dtype).removeprefix("torch.")
            raise refusal(
                TypeError(
                    f"images must be of the type that the network takes, {wanted} as its weights, but are {given} "
                    f"({' '.join(str(error).split())}); give images.to(torch.{wanted}), in the range that it was "
                    "trained on."
                )
            ) from error

    def _traced(self, inputs: Inputs, layers: list[str], whole: bool, vectors: bool) -> tuple[dict[str, Tensor], Any]:
        key: tuple[object, ...] = (*layers, whole)
        trace, output = self._traces.get(key), None
        if trace is None:
            trace = self._traces[key] = _MapTrace(self._model, layers, edit=self._look_at_the_clock, stop=not whole)
        if not self._ran_once:
            (trace, output), self._ran_once = self._whole_pass(inputs, layers, whole), True
        else:
            with torch.no_grad(), trace:
                output = trace.run(inputs.images, **inputs.extra)
        outputs = {name: trace.pop(name) for name in layers}
        number = len(inputs.images)
        uncertain = [name for name, value in outputs.items() if self._layouts.uncertain(name, value, number)]
        moved = self._moved if are_images(inputs.images) else set()
        unseen = [
            name for name in outputs
            if (name in (self._readout.tokens or ()) or name in moved) and not self._layouts.followed(name)
        ]  # fmt: skip
        self._moved.clear()  # a network that cannot be followed is not asked again
        if uncertain or unseen:
            self._follow(inputs, list(dict.fromkeys([*uncertain, *unseen])), needed=bool(uncertain))
        maps = {
            name: self._readout.maps(name, value, self._layouts, number, vectors) for name, value in outputs.items()
        }
        return maps, output if whole else None

    def _follow(self, inputs: Inputs, layers: list[str], *, needed: bool) -> None:
        """Learns where units and tokens are from another pass, over few images, so that it costs little.

        Args:
            inputs: those of a batch.
            layers: which.
            needed: whether it is not known without where units are; else a network that cannot be followed will do.
        """
        number = len(inputs.images)
        for few in (1 if number == 2 else 2, number):
            part = inputs.first(few)
            try:
                self._layouts.learn_from(self._model, layers, part.images, **part.extra)
                return
            except FAILURES:  # a network that takes batches of one size
                if few == number and needed:
                    raise

    def _whole_pass(self, inputs: Inputs, layers: list[str], needed: bool) -> tuple[Trace, Any]:
        """A pass to the network's end, to see whether a layer runs again after all others did; and its output.

        Raises:
            RanTwiceError: one does.
        """
        trace, output = _MapTrace(self._model, layers, edit=self._look_at_the_clock), None
        watch = ReluWatch(self._model, layers) if self._readout.expects_relu else nullcontext()
        try:
            with torch.no_grad(), trace, watch, self._moves, noticed_chance(inputs.images.device) as drawn:
                output = trace.run(inputs.images, **inputs.extra)
        except RanTwiceError:
            raise
        except Exception:
            # What follows the layers need not fit these images: no other pass will run it.
            if needed or not trace.complete():
                raise
        if drawn and not any(module.training for module in self._model.modules()):
            self._tell_chance(inputs, trace, layers)
        return trace, output

    def _tell_chance(self, inputs: Inputs, first: Trace, layers: list[str]) -> None:
        """Looks whether a second pass gives the same, where one has drawn random numbers; warns if it does not."""
        with torch.no_grad(), _MapTrace(self._model, layers, stop=True) as second:
            second.run(inputs.images, **inputs.extra)
        outputs = [[part for name in layers for part in tensors(trace[name])] for trace in (first, second)]
        if not same_bits(*outputs):
            tell_chance()

    def _look_at_the_clock(self, output: Any, layer: str) -> Any:
        self._ends[layer] = time.perf_counter()
        if self._moves.moved and not self._ran_once and not self._layouts.given(layer):
            value = first_tensor(output)
            if isinstance(value, Tensor) and value.ndim == 4:
                self._moved.add(layer)
        return output
