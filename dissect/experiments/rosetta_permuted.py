"""Rosetta with many permutations: how high units of two networks correlate by chance, as a distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from dissect.arguments import integer, refusal, speaks
from dissect.chosen import cycles
from dissect.experiments.rosetta import Correlations, See, checked_ends, correlated
from dissect.experiments.rosetta_result import Rosetta, best_buddies
from dissect.files.checked import Array, Of, fields, require
from dissect.grid import Grid
from dissect.reference import upsample
from dissect.stats.bootstrap import enough_draws


@speaks
def rosetta_permuted(
    model: nn.Module,
    layer: str,
    other: nn.Module,
    other_layer: str,
    images: Dataset[Any] | Tensor,
    *,
    permutations: int = 199,
    see: See | None = None,
    relu: tuple[bool, bool] = (True, True),
    seed: int = 0,
    batch_size: int = 32,
    resamples: int = 200,
    memory_budget: int = 4 << 30,
    resume: str | Path | None = None,
    progress: bool = True,
) -> Rosetta:
    """`rosetta`, and how high each unit's best correlation is with images permuted many times.

    In each permutation, a cycle through all images, the second network sees another image than the first, each image
    once; its first one is the `null` of `rosetta`. What is kept of each is every unit's best correlation, the highest
    of all, and how many pairs are best buddies: `Rosetta.significance` and `Rosetta.chance` read p-values from them.

    The maps of both layers are kept in memory, at the larger of both sizes and in float32, in which the products of
    permuted ones are taken: correlations to some 1e-6.

    Args:
        model: see `rosetta`.
        layer: see `rosetta`.
        other: see `rosetta`.
        other_layer: see `rosetta`.
        images: see `rosetta`.
        permutations: how many; with fewer than 19 no p-value is below 0.05.
        see: see `rosetta`.
        relu: see `rosetta`.
        seed: of the permutations.
        batch_size: see `rosetta`.
        resamples: see `rosetta`.
        memory_budget: bytes that kept maps may take; and as much for the sums by group.
        resume: see `rosetta`.
        progress: show bars.

    Raises:
        KeyError, TypeError, ValueError: see `rosetta`; maps that exceed the budget.

    Example:
        >>> nets = [torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)).eval() for _ in range(2)]
        >>> images, options = torch.rand(6, 3, 8, 8), {"permutations": 5, "progress": False}
        >>> found = dissect.experiments.rosetta_permuted(nets[0], "0", nets[1], "0", images, **options)
        >>> [row.statistic for row in found.chance()]
        ['median best r', 'highest r', 'best buddies']
    """
    permutations, budget = integer("permutations", permutations), integer("memory_budget", memory_budget, 0)
    run = Kept(*checked_ends((model, layer), (other, other_layer)), see, relu, budget, enough_draws(resamples))
    found = correlated(run, images, seed, batch_size, resume, progress, {"permutations": permutations})
    best, highest, buddies = permuted_best(*run.kept, permutations, seed, progress=progress)
    found.permuted_best, found.permuted_highest, found.permuted_buddies = best, highest, buddies
    return found


def permuted_best(
    x: Tensor, y: Tensor, permutations: int, seed: int, *, progress: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Each unit's best correlation [P, U], the highest of all [P], and the number of best buddies [P], of permutations.

    Args:
        x: [N, U, h, w] maps of one layer.
        y: [N, V, h', w'] maps of another for the same images.
        permutations: P.
        seed: of `cycles`.
        progress: show a bar.
    """
    size = max(x.shape[2], y.shape[2]), max(x.shape[3], y.shape[3])
    left, right = (_standardised(maps, size) for maps in (x, y))
    best = torch.empty(permutations, x.shape[1], dtype=torch.float64)
    highest, buddies = best.new_empty(permutations), torch.empty(permutations, dtype=torch.int64)
    orders = cycles(permutations, len(x), seed)
    for at, order in enumerate(tqdm(orders, desc="permutations", disable=not progress)):
        found = (left.flatten(1) @ right[:, order].flatten(1).T).double().clamp(-1, 1)
        best[at], highest[at] = found.amax(1), found.max()
        buddies[at] = int(best_buddies(found)[1].sum())
    return best, highest, buddies


def _standardised(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """[U, N, H W] float32: of mean 0 and norm 1 over all places; 0 where a unit is constant."""
    if tuple(maps.shape[2:]) != size:
        grid = Grid.half_pixel((maps.shape[2], maps.shape[3]), size)
        maps = upsample(maps, grid.rows, grid.columns)
    found = maps.transpose(0, 1).flatten(2).double()
    squares = found.square().sum((1, 2), keepdim=True)
    found = found - found.mean((1, 2), keepdim=True)
    spread = found.square().sum((1, 2), keepdim=True)
    # As `MapCorrelation`: of a constant unit rounding leaves some 1e-16 of its squares.
    return torch.where(spread > 1e-12 * squares, found / spread.clamp(min=1e-300).sqrt(), 0.0).float()


class Kept(Correlations):
    """The correlations, and the maps of which they are.

    Args:
        first: see `Correlations`.
        second: see `Correlations`.
        see: see `Correlations`.
        relu: see `Correlations`.
        budget: bytes that maps may take, and what intervals need.
        resamples: see `Correlations`.
    """

    def __init__(
        self, first: tuple[nn.Module, str], second: tuple[nn.Module, str], see: See | None, relu: tuple[bool, bool],
        budget: int, resamples: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(first, second, see, relu, resamples, budget)
        self._budget = budget
        self._held: tuple[list[Tensor], list[Tensor]] = ([], [])

    @property
    def kept(self) -> tuple[Tensor, Tensor]:
        """Maps [N, U, h, w] of the first network, and of the second."""
        first, second = (torch.cat(parts) for parts in self._held)
        return first, second

    def add(self, found: list[Tensor]) -> None:
        """Adds the maps of a batch.

        Raises:
            ValueError: they exceed the budget.
        """
        super().add(found)
        for parts, maps in zip(self._held, found):
            parts.append(maps)
        places = max(self._held[0][0][0, 0].numel(), self._held[1][0][0, 0].numel())
        images = sum(map(len, self._held[0]))
        size = 4 * places * images * sum(parts[0].shape[1] for parts in self._held)
        if size > self._budget:
            raise refusal(
                ValueError(
                    f"memory_budget must hold the maps of both layers at the larger size, {size} bytes of the first "
                    f"{images} images, but is {self._budget}; take fewer images."
                )
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        maps = [torch.cat(parts) if parts else torch.empty(0, 0, 0, 0) for parts in self._held]
        return super().state_dict() | {"maps": {"first": maps[0], "second": maps[1]}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a `state_dict`.

        Raises:
            ValueError: it holds what cannot be.
        """
        fields("the run", state, {"maps": Of(dict)})
        super().load_state_dict({name: value for name, value in state.items() if name != "maps"})
        maps = state["maps"]
        rules = {"first": Array(torch.float32, "N U h w"), "second": Array(torch.float32, "N V y x")}
        fields("the run", maps, rules)
        require("the run", all(part.isfinite().all() for part in maps.values()), "maps are finite")
        self._held = tuple([maps[name]] if len(maps[name]) else [] for name in ("first", "second"))  # type: ignore[assignment]
