"""What the tests of scripts share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """One thread, as the scripts themselves say, and no bars."""
    threads = torch.get_num_threads()
    monkeypatch.setenv("TQDM_DISABLE", "1")
    yield
    torch.set_num_threads(threads)
