"""Reads a report as a browser does: elements and their attributes, text without markup."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "input", "link", "br", "img"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Element | str] = field(default_factory=list)

    def find(self, tag: str, **attributes: str) -> list[Element]:
        found = []
        for child in self.children:
            if isinstance(child, Element):
                wanted = {name.rstrip("_"): value for name, value in attributes.items()}
                if child.tag == tag and all(
                    value in (child.attributes.get(name) or "") for name, value in wanted.items()
                ):
                    found.append(child)
                found += child.find(tag, **attributes)
        return found

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.stack = [Element("document")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.stack[-1].children.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.stack[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self.stack[-1].tag != tag:
            raise ValueError(f"</{tag}> closes <{self.stack[-1].tag}>")
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.stack[-1].children.append(data)


def read(path: Path) -> Element:
    """The document."""
    return parse(path.read_text("utf-8"))


def parse(text: str) -> Element:
    """The elements of a text, refusing some that are not closed in order."""
    parser = _Parser()
    parser.feed(text)
    parser.close()
    if len(parser.stack) != 1:
        raise ValueError(f"<{parser.stack[-1].tag}> is never closed")
    return parser.stack[0]


def told(page: Element) -> dict:
    """What the page's script knows of all units."""
    (store,) = page.find("script", id="units-data")
    return json.loads(store.text)


def cards(page: Element, layer: str = "layer") -> list[Element]:
    """The cards that the script makes, of a layer or of all."""
    found = []
    for name, units in told(page)["layers"].items():
        for unit in units if name.startswith(layer) else []:
            card = parse(unit["html"])
            card.attributes = {key: unit[key] for key in ("id", "unit", "state", "detector")}
            found.append(card)
    return found


def pictures(page: Element) -> dict[str, str]:
    (store,) = page.find("script", id="pictures")
    return json.loads(store.text)["data"]


def units(page: Element) -> dict[str, dict]:
    """The numbers of every unit, by its card's id, with the concepts' names."""
    store = told(page)
    return {
        unit["id"]: unit | {"scores": [(*store["concepts"][label], iou) for label, iou in unit["scores"]]}
        for units in store["layers"].values()
        for unit in units
    }
