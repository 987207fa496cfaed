"""Text of others, as it may be shown and written."""

from __future__ import annotations

import json
import math
import os
import unicodedata
from pathlib import Path
from typing import Any

#: Without these some scripts, and emoji, are written wrongly.
JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    r"""The text with escapes for what a terminal would obey, or cannot show: control characters, half characters.

    Example:
        >>> printable("caf\u00e9"), printable("\x1b[2J\n"), printable("\ud800")
        ('café', '\\x1b[2J\\n', '\\ud800')
    """
    if text.isprintable():
        return text
    return "".join(letter if _shows(letter) else letter.encode("unicode_escape").decode("ascii") for letter in text)


def shown(path: str | Path) -> str:
    r"""A path for messages, with escapes for what is no UTF-8 in it.

    Example:
        >>> shown(os.fsdecode(b"caf\xe9.png"))
        'caf\\xe9.png'
    """
    return printable(os.fsencode(path).decode("utf-8", errors="backslashreplace"))


def json_text(value: Any) -> str:
    """JSON of what is printed for programs, with null for NaN and infinity, which JSON does not have.

    Example:
        >>> json_text({"low": 0.5, "high": float("inf"), "rows": [float("nan"), 1]})
        '{"low": 0.5, "high": null, "rows": [null, 1]}'
    """
    return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shows(letter: str) -> bool:
    return letter.isprintable() or letter in JOINERS or unicodedata.category(letter) == "Zs"
