"""What all tests share: seeds, the order of the files, and the axis of backends."""

import gc
import os
import signal

import pytest
import quick
import torch

from dissect.ops import BackendUnavailableError, native

REQUIRED = set(filter(None, os.environ.get("DISSECT_TEST_REQUIRE", "").split(",")))
LEVELS = ("baseline", "avx2", "avx512")
#: The folders whose files take longest, which begin first, so that the workers end at the same time.
LONGEST = "emulation native docs tiny kernels fuzz network benchmarks visits cli dissection tests".split()

ENGINE_IS_MISSING = native.unavailable() is not None and "cpp" not in REQUIRED

# A shell has Ctrl-C ignored by what it runs in the background, and by all that this starts; tests press it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

quick.make_quick()

if ENGINE_IS_MISSING:  # the references serve; the warning that tells so would be an error here
    os.environ["DISSECT_BACKEND"] = "reference"


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Without looking for garbage among modules and tests, which stay: each look takes longer than the one before.

    Later less often than is usual: what a test imports stays too, and is looked through each time.
    """
    gc.disable()
    found = yield
    gc.freeze()
    gc.set_threshold(10_000)
    gc.enable()
    return found


def pytest_collection_modifyitems(items):
    """Puts the longest first; within a folder, and among all others, the order stays."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.parent.name, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Skips, with the reason, a test that asks for the engine where there is none."""
    try:
        return (yield)
    except BackendUnavailableError as error:
        if ENGINE_IS_MISSING:
            pytest.skip(str(error))
        raise


def _skip(name: str, reason: str) -> None:
    """Skips with the reason; fails instead where the backend must be here."""
    if name in REQUIRED:
        pytest.fail(f"{name} is required, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def missing():
    """Skips with a reason, or fails where what is missing must be here: ``missing("chromium", "none was found")``."""
    return _skip


@pytest.fixture(params=LEVELS)
def simd(request, monkeypatch):
    """Each SIMD level of the compiled engine, forced."""
    reason = native.unavailable()
    if reason:
        _skip("cpp", reason)
    if request.param not in native.engine().simd_levels():
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setenv("DISSECT_SIMD", request.param)
    assert native.simd_level() == request.param
    return request.param


@pytest.fixture(params=["reference", "cpp"])
def backend(request):
    """Each backend by name."""
    if request.param == "cpp" and native.unavailable():
        _skip("cpp", native.unavailable())
    return request.param
