"""Checks of arguments that several functions take, so that each is told in the same words, before any work.

A check says argument, rule and value, and marks its error as a `refusal`; the public function that was called, which
`speaks`, puts its own name in front.
"""

from __future__ import annotations

import inspect
import operator
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from numbers import Real
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TypeVar, overload

import torch
from torch import Tensor

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
Error = TypeVar("Error", bound=Exception)


def refusal(error: Error, where: str | None = None) -> Error:
    """An error whose text lacks the name of the function that was called, which one that `speaks` adds.

    Args:
        error: what will be raised, or was.
        where: put in front of its text, as "layer '0'".

    Example:
        >>> refusal(ValueError("must be finite."), "layer '0'")
        ValueError("layer '0': must be finite.")
    """
    if where is not None:
        _put_in_front(error, where)
    error.__dict__["refusal"] = True
    return error


@overload
def speaks(thing: type[Returned]) -> type[Returned]: ...


@overload
def speaks(thing: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]: ...


def speaks(thing: Any) -> Any:
    """Makes a public function, or a method, say its name, or its class's, in front of what it refuses.

    Of a class all public methods speak, and say the class of their object. Of several such functions that call each
    other the one speaks that is called from outside of this package. Errors of the user's model or data are no
    refusals, and keep their texts. What an op that this package called says in its own name is said in this one's.

    Example:
        >>> @speaks
        ... def shrink(factor):
        ...     return 1 / integer("factor", factor)
    """
    if not isinstance(thing, type):
        return _speaking(thing, lambda given: str(thing.__qualname__).split(".")[0])
    for name, member in list(vars(thing).items()):
        if not name.startswith("_") or name in _CALLED:
            setattr(thing, name, _member(thing, member))
    return thing


#: What Python calls for those who use an object.
_CALLED = ("__init__", "__call__", "__enter__", "__exit__", "__getitem__")


def _member(owner: type, member: Any) -> Any:
    """A method, class method or property that says its object's class; anything else as it is."""
    if isinstance(member, staticmethod):
        return staticmethod(_speaking(member.__func__, lambda given: owner.__name__))
    if isinstance(member, classmethod):
        return classmethod(_member(owner, member.__func__))
    if isinstance(member, property):
        return property(_member(owner, member.fget), member.fset, member.fdel)
    return _speaking(member, _class_of) if inspect.isfunction(member) else member


def _class_of(given: tuple[Any, ...]) -> str:
    return (given[0] if isinstance(given[0], type) else type(given[0])).__name__


def _speaking(function: Callable[..., Any], name: Callable[[tuple[Any, ...]], str]) -> Callable[..., Any]:
    @wraps(function)
    def speaking(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            if not _is_inside(sys._getframe(1)):
                _say(name(args), error)
            raise

    return speaking


def tell(text: str, category: type[Warning] = UserWarning) -> None:
    """Warns at the line outside of this package that led here, in the name of the function that was called there."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not (_speaks(frame) and not _is_inside(frame.f_back)):
        frame = frame.f_back
    said = f"{frame.f_locals['name'](frame.f_locals['args'])}: {text}" if frame is not None else text
    warnings.warn(said, category, stacklevel=caller_level())


@contextmanager
def speaker(name: str) -> Iterator[None]:
    """Within, refusals say this name, unless a function that `speaks` was called before."""
    try:
        yield
    except Exception as error:
        if not _is_spoken_for(sys._getframe(1)):
            _say(name, error)
        raise


def _is_spoken_for(frame: FrameType | None) -> bool:
    """Whether a function that `speaks` is being called."""
    while frame is not None and not _speaks(frame):
        frame = frame.f_back
    return frame is not None


def _speaks(frame: FrameType) -> bool:
    return frame.f_code.co_name == "speaking" and frame.f_globals.get("__name__") == __name__


def _is_inside(frame: FrameType | None) -> bool:
    """Whether this package calls from a frame, itself or by Python's or PyTorch's own code."""
    while frame is not None and _room(frame) in _BETWEEN:
        frame = frame.f_back
    return frame is not None and _is_ours(frame)


def _say(name: str, error: Exception) -> None:
    if error.__dict__.pop("refusal", False) or _own_name(error):
        _put_in_front(error, name)


def _put_in_front(error: Exception, text: str) -> None:
    said = str(error.args[0]) if error.args else type(error).__name__
    error.args = (f"{text}: {said.removeprefix(_own_name(error))}", *error.args[1:])


def _own_name(error: Exception) -> str:
    """What an op that this package called, and not the user's code, put in front itself: "iou_counts: ", or nothing."""
    name, colon, _ = (str(error.args[0]) if error.args else "").partition(": ")
    step, caller = error.__traceback__, None
    ops: list[object] = []
    while step is not None:
        if str(step.tb_frame.f_globals.get("__name__")).startswith(_OPS):
            ops += [step.tb_frame.f_code.co_name, step.tb_frame.f_locals.get("op")]
        elif not ops:
            caller = step.tb_frame
        step = step.tb_next
    return name + colon if name in ops and caller is not None and _is_ours(caller) else ""


_OPS = f"{__name__.partition('.')[0]}.ops."


def caller_level() -> int:
    """The `stacklevel` of a warning that is to name the line, outside of this package, which called it."""
    frame, level = sys._getframe(1), 1
    while _is_ours(frame) and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    return level


def _is_ours(frame: FrameType) -> bool:
    return _room(frame) == __name__.partition(".")[0]


def _room(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]


#: Whose code calls what somebody else asked it to call: a module's forward, the items of a data set.
_BETWEEN = {*sys.stdlib_module_names, "torch"}


def integer(name: str, value: int, least: int = 1, most: int | None = None) -> int:
    """Python's own integer, which JSON can hold, of any integer from `least` on.

    Args:
        name: of the argument.
        value: what was given.
        least: the smallest that is allowed.
        most: the largest.

    Raises:
        TypeError: no integer.
        ValueError: one below `least`, or above `most`.

    Example:
        >>> import numpy
        >>> integer("batch_size", numpy.int64(32))
        32
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise refusal(TypeError(f"{name} must be an integer, but got {value!r}.")) from None
    if number < least:
        raise refusal(ValueError(f"{name} must be at least {least}, but got {value}."))
    if most is not None and number > most:
        raise refusal(ValueError(f"{name} must be at most {most}, but got {value}."))
    return number


#: The largest seed: repeats, which add their number to it, still have one that PyTorch takes.
LAST_SEED = 2**63 - 1


def seed_number(value: int, name: str = "seed") -> int:
    """A seed of what is drawn: an integer from 0 on that PyTorch takes.

    Raises:
        TypeError, ValueError: see `integer`.

    Example:
        >>> seed_number(7)
        7
    """
    return integer(name, value, 0, LAST_SEED)


def ignored_labels(ignore: int | Iterable[int]) -> tuple[int, ...]:
    """The labels that stand for "no label", of one or several; each once, rising.

    Raises:
        TypeError: no integers.

    Example:
        >>> ignored_labels(255), ignored_labels([255, -1, 255])
        ((255,), (-1, 255))
    """
    try:
        return tuple(
            sorted({operator.index(label) for label in (ignore if isinstance(ignore, Iterable) else [ignore])})
        )
    except TypeError:
        raise refusal(TypeError(f"ignore must be a label or several, integers, but got {ignore!r}.")) from None


#: What stands for memory without a limit.
_ALL = 2**63 - 1


def num_bytes(name: str, value: float) -> int:
    """A number of bytes, 0 or more, of any real number; infinity is one too.

    Raises:
        ValueError: anything else.

    Example:
        >>> num_bytes("memory_budget", 2e9)
        2000000000
    """
    if not isinstance(value, Real) or not value >= 0:  # NaN is not
        raise refusal(ValueError(f"{name} must be a number of bytes, 0 or more, but is {value!r}."))
    return int(min(value, _ALL))


def result_file(path: Path, suffix: str) -> Path:
    """The path of a result, which may come without its suffix, but is no folder.

    Args:
        path: what was given.
        suffix: of the kind of result that it takes.

    Raises:
        ValueError: a folder; says which such files it holds, and that one of them must be given.
    """
    if not path.is_dir() or (path.name and path.with_name(path.name + suffix).is_file()):
        return path
    held = sorted(file for file in path.iterdir() if file.suffix == suffix and file.is_file())
    told = (
        f"which holds no {suffix} file" if not held else "give the file in it" if len(held) == 1 else "give one in it"
    )
    names = ", ".join(map(str, held[:5])) + (f" and {len(held) - 5} more" if len(held) > 5 else "")
    raise refusal(
        ValueError(f"a {suffix} file is needed, but {path} is a folder, {told}{': ' + names if held else ''}.")
    )


def check_values(name: str, value: Any) -> None:
    """Refuses a tensor on the meta device, of which there is nothing but a shape.

    Raises:
        ValueError: it is there; says what to do.
    """
    if isinstance(value, Tensor) and value.is_meta:
        raise refusal(
            ValueError(
                f"{name} must hold values, but is on the meta device, which has none; make or load it elsewhere."
            )
        )


def check_precision(layer: str, output: Any) -> None:
    """Refuses what a network gives in double precision, in which nothing here computes.

    Raises:
        TypeError: it is float64; says what to do.
    """
    if isinstance(output, Tensor) and output.dtype == torch.float64:
        raise refusal(
            TypeError(
                f"activations of layer {layer!r} are float64, but must be float32, float16 or bfloat16: call "
                "model.float() and give the model float32 images."
            )
        )
