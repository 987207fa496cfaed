"""The networks of the embedded world beside one another: those that are shipped, and small ones that were trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from torch.utils.data import Dataset

from dissect import tiny
from dissect.arguments import integer, refusal, speaks
from dissect.dissection.result import Dissection
from dissect.dissection.run import dissect
from dissect.experiments.discrimination import PENALTY, check_penalty, discrimination
from dissect.experiments.discrimination_result import Discrimination
from dissect.models import VGG, UNet
from dissect.tiny.networks import CHANNELS, HIDDEN, POOLED, SEGMENTER_CHANNELS, SEGMENTER_GROUPS, SEGMENTER_SEEDS
from dissect.tiny.training.small import SIZE, SMALL_RECIPES, load_small, trained_in

#: Recipes whose networks are told before their training too.
UNTRAINED = ("scenes", "residual", "wide")
#: What `TinyScenes` calls the tasks.
TARGETS = {"scenes": "class", "objects": "object"}


class AtHand(NamedTuple):
    """A network of the embedded world.

    Attributes:
        load: gives it, in evaluation mode.
        layer: its last convolutional one.
        task: that it was trained for; "none" without training.
    """

    load: Callable[[], nn.Module]
    layer: str
    task: str


@speaks
def networks_at_hand(folder: str | Path | None = None) -> dict[str, AtHand]:
    """The networks of the embedded world that classify, segment or were trained otherwise, and untrained ones, by name.

    Args:
        folder: where `python -m dissect.tiny.train_small` left trainings, whose ends stand in the place of the shipped
            networks then, beside an untrained one of each architecture; without it the shipped VGG and both
            segmentation networks, and three and two untrained ones of the same shapes.

    Raises:
        FileNotFoundError: the folder has no training that came to its end.
        ValueError: it has one of no recipe.

    Example:
        >>> {name: found.task for name, found in networks_at_hand().items() if "untrained" not in name}
        {'vgg': 'scenes', 'segmenter-0': 'segmentation', 'segmenter-1': 'segmentation'}
    """
    if folder is not None:
        found = {}
        for name, snapshots in trained_in(folder).items():
            if name.rpartition("-")[0] not in SMALL_RECIPES:
                raise refusal(ValueError(
                    f"networks must be trainings of the recipes {', '.join(SMALL_RECIPES)}, named as RECIPE-SEED, but "
                    f"{folder} holds one of the name {name!r}; move it elsewhere."
                ))  # fmt: skip
            recipe = SMALL_RECIPES[name.rpartition("-")[0]]
            found[name] = AtHand(partial(load_small, snapshots[-1]), recipe.network(0).last, recipe.task)
        for name in UNTRAINED:
            found[f"untrained-{name}"] = AtHand(partial(_small, name), SMALL_RECIPES[name].network(0).last, "none")
        return found
    vgg, segmenter = "features.conv5_3", f"down{len(SEGMENTER_CHANNELS)}"
    found = {"vgg": AtHand(tiny.vgg, vgg, "scenes")}
    found |= {
        f"segmenter-{seed}": AtHand(partial(_network, seed), segmenter, "segmentation") for seed in SEGMENTER_SEEDS
    }
    found |= {f"untrained-vgg-{seed}": AtHand(partial(_vgg, seed), vgg, "none") for seed in range(3)}
    return found | {f"untrained-segmenter-{seed}": AtHand(partial(_unet, seed), segmenter, "none") for seed in range(2)}


def _small(name: str) -> nn.Module:
    return SMALL_RECIPES[name].network(0).eval()


def _network(seed: int) -> nn.Module:
    return tiny.segmenter(seed).network.eval()


def _vgg(seed: int) -> nn.Module:
    return VGG(CHANNELS, len(tiny.TinyScenes.classes), HIDDEN, POOLED, seed=seed).eval()


def _unet(seed: int) -> nn.Module:
    return UNet(SEGMENTER_CHANNELS, sum(len(group) for group in SEGMENTER_GROUPS), seed=seed).eval()


class Drawn(Dataset[Any]):
    """Scenes, or some of them, that are drawn once, for many networks."""

    def __init__(self, scenes: tiny.TinyScenes, numbers: Iterable[int] | None = None) -> None:
        chosen = range(len(scenes)) if numbers is None else numbers
        self.concepts, self._items = scenes.concepts, [scenes[at] for at in chosen]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        """The item, as drawn."""
        return self._items[index]


@speaks
def small_dissections() -> dict[str, Dissection]:
    """What the units of sixteen small trained networks and three untrained ones detect, by name, as it is shipped.

    Of `python -m dissect.tiny.train_small`, by architecture, task, training set and regulariser (docs/networks.md); the
    number behind a name is the training's seed. Made by `dissected_at_hand` of 430 scenes, with 4 decoys, 200 draws,
    one image per unit and pictures of 16x16 pixels. Their weights are not shipped.

    Example:
        >>> found = small_dissections()
        >>> both = dissect.compare({name: found[name] for name in ("scenes-0", "untrained-scenes")})
        >>> [row.concepts for row in both.summary()]
        [28, 7]
    """
    folder = Path(tiny.__file__).parent / "dissections"
    return {path.stem: Dissection.load(path) for path in sorted(folder.glob(f"*{Dissection.suffix}"))}


@speaks
def dissected_at_hand(
    networks: dict[str, AtHand], *, count: int = 430, resume: str | Path | None = None, progress: bool = True,
    **options: Any,
) -> dict[str, Dissection]:  # fmt: skip
    """Each network's last convolutional layer dissected with the same validation scenes of 64x64 pixels.

    Args:
        networks: as `networks_at_hand` gives them.
        count: scenes.
        resume: a folder in which each network has one of its own, see `dissect.dissect`.
        progress: show bars.
        **options: of `dissect.dissect`.
    """
    scenes = Drawn(tiny.TinyScenes("val", size=SIZE, count=integer("count", count)))
    options = {"relu": True, "progress": progress} | options
    return {
        name: dissect(one.load(), one.layer, scenes, resume=resume and Path(resume) / f"dissected-{name}", **options)
        for name, one in networks.items()
    }


@speaks
def embedded_discrimination(
    folder: str | Path | None = None,
    *,
    task: str = "objects",
    count: int = 430,
    train: int = 2150,
    test: int = 860,
    dissections: dict[str, Dissection] | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Discrimination:
    """`discrimination` of `networks_at_hand`, on a task of the embedded scenes.

    Args:
        folder: see `networks_at_hand`.
        task: "objects", each scene's main object, or "scenes", its class.
        count: scenes with which networks are dissected.
        train: scenes that the linear classifier learns from.
        test: other ones, on which it is tried.
        dissections: made before, by `dissected_at_hand`.
        resume: a folder for what an interrupted run needs to go on.
        progress: show bars.
        **options: of `discrimination`.

    Raises:
        ValueError: no such task; see `discrimination`.
    """
    if task not in TARGETS:
        raise refusal(ValueError(f"task must be one of {tuple(TARGETS)}, but got {task!r}."))
    # What the end would refuse is told before networks are dissected.
    sizes = [integer(name, size) for name, size in (("train", train), ("test", test))]
    check_penalty(options.get("penalty", PENALTY))
    if options.get("cells") is not None:
        integer("cells", options["cells"])
    networks = networks_at_hand(folder)
    if dissections is None:
        more = {"decoys": 0, "resamples": 0}
        dissections = dissected_at_hand(networks, count=count, resume=resume, progress=progress, **more)
    parts = [Drawn(tiny.TinyScenes(split, SIZE, size, TARGETS[task])) for split, size in zip(("train", "val"), sizes)]
    return discrimination(
        {name: one.load for name, one in networks.items()}, dissections, *parts,
        trained_for=[name for name, one in networks.items() if one.task == task],
        resume=resume and Path(resume) / task, progress=progress, **options,
    )  # fmt: skip
