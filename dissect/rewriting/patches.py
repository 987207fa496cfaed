"""What parts of a layer draw alone: patches rendered without their surroundings, by which a layer to edit is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.devices import device_of, to_device
from dissect.network.hooks import Hooks
from dissect.network.outputs import first_tensor
from dissect.rewriting.directions import area
from dissect.rewriting.keys import is_pair, noise_of
from dissect.rewriting.memory import Memory
from dissect.rewriting.moment import batches_of
from dissect.stats.frechet import frechet_distance
from dissect.visits.images import Images
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step


@speaks
def draw_patches(memory: Memory, inputs: Any, size: int, corners: Tensor) -> Tensor:
    """What squares of a layer's keys draw alone (thesis, section B.7): the layer and all that follows see nothing else.

    Args:
        memory: the layer, of a generator whose layers after it take maps of any size.
        inputs: of n images; of a StyleGAN2 (z, noise seeds), since its fixed noise has the size of whole maps. What its
            coarser layers have drawn is cut to the square, at the size that the first image after the layer has.
        size: rows and columns of keys.
        corners: [n, 2] int64, each square's first row and column.

    Returns:
        Images [n, 3, p, p], p proportional to the size.

    Raises:
        ValueError: squares that stick out, or as many as there are no images; a StyleGAN2 without noise seeds.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> memory, z = rewriting.Memory(street, "layer6"), dissect.latents(street, 2)
        >>> rewriting.draw_patches(memory, z, 4, torch.tensor([[0, 0], [12, 6]])).shape
        torch.Size([2, 3, 16, 16])
    """
    size = integer("size", size)
    corners = torch.as_tensor(corners)
    keys, enlarged = 0, _enlarged(memory)

    def cut_keys(_: nn.Module, given: Any, named: Any) -> Any:
        nonlocal keys
        keys = given[0].shape[2]
        return (_windows(given[0], corners, size), *given[1:]), named

    def cut_image(_: nn.Module, given: Any, named: Any, output: Tensor) -> Tensor:
        factor = output.shape[2] // keys
        return _windows(output, corners * factor, size * factor)

    with Hooks() as hooks:
        hooks.before(memory.model.get_submodule(memory.layer), cut_keys)
        if enlarged is not None:
            hooks.after(enlarged, cut_image, edits=True)
        return _made(memory, inputs)


@speaks
def draw_values(memory: Memory, inputs: Any, masks: Tensor) -> Tensor:
    """What a layer's values draw alone: all others are 0 (thesis, Figure 6-2d), and so is what coarser layers drew.

    Args:
        memory: the layer.
        inputs: of n images: z, or (z, noise seeds).
        masks: [n, H, W], at any size: a value stays where its cell is covered at least in part.

    Returns:
        Images [n, 3, R, R].

    Raises:
        ValueError: masks that are not one per image.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> memory, z, mask = rewriting.Memory(street, "layer6"), dissect.latents(street, 1), torch.zeros(1, 16, 16)
        >>> mask[0, 8, 8] = 1
        >>> rewriting.draw_values(memory, z, mask).shape
        torch.Size([1, 3, 64, 64])
    """

    def leave(_: nn.Module, given: Any, named: Any, output: Tensor) -> Tensor:
        covered = area(masks, (output.shape[2], output.shape[3])) > 0
        if len(covered) != len(output):
            raise refusal(ValueError(f"masks must be one per image, {len(output)}, but are {len(covered)}."))
        return output * covered.to(output)[:, None]

    enlarged = _enlarged(memory)
    with Hooks() as hooks:
        hooks.after(memory.model.get_submodule(memory.value_layer), leave, edits=True)
        if enlarged is not None:
            hooks.after(enlarged, lambda _, given, named, output: torch.zeros_like(output), edits=True)
        return _made(memory, inputs, sized=False)


class PatchDistance(NamedTuple):
    """How far patches drawn alone are from patches of whole images.

    Attributes:
        layer: of the keys.
        size: rows and columns of keys.
        pixels: rows and columns of the patches.
        distance: the Frechet distance of features.
        floor: that of two samples of patches of whole images, as large.
    """

    layer: str
    size: int
    pixels: int
    distance: float
    floor: float


@speaks
def patch_distances(
    model: nn.Module, layers: Sequence[str], inputs: Any, features: Callable[[Tensor], Tensor],
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64), *, seed: int = 0, batch_size: int = 32, progress: bool = True,
) -> list[PatchDistance]:  # fmt: skip
    """By which layers neighbouring keys depend least on each other (thesis, section B.7, Figures B-7 and B-10).

    Of each image one square of each layer's keys is drawn alone, at a random place, and compared with squares of whole
    images, of as many pixels at other random places. Published are 50,000 patches and the features of Inception.

    Args:
        model: from z to images [N, 3, R, R], in evaluation mode.
        layers: memories of the model.
        inputs: z, or (z, noise seeds), which a StyleGAN2 must have.
        features: from images [N, 3, p, p], at any size, to [N, D].
        sizes: of squares, in keys; of each layer those that fit into its map.
        seed: of the places, which depend on it and on an image's number.
        batch_size: images at a time.
        progress: show a bar.

    Returns:
        A row per layer and size.

    Raises:
        ValueError: no layers, none of the sizes fits, fewer than two images, or see `draw_patches`.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> rows = rewriting.patch_distances(
        ...     street, ["layer4", "layer6"], dissect.latents(street, 4), lambda images: images.mean((2, 3)), [2],
        ...     progress=False,
        ... )
        >>> [row[:3] for row in rows]
        [('layer4', 2, 16), ('layer6', 2, 8)]
    """
    memories = {layer: Memory(model, layer) for layer in layers}
    chosen = [integer("sizes", size) for size in sizes]
    if not memories or not chosen:
        raise refusal(ValueError("layers and sizes must be at least one each, but there are none."))
    run = _Patches(memories, chosen, features, seed_number(seed))
    finish(run, Images({"inputs": batches_of(inputs, integer("batch_size", batch_size))}), progress=progress)
    if not run.alone or run.count < 2:
        raise refusal(
            ValueError(f"there must be two images, and a size that fits, but there are {run.count} and {chosen}.")
        )
    whole = {pixels: [torch.cat(parts) for parts in both] for pixels, both in run.whole.items()}
    floors = {pixels: frechet_distance(*both) for pixels, both in whole.items()}
    return [
        PatchDistance(layer, size, pixels, frechet_distance(torch.cat(parts), whole[pixels][0]), floors[pixels])
        for (layer, size, pixels), parts in run.alone.items()
    ]


class _Patches(Run):
    """Features of patches drawn alone, and of two samples of patches of whole images."""

    def __init__(self, memories: dict[str, Memory], sizes: list[int], features: Any, seed: int) -> None:
        self._memories, self._sizes, self._features, self._seed = memories, sizes, features, seed
        self.alone: dict[tuple[str, int, int], list[Tensor]] = {}
        self.whole: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self.count, self.done = 0, False

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return None if self.done else Visit("patches", last=True, data="inputs")

    @torch.no_grad()
    def compute(self, step: Step) -> Any:
        """See `Run`."""
        also = step.planes if isinstance(step.planes, Tensor) else None
        inputs: Any = step.images if also is None else (step.images, also)
        drawn = torch.stack([self._uniform(int(number)) for number in step.numbers])  # [n, 3, 2] in [0, 1)
        alone, whole = {}, {}
        for layer, memory in self._memories.items():
            maps = memory.keys(inputs).maps
            for size in (size for size in self._sizes if size <= min(maps.shape[2:])):
                span = torch.tensor(maps.shape[2:]) - size + 1
                patches = draw_patches(memory, inputs, size, (drawn[:, 0] * span).long())
                alone[layer, size, patches.shape[2]] = self._features(patches).cpu()
        images = _made(next(iter(self._memories.values())), inputs, sized=False)
        for pixels in {pixels for _, _, pixels in alone}:
            span = torch.tensor(images.shape[2:]) - pixels + 1
            crops = (_windows(images, (drawn[:, place] * span).long(), pixels) for place in (1, 2))
            whole[pixels] = [self._features(crop).cpu() for crop in crops]
        return len(images), alone, whole

    def add(self, found: Any) -> None:
        """See `Run`."""
        count, alone, whole = found
        self.count += count
        for key, part in alone.items():
            self.alone.setdefault(key, []).append(part)
        for pixels, parts in whole.items():
            for known, part in zip(self.whole.setdefault(pixels, ([], [])), parts):
                known.append(part)

    def end_visit(self) -> None:
        """See `Run`."""
        self.done = True

    def _uniform(self, number: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng([self._seed, number]).random((3, 2)))


def _made(memory: Memory, inputs: Any, sized: bool = True) -> Tensor:
    """The model's images of inputs.

    Raises:
        ValueError: a StyleGAN2 is to draw maps of another size, and has no noise for them.
    """
    batch, also = inputs if is_pair(inputs) else (inputs, None)
    if sized and not memory.linear and also is None:
        raise refusal(
            ValueError("inputs must be (z, noise seeds) of a StyleGAN2, whose fixed noise has the size of whole maps.")
        )
    with torch.no_grad():
        found: Tensor = first_tensor(
            memory.model(to_device(batch, device_of(memory.model)), **noise_of(memory.model, also))
        )
    return found


def _enlarged(memory: Memory) -> nn.Module | None:
    """What enlarges the image of a StyleGAN2's coarser layers to which the first image after a layer is added."""
    if memory.linear:
        return None
    number = int(memory.layer.partition(".")[0].removeprefix("layer"))
    found: Any = memory.model.get_submodule(f"to_rgb{(number + 1) // 2}")
    enlarged: nn.Module | None = found.upsample
    return enlarged


def _windows(maps: Tensor, corners: Tensor, size: int) -> Tensor:
    """Squares [n, C, size, size] of maps, one of each.

    Raises:
        ValueError: they are not as many, or stick out.
    """
    if corners.shape != (len(maps), 2):
        raise refusal(
            ValueError(f"corners must be [{len(maps)}, 2], of each image one, but are {list(corners.shape)}.")
        )
    ends = torch.tensor(maps.shape[2:]) - size
    if bool((corners < 0).any()) or bool((corners > ends).any()):
        raise refusal(
            ValueError(f"squares of {size} must lie within maps of {list(maps.shape[2:])}, but one sticks out.")
        )
    return torch.stack([
        image[:, row : row + size, column : column + size] for image, (row, column) in zip(maps, corners.tolist())
    ])  # fmt: skip
