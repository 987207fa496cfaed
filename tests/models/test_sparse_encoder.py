"""Sparse autoencoders: what they encode, and their published files."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dissect.models import SparseEncoder, load_sparse_encoder

G = torch.Generator().manual_seed(0)
W, B, D, S = (torch.randn(*shape, generator=G) for shape in ((10, 4), (10,), (10, 4), (4,)))
T = torch.rand(10, generator=G)
X = torch.randn(2, 4, 3, 5, generator=G)


def by_hand(shift, kind, k=None):
    """A place after another."""
    found = torch.zeros(2, 10, 3, 5)
    for n, y, x in np.ndindex(2, 3, 5):
        z = W @ (X[n, :, y, x] - (S if shift else 0)) + B
        if kind == "topk":
            keep = torch.zeros(10)
            keep[z.topk(k).indices] = 1
            found[n, :, y, x] = z.clamp(min=0) * keep
        elif kind == "jumprelu":
            found[n, :, y, x] = torch.where((z > T) & (z > 0), z, 0.0)
        else:
            found[n, :, y, x] = z.clamp(min=0)
    return found


OPTIONS = {"relu": {}, "topk": {"k": 3}, "jumprelu": {"threshold": T}}


@pytest.mark.parametrize("kind", list(OPTIONS))
def test_each_place_is_encoded(kind):
    encoder = SparseEncoder(W, B, shift=S, activation=kind, **OPTIONS[kind])
    expected = by_hand(True, kind, 3)
    assert torch.allclose(encoder(X), expected, atol=1e-5)
    for part in (encoder[:4], encoder[4:], encoder[2:8][1:3]):
        assert part(X).shape[1] == len(part)
    assert torch.allclose(encoder[4:](X), expected[:, 4:], atol=1e-5)
    assert torch.allclose(encoder[2:8][1:3](X), expected[:, 3:5], atol=1e-5)
    withdecoder = SparseEncoder(W, B, decoder=D, activation=kind, **OPTIONS[kind])[2:8][1:3]
    assert torch.equal(withdecoder.decoder, D[3:5])


def saved(folder, name, tensors, config):
    folder.mkdir(exist_ok=True)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / name)
    (folder / "cfg.json").write_text(json.dumps({"d_in": 4, "d_sae": 10, **config}))
    return folder


LENS = {"W_enc": W.T, "W_dec": D, "b_enc": B, "b_dec": S}


@pytest.mark.parametrize(
    ("config", "kind", "shift"),
    [
        ({"architecture": "standard", "apply_b_dec_to_input": True}, "relu", True),
        ({"architecture": "standard", "activation_fn_str": "relu", "apply_b_dec_to_input": False}, "relu", False),
        ({"architecture": "topk", "k": 3}, "topk", True),
        ({"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}, "topk", True),
        (
            {"architecture": "jumprelu", "apply_b_dec_to_input": False, "normalize_activations": "none"},
            "jumprelu",
            False,
        ),
    ],
)
def test_saelens(tmp_path, config, kind, shift):
    tensors = LENS | ({"threshold": T} if kind == "jumprelu" else {})
    encoder = load_sparse_encoder(saved(tmp_path, "sae_weights.safetensors", tensors, config))
    assert torch.allclose(encoder(X), by_hand(shift, kind, 3), atol=1e-5)
    assert torch.equal(encoder.decoder, D)


def test_sparsify(tmp_path):
    tensors = {"encoder.weight": W, "encoder.bias": B, "W_dec": D, "b_dec": S}
    encoder = load_sparse_encoder(saved(tmp_path, "sae.safetensors", tensors, {"k": 3, "num_latents": 10}))
    assert torch.allclose(encoder(X), by_hand(True, "topk", 3), atol=1e-5)


def test_gemma_scope(tmp_path):
    arrays = {"W_enc": W.T, "W_dec": D, "b_enc": B, "b_dec": S, "threshold": T}
    np.savez(tmp_path / "params.npz", **{name: value.numpy() for name, value in arrays.items()})
    for path in (tmp_path, tmp_path / "params.npz"):
        assert torch.allclose(load_sparse_encoder(path)(X), by_hand(False, "jumprelu"), atol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "gated"}, "has architecture 'gated'"),
        ({"architecture": "topk"}, "has k None"),
        ({"architecture": "jumprelu"}, "has no threshold"),
        ({"normalize_activations": "layer_norm"}, "has normalize_activations 'layer_norm'"),
        ({"reshape_activations": "hook_z"}, "has reshape_activations 'hook_z'"),
        ({"apply_b_dec_to_input": 1}, "has apply_b_dec_to_input 1"),
    ],
)
def test_what_it_does_not_read_is_refused(tmp_path, config, message):
    with pytest.raises(ValueError, match="must be a sparse autoencoder that this reads") as caught:
        load_sparse_encoder(saved(tmp_path, "sae_weights.safetensors", LENS, config))
    assert message in str(caught.value)


def test_damaged_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold cfg.json with"):
        load_sparse_encoder(tmp_path)
    (tmp_path / "cfg.json").write_text("[1]")
    with pytest.raises(ValueError, match="must hold a JSON object"):
        load_sparse_encoder(tmp_path)
    (tmp_path / "params.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="as numpy arrays"):
        load_sparse_encoder(tmp_path)
    folder = saved(tmp_path / "a", "sae_weights.safetensors", LENS | {"W_dec": D[:5]}, {})
    with pytest.raises(ValueError, match=r"decoder must be floats of shape \[10, 4\]"):
        load_sparse_encoder(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "gelu"}, "activation must be one of"),
        ({"activation": "topk"}, "k must be given with activation 'topk'"),
        ({"k": 3}, "k must be given with activation 'topk', and with no other"),
        ({"activation": "topk", "k": 11}, "k must be at most the 10 features"),
        ({"shift": S[:2]}, "shift must be floats of shape"),
        ({"decoder": D * torch.nan}, "decoder must be finite"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SparseEncoder(W, B, **options)


def test_parts_and_maps_that_do_not_fit():
    encoder = SparseEncoder(W, B)
    with pytest.raises(ValueError, match="must choose some of 10"):
        encoder[3:3]
    with pytest.raises(TypeError, match="features must be a slice"):
        encoder[3]
    with pytest.raises(ValueError, match="with U=4, but"):
        encoder(X[:, :3])
