"""A network's own top trained anew on what a layer gives, as it is and rotated (Zhou et al. 2018, section 3.2)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import integer, refusal, seed_number, speaks
from dissect.classifiers.visits import check_class_names, first_batch
from dissect.data import Batches
from dissect.data.batches import attribute_of
from dissect.devices import device_of, to_device
from dissect.experiments.axis_alignment import random_rotation, rotation_error
from dissect.experiments.discrimination import PARTS, FeaturesRun
from dissect.experiments.retraining import accuracy_of, checked_rates, retrained_tops
from dissect.experiments.retraining_result import NetworkRow, RetrainedTops
from dissect.network.hooks import Hooks
from dissect.network.layers import find_layers
from dissect.network.layouts import LayoutOption
from dissect.network.modes import check_evaluating
from dissect.network.outputs import check_finite
from dissect.visits.images import Images, identity
from dissect.visits.readout import Readout
from dissect.visits.run import finish


@speaks
def retrain_top(
    model: nn.Module,
    layer: str,
    top: str,
    train: Dataset[Any] | Iterable[Any],
    test: Dataset[Any] | Iterable[Any],
    *,
    anew: Callable[[int], nn.Module] | None = None,
    repeats: int = 10,
    epochs: int = 20,
    batch_size: int = 64,
    rate: float = 1e-3,
    decay: float = 0.05,
    seed: int = 0,
    layout: LayoutOption | None = None,
    resume: str | Path | None = None,
    progress: bool = True,
) -> RetrainedTops:
    """Trains a network's last part anew on what a layer gives of images, as it is and rotated: `retrained_tops`.

    Beside it stands the network as it is: what it names right, and how exactly ``g(Q^T (Q f(x)))`` is ``g(f(x))`` for
    the first test images and the first rotation (`rotation_error`). What the layer gives of all images is kept in
    memory.

    Args:
        model: g after f, in evaluation mode.
        layer: the one that gives f(x), [N, U] or [N, U, h, w]: "avgpool" of AlexNet, for example.
        top: the module that takes this, as it is or flattened, and gives the model's logits: "classifier" there.
        train: pairs of (image, class number), as a Dataset or batches of such.
        test: the same, of other images.
        anew: gives the top before its training, of a seed; by default a copy whose modules have `reset_parameters`
            called, with torch's generator at the seed.
        repeats: see `retrained_tops`.
        epochs: see `retrained_tops`.
        batch_size: images at a time, of the visits and of a step of training.
        rate: see `retrained_tops`.
        decay: see `retrained_tops`.
        seed: see `retrained_tops`.
        layout: see `dissect.dissect`.
        resume: a folder for what an interrupted run needs to go on, see `retrained_tops`.
        progress: show bars.

    Raises:
        KeyError: no such layer or top.
        TypeError, ValueError: a top that takes something else than what the layer gives, or is not the network's last
            part, or has weights that nothing sets anew; other numbers of classes than of logits; data sets that name
            their classes otherwise, images without class numbers, a network in training mode; see `retrained_tops`.

    Example:
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Conv2d(3, 4, 2), torch.nn.Flatten(), torch.nn.Linear(16, 2)).eval()
        >>> pairs = [(torch.rand(8, 3, 3, 3), torch.arange(8) % 2)]
        >>> found = dissect.experiments.retrain_top(model, "0", "2", pairs, pairs, repeats=1, epochs=1, progress=False)
        >>> found.network.error < 1e-5, found.network.same, found.accuracy.shape
        (True, 1.0, torch.Size([2, 1]))
    """
    find_layers(model, [layer, top])
    check_evaluating(model)
    for name, value in (("repeats", repeats), ("epochs", epochs)):
        integer(name, value, 1)
    checked_rates(rate, decay)
    seed = seed_number(seed)
    data = {"train": Batches(train, batch_size), "test": Batches(test, batch_size)}
    images = to_device(first_batch(data["test"]).images, device_of(model))
    joint = _joint(model, layer, top, images)
    _check_names(attribute_of(train, "classes"), attribute_of(test, "classes"), joint.classes, top)
    error, same = rotation_error(model, layer, images, random_rotation(joint.shape[0], seed), layout=layout)
    own = copy.deepcopy(model.get_submodule(top)).cpu()
    maker = _Anew(own) if anew is None else anew
    run = FeaturesRun(model, layer, None, Readout(layout=layout), "retrain_top", vectors=True)
    about = {} if resume is None else identity(model, data.values())
    about |= {"options": [layer, top, batch_size]}
    folder = None if resume is None else Path(resume)
    titled = {f"retrain_top: {part}": batches for part, batches in data.items()}
    finish(run, Images(titled), resume=folder and folder / "features", about=about, progress=progress)
    seen, asked = ((run.features[part].view(-1, *joint.shape), run.classes[part]) for part in PARTS)
    found = retrained_tops(
        lambda number: _after(maker(number), joint.flat), seen, asked, repeats=repeats, epochs=epochs,
        batch_size=batch_size, rate=rate, decay=decay, seed=seed, resume=folder and folder / "tops", progress=progress,
    )  # fmt: skip
    right = accuracy_of(_after(own, joint.flat), *asked)
    if right is None:
        raise refusal(ValueError("logits of model must be finite, but are not of all test images."))
    settings = {"layer": layer, "top": top, "num_train": len(seen[1]), "num_test": len(asked[1]), **found.settings}
    return RetrainedTops(found.accuracy, NetworkRow(right, error, same), settings)


def _check_names(names: Sequence[str] | None, others: Sequence[str] | None, classes: int, top: str) -> None:
    check_class_names(names, others)
    named = names or others
    if named is not None and len(named) != classes:
        raise refusal(ValueError(
            f"train and test must name as many classes as {top!r} gives logits, {classes}, but name {len(named)}."
        ))  # fmt: skip


class _Joint(NamedTuple):
    """Where a layer and a top meet: what the layer gives of an image, whether that is flattened; how many logits."""

    shape: torch.Size
    flat: bool
    classes: int


def _joint(model: nn.Module, layer: str, top: str, images: Tensor) -> _Joint:
    """Looks at one forward pass.

    Raises:
        ValueError: the top is not what follows the layer, up to the end.
    """
    seen: dict[str, Any] = {}

    def keep(name: str) -> Callable[..., None]:
        def look(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            seen[name] = output.clone() if isinstance(output, Tensor) else output

        return look

    def take(module: nn.Module, args: Any, kwargs: Any) -> None:
        seen["given"] = args[0].clone() if len(args) == 1 and isinstance(args[0], Tensor) and not kwargs else None

    own, last = find_layers(model, [layer, top])
    with torch.no_grad(), Hooks() as hooks:
        hooks.after(own, keep("layer"))
        hooks.before(last, take)
        hooks.after(last, keep("top"))
        logits = model(images)
    maps, given, output = seen.get("layer"), seen.get("given"), seen.get("top")
    if not isinstance(maps, Tensor) or maps.ndim not in (2, 4):
        got = list(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise refusal(ValueError(f"layer {layer!r} must give [N, U] or [N, U, h, w], but gives {got}."))
    check_finite(f"layer {layer!r}", maps)
    whole, flat = (given is not None and torch.equal(given, part) for part in (maps, maps.flatten(1)))
    if not whole and not flat:
        got = "something else" if given is None else list(given.shape)
        raise refusal(ValueError(
            f"top {top!r} must take what layer {layer!r} gives, {list(maps.shape)}, as it is or flattened, but takes "
            f"{got}; name the last layer before it."
        ))  # fmt: skip
    if not isinstance(output, Tensor) or not isinstance(logits, Tensor) or not torch.equal(output, logits):
        raise refusal(
            ValueError(f"top {top!r} must give the model's logits, but the model makes something else of it.")
        )
    if logits.ndim != 2:
        raise refusal(ValueError(f"model must give logits [N, K], but gives {list(logits.shape)}."))
    return _Joint(maps.shape[1:], flat and not whole, logits.shape[1])


def _after(top: nn.Module, flat: bool) -> nn.Module:
    """The top, of features that have not been flattened."""
    return nn.Sequential(nn.Flatten(), top) if flat else top


class _Anew:
    """Copies of a top whose weights are set anew, by their modules' own rules.

    Raises:
        ValueError: there are weights of which no module says how.
    """

    def __init__(self, top: nn.Module) -> None:
        self._top = top
        for name, module in top.named_modules():
            lone = [weight for weight, _ in module.named_parameters(recurse=False)]
            if lone and not callable(getattr(module, "reset_parameters", None)):
                raise refusal(ValueError(
                    f"top must be of modules with reset_parameters, but {type(module).__name__} {name!r} has "
                    f"{', '.join(lone)} without it; give anew=, which makes a top of a seed."
                ))  # fmt: skip

    def __call__(self, seed: int) -> nn.Module:
        """A top of a seed, whatever torch's generator was at; it is left as it was."""
        fresh = copy.deepcopy(self._top).requires_grad_()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in fresh.modules():
                if callable(getattr(module, "reset_parameters", None)):
                    module.reset_parameters()  # type: ignore[operator]
        return fresh
