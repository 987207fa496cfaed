"""A page of blinded pairs, "which looks more real?", and what its answers say."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dissect.arguments import refusal, seed_number, speaks
from dissect.files.checked import Text, Whole
from dissect.report.html import check_extras
from dissect.report.sheets import PairsPage, Sheet, read_sheet, write_sheet
from dissect.stats import wilson_interval
from dissect.table import Table

PAIRS = Sheet("pair", "pair", "pairs", "pairs.html", ("pairs.js",))
SIDES = ("left", "right")
QUESTION = "Which picture looks more real?"
#: What the key tells of each pair.
_KEY = {"comparison": Text(), "picture": Whole(), "changed": Text(SIDES)}


class PreferenceRow(NamedTuple):
    """What people prefer in one comparison.

    Attributes:
        comparison: its name.
        answers: how many.
        preferred: in how many of them the second kind of images was chosen, as the changed ones.
        share: their share; 0.5 is no preference.
        low: the lower end of its 95 % interval (Wilson's), if answers are independent.
        high: the upper end.
    """

    comparison: str
    answers: int
    preferred: int
    share: float
    low: float
    high: float


@speaks
def write_pairs(
    comparisons: Mapping[str, tuple[Tensor, Tensor]], path: str | Path, *, seed: int, question: str = QUESTION
) -> PairsPage:
    """Writes a page of pairs of pictures of which people choose one each, and the key to their answers.

    Pairs of all comparisons are mixed, and which picture is on which side is drawn for each. That is in the key, a file
    of its own, and nowhere in the page: not for the people who answer. The page is one file that opens without a
    network; its pictures are as they were given (lossless). Published (thesis, Table 4.1): 1,000 images a method.

    Args:
        comparisons: by name, pictures uint8 [P, 3, H, W] of two kinds, the original ones and the changed ones.
        path: a folder, in which "pairs.html" is written, or a file that ends in ".html"; the key is beside it, with
            the suffix ".key.json".
        seed: of the order and the sides.
        question: what people are asked.

    Returns:
        A `PairsPage`.

    Raises:
        ImportError: jinja2, matplotlib or pillow is not installed.
        TypeError, ValueError: no comparisons, or pictures of another type, shape or number.

    Example:
        >>> import tempfile
        >>> pictures = torch.randint(0, 255, (2, 4, 3, 8, 8), dtype=torch.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = dissect.report.write_pairs({"repaired": (pictures[0], pictures[1])}, folder, seed=1)
        ...     written.page.name, written.key.name
        ('pairs.html', 'pairs.key.json')
    """
    check_extras()
    seed = seed_number(seed)
    _check(comparisons)
    chance = torch.Generator().manual_seed(seed)
    listed = [(name, at) for name, (first, _) in comparisons.items() for at in range(len(first))]
    order = torch.randperm(len(listed), generator=chance).tolist()
    changed = torch.randint(2, (len(listed),), generator=chance).tolist()
    pairs, key, kind = [], [], ""
    for place, side in zip(order, changed):
        name, at = listed[place]
        first, other = (pictures[at] for pictures in comparisons[name])
        kind, texts = _encoded([other, first] if SIDES[side] == "left" else [first, other])
        pairs.append(texts)
        key.append({"comparison": name, "picture": at, "changed": SIDES[side]})
    size = next(iter(comparisons.values()))[0].shape
    return write_sheet(
        PAIRS, path, pairs, key, seed=seed, question=question, sheet={"type": kind}, aspect=f"{size[3]} / {size[2]}"
    )


@speaks
def read_preferences(key: str | Path, *answers: str | Path) -> Table[PreferenceRow]:
    """What people prefer, of the files of answers that they saved from a page, as a `Table` of `PreferenceRow`.

    Args:
        key: the file that `write_pairs` wrote beside the page.
        answers: files of one or several people; one that is not finished counts as far as it goes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that holds something else, answers to another page, or a person's answers twice.

    Example:
        >>> dissect.report.read_preferences("pairs.key.json", "answers-1.json")  # doctest: +SKIP
    """
    pairs, by_rater = read_sheet(PAIRS, key, answers, _KEY, Text(SIDES))
    asked, preferred = Counter[str](), Counter[str]()
    for given in by_rater.values():
        for pair, side in zip(pairs, given):
            asked[pair["comparison"]] += 1
            preferred[pair["comparison"]] += side == pair["changed"]
    return Table(
        PreferenceRow(name, asked[name], preferred[name], preferred[name] / asked[name],
                      *wilson_interval(preferred[name], asked[name]))
        for name in sorted(asked)
    )  # fmt: skip


def _check(comparisons: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Refuses pictures that are no pairs.

    Raises:
        TypeError, ValueError: says which.
    """
    if not isinstance(comparisons, Mapping) or not comparisons:
        raise refusal(ValueError(f"comparisons must be pairs of pictures by name, but got {comparisons!r}."))
    shape: Any = None
    for name, kinds in comparisons.items():
        if len(kinds) != 2 or any(not isinstance(each, Tensor) or each.dtype != torch.uint8 for each in kinds):
            raise refusal(TypeError(f"comparisons must be two tensors uint8 [P, 3, H, W] each, but {name!r} is not."))
        first, other = (tuple(each.shape) for each in kinds)
        shape = shape or first[1:]
        if first != other or len(first) != 4 or not first[0] or first[1:] != shape or first[1] != 3:
            raise refusal(
                ValueError(
                    "comparisons must be pairs of as many pictures [P, 3, H, W], all of one size, but "
                    f"{name!r} has {list(first)} and {list(other)}."
                )
            )


def _encoded(pictures: list[Tensor]) -> tuple[str, list[str]]:
    """The media type of pictures [3, H, W], and the base64 text of each, without loss."""
    from PIL import Image, features

    kind, texts = "WEBP" if features.check("webp") else "PNG", []
    for picture in pictures:
        written = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).cpu().numpy())).save(written, kind, lossless=True)
        texts.append(base64.b64encode(written.getvalue()).decode("ascii"))
    return f"image/{kind.lower()}", texts
