"""What a page that a script wrote must be."""

import re
from pathlib import Path


def written(page: Path, *needed: str) -> str:
    """A page's text, in which nothing is left to fill in, whose pictures are there and whose tables are whole."""
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"\$\{?[a-z_]+|\{[a-z_]+\}", text)
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text):
        assert (page.parent / picture).stat().st_size > 500, picture
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    for part in needed:
        assert part in text
    return text
