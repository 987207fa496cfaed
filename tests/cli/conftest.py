"""A user's folder, for the tests of commands."""

import json
import sys

import numpy as np
import pytest
from cli.mine import CODE
from PIL import Image


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a user's module `mine`, images and planes, as the current one."""
    (tmp_path / "mine.py").write_text(CODE)
    random = np.random.default_rng(0)
    for number in range(6):
        for folder in ("images", "planes"):
            (tmp_path / folder).mkdir(exist_ok=True)
        pixels = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"images/{number}.png")
        np.save(tmp_path / f"planes/{number}.npy", (pixels[..., 0] > 127).astype(np.uint8))
    (tmp_path / "planes/concepts.json").write_text(json.dumps([["red", "color"]]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # A module that a test writes anew within a second, as long as before, would be taken from its bytecode.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    sys.modules.pop("mine", None)
