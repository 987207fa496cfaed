"""The same unit in two networks: best buddies by the correlation of their maps (Dravid et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dissect.arguments import num_bytes, refusal, seed_number, speaks
from dissect.chosen import cycles
from dissect.data import Batches
from dissect.data.batches import image_of
from dissect.devices import device_of, to_device
from dissect.experiments.rosetta_result import Rosetta
from dissect.files.checked import Of, Whole, fields
from dissect.files.progress import go_on, versioned
from dissect.network.identity import code_of, fingerprint
from dissect.network.layers import find_layers
from dissect.network.modes import tell_training
from dissect.network.outputs import check_finite, first_tensor
from dissect.stats.bootstrap import enough_draws
from dissect.stats.grouped_correlation import BUDGET, GroupedCorrelation, Resampled
from dissect.stats.map_correlation import MapCorrelation
from dissect.visits.images import Images
from dissect.visits.passes import Inputs, Passes
from dissect.visits.readout import Readout
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

#: What the second network is shown of what the first one gives.
See = Callable[[Tensor], Tensor]
#: A network and one of its layers.
End = tuple[nn.Module, str]


@speaks
def rosetta(
    model: nn.Module,
    layer: str,
    other: nn.Module,
    other_layer: str,
    images: Dataset[Any] | Tensor,
    *,
    see: See | None = None,
    relu: tuple[bool, bool] = (True, True),
    seed: int = 0,
    batch_size: int = 32,
    resamples: int = 200,
    memory_budget: int = 4 << 30,
    resume: str | Path | None = None,
    progress: bool = True,
) -> Rosetta:
    """Which units of two layers are the same: their maps rise and fall together over the same images.

    The correlation (Pearson) of every unit of one layer with every unit of the other, over all places of all images,
    maps upsampled to the larger of both sizes. Two units are best buddies if each is the other's best. Chance is the
    same with permuted images: the second network sees another image than the first, each image once.

    Intervals are of images that are drawn again with replacement (percentile bootstrap over up to 128 groups of images,
    `dissect.stats.GroupedCorrelation`), each unit with the partner that it has over all images, which was chosen as the
    best: its correlation with other images is lower on average.

    With `see` the first network is a generator, `images` are its z, and the second network sees what it makes of them.

    Args:
        model: the first network.
        layer: one of its layers that gives maps.
        other: the second network; the same one is allowed.
        other_layer: one of its layers.
        images: [N, 3, H, W], or a Dataset of images, or of pairs that begin with one; with `see` z.
        see: from what the first network gives to what the second one takes, (x + 1) / 2 for example.
        relu: whether each layer is read after its ReLU; of a generator without, it should be False.
        seed: of the permutation, and of the draws.
        batch_size: images at a time.
        resamples: how often images are drawn again; 0 leaves intervals out.
        memory_budget: bytes for the sums by group, ``8 (U V + 2 U + 2 V + 1)`` each.
        resume: a folder for what an interrupted run needs to go on, see `dissect.dissect`.
        progress: show a bar.

    Raises:
        KeyError: no such layer.
        TypeError: images that cannot be had by their number; a `see` that gives no tensor.
        ValueError: fewer than two images; sums of 16 groups that exceed the budget.

    Example:
        >>> one, other = (torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).eval() for _ in range(2))
        >>> _ = other.load_state_dict({name: part.flip(0) for name, part in one.state_dict().items()})
        >>> found = dissect.experiments.rosetta(one, "0", other, "0", torch.rand(6, 3, 8, 8), progress=False)
        >>> sorted((row.unit, row.other) for row in found.buddies())
        [(0, 3), (1, 2), (2, 1), (3, 0)]
    """
    draws, budget = enough_draws(resamples), num_bytes("memory_budget", memory_budget)
    run = Correlations(*checked_ends((model, layer), (other, other_layer)), see, relu, draws, budget)
    return correlated(run, images, seed, batch_size, resume, progress)


def checked_ends(first: End, second: End) -> tuple[End, End]:
    """Both networks with their layers, which are there.

    Raises:
        KeyError: no such layer.
    """
    for network, name in (first, second):
        find_layers(network, [name])
        tell_training(network)
    return first, second


def correlated(
    run: Correlations, images: Any, seed: int, batch_size: int, resume: str | Path | None, progress: bool,
    more: dict[str, Any] | None = None,
) -> Rosetta:  # fmt: skip
    """What a run over images finds; `more` are settings of the result, see `rosetta` for the others."""
    if not hasattr(images, "__getitem__") or not hasattr(images, "__len__"):
        raise refusal(
            TypeError(f"images must be a tensor or a Dataset with a length, but got {type(images).__name__}.")
        )
    seed = seed_number(seed)
    data = _Pairs(images, seed)
    batches = Batches(data, batch_size)
    (model, layer), (other, other_layer) = run.ends
    about = {} if resume is None else {
        "models": [fingerprint(model), code_of(model), fingerprint(other), code_of(other), code_of(run.see)],
        "data": batches.identity(), "options": [layer, other_layer, list(run.relu), seed, batch_size, run.resamples],
    }  # fmt: skip
    finish(run, Images({"rosetta: images": batches}), resume=resume, about=about, progress=progress)
    same, permuted = (state.correlation().cpu() for state in run.states)
    drawn = {"resamples": run.resamples, "groups": run.groups}
    settings = {"num_images": len(data), "seed": seed, "generated": run.see is not None, **drawn, **(more or {})}
    found = Rosetta([layer, other_layer], same, permuted, settings)
    if (again := run.resampled(seed)) is not None:
        found.resampled, found.resampled_mutual = again
    return found


class _Pairs(Dataset[Any]):
    """Each image, and another one."""

    def __init__(self, images: Any, seed: int) -> None:
        if len(images) < 2:
            raise refusal(ValueError(f"images must be two at least, but are {len(images)}."))
        self._images, self._partners = images, cycles(1, len(images), seed)[0].tolist()

    def __len__(self) -> int:
        return len(self._images)

    def _image(self, index: int) -> Tensor:
        image: Tensor = image_of(self._images[index])
        return image

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Image number `index`, and its partner."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._image(index), self._image(self._partners[index])


class Correlations(Run):
    """One visit: the correlations on the same images, and with the partners'.

    Args:
        first: a network and its layer.
        second: the other.
        see: what the second is shown of what the first gives; None: the same images.
        relu: of both layers.
        resamples: how often images are drawn again.
        budget: bytes for what intervals need.
    """

    version = 2

    def __init__(
        self, first: tuple[nn.Module, str], second: tuple[nn.Module, str], see: See | None, relu: tuple[bool, bool],
        resamples: int = 0, budget: int = BUDGET,
    ) -> None:  # fmt: skip
        self.ends, self.see, self.relu, self._done = (first, second), see, relu, False
        self._passes = [Passes(model, [layer], Readout(relu=own)) for (model, layer), own in zip((first, second), relu)]
        self.resamples, self._grouped = resamples, GroupedCorrelation(budget=budget) if resamples else None
        #: On the same images, and on permuted ones.
        self.states = self._grouped or MapCorrelation(), MapCorrelation()

    @property
    def needs(self) -> Visit | None:
        """The one visit."""
        return None if self._done else Visit("correlations", images=True, last=True, data="rosetta: images")

    def compute(self, step: Step) -> list[Tensor]:
        """Maps of the first network, of the second, and of the second for the partners; the images' numbers."""
        if step.images is None or step.planes is None:
            raise refusal(RuntimeError("steps must have images and partners, but one has not."))
        first, shown = self._maps(0, step.images)
        partners = step.planes if self.see is None else self._maps(0, step.planes)[1]
        return [first, self._maps(1, shown)[0], self._maps(1, partners)[0], step.numbers]

    def _maps(self, which: int, images: Tensor) -> tuple[Tensor, Tensor]:
        """A network's maps, and what the other one is shown."""
        model, layer = self.ends[which]
        inputs, whole = to_device(images, device_of(model)), which == 0 and self.see is not None
        with torch.no_grad():
            found = self._passes[which].run(Inputs(inputs, {}), [layer], whole=whole)
            shown = images if self.see is None or which else self.see(first_tensor(found.output))
        if not isinstance(shown, Tensor):
            raise refusal(TypeError(
                f"see must give a tensor of images of what the first network gives, but gave {type(shown).__name__}."
            ))  # fmt: skip
        maps = found.maps[layer].float().cpu()
        check_finite(f"layer {layer!r} of the {('first', 'second')[which]} network", maps)
        return maps, shown

    def add(self, found: list[Tensor]) -> None:
        """Adds the maps of a batch."""
        first, second, partners, numbers = found
        same, permuted = self.states
        if isinstance(same, GroupedCorrelation):
            same.add(first, second, numbers)
        else:
            same.add(first, second)
        permuted.add(first, partners)

    @property
    def groups(self) -> int:
        """Of images, whose sums are kept apart; 0 without intervals."""
        return self._grouped.groups if self._grouped else 0

    def resampled(self, seed: int) -> Resampled | None:
        """The correlations of images that are drawn again; None where there are too few, or no draws."""
        return self._grouped.resampled(self.resamples, seed) if self._grouped else None

    def end_visit(self) -> None:
        """All images were seen."""
        self._done = True

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"done": int(self._done), "same": versioned(self.states[0]), "permuted": versioned(self.states[1])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        fields("the run", state, {"done": Whole(0), "same": Of(dict), "permuted": Of(dict)})
        self._done = bool(state["done"])
        for own, name in zip(self.states, ("same", "permuted")):
            go_on(own, state[name])
