"""Which backend serves, and what is said when one cannot."""

import sys

import pytest
import torch

from dissect import ops
from dissect.ops import dispatch, gpu, native

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
    for elsewhere in ("cuda", "auto"):  # no op has that on a CPU
        monkeypatch.setenv("DISSECT_BACKEND", elsewhere)
        assert dispatch.select("iou_counts", "auto", torch.device("cpu")) == "cpp"
    monkeypatch.setenv("DISSECT_BACKEND", "fast")
    with pytest.raises(ValueError, match=r"DISSECT_BACKEND must be 'auto' or one of .*, but is 'fast'"):
        dispatch.select("iou_counts", "auto", torch.device("cpu"))
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


def pretend(monkeypatch, cuda, triton, torch=None):
    """A GPU whose backends are missing for these reasons."""
    monkeypatch.setitem(dispatch._REASONS, "cuda", lambda device: cuda)
    monkeypatch.setitem(dispatch._REASONS, "triton", lambda device: triton)
    monkeypatch.setitem(dispatch._REASONS, "torch", lambda device: torch)
    dispatch._tell_once.cache_clear()


def test_on_a_gpu_the_next_backend_serves_and_it_is_told_once(monkeypatch):
    device = torch.device("cuda", 0)
    pretend(monkeypatch, None, None)
    assert dispatch.select("iou_counts", "auto", device) == "cuda"
    assert dispatch.select("iou_counts", "triton", device) == "triton"
    assert dispatch.select("encode_labels", "auto", device) == "triton"
    pretend(monkeypatch, "it was built without CUDA.", None)
    with pytest.warns(ops.BackendWarning, match=r"triton serves on the GPU, because it was built without CUDA\."):
        assert dispatch.select("iou_counts", "auto", device) == "triton"
    assert dispatch.select("iou_counts", "auto", device) == "triton"
    with pytest.raises(ops.BackendUnavailableError, match="'cuda' is not available: it was built without CUDA"):
        dispatch.select("iou_counts", "cuda", device)
    assert ops.serving_device(device) == device


def test_a_gpu_without_backends(monkeypatch):
    device = torch.device("cuda", 0)
    pretend(monkeypatch, "reason one.", "reason two.")
    with pytest.raises(ops.BackendUnavailableError, match=r"cuda: reason one\. triton: reason two\."):
        dispatch.select("iou_counts", "auto", device)
    # Plain PyTorch has some ops, but does not count.
    assert dispatch.select("image_peaks", "torch", device) == "torch"
    with pytest.warns(
        ops.BackendWarning, match=r"activations go to the CPU, because no backend of encode_labels serves"
    ):
        assert ops.serving_device(device) == torch.device("cpu")
    dispatch._tell_once.cache_clear()


def test_triton_says_why_it_is_missing(monkeypatch, tmp_path):
    if gpu.triton_unavailable.__wrapped__(torch.device("cpu")) is None:
        pytest.skip("TRITON_INTERPRET=1")
    with pytest.raises(ops.BackendUnavailableError, match="'triton' is not available: "):
        dispatch.select("iou_counts", "triton", torch.device("cpu"))
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert "install dissect-units[triton]" in gpu.triton_unavailable.__wrapped__(torch.device("cpu"))
    assert gpu._unwritable(str(tmp_path / "new" / "folder")) is None
    (tmp_path / "file").touch()
    assert "set TRITON_CACHE_DIR" in gpu._unwritable(str(tmp_path / "file"))


def test_planes_are_encoded_by_another_backend_where_the_one_that_counts_cannot(monkeypatch):
    monkeypatch.setitem(dispatch.CPU_BACKENDS, "encode_labels", ("reference",))
    with ops.record_backends() as served:
        ops.iou_counts(*ARGUMENTS, backend="cpp")
    assert served == [("encode_labels", "reference"), ("iou_counts", "cpp")]
