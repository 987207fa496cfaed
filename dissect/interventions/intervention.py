"""Interventions: units of a layer removed, set to a value, or kept alone, for a while or for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from dissect import ops
from dissect.arguments import check_precision, refusal, speaker, speaks, tell
from dissect.interventions.along import AlongOption, along_layers
from dissect.interventions.writing import writable
from dissect.network.directions import LayerDirections
from dissect.network.graph import Graph, edit_first
from dissect.network.layers import find_layers, layer_names
from dissect.network.layouts import LayoutOption, Layouts, from_maps, to_maps
from dissect.network.trace import Trace
from dissect.network.tracking import TrackedPasses
from dissect.network.units import Units, check_units

#: A number, one per unit, or where that is said a feature map.
Amount = Tensor | float | Sequence[float]
#: Activations above the first and up to the second, each a number or one per unit.
Band = tuple[Amount, Amount]


@speaks
class Intervention:
    """Units of some layers blended with a value; made by `ablate`, `insert` and `keep`.

    Within a ``with`` block every forward pass of the entering thread or coroutine is edited (see `Trace`):
    ``a * value + (1 - a) * r`` at the layer's output (see `ops.blend_units`), of several tensors the first, so that all
    who read that output see the edit (`consumers`). Blocks nest: of two on the same layer the inner one edits what the
    outer one gives. When a block ends, by an exception too, the model is as it was; if the model ran and a layer was
    never called, a warning says that it was not edited. Copies of the model are never edited, even those made within
    the block. `write` makes the edit permanent.
    """

    def __init__(
        self,
        model: nn.Module,
        units: Mapping[str, Units | None],
        value: Amount,
        alpha: Amount,
        mask: Tensor | None,
        others: bool = False,
        layout: LayoutOption | None = None,
        called: str = "Intervention",
        band: Band | None = None,
        directions: Mapping[str, LayerDirections] | None = None,
        along: AlongOption = "own",
    ) -> None:
        value, alpha = _amount("value", value), _amount("alpha", alpha)
        _check_alpha(alpha)
        self._along = along_layers(directions, list(units), value, along)
        self._band = _checked_band(band)
        self._units = {
            layer: check_units(layer, range(self._along[layer].count) if numbers is None else numbers)
            for layer, numbers in units.items()
        }
        find_layers(model, list(self._units))
        self._layouts = Layouts(model, self._units, layout)
        self._called = called
        self._model, self._value, self._alpha, self._mask, self._others = model, value, alpha, mask, others
        # Blocks, each with the layers that it has edited.
        self._entered: list[tuple[Trace, TrackedPasses, set[str]]] = []

    def __repr__(self) -> str:
        but = "all but " if self._others else ""
        layers = ", ".join(
            f"{but}{len(units)} {'direction' if layer in self._along else 'unit'}"
            f"{'' if len(units) == 1 else 's'} of {layer!r}"
            for layer, units in self._units.items()
        )
        parts = {"value": self._value, "alpha": self._alpha, "mask": self._mask}
        shown = [f"{name} {_shown(part)}" for name, part in parts.items() if part is not None]
        return f"<Intervention on {layers}: {', '.join(shown)}>"

    def __enter__(self) -> Intervention:
        edited: set[str] = set()
        passes = TrackedPasses(self._model, lambda: bool(self._layouts.may_be_uncertain()))
        edit = partial(self._edit, edited, passes)
        trace = Trace(self._model, self._units, edit=edit, clone=False, retain=None)
        self._entered.append((trace.__enter__(), passes.__enter__(), edited))
        return self

    def __exit__(self, *error: Any) -> None:
        # The block that ends is the last one of this thread or coroutine; others may be in blocks of their own.
        last = max(range(len(self._entered)), key=lambda place: (self._entered[place][0].hooks.here(), place))
        trace, passes, edited = self._entered.pop(last)
        passes.__exit__(*error)
        trace.__exit__(*error)
        missed = [layer for layer in self._units if layer not in edited]
        if trace.passes and missed and error[0] is None:
            tell(
                f"layer {missed[0]!r} was not edited, since it was not called while the model ran: the model passes it "
                "by, reads its weights itself (as nn.MultiheadAttention does), or ran in another thread."
            )

    def consumers(self, *args: Any, **kwargs: Any) -> dict[str, tuple[str, ...]]:
        """Who reads each edited layer's output, and so sees the edit; found by a forward pass per layer.

        Args:
            *args: what the model is called with.
            **kwargs: the same, by name.

        Returns:
            By layer, names of layers, autograd's names of other operations (a skip connection's addition), and "the
            output" where it is the model's own; nothing where the output does not depend on the layer.

        Raises:
            KeyError, RuntimeError: a layer does not run, or runs twice; one that follows it fails (says which).

        Example:
            >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), torch.nn.ReLU())
            >>> dissect.ablate(model, "0", [2]).consumers(torch.rand(1, 1, 2, 2))
            {'0': ('1',)}
        """
        found = {}
        for layer in self._units:
            graph = Graph(self._model, layer)
            found[layer] = graph.consumers(graph.run(*args, **kwargs), "the output")
        return found

    def write(self) -> None:
        """Writes the edit into the weights, for good, where that gives exactly the edited outputs.

        That is so where whole units are set to one value each (alpha 1, no mask, no map), and the layer is a
        convolution or a fully connected layer (the units' weights become 0, their biases the value), a batch
        normalisation with weights, or a ReLU or dropout that follows one of these in an nn.Sequential (after a ReLU
        for values from 0 on only). None of these may have forward hooks, which read or change what the weights give.

        Raises:
            ValueError: the edit cannot be written exactly; says why. Nothing has changed then.
        """
        if self._along or self._band is not None:
            raise refusal(
                ValueError("only units can be written into weights, so directions and band must not be given.")
            )
        if self._mask is not None or not _is_one(self._alpha):
            raise refusal(ValueError("only whole units can be written into weights, so mask must be None and alpha 1."))
        values = torch.as_tensor(self._value, dtype=torch.float32)
        if values.ndim > 1:
            raise refusal(ValueError(f"value must be a number or one per unit, but has shape {list(values.shape)}."))
        edits = []
        for layer, units in self._units.items():
            module = writable(self._model, layer, bool((values < 0).any()))
            count = getattr(module, "num_features", None) or module.weight.shape[0]
            edits.append((layer, module, self._chosen(layer, units, count)))
        for layer, module, chosen in edits:
            if module.bias is None and bool((values != 0).any()):
                raise refusal(ValueError(f"layer {layer!r} has no bias, so its units can only be set to 0."))
            for name, given in (("value", values), ("alpha", torch.as_tensor(self._alpha))):
                if given.ndim and given.shape != chosen.shape:
                    raise refusal(
                        ValueError(f"{name} must have one entry per unit, {len(chosen)}, but has {len(given)}.")
                    )
        with torch.no_grad():
            for _, module, chosen in edits:
                module.weight[chosen.to(module.weight.device)] = 0
                if module.bias is not None:
                    module.bias[chosen.to(module.bias.device)] = values.to(module.bias)

    def _edit(self, edited: set[str], passes: TrackedPasses, output: Any, layer: str) -> Any:
        edited.add(layer)
        with speaker(self._called):  # of what was called before the pass
            if passes.tracker is not None and self._layouts.uncertain(layer, output):
                self._layouts.learn(layer, output, passes.tracker)
            return edit_first(output, lambda first: self._blend(first, layer))

    def _blend(self, output: Tensor, layer: str) -> Tensor:
        check_precision(layer, output)
        axes = self._layouts.of(layer, output).axes
        maps = to_maps(output, axes)
        along = self._along.get(layer)
        chosen = self._chosen(layer, self._units[layer], maps.shape[1] if along is None else along.count)
        if along is not None:
            amounts = {"alpha": self._alpha, "value": self._value}
            parts = [_of_chosen(name, part, chosen, maps) for name, part in amounts.items()]
            ends = self._band and [_of_chosen("band", end, chosen, maps) for end in self._band]
            return from_maps(along.moved(maps, chosen, parts[0], parts[1], self._mask, ends), axes)
        alpha = _per_unit("alpha", self._alpha, chosen, maps)
        value = self._value
        if isinstance(value, Tensor) and value.ndim == 1:
            value = _per_unit("value", value, chosen, maps)
        blended = ops.blend_units(maps, alpha, value, self._mask)
        if self._band is not None:
            low, high = (_per_unit("band", end, chosen, maps).view(-1, 1, 1) for end in self._band)
            blended = torch.where((maps > low) & (maps <= high), blended, maps)
        return from_maps(blended, axes)

    def _chosen(self, layer: str, units: Tensor, count: int) -> Tensor:
        """The units to blend, of `count`."""
        if len(units) and int(units.max()) >= count:
            raise refusal(ValueError(f"units of layer {layer!r} must be below {count}, but one is {int(units.max())}."))
        if not self._others:
            return units
        return torch.ones(count, dtype=torch.bool).index_fill(0, units, False).nonzero().flatten()


@speaks
def ablate(
    model: nn.Module,
    layer: str | Mapping[str, Units],
    units: Units | None = None,
    *,
    value: Amount = 0.0,
    alpha: Amount = 1.0,
    mask: Tensor | None = None,
    layout: LayoutOption | None = None,
    band: Band | None = None,
    directions: Mapping[str, LayerDirections] | None = None,
    along: AlongOption = "own",
) -> Intervention:
    """Removes units: within a ``with`` block they give 0, or another neutral `value`.

    Bau et al. 2020, "Role of Units in a Scene Classifier". Zero is no neutral value after a leaky ReLU or a
    normalisation; a unit's mean may be.

    Args:
        model: any nn.Module.
        layer: a name as in ``model.named_modules()``; or a mapping from several names to their units.
        units: numbers of the units, each once, or one number. Where they lie in the layer's output, see `layout`.
        value: what they give instead: a number, one per unit, or a feature map that broadcasts to [N, U, h, w].
        alpha: how much of the value, from 0 to 1: a number or one per unit.
        mask: where: [h, w] or [N, 1, h, w], 0 to 1; everywhere by default.
        layout: a letter for each axis of the layer's output, as "NUHW", "NHWU", "NTU" or "NU" (N images, U units), or
            a mapping from names to such. By default it is what the kind of layer says, or what following the units
            through the first forward pass tells (`dissect.network.layouts`); what is not certain is refused.
        band: (low, high): only where an activation of the layer's own output lies above low and is at most high, as a
            unit's firing is above its threshold; numbers, or one per unit.
        directions: of layers whose numbers `units` are then those of directions, {layer: [V, U]} or {layer: encoder},
            as `dissect.dissect` takes them; without `units`, all. To ablate one, v, is ``x - (x . v) v / |v|^2``, so
            that x reads 0 along it; x is the layer's own output, so name the ReLU to edit what follows that.
        along: how several directions that are not orthogonal are set: "own", by the least change, or "dual", so that
            all others of the set read what they did (`dissect.interventions.along.Along`).

    Returns:
        An `Intervention`: a context manager, with a method `write` that makes it permanent.

    Raises:
        KeyError: a layer that the model does not have.
        TypeError: units that are no integers; a value or alpha that is no number.
        ValueError: a unit that is negative, repeated or, in the forward pass, out of range; an alpha outside [0, 1];
            shapes that do not fit; a band whose ends are none; directions of another length, or that depend on each
            other where they are set together, or a value for them that is a map.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1), torch.nn.ReLU())
        >>> with dissect.ablate(model, "0", [0, 2]):
        ...     output = model(torch.rand(1, 1, 2, 2))
        >>> output[:, [0, 2]].abs().max().item()
        0.0
    """
    edited = _by_layer(model, layer, units, directions)
    more: dict[str, Any] = {"layout": layout, "band": band, "directions": directions, "along": along}
    return Intervention(model, edited, value, alpha, mask, called="ablate", **more)


@speaks
def insert(
    model: nn.Module,
    layer: str | Mapping[str, Units],
    units: Units | None = None,
    *,
    value: Amount,
    alpha: Amount = 1.0,
    mask: Tensor | None = None,
    layout: LayoutOption | None = None,
    band: Band | None = None,
    directions: Mapping[str, LayerDirections] | None = None,
    along: AlongOption = "own",
) -> Intervention:
    """Forces units to a value, everywhere or where a mask says (Bau et al. 2020, "Role of Units in GANs").

    Arguments, errors: see `ablate`.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1))
        >>> with dissect.insert(model, "0", [1], value=7.0, mask=torch.tensor([[1.0, 0.0]])):
        ...     output = model(torch.zeros(1, 1, 1, 2))
        >>> output[0, 1, 0, 0].item()
        7.0
    """
    edited = _by_layer(model, layer, units, directions)
    more: dict[str, Any] = {"layout": layout, "band": band, "directions": directions, "along": along}
    return Intervention(model, edited, value, alpha, mask, called="insert", **more)


@speaks
def keep(
    model: nn.Module,
    layer: str | Mapping[str, Units],
    units: Units | None = None,
    *,
    value: Amount = 0.0,
    alpha: Amount = 1.0,
    mask: Tensor | None = None,
    layout: LayoutOption | None = None,
    band: Band | None = None,
    directions: Mapping[str, LayerDirections] | None = None,
    along: AlongOption = "own",
) -> Intervention:
    """Removes all units but these. Arguments, errors: see `ablate`; `alpha` and `value` belong to the removed ones.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 1))
        >>> with dissect.keep(model, "0", [1]):
        ...     output = model(torch.rand(1, 1, 1, 1))
        >>> (output != 0).flatten().tolist()
        [False, True, False]
    """
    kept = _by_layer(model, layer, units, directions)
    more: dict[str, Any] = {"layout": layout, "band": band, "directions": directions, "along": along}
    return Intervention(model, kept, value, alpha, mask, others=True, called="keep", **more)


def _by_layer(
    model: nn.Module,
    layer: str | Mapping[str, Units],
    units: Units | None,
    directions: Mapping[str, LayerDirections] | None = None,
) -> dict[str, Units | None]:
    if isinstance(layer, nn.Module):
        layer_names(model, layer)  # which says that it must be named, and its name
    if isinstance(layer, str) and units is None and isinstance(directions, Mapping) and layer in directions:
        return {layer: None}
    if isinstance(layer, str) and units is not None:
        return {layer: units}
    if isinstance(layer, Mapping) and units is None:
        return dict(layer)
    raise refusal(TypeError("layer must be a name with units beside it, or a mapping from names to units."))


def _checked_band(band: Band | None) -> tuple[Tensor | float, Tensor | float] | None:
    if band is None:
        return None
    if not isinstance(band, (tuple, list)) or len(band) != 2:
        raise refusal(TypeError(f"band must be (low, high), two numbers or two tensors [U], but got {band!r}."))
    low, high = (_amount("band", end) for end in band)
    if not bool((torch.as_tensor(low) < torch.as_tensor(high)).all()):  # NaN is not
        raise refusal(ValueError(f"band must be (low, high) with low < high, but got {band!r}."))
    return low, high


def _per_unit(name: str, given: Tensor | float, chosen: Tensor, maps: Tensor) -> Tensor:
    """[U] float32: what is given for the chosen units, 0 for all others."""
    zeros = torch.zeros(maps.shape[1], dtype=torch.float32, device=maps.device)
    return zeros.index_put((chosen.to(maps.device),), _of_chosen(name, given, chosen, maps))


def _of_chosen(name: str, given: Tensor | float, chosen: Tensor, maps: Tensor) -> Tensor:
    """[C] float32: what is given for each of the chosen units."""
    values = torch.as_tensor(given, dtype=torch.float32, device=maps.device)
    if values.ndim > 1 or (values.ndim == 1 and values.shape != chosen.shape):
        got = list(values.shape)
        raise refusal(ValueError(f"{name} must be a number or one per unit, {len(chosen)}, but has shape {got}."))
    return values.expand(len(chosen))


def _amount(name: str, given: Amount) -> Tensor | float:
    """A number or a tensor; of a sequence of numbers, or an array, float32.

    Raises:
        TypeError: none of these.
    """
    if isinstance(given, (Tensor, Real)):
        return given
    try:
        return torch.as_tensor(given, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise refusal(
            TypeError(f"{name} must be a number, a list of one per unit or a tensor, but got {given!r}.")
        ) from error


def _check_alpha(alpha: Tensor | float) -> None:
    values = torch.as_tensor(alpha).detach()
    wrong = values[~((values >= 0) & (values <= 1))]
    if wrong.numel():
        verb = "holds" if values.ndim else "is"
        raise refusal(ValueError(f"alpha must lie in [0, 1], but {verb} {float(wrong[0]):g}."))


def _shown(part: Tensor | float) -> str:
    return f"of shape {list(part.shape)}" if isinstance(part, Tensor) and part.ndim else f"{float(part):g}"


def _is_one(alpha: Tensor | float) -> bool:
    return bool((torch.as_tensor(alpha) == 1).all())
