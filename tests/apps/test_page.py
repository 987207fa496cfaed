"""docs/painting.md and docs/rewriting_page.md: their code runs."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
WRITTEN = {
    "painting.md": {"painting.json", "sheet.png"},
    "rewriting_page.md": {"rule.json", "rule.edit"},
}


@pytest.mark.parametrize("name", WRITTEN)
def test_code_runs(tmp_path, monkeypatch, name, request):
    if name == "painting.md":
        request.getfixturevalue("anywidget")
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", (DOCS / name).read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, name, "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} == WRITTEN[name]
    if name == "painting.md":
        assert tuple(names["picture"].shape) == (3, 64, 64)
        assert names["strokes"] == ()
    else:
        assert names["before"].shape == names["after"].shape == (3, 64, 64)
        assert names["edit"].rank == 1
        assert not names["before"].equal(names["after"])
