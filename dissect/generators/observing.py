"""What segmenters see in a generator's images, its own and edited ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from dissect.arguments import refusal, tell
from dissect.data import Batches
from dissect.files.checked import Array, Each, Of, Rule, Text, Whole, fields
from dissect.generators.counting import Concept, Counter, Segmenting, check_found
from dissect.generators.regions import Region
from dissect.generators.rendering import Renderer, UnitEdit
from dissect.generators.search import ZSteps
from dissect.network.identity import code_of, fingerprint
from dissect.visits.run import Run, Visit, finish
from dissect.visits.store import Step

TITLES = {"generated": "generated images", "edited": "edited images"}


class ObservationRun(Run):
    """Two visits to some z: the generator's own images, which tell what is edited, then all edited ones.

    Args:
        renderer: makes the images.
        counters: count; the first tells where the class is.
        region: the cells P.
        choose: after the first visit, makes the edits of what it saw.
        also: what else is kept of the generator's own images, [n, ...] of the first segmenter's planes.
        rule: what that must be, of all z, where it is read from a file.

    Attributes:
        counts: per counter [N, C] int64, pixels of each label in each of the generator's own images.
        own_cells: per counter [N] int64, pixels of its class at P in these.
        sizes: per counter the size of its planes.
        extra: [N, ...], what `also` gave.
        edits: E edits; none before they are chosen.
        first: per counter [N, C] int64, pixels of each label in each image of the first edit.
        own: per counter [E, N] int64, pixels of its class in each image of each edit.
        at_cells: the same, at P.
        totals: per counter [E, C] int64, pixels of each label in all images of each edit.
    """

    def __init__(
        self, renderer: Renderer, counters: list[Counter], region: Region,
        choose: Callable[[ObservationRun], list[UnitEdit]], also: Callable[[Tensor], Tensor] | None = None,
        rule: Rule | None = None,
    ) -> None:  # fmt: skip
        self._renderer, self._counters, self._region = renderer, counters, region
        self._choose, self._also, self._rule = choose, also, rule or Of(Tensor)
        self.phase, self.edits = "generated", list[UnitEdit]()
        self.sizes = [(0, 0)] * len(counters)
        self.counts = [_zeros(len(renderer), len(counter.concepts)) for counter in counters]
        self.own_cells = [_zeros(len(renderer)) for _ in counters]
        self.extra = torch.empty(0)
        self._sums = torch.zeros(2, renderer.num_units, dtype=torch.float64)
        self._weight = torch.zeros(2, dtype=torch.float64)
        self.first: list[Tensor] = []
        self.own, self.at_cells, self.totals = list(self.first), list(self.first), list(self.first)

    @property
    def needs(self) -> Visit | None:
        """See `Run`."""
        return Visit(TITLES[self.phase], data="z", last=self.phase == "edited") if self.phase in TITLES else None

    def compute(self, step: Step) -> Any:
        """See `Run`: what the segmenters see of a batch."""
        rows = slice(int(step.numbers[0]), int(step.numbers[-1]) + 1)
        return rows, self._own_images(rows) if self.phase == "generated" else self._edited_images(rows)

    def add(self, found: Any) -> None:
        """See `Run`."""
        rows, parts = found
        if self.phase == "edited":
            for at, (first, own, cells, totals) in enumerate(parts):
                self.first[at][rows], self.own[at][:, rows], self.at_cells[at][:, rows] = first, own, cells
                self.totals[at] += totals
            return
        per_counter, (sums, weight), extra = parts
        for at, (counts, cells, size) in enumerate(per_counter):
            self.counts[at][rows], self.own_cells[at][rows], self.sizes[at] = counts, cells, size
        self._sums += sums
        self._weight += weight
        if extra is not None:
            self.extra = self.extra if len(self.extra) else extra.new_zeros(len(self._renderer), *extra.shape[1:])
            if self.extra.shape[1:] != extra.shape[1:]:
                raise refusal(ValueError(
                    f"what is kept of z must have the same shape as of those before, {list(self.extra.shape[1:])}, "
                    f"but has {list(extra.shape[1:])}; give a segmenter of as many planes for all images."
                ))  # fmt: skip
            self.extra[rows] = extra

    def end_visit(self) -> None:
        """See `Run`."""
        if self.phase == "generated":
            self._begin_edits()
            self.phase = "edited" if self.edits else "done"
        else:
            self.phase = "done"

    def state_dict(self) -> dict[str, Any]:
        """See `Run`."""
        state = {"phase": self.phase, "sizes": [list(size) for size in self.sizes], "extra": self.extra}
        state |= {"sums": self._sums, "weight": self._weight}
        return state | {name: _numbered(getattr(self, name)) for name in (*_GENERATED, *_EDITED)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Run`."""
        what, count = "the run", len(self._counters)
        rules = {"phase": Text((*TITLES, "done")), "sizes": Each(Each(Whole(), 2), count), "extra": Of(Tensor)}
        sums = Array(torch.float64, "2 U", -_FAR, _FAR), Array(torch.float64, "2", 0, _FAR)
        fields(what, state, rules | {"sums": sums[0], "weight": sums[1]}, {"U": self._renderer.num_units})
        if self._also is not None:
            none_yet = state["extra"].shape == (0,) and state["phase"] == "generated"
            fields(what, state, {} if none_yet else {"extra": self._rule}, {"N": len(self._renderer)})
        self.sizes, self.extra = [tuple(size) for size in state["sizes"]], state["extra"].clone()
        self._sums, self._weight = state["sums"].clone(), state["weight"].clone()
        self._load(state, _GENERATED)
        if state["phase"] != "generated":
            self._begin_edits()
            self._load(state, _EDITED)
        self.phase = state["phase"]

    def cross_value(self) -> Tensor | None:
        """[N, U] float32: for every z the mean of each unit where the class is in z of the other half; None without."""
        if not bool((self._weight > 0).all()):
            return None
        means = (self._sums / self._weight[:, None]).float()
        return means[1 - torch.arange(len(self._renderer)) % 2]

    def value(self) -> Tensor:
        """[U] float32: the mean of each unit where the class is, in all z."""
        return (self._sums.sum(0) / self._weight.sum()).float()

    def inserted(self, level: Tensor | None) -> Tensor:
        """[U] or [N, U] float32: the level that inserted units have, given or the `cross_value`.

        Raises:
            ValueError: none is given, where it cannot be told.
        """
        level = self.cross_value() if level is None else level
        if level is None:
            shown = int((self.counts[0][:, self._counters[0].label] > 0).sum())
            raise refusal(
                ValueError(
                    "value must be given where fewer than 2 z show the class, one of even and one "
                    f"of odd number, but {shown} of {len(self._renderer)} show {self._counters[0].name!r}."
                )
            )
        return level

    def _begin_edits(self) -> None:
        if self._also is not None and len(self.extra) != len(self._renderer):
            raise refusal(
                ValueError(
                    f"a run that goes on must hold all {len(self._renderer)} z, but does not; delete "
                    "its folder, or what is in it."
                )
            )
        for counter, found in zip(self._counters, self.counts):
            check_found(counter, found)
        self.edits = self._choose(self)
        edits, images = len(self.edits), len(self._renderer)
        labels = [len(counter.concepts) for counter in self._counters]
        self.first = [_zeros(images, number) for number in labels]
        self.own, self.at_cells = ([_zeros(edits, images) for _ in labels] for _ in range(2))
        self.totals = [_zeros(edits, number) for number in labels]

    def _own_images(self, rows: slice) -> Any:
        features, images = self._renderer.plain(rows)
        planes = [counter.planes(rows.start // self._renderer.batch_size, images) for counter in self._counters]
        found = [
            (counter.counts(seen), self._region.pixels(counter.carries(seen), rows), (seen.shape[2], seen.shape[3]))
            for counter, seen in zip(self._counters, planes)
        ]
        presence = self._counters[0].presence(planes[0], self._renderer.map_size).double()
        sums, weight = torch.zeros_like(self._sums), torch.zeros_like(self._weight)
        for half in (0, 1):
            own = (torch.arange(rows.start, rows.stop) % 2 == half).to(features.device)
            sums[half] = torch.einsum("nuhw,nhw->u", features[own].double(), presence[own]).cpu()
            weight[half] = float(presence[own].sum())
        return found, (sums, weight), None if self._also is None else self._also(planes[0]).cpu()

    def _edited_images(self, rows: slice) -> Any:
        edits, images = len(self.edits), rows.stop - rows.start
        parts = []
        for counter in self._counters:
            labels = len(counter.concepts)
            parts.append((_zeros(images, labels), _zeros(edits, images), _zeros(edits, images), _zeros(edits, labels)))

        def see(edit: int, shown: Tensor) -> None:
            for counter, (first, own, cells, totals) in zip(self._counters, parts):
                planes = counter.planes(rows.start // self._renderer.batch_size, shown)
                counts = counter.counts(planes)
                if edit == 0:
                    first.copy_(counts)
                own[edit], totals[edit] = counts[:, counter.label], counts.sum(0)
                cells[edit] = self._region.pixels(counter.carries(planes), rows)

        self._renderer.edited(rows, self.edits, see)
        return parts

    def _load(self, state: dict[str, Any], names: tuple[str, ...]) -> None:
        for name in names:
            fields("the run", state, {name: Of(dict)})
            for at, held in enumerate(getattr(self, name)):
                shape = " ".join(map(str, held.shape))
                fields("the run", state[name], {str(at): Array(torch.int64, shape, 0)})
                held.copy_(state[name][str(at)])


#: Beyond this no sum of activations lies.
_FAR = 2.0**200
_GENERATED, _EDITED = ("counts", "own_cells"), ("first", "own", "at_cells", "totals")


def observe(
    run: Run, renderer: Renderer, counters: list[Counter], about: dict[str, Any], resume: str | Path | None,
    progress: bool,
) -> None:  # fmt: skip
    """Makes all visits to the z; goes on from a run in the folder `resume` of the same `about`, networks and z."""
    z = renderer.z if renderer.seeds is None else TensorDataset(renderer.z, renderer.seeds)
    if resume is not None:
        networks = [renderer.generator, *(counter.segmenter for counter in counters)]
        about = {
            **about, "layer": renderer.layer, "batch_size": renderer.batch_size,
            "classes": [counter.name for counter in counters],
            "networks": [[fingerprint(each), code_of(each)] for each in networks],
        }  # fmt: skip
    finish(run, ZSteps(Batches(z, renderer.batch_size), run), resume=resume, about=about, progress=progress)


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.int64)


def _numbered(parts: list[Tensor]) -> dict[str, Tensor]:
    return {str(at): part for at, part in enumerate(parts)}


def counters_of(segmenter: Segmenting, second: Segmenting | None, concept: Concept) -> list[Counter]:
    """Of one segmenter, or of two that are asked for the same class."""
    first = Counter(segmenter, concept)
    if second is None:
        return [first]
    return [first, Counter(second, concept if isinstance(concept, str) else first.name)]


def random_units(num_units: int, count: int, draws: int, seed: int) -> Tensor:
    """[R, K] int64: so many different units of a layer, drawn again and again."""
    chance = torch.Generator().manual_seed(seed)
    drawn = [torch.randperm(num_units, generator=chance)[:count] for _ in range(draws)]
    return torch.stack(drawn) if drawn else torch.empty(0, count, dtype=torch.int64)


def given_value(value: Tensor | float | None, num_units: int) -> Tensor | None:
    """[U] float32: the level of each unit; None where none was given.

    Raises:
        TypeError, ValueError: neither a number nor one per unit of the layer, or not finite.
    """
    if value is None:
        return None
    try:
        levels = torch.as_tensor(value, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise refusal(TypeError(f"value must be a number or one per unit of the layer, but got {value!r}.")) from error
    if levels.shape not in ((), (num_units,)):
        raise refusal(
            ValueError(
                f"value must be a number or have shape [U] with U={num_units}, all units of the layer, but got "
                f"{list(levels.shape)}."
            )
        )
    if not bool(levels.isfinite().all()):
        raise refusal(ValueError("value must be finite, but is not."))
    return levels.expand(num_units).clone()


def settings_of(renderer: Renderer, seed: int, resamples: int, value: Tensor | float | None) -> dict[str, Any]:
    """What a result says of how it was made: seeds, batches, the level of insertions, the generator."""
    return {
        "seed": seed, "resamples": resamples, "batch_size": renderer.batch_size,
        "value": "given" if value is not None else "means where the class is, of every second z for the others",
        "generator": type(renderer.generator).__name__, "fingerprint": fingerprint(renderer.generator),
    }  # fmt: skip


def warn_of_shared(units: Any, renderer: Renderer) -> None:
    """Tells of z on which the units were chosen."""
    keys: Tensor | None = getattr(units, "z_keys", None)
    shared = 0 if keys is None else int(torch.isin(renderer.keys(), keys).sum())
    if shared:
        tell(
            f"z should be others than those on which the units were chosen, but {shared} of {len(renderer)} are the "
            "same, so the effect is too large; use another seed of dissect.latents."
        )
