"""Where units lie in a layer's output: inferred where that is certain, given where it is not, else refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dissect.arguments import refusal
from dissect.network.cells import CellTracker, in_order, out_of_order
from dissect.network.outputs import first_tensor
from dissect.network.trace import FirstTensorTrace
from dissect.network.tracking import UnitTracker
from dissect.network.units import is_one_of, unit_module

#: How outputs may be laid out: one letter per axis, as "NUHW" (maps), "NHWU", "NTU" (tokens), "NU" (vectors).
LayoutOption = str | Mapping[str, str]

_CHANNELS_FIRST = (
    nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.GroupNorm, nn.LocalResponseNorm, nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d,
    nn.AvgPool2d, nn.LPPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.Upsample, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle,
)  # fmt: skip
_TURNED = str.maketrans("HW", "WH")
_CHANNELS_LAST = (nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.LSTM, nn.GRU, nn.RNN)


class Layout(NamedTuple):
    """How a layer's output is laid out.

    Attributes:
        axes: a letter per axis: N images, U units, H and W rows and columns, T tokens or places.
        known: how that is known: "given", "module" (its kind says so) or "pass" (units were followed through one).
    """

    axes: str
    known: str


class Layouts:
    """Of some layers of a network, where in their outputs the units lie.

    A vector [N, U] has one place for them. So has what a convolution, a fully connected layer, a normalisation, pooling
    or attention gives, an nn.Sequential that ends in one, or what pointwise layers after it give. Of all others the
    units are followed through the operations of a forward pass (`UnitTracker`). What is not certain then is refused.

    Args:
        model: the network.
        layers: names.
        given: an `axes` for all of the layers, or by name; see `Layout`.

    Raises:
        ValueError: a layout that is none, or of another layer.
    """

    def __init__(self, model: nn.Module, layers: Iterable[str], given: LayoutOption | None = None) -> None:
        names = list(layers)
        self._modules = {name: unit_module(model, name) for name in names}
        self._given = _by_layer(given, names)
        self._followed: dict[str, int | None] = {}
        self._batch_axes: dict[str, int] = {}
        self._cells: dict[str, Tensor | None] = {}
        #: What `of` told last, by layer.
        self.seen: dict[str, Layout] = {}

    def uncertain(self, layer: str, output: Any, images: int | None = None) -> bool:
        """Whether only a forward pass that is followed can tell this output's layout."""
        output = first_tensor(output)
        if layer in self._given or not isinstance(output, Tensor) or output.ndim not in (3, 4):
            return False
        axis = self._axis_of_kind(layer, output)
        if axis is None:
            return layer not in self._followed
        return output.ndim == 3 and layer not in self._batch_axes and self._places(output, axis, images) is None

    def may_be_uncertain(self) -> list[str]:
        """The layers whose kind of module does not say where units are."""
        return [
            name for name, module in self._modules.items()
            if name not in self._given and name not in self._followed and _kind(module) is None
        ]  # fmt: skip

    def learn(
        self,
        layer: str,
        output: Any,
        tracker: UnitTracker,
        images: int | None = None,
        cells: CellTracker | None = None,
    ) -> None:
        """Remembers what a followed pass, over so many images, tells of a layer."""
        output = first_tensor(output)
        if not isinstance(output, Tensor):
            return
        self._followed[layer] = tracker.axis(output)
        self._cells[layer] = None if cells is None else cells.of(output)
        if output.ndim == 3 and images is not None:
            matching = [axis for axis in range(3) if output.shape[axis] == images]
            if len(matching) == 1:
                self._batch_axes[layer] = matching[0]

    def learn_from(self, model: nn.Module, layers: list[str], images: Tensor, **extra: Any) -> None:
        """Remembers what a pass over these images tells of some layers; it ends when these have run.

        Args:
            model: the network.
            layers: names.
            images: or whatever the network takes.
            **extra: what else it takes.
        """
        tracker, cells, found = UnitTracker(), CellTracker(), dict[str, Any]()
        trace = FirstTensorTrace(model, layers, edit=lambda output, layer: found.setdefault(layer, output), stop=True)
        with torch.no_grad(), trace, tracker, cells:
            tracker.begin(images)
            cells.begin(images)
            trace.run(images, **extra)
        for layer, output in found.items():
            self.learn(layer, output, tracker, len(images), cells)

    def followed(self, layer: str) -> bool:
        """Whether a pass was followed to this layer."""
        return layer in self._followed

    def given(self, layer: str) -> bool:
        """Whether its layout was given, which a pass need not tell."""
        return layer in self._given

    def check_cells(self, layer: str, axes: str, grid: tuple[int, int] | None = None) -> None:
        """Refuses maps, or tokens of a grid, of which a followed pass tells that they are no rows and columns.

        Raises:
            ValueError: they are in another order; says where, and what to give.
        """
        numbers = self._cells.get(layer)
        if numbers is None or len(axes) != numbers.ndim:
            return
        cells = to_maps(numbers, axes)[0].amin(0)
        if grid is not None:
            if cells.numel() < grid[0] * grid[1]:  # of other images there are more
                return
            cells = cells.flatten()[-grid[0] * grid[1] :].view(grid)
        why = out_of_order(cells)
        if why is None:
            self._cells[layer] = None  # seen to be right, once for all batches
            return
        turned = cells.reshape(grid[::-1]) if grid is not None else cells.t()
        if int(turned.min()) >= 0 and in_order(turned):
            hint = f"give {f'tokens={grid[::-1]}' if grid else f'layout={axes.translate(_TURNED)!r}'}"
        else:
            hint = "name a layer before they are put into windows or another order, or after they are put back"
        what = f"the last {grid[0]}x{grid[1]} tokens" if grid else "maps"
        raise refusal(
            ValueError(
                f"{what} of layer {layer!r} must be rows and columns of the image, but followed through a pass {why}; "
                f"{hint}."
            )
        )

    def of(self, layer: str, output: Any, images: int | None = None) -> Layout:
        """The layout of a layer's output.

        Args:
            layer: its name.
            output: what it gave; of several tensors the first.
            images: how many went in, where that is known; else 3-dimensional outputs are taken to begin with them.

        Raises:
            ValueError: it is not known; says what to give.
        """
        output = first_tensor(output)
        dims = output.ndim if isinstance(output, Tensor) else 0
        alone = dims == 2 and is_one_of(self._modules[layer], (nn.Conv1d, nn.ConvTranspose1d))  # a signal, no batch
        if dims not in (2, 3, 4) or alone:
            got = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise refusal(
                ValueError(
                    f"layer {layer!r} must give [N, U, h, w], [N, h, w, U], [N, T, U] or [N, U], but gave {got}."
                )
            )
        if layer in self._given:
            self.seen[layer] = self._checked(layer, output, self._given[layer], images)
            return self.seen[layer]
        axis, known = self._axis_of_kind(layer, output), "module"
        if axis is None:
            axis, known = self._followed.get(layer), "pass"
        if axis is None or axis == 0 or output.shape[axis] == 0:
            raise refusal(
                ValueError(
                    f"the axis of the units of layer {layer!r} ({type(self._modules[layer]).__name__}) must be known, "
                    f"but neither its kind nor a pass of the model tells it of its output {list(output.shape)}; give "
                    f"layout={_example(output.ndim)!r} or another, a letter per axis: N images, U units, "
                    f"{'T tokens' if output.ndim == 3 else 'H and W rows and columns'}."
                )
            )
        self.seen[layer] = Layout(self._letters(layer, output, axis, images), known)
        return self.seen[layer]

    def _axis_of_kind(self, layer: str, output: Tensor) -> int | None:
        kind = _kind(self._modules[layer])
        if output.ndim == 2:
            return 1
        return None if kind is None else 1 if kind == "first" else output.ndim - 1

    def _places(self, output: Tensor, axis: int, images: int | None) -> int | None:
        """The axis of the images of a 3-dimensional output; None where two have their number."""
        others = [other for other in range(3) if other != axis]
        if images is None:
            return others[0]
        matching = [other for other in others if output.shape[other] == images]
        return matching[0] if len(matching) == 1 else None if matching else others[0]

    def _letters(self, layer: str, output: Tensor, axis: int, images: int | None) -> str:
        batch = 0
        if output.ndim == 3:
            found = self._batch_axes.get(layer, self._places(output, axis, images))
            if found is None:
                raise refusal(
                    ValueError(
                        f"layer {layer!r} gave {list(output.shape)} of {images} images, where two axes may be theirs; "
                        "give layout='NTU' or another, or another batch_size."
                    )
                )
            batch = found
        if images is not None and output.shape[batch] != images:
            raise refusal(
                ValueError(
                    f"layer {layer!r} must give one map or vector per image, but gave {list(output.shape)} of {images} "
                    "images (windows, patches or repeated images?); name another layer, or give layout= if an axis "
                    "holds the images."
                )
            )
        letters = iter({2: "", 3: "T", 4: "HW"}[output.ndim])
        return "".join("N" if at == batch else "U" if at == axis else next(letters) for at in range(output.ndim))

    def _checked(self, layer: str, output: Tensor, axes: str, images: int | None) -> Layout:
        if len(axes) != output.ndim:
            raise refusal(
                ValueError(
                    f"layout of layer {layer!r} must have {output.ndim} letters, one per axis of its output "
                    f"{list(output.shape)}, but is {axes!r}."
                )
            )
        if images is not None and output.shape[axes.index("N")] != images:
            raise refusal(
                ValueError(
                    f"layout {axes!r} of layer {layer!r} must put N where its {images} images are, but there its "
                    f"output {list(output.shape)} has {output.shape[axes.index('N')]}."
                )
            )
        count = _own_count(self._modules[layer])
        if count is not None and output.shape[axes.index("U")] != count:
            raise refusal(
                ValueError(
                    f"layout {axes!r} of layer {layer!r} must put U where its {count} units are, but there its output "
                    f"{list(output.shape)} has {output.shape[axes.index('U')]}."
                )
            )
        return Layout(axes, "given")


def to_maps(output: Tensor, axes: str) -> Tensor:
    """A layer's output as maps [N, U, h, w], a view; tokens are rows of one column, vectors maps of one cell.

    Example:
        >>> to_maps(torch.zeros(2, 4, 5, 3), "NHWU").shape, to_maps(torch.zeros(2, 7, 3), "NTU").shape
        (torch.Size([2, 3, 4, 5]), torch.Size([2, 3, 7, 1]))
    """
    order = [axes.index(letter) for letter in ("NUHW", "NUT", "NU")[4 - len(axes)]]
    return output.permute(order)[(..., *(None,) * (4 - output.ndim))]


def from_maps(maps: Tensor, axes: str) -> Tensor:
    """The inverse of `to_maps`."""
    letters = ("NUHW", "NUT", "NU")[4 - len(axes)]
    return maps.flatten(len(axes) - 1).permute([letters.index(letter) for letter in axes])


def _by_layer(given: LayoutOption | None, layers: list[str]) -> dict[str, str]:
    if given is None:
        return {}
    found = dict.fromkeys(layers, given) if isinstance(given, str) else dict(given)
    for layer, axes in found.items():
        if layer not in layers:
            raise refusal(ValueError(f"layout must be of layers {layers}, but names {layer!r}."))
        if not isinstance(axes, str) or sorted(axes) not in (sorted("NUHW"), sorted("NUT"), sorted("NU")):
            raise refusal(
                ValueError(
                    f"layout of layer {layer!r} must be an order of NUHW (maps), NUT (tokens) or NU (vectors), N for "
                    f"images and U for units, but is {axes!r}."
                )
            )
    return found


def _kind(module: nn.Module) -> str | None:
    """Whether a module writes its units to the axis after the images' or to the last; None if its kind does not say."""
    if is_one_of(module, _CHANNELS_FIRST):
        return "first"
    norms: tuple[Any, ...] = (nn.LayerNorm, nn.RMSNorm)
    over_channels = is_one_of(module, norms) and len(module.normalized_shape) == 1  # type: ignore[arg-type]
    return "last" if over_channels or is_one_of(module, _CHANNELS_LAST) else None


def _own_count(module: nn.Module) -> int | None:
    """The number of units that a module's weights say."""
    if is_one_of(module, (*_CHANNELS_FIRST, *_CHANNELS_LAST)):
        for name in ("out_channels", "out_features", "num_features", "num_channels", "embed_dim"):
            if isinstance(getattr(module, name, None), int):
                return int(getattr(module, name))
    return None


def _example(dims: int) -> str:
    return {3: "NTU", 4: "NUHW"}.get(dims, "NU")
