import importlib
import sys

import pytest

import dissect
from dissect.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_a_module_is_found_by_the_name_that_it_had(old):
    module = importlib.import_module(f"dissect.{MOVED[old]}")
    name = module.__name__
    sys.modules.pop(f"dissect.{old}", None)
    with pytest.warns(DeprecationWarning, match=rf"dissect\.{old} has become {name}\."):
        assert importlib.import_module(f"dissect.{old}") is module
    assert module.__name__ == module.__spec__.name == name


def test_old_names_are_attributes_too_and_others_are_none(monkeypatch):
    monkeypatch.delitem(vars(dissect), "store", raising=False)  # as before anybody asked
    monkeypatch.delitem(sys.modules, "dissect.store", raising=False)
    with pytest.warns(DeprecationWarning, match=r"dissect\.store has become dissect\.visits\.store\."):
        assert dissect.store.Store.__module__ == "dissect.visits.store"
    with pytest.raises(ModuleNotFoundError, match=r"dissect\.nothing"):
        importlib.import_module("dissect.nothing")
    assert not hasattr(dissect, "nothing")
