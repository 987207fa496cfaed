"""Copy, paste and context: what is painted on images becomes keys and the values that they shall have."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.devices import device_of, to_device
from dissect.network.outputs import first_tensor
from dissect.rewriting.directions import area
from dissect.rewriting.edit import Edit
from dissect.rewriting.insertion import insert
from dissect.rewriting.keys import Keys, is_pair, noise_of
from dissect.rewriting.memory import Memory


class Copied(NamedTuple):
    """An object to be pasted.

    Attributes:
        values: [o, a, b], of the box that holds all of the mask.
        alpha: [a, b] float32, how much of each place is the object's.
    """

    values: Tensor
    alpha: Tensor


@speaks
def copy(memory: Memory, inputs: Any, mask: Tensor) -> Copied:
    """The object under a mask in one image, as values of the memory (thesis, Figure 6-3a).

    Args:
        memory: the layer.
        inputs: of one image.
        mask: [H, W] in [0, 1], at any size; alpha is the share of each place that it covers.

    Raises:
        ValueError: inputs of several images, or a mask that selects nothing.

    Example: see `paste`.
    """
    keys = _one(memory, inputs)
    values = memory.values(keys)[0]
    alpha = _alpha(memory, keys, mask)
    rows, columns = _box(alpha)
    return Copied(values[:, rows, columns], alpha[rows, columns])


@speaks
def paste(memory: Memory, inputs: Any, mask: Tensor, copied: Copied, *, tight: bool = True) -> tuple[Keys, Tensor]:
    """One image's keys, and the values that they have with an object in the middle of a mask (thesis, Figure 6-3b).

    ``alpha * object + (1 - alpha) * values``, where the object is moved inside if it would stick out.

    Args:
        memory: the layer.
        inputs: of the image.
        mask: [H, W]; the object's middle comes into that of the box that holds all of it.
        copied: the object.
        tight: as published, give those keys alone that the object touches, grown to whole keys; they then go through
            the layer with nothing around them, so that at the crop's edge their values are not quite the image's.
            False gives the whole image.

    Returns:
        What `insert` takes: keys and values.

    Raises:
        ValueError: inputs of several images, a mask that selects nothing, or an object larger than the image.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> memory, z = rewriting.Memory(street, "layer6"), dissect.latents(street, 2)
        >>> mask = torch.zeros(64, 64)
        >>> mask[20:40, 10:30] = 1
        >>> keys, values = rewriting.paste(memory, z[1:], mask, rewriting.copy(memory, z[:1], mask))
        >>> keys.maps.shape, values.shape
        (torch.Size([1, 128, 5, 6]), torch.Size([1, 128, 5, 6]))
    """
    keys = _one(memory, inputs)
    values = memory.values(keys).clone()
    rows, columns = placed(memory, keys, mask, copied)
    alpha = copied.alpha.to(values)
    there = values[0, :, rows, columns]
    values[0, :, rows, columns] = alpha * copied.values + (1 - alpha) * there
    if not tight:
        return keys, values
    factor = memory.factor(keys)
    rows, columns = (slice(side.start // factor, -(-side.stop // factor)) for side in (rows, columns))
    grown = [slice(side.start * factor, side.stop * factor) for side in (rows, columns)]
    return keys.crop(rows, columns, factor), values[:, :, grown[0], grown[1]]


@speaks
def render(memory: Memory, inputs: Any, values: Tensor | None = None) -> Tensor:
    """The images [n, 3, H, W] that the model makes where its layer gives other values, as they are pasted.

    Args:
        memory: the layer; not a fully connected one.
        inputs: of n images.
        values: [n, o, H, W], of whole maps; the layer's own if there are none.

    Raises:
        ValueError: values of another shape than the layer's.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> memory, z = rewriting.Memory(street, "layer6"), dissect.latents(street, 1)
        >>> values = memory.values(memory.keys(z))
        >>> torch.allclose(rewriting.render(memory, z, values), rewriting.render(memory, z), atol=1e-4)
        True
    """
    batch, also = inputs if is_pair(inputs) else (inputs, None)

    def instead(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        if values is not None and values.shape != output.shape:
            raise refusal(
                ValueError(f"values must be {list(output.shape)}, as the layer gives, but are {list(values.shape)}.")
            )
        return output if values is None else values.to(output)

    hook = memory.model.get_submodule(memory.value_layer).register_forward_hook(instead)
    try:
        with torch.no_grad():
            given = to_device(batch, device_of(memory.model))
            images: Tensor = first_tensor(memory.model(given, **noise_of(memory.model, also)))
            return images
    finally:
        hook.remove()


def placed(memory: Memory, keys: Keys, mask: Tensor, copied: Copied) -> tuple[slice, slice]:
    """The rows and columns of the values where an object comes to lie, its middle in that of the mask's box."""
    sizes = zip(_box(_alpha(memory, keys, mask)), copied.alpha.shape, memory.value_size(keys))
    rows, columns = (_centred(box, size, length) for box, size, length in sizes)
    return rows, columns


@speaks
def erase(
    memory: Memory, inputs: Any, masks: Tensor, *, goal: int = 0, units: int = 30, rank: int = 1, **options: Any
) -> Edit:
    """Unlearns what masks show: aims a change of low rank at one success of ablating units (thesis, section 6.5.2).

    The units with the largest mean square at the masks, relative to their second moment (B.17), are set to 0 under the
    mask of one image, and the values that it has then are inserted, along directions of all images.

    Args:
        memory: the layer, whose second moment is known.
        inputs: of n images.
        masks: [n, H, W] in [0, 1].
        goal: the number of the image to aim at.
        units: how many are set to 0; published for watermarks are 30 and 60.
        rank: of the change.
        options: of `insert`.

    Raises:
        ValueError: see `insert` and `directions`; a mask of the goal that selects nothing.

    Example:
        >>> from dissect import rewriting
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(4, 3, 1)).eval()
        >>> memory, images = rewriting.Memory(model, "0"), torch.randn(8, 4, 6, 6)
        >>> moment = memory.second_moment(images, progress=False)
        >>> masks = torch.zeros(2, 6, 6)
        >>> masks[:, 2:4, 2:4] = 1
        >>> rewriting.erase(memory, images[:2], masks, units=2, mode="closed").rank
        1
    """
    keys = memory.keys(inputs)
    goal = integer("goal", goal, 0)
    if goal >= len(keys):
        raise refusal(ValueError(f"goal must be the number of an image, below {len(keys)}, but is {goal}."))
    directions = memory.direction(keys, rank, masks=masks)
    found = memory.direction(keys, integer("units", units), masks=masks, method="units").units
    chosen = keys[goal : goal + 1]
    covered = area(masks, (chosen.maps.shape[2], chosen.maps.shape[3]))[goal].to(chosen.maps)
    if not bool((covered > 0).any()):
        raise refusal(ValueError(f"masks must select something of the goal, image {goal}, but are 0 there."))
    rows, columns = _box(covered)
    crop = chosen.crop(rows, columns, memory.factor(chosen))
    maps = crop.maps.clone()
    maps[:, found] *= (covered[rows, columns] == 0).to(maps)
    edit = insert(memory, crop, memory.values(Keys(maps, crop.style, crop.noise)), directions, **options)
    edit.settings["erased"] = {"units": [] if found is None else found.tolist(), "goal": goal, "images": len(keys)}
    return edit


def _one(memory: Memory, inputs: Any) -> Keys:
    keys = memory.keys(inputs)
    if len(keys) != 1:
        raise refusal(ValueError(f"inputs must be of one image, but are of {len(keys)}."))
    return keys


def _alpha(memory: Memory, keys: Keys, mask: Tensor) -> Tensor:
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        got = list(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise refusal(ValueError(f"mask must be [H, W], but is {got}."))
    memory.factor(keys)  # refuses a layer where no place of a value is that of a key
    return area(mask[None], memory.value_size(keys))[0].to(keys.maps.device)


def _box(alpha: Tensor) -> tuple[slice, slice]:
    """The rows and columns where a mask is above 0.

    Raises:
        ValueError: nowhere.
    """
    if not bool((alpha > 0).any()):
        raise refusal(ValueError("mask must select something, but is 0 everywhere."))
    rows, columns = ((alpha > 0).any(axis).nonzero()[:, 0] for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _centred(box: slice, size: int, length: int) -> slice:
    """Where something of a size comes to lie whose middle is that of a box, within a length."""
    if size > length:
        raise refusal(ValueError(f"the object must fit into the image, {length} places, but has {size}."))
    start = min(max((box.start + box.stop - size) // 2, 0), length - size)
    return slice(start, start + size)
