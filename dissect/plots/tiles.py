"""Pictures beside each other, with masks, and maps laid over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dissect.plots.style import FALL, RISE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def tile(axes: Axes, picture: Tensor, title: str = "") -> None:
    """A picture [3, H, W] in [0, 1], without a frame."""
    axes.imshow(picture.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_title(title, pad=4)


def tiles(figure: Any, rows: Sequence[Sequence[Tensor]], titles: Sequence[str] = ()) -> None:
    """Strips of pictures [3, H, W] in [0, 1], each with its title above its first one.

    Args:
        figure: a figure or a part of one.
        rows: of pictures; shorter ones leave room.
        titles: of the rows; none are written where there are fewer.

    Example:
        >>> with dissect.plots.drawing():
        ...     figure = dissect.plots.new_figure(3, 2)
        ...     tiles(figure, [[torch.rand(3, 8, 8)] * 3, [torch.rand(3, 8, 8)]], ["before", "after"])
        >>> [len(axes.images) for axes in figure.axes]
        [1, 1, 1, 1, 0, 0]
    """
    columns = max(map(len, rows), default=1)
    grid = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for number, (line, pictures) in enumerate(zip(grid, rows)):
        for axes, picture in zip(line, pictures):
            tile(axes, picture)
        empty(line[len(pictures) :])
        if number < len(titles):
            line[0].set_title(titles[number])


def empty(panels: Sequence[Axes]) -> None:
    """Nothing is shown there."""
    for axes in panels:
        axes.axis("off")


def lit(image: Tensor, mask: Tensor) -> Tensor:
    """The image [3, H, W], pale and grey where the mask [H', W'] is False, which is enlarged to it.

    Example:
        >>> lit(torch.zeros(3, 2, 2), torch.tensor([[True, False]]))[0].tolist()
        [[0.0, 0.6200000047683716], [0.0, 0.6200000047683716]]
    """
    index = [torch.arange(size) * small // size for size, small in zip(image.shape[1:], mask.shape)]
    return torch.where(mask[index[0]][:, index[1]], image, 0.62 + 0.38 * image.mean(0, keepdim=True))


def tinted(image: Tensor, change: Tensor) -> Tensor:
    """The image [3, H, W], faint and grey, with red where `change` [H, W] in [-1, 1] is above 0 and blue where below.

    Example:
        >>> red, _, blue = tinted(torch.ones(3, 1, 2), torch.tensor([[1.0, -1.0]]))
        >>> (red > blue).tolist()
        [[True, False]]
    """
    grey = (0.5 + 0.5 * image.mean(0)).expand(3, -1, -1)
    rise, fall = (torch.tensor([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]) for color in (RISE, FALL))
    color = torch.where(change > 0, rise[:, None, None], fall[:, None, None])
    weight = change.abs() * 0.92
    return grey * (1 - weight) + color * weight
