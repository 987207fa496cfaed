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
from safetensors.torch import save_file
from dissect.models import load_progan, load_stylegan2, stylegan2_checkpoint
kind, path = sys.argv[1:]
if kind == "progan":
    torch.save(load_progan(path).state_dict(), path)
elif kind == "rosinality":
    torch.save(stylegan2_checkpoint(load_stylegan2(path)), path)
else:
    save_file(load_progan(path).state_dict(), path)
"""


@pytest.mark.parametrize("kind", ["progan", "rosinality", "safetensors"])
def test_over_the_file_that_it_was_loaded_from(tmp_path, kind):
    """In a process of its own, which a mapped file would end."""
    path = tmp_path / ("model.safetensors" if kind == "safetensors" else "model.pt")
    tensors = stylegan2_tensors((64, 64)) if kind == "rosinality" else progan_tensors((64, 64, 64))
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        average = torch.ones(8)
        torch.save({"g_ema": tensors, "latent_avg": average} if kind == "rosinality" else tensors, path)
    subprocess.run([sys.executable, "-c", AGAIN, kind, str(path)], check=True)
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
