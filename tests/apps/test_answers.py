"""What a page hears of errors: of checks what they say, of all else that something went wrong."""

import json

import pytest

from dissect.apps.answers import answer

#: Made of a text that no file holds, as code is whose sources are not installed.
WITHOUT_SOURCES = """
def checked(asked):
    if asked < 0:
        raise ValueError(
            f"asked must be from 0 on, but is {asked}."
        ) from None
    return asked

def again(asked):
    try:
        return checked(asked)
    except ValueError:
        raise

def wrong(asked):
    return {"a": 1}[asked]
"""


@pytest.fixture
def functions():
    found = {}
    exec(compile(WITHOUT_SOURCES, "nowhere.py", "exec"), found)
    return found


@pytest.mark.parametrize("name", ["checked", "again"])
def test_what_a_check_says_is_told_where_there_are_no_sources(functions, name):
    found = answer(functions[name], lambda: -1)
    assert (found.status, json.loads(found.data)) == (400, {"error": "asked must be from 0 on, but is -1."})
    assert answer(functions[name], lambda: 7).data == b"7"


@pytest.mark.parametrize(("name", "asked"), [("wrong", "b"), ("wrong", []), ("checked", None)])
def test_what_goes_wrong_is_told_on_the_terminal_alone(functions, capsys, name, asked):
    found = answer(functions[name], lambda: asked)
    assert (found.status, "went wrong" in json.loads(found.data)["error"]) == (500, True)
    assert "Traceback" in capsys.readouterr().err
