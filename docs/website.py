"""What mkdocs.yml asks of this folder: sections of the README on pages of the site, and docstrings as Markdown.

A page has a section of the README where it says ``<!-- README: Heading -->``, or paragraphs of it where it says
``<!-- README: Heading | first words of the first | first words of the last -->``. So no text is kept twice.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parent.parent
ASKED = re.compile(r"^<!-- README: ([^|\n]+?)(?: \| (.+?) \| (.+?))? -->$", re.MULTILINE)
#: With the blocks of code whole, and what is indented below a paragraph.
PARAGRAPH = re.compile(r"^```.*?^```$|^(?!```)\S.*?(?=\n\n+\S|\s*\Z)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")
FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\s>\"]+")
IMAGE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)]+)\)")


def section(readme: str, heading: str, first: str | None = None, last: str | None = None) -> str:
    """The text below a heading of second rank, or its paragraphs from one to another.

    Raises:
        PluginError: there is no such heading or paragraph.
    """
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    if not found:
        raise PluginError(f"README.md has no section {heading!r}, which a page of docs/ shows.")
    paragraphs = [match[0].rstrip() for match in PARAGRAPH.finditer(found[1])]
    if first is None or last is None:
        return "\n\n".join(paragraphs)
    places = [next((i for i, text in enumerate(paragraphs) if text.startswith(start)), None) for start in (first, last)]
    if places[0] is None or places[1] is None or places[0] > places[1]:
        raise PluginError(f"README.md, {heading!r}: no paragraphs from {first!r} to {last!r}, which a page shows.")
    return "\n\n".join(paragraphs[places[0] : places[1] + 1])


def moved(text: str, page: str) -> str:
    """Links of the README as they are from a page of docs/."""

    def target(path: str) -> str:
        return posixpath.relpath(path, posixpath.dirname(f"docs/{page}"))

    text = IMAGE.sub(lambda link: f"![{link[1]}]({target(link[2])})", text)
    return LINK.sub(lambda link: f"[{shown(link)}]({target(link[2])}{link[3] or ''})", text)


def shown(link: re.Match[str]) -> str:
    """The words of a link; where those are a file's address in the repository, its name."""
    return posixpath.basename(link[1]) if link[1] == link[2] else link[1]


def without_sources(text: str, page: str) -> str:
    """Links to files that are not published become those files' names."""

    def outside(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(f"docs/{page}"), link[2]))
        return link[0] if path.startswith("docs/") else f"`{path}`"

    return LINK.sub(outside, text)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs for each page before it is rendered."""
    here = page.file.src_uri
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    markdown = ASKED.sub(lambda asked: moved(section(readme, *asked.groups()), here), markdown)
    return without_sources(markdown, here)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Called by mkdocs for each page as it will be: it may fetch nothing from elsewhere."""
    found = FETCHED.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri} would fetch from elsewhere: {found[0]}")
    return output


def as_markdown(docstring: str) -> str:
    """A docstring of this library as the parser of Google's style, and Markdown, take it."""
    docstring = re.sub(r"^( *)Example:$", r"\1Examples:", docstring, flags=re.MULTILINE)
    docstring = re.sub(r"^( *)(Forward|Items):$", r"\1**\2**\n", docstring, flags=re.MULTILINE)
    docstring = re.sub(r"^ *::\n\n", "", docstring, flags=re.MULTILINE)
    return re.sub(r"(\S)::$", r"\1:", docstring, flags=re.MULTILINE)


def public_not_file(room: griffe.Module) -> None:
    """Lets `ops.iou_counts` be the function that is imported, and not the file of that name which it comes from."""
    for name, member in list(room.members.items()):
        if isinstance(member, griffe.Module) and room.imports.get(name) == f"{member.path}.{name}":
            room.members[name] = griffe.Alias(name, member.members[name], parent=room)


class Docstrings(griffe.Extension):
    """What is changed of the package before its pages are written."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Called by griffe once the package is read."""
        loader.resolve_aliases()
        objects: list[griffe.Object] = [pkg]
        for one in objects:
            objects += [member for member in one.members.values() if isinstance(member, griffe.Object)]
        for one in objects:
            if one.docstring:
                one.docstring.value = as_markdown(one.docstring.value)
        for one in objects:
            if isinstance(one, griffe.Module):
                public_not_file(one)
                if one.exports is not None:  # so that iou_counts stands beside IouCounts
                    one.exports = sorted(map(str, one.exports), key=lambda name: name.replace("_", "").lower())
