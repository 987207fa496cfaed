"""Session files: what is read is checked, and what is wrong is said."""

import copy
import json

import pytest
from apps.conftest import some_strokes

from dissect import apps
from dissect.apps.session import json_of, session_of

NOTHING = {"action": "draw", "concept": "", "units": [], "values": [], "alphas": [], "pooling": "max"}


@pytest.fixture
def good(painter):
    return apps.Painting(painter, 3, some_strokes(painter, 4)).session.as_json()


def test_json_and_back(good):
    assert session_of(json_of(json.dumps(good).encode()), 8).as_json() == good


def changed(found, path, value):
    found = copy.deepcopy(found)
    at = found
    for part in path[:-1]:
        at = at[part]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return found


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (["kind"], "something", "must hold kind as one of"),
        (["version"], 2, "must hold version as an integer of at least 1 and at most 1"),
        (["layer"], ..., "must hold layer"),
        (["z", "number"], -1, "must hold number"),
        (["z", "number"], 1.5, "must hold number"),
        (["z", "seed"], True, "must hold seed"),
        (["z"], [], "must hold z as a dict"),
        (["strokes"], {}, "must hold strokes as a list"),
        (["strokes", 1], None, "must hold strokes as a list, each entry a dict"),
        (["strokes", 0], NOTHING, "it has a unit"),
        (["strokes", 1, "units"], [8, 3], "at most 7"),
        (["strokes", 1, "units"], ["1", 3], "units as a list"),
        (["strokes", 1, "values"], [1.0, None], "values from"),
        (["strokes", 1, "values"], [1.0, 10**400], "values from"),
        (["strokes", 1, "alphas"], [-0.1, 1], "alphas from 0 to 1"),
        (["strokes", 1, "concept"], "a" * 201, "at most 200 letters"),
        (["strokes", 1, "pooling"], "median", "pooling as one of"),
        (["strokes", 1, "mask"], 7, "mask as a dict, or nothing"),
        (["strokes", 1, "mask", "shape"], [2000, 16], "at most 1024"),
        (["strokes", 1, "mask", "bitbounds"], [5, 0, 4, 16], "bitbounds, top, left, bottom, right, lie in it"),
        (["strokes", 1, "mask", "bitstring"], "1", "a bit for each pixel"),
        (["strokes", 1, "mask"], {"shape": [1, 2], "bitbounds": [0, 0, 1, 2], "bitstring": "1x"}, "is of 0 and 1"),
        (["strokes"], [{}] * 501, "at most 500 strokes"),
    ],
)
def test_what_a_session_must_hold(good, path, value, text):
    with pytest.raises(ValueError, match=text):
        session_of(changed(good, path, value), 8)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"{", "it must be JSON"),
        (b"\xff", "it must be JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'{"a": 1, "a": 2}', "comes twice"),
        (b"1" * 5000, "it must be JSON"),
        (b"[]", "but is list"),
    ],
)
def test_files_that_are_none(tmp_path, data, text):
    path = tmp_path / "session.json"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=text) as told:
        apps.load_painting(path)
    assert str(path) in str(told.value)


def test_a_file_that_is_too_large_or_missing(tmp_path):
    path = tmp_path / "session.json"
    with pytest.raises(FileNotFoundError, match="there is no file"):
        apps.load_painting(path)
    with path.open("wb") as file:
        file.truncate(8_000_001)
    with pytest.raises(ValueError, match="at most 8000000 bytes, but has 8000001"):
        apps.load_painting(path)
