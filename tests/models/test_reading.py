"""Files of weights are read once, in little more memory than the weights take."""

import subprocess
import sys
from collections import Counter

import pytest
import torch
from safetensors.torch import save_file

from dissect.models import checkpoint

from .layouts import progan_tensors, stylegan2_tensors

MEASURE = """
import sys, torch
from dissect.models import load_progan, load_stylegan2

def field(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

load, small, large = {"progan": load_progan, "style": load_stylegan2}[sys.argv[1]], sys.argv[2], sys.argv[3]
load(small)
before, read = field("VmRSS"), int(open("/proc/self/io").readline().split()[1])
model = load(large)
weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
print(weights, field("VmHWM") - before, int(open("/proc/self/io").readline().split()[1]) - read)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("layout", ["zip", "before 1.6", "safetensors", "training"])
def test_peak_memory_and_reads(tmp_path, layout):
    for name, widths in (("small", (4, 4)), ("large", (512,) * (4 if layout == "training" else 5))):
        path = tmp_path / f"{name}.{'safetensors' if layout == 'safetensors' else 'pt'}"
        with torch.device("meta"):
            tensors = (
                stylegan2_tensors(widths, widths[0]) if layout == "training" else progan_tensors(widths, widths[0])
            )
        tensors = {key: torch.ones(value.shape) for key, value in tensors.items()}
        if layout == "safetensors":
            save_file(tensors, path)
        elif layout == "training":
            torch.save({"g": {key: value.clone() for key, value in tensors.items()}, "g_ema": tensors}, path)
        else:
            torch.save(tensors, path, _use_new_zipfile_serialization=layout == "zip")
    kind = "style" if layout == "training" else "progan"
    files = [str(tmp_path / f"{name}{path.suffix}") for name in ("small", "large")]
    ran = subprocess.run([sys.executable, "-c", MEASURE, kind, *files], capture_output=True, text=True, check=True)
    weights, peak, read = map(int, ran.stdout.split())
    assert weights > 60_000_000
    assert peak <= 1.2 * weights
    if layout == "before 1.6":  # the others are mapped: what is read of them is not counted as such
        assert read <= 1.05 * weights


@pytest.mark.parametrize("layout", ["zip", "safetensors", "training"])
def test_what_is_mapped_is_copied_once_and_nothing_else_is(tmp_path, monkeypatch, layout):
    path = tmp_path / ("file.safetensors" if layout == "safetensors" else "file.pt")
    tensors = stylegan2_tensors() if layout == "training" else progan_tensors()
    if layout == "safetensors":
        save_file(tensors, path)
    else:
        other = {"g": progan_tensors((7, 3)), "g_ema": tensors}
        torch.save(other if layout == "training" else tensors, path)
    copied, clone = Counter(), torch.Tensor.clone

    def counted(tensor, **options):
        copied[tuple(tensor.shape)] += 1
        return clone(tensor, **options)

    monkeypatch.setattr(torch.Tensor, "clone", counted)
    state, _ = checkpoint.read(path, "g_ema")
    assert copied == Counter(tuple(tensor.shape) for tensor in tensors.values())
    assert all(torch.equal(state[key], value) for key, value in tensors.items())
