"""Between the host and a GPU without waiting: what is sent, what is fetched, and what tells two tensors apart."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from dissect.arguments import check_values

#: Words that a checksum adds up together.
_ROW = 512


def device_of(model: nn.Module, otherwise: str | torch.device = "cpu") -> torch.device:
    """The device of a model's first parameter, or buffer, or else what is said.

    Example:
        >>> device_of(torch.nn.ReLU())
        device(type='cpu')
    """
    return next((tensor.device for tensor in chain(model.parameters(), model.buffers())), torch.device(otherwise))


def to_device(value: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device.

    From a CPU to a GPU nobody waits: it is copied, from pinned memory, beside the work that the current stream has
    still to do, and only what comes after in that stream waits for the copy.

    Example:
        >>> to_device(torch.ones(2), torch.device("cpu"))
        tensor([1., 1.])
    """
    check_values("what the model is given", value)
    if value.device.type != "cpu" or device.type != "cuda":
        return value.to(device)
    if device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    pinned = value if value.is_pinned() else torch.empty_like(value, pin_memory=True).copy_(value)
    copying, computing = _copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(copying):
        sent = pinned.to(device, non_blocking=True)
    computing.wait_stream(copying)
    sent.record_stream(computing)  # else its memory could be given away while the work still needs it
    return sent


#: What captured CUDA graphs read, which must outlive them; it is little.
_captured: list[Tensor] = []


def record_streams(*tensors: Tensor) -> None:
    """Keeps the memory of cached tensors until the kernels that are about to read them have, though they are dropped.

    On a GPU: until the current stream is past them, and where it is being captured into a graph, for good.
    """
    for tensor in tensors:
        if tensor.device.type == "cuda":
            if torch.cuda.is_current_stream_capturing():
                _captured.append(tensor)
            else:
                tensor.record_stream(torch.cuda.current_stream(tensor.device))


def is_asynchronous(device: torch.device) -> bool:
    """Whether the host goes on while the device still computes, so that to look at a result is to wait."""
    return device.type == "cuda"


class DeferredReads:
    """What is left to do with values that a GPU is still computing: it is done when the next work is queued there.

    So the GPU is never idle while the host looks, and the host never runs ahead by more than a batch.

    Example:
        >>> late, seen = DeferredReads(), []
        >>> late.call(seen.append, torch.tensor(3))  # on a CPU at once
        >>> seen
        [tensor(3)]
    """

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []

    def call(self, use: Callable[[Tensor], None], value: Tensor) -> None:
        """Calls `use` with the value on the CPU, now or later."""
        if not is_asynchronous(value.device):
            use(value.cpu())
            return
        fetched = _to_host(value)
        self._calls.append(lambda: use(fetched()))

    def take(self) -> list[Callable[[], None]]:
        """The calls of what was queued so far; the caller makes them, when the next work is queued."""
        calls, self._calls = self._calls, []
        return calls

    def flush(self) -> None:
        """Makes all calls, which may bring more of them."""
        while self._calls:
            self._calls.pop(0)()


def _to_host(value: Tensor) -> Callable[[], Tensor]:
    """Begins to copy a tensor to the CPU; what is returned waits for that copy alone, and gives it."""
    if value.device.type != "cuda":
        return value.cpu
    copied = torch.empty(value.shape, dtype=value.dtype, pin_memory=True).copy_(value, non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(value.device))

    def fetched() -> Tensor:
        done.synchronize()
        return copied

    return fetched


def checksum(value: Tensor) -> Tensor:
    """[] int64 on the tensor's device, of its bytes in the order of its elements: the same on a CPU and on a GPU.

    The sum, modulo 2^64, of the rows' hashes times odd pseudo-random weights; a row's hash is the sum of its words so
    weighted, mixed with itself. It tells data that changed, by chance, from data that did not; it is no protection.

    Example:
        >>> checksum(torch.tensor([1, 2])) == checksum(torch.tensor([2, 1]))
        tensor(False)
    """
    data = value.detach().contiguous().view(-1).view(torch.uint8)
    short = -len(data) % (8 * _ROW)
    if short:
        data = torch.nn.functional.pad(data, (0, short))
    elif data.storage_offset() % 8:
        data = data.clone()
    rows = (data.view(torch.int64).view(-1, _ROW) * _weights(_ROW, data.device)).sum(1)
    rows = rows ^ (rows >> 29)
    return (rows * _weights(len(rows), data.device)).sum()


def _weights(count: int, device: torch.device) -> Tensor:
    """Odd numbers [count] without a pattern, in int64, which wraps."""
    mixed = torch.arange(1, count + 1, device=device) * -7046029254386353131
    mixed = (mixed ^ (mixed >> 32)) * -4417276706812531889
    return (mixed ^ (mixed >> 29)) | 1


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def processor() -> str:
    """The processor's name as people know it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())
