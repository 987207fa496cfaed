"""What is here to compute with: versions, processors, backends, and why some are missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from typing import Any

from dissect.devices import processor

#: Packages whose versions are told, those that everything needs first.
PACKAGES = (
    "torch", "numpy", "safetensors", "tqdm", "jinja2", "matplotlib", "pillow", "triton", "scipy", "scikit-learn",
    "foolbox",
)  # fmt: skip


def collect_info() -> dict[str, Any]:
    """Versions, processors, GPUs and backends, as JSON can hold them.

    Returns:
        ``dissect``, ``python`` and ``torch``: versions. ``platform``, ``machine`` and ``processor``: their names.
        ``cores``: logical processors; ``usable_cores``: those that this process may use; ``threads``: those that torch
        uses. ``simd``: the level of the compiled engine, None without it; ``simd_levels``: all that this processor has.
        ``gpus``: names; ``gpu_missing``: why there is none, or None. ``packages``: versions, None for one that is not
        installed. ``backends``: per op, each backend with None or the reason why it is missing; ``gpu_backends``:
        the same of tensors on a GPU.

    Example:
        >>> from dissect.cli.info import collect_info
        >>> collect_info()["backends"]["iou_counts"]["reference"] is None
        True
    """
    import torch

    import dissect
    from dissect.ops import dispatch, gpu, native

    missing = gpu.gpu_missing()
    return {
        "dissect": dissect.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "simd": native.simd_level(),
        "simd_levels": [] if native.unavailable() else list(native.engine().simd_levels()),
        "gpus": [] if missing else [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())],
        "gpu_missing": missing,
        "packages": {name: _version(name) for name in PACKAGES} | {"torch": torch.__version__},
        "backends": {op: dict(dispatch.backends(op)) for op in dispatch.CPU_BACKENDS},
        "gpu_backends": {op: dict(dispatch.backends(op, "cuda")) for op in dispatch.GPU_BACKENDS},
    }


def info_lines(facts: dict[str, Any]) -> Iterator[str]:
    """What `collect_info` found, for people."""
    usable = f"{facts['usable_cores']} of {facts['cores']} cores, {facts['threads']} threads of torch"
    levels = f"{facts['simd']} (this processor has {', '.join(facts['simd_levels'])})"
    packages = facts["packages"]
    rows = [
        ("dissect", facts["dissect"]),
        ("python", facts["python"]),
        *((name, version) for name, version in packages.items() if version),
        ("not here", ", ".join(name for name, version in packages.items() if version is None) or "nothing"),
        ("platform", facts["platform"]),
        ("processor", f"{facts['processor']}; {usable}"),
        ("SIMD", levels if facts["simd"] else "none, since the compiled engine is missing"),
        ("GPU", ", ".join(facts["gpus"]) or f"none: {facts['gpu_missing']}"),
    ]
    width = max(map(len, [*facts["backends"], *(name for name, _ in rows)]))
    yield from (f"{name:{width}}  {value}" for name, value in rows)
    for place, key in (("a CPU", "backends"), ("a GPU", "gpu_backends")):
        yield f"\nbackends on {place}, the fastest first"
        reasons: dict[str, str] = {}
        for op, choices in facts[key].items():
            yield f"{op:{width}}  " + (", ".join(name for name, reason in choices.items() if reason is None) or "none")
            reasons |= {name: reason for name, reason in choices.items() if reason}
        yield from (f"{'missing':{width}}  {name}: {reason}" for name, reason in reasons.items())


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
