"""Texture against shape: whether a unit fires at the same places when everything gets another look (Fig. S3)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import refusal, seed_number, speaks
from dissect.chosen import cycles
from dissect.data import Batches
from dissect.devices import device_of, to_device
from dissect.experiments.texture_result import LayerTexture, TextureSensitivity
from dissect.files.checked import Array, Each, Maybe, Of, Text, Whole, fields, require
from dissect.files.progress import go_on, versioned
from dissect.network.layers import find_layers, layer_names
from dissect.network.layouts import LayoutOption
from dissect.network.modes import tell_training
from dissect.stats import TailThreshold
from dissect.visits.images import Images, identity
from dissect.visits.passes import Inputs, Passes
from dissect.visits.readout import Readout
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

#: Whose threshold a set's maps are held against.
ThresholdRule = Literal["own", "common"]
RULES: tuple[ThresholdRule, ...] = get_args(ThresholdRule)
#: The published code finds thresholds on maps of this size, and counts on the maps as they are.
SIZE = (64, 64)


@speaks
def texture_sensitivity(
    model: nn.Module,
    layers: str | Iterable[str],
    images: Dataset[Any] | Tensor | Iterable[Any],
    restyled: Dataset[Any] | Tensor | Iterable[Any],
    classes: Sequence[int] | Tensor | None = None,
    *,
    thresholds: ThresholdRule = "own",
    fraction: float = 0.01,
    relu: bool = True,
    seed: int = 0,
    layout: LayoutOption | None = None,
    batch_size: int = 32,
    resume: str | Path | None = None,
    progress: bool = True,
) -> TextureSensitivity:
    """The overlap IoU(s, u) of each unit with itself, between images and the same images in another style.

    With u(x) the cells of a unit's raw map of image x that exceed its threshold, and x' the restyled twin of x::

        IoU(s, u) = sum over x of |u(x) & u(x')| / (sum |u(x)| + sum |u(x')| - sum |u(x) & u(x')|)

    (SI of Bau et al. 2020, Fig. S3; as its published code, thresholds are at the top fraction of the maps upsampled to
    64x64, each set's own, and cells are counted on the raw maps.) A unit that sees texture fires elsewhere when
    textures change; one that sees shape does not. Chance stands beside it: the same sums with the twin of another image
    of the class, and of an image of another class, each drawn once by the seed.

    Args:
        model: the network.
        layers: names of layers that give maps.
        images: images [N, 3, H, W], in any of the forms of `dissect.dissect`; what comes with them is not looked at.
        restyled: their twins, in the same order.
        classes: [N] integers, class numbers, for chance; without them all images are of one class, and there is no
            other.
        thresholds: "own", or "common": one over both sets together, which also tells of units that fall silent.
        fraction: the share of the upsampled pixels on which a unit fires.
        relu: read layers after their ReLU.
        seed: of the draws for chance.
        layout: see `dissect.dissect`.
        batch_size: of a Dataset or a tensor.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.

    Raises:
        KeyError: no such layer.
        ValueError: sets of different lengths or sizes, fewer than two images of a class, classes of another number or
            that are no integers [N], an unknown rule.

    Example:
        >>> model, images = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1)).eval(), torch.rand(6, 3, 8, 8)
        >>> found = dissect.experiments.texture_sensitivity(model, "0", images, images, progress=False)
        >>> [row.iou for row in found.units()]  # nothing has changed
        [1.0, 1.0]
    """
    names = layer_names(model, layers)
    find_layers(model, names)
    tell_training(model)
    if thresholds not in RULES:
        raise refusal(ValueError(f"thresholds must be one of {RULES}, but got {thresholds!r}."))
    data = {name: Batches(given, batch_size) for name, given in (("images", images), ("restyled", restyled))}
    groups = None if classes is None else _class_numbers(classes)
    run = Pairs(model, names, Readout(relu=relu, layout=layout), groups, thresholds, fraction, seed_number(seed))
    about = {} if resume is None else {
        **identity(model, data.values()), "classes": None if groups is None else groups.tolist(),
        "options": [names, thresholds, str(fraction), relu, seed, batch_size],
    }  # fmt: skip
    titled = {f"texture_sensitivity: {name}": part for name, part in data.items()}
    finish(run, Images(titled), resume=resume, about=about, progress=progress)
    return run.result({"thresholds": thresholds, "fraction": float(fraction), "relu": relu, "seed": seed})


def _class_numbers(classes: Sequence[int] | Tensor) -> Tensor:
    """[N] int64."""
    try:
        given = torch.as_tensor(classes)
    except (RuntimeError, TypeError, ValueError):
        raise refusal(ValueError(
            f"classes must be class numbers [N], integers, one for each image, but are {type(classes).__name__} of "
            "something else."
        )) from None  # fmt: skip
    if given.ndim != 1 or given.is_floating_point() or given.is_complex() or given.dtype == torch.bool:
        raise refusal(ValueError(
            f"classes must be class numbers [N], integers, one for each image, but are {given.dtype} of shape "
            f"{list(given.shape)}; give classes.flatten().long() if they are numbers in another form."
        ))  # fmt: skip
    return given.long().cpu()


class Pairs(Run):
    """Thresholds of both sets, the restyled images' masks, and what these share with those of the images.

    Visits go "thresholds" of the images and then the restyled, again while some bracket is open; "masks" of the
    restyled, kept as bits; "pairs" of the images.
    """

    def __init__(
        self, model: nn.Module, layers: list[str], readout: Readout, classes: Tensor | None, rule: ThresholdRule,
        fraction: float, seed: int,
    ) -> None:  # fmt: skip
        self._layers, self._classes, self._seed = layers, classes, seed
        self._passes, self._device = Passes(model, layers, readout), device_of(model)
        shared = {name: TailThreshold(fraction, size=SIZE) for name in layers}
        other = shared if rule == "common" else {name: TailThreshold(fraction, size=SIZE) for name in layers}
        self._states = {"images": shared, "restyled": other}
        self.phase, self.data, self.numbers, self.count = "thresholds", "images", 0, -1  # not known before a visit
        self._masks: dict[str, Tensor] = {name: torch.empty(0, 0, dtype=torch.uint8) for name in layers}
        self._shape: dict[str, list[int]] = {name: [] for name in layers}
        self._sums: dict[str, Tensor] = {}  # [P, 3, U]: by pairing, shared cells, the image's, the twin's
        self._partners = torch.empty(0, 0, dtype=torch.int64)

    @property
    def needs(self) -> Visit | None:
        """What the visit under way must see."""
        if self.phase == "done":
            return None
        title = f"{self.phase} of the {'restyled images' if self.data == 'restyled' else 'images'}"
        return Visit(title, images=True, data=f"texture_sensitivity: {self.data}")

    def compute(self, step: Step) -> Step:
        """The step with its maps."""
        with torch.no_grad():
            images = to_device(step.shown, self._device)
            maps = self._passes.run(Inputs(images, {}), self._layers).maps
        return Step(step.numbers, None, {name: part.cpu() for name, part in maps.items()}, None)

    def add(self, found: Step) -> None:
        """Adds the maps of a batch."""
        self.numbers += len(found.numbers)
        for name, maps in found.activations.items():
            if self.phase == "thresholds":
                state = self._states[self.data][name]
                if not state.done:
                    try:
                        state.add(maps)
                    except (TypeError, ValueError) as error:
                        refusal(error, f"layer {name!r}")
                        raise
                continue
            fires = maps > self._states[self.data][name].threshold()[:, None, None]
            if self.phase == "masks":
                self._keep(name, fires)
            else:
                self._compare(name, fires, found.numbers)

    def _keep(self, name: str, fires: Tensor) -> None:
        bits = torch.from_numpy(np.packbits(fires.flatten(1).numpy(), axis=1))
        kept = self._masks[name]
        self._masks[name] = torch.cat([kept, bits]) if len(kept) else bits
        self._shape[name] = list(fires.shape[1:])

    def _compare(self, name: str, fires: Tensor, numbers: Tensor) -> None:
        shape = self._shape[name]
        if list(fires.shape[1:]) != shape:
            raise refusal(ValueError(
                f"restyled must have the images' size, but maps of layer {name!r} are {shape} there, and "
                f"{list(fires.shape[1:])} of the images."
            ))  # fmt: skip
        for pairing, partners in enumerate(self._partners):
            rows = self._masks[name][partners[numbers]].numpy()
            others = torch.from_numpy(np.unpackbits(rows, axis=1, count=fires[0].numel())).bool().view(-1, *shape)
            both = torch.stack([fires & others, fires, others]).sum((1, 3, 4))
            size = len(self._partners), 3, shape[0]
            self._sums.setdefault(name, torch.zeros(size, dtype=torch.int64))[pairing] += both

    def end_visit(self) -> None:
        """Chooses the next visit."""
        count, self.numbers = self.numbers, 0
        self._check_count(count)
        if self.data == "images" and self.phase == "thresholds":
            self.data = "restyled"
            return
        if self.phase == "pairs":
            self.phase = "done"
            return
        if self.phase == "masks":
            self.phase, self.data = "pairs", "images"
            return
        states = {id(state): state for of_data in self._states.values() for state in of_data.values()}
        for state in states.values():
            if not state.done:
                state.advance()
        if all(state.done for state in states.values()):
            self._partners = partners(count, self._classes, self._seed)
            self.phase = "masks"
        else:
            self.data = "images"

    def _check_count(self, count: int) -> None:
        if self.count not in (-1, count):
            raise refusal(
                ValueError(f"restyled must hold a twin of each of the {self.count} images, but holds {count}.")
            )
        if self._classes is not None and len(self._classes) != count:
            raise refusal(
                ValueError(f"classes must have shape [N={count}], the images, but got {list(self._classes.shape)}.")
            )
        self.count = count

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        states = {
            data: {str(at): versioned(own[name]) for at, name in enumerate(self._layers)}
            for data, own in self._states.items()
        }
        layers = {
            str(at): {"masks": self._masks[name], "shape": self._shape[name],
                      **({"sums": self._sums[name]} if name in self._sums else {})}
            for at, name in enumerate(self._layers)
        }  # fmt: skip
        return {"phase": self.phase, "data": self.data, "numbers": self.numbers, "count": self.count,
                "states": states, "layers": layers}  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict` of the same layers and rule.

        Raises:
            ValueError: it holds what cannot be.
        """
        rules = {"phase": Text(PHASES), "data": Text(("images", "restyled")), "numbers": Whole(), "count": Whole(-1)}
        fields("the run", state, {**rules, "states": Of(dict), "layers": Of(dict)})
        numbered = {str(at): Of(dict) for at in range(len(self._layers))}
        fields("the run", state["states"], dict.fromkeys(self._states, Of(dict)))
        for part in (*state["states"].values(), state["layers"]):
            fields("the run", part, numbered)
        for name in ("phase", "data", "numbers", "count"):
            setattr(self, name, state[name])
        counted = self.phase != "thresholds"
        require("the run", self.count > 0 or not counted, "masks are of as many images as there are")
        if self.count != -1:
            require("the run", self.numbers <= self.count, "no more images were met than there are")
            require("the run", self._classes is None or len(self._classes) == self.count, "each image has a class")
        if counted:
            self._partners = partners(self.count, self._classes, self._seed)
        for at, name in enumerate(self._layers):
            for data, own in self._states.items():
                go_on(own[name], state["states"][data][str(at)])
                require("the run", own[name].done or not counted, "thresholds are known before masks are")
            self._load_layer(name, state["layers"][str(at)])

    def _load_layer(self, name: str, layer: dict[str, Any]) -> None:
        rules = {"masks": Array(torch.uint8, "N B"), "shape": Each(Whole(1))}
        fields("the run", layer, {**rules, "sums": Maybe(Array(torch.int64, f"{max(2, len(self._partners))} 3 U", 0))})
        masks, shape, sums = layer["masks"], layer["shape"], layer.get("sums")
        due = self.numbers if self.phase == "masks" else self.count if self.phase in ("pairs", "done") else 0
        require("the run", len(masks) == due, "every image that was met has its mask")
        if due:
            require(
                "the run", len(shape) == 3 and masks.shape[1] == -(-math.prod(shape) // 8), "masks have their shape"
            )
            units = self._states["restyled"][name].threshold().shape
            require("the run", tuple(units) == (shape[0],), "masks are of the units that have thresholds")
        if sums is not None:
            require("the run", bool(due) and sums.shape[2] == shape[0], "sums are of the units that have masks")
            self._sums[name] = sums
        require("the run", sums is not None or self.phase != "done", "a run that is done has sums")
        self._masks[name], self._shape[name] = masks, shape

    def result(self, settings: dict[str, Any]) -> TextureSensitivity:
        """What was found, when all visits have ended."""
        layers = {}
        for name in self._layers:
            thresholds = torch.stack([self._states[data][name].threshold() for data in ("images", "restyled")])
            layers[name] = LayerTexture(thresholds, *self._sums[name].unbind(1))
        classes = None if self._classes is None else len(self._classes.unique())
        return TextureSensitivity(layers, {**settings, "num_images": self.count, "num_classes": classes})


PHASES = ("thresholds", "masks", "pairs", "done")


def partners(count: int, classes: Tensor | None, seed: int) -> Tensor:
    """[P, N] int64: by pairing the image whose twin each image is held against; P is 3, or 2 without another class.

    Raises:
        ValueError: a class of one image, or one image in all.
    """
    own = torch.arange(count)
    groups = torch.zeros(count, dtype=torch.int64) if classes is None else classes
    same, other = own.clone(), own.clone()
    for group in groups.unique().tolist():
        members, rest = (groups == group).nonzero().flatten(), (groups != group).nonzero().flatten()
        if len(members) < 2:
            few = f"images must be two at least, but are {count}."
            lone = f"classes must have two images each, at least, but {group} has {len(members)}."
            raise refusal(ValueError(few if classes is None else lone))
        same[members] = members[cycles(1, len(members), seed)[0]]
        if len(rest):
            drawn = torch.randint(len(rest), (len(members),), generator=torch.Generator().manual_seed(seed + 1 + group))
            other[members] = rest[drawn]
    return torch.stack([own, same, other]) if len(groups.unique()) > 1 else torch.stack([own, same])
