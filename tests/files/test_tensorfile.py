"""safetensors files: what safetensors reads is read alike, and what it refuses is refused."""

import json
import os
import struct
from random import Random

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save, save_file

from dissect.files.tensorfile import DTYPES, fill, read_tensors

DTYPE_TENSORS = {name: torch.tensor([[1, 0, 1]]).to(dtype) for name, dtype in DTYPES.items()}


def written(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_every_dtype_and_shape(tmp_path):
    tensors = DTYPE_TENSORS | {"number": torch.tensor(3.0), "none": torch.empty(0, 4), "maps": torch.rand(2, 3, 4, 5)}
    save_file(tensors, tmp_path / "file", metadata={"a": "b"})
    found, metadata = read_tensors(tmp_path / "file")
    assert metadata == {"a": "b"}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name].flatten().view(torch.uint8), tensor.flatten().view(torch.uint8))
    assert read_tensors(tmp_path / "file", ["maps"])[0].keys() == {"maps"}


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"\xff", "no JSON"),
        ([], "no JSON object"),
        ({"__metadata__": {"a": 1}}, "metadata must be texts"),
        ({"a": 1}, "entry of 'a' must have"),
        ({"a": ENTRY | {"dtype": "F31"}}, "'a' has a dtype that is not known here, 'F31'"),
        ({"a": ENTRY | {"shape": [-2]}}, "sizes and two offsets from 0 on"),
        ({"a": ENTRY | {"shape": [True, 2]}}, "sizes and two offsets from 0 on"),
        ({"a": ENTRY | {"shape": [2**62]}}, "must take the bytes that it has"),
        ({"a": ENTRY, "b": ENTRY}, "must begin where others end, at 8, but begin at 0"),
        ({"a": ENTRY | {"data_offsets": [4, 12]}}, "must begin where others end, at 0, but begin at 4"),
        ({}, "must take all of its 8 bytes, but take 0"),
    ],
)
def test_headers_that_lie(tmp_path, header, message):
    with pytest.raises(SafetensorError, match=message):
        read_tensors(written(tmp_path / "file", header, bytes(8)))


def test_a_huge_length_is_refused_before_it_is_read(tmp_path):
    for content in (b"", b"1234567", struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 3) + b"{}"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(SafetensorError, match="its header is cut, or too long"):
            read_tensors(tmp_path / "file")


def test_damage_is_refused_where_safetensors_refuses_it(tmp_path):
    whole = save({"a": torch.arange(6), "b": torch.rand(3, 2)}, metadata={"c": "d"})
    random, refused = Random(0), 0
    for _ in range(500):
        data = bytearray(whole)
        if random.random() < 0.3:
            del data[random.randrange(len(data)) :]
        else:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        (tmp_path / "file").write_bytes(data)
        try:
            theirs = load(bytes(data))
        except (SafetensorError, TypeError, ValueError, OverflowError, KeyError):
            refused += 1
            with pytest.raises(SafetensorError):
                read_tensors(tmp_path / "file")
            continue
        try:
            ours = read_tensors(tmp_path / "file")[0]
        except SafetensorError:
            continue
        assert {name: tensor.tolist() for name, tensor in ours.items()} == {n: t.tolist() for n, t in theirs.items()}
    assert refused > 100


def test_a_file_that_is_cut_while_it_is_read(tmp_path, monkeypatch):
    save_file({"a": torch.ones(100)}, tmp_path / "file")
    size = (tmp_path / "file").stat().st_size

    def cut(tensor, file, offset):
        os.truncate(tmp_path / "file", size - 4)
        return fill(tensor, file, offset)

    monkeypatch.setattr("dissect.files.tensorfile.fill", cut)
    with pytest.raises(SafetensorError, match="was cut while 'a' was read"):
        read_tensors(tmp_path / "file")
