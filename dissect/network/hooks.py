"""Hooks that act for those alone who placed them: not in other threads or coroutines, and not in copies of a model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from types import FrameType
from typing import Any, NoReturn

from torch import nn
from torch.nn.modules import module as torch_modules
from torch.utils.checkpoint import CheckpointFunction

from dissect.arguments import refusal, speaks
from dissect.network.forwards import own_forward

#: The blocks of `Hooks` that the running thread or coroutine is in; threads begin in none, tasks in their maker's.
_blocks: ContextVar[tuple[object, ...]] = ContextVar("dissect_blocks", default=())
#: Where torch's checkpoints are, and what runs there when backward computes something again.
_CHECKPOINTS = CheckpointFunction.forward.__code__.co_filename
_AGAIN = ("backward", "unpack_hook", "recompute_fn")


@speaks
class Hooks:
    """Hooks on modules within a ``with`` block, in forward passes of the thread or coroutine that entered it.

    Raises:
        RuntimeError: the block was entered a second time before it ended.

    Example:
        >>> model, seen = torch.nn.ReLU(), []
        >>> with Hooks() as hooks:
        ...     hooks.after(model, lambda module, args, kwargs, output: seen.append(output.item()))
        ...     output = model(torch.tensor(-1.0))
        >>> seen
        [0.0]
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._block: object | None = None

    def __enter__(self) -> Hooks:
        if self._block is not None:
            raise refusal(
                RuntimeError("the block of this one has begun and not ended; make another Trace for another.")
            )
        self._block = object()
        _blocks.set((*_blocks.get(), self._block))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        # By value: a generator or a fixture may end its block in another context than the one that it began in.
        _blocks.set(tuple(block for block in _blocks.get() if block is not self._block))
        self._block = None

    def here(self) -> bool:
        """Whether the running thread or coroutine is in the block."""
        return self._block in _blocks.get()

    def before(self, module: nn.Module, act: Callable[..., Any]) -> None:
        """Calls ``act(module, args, kwargs)`` before the module runs."""
        self._handles.append(module.register_forward_pre_hook(Hook(act, self._block, False), with_kwargs=True))

    def after(self, module: nn.Module, act: Callable[..., Any], edits: bool = False) -> None:
        """Calls ``act(module, args, kwargs, output)`` after it; what that returns, unless None, replaces the output."""
        self._handles.append(module.register_forward_hook(Hook(act, self._block, edits), with_kwargs=True))


class Hook:
    """One of `Hooks`, which acts in its block only; a copy of it, in a copy of the module, never does."""

    __slots__ = ("_act", "_block", "edits")

    def __init__(self, act: Callable[..., Any], block: object | None, edits: bool) -> None:
        self._act, self._block, self.edits = act, block, edits

    def __call__(self, *given: Any) -> Any:  # noqa: D102
        return self._act(*given) if self._block in _blocks.get() else None

    def __deepcopy__(self, memo: object) -> Hook:
        return Hook(_nothing, None, False)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a model cannot be pickled within a block of Trace or of an intervention, whose hooks would go with it; do "
            "it after the block, or save its state_dict()."
        )

    def changes_passes_here(self) -> bool:
        """Whether passes of the running thread or coroutine are edited by it."""
        return self.edits and self._block in _blocks.get()


def _nothing(*_: Any) -> None:
    pass


def others_hooks(module: nn.Module | None = None) -> list[Any]:
    """The forward hooks and pre-hooks that a module, or else every module, has from others than this library."""
    owner: Any = module
    if owner is None:
        placed = (torch_modules._global_forward_hooks, torch_modules._global_forward_pre_hooks)
    else:
        placed = (owner._forward_hooks, owner._forward_pre_hooks)
    return [hook for hooks in placed for hook in hooks.values() if not isinstance(hook, Hook)]


def effective_hooks(module: nn.Module) -> int:
    """How many hooks may change what the module gives here: others' and those of interventions; no other thread's."""
    placed = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    return sum(not isinstance(hook, Hook) or hook.changes_passes_here() for hook in placed)


def why_not_plain(module: nn.Module) -> str | None:
    """Why a module may give something else than its class says: in words that follow its name; None if it does not."""
    if own_forward(module) is not None:
        return "has another forward than its class"
    if others_hooks(module):
        return "has forward hooks"
    return "runs under global forward hooks" if others_hooks() else None


def in_checkpoint() -> bool:
    """Whether torch.utils.checkpoint calls, now or when backward computes again what it did not keep."""
    return _caller(lambda _: True)


def computed_again() -> bool:
    """Whether backward computes again what torch.utils.checkpoint did not keep."""
    return _caller(lambda frame: frame.f_code.co_name in _AGAIN)


def _caller(wanted: Callable[[FrameType], bool]) -> bool:
    """Whether a function of torch's checkpoints that is wanted is among the callers."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == _CHECKPOINTS and wanted(frame):
            return True
        frame = frame.f_back
    return False
