"""Layers by their names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dissect.arguments import refusal
from dissect.network.forwards import own_forward


def layer_names(model: nn.Module, layers: Any) -> list[str]:
    """The names of layers that were given as one name or several.

    Raises:
        TypeError: they are no names; of modules says what they are called.

    Example:
        >>> layer_names(torch.nn.Sequential(torch.nn.ReLU()), "0")
        ['0']
    """
    if isinstance(layers, str):
        return [layers]
    if isinstance(layers, nn.Module) or not isinstance(layers, Iterable):
        layers = [layers]
    names = list(layers)
    strange = [name for name in names if not isinstance(name, str)]
    if not strange:
        return names
    if isinstance(strange[0], nn.Module):
        raise refusal(
            TypeError(
                f"layers must be names, as in model.named_modules(), but got a module, "
                f"{type(strange[0]).__name__}; {_name_of(model, strange[0])}."
            )
        )
    raise refusal(
        TypeError(
            "layers must be names, as in model.named_modules(), and come before the images, "
            f"but {len(strange)} of them are no text but {type(strange[0]).__name__}."
        )
    )


def _name_of(model: nn.Module, layer: nn.Module) -> str:
    """What an error says of the name of a module that was given in its place."""
    if layer is model:
        return "it is the whole model, not a layer of it"
    modules = model.named_modules() if isinstance(model, nn.Module) else ()
    names = [name for name, module in modules if module is layer]
    return f"its name is {names[0]!r}" if names else "the model has no such part"


def find_layers(model: nn.Module, layers: list[str]) -> list[nn.Module]:
    """The modules with these names; of a module with several names any will do.

    Raises:
        TypeError, KeyError, ValueError: see `Trace`.
    """
    if not isinstance(model, nn.Module):
        raise refusal(TypeError(f"model must be an nn.Module whose hooks fire, but got {type(model).__name__}."))
    modules = dict(model.named_modules())
    usual: set[type] = set()  # kinds of modules whose hooks fire, for all that their classes say
    for name, module in modules.items():
        why = _unhooked(module, usual)
        if why is not None:
            raise refusal(TypeError(f"model must be an nn.Module {why.replace('PART', _part(name))}."))
    check_weights(model)
    names = layer_names(model, layers)
    if not names:
        raise refusal(ValueError("layers must name at least one layer, but got none."))
    if len(set(names)) < len(names):
        raise refusal(ValueError(f"layers must name each layer once, but got {names}."))
    found = []
    for name in names:
        module_or_none = modules.get(name) or _by_path(model, name)
        if module_or_none is None or name == "":
            raise refusal(
                KeyError(f"the model has no layer {name!r}; {suggestion(name, [known for known in modules if known])}.")
            )
        module = module_or_none
        if type(module).forward is nn.Module.forward and own_forward(module) is None:
            raise refusal(
                TypeError(
                    f"layer {name!r} must be one that is called, but is a {type(module).__name__}, which never is: "
                    "a list of layers (name one of them), or part of an exported program (give the module it was "
                    "made of)."
                )
            )
        found.append(module)
    return found


def check_weights(model: object, called: str = "model") -> None:
    """Refuses a network whose weights have no values; what is no module has none.

    Raises:
        ValueError: some are on the meta device or fake tensors; names the first.
    """
    for name, module in model.named_modules() if isinstance(model, nn.Module) else ():
        for tensor_name, tensor in (module._parameters | module._buffers).items():
            if tensor is not None and _has_no_values(tensor) and not hasattr(module, "_hf_hook"):  # which loads them
                raise refusal(
                    ValueError(
                        f"{called} must have weights with values, but {tensor_name!r} of {_part(name)} is "
                        f"{'on the meta device' if tensor.is_meta else 'a fake tensor'}; load its weights first."
                    )
                )


def _by_path(model: nn.Module, name: str) -> nn.Module | None:
    """The module of this name, be it a second one: `named_modules` gives the first."""
    module: nn.Module | None = model
    for part in name.split("."):
        module = None if module is None else module._modules.get(part)
    return module


def _unhooked(module: nn.Module, usual: set[type]) -> str | None:
    """Why hooks do not fire in a part of a model, or not in the thread that calls it; None where they do."""
    kind, compiled = type(module), False
    if kind not in usual:
        if isinstance(module, torch.jit.ScriptModule):
            return "whose hooks fire, but PART is a TorchScript module"
        if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1:
            return (
                "that runs in the thread that calls it, but PART is an nn.DataParallel over several GPUs, which runs "
                "copies in threads of their own; give its `.module`"
            )
        compiled = hasattr(kind.forward, "_torchdynamo_orig_callable")
        if not compiled and kind is not nn.DataParallel:
            usual.add(kind)
    compiled = compiled or hasattr(own_forward(module), "_torchdynamo_orig_callable")
    if compiled or "_orig_mod" in module._modules or module._compiled_call_impl is not None:
        return (
            "whose hooks fire, but PART was compiled by torch.compile, and compiled code knows no later hooks; give "
            "the module as it was before (where torch.compile made another, its `._orig_mod`)"
        )
    return None


def _has_no_values(tensor: Tensor) -> bool:
    return tensor.is_meta or (type(tensor) not in (Tensor, nn.Parameter) and hasattr(tensor, "fake_mode"))


def _part(name: str) -> str:
    return f"its part {name!r}" if name else "it"


def suggestion(name: str, known: list[str]) -> str:
    """The names that there are and look most like one that is not among them, as the end of a message."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    if near or not known:
        return f"the nearest are {near}" if near else "it has none, for it consists of no modules"
    more = f" and {len(known) - 5} more" if len(known) > 5 else ""
    return f"it has {known[:5]}{more}"
