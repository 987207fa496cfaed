"""What a GPU run does late, and how data is told apart: both without a GPU."""

import pytest
import torch
from small_dissection import Scenes, run, same

from dissect import devices as transfer
from dissect.devices import DeferredReads, checksum, device_of


@pytest.fixture
def ahead(monkeypatch):
    """As on a GPU, nothing is looked at before the next batch is queued."""
    monkeypatch.setattr(transfer, "is_asynchronous", lambda device: True)


def test_a_run_that_looks_late_finds_the_same(ahead, monkeypatch):
    late = run()
    monkeypatch.undo()
    same(late, run())


def test_calls_come_when_the_next_work_is_queued(ahead):
    late, seen = DeferredReads(), []
    late.call(lambda value: late.call(seen.append, value + 1), torch.tensor(1))
    assert seen == []
    earlier = late.take()
    late.call(seen.append, torch.tensor(5))
    for call in earlier:
        call()
    assert seen == []
    late.flush()
    assert [int(value) for value in seen] == [5, 2]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bfloat16, torch.float32])
def test_checksums_see_every_element_and_their_order(dtype):
    values = torch.randperm(3 * 7 * 211).reshape(3, 7, 211).remainder(100).to(dtype)
    whole = int(checksum(values))
    assert int(checksum(values.clone())) == whole
    assert int(checksum(torch.stack([values, values])[1])) == whole  # wherever it lies in memory
    assert int(checksum(values.transpose(1, 2).contiguous().transpose(1, 2))) == whole  # whatever its strides
    for index in range(0, values.numel(), 97):
        changed = values.clone()
        changed.view(-1)[index] += 1
        assert int(checksum(changed)) != whole
    swapped = values.clone()
    swapped[[0, 1]] = values[[1, 0]]
    assert int(checksum(swapped)) != whole
    assert int(checksum(values[:0])) == 0


@pytest.mark.parametrize("stop", [3, 21, 30, 63])
def test_a_run_that_looks_late_is_stopped_and_resumed(stop, ahead, tmp_path, monkeypatch):
    monkeypatch.setattr("dissect.files.progress.EVERY", 0.0)
    monkeypatch.setattr("dissect.files.progress.TIMES", 0)
    with pytest.raises(OSError, match="out of images"):
        run(images=Ending(stop), resume=tmp_path, memory_budget=0)
    late = run(resume=tmp_path, memory_budget=0)
    monkeypatch.undo()
    same(late, run())


class Ending(Scenes):
    """Has no more images after so many were asked for."""

    def __init__(self, left):
        super().__init__()
        self.left = left

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise OSError("out of images")
        return super().__getitem__(index)


def test_a_model_is_where_its_parameters_or_else_its_buffers_are():
    class Buffers(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kept", torch.zeros(1, device="meta"))

    assert device_of(Buffers()) == torch.device("meta")
    assert device_of(torch.nn.Linear(1, 1)) == torch.device("cpu")
    assert device_of(torch.nn.ReLU(), "meta") == torch.device("meta")
