"""What the scripts that write pages share: where they write, their command line, and tables."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def command_line(text: str | None) -> argparse.ArgumentParser:
    """A parser that knows where pages and their pictures go."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the page and its pictures (docs)")
    return parser


def table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, a line each."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def paragraph(text: str) -> str:
    """A paragraph of Markdown in lines of 120 characters, broken between words alone, and an empty line."""
    return fill(" ".join(text.split()), 120, break_on_hyphens=False, break_long_words=False) + "\n\n"


def folder(out: Path, name: str) -> Path:
    """The folder of a page's pictures, which is there then."""
    made = out / name
    made.mkdir(parents=True, exist_ok=True)
    return made
