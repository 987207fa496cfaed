"""Whether a network's weights look as they were drawn, before any training."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

#: Weights of fewer numbers say too little; so do networks whose weights have fewer in all.
WEIGHT_NUMBERS, NETWORK_NUMBERS = 1_000, 10_000
#: A batch norm of fewer channels does not count as one that never saw a batch.
NORM_CHANNELS = 8
#: At most so many rows and columns are looked at of a weight: enough to see training, and the same cost for every size.
LINES = 256
#: Fewer rows or columns do not say whether they differ.
FEW_LINES = 32
#: How many standard errors of its sample a figure may lie from that of the distribution.
SIGMAS = 5
#: So many biases and gains must be exactly as they were set, or a normal distribution says nothing: weights that were
#: drawn from one stay as good as normal in the first hundreds of steps.
SET_VALUES = 64
#: Some libraries draw biases of a millionth instead of zeros.
ZERO = 1e-5

_LAYERS = (nn.Linear, _ConvNd)
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Law(NamedTuple):
    """A distribution of mean 0 and variance 1, by its even moments."""

    name: str
    fourth: float
    sixth: float
    eighth: float

    def error(self, samples: int) -> float:
        """The standard error of the kurtosis of so many samples."""
        m4, m6, m8 = self.fourth, self.sixth, self.eighth
        return math.sqrt((m8 - 4 * m4 * m6 + 4 * m4**3 - m4**2) / samples)


UNIFORM = Law("uniform", 9 / 5, 27 / 7, 9.0)
NORMAL = Law("normal", 3.0, 15.0, 105.0)
#: Cut at two standard deviations, as TensorFlow's and JAX's initialisers are.
TRUNCATED = Law("truncated normal", 2.3655, 7.4712, 27.1896)


@torch.no_grad()
def looks_untrained(model: nn.Module) -> str | None:
    """Says why a network's weights are, beyond reasonable doubt, as they were drawn before any training.

    Two things must come together that training undoes. Biases of convolutions and linear layers, and gains and biases
    of norms, are as they are set: the same in all of a layer's channels, or all below 1e-5, or drawn as PyTorch draws
    biases, beside weights in the same bounds. And either all batch norms (one or more of 8 channels, and no fewer than
    half as many as there are weights) hold the mean 0 and the variance 1 that they start with; or all weights of 1,000
    numbers or more (10,000 in all, one of a convolution or a linear layer) are independent draws: uniform, within a
    bound of PyTorch's, Xavier's, He's or LeCun's initialisers, and filling it; or, where 64 biases and gains or more
    are exactly as set, normal, or normal and cut at two standard deviations. Of their mean, their kurtosis, and how
    much the sums and the energies of rows and of columns vary, none lies 5 standard errors from what independent draws
    give. Of a weight at most 256x256 numbers are looked at, at equal distances; no random numbers are drawn.

    Not judged are networks that hold other than dense real numbers (quantized, sparse, complex, on the meta device) or
    weights that are computed from others (pruned, parametrized), and those whose initial biases are neither of these
    kinds. One trained layer of 1,000 weights on random ones, or weights loaded in part, do not look untrained. A
    network after a few steps may: it is still what was drawn.

    Args:
        model: on any device. It is not changed.

    Returns:
        The reason, a clause to follow "looks untrained: ", or None where nothing certain can be said.

    Example:
        >>> from dissect.network.untrained import looks_untrained
        >>> looks_untrained(dissect.tiny.vgg(trained=False))
        'all 15 weights of 1,000 numbers or more are as drawn at random (normal), all biases as first set'
        >>> looks_untrained(dissect.tiny.vgg()) is None
        True
    """
    modules = list(model.modules())
    weights = {id(value): value for value in model.parameters() if value.ndim > 1 and value.numel() >= WEIGHT_NUMBERS}
    layers: list[Any] = [module for module in modules if isinstance(module, _LAYERS)]
    if not all(map(_readable, modules)) or not any(id(layer.weight) in weights for layer in layers):
        return None
    values = _set_values(layers, [module for module in modules if isinstance(module, _NORMS)])
    if values is None:
        return None
    norms = [module for module in modules if isinstance(module, _NormBase) and module.running_mean is not None]
    return _unseen(norms, len(weights)) or _drawn(list(weights.values()), values >= SET_VALUES)


def _readable(module: nn.Module) -> bool:
    """Whether its parameters and buffers are its own, and its parameters dense real numbers."""
    if isinstance(module, _LAYERS) and module._parameters.get("weight") is None:
        return False
    return "quantized" not in type(module).__module__ and all(
        type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided and tensor.device.type != "meta"
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    ) and all(tensor.is_floating_point() for tensor in module.parameters(recurse=False))  # fmt: skip


def _set_values(layers: list[Any], norms: list[Any]) -> int | None:
    """How many biases and gains are alike in all of a layer's channels; None if some are neither that nor drawn."""
    count = 0
    vectors = [(layer.bias, layer.weight) for layer in layers if isinstance(layer.bias, Tensor)]
    vectors += [(value, None) for norm in norms for value in norm.parameters(recurse=False)]
    for vector, weight in vectors:
        value = vector.detach().cpu().double().flatten()
        if not len(value) or (weight is not None and not weight.numel()):
            continue
        if bool((value == value[0]).all()) or value.abs().max() <= ZERO:
            count += len(value) if len(value) > 1 else 0  # a single one is always like itself
        elif weight is None or not _drawn_bias(value, weight):
            return None
    return count


def _drawn_bias(bias: Tensor, weight: Tensor) -> bool:
    """Whether a bias is one that PyTorch draws: in the same bounds as the weight, and as spread."""
    bound, step = _fans(weight)[0] ** -0.5, torch.finfo(weight.dtype).eps
    # 0.8 is the variance of a uniform distribution's square, relative to that square's mean
    spread = float((bias**2).mean()) / (bound**2 / 3)
    largest = max(float(bias.abs().max()), float(_sample(weight).abs().max()))
    uniform: bool = largest <= bound * (1 + step) and abs(spread - 1) <= SIGMAS * math.sqrt(0.8 / len(bias))
    return uniform


def _unseen(norms: list[Any], weights: int) -> str | None:
    """Whether no batch norm ever saw a batch: none of a few beside many weights, which may be a new head's."""
    if 2 * len(norms) < weights or not any(norm.num_features >= NORM_CHANNELS for norm in norms):
        return None
    for norm in norms:
        batches = norm.num_batches_tracked
        if (batches is not None and batches.any()) or norm.running_mean.any() or (norm.running_var != 1).any():
            return None
    which = "its batch norm holds" if len(norms) == 1 else f"all {len(norms)} batch norms hold"
    return f"{which} the mean 0 and the variance 1 of before the first batch"


def _drawn(weights: list[Tensor], biases_set: bool) -> str | None:
    """Whether all weights are independent draws."""
    if sum(weight.numel() for weight in weights) < NETWORK_NUMBERS:
        return None
    laws = set()
    for weight in weights:
        sample = _sample(weight)
        if bool((sample == sample[0, 0]).all()):
            continue  # set, not drawn: tables of positions start from zeros
        law = _law(sample, weight, biases_set)
        if law is None:
            return None
        laws.add(law.name)
    if not laws:
        return None
    which = "its weight" if len(weights) == 1 else f"all {len(weights)} weights"
    text = f"{which} of {WEIGHT_NUMBERS:,} numbers or more {'is' if len(weights) == 1 else 'are'} as drawn at random"
    return f"{text} ({', '.join(sorted(laws))})" + (", all biases as first set" if biases_set else "")


def _fans(weight: Tensor) -> tuple[int, int]:
    """How many numbers belong to an output and to an input, as PyTorch's initialisers count them."""
    places = math.prod(weight.shape[2:])
    return weight.shape[1] * places, weight.shape[0] * places


def _sample(weight: Tensor) -> Tensor:
    """At most 256 rows and 256 columns, at equal distances: [rows, columns] in float64."""
    lines = weight.detach()
    lines = lines[0] if len(lines) == 1 and lines.ndim > 2 else lines  # a table of positions comes as [1, T, U]
    lines = lines[:: -(-len(lines) // LINES)]
    lines = lines.reshape(len(lines), -1)
    return lines[:, :: -(-lines.shape[1] // LINES)].cpu().double()


def _law(lines: Tensor, weight: Tensor, biases_set: bool) -> Law | None:
    """The distribution that a weight's sample, of independent draws then, is from."""
    square = float((lines**2).mean())
    if not 0 < square < math.inf or abs(float(lines.mean())) > SIGMAS * math.sqrt(square / lines.numel()):
        return None
    kurtosis = float((lines**4).mean()) / square**2
    for law in (NORMAL, TRUNCATED) if biases_set else ():
        if _fits(lines, square, kurtosis, law):
            return law
    fits = _fits(lines, square, kurtosis, UNIFORM) and _fills(lines, square, weight)
    return UNIFORM if fits else None


def _fits(lines: Tensor, square: float, kurtosis: float, law: Law) -> bool:
    """Whether the numbers are spread as a distribution says, and rows and columns as independent draws are."""
    if abs(kurtosis - law.fourth) > SIGMAS * law.error(lines.numel()):
        return False
    for matrix in (lines, lines.T):
        count, length = matrix.shape
        sums = float((matrix.sum(1) ** 2).mean()) / (length * square)
        energies = float((matrix**2).mean(1).var()) * length / (square**2 * (law.fourth - 1))
        # 12 is the excess kurtosis of a squared normal number: the energies of short rows vary more
        margin = SIGMAS * math.sqrt((2 + 12 / length) / count)
        if count >= FEW_LINES and max(abs(sums - 1), abs(energies - 1)) > margin:
            return False
    return True


def _fills(lines: Tensor, square: float, weight: Tensor) -> bool:
    """Whether uniform numbers end where an initialiser's do: PyTorch's own, LeCun's, He's, Xavier's."""
    fan_in, fan_out = _fans(weight)
    variances = [gain / fan for gain in (1 / 3, 1, 2) for fan in (fan_in, fan_out)] + [2 / (fan_in + fan_out)]
    largest, step = float(lines.abs().max()), torch.finfo(weight.dtype).eps
    return any(
        0.99 <= largest / math.sqrt(3 * variance) <= 1 + step
        and abs(square / variance - 1) <= SIGMAS * math.sqrt(0.8 / lines.numel())
        for variance in variances
    )
