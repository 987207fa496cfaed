"""Files that hold no generator: each missing key is named, and what is no weight."""

import re

import pytest
import torch
from safetensors.torch import save_file

from dissect.models import WGANGP, ProGAN, StyleGAN2, load_progan, load_stylegan2, load_wgangp

from .layouts import normal, progan_tensors, stylegan2_tensors

OWN = StyleGAN2((6, 5), w_channels=4, mapping_layers=2)


@pytest.mark.parametrize(
    ("load", "tensors"),
    [
        (load_progan, progan_tensors()),
        (load_progan, ProGAN((6, 5), z_channels=3).state_dict()),
        (load_stylegan2, stylegan2_tensors(mapping_layers=2)),
        (load_stylegan2, OWN.state_dict()),
        (load_wgangp, WGANGP((4, 4), z_channels=3).state_dict()),
    ],
    ids=["progan", "own-progan", "rosinality", "own-stylegan2", "wgangp"],
)
def test_each_missing_key_is_named(tmp_path, load, tensors):
    path = tmp_path / "bad.safetensors"
    for missing in tensors:
        if missing.endswith("num_batches_tracked"):
            continue
        save_file({key: value.contiguous() for key, value in tensors.items() if key != missing}, path)
        with pytest.raises(ValueError, match=rf"1 keys are missing \({re.escape(missing)}\)"):
            load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": torch.ones(1)}, "as a dictionary from names to tensors, but holds a Tensor"),
        ({"state_dict": None}, "but holds a NoneType"),
        ({7: torch.ones(1), "layer1.conv.weight": torch.ones(1)}, "but holds other keys"),
        (
            progan_tensors() | {"layer1.conv.weight": normal(6)},
            r"1 weights have another shape: layer1.conv.weight \[6\]",
        ),
        (
            {key: value.long() for key, value in progan_tensors().items()},
            "layer1.conv.weight must hold torch.float32, but holds torch.int64",
        ),
        (
            {key: value.to(torch.float8_e4m3fn) for key, value in progan_tensors().items()},
            r"dense floats of 16 to 64 bits, but \d+ are not: .*\(float8_e4m3fn\)",
        ),
        ({key: value.cfloat() for key, value in progan_tensors().items()}, r"\(complex64\)"),
        ({key: value.to_sparse() for key, value in progan_tensors().items()}, r"\(sparse_coo\)"),
    ],
)
def test_what_holds_no_weights_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=message):
        load_progan(tmp_path / "odd.pth")


@pytest.mark.parametrize("key", ["style.1.weight", "convs.0.conv.weight", "input.input"])
def test_stylegan2_weights_of_other_dimensions_are_refused(tmp_path, key):
    torch.save(stylegan2_tensors() | {key: normal(3)}, tmp_path / "odd.pt")
    with pytest.raises(ValueError, match=rf"1 weights have another shape: {re.escape(key)} \[3\]"):
        load_stylegan2(tmp_path / "odd.pt")
