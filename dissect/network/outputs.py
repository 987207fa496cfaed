"""What a layer gives: a tensor, or tuples, dicts and dataclasses of them. Copies, and the first tensor."""

from __future__ import annotations

import copy
import dataclasses
from collections import UserDict
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from dissect.arguments import refusal


def copied(output: Any, one: Callable[[Tensor], Tensor], name: str, memo: dict[int, Any] | None = None) -> Any:
    """A copy of a layer's output, of its own type, each tensor copied by `one`.

    Args:
        output: a tensor; tuples, lists, dicts and dataclasses, of any types derived from these, that hold some.
        one: copies a tensor.
        name: what the output is called in messages.
        memo: what was copied already; two names of one tensor stay two names of one.

    Raises:
        TypeError: it holds tensors in something else.

    Example:
        >>> copied({"maps": (torch.ones(1), 3)}, torch.Tensor.clone, "")
        {'maps': (tensor([1.]), 3)}
    """
    memo = {} if memo is None else memo
    if isinstance(output, Tensor):
        if id(output) not in memo:
            memo[id(output)] = one(output)
        return memo[id(output)]
    if type(output) is dict:
        return {key: copied(part, one, f"{name}[{key!r}]", memo) for key, part in output.items()}
    if isinstance(output, (tuple, list)):
        parts = [copied(part, one, f"{name}[{place}]", memo) for place, part in enumerate(output)]
        if type(output) in (tuple, list):
            return type(output)(parts)
        if isinstance(output, tuple):
            return _derived_tuple(output, parts, name)
    if isinstance(output, (list, dict, UserDict)) or _is_dataclass(output):
        twin = _twin(output, name)
        for field in _attributes(output):
            _set(twin, field, copied(getattr(output, field), one, f"{name}.{field}", memo))
        if isinstance(output, dict):
            for key, part in output.items():
                twin[key] = copied(part, one, f"{name}[{key!r}]", memo)
        elif isinstance(output, list):
            twin[:] = parts
        return twin
    if _holds_tensors(output, set()):
        raise _uncopied(output, name)
    return output


def _derived_tuple(output: Any, parts: list[Any], name: str) -> Any:
    try:
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    except TypeError as error:
        raise _uncopied(output, name) from error


def _twin(output: Any, name: str) -> Any:
    """A copy that shares all parts."""
    try:
        return copy.copy(output)
    except Exception as error:  # whatever its own way of being copied raises
        raise _uncopied(output, name) from error


def _uncopied(output: Any, name: str) -> TypeError:
    return refusal(
        TypeError(
            f"{name} must be a tensor, or a tuple, list, dict or dataclass of tensors, to be copied, but is "
            f"{type(output).__name__}; name another layer, or retain what the model itself uses: clone=False, "
            "detach=False."
        )
    )


def _is_dataclass(output: Any) -> bool:
    return dataclasses.is_dataclass(output) and not isinstance(output, type)


def _attributes(output: Any) -> list[str]:
    fields = [field.name for field in dataclasses.fields(output)] if _is_dataclass(output) else []
    return [name for name in dict.fromkeys([*fields, *getattr(output, "__dict__", ())]) if hasattr(output, name)]


def _set(output: Any, name: str, part: Any) -> None:
    """Sets an attribute; of a frozen dataclass too."""
    frozen = _is_dataclass(output) and type(output).__dataclass_params__.frozen
    (object.__setattr__ if frozen else setattr)(output, name, part)


def _holds_tensors(thing: Any, seen: set[int]) -> bool:
    if isinstance(thing, Tensor):
        return True
    if id(thing) in seen or isinstance(thing, (str, bytes, type, ModuleType, nn.Module)):
        return False
    seen.add(id(thing))
    parts = list(getattr(thing, "__dict__", {}).values())
    for kind in type(thing).__mro__:
        slots = vars(kind).get("__slots__", ())
        parts += [getattr(thing, slot, None) for slot in ([slots] if isinstance(slots, str) else slots)]
    if isinstance(thing, Mapping):
        parts += thing.values()
    elif isinstance(thing, (tuple, list, set, frozenset)):
        parts += thing
    return any(_holds_tensors(part, seen) for part in parts)


def first_tensor(output: Any) -> Any:
    """A layer's output; of several tensors the first one.

    That is the first part of a tuple or list, the first value of a dict, the first field of a dataclass (such as
    Hugging Face's outputs) that is not None. Where that is no tensor, the output as it is.

    Example:
        >>> first_tensor((torch.ones(1), torch.zeros(1)))
        tensor([1.])
    """
    place = _first_place(output)
    if place is None:
        return output
    return getattr(output, place) if _is_dataclass(output) else output[place]


def with_first(output: Any, first: Any) -> Any:
    """A layer's output with something else in place of `first_tensor`; the output itself stays as it is.

    Example:
        >>> with_first({"maps": torch.ones(1), "more": 2}, 3)
        {'maps': 3, 'more': 2}
    """
    place = _first_place(output)
    if place is None:
        return first
    if isinstance(output, tuple):
        return _derived_tuple(output, [first, *output[1:]], "what is edited")
    twin = _twin(output, "what is edited")
    if _is_dataclass(output):
        _set(twin, place, first)
    else:
        twin[place] = first
    return twin


def _first_place(output: Any) -> Any:
    """The field, key or index of the first tensor; None where the first part is none."""
    if _is_dataclass(output):
        fields = (field.name for field in dataclasses.fields(output))
        name = next((name for name in fields if getattr(output, name, None) is not None), None)
        return name if name is not None and isinstance(getattr(output, name), Tensor) else None
    if isinstance(output, dict):
        key = next(iter(output), None)
        return key if isinstance(output.get(key), Tensor) else None
    return 0 if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor) else None


def tensors(output: Any) -> Iterator[Tensor]:
    """All tensors of a model's output, however nested."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, (tuple, list)):
        for part in output:
            yield from tensors(part)
    elif isinstance(output, Mapping):
        for part in output.values():
            yield from tensors(part)
    elif _is_dataclass(output):
        for name in _attributes(output):
            yield from tensors(getattr(output, name))


def check_finite(whose: str, maps: Tensor) -> None:
    """Refuses activations that are not even like themselves, so that no comparison would tell.

    Args:
        whose: the layer, and of which network if there are several.
        maps: its activations.

    Raises:
        ValueError: some are NaN or infinite.
    """
    if not bool(maps.isfinite().all()):
        raise refusal(
            ValueError(
                f"activations of {whose} must be finite, but some are NaN or infinite; look for weights that are."
            )
        )
