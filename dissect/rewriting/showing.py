"""Images before and after a change, to be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dissect.arguments import integer, refusal, speaks
from dissect.network.modes import check_evaluating
from dissect.rewriting.measuring import Change, made, within
from dissect.rewriting.moment import batches_of
from dissect.rewriting.transfer import Transfer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Inches of a picture, and of the line above it.
SIDE, LINE = 0.72, 0.23


@speaks
def changed_images(model: nn.Module, inputs: Any, change: Change | None = None, *, batch_size: int = 32) -> Tensor:
    """The images [N, 3, H, W] that a generator makes with a change, on the CPU; see `rule_changes`.

    Args:
        model: the generator, in evaluation mode.
        inputs: z, or (z, noise seeds).
        change: an `Edit`, or what else `rule_changes` takes; none leaves images as they are.
        batch_size: images at a time.

    Raises:
        ValueError: no inputs, or a model in training mode.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> rewriting.changed_images(street, dissect.latents(street, 2)).shape
        torch.Size([2, 3, 64, 64])
    """
    check_evaluating(model)
    changed = []
    for batch in batches_of(inputs, integer("batch_size", batch_size)):
        with torch.no_grad(), within(change):
            images = made(model, batch)
        changed.append((change(images) if isinstance(change, Transfer) else images).cpu())
    if not changed:
        raise refusal(ValueError("inputs must be at least one, but there are none."))
    return torch.cat(changed)


@speaks
def sheet(model: nn.Module, inputs: Any, changes: Mapping[str, Change], *, batch_size: int = 32) -> Figure:
    """A picture of images as they were and, below each other, with changes (thesis, Figures B-1 to B-6).

    Those figures show the twelve of 1,000 images that agree best with the direction of the edit, which `matches` finds.

    Args:
        model: see `changed_images`; its images are in [-1, 1].
        inputs: z, or (z, noise seeds), of few images.
        changes: by name, see `rule_changes`.
        batch_size: images at a time.

    Raises:
        ImportError: matplotlib is not installed.
        ValueError: see `changed_images`.

    Example:
        >>> from dissect import rewriting, tiny
        >>> street = tiny.generator()
        >>> less = rewriting.Ablated(rewriting.Memory(street, "layer4"), [3, 17])
        >>> figure = rewriting.sheet(street, dissect.latents(street, 2), {"less": less})
        >>> len(figure.axes)
        4
    """
    from dissect import plots

    named: dict[str, Change | None] = {"as they were": None, **changes}
    rows = [
        list((changed_images(model, inputs, change, batch_size=batch_size) + 1) / 2) for change in named.values()
    ]  # fmt: skip
    with plots.drawing():
        figure = plots.new_figure(SIDE * len(rows[0]), (SIDE + LINE) * len(rows))
        plots.tiles(figure, rows, list(named))
    return figure
