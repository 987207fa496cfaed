"""What is read is held against a table before it is believed."""

import pytest
import torch
from altered import altered
from safetensors.torch import save_file
from small_dissection import run

import dissect
from dissect.files.checked import Array, Each, Maybe, Number, Of, Text, Whole, fields, named, require
from dissect.files.tensors import load_tensors

LONG = torch.int64


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (Array(LONG, "U 3", 0), torch.zeros(2, 3, dtype=LONG), torch.zeros(2, 4, dtype=LONG)),
        (Array(LONG, "U U"), torch.zeros(2, 2, dtype=LONG), torch.zeros(2, 3, dtype=LONG)),
        (Array(LONG, "U", 0, 5), torch.tensor([0, 5]), torch.tensor([0, 6])),
        (Array(LONG, "U", 0), torch.tensor([0]), torch.tensor([-1])),
        (Array(LONG, "U", 0, "known"), torch.tensor([7]), torch.tensor([8])),
        (Array(LONG, "known"), torch.zeros(7, dtype=LONG), torch.zeros(6, dtype=LONG)),
        (Array(LONG, "U"), torch.zeros(0, dtype=LONG), torch.zeros(0)),
        (Array(torch.float32, "U", 0.0, 1.0), torch.ones(1), torch.tensor([float("nan")])),
        (Array(torch.float32, "U", 0.0, 1.0, nan=True), torch.tensor([float("nan"), 1.0]), torch.tensor([2.0])),
        (Array(torch.float32, "U"), torch.tensor([float("nan")]), [1.0]),
        (Whole(1), 1, 0),
        (Whole(0, 3), 3, 4),
        (Whole(), 2**62, 10**30),
        (Whole(), 0, True),
        (Whole(), 0, 0.0),
        (Number(0), 0.5, float("nan")),
        (Number(0), 3, float("inf")),
        (Number(0), 3, 10**30),
        (Number(0, 1), 1, 1.5),
        (Text(), "", None),
        (Text(("a", "b")), "b", "c"),
        (Each(Text(), 2), ["a", "b"], ["a"]),
        (Each(Whole(), "known"), [1] * 7, [1] * 8),
        (Each(Whole(), different=True), [1, 2], [1, 1]),
        (Each(Whole()), (), "text"),
        (Of(dict), {}, []),
        (Maybe(Text()), None, 3),
    ],
)
def test_rules(rule, good, bad):
    fields("it", {"name": good}, {"name": rule}, {"known": 7})
    with pytest.raises(ValueError, match=r"it must hold name as .*, but holds "):
        fields("it", {"name": bad}, {"name": rule}, {"known": 7})


def test_what_is_missing_or_no_object():
    assert fields("it", {}, {"name": Maybe(Text())}) == {}
    with pytest.raises(ValueError, match=r"it must hold name \(a text\), but does not"):
        fields("it", {}, {"name": Text()})
    with pytest.raises(ValueError, match="it must hold name, but is list"):
        fields("it", [], {"name": Text()})
    with pytest.raises(ValueError, match="it does not fit together: one is two"):
        require("it", torch.tensor([True, False]), "one is two")
    with pytest.raises(ValueError, match=r"x\.file holds what cannot be: no"), named("x.file"):
        raise TypeError("no")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", "must hold a thing, but holds something else"),
        ("[]", "must hold a thing, but holds something else"),
        ("[" * 100_000 + "]" * 100_000, "is damaged or no safetensors file"),
        ("9" * 10_000, "is damaged or no safetensors file"),
        ('{"kind": "thing", "meta": {}}', "the header must hold version"),
        ('{"kind": "thing", "meta": {}, "version": "1"}', "the header must hold version as an integer"),
        ('{"kind": "thing", "meta": [], "version": 1}', "the header must hold meta as a dict, but holds list"),
    ],
)
def test_headers_that_cannot_be(text, message, tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "f", {"dissect": text})
    with pytest.raises(ValueError, match=message) as caught:
        load_tensors(tmp_path / "f", "thing", 1)
    assert str(tmp_path / "f") in str(caught.value)


def set_to(name, value):
    return lambda tensors, meta: tensors[name].fill_(value)


def put(name, value):
    return lambda tensors, meta: tensors.update({name: value(tensors[name])})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_to("0.intersection", -1), "must hold intersection as int64"),
        (set_to("0.thresholds", float("nan")), "must hold thresholds as float32"),
        (put("0.intersection", lambda value: value.double()), "must hold intersection as int64"),
        (put("0.intersection", lambda value: value + 1), "no intersection exceeds|label 0 is counted nowhere"),
        (set_to("0.peak_images", 10**9), "the images of its peaks are among those that were kept"),
        (put("0.peaks", lambda value: value[1:].clone()), "must hold peaks as float32"),
        (put("0.peaks", lambda value: value.flip(1)), "peaks never rise"),
        (set_to("0.unit_area", 10**9), "must hold unit_area as int64"),
        (set_to("0.union_area", 10**3), "no area that enters a union exceeds"),
        (set_to("0.rows", 10**6), ": rows must hold"),
        (put("image_numbers", lambda value: value.flip(0)), "image numbers rise"),
        (lambda tensors, meta: tensors.pop("1.peaks"), "must hold peaks"),
        (lambda tensors, meta: meta["names"].pop(), "must hold categories as a list of C"),
        (lambda tensors, meta: meta.update(settings={}), "settings must hold detector_iou"),
        (lambda tensors, meta: meta["layers"][1].update(name="1"), "layers have different names"),
        (lambda tensors, meta: meta["layers"][0].update(num_pixels=3), "at most pixels"),
    ],
)
def test_dissections_that_cannot_be(change, message, tmp_path):
    path = run(top_images=3).save(tmp_path / "a")
    altered(path, change)
    with pytest.raises(ValueError, match=message) as caught:
        dissect.load(path)
    assert str(path) in str(caught.value)
