"""A generator as a chain: early layers g_1, ..., g_n one after the other, and G_f, all that follows them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import check_values, refusal
from dissect.data.signed import SignedRange
from dissect.devices import device_of
from dissect.models import StyleGAN2, latents
from dissect.network.layers import find_layers
from dissect.network.modes import check_evaluating
from dissect.network.outputs import first_tensor
from dissect.omissions.styles import StyleChain

#: Between images that a generator and its chain make of the same z: rounding.
_SAME = 1e-3


class Chain:
    """A frozen copy of a generator, split at its layers: ``G = G_f(g_n(... g_1(z)))`` (thesis, equation 5.1).

    Args:
        generator: from z [N, ...] to images [N, 3, H, W]; its children run one after the other, as those of
            `dissect.models.ProGAN` and `WGANGP` do, each on what the one before gave; or a `StyleGAN2`, with its noise
            buffers as frozen noise, whose `layer2`, `layer3`, ... hand on the image so far and w too (`StyleChain`).
        layers: names of children; ``r_i = g_i(r_(i-1))``, with r_0 = z, is the output of ``layers[i - 1]``.

    Attributes:
        shapes: of one r_0, r_1, ..., r_n.
        image_shape: of one image.

    Raises:
        KeyError: a layer that the generator does not have.
        TypeError: no module, or layers that are no names.
        ValueError: layers that are no children in their order, or after which nothing follows; a generator in training
            mode; one that is no chain.

    Example:
        >>> street = dissect.tiny.generator()
        >>> chain = Chain(street, ["layer1", "layer4"])
        >>> chain.shapes, chain.image_shape
        ([(128,), (128, 4, 4), (128, 8, 8)], (3, 64, 64))
        >>> z = dissect.latents(street, 2)
        >>> torch.allclose(chain.render(chain.layers_of(z)[-1]), street(z), atol=1e-3)
        True
    """

    def __init__(self, generator: nn.Module, layers: Sequence[str]) -> None:
        if isinstance(layers, str) or not isinstance(layers, Sequence):
            raise refusal(TypeError(f"layers must be a list of names, but got {layers!r}."))
        if not isinstance(generator, nn.Module):
            raise refusal(TypeError(f"generator must be a torch.nn.Module, but got {type(generator).__name__}."))
        check_evaluating(generator)
        whole = StyleChain(generator) if isinstance(generator, StyleGAN2) else generator
        find_layers(whole, list(layers))
        names = [name for name, _ in whole.named_children()]
        places = [names.index(layer) if layer in names else -1 for layer in layers]
        if -1 in places or places != sorted(places) or places[-1] == len(names) - 1:
            raise refusal(
                ValueError(
                    f"layers must be children of the generator in their order, and not the last, but are "
                    f"{list(layers)}; its children are {names}."
                )
            )
        # Channels last, in which convolutions on a CPU take two thirds of the time.
        copied = copy.deepcopy(whole).requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        parts = list(copied.children())
        begins, ends = [0, *(place + 1 for place in places)], [*(place + 1 for place in places), len(parts)]
        *self._stages, self._rest = (nn.Sequential(*parts[begin:end]) for begin, end in zip(begins, ends))
        self.device = device_of(generator)
        self._first: tuple[int, ...] = ()
        self.shapes, self.image_shape = self._look(generator, copied, parts[0])

    def __len__(self) -> int:
        """How many early layers there are."""
        return len(self._stages)

    def stage(self, number: int, r: Tensor) -> Tensor:
        """``g_number(r)``, `number` from 1 to n."""
        found: Tensor = self._stages[number - 1](r.view(len(r), *self._first) if number == 1 else r)
        return found

    def layers_of(self, z: Tensor, deltas: Sequence[Tensor] = (), upto: int | None = None) -> list[Tensor]:
        """``r_0 = z, r_1, ..., r_n``, where each ``deltas[i - 1]`` is added to the output of g_i (equation 5.5).

        Args:
            z: [N, ...].
            deltas: of the first layers.
            upto: the last r that is wanted, n by default.
        """
        found = [z]
        for number in range(1, (len(self) if upto is None else upto) + 1):
            r = self.stage(number, found[-1])
            found.append(r + deltas[number - 1] if number <= len(deltas) else r)
        return found

    def render(self, r: Tensor) -> Tensor:
        """The images ``G_f(r)`` of r_n."""
        images: Tensor = self._rest(r)
        return images

    @torch.no_grad()
    def _look(
        self, generator: nn.Module, copied: nn.Module, first: nn.Module
    ) -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
        """The shapes, by two z; what the first layer sees of z, and whether the chain makes the generator's images."""
        z = latents(generator, 2)
        seen: list[Tensor] = []
        handle = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        copied(z)
        handle.remove()
        images = first_tensor(generator(z))
        same = len(seen) == 1 and isinstance(seen[0], Tensor) and torch.equal(seen[0].flatten(), z.flatten())
        if same:
            self._first = tuple(seen[0].shape[1:])
            try:
                found = self.layers_of(z)
                same = torch.allclose(self.render(found[-1]), images, atol=_SAME)
            except (RuntimeError, TypeError, ValueError):  # a layer that wants something else, or more
                same = False
        if not bool(images.isfinite().all()):  # NaN is not even like itself
            raise refusal(ValueError(
                "generator must make finite images, but some are NaN or infinite; look for weights that are."
            ))  # fmt: skip
        if images.ndim != 4:
            raise refusal(
                ValueError(f"generator must make images [N, 3, H, W] of z, but makes {list(images.shape)} of 2 z.")
            )
        if not same:
            raise refusal(
                ValueError(
                    f"generator must be a chain, whose children run one after the other from z to the images, but "
                    f"{type(generator).__name__} is not."
                )
            )
        return [tuple(r.shape[1:]) for r in found], tuple(images.shape[1:])


def checked_images(images: Tensor, shape: tuple[int, ...]) -> None:
    """Whether they are images as the generator makes them, at least one.

    Raises:
        TypeError, ValueError: another dtype, size or range.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.float32:
        got: Any = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise refusal(TypeError(f"images must be a tensor of torch.float32, but got {got}."))
    if images.ndim != 4 or not len(images) or tuple(images.shape[1:]) != shape:
        raise refusal(
            ValueError(
                f"images must have shape [N, {', '.join(map(str, shape))}], as the generator's have, with N from 1 on, "
                f"but got {list(images.shape)}."
            )
        )
    check_values("images", images)
    low, high = (float(end) for end in images.detach().aminmax())
    if low >= 0:  # though they be few: photographs come in [0, 1]
        raise refusal(
            ValueError(f"images must be in [-1, 1], as generators give them, but are in [{low:g}, {high:g}].")
        )
    SignedRange("images").see(images.detach(), "given")
