"""Which backend serves, and what is said when one cannot."""

import pytest
import torch

from dissect import ops
from dissect.ops import dispatch, native

ARGUMENTS = (torch.zeros(1, 1, 2, 2), torch.zeros(1), torch.zeros(1, 1, 2, 2, dtype=torch.int32), 2)


@pytest.fixture
def without_engine(monkeypatch):
    monkeypatch.setattr(native, "_engine", None)
    monkeypatch.setattr(native, "_missing", "No module named 'dissect._C'", raising=False)
    monkeypatch.delenv("DISSECT_BACKEND", raising=False)
    dispatch._tell_once.cache_clear()
    yield
    dispatch._tell_once.cache_clear()


def test_a_missing_engine_is_told_once_and_the_reference_serves(without_engine):
    with pytest.warns(ops.BackendWarning, match="the slow references serve, because the compiled engine"):
        ops.iou_counts(*ARGUMENTS)
    ops.iou_counts(*ARGUMENTS)  # warnings are errors here: a second one would raise


def test_a_missing_backend_that_was_asked_for_raises(without_engine):
    with pytest.raises(ops.BackendUnavailableError, match="'cpp' is not available: the compiled engine is missing"):
        ops.iou_counts(*ARGUMENTS, backend="cpp")
    assert dict(ops.backends("iou_counts"))["reference"] is None


def test_unknown_names():
    with pytest.raises(ValueError, match=r"one of \['cpp', 'reference', 'triton'\], but got 'cuda'"):
        ops.iou_counts(*ARGUMENTS, backend="cuda")
    with pytest.raises(ValueError, match=r"op must be one of .* but got 'count'"):
        ops.backends("count")


def test_the_environment_replaces_auto(monkeypatch):
    monkeypatch.setenv("DISSECT_BACKEND", "reference")
    assert dispatch.select("iou_counts", "auto", torch.device("cpu")) == "reference"
    monkeypatch.delenv("DISSECT_BACKEND")
    assert dispatch.select("iou_counts", "cpp", torch.device("cpu")) == "cpp"
    assert dispatch.select("iou_counts", "auto", torch.device("cpu")) == "cpp"


def test_other_devices_are_refused():
    with pytest.raises(ops.BackendUnavailableError, match="there are no kernels for 'meta'"):
        dispatch.select("iou_counts", "auto", torch.device("meta"))


def test_an_unknown_simd_level_raises(monkeypatch):
    monkeypatch.setenv("DISSECT_SIMD", "sse9")
    with pytest.raises(ValueError, match=r"DISSECT_SIMD must be one of the levels of this machine .*but is sse9"):
        ops.iou_counts(*ARGUMENTS, backend="cpp")
