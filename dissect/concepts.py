"""The vocabulary of a segmentation: which concept, of which category, each label number stands for."""

from __future__ import annotations

import difflib
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dissect.arguments import refusal, speaks, tell

#: The papers' categories, in the order in which tables and charts list them. Others may follow them.
CATEGORIES = ("object", "part", "material", "texture", "color", "scene")

#: What label 0 is called elsewhere, with spaces for other signs.
NO_LABEL = (
    "", "background", "bg", "ignore", "ignored", "no label", "none", "nothing", "other", "others", "unlabeled",
    "unlabelled", "void",
)  # fmt: skip

#: Labels lie below it.
MOST_LABELS = 1 << 20

#: From so many labels on, planes without names are taken to hold numbers of something else.
MANY_LABELS = 10_000


@speaks
@dataclass(frozen=True)
class Concepts:
    """Names and categories by label number. Label 0 is "no label" and never a concept.

    Args:
        names: one name per label, label 0 included (by convention ``"-"``).
        categories: the (primary) category of each label; ``""`` for label 0.

    Raises:
        ValueError: the two differ in length, there is no label 0, or a text cannot be written to a file.

    Example:
        >>> concepts = Concepts.of([("tree", "object"), ("green", "color")])
        >>> concepts.names, concepts.categories, len(concepts)
        (('-', 'tree', 'green'), ('', 'object', 'color'), 3)
    """

    names: tuple[str, ...]
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.categories):
            raise refusal(
                ValueError(
                    "names and categories must have the same length, at least 1 (label 0), "
                    f"but got {len(self.names)} names and {len(self.categories)} categories."
                )
            )
        _check_texts((*self.names, *self.categories))

    def __len__(self) -> int:
        """The number of labels C, label 0 included, so every label lies in [0, C)."""
        return len(self.names)

    @classmethod
    def of(cls, concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]] | Mapping[Any, Any]) -> Concepts:
        """Concepts from names, or from (name, category) pairs, of the labels 1, 2, 3, ...

        A bare name gets the category "concept". A mapping gives them by label number, which may be written as text (as
        in JSON); labels up to the largest that it leaves out are called by their numbers, and label 0 may be there only
        under a name for "no label", such as "background".

        Raises:
            TypeError: one text; an entry that is neither a string nor a pair of strings.
            ValueError: a category without a name; a mapping whose keys are no label numbers, hold one twice, or call
                label 0 by the name of a concept: whether its planes count from 0 or from 1 is then not known.

        Warns:
            UserWarning: the first name stands for "no label", which is label 0 and has no entry here.

        Example:
            >>> Concepts.of({"0": "background", "1": "sky", "3": ("red", "color")}).names
            ('-', 'sky', '2', 'red')
        """
        if isinstance(concepts, Concepts):
            return concepts
        if isinstance(concepts, str):
            raise refusal(
                TypeError(
                    "concepts must be a list of the names of the labels 1, 2, 3, ..., or a dictionary of them by label "
                    f"number, but got a {type(concepts).__name__}, {concepts!r}."
                )
            )
        pairs = [("-", "")]
        for entry in _in_order(concepts) if isinstance(concepts, Mapping) else concepts:
            pair = (entry, "concept") if isinstance(entry, str) else tuple(entry)
            if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise refusal(TypeError(f"concepts must hold names or (name, category) pairs, but one is {entry!r}."))
            if not pair[1]:
                raise refusal(ValueError(f"categories of concepts must have names, but that of {pair[0]!r} is empty."))
            pairs.append(pair)
        names, categories = zip(*pairs)
        if names[1:] and is_no_label(names[1]):
            tell(
                f"concepts begin with label 1, but their first name is {names[1]!r}; label 0 is 'no label' "
                "and has no name in the list, so leave that name out, or all names are one label too high."
            )
        return cls(tuple(names), tuple(categories))

    @classmethod
    def numbered(cls, labels: int | Iterable[int]) -> Concepts:
        """Concepts that are called by their numbers, for planes that come without names.

        Args:
            labels: how many there are, label 0 included; or the number of each, label 0 first.

        Warns:
            UserWarning: they go so high that these may be no labels.
        """
        numbers = list(range(labels) if isinstance(labels, int) else labels)
        if numbers[-1] >= MANY_LABELS:
            tell(
                f"labels go up to {numbers[-1]}, and no names tell what they are; are they instances "
                "or panoptic segments? Each number that occurs is a concept of its own."
            )
        return cls(("-", *map(str, numbers[1:])), ("", *["concept"] * (len(numbers) - 1)))

    def number(self, name: str, category: str | None = None) -> int:
        """The label number of a concept.

        Raises:
            KeyError: no concept has this name (and category).
        """
        for number in range(1, len(self)):
            if self.names[number] == name and category in (None, self.categories[number]):
                return number
        where = f" in category {category!r}" if category else ""
        more = f" and {len(self) - 6} more" if len(self) > 6 else ""
        near = difflib.get_close_matches(name, self.names[1:], 3)
        told = f"the nearest are {near}" if near else f"there are {list(self.names[1:6])}{more}"
        raise refusal(KeyError(f"no concept is called {name!r}{where}; {told}."))


def label_of(concepts: Concepts, concept: str | int) -> int:
    """The label number of a class.

    Raises:
        KeyError: there is none, or a name alone stands for several.
        TypeError: neither a number nor a text.
    """
    if not isinstance(concept, str):
        try:
            number = operator.index(concept)
        except TypeError:
            kind = type(concept).__name__
            raise refusal(TypeError(f"concept must be a label number or a name, but got a {kind}.")) from None
        if not 0 < number < len(concepts):
            raise refusal(KeyError(f"concept must be in [1, {len(concepts)}), but got {number}."))
        return number
    category, slash, name = concept.partition("/")
    if slash and category in concepts.categories:
        return concepts.number(name, category)
    found = [label for label in range(1, len(concepts)) if concepts.names[label] == concept]
    if len(found) > 1:
        choices = ", ".join(repr(f"{concepts.categories[label]}/{concept}") for label in found)
        raise refusal(KeyError(f"concept {concept!r} is in several categories; say which: {choices}."))
    return found[0] if found else concepts.number(concept)


def ordered_categories(concepts: Concepts) -> tuple[str, ...]:
    """The categories of a vocabulary in the order in which tables list them: the papers' first, then by name."""
    there = set(concepts.categories) - {""}
    known = tuple(name for name in CATEGORIES if name in there)
    return known + tuple(sorted(there - set(known)))


def _check_texts(texts: Iterable[str]) -> None:
    """Tells now what could not be written to a file after the work.

    Raises:
        ValueError: a text with half characters (lone surrogates) or NUL.
    """
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise refusal(
                ValueError(f"texts must be such that a file can hold them, but {text!r} is none: {error.reason}.")
            ) from error
        if "\0" in text:
            raise refusal(ValueError(f"texts must be such that a file can hold them, but {text!r} holds NUL."))


def is_no_label(name: str) -> bool:
    """Whether a name stands for "no label", as "__background__", "void" and "-" do."""
    return " ".join(name.replace("_", " ").replace("-", " ").split()).casefold() in NO_LABEL


def _in_order(by_label: Mapping[Any, Any]) -> list[Any]:
    """The entries of labels 1, 2, ... of a dictionary by label number.

    Raises:
        ValueError: it is not certain which labels they are of.
    """
    entries: dict[int, Any] = {}
    for key, entry in by_label.items():
        label = _label_number(key)
        if label is None or label in entries:
            rule = "must be label numbers from 0 on" if label is None else "must hold each label once"
            raise refusal(ValueError(f"keys of concepts {rule}, below {MOST_LABELS}, but one is {key!r}."))
        entries[label] = entry
    first = entries.pop(0, "-")
    name = first if isinstance(first, str) else next(iter(first), "") if isinstance(first, (tuple, list)) else first
    if not isinstance(name, str) or not is_no_label(name):
        raise refusal(
            ValueError(
                f"label 0 is 'no label', but the dictionary calls it {name!r}. If the planes count from 1, pass "
                "{number + 1: name for number, name in names.items()}; if from 0, add 1 to the planes too."
            )
        )
    return [entries.get(label, str(label)) for label in range(1, max(entries, default=0) + 1)]


def _label_number(key: Any) -> int | None:
    """The label that a key is, or writes; None if it is none."""
    if isinstance(key, str):
        return int(key) if key.isascii() and key.isdigit() and len(key) <= 7 and int(key) < MOST_LABELS else None
    try:
        return number if not isinstance(key, bool) and 0 <= (number := operator.index(key)) < MOST_LABELS else None
    except TypeError:
        return None
