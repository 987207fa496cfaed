"""What is answered to a page, whoever carries it: a server, or a notebook."""

from __future__ import annotations

import dis
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from dissect.apps.rewriter import StoppedError

#: Bytes of what is asked at most.
MOST_BYTES = 8_000_000
#: Letters of a message to a page.
LONGEST = 500


class Answer(NamedTuple):
    """An answer as HTTP has it.

    Attributes:
        status: 200, or why it is none.
        kind: the media type.
        data: its bytes.
    """

    status: int
    kind: str
    data: bytes


def told(found: Any, status: int = 200) -> Answer:
    """An answer of JSON, in ASCII: texts that came in may hold halves of characters, which UTF-8 has not.

    Raises:
        ValueError: a number that JSON has not.
    """
    return Answer(status, "application/json", json.dumps(found, allow_nan=False).encode())


def problem(status: int, text: str) -> Answer:
    """An answer that says what is wrong."""
    return told({"error": text[:LONGEST]}, status)


def too_large() -> Answer:
    """To what has more than `MOST_BYTES`."""
    return problem(413, f"a request must have at most {MOST_BYTES} bytes.")


def no_such(method: str) -> Answer:
    """Of a path or a method that there is not."""
    return problem(404, f"there is no {method} of this path.")


def answer(work: Callable[[Any], Any], asked: Callable[[], Any]) -> Answer:
    """What a function of plain data gives, an `Answer` or what becomes JSON, of what is asked.

    What either refuses becomes a message; what they fail at is told on stderr, and the page hears that alone.
    """
    try:
        found = work(asked())
        return found if isinstance(found, Answer) else told(found)
    except Exception as error:  # a page must hear of any, and go on
        refused = isinstance(error, (KeyError, TypeError, ValueError, RuntimeError)) and _is_told(error)
        return problem(400 if refused else 500, text_of(error))


def _is_told(error: Exception) -> bool:
    """Whether an error is a check's, which says `raise`, and not that of an instruction which went wrong."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    return at is not None and dis.opname[at.tb_frame.f_code.co_code[at.tb_lasti]] == "RAISE_VARARGS"


def text_of(error: Exception) -> str:
    """What a page is told of an error: a check's words; of others that there was one, and stderr has it."""
    told = isinstance(error, (ArithmeticError, KeyError, StoppedError, TypeError, ValueError, RuntimeError))
    if told and _is_told(error):
        return str(error.args[0] if error.args else error)[:LONGEST]
    traceback.print_exception(error, file=sys.stderr)
    return "something went wrong; the terminal in which dissect runs says what."
