"""State files: whole, checked, resumable."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dissect import ops
from dissect.files.tensors import _digest
from dissect.stats import (
    AlsoNull,
    CombinationTally,
    GroupedCorrelation,
    IouTally,
    MapCorrelation,
    NullTally,
    PairTally,
    Peaks,
    TailThreshold,
    ThresholdSweep,
)
from dissect.stats.classes import ClassTally
from dissect.stats.places import Places
from dissect.stats.state import Counts, State


def states():
    """Each state, empty and filled."""
    maps, planes = torch.randn(3, 4, 5, 5), torch.randint(0, 3, (3, 2, 9, 9))
    threshold, peaks, tally = TailThreshold(0.1, size=(9, 9)), Peaks(2), IouTally(torch.zeros(4), 3)
    threshold.add(maps)
    peaks.add(maps, torch.arange(3))
    tally.add(maps, ops.encode_labels(planes, 3), torch.arange(3))
    edges = torch.tensor([[0.0, 1.0]]).repeat(4, 1)
    sweep = ThresholdSweep(edges, 3)
    sweep.add(maps, ops.encode_labels(planes, 3))
    pairs = PairTally(torch.zeros(4, 3))
    pairs.add(maps, ops.encode_labels(planes, 3), torch.arange(3))
    combinations = CombinationTally(torch.zeros(4), 3)
    combinations.add(maps, ops.encode_labels(planes, 3), torch.arange(3))
    correlation = MapCorrelation()
    correlation.add(maps, maps.flip(1)[:, :3])
    also = AlsoNull(torch.zeros(4), torch.arange(4) % 3, 3, 1)
    also.add(maps, *[ops.encode_labels(planes, 3)] * 2)
    grouped = GroupedCorrelation()
    grouped.add(maps, maps.flip(1)[:, :3], torch.arange(3))
    null = NullTally(torch.zeros(4), 2, 3)
    null.add(maps, ops.encode_labels(torch.randint(0, 4, (3, 1, 9, 9)), 4))
    classes = ClassTally(1, 3)
    classes.add(torch.randn(3, 3), torch.arange(3), torch.arange(3))
    places = Places(3)
    places.add(planes, ops.encode_labels(planes, 3).area)
    return [
        (NullTally(torch.zeros(4), 2, 3), null),
        (ClassTally(1, 3), classes),
        (Places(3), places),
        (TailThreshold(0.1, size=(9, 9)), threshold),
        (Peaks(2), peaks),
        (IouTally(torch.zeros(4), 3), tally),
        (ThresholdSweep(edges, 3), sweep),
        (PairTally(torch.zeros(4, 3)), pairs),
        (CombinationTally(torch.zeros(4), 3), combinations),
        (MapCorrelation(), correlation),
        (AlsoNull(torch.zeros(4), torch.arange(4) % 3, 3, 1), also),
        (GroupedCorrelation(), grouped),
    ]


def equal(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        for name, value in one.items()
    )


def of_kind(kind):
    """A state, empty and filled."""
    return next((empty, filled) for empty, filled in states() if isinstance(empty, kind))


def kinds(base=State):
    """All states, by their classes."""
    own = [kind for kind in base.__subclasses__() if kind.__module__.startswith("dissect.stats.")]
    return [kind for one in own for kind in ([] if one is Counts else [one]) + kinds(one)]


def test_every_state_is_here():
    assert {type(empty) for empty, _ in states()} == {*kinds()}


@pytest.mark.parametrize("kind", kinds())
def test_round_trip(kind, tmp_path):
    empty, filled = of_kind(kind)
    path = filled.save(tmp_path / "state")
    assert not equal(empty.state_dict(), filled.state_dict())
    empty.load(path)
    assert equal(empty.state_dict(), filled.state_dict())


def test_files_cut_short_or_with_a_flipped_bit(tmp_path):
    empty, filled = of_kind(TailThreshold)
    path = filled.save(tmp_path / "state")
    whole = path.read_bytes()
    for length in (0, 7, 8, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged"):
            empty.load(path)
    for position in range(8, len(whole), len(whole) // 97):
        flipped = bytearray(whole)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"damaged|must hold|newer"):
            empty.load(path)


def rewrite(path, change):
    """Writes the file again, with a right checksum, after a change of its header and tensors."""
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["dissect"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    change(header, tensors)
    text = json.dumps(header)
    save_file(tensors, path, {"dissect": text, "sha256": _digest(text, tensors)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, tensors: header.update(version=7), "is of version 7, newer than the 6 known here"),
        (lambda header, tensors: header.update(kind="Peaks"), "must hold a TailThreshold, but holds Peaks"),
        (lambda header, tensors: header["meta"].update(extra=1), r"unknown \['extra'\], missing \[\]"),
        (lambda header, tensors: tensors.pop("bins"), r"unknown \[\], missing \['bins'\]"),
    ],
)
def test_files_of_other_layouts(change, message, tmp_path):
    empty, filled = of_kind(TailThreshold)
    path = filled.save(tmp_path / "state")
    rewrite(path, change)
    with pytest.raises(ValueError, match=message):
        empty.load(path)


def test_a_missing_file_and_another_state(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Peaks(2).load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="the state's k must be 3, but is 2"):
        Peaks(3).load(of_kind(Peaks)[1].save(tmp_path / "peaks"))
