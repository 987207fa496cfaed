"""Images of many z, with and without edits of a layer's units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect.arguments import check_precision, refusal
from dissect.data import Batch
from dissect.devices import device_of
from dissect.digests import number_of
from dissect.generated import Generated
from dissect.interventions.intervention import insert
from dissect.interventions.replay import Replays
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption, Layouts, to_maps
from dissect.network.modes import check_evaluating, check_segmenter
from dissect.network.outputs import first_tensor
from dissect.network.trace import FirstTensorTrace
from dissect.network.units import Units, check_units

#: z of each image, or z and noise seeds [N], as `dissect.latents` and `dissect.noise_seeds` give them.
Latents = Tensor | tuple[Tensor, Tensor]


class UnitEdit(NamedTuple):
    """Units of a layer set to a value.

    Attributes:
        units: [K] int64.
        value: a number, or of all units of the layer [U], or for each z its own [N, U].
        mask: where, 0 to 1: [h, w], or for each z its own [N, h, w]; None is everywhere.
    """

    units: Tensor
    value: Tensor | float = 0.0
    mask: Tensor | None = None


class Renderer:
    """A generator and a layer that were looked at, and the z whose images are made, always in the same batches.

    Of each batch what ends before the edited layer runs once, and only what follows for each edit (`Replay`).

    Args:
        generator: from z to images [N, 3, H, W] in [-1, 1], in evaluation mode.
        layer: a layer's name.
        z: [N, ...], or (z, noise seeds [N]).
        segmenter: sees the images.
        batch_size: images at a time.
        layout: of the layer's output where it is not certain, see `dissect.ablate`.

    Raises:
        KeyError: a layer that the generator does not have.
        TypeError, ValueError: z of another type, shape or device; images that are none, or not in [-1, 1]; others at
            the second time; a generator in training mode.
    """

    def __init__(
        self, generator: nn.Module, layer: str, z: Latents, segmenter: Any, batch_size: int,
        layout: LayoutOption | None = None,
    ) -> None:  # fmt: skip
        find_layers(generator, [layer])
        check_evaluating(generator)
        self.generator, self.layer, self.batch_size = generator, layer, batch_size
        self.device = device_of(generator)
        self.z, self.seeds = _checked_z(generator, z, self.device)
        check_segmenter(segmenter, generated=True)
        self._generated = Generated(generator)
        self._layouts = Layouts(generator, [layer], layout)
        #: Of the layer's output, a letter per axis.
        self.layout = ""
        features, images = self._look(slice(0, min(2, len(self.z))))
        self._replays: Replays | None = None  # not looked at
        #: U, (h, w) and (H, W).
        self.num_units, self.map_size = features.shape[1], (features.shape[2], features.shape[3])
        self.image_size = (images.shape[2], images.shape[3])

    def __len__(self) -> int:
        """N."""
        return len(self.z)

    def maps(self, rows: slice) -> Tensor:
        """The layer's maps [n, U, h, w] of some z; what follows the layer does not run."""
        with torch.no_grad(), FirstTensorTrace(self.generator, [self.layer], stop=True) as trace:
            trace.run(self.z[rows], **self.extra(rows))
        output = trace[self.layer]
        return to_maps(output, self._layouts.of(self.layer, output).axes)

    def plain(self, rows: slice) -> tuple[Tensor, Tensor]:
        """The layer's maps [n, U, h, w] and the images of some z, as the generator makes them."""
        with torch.no_grad(), FirstTensorTrace(self.generator, [self.layer]) as trace:
            images = self._checked(rows, self._run(rows))
        output = trace[self.layer]
        return to_maps(output, self._layouts.of(self.layer, output).axes), images

    def edited(self, rows: slice, edits: Sequence[UnitEdit], see: Callable[[int, Tensor], None]) -> None:
        """Calls `see` with each edit's number and the images of some z with that edit.

        What ends before the layer, or with it, runs once; the images are those of whole runs within `editing`, to the
        bit. Edits are seen one by one, so that no more than one batch of images is held.

        Raises:
            ValueError: images that are not finite.
        """
        run = self.replay(rows)
        for number, edit in enumerate(edits):
            with torch.no_grad(), self.editing(rows, edit):
                images = first_tensor(run())
            if not bool(images.isfinite().all()):
                raise refusal(
                    ValueError(
                        f"images must be finite, but those of batch {rows.start // self.batch_size} are not "
                        f"when {len(edit.units)} units of {self.layer!r} are set to a value; is the value one that the "
                        "units can have?"
                    )
                )
            see(number, images)

    def replay(self, rows: slice) -> Callable[[], Any]:
        """Runs the generator on some z as often as it is called, each time from the layer on; within `editing`."""
        if self._replays is None:
            few = slice(0, min(2, len(self)))
            self._replays = Replays(self.generator, self.layer, self.z[few], **self.extra(few))
        return self._replays.of(self.z[rows], **self.extra(rows))

    def editing(self, rows: slice, edit: UnitEdit, alpha: Tensor | float = 1.0) -> Any:
        """The block within which some z are made with an edit."""
        value, mask = edit.value, edit.mask
        if isinstance(value, Tensor) and value.ndim == 2:
            value = value[rows][:, :, None, None].to(self.device)
        elif isinstance(value, Tensor):
            value = value[edit.units]
        if mask is not None:
            mask = (mask if mask.ndim == 2 else mask[rows][:, None]).to(self.device)
        return insert(self.generator, self.layer, edit.units, value=value, alpha=alpha, mask=mask, layout=self.layout)

    def render(self, rows: slice | Tensor) -> Tensor:
        """Images of some z, by their numbers, within whatever block the caller is in."""
        output: Tensor = first_tensor(self._run(rows))
        return output

    def extra(self, rows: slice | Tensor) -> dict[str, Tensor]:
        """What the generator takes of some z beside them."""
        seeds = None if self.seeds is None else self.seeds[rows]
        batch = Batch(torch.arange(len(self))[rows], self.z[rows], seeds)
        number = rows.start // self.batch_size if isinstance(rows, slice) else 0
        return self._generated.inputs(number, batch, self.device)

    def units(self, units: Units) -> Tensor:
        """[K] int64: units that the layer has, at least one.

        Raises:
            TypeError, ValueError: others.
        """
        numbers = check_units(self.layer, units)
        if not len(numbers):
            raise refusal(ValueError(f"units must be at least one of layer {self.layer!r}, but there are none."))
        if int(numbers.max()) >= self.num_units:
            raise refusal(
                ValueError(
                    f"units of layer {self.layer!r} must be below {self.num_units}, but one is {int(numbers.max())}."
                )
            )
        return numbers

    def keys(self) -> Tensor:
        """[N] int64: a hash of each z and its noise seed, by which samples can be told apart."""
        rows = self.z.detach().cpu().float().flatten(1).numpy()
        seeds = torch.zeros(len(rows), dtype=torch.int64) if self.seeds is None else self.seeds.cpu().long()
        texts = (row.tobytes() + seed.tobytes() for row, seed in zip(rows, seeds.numpy()))
        return torch.tensor([number_of(text) for text in texts])

    def _run(self, rows: slice | Tensor) -> Any:
        return self.generator(self.z[rows], **self.extra(rows))

    def _checked(self, rows: slice, output: Any) -> Tensor:
        return self._generated.images(rows.start // self.batch_size, self.z[rows], output)

    def _look(self, rows: slice) -> tuple[Tensor, Tensor]:
        """A first pass: learns where units are, and whether the same z gives the same images again."""
        if self._layouts.may_be_uncertain():
            self._layouts.learn_from(self.generator, [self.layer], self.z[rows], **self.extra(rows))
        features, images = self.plain(rows)
        self._generated.check_repeats(self.z[rows], self.extra(rows), images)
        check_precision(self.layer, features)
        self.layout = self._layouts.seen[self.layer].axes
        return features, images


def _checked_z(generator: nn.Module, z: Latents, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """The z, and the noise seeds or None.

    Raises:
        TypeError, ValueError: no such; says what to give.
    """
    seeds: Tensor | None = None
    if isinstance(z, (tuple, list)) and len(z) == 2:
        z, seeds = z
    weight, shape = next(generator.parameters(), None), getattr(generator, "z_shape", None)
    dtype = torch.float32 if weight is None else weight.dtype
    if not isinstance(z, Tensor) or z.dtype != dtype:
        got: Any = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise refusal(
            TypeError(
                f"z must be a tensor of {dtype}, as the generator's weights are, or a pair of it and noise seeds, "
                f"but got {got}; dissect.latents makes z that fit."
            )
        )
    if z.ndim < 2 or not len(z) or (shape is not None and z[0].numel() != math.prod(shape)):
        wanted = "..." if shape is None else ", ".join(map(str, shape))
        raise refusal(ValueError(f"z must have shape [N, {wanted}] with N from 1 on, but got {list(z.shape)}."))
    if z.device != device:
        raise refusal(ValueError(f"z must be on {device}, as the generator's weights are, but is on {z.device}."))
    bad = ~z.isfinite().flatten(1).all(1)
    if bool(bad.any()):
        raise refusal(ValueError(f"z must be finite, but z number {int(bad.nonzero()[0])} is not."))
    if seeds is not None and (not isinstance(seeds, Tensor) or seeds.shape != z.shape[:1]):
        got = list(seeds.shape) if isinstance(seeds, Tensor) else type(seeds).__name__
        raise refusal(ValueError(f"noise seeds must have shape [N] with N={len(z)}, as z has, but got {got}."))
    return z, seeds
