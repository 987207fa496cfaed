"""Layers by their names."""

from __future__ import annotations

import difflib

import torch
from torch import nn


def find_layers(model: nn.Module, layers: list[str]) -> list[nn.Module]:
    """The modules with these names.

    Raises:
        TypeError, KeyError, ValueError: see `Trace`.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"Trace: model must be an nn.Module whose hooks fire, but got {type(model).__name__}.")
    for name, module in model.named_modules():
        where = f"its part {name!r}" if name else "it"
        if isinstance(module, torch.jit.ScriptModule):
            raise TypeError(f"Trace: model must be an nn.Module whose hooks fire, but {where} is a TorchScript module.")
        if isinstance(module, nn.DataParallel) and len(module.device_ids) > 1:
            raise TypeError(
                f"Trace: model must be an nn.Module that runs in the thread that calls it, but {where} is an "
                "nn.DataParallel over several GPUs, which runs copies in threads of their own; give its `.module`."
            )
        if "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None:
            raise TypeError(
                f"Trace: model must be an nn.Module whose hooks fire, but {where} was compiled by torch.compile, and "
                "compiled code knows no hooks that came later; give the module that was compiled instead."
            )
    if not layers:
        raise ValueError("Trace: layers must name at least one layer, but got none.")
    strange = [type(name).__name__ for name in layers if not isinstance(name, str)]
    if strange:
        raise TypeError(
            "Trace: layers must be names, as in model.named_modules(), and come before the images, "
            f"but {len(strange)} of them are no text but {strange[0]}."
        )
    if len(set(layers)) < len(layers):
        raise ValueError(f"Trace: layers must name each layer once, but got {layers}.")
    modules = dict(model.named_modules())
    for name in layers:
        if name not in modules or name == "":
            raise KeyError(
                f"Trace: the model has no layer {name!r}; {nearest(name, [known for known in modules if known])}."
            )
        module = modules[name]
        if type(module).forward is nn.Module.forward and "forward" not in vars(module):
            raise TypeError(
                f"Trace: layer {name!r} must be one that is called, but is a {type(module).__name__}, which never is: "
                "a list of layers (name one of them), or part of an exported program (give the module it was made of)."
            )
    return [modules[name] for name in layers]


def nearest(name: str, known: list[str]) -> str:
    """What to say of the names that there are, after one that is not among them."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3)
    if near or not known:
        return f"the nearest are {near}" if near else "it has none, for it consists of no modules"
    more = f" and {len(known) - 5} more" if len(known) > 5 else ""
    return f"it has {known[:5]}{more}"
