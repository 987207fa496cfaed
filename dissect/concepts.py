"""The vocabulary of a segmentation: which concept, of which category, each label number stands for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: The papers' categories, in the order in which tables and charts list them. Others may follow them.
CATEGORIES = ("object", "part", "material", "texture", "color", "scene")

#: What label 0 is called elsewhere.
NO_LABEL = ("-", "background", "unlabeled", "unlabelled")


@dataclass(frozen=True)
class Concepts:
    """Names and categories by label number. Label 0 is "no label" and never a concept.

    Args:
        names: one name per label, label 0 included (by convention ``"-"``).
        categories: the (primary) category of each label; ``""`` for label 0.

    Raises:
        ValueError: the two differ in length, or there is no label 0.

    Example:
        >>> concepts = Concepts.of([("tree", "object"), ("green", "color")])
        >>> concepts.names, concepts.categories, len(concepts)
        (('-', 'tree', 'green'), ('', 'object', 'color'), 3)
    """

    names: tuple[str, ...]
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.categories):
            raise ValueError(
                "Concepts: names and categories must have the same length, at least 1 (label 0), "
                f"but got {len(self.names)} names and {len(self.categories)} categories."
            )

    def __len__(self) -> int:
        """The number of labels C, label 0 included, so every label lies in [0, C)."""
        return len(self.names)

    @classmethod
    def of(cls, concepts: Concepts | Iterable[str] | Iterable[tuple[str, str]]) -> Concepts:
        """Concepts from names, or from (name, category) pairs, of the labels 1, 2, 3, ...

        A bare name gets the category "concept".

        Raises:
            TypeError: one text or a mapping; an entry that is neither a string nor a pair of strings.
            ValueError: a category without a name.

        Warns:
            UserWarning: the first name stands for "no label", which is label 0 and has no entry here.
        """
        if isinstance(concepts, Concepts):
            return concepts
        if isinstance(concepts, (str, Mapping)):
            raise TypeError(
                "concepts: names must be a list of those of the labels 1, 2, 3, ..., "
                f"but got a {type(concepts).__name__}, {concepts!r}."
            )
        pairs = [("-", "")]
        for entry in concepts:
            pair = (entry, "concept") if isinstance(entry, str) else tuple(entry)
            if len(pair) != 2 or not all(isinstance(text, str) for text in pair):
                raise TypeError(f"concepts: an entry must be a name or a (name, category) pair, but got {entry!r}.")
            if not pair[1]:
                raise ValueError(f"concepts: a category must have a name, but that of {pair[0]!r} is empty.")
            pairs.append(pair)
        names, categories = zip(*pairs)
        if names[1:] and names[1].lower() in NO_LABEL:
            warnings.warn(
                f"concepts: the list begins with label 1, but its first name is {names[1]!r}; label 0 is 'no label' "
                "and has no name in the list, so leave that name out, or all names are one label too high.",
                stacklevel=2,
            )
        return cls(tuple(names), tuple(categories))

    @classmethod
    def numbered(cls, count: int) -> Concepts:
        """Concepts that are called by their numbers, for planes that come without names."""
        return cls.of([str(number) for number in range(1, count)])

    def number(self, name: str, category: str | None = None) -> int:
        """The label number of a concept.

        Raises:
            KeyError: no concept has this name (and category).
        """
        for number in range(1, len(self)):
            if self.names[number] == name and category in (None, self.categories[number]):
                return number
        raise KeyError(f"no concept is called {name!r}" + (f" in category {category!r}." if category else "."))
