"""What was loaded can be saved again, over the file that it came from too."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from dissect.models import load_progan, load_stylegan2, stylegan2_checkpoint

from .layouts import progan_tensors, stylegan2_tensors

AGAIN = """
import sys, torch
from pathlib import Path
from safetensors.torch import save_file
from dissect.models import load_progan, load_stylegan2, stylegan2_checkpoint
folder = Path(sys.argv[1])
for path in (folder / "progan.pt", folder / "rosinality.pt", folder / "safetensors.safetensors"):
    print(path.name, flush=True)
    if path.stem == "progan":
        torch.save(load_progan(path).state_dict(), path)
    elif path.stem == "rosinality":
        torch.save(stylegan2_checkpoint(load_stylegan2(path)), path)
    else:
        save_file(load_progan(path).state_dict(), path)
"""


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The folder and the tensors of each kind, saved over the file that they were loaded from.

    In a process of its own, which a mapped file would end.
    """
    folder, average = tmp_path_factory.mktemp("again"), torch.ones(8)
    tensors = dict.fromkeys(("progan", "safetensors"), progan_tensors((64, 64, 64)))
    tensors["rosinality"] = stylegan2_tensors((64, 64))
    torch.save(tensors["progan"], folder / "progan.pt")
    torch.save({"g_ema": tensors["rosinality"], "latent_avg": average}, folder / "rosinality.pt")
    save_file(tensors["safetensors"], folder / "safetensors.safetensors")
    done = subprocess.run([sys.executable, "-c", AGAIN, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, tensors, average


@pytest.mark.parametrize("kind", ["progan", "rosinality", "safetensors"])
def test_over_the_file_that_it_was_loaded_from(again, kind):
    folder, tensors, average = again
    tensors, path = tensors[kind], folder / f"{kind}.{'safetensors' if kind == 'safetensors' else 'pt'}"
    again = load_file(path) if kind == "safetensors" else torch.load(path, weights_only=True)
    if kind == "rosinality":
        assert torch.equal(again["latent_avg"], average)
        again = again["g_ema"]
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[key], value) for key, value in tensors.items())


def test_transposed_weights_as_the_conversion_from_tensorflow_leaves_them(tmp_path):
    path, tensors = tmp_path / "model.pt", stylegan2_tensors()
    stored = {
        key: value.transpose(-1, -2).contiguous().transpose(-1, -2) if value.dim() > 1 else value
        for key, value in tensors.items()
    }
    assert not all(value.is_contiguous() for value in stored.values())
    torch.save({"g_ema": stored, "latent_avg": torch.ones(8)}, path)
    model = load_stylegan2(path)
    assert all(value.is_contiguous() for value in model.state_dict().values())
    save_file(stylegan2_checkpoint(model)["g_ema"], tmp_path / "again.safetensors")
    again = load_file(tmp_path / "again.safetensors")
    assert all(torch.equal(again[key], value) for key, value in tensors.items())


def test_a_state_dict_under_its_name(tmp_path):
    for load, tensors in ((load_progan, progan_tensors()), (load_stylegan2, stylegan2_tensors())):
        torch.save({"state_dict": tensors, "epoch": 3}, tmp_path / "model.pt")
        torch.save(tensors, tmp_path / "plain.pt")
        one, other = (load(tmp_path / name).state_dict() for name in ("model.pt", "plain.pt"))
        assert all(torch.equal(one[key], value) for key, value in other.items())
