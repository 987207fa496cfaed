"""docs/painting.md: its code runs."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "painting.md"


def test_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} == {"painting.json", "sheet.png"}
    assert tuple(names["picture"].shape) == (3, 64, 64)
