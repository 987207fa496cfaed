"""formula_search: a table worked out by hand, a plain transcription over pixels, bits, what must hold, errors."""

import importlib
import random
from fractions import Fraction

import numpy as np
import pytest
import torch

from dissect import ops
from dissect.ops.formula_search import BestFormulas

OR, AND, AND_NOT = 1, 2, 3


def found_of(found, unit):
    """(label, join) of a unit's formula, and its counts."""
    length = int((found.labels[unit] > 0).sum())
    pairs = list(zip(found.labels[unit, :length].tolist(), found.joins[unit, :length].tolist()))
    assert not found.labels[unit, length:].any()
    assert not found.joins[unit, length:].any()
    return pairs, int(found.intersection[unit]), int(found.area[unit])


def test_by_hand(backend):
    """Combinations: none, 1, 2, 1 and 2; of 5, 4, 2 and 1 pixels."""
    table = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 2]])
    areas = torch.tensor([5, 4, 2, 1])
    counts = torch.tensor(
        [
            [0, 4, 2, 1],  # 1 or 2
            [0, 4, 0, 0],  # 1 and not 2
            [0, 0, 0, 1],  # both
            [0, 4, 0, 1],  # 1 alone: no longer formula is better
            [5, 0, 0, 0],  # nothing
            [2, 0, 2, 0],  # 2: IoU 2/5; 2 and not 1 has 2/4
        ]
    )
    found = ops.formula_search(table, areas, counts, 3, length=2, beam=2, backend=backend)
    assert [found_of(found, unit) for unit in range(6)] == [
        ([(1, 0), (2, OR)], 7, 7),
        ([(1, 0), (2, AND_NOT)], 4, 4),
        ([(2, 0), (1, AND)], 1, 1),
        ([(1, 0)], 5, 5),
        ([], 0, 0),
        ([(2, 0), (1, AND_NOT)], 2, 2),
    ]
    assert ops.formula_search(table, areas, counts, 3, length=1, backend=backend).labels[:, 0].tolist() == [
        1, 1, 2, 1, 0, 2,
    ]  # fmt: skip


def problem(seed):
    """A few combinations, many of them alike in their counts, so that there are ties; dead units and absent labels."""
    choose = random.Random(seed)
    num_labels, width = choose.choice([1, 2, 4, 7]), choose.choice([0, 1, 2, 3])
    number, units = choose.choice([0, 1, 5, 40]), choose.choice([0, 1, 4])
    table = torch.tensor(
        [[choose.randrange(num_labels) for _ in range(width)] for _ in range(number)], dtype=torch.int64
    ).view(number, width)
    most = choose.choice([1, 2, 9])
    areas = torch.tensor([choose.randrange(most + 1) for _ in range(number)], dtype=torch.int64)
    counts = torch.tensor(
        [[choose.choice([0, choose.randint(0, area), area]) for area in areas.tolist()] for _ in range(units)],
        dtype=torch.int64,
    ).view(units, number)
    if units > 1:
        counts[1] = 0
    return table, areas, counts, num_labels, choose.choice([1, 2, 3, 4]), choose.choice([1, 2, 5, 60])


def noisy(seed):
    """Units that nearly follow formulas of three labels, on which narrow beams go astray where they keep twins."""
    choose, number = random.Random(seed), 60
    table = torch.tensor([[choose.randrange(9) for _ in range(3)] for _ in range(number)])
    areas = torch.tensor([choose.randint(1, 4) for _ in range(number)])
    counts = []
    for _ in range(3):
        a, b, c = ((table == choose.randrange(1, 9)).any(1) for _ in range(3))
        follows = choose.choice([(a | b) & ~c, (a & b) | c, a | b | c])
        noise = torch.tensor([choose.random() < 0.15 for _ in range(number)])
        counts.append((follows ^ noise) * areas)
    return table, areas, torch.stack(counts), 9, 3, choose.choice([1, 2, 3])


def transcription(table, areas, counts, num_labels, length, beam):
    """Of one unit, pixel by pixel and with fractions: sets of pixels, each of one combination."""
    pixels = [(k, n) for k, area in enumerate(areas) for n in range(area)]
    unit = {(k, n) for k, n in pixels if n < counts[k]}
    masks = {c: {(k, n) for k, n in pixels if c in table[k]} for c in range(1, num_labels)}

    def iou(mask):
        return Fraction(len(mask & unit), max(1, len(mask | unit)))

    def best_first(candidates):
        return sorted((one for one in candidates if one[1] & unit), key=lambda one: -iou(one[1]))  # stable

    under_way = best_first([([(c, 0)], mask) for c, mask in masks.items()])[:beam]
    for _ in range(length - 1):
        candidates = list(under_way)
        for formula, mask in under_way:
            for join in (OR, AND, AND_NOT):
                for c, own in masks.items():
                    joined = {OR: mask | own, AND: mask & own, AND_NOT: mask - own}[join]
                    candidates.append(([*formula, (c, join)], joined))
        seen, under_way = set(), []
        for formula, mask in best_first(candidates):
            key = len(mask & unit), len(mask)
            if key not in seen and len(under_way) < beam:
                seen.add(key)
                under_way.append((formula, mask))
    if not under_way:
        return [], 0, 0
    formula, mask = under_way[0]
    return formula, len(mask & unit), len(mask)


@pytest.mark.parametrize("make", [problem, noisy])
@pytest.mark.parametrize("seed", range(40))
def test_every_backend_equals_the_transcription(make, seed):
    given = make(seed)
    table, areas, counts, num_labels, length, beam = given
    expected = [transcription(table.tolist(), areas.tolist(), own, num_labels, length, beam) for own in counts.tolist()]
    for name in ("reference", "cpp"):
        found = ops.formula_search(*given[:4], length=length, beam=beam, backend=name)
        assert [part.shape for part in found] == [(len(counts), length)] * 2 + [(len(counts),)] * 2
        assert [found_of(found, unit) for unit in range(len(counts))] == expected, name


def large(units=37, number=3000, num_labels=90):
    """Some units that follow a formula, with noise; many combinations."""
    generator = torch.Generator().manual_seed(0)
    table = torch.randint(0, num_labels, (number, 4), generator=generator)
    areas = torch.randint(0, 10**6, (number,), generator=generator)
    share = torch.rand(units, number, generator=generator, dtype=torch.float64) * 0.2
    for unit in range(units):
        share[unit] += 0.7 * ((table == 1 + unit) | (table == 2 + unit)).any(1)
    return table, areas, (share * areas).long(), num_labels


def test_many_combinations_and_threads():
    given = large()
    expected = ops.formula_search(*given, backend="reference")
    assert all(set(row[:2].tolist()) == {unit + 1, unit + 2} for unit, row in enumerate(expected.labels))
    threads = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            found = ops.formula_search(*given, backend="cpp")
            assert all(torch.equal(one, other) for one, other in zip(found, expected))
    finally:
        torch.set_num_threads(threads)
    alone = [ops.formula_search(*given[:2], given[2][[unit]], given[3]) for unit in range(5)]
    for part, parts in zip(expected, zip(*alone)):
        assert torch.equal(part[:5], torch.cat(parts))


def test_units_are_searched_in_parts(monkeypatch):
    """The reference takes as many units at once as fit: of one, or of all, the same."""
    given = large(units=5, number=50, num_labels=8)
    expected = ops.formula_search(*given, backend="reference")
    monkeypatch.setattr(importlib.import_module("dissect.reference.formula_search"), "AT_ONCE", 1)
    found = ops.formula_search(*given, backend="reference")
    assert all(torch.equal(one, other) for one, other in zip(found, expected))


def test_strided_tensors(backend):
    table, areas, counts, num_labels = large(units=4, number=60, num_labels=9)
    strided = table.T.contiguous().T, areas.repeat_interleave(2)[::2], counts.T.contiguous().T
    both = strided, (table, areas, counts)
    ours, expected = (ops.formula_search(*given, num_labels, backend=backend) for given in both)
    assert all(torch.equal(one, other) for one, other in zip(ours, expected))


TABLE, AREAS, COUNTS = torch.tensor([[0], [1]]), torch.tensor([3, 2]), torch.tensor([[3, 0], [1, 2]])


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"table": TABLE.int()}, TypeError, "table must be int64, but got torch.int32"),
        ({"counts": COUNTS.double()}, TypeError, "counts must be int64, but got torch.float64"),
        ({"areas": np.zeros(2, int)}, TypeError, "torch.from_numpy makes one"),
        ({"areas": AREAS.to("meta")}, TypeError, "must hold values, but is on the meta device"),
        ({"table": TABLE[:, 0]}, ValueError, r"table must have shape \[K, P\], but got \[2\]"),
        ({"areas": AREAS[:1]}, ValueError, r"areas must have shape \[K\] with K=2 \(from table\), but got \[1\]"),
        ({"counts": COUNTS[:, :1]}, ValueError, r"counts must have shape \[U, K\] with K=2 .*, but got \[2, 1\]"),
        ({"table": TABLE + 1}, ValueError, r"table must hold labels in \[0, 2\), but holds 2"),
        ({"table": TABLE - 1}, ValueError, r"table must hold labels in \[0, 2\), but holds -1"),
        ({"areas": AREAS - 3}, ValueError, r"areas must be at least 0 and come to fewer than 2\^53 pixels"),
        ({"areas": AREAS + (1 << 52)}, ValueError, r"come to fewer than 2\^53 pixels"),
        ({"counts": COUNTS + 1}, ValueError, "of unit 0 is 4 of 3 pixels at combination 0"),
        ({"counts": COUNTS - 1}, ValueError, "of unit 0 is -1 of 2 pixels at combination 1"),
        ({"num_labels": 0}, ValueError, "num_labels must be at least 1, but got 0"),
        ({"length": 0}, ValueError, "length must be at least 1, but got 0"),
        ({"beam": 2.0}, TypeError, "beam must be an integer, but got 2.0"),
        ({"backend": "cuda"}, ValueError, "backend must be 'auto' or one of"),
    ],
)
def test_errors(changed, error, message):
    given = {"table": TABLE, "areas": AREAS, "counts": COUNTS, "num_labels": 2, **changed}
    with pytest.raises(error, match=message):
        ops.formula_search(**given)


def test_registration():
    given = *large(units=3, number=20, num_labels=5), 3, 5
    torch.library.opcheck(torch.ops.dissect.formula_search.default, (*given, "auto"))

    def search(table, areas, counts):
        return tuple(ops.formula_search(table, areas, counts, 5))

    compiled = torch.compile(search, fullgraph=True, backend="aot_eager")(*given[:3])
    assert all(torch.equal(one, other) for one, other in zip(BestFormulas(*compiled), search(*given[:3])))
