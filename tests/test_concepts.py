"""Names by label number: what is certain is taken, what is not is refused or told."""

import pytest

from dissect.concepts import MANY_LABELS, Concepts


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"1": "sky", "2": "tree"}, ("-", "sky", "tree")),
        ({2: "tree", 1: "sky"}, ("-", "sky", "tree")),
        ({"0": "background", "1": "sky"}, ("-", "sky")),
        ({0: ("unlabeled", "void"), 1: ("sky", "object")}, ("-", "sky")),
        ({7: "road", 9: "pole"}, ("-", *map(str, range(1, 7)), "road", "8", "pole")),
        ({}, ("-",)),
    ],
)
def test_names_by_label_number(given, names):
    assert Concepts.of(given).names == names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {0: "wall", 1: "building"},
            r"label 0 is 'no label', but the dictionary calls it 'wall'\. If the planes count",
        ),
        ({"0": ("wall", "object")}, "calls it 'wall'"),
        ({0: 7}, "calls it 7"),
        ({1: "sky", "1": "tree"}, "must hold each label once, below .* but one is '1'"),
        ({"1": "sky", "01": "tree"}, "must hold each label once"),
        ({"sky": 1}, "must be label numbers from 0 on, below 1048576, but one is 'sky'"),
        ({-1: "sky"}, "but one is -1"),
        ({1.0: "sky"}, "but one is 1.0"),
        ({True: "sky"}, "but one is True"),
        ({10**9: "sky"}, "but one is 1000000000"),
        ({"9" * 5000: "sky"}, "must be label numbers"),
    ],
)
def test_dictionaries_that_are_not_certain(given, message):
    with pytest.raises(ValueError, match=message):
        Concepts.of(given)


@pytest.mark.parametrize(
    "first",
    ["background", "__background__", "Void", "ignore", "none", "-", "other", "nothing", "no label", "no_label", "",
     "bg", "unlabeled", "UNLABELLED", "_background_"],
)  # fmt: skip
def test_a_list_that_begins_with_the_background_is_told(first):
    with pytest.warns(UserWarning, match="label 0 is 'no label' and has no name in the list"):
        assert Concepts.of([first, "sky"]).names == ("-", first, "sky")
    with pytest.warns(UserWarning, match="label 0 is 'no label'"):
        Concepts.of([(first, "object"), ("sky", "object")])


def test_texts_that_no_file_can_hold_are_told_before_the_work():
    for wrong, what in (("sky\ud800", "surrogates not allowed"), ("sky\0", "NUL")):
        with pytest.raises(ValueError, match=f"texts must be such that a file can hold them, .*{what}"):
            Concepts.of(["tree", wrong])
        with pytest.raises(ValueError, match=what):
            Concepts.of([("tree", wrong)])


def test_many_numbers_without_names_are_told():
    assert Concepts.numbered(3) == Concepts.of(["1", "2"])
    Concepts.numbered(MANY_LABELS)
    with pytest.warns(UserWarning, match="labels go up to 300000, and no names tell what they are"):
        Concepts.numbered(300_001)
