"""Sheets: pages of questions that people answer one after another, the keys to them, and files of answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dissect.arguments import refusal
from dissect.digests import digest
from dissect.files.checked import Each, Of, Rule, Text, fields, named, require
from dissect.report.embedded import json_inside
from dissect.report.html import environment, inside, page_path, script_of, write_text

KEY_SUFFIX = ".key.json"
STYLES = ("report.css", "judging.css")
#: Bytes of a file of answers, or of a key, at most: far more than people write.
MOST = 1 << 26
#: What a rater may be called.
LONGEST = 100


class PairsPage(NamedTuple):
    """What `write_pairs`, `write_rating`, `write_naming` and `write_changes` wrote.

    Attributes:
        page: for the people who answer.
        key: what stands behind the questions; it stays with who asks.
    """

    page: Path
    key: Path


class Sheet(NamedTuple):
    """A kind of page.

    Attributes:
        name: what its files say that they are.
        noun: what each question is about; the key lists "nouns".
        file: the page's, in a folder, without ".html".
        template: likewise.
        scripts: of the page; the last one asks.
    """

    name: str
    noun: str
    file: str
    template: str
    scripts: tuple[str, ...]


def write_sheet(
    kind: Sheet,
    path: str | Path,
    items: Sequence[Any],
    key: Sequence[Mapping[str, Any]],
    *,
    seed: int,
    question: str,
    sheet: Mapping[str, Any],
    **content: Any,
) -> PairsPage:
    """Writes a page of questions, and the key beside it.

    Args:
        kind: of page.
        path: a folder, in which the page is written, or a file that ends in ".html".
        items: what the page's script needs to ask each question.
        key: what is behind each of them.
        seed: of what was drawn.
        question: what people are asked.
        sheet: what the page's script needs beside the items.
        content: what else the template says.
    """
    page = digest([json.dumps([seed, question, key, items])])
    told = {"kind": f"dissect {kind.name} answers", "page": page, "items": items, **sheet}
    text = environment().get_template(kind.template).render(
        question=question,
        count=len(items),
        noun=kind.noun,
        sheet=json_inside(told),
        **content,
        **inside(script_of((*kind.scripts[:-1], "keeping.js", "sheet.js", kind.scripts[-1])), STYLES),
    )  # fmt: skip
    path = page_path(path, f"{kind.file}.html")
    opened = {"kind": f"dissect {kind.name} key", "page": page, "seed": seed, "question": question}
    opened[f"{kind.noun}s"] = key
    key_text = json.dumps(opened, indent=1) + "\n"
    return PairsPage(write_text(path, text), write_text(path.with_suffix(KEY_SUFFIX), key_text))


def read_sheet(
    kind: Sheet, key: str | Path, answers: Sequence[str | Path], rules: Mapping[str, Rule], rule: Rule
) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """What is behind the questions of a page, and what people answered.

    Args:
        kind: of page.
        key: the file beside the page.
        answers: files that people saved from it.
        rules: what the key holds of each question.
        rule: for an answer.

    Returns:
        The key's items, and by what each person is called the answers to them, in order, as far as they go.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no files; one that holds something else, answers to another page, or a person's answers twice.
    """
    if not answers:
        raise refusal(ValueError("answers must be at least one file, but there are none."))
    with named(key):
        opened = _json(Path(key))
        head = {"kind": Text((f"dissect {kind.name} key",)), "page": Text(), f"{kind.noun}s": Each(Of(dict))}
        fields(str(key), opened, head)
        items: list[dict[str, Any]] = opened[f"{kind.noun}s"]
        for item in items:
            fields(str(key), item, rules)
    by_rater: dict[str, list[str]] = {}
    for path in map(str, answers):
        with named(path):
            found = _json(Path(path))
            own = {"kind": Text((f"dissect {kind.name} answers",)), "page": Text(), "rater": Text()}
            fields(path, found, own | {"answers": Each(rule)})
            rater = found["rater"]
            require(path, found["page"] == opened["page"], f"answers are to the page of {key}")
            require(path, len(found["answers"]) <= len(items), f"there are at most as many as {kind.noun}s")
            fits = len(rater) <= LONGEST and rater.isprintable()
            require(path, fits, f"a rater has a printable name of at most {LONGEST} letters")
            require(path, rater not in by_rater, f"{rater!r} has answered once")
        by_rater[rater] = found["answers"]
    return items, by_rater


def _json(path: Path) -> Any:
    """What a small file of JSON holds."""
    require(str(path), path.stat().st_size <= MOST, f"a file of at most {MOST} bytes is expected")
    try:
        return json.loads(path.read_text("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply.") from None
