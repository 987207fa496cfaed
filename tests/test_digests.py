"""Digests stand in files that are read for ever: the same content must always give the same digits."""

import hashlib
import importlib
import inspect
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import dissect
from dissect.digests import crc, digest, number_of
from dissect.network.identity import code_of, fingerprint, weights_fingerprint

TENSORS = [torch.arange(12.0).view(3, 4), torch.tensor(7, dtype=torch.int16), torch.zeros(0, 3), torch.tensor([True])]


@pytest.mark.parametrize("tensor", [*TENSORS, TENSORS[0].T, TENSORS[0][:, ::2], TENSORS[0].bfloat16()])
def test_parts_one_after_another(tensor):
    bits = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    expected = hashlib.sha256("é".encode() + b"\0" + bits).hexdigest()
    assert digest(["é", b"\0", tensor], 64) == expected
    assert digest(iter(["é", b"\0", tensor])) == expected[:16]


def test_arrays_and_other_numbers():
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    assert digest([array]) == hashlib.sha256(array.tobytes()).hexdigest()[:16]
    assert number_of(b"a") == int.from_bytes(hashlib.blake2b(b"a", digest_size=8).digest(), "little", signed=True)
    assert crc(TENSORS[0]) == zlib.crc32(TENSORS[0].numpy().tobytes())


def test_digests_of_before():
    grid = dissect.Grid.half_pixel((3, 3), (6, 6))
    layer = torch.nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]])), layer.bias.zero_()
    found = [grid.key[:16], fingerprint(layer), weights_fingerprint(layer), weights_fingerprint(layer, without="bias")]
    assert [*found, code_of(layer)] == BEFORE


#: Of the version that made them in many places.
BEFORE = ["f520335e589224df", "5deabe83a58b9e49", "108f160170e88a01", "dc2052cf32f17f85", "e3b0c44298fc1c14"]


def test_code_whose_file_is_being_edited_has_a_digest(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "being_edited.py").write_text("class Own:\n    pass\n")
    own = importlib.import_module("being_edited").Own()
    before = code_of(own)
    (tmp_path / "being_edited.py").write_text("class Own:\n    pass\n\n\nx = (1,\n")
    assert code_of(own) != before


def test_a_source_is_read_once_while_its_file_stays(monkeypatch):
    class Own:
        pass

    reads, getsource = [], inspect.getsource
    monkeypatch.setattr(inspect, "getsource", lambda kind: reads.append(kind) or getsource(kind))
    assert code_of(Own()) == code_of(Own())
    assert reads == [Own]


def test_sources_are_read_by_one_thread_at_a_time(monkeypatch):
    reading, most = [], []

    def getsource(kind):
        reading.append(kind)
        most.append(len(reading))
        time.sleep(0.01)
        reading.pop()
        return kind.__qualname__

    monkeypatch.setattr(inspect, "getsource", getsource)
    own = [type(f"Own{number}", (), {})() for number in range(4)]
    threads = [threading.Thread(target=code_of, args=(each,)) for each in own]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_they_are_made_in_one_place():
    files = [path for path in Path(dissect.__file__).parent.rglob("*.py") if "hashlib" in path.read_text()]
    assert [path.name for path in files] == ["digests.py"]
