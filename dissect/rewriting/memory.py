"""A layer of a network as an associative memory: a linear map from keys to values, whose rules can be rewritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dissect.arguments import refusal, speaks
from dissect.devices import device_of, to_device
from dissect.models import ProGAN, StyleGAN2
from dissect.models.noise import seeded_noise
from dissect.models.stylegan2_layers import EqualConv, StyledLayer
from dissect.network.hooks import Hooks, why_not_plain
from dissect.network.identity import weights_fingerprint
from dissect.network.layers import find_layers
from dissect.network.modes import check_evaluating, repeatable
from dissect.network.trace import StopForward, Trace
from dissect.rewriting.directions import Directions, DirectionsMethod, directions
from dissect.rewriting.forms import form_of
from dissect.rewriting.keys import Keys, is_pair, noise_of
from dissect.rewriting.moment import SecondMoment, second_moment


class Memory:
    """A layer as an associative memory (Bau et al. 2020; thesis, section 6.3.2).

    A key is the i channels at one location of what the layer multiplies, and its value the pattern ``v = W k`` that it
    adds to the output. The weight is read as the matrix ``W.permute(0, 2, 3, 1).reshape(o * kh * kw, i)``, and the rank
    of an edit is that of this matrix's change.

    Args:
        model: any nn.Module, in evaluation mode.
        layer: the name of a Conv2d, ConvTranspose2d or Linear, whose values are its bare outputs: a linear memory. Of a
            `ProGAN`, "layer6" stands for "layer6.conv". Of a `StyleGAN2`, "layer8" is the modulated convolution: keys
            are modulated inputs, values what the layer gives after demodulation (always of the weight at hand), blur,
            noise (as it is in each image), bias and leaky ReLU: a nonlinear memory. "to_rgb3" is a linear one.

    Attributes:
        model: the network.
        layer: the name of the module that has the weight.
        form: how the weight is a matrix.
        linear: whether values are a linear function of the weight.
        moment: what `second_moment` found, or None; may be set to one that was loaded.

    Raises:
        KeyError: a layer that the model does not have.
        TypeError: a layer that is no memory.
        ValueError: a grouped convolution, a weight that is computed from others or that other layers have too, a module
            with hooks or a forward of its own, or a model in training mode.

    Example:
        >>> from dissect import tiny
        >>> memory = dissect.rewriting.Memory(tiny.generator(), "layer4")
        >>> memory
        <Memory 'layer4.conv' (convolution 4, feature map 4): 128 -> 128 channels, 3x3 taps, linear>
        >>> memory.matrix().shape
        torch.Size([1152, 128])
    """

    @speaks
    def __init__(self, model: nn.Module, layer: str) -> None:
        find_layers(model, [layer])
        check_evaluating(model)
        self.model = model
        self.layer, self._styled = _resolved(model, layer)
        self._module: Any = model.get_submodule(self.layer)
        self.form = form_of(self.layer, self._module)
        _check_own(model, self.layer, self._module)
        self.linear = self._styled is None
        self.moment: SecondMoment | None = None
        self._runs_once = False  # known after the first pass, which is of the whole model

    def __repr__(self) -> str:
        numbers = f" ({self.numbering})" if self.numbering else ""
        kernel = "x".join(map(str, self.form.kernel))
        kind = "linear" if self.linear else "nonlinear"
        return f"<Memory {self.layer!r}{numbers}: {self.inputs} -> {self.outputs} channels, {kernel} taps, {kind}>"

    @property
    def inputs(self) -> int:
        """i, the length of a key."""
        return int(self.weight.shape[self.form.order[3]])

    @property
    def outputs(self) -> int:
        """o, the channels of the values."""
        return int(self.weight.shape[self.form.order[0]])

    @property
    def numbering(self) -> str | None:
        """Both numberings of a generator's layer, the papers' of convolutions and their code's of feature maps."""
        number = self.layer.partition(".")[0].removeprefix("layer")
        if not isinstance(self.model, (ProGAN, StyleGAN2)) or not number.isdigit():
            return None
        # StyleGAN2's layer1 is a constant, so that layer8 of the code is the paper's seventh convolution.
        convolution = int(number) - isinstance(self.model, StyleGAN2)
        return f"convolution {convolution}, feature map {number}"

    @property
    def value_layer(self) -> str:
        """The name of the module that gives the values."""
        return self.layer if self._styled is None else f"{self._styled}.activate"

    @property
    def key_module(self) -> nn.Module:
        """The module whose input is the keys, or of StyleGAN2 whose output."""
        return self.model.get_submodule(self.layer if self._styled is None else f"{self._styled}.modulate")

    @property
    def weight(self) -> nn.Parameter:
        """The layer's own."""
        found: nn.Parameter = self._module.weight
        return found

    def matrix(self) -> Tensor:
        """[o * kh * kw, i], a copy of the weight as it is now."""
        return self.form.matrix(self.weight)

    def factor(self, keys: Keys) -> int:
        """How many times as many rows the values have as the keys, where both are maps of the same places.

        Raises:
            ValueError: they are not, because of a stride or a missing border.
        """
        size, out = tuple(keys.maps.shape[2:]), self.value_size(keys)
        if out not in (size, (2 * size[0], 2 * size[1])):
            raise refusal(
                ValueError(
                    f"values must have as many rows and columns as keys, or twice as many, but those of {self.layer!r} "
                    f"are {list(out)} for {list(size)}, so that no place of a value is that of a key."
                )
            )
        return out[0] // size[0]

    def value_size(self, keys: Keys) -> tuple[int, int]:
        """Rows and columns of the values of keys."""
        rows, columns = self.form.output_size((keys.maps.shape[2], keys.maps.shape[3]))
        blurred = self._styled is not None and self.form.transposed
        return (rows - 1, columns - 1) if blurred else (rows, columns)

    @speaks
    def keys(self, inputs: Any) -> Keys:
        """The keys of some inputs of the model: a batch, or (z, noise seeds).

        Raises:
            TypeError, ValueError: what the model does not take, keys that are not finite, a layer that is not called, a
                model in training mode, or one that draws random numbers all the same, so that its keys are others at
                each pass.
            RuntimeError: a layer that runs twice in one pass, so that its keys are of no one place.
        """
        check_evaluating(self.model)
        batch, also = inputs if is_pair(inputs) else (inputs, None)
        if not isinstance(batch, Tensor):
            got = type(batch).__name__
            raise refusal(TypeError(f"inputs must be a batch, a tensor, or (z, noise seeds), but got a {got}."))
        found: Keys = repeatable(lambda: self._seen(batch, also), device_of(self.model))
        # By the ends, which are NaN where any number is: a mask of all numbers would cost a fifth of a second moment.
        if found.maps.numel() and not all(bool(end.isfinite()) for end in found.maps.aminmax()):
            raise refusal(ValueError(f"keys must be finite, but those of {self.layer!r} are not."))
        return found

    def digest_of_others(self) -> str:
        """A digest of all weights but the layer's own, which no edit of the layer changes."""
        return weights_fingerprint(self.model, without=f"{self.layer}.weight")

    def values(self, keys: Keys, matrix: Tensor | None = None) -> Tensor:
        """What the layer gives [n, o, H, W] for keys; with another matrix [o * kh * kw, i] what it would give."""
        matrix = self.matrix() if matrix is None else matrix
        rows = self.form.rows(keys.maps)
        with torch.no_grad():
            return self.finish(keys, self.form.product(rows, matrix), self.energy(keys, matrix))

    def energy(self, keys: Keys, matrix: Tensor) -> Tensor | None:
        """[n, o], the squares that StyleGAN2 demodulates by; None of a linear memory."""
        if keys.style is None:
            return None
        squares = matrix.square().view(self.outputs, self.form.taps, -1).sum(1)
        return (keys.style * self.form.scale).square() @ squares.T

    def finish(self, keys: Keys, product: Tensor, energy: Tensor | None) -> Tensor:
        """The values [n, o, H, W] of `rows` times the matrix; differentiable in both."""
        maps = self.form.maps(product, len(keys), (keys.maps.shape[2], keys.maps.shape[3]))
        if energy is None or self._styled is None:
            bias = getattr(self._module, "bias", None)
            return maps if bias is None else maps + bias.detach()[:, None, None]
        layer: Any = self.model.get_submodule(self._styled)
        maps = maps * torch.rsqrt(energy + 1e-8)[:, :, None, None]
        maps = maps if layer.blur is None else layer.blur(maps)
        output: Tensor = layer.activate(maps if keys.noise is None else maps + keys.noise)
        return output

    @speaks
    def second_moment(
        self, inputs: Any, *, batch_size: int = 32, resume: str | Path | None = None, progress: bool = True
    ) -> SecondMoment:
        """E[k k^T] over all locations of all inputs, uncentred; kept as `moment`.

        See `dissect.rewriting.second_moment`, whose arguments and errors these are.
        """
        self.moment = second_moment(self, inputs, batch_size=batch_size, resume=resume, progress=progress)
        return self.moment

    @speaks
    def direction(
        self, keys: Keys | Tensor, rank: int = 1, *, masks: Tensor | None = None, method: DirectionsMethod = "zca",
        preserve: Keys | Tensor | None = None,
    ) -> Directions:  # fmt: skip
        """The row space that an edit of these keys may change; see `dissect.rewriting.directions`."""
        return directions(self, keys, rank, masks=masks, method=method, preserve=preserve)

    def _seen(self, batch: Tensor, also: Any) -> Keys:
        """The keys of a batch; what comes with it goes in as noise seeds where the model takes any."""
        if self.linear and self._runs_once:
            return self._seen_before(batch, also)
        names = [self.layer] if self._styled is None else [f"{self._styled}.modulate", f"{self._styled}.noise"]
        with torch.no_grad(), Trace(self.model, names, inputs=True, stop=self._runs_once) as trace:
            trace.run(to_device(batch, device_of(self.model)), **noise_of(self.model, also))
        if not trace.complete():
            raise self._unseen()
        self._runs_once = True
        return self._key(*trace.inputs(self.layer)) if self._styled is None else _styled_keys(trace, *names)

    def _seen_before(self, batch: Tensor, also: Any) -> Keys:
        """The same of a linear memory, by a pass that ends before the layer, which need not compute its values."""
        seen: list[Any] = []

        def end(_: nn.Module, *given: Any) -> None:
            seen.append(given)
            raise StopForward

        with torch.no_grad(), Hooks() as hooks:
            hooks.before(self._module, end)
            try:
                self.model(to_device(batch, device_of(self.model)), **noise_of(self.model, also))
            except StopForward:
                return Keys(self._key(*seen[0]).maps.clone())
        raise self._unseen()

    def _key(self, given: tuple[Any, ...], named: dict[str, Any]) -> Keys:
        """What a linear memory was called with, as keys."""
        key: Tensor = given[0] if given else next(iter(named.values()))
        if isinstance(self._module, nn.Linear):
            key = key.reshape(len(key), -1, key.shape[-1]).transpose(1, 2)[:, :, None]
        return Keys(key)

    def _unseen(self) -> ValueError:
        return refusal(
            ValueError(
                f"layer must run when the model does, but {self.layer!r} is not called, or its weight is used by "
                "another module, as that of nn.MultiheadAttention.out_proj; name one that is called."
            )
        )


def _styled_keys(trace: Trace, modulate: str, noise: str) -> Keys:
    maps, style = trace[modulate], trace.inputs(modulate)[0][1]
    module: Any = trace.model.get_submodule(noise)
    before, seeds = trace.inputs(noise)[0]
    field = module.get_buffer("fixed")
    if seeds is not None:
        field = seeded_noise(seeds, module.layer, *before.shape[2:])
    return Keys(maps, style, (module.weight.detach() * field).expand(len(maps), -1, -1, -1))


def _resolved(model: nn.Module, layer: str) -> tuple[str, str | None]:
    """The name of the module that has the weight, and of the styled layer that it is in, if any."""
    module = model.get_submodule(layer)
    if isinstance(module, StyledLayer):
        return f"{layer}.conv", layer
    if isinstance(module, EqualConv) or isinstance(getattr(module, "conv", None), EqualConv):
        name = layer if isinstance(module, EqualConv) else f"{layer}.conv"
        parent = name.rpartition(".")[0]
        return name, parent if isinstance(model.get_submodule(parent), StyledLayer) else None
    inner = getattr(module, "conv", None) if isinstance(module, nn.Sequential) else None
    return (f"{layer}.conv", None) if isinstance(inner, (nn.Conv2d, nn.ConvTranspose2d)) else (layer, None)


def _check_own(model: nn.Module, name: str, module: nn.Module) -> None:
    """Refuses a weight that is computed, or that other layers have too, and a layer that gives something else."""
    why = why_not_plain(module)
    if why is not None:
        raise refusal(ValueError(f"layer must give what its weight says, but {name!r} {why}; remove that first."))
    if parametrize.is_parametrized(module, "weight") or "weight" not in module._parameters:
        raise refusal(ValueError(f"layer must have a weight of its own, but that of {name!r} is computed from others."))
    parts = model.named_modules(remove_duplicate=False)
    weight: Any = module._parameters["weight"]
    if weight.dtype not in (torch.float32, torch.float64):
        raise refusal(TypeError(f"layer must have weights of float32 or 64, but those of {name!r} are {weight.dtype}."))
    holders = [other for other, part in parts if any(each is weight for each in part._parameters.values())]
    if len(holders) > 1:
        raise refusal(ValueError(f"layer must have a weight of its own, but {holders} share that of {name!r}."))
