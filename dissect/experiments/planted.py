"""A benchmark with planted truth: synthetic units whose concept is known, to score any way of labelling units."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from dissect.arguments import integer, refusal, speaks
from dissect.concepts import Concepts
from dissect.data.planes import check_named
from dissect.digests import digest
from dissect.experiments.planted_result import PlantedScores
from dissect.stats.formulas import Formula, label_members

#: What units can be: a concept, one of two, where both meet, one without the other.
KINDS = ("concept", "OR", "AND", "AND NOT")
#: Of the benchmark: it grows with whatever makes other units of the same planes.
VERSION = 1
#: The largest seed: each unit has a million of its own.
_LAST_SEED = 2**43 - 1
#: A formula that one label alone overlaps by more is no formula of two.
NEARLY_ONE = 0.75


class Corruption(NamedTuple):
    """How a unit's map differs from where its formula holds; the map is 1 where it holds in a whole cell.

    Attributes:
        name: of the condition.
        noise: standard deviation of what is added to each cell.
        shift: cells by which the map is moved, in a direction drawn for each formula; 0 comes in from outside.
        blur: cells on each side over which the map is averaged.
    """

    name: str
    noise: float = 0.05
    shift: int = 0
    blur: int = 0


#: From as good as clean to hardly there.
CORRUPTIONS = (
    Corruption("clean"),
    Corruption("noise 0.2", noise=0.2),
    Corruption("noise 0.5", noise=0.5),
    Corruption("shift 1", shift=1),
    Corruption("shift 2", shift=2),
    Corruption("blur 1", blur=1),
    Corruption("blur 2, noise 0.2", noise=0.2, blur=2),
)

#: Gets activations [N, U, h, w], planes [N, K, H, W] and their concepts; gives each unit's label, or its formula.
LabellingMethod = Callable[[Tensor, Tensor, Concepts], Sequence["Formula | int"]]


@dataclass(eq=False)  # tensors have no one truth value
class Planted:
    """Units whose truth is known; made by `plant`.

    Attributes:
        activations: [N, U, h, w] float32.
        planes: [N, K, H, W] label planes.
        concepts: of their labels.
        truth: [U] formulas.
        kinds: [U] of `KINDS`.
        corruptions: [U] names.
        digest: of the benchmark's version, the planes, the concepts, the formulas, the conditions, the size and the
            seed: where it is the same, scores can stand beside one another. Activations are left out, whose last bits
            depend on the machine. "" where units were not made by `plant`.
    """

    activations: Tensor
    planes: Tensor
    concepts: Concepts
    truth: list[Formula]
    kinds: list[str]
    corruptions: list[str]
    digest: str = ""

    @cached_property
    def combinations(self) -> tuple[Tensor, Tensor]:
        """[R, C] bool, the labels that come together on pixels, and [R] int64, on how many."""
        return _combinations(self.planes, len(self.concepts))[:2]


@speaks
def plant(
    planes: Tensor,
    concepts: Concepts,
    *,
    size: tuple[int, int] = (16, 16),
    count: int = 15,
    kinds: Sequence[str] = KINDS,
    corruptions: Sequence[Corruption] = CORRUPTIONS,
    areas: tuple[float, float] = (0.002, 0.2),
    seed: int = 0,
) -> Planted:
    """Units that respond to drawn formulas of concepts, each under every corruption.

    A unit's map is the share of each cell where its formula holds, blurred, moved, and with normal noise added; so what
    a method should say of it is known. Formulas are drawn without replacement among those that hold on a share of all
    pixels within `areas`; a formula of two labels must be told by no single label: the best has IoU 0.75 at most.

    Args:
        planes: [N, K, H, W] label planes, of real images or of `tiny.TinyScenes`.
        concepts: of their labels.
        size: (h, w) of the maps.
        count: of formulas of each kind, at most.
        kinds: some of "concept", "OR", "AND", "AND NOT".
        corruptions: conditions.
        areas: the least and the largest share of all pixels on which a formula may hold.
        seed: of all draws; a unit's noise depends on its number and the seed alone.

    Raises:
        TypeError: planes that are no tensor, concepts that are none.
        ValueError: labels without names, an unknown kind, no corruption, one of numbers that are negative or not
            finite, or no formula of a kind that fits.

    Example:
        >>> planes = torch.randint(0, 4, (6, 1, 16, 16))
        >>> made = dissect.experiments.plant(planes, dissect.Concepts.of(["a", "b", "c"]), size=(8, 8), count=2,
        ...                                  kinds=["concept", "OR"], areas=(0.1, 0.9))
        >>> made.activations.shape, made.kinds[0]
        (torch.Size([6, 28, 8, 8]), 'concept')
    """
    count, seed = integer("count", count), integer("seed", seed, 0, _LAST_SEED)
    if not kinds or set(kinds) - set(KINDS):
        raise refusal(ValueError(f"kinds must be some of {KINDS}, but are {list(kinds)}."))
    if not corruptions:
        raise refusal(ValueError("corruptions must hold one at least."))
    for corruption in corruptions:
        _check_corruption(corruption)
    _check_planes(planes, concepts)
    for side in size:
        integer("size", side)
    members, pixels, place = _combinations(planes, len(concepts))
    generator = torch.Generator().manual_seed(seed)
    drawn = {kind: _drawn(kind, count, members, pixels, areas, generator) for kind in kinds}
    missing = [kind for kind, formulas in drawn.items() if not formulas]
    if missing:
        raise refusal(ValueError(f"areas must leave formulas of each kind, but there is none of {missing[0]!r}."))
    truth: list[Formula] = []
    names, conditions, maps = [], [], []
    for kind, formulas in drawn.items():
        for formula in formulas:
            where = adaptive_avg_pool2d(formula.holds(members)[place].float(), size)
            direction = int(torch.randint(4, (), generator=generator))
            for corruption in corruptions:
                noise = torch.randn(where.shape, generator=torch.Generator().manual_seed(seed * 1_000_003 + len(truth)))
                maps.append(_corrupted(where, corruption, direction) + corruption.noise * noise)
                truth.append(formula)
                names.append(kind)
                conditions.append(corruption.name)
    told = [VERSION, *size, seed, *map(tuple, corruptions), *zip(names, truth), concepts.names, concepts.categories]
    made = digest([planes.long(), *(repr(part) for part in (tuple(planes.shape), *told))])
    return Planted(torch.stack(maps, 1), planes, concepts, truth, names, conditions, made)


def _check_corruption(corruption: Corruption) -> None:
    """Refuses what would make maps of NaN, or of nothing.

    Raises:
        TypeError, ValueError: says which number.
    """
    name = f"corruption {corruption.name!r}"
    if not 0 <= corruption.noise < math.inf:  # NaN is not
        raise refusal(ValueError(f"{name} must have a finite noise, 0 or more, but has {corruption.noise!r}."))
    integer(f"{name}: shift", corruption.shift, 0)
    integer(f"{name}: blur", corruption.blur, 0)


@speaks
def score_labels(planted: Planted, methods: Mapping[str, LabellingMethod]) -> PlantedScores:
    """How near each method comes to the planted truth.

    A method gets the activations, the planes and the concepts, and says a label (0 for none) or a `stats.Formula` of
    each unit. What it says is held against the truth on the planes, not on the noisy maps: `iou` of the pixels where
    either holds; `exact` where these are the same pixels, whatever the words; `hit` where one of the labels said is
    one that the truth holds for, not under NOT.

    Args:
        planted: of `plant`.
        methods: by name.

    Raises:
        TypeError: a method that does not take three arguments, or gives something else than labels and formulas.
        ValueError: a method that gives another number of answers, or labels that are none.

    Example:
        >>> planes = torch.randint(0, 4, (6, 1, 16, 16))
        >>> made = dissect.experiments.plant(planes, dissect.Concepts.of(["a", "b", "c"]), size=(8, 8), count=2,
        ...                                  kinds=["concept"], areas=(0.1, 0.9))
        >>> found = dissect.experiments.score_labels(made, {"knows": lambda maps, planes, concepts: made.truth})
        >>> found.summary()[0].exact
        1.0
    """
    if not methods:
        raise refusal(ValueError("methods must hold one at least."))
    members, pixels = planted.combinations
    units = len(planted.truth)
    truths = [formula.holds(members) for formula in planted.truth]
    ious, exact, hits = torch.zeros(3, len(methods), units, dtype=torch.float64)
    said: list[list[str]] = []
    for name, method in methods.items():  # before any of them works
        _check_method(name, method)
    for row, (name, method) in enumerate(methods.items()):
        given = method(planted.activations, planted.planes, planted.concepts)
        if not isinstance(given, Iterable):
            raise refusal(TypeError(f"method {name!r} must give a label of each unit, but gave {given!r}."))
        answers = [_formula(answer, name, len(planted.concepts)) for answer in given]
        if len(answers) != units:
            raise refusal(ValueError(f"method {name!r} must label U={units} units, but gave {len(answers)} answers."))
        for unit, (answer, truth) in enumerate(zip(answers, truths)):
            holds = answer.holds(members)
            union = int(pixels[holds | truth].sum())
            ious[row, unit] = int(pixels[holds & truth].sum()) / union if union else 0.0
            exact[row, unit] = not int(pixels[holds ^ truth].sum())
            hits[row, unit] = bool(_asserted(answer) & _asserted(planted.truth[unit]))
        said.append([answer.named(planted.concepts.names) for answer in answers])
    truth_texts = [formula.named(planted.concepts.names) for formula in planted.truth]
    return PlantedScores(list(methods), planted.kinds, planted.corruptions, truth_texts, said, ious, exact, hits)


def _check_planes(planes: Tensor, concepts: Concepts) -> None:
    """Refuses what are no label planes of these concepts."""
    for name, value, kind in (("planes", planes, Tensor), ("concepts", concepts, Concepts)):
        if not isinstance(value, kind):
            raise refusal(TypeError(f"{name} must be of type {kind.__name__}, but got {type(value).__name__}."))
    if planes.ndim != 4 or planes.is_floating_point() or not planes.numel():
        raise refusal(ValueError(
            f"planes must be [N, K, H, W] integers, one at least, but are {planes.dtype} {list(planes.shape)}."
        ))  # fmt: skip
    check_named(planes, len(concepts))


def _check_method(name: str, method: LabellingMethod) -> None:
    """Refuses what cannot be called with activations, planes and concepts, as far as it tells."""
    if not callable(method):
        raise refusal(TypeError(f"method {name!r} must be a function, but is {method!r}."))
    try:
        signature = inspect.signature(method)
    except (ValueError, TypeError):  # some compiled ones tell nothing
        return
    try:
        signature.bind("activations", "planes", "concepts")
    except TypeError:
        raise refusal(TypeError(
            f"method {name!r} must take three arguments, activations, planes and concepts, but has the signature "
            f"{signature}."
        )) from None  # fmt: skip


def _formula(answer: Formula | int, method: str, num_labels: int) -> Formula:
    if isinstance(answer, Formula):
        found = answer
    else:
        number = integer(f"labels that method {method!r} gives", answer, 0)
        found = Formula((number,) if number else ())
    if any(not 0 < label < num_labels for label in found.labels):
        raise refusal(ValueError(f"method {method!r} must give labels in [0, {num_labels}), but gave {answer!r}."))
    return found


def _asserted(formula: Formula) -> set[int]:
    """The labels for which it holds, those after NOT left out."""
    return {label for label, join in zip(formula.labels, ("OR", *formula.joins)) if join != "AND NOT"}


def _combinations(planes: Tensor, num_labels: int) -> tuple[Tensor, Tensor, Tensor]:
    """[R, C] bool, the labels that come together; [R] int64, on how many pixels; [N, H, W], which do where."""
    every = planes.long().movedim(1, 3)
    table, place, pixels = every.flatten(0, 2).unique(dim=0, return_inverse=True, return_counts=True)
    return label_members(table, num_labels), pixels, place.view(every.shape[:3])


def _drawn(
    kind: str, count: int, members: Tensor, pixels: Tensor, areas: tuple[float, float], generator: torch.Generator
) -> list[Formula]:
    """Formulas of a kind that fit, in the order in which they are drawn."""
    flags, total = members.double(), int(pixels.sum())
    both = (flags * pixels[:, None]).T @ flags  # [C, C], exact
    single = both.diagonal()
    labels = single.nonzero().flatten().tolist()
    if kind == "concept":
        every = [Formula((label,)) for label in labels]
    else:
        every = [Formula((one, other), (kind,)) for one in labels for other in labels
                 if one != other and both[one, other] < torch.minimum(single[one], single[other])
                 and (kind == "AND NOT" or one < other)]  # fmt: skip
    found: list[Formula] = []
    for place in torch.randperm(len(every), generator=generator).tolist():
        if len(found) == count:
            break
        holds = every[place].holds(members).double() * pixels
        area = float(holds.sum())
        if not areas[0] * total <= area <= areas[1] * total:
            continue
        overlap = holds @ flags
        if kind == "concept" or float((overlap / (area + single - overlap)).max()) <= NEARLY_ONE:
            found.append(every[place])
    return found


def _corrupted(maps: Tensor, corruption: Corruption, direction: int) -> Tensor:
    """[N, h, w], moved down, right, up or left, and blurred."""
    by = corruption.shift if direction < 2 else -corruption.shift
    axis = 1 + direction % 2
    moved = maps.roll(by, axis)
    edge = slice(0, by) if by > 0 else slice(maps.shape[axis] + by, None)
    if by:
        moved[(slice(None),) * axis + (edge,)] = 0
    if not corruption.blur:
        return moved
    width = 2 * corruption.blur + 1
    return avg_pool2d(moved[:, None], width, 1, corruption.blur, count_include_pad=False)[:, 0]
