"""Text of others, as it may be shown and written."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

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


def _shows(letter: str) -> bool:
    return letter.isprintable() or letter in JOINERS or unicodedata.category(letter) == "Zs"
