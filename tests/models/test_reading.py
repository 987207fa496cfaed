"""Files of weights are read once, in little more memory than the weights take."""

import argparse
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from dissect.models import load_progan, load_stylegan2, reading

from .layouts import progan_tensors, stylegan2_tensors

MEASURE = """
import sys, torch
from dissect.models import load_progan, load_stylegan2, reading

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
    assert read <= 1.05 * weights + 1_000_000  # in a training checkpoint only what is needed


@pytest.mark.parametrize("layout", ["zip", "safetensors", "training", "before 1.6"])
def test_views_are_read_as_what_they_show_and_have_memory_of_their_own(tmp_path, layout):
    path = tmp_path / ("file.safetensors" if layout == "safetensors" else "file.pt")
    whole = torch.arange(60.0).view(5, 4, 3)
    tensors = {"view": whole[1:4, ::2].transpose(0, 2), "same": whole[0], "half": whole.bfloat16(), "none": whole[:0]}
    tensors |= {"number": torch.tensor(7), "flag": torch.tensor([True, False])}
    if layout == "safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    else:
        content = {"g": progan_tensors((7, 3)), "g_ema": tensors, "latent_avg": whole[2]}
        torch.save(
            content if layout == "training" else tensors, path, _use_new_zipfile_serialization=layout != "before 1.6"
        )
    state, rest = reading.read(path, "g_ema")
    assert state.keys() == tensors.keys()
    for name, value in tensors.items():
        assert torch.equal(state[name], value)
        assert state[name].is_contiguous()
        assert state[name].dtype == value.dtype
    assert "latent_avg" not in rest or torch.equal(rest["latent_avg"], whole[2])
    save_file(tensors := {name: value + 1 for name, value in state.items() if name != "flag"}, path)  # nothing holds it
    assert torch.equal(state["number"] + 1, tensors["number"])


def test_a_file_that_is_cut_while_it_is_read_is_an_error(tmp_path, monkeypatch):
    opened = reading._opened

    def cut(path, file):
        data = opened(path, file)
        os.truncate(path, 2000)
        return data

    monkeypatch.setattr(reading, "_opened", cut)
    torch.save(progan_tensors(), tmp_path / "file.pt")
    with pytest.raises(ValueError, match=r"file\.pt is damaged: it ends before .* does, or was cut while it was read"):
        reading.read(tmp_path / "file.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_sizes_are_looked_at_before_anything_is_read(tmp_path, zipped):
    path = tmp_path / "file.pt"
    for repeated in (2**29, 2**60):
        tensors = {"layer1.conv.weight": torch.zeros(1).expand(repeated)}
        torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(ValueError, match=rf"stored in full, but 1 repeat .* layer1\.conv\.weight \[{repeated}\]"):
            reading.read(path)
    shared = torch.zeros(10_000)
    torch.save({f"{number}": shared for number in range(100)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"not take more than 16 times the file's bytes, \d+, but .* take 4000000"):
        reading.read(path)


def test_records_that_are_packed_are_refused(tmp_path):
    torch.save(progan_tensors(), tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "file.pt", "w") as packed:
        for record in plain.infolist():
            packed.writestr(record.filename, plain.read(record), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"file\.pt is damaged or no file of weights: its records are compressed"):
        reading.read(tmp_path / "file.pt")


def test_prefixes_of_wrappers_are_cut_off(tmp_path):
    tensors = progan_tensors()
    for prefix in ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."):
        torch.save({"state_dict": {prefix + key: value for key, value in tensors.items()}}, tmp_path / "file.pt")
        assert load_progan(tmp_path / "file.pt").channels == (6, 5, 4)
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "file.pt")
    assert reading.read(tmp_path / "file.pt")[0].keys() == {"module.a", "b"}


def test_threads_load_at_once(tmp_path):
    path = tmp_path / "file.pt"
    torch.save(
        {"g_ema": stylegan2_tensors((4, 4), 4, 2), "args": argparse.Namespace(n_mlp=2), "latent_avg": torch.ones(4)},
        path,
    )
    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(load_stylegan2, [path] * 40))
    assert all(len(model.mapping) == 3 for model in models)
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
