"""The backends' files: each has the ops that the tables say, with the signature that they have everywhere."""

import importlib.util
import inspect

import pytest
import torch

from dissect.ops import dispatch

TABLES = (dispatch.CPU_BACKENDS, dispatch.GPU_BACKENDS)
NAMES = ("reference", "cpp", "cuda", "triton", "torch")


def module(name, missing):
    if name == "triton" and importlib.util.find_spec("triton") is None:
        missing("triton", "triton is not installed")
    return importlib.import_module(f"dissect.ops.backends.{name}")


def parameters(function):
    """Names and types; hot cells in the place of maps are for the backends of `TAKE_HOT_CELLS`."""
    found = inspect.signature(function).parameters.values()
    return [(parameter.name, parameter.annotation.replace("Tensor | HotCells", "Tensor")) for parameter in found]


@pytest.mark.parametrize("name", NAMES)
def test_a_backend_has_its_ops_by_one_signature(name, missing):
    ops = {op for table in TABLES for op, names in table.items() if name in names}
    ours, reference = module(name, missing), module("reference", missing)
    assert ops
    for op in [*ops, "blend_units_", "blend_units_backward"]:
        assert parameters(getattr(ours, op)) == parameters(getattr(reference, op)), op


def test_the_tables_name_no_other_backend():
    named = {name for table in TABLES for names in table.values() for name in names}
    assert named == set(NAMES) == set(dispatch._REASONS)


def test_other_functions_of_an_op_are_served_by_its_backend():
    with pytest.raises(ValueError, match="one of"):
        dispatch.implementation("blend_units", "fast", torch.device("cpu"), "blend_units_")
    found = dispatch.implementation("blend_units", "cpp", torch.device("cpu"), "blend_units_")
    assert found is module("cpp", pytest.fail).blend_units_
