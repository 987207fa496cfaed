"""Files that hold no generator: all missing keys are named, and what is no weight."""

import argparse
import re
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from dissect.models import WGANGP, ProGAN, StyleGAN2, load_progan, load_stylegan2, load_wgangp

from .layouts import ablation_tensors, normal, progan_tensors, stylegan2_tensors

OWN = StyleGAN2((6, 5), w_channels=4, mapping_layers=2)
EVERY_LAYOUT = pytest.mark.parametrize(
    ("load", "tensors"),
    [
        (load_progan, progan_tensors()),
        (load_progan, ProGAN((6, 5), z_channels=3).state_dict()),
        *((load_progan, ablation_tensors(kind)) for kind in ("wscale", "stored_wscale", "bias", "batch_norm")),
        (load_stylegan2, stylegan2_tensors(mapping_layers=3)),
        (load_stylegan2, OWN.state_dict()),
        (load_wgangp, WGANGP((4, 4, 4), z_channels=3).state_dict()),
    ],
    ids=[
        "progan", "own-progan", "features-wscale", "features-stored-wscale", "features-bias", "features-batch-norm",
        "rosinality", "own-stylegan2", "wgangp",
    ],
)  # fmt: skip

#: What no key tells to be missing: without it the file is that of a smaller network.
LAST = [(load_stylegan2, "style.3"), (load_stylegan2, "mapping.fc2"), (load_wgangp, "layer3")]


def without(tensors, *missing):
    return {key: value.contiguous() for key, value in tensors.items() if key not in missing}


@EVERY_LAYOUT
def test_each_missing_key_is_named(tmp_path, load, tensors):
    path = tmp_path / "bad.safetensors"
    for missing in tensors:
        if missing.endswith("num_batches_tracked"):
            continue
        save_file(without(tensors, missing), path)
        with pytest.raises(ValueError, match=rf"1 keys are missing \({re.escape(missing)}\), 0 are extra"):
            load(path)


@EVERY_LAYOUT
def test_a_layer_that_is_missing_as_a_whole_is_named_and_no_other(tmp_path, load, tensors):
    path = tmp_path / "bad.safetensors"
    layers = {re.match(r"((?:style|noises|convs|to_rgbs|features|mapping)\.)?[^.]*", key)[0] for key in tensors}
    for layer in layers:
        if (load, layer) in LAST:
            continue
        gone = [key for key in tensors if key == layer or key.startswith(f"{layer}.")]
        save_file(without(tensors, *gone), path)
        named = rf"{len(gone)} keys are missing \({re.escape(min(gone))}.*, 0 are extra"
        with pytest.raises(ValueError, match=named):
            load(path)


def test_all_that_is_missing_and_all_that_is_too_much_is_named_at_once(tmp_path):
    tensors = without(progan_tensors(), "layer3.conv.weight", "layer5.wscale.b") | {"other": normal(1)}
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(
        ValueError, match=r"2 keys are missing \(layer3.conv.weight, layer5.wscale.b\), 1 are extra \(other\)"
    ):
        load_progan(tmp_path / "bad.safetensors")


def test_mapping_layers_that_are_cut_off_at_the_end(tmp_path):
    path = tmp_path / "short.pt"
    tensors = without(stylegan2_tensors(), "style.8.weight", "style.8.bias")
    torch.save({"g_ema": tensors, "args": argparse.Namespace(n_mlp=8)}, path)
    with pytest.raises(ValueError, match=r"2 keys are missing \(style.8.bias, style.8.weight\), 0 are extra"):
        load_stylegan2(path)
    torch.save({"g_ema": tensors}, path)
    with pytest.raises(ValueError, match="must hold a StyleGAN2 generator of 8 mapping layers, but holds 7"):
        load_stylegan2(path, mapping_layers=8)
    assert len(load_stylegan2(path, mapping_layers=7).mapping) == 8  # the normalisation, and fc1 to fc7


def test_a_training_checkpoint_without_its_average_is_told_apart(tmp_path):
    torch.save({"g": stylegan2_tensors(), "d": {"x": normal(1)}}, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=r"also holds g \(dict\), d \(dict\); .* under g_ema, which is missing"):
        load_stylegan2(tmp_path / "bad.pt")


def test_averages_of_w_that_are_none(tmp_path):
    path = tmp_path / "bad.pt"
    torch.save({"g_ema": stylegan2_tensors(), "latent_avg": torch.zeros(8, dtype=torch.int64)}, path)
    with pytest.raises(ValueError, match=r"latent_avg must be 8 finite floats, as w has, but is \[8\] torch.int64"):
        load_stylegan2(path)
    with pytest.raises(ValueError, match=r"^load_stylegan2: latent_avg_samples must be at least 1, but got -1"):
        load_stylegan2(path, latent_avg_samples=-1)
    with pytest.raises(TypeError, match=r"^load_stylegan2: latent_avg_samples must be an integer, but got 1\.5"):
        load_stylegan2(path, latent_avg_samples=1.5)


@pytest.mark.filterwarnings("ignore:.*TorchScript")
def test_files_with_code_are_refused(tmp_path):
    path = tmp_path / "script.pt"
    torch.save(progan_tensors(), path)
    with zipfile.ZipFile(path, "a") as archive:  # by which torch knows what torch.jit.save wrote
        archive.writestr("script/constants.pkl", b"")
    with pytest.raises(ValueError, match=r"holds more than tensors \(TorchScript\) and is refused"):
        load_progan(path)


def test_a_file_that_does_not_fit_into_memory_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "progan.pt"
    torch.save(progan_tensors(), path)

    def full(*_, **__):
        raise RuntimeError("unable to mmap 512 bytes from file: Cannot allocate memory (12)")

    monkeypatch.setattr(torch, "load", full)
    with pytest.raises(RuntimeError, match="unable to mmap"):
        load_progan(path)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # of torch 2.11, as it reads them
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
